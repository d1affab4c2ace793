/* SPDX-License-Identifier: GPL-2.0 */
/* What the command line asked for. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "../lib/exits.h"
#include "mode.h"
#include "pack.h"
#include "priority.h"
#include "tracker.h"

struct options {
	const char *qmp;
	const char *to;			/* send, resolve */
	const char *listen;		/* recv */
	const char *report;
	const char *store;		/* NULL: none */
	const char *conf;		/* recv, check: NULL: the usual place */
	const char *session;		/* resolve */
	const char *word;		/* resolve: source or destination */
	uint64_t max_downtime;		/* ms */
	uint64_t downtime_limit;	/* ms */
	uint64_t max_rounds;
	uint64_t max_bandwidth;		/* bytes per second; 0: no limit */
	uint64_t min_bandwidth;		/* bytes per second; 0: always the most */
	uint64_t timeout;		/* ms */
	uint64_t linger;		/* s; recv */
	uint64_t throttle;		/* percent at most; 0: never */
	enum mode mode;
	enum compress compress;
	enum tracker source;
	struct priority priority;	/* send, recv */
	uint64_t pid;			/* send: of QEMU; 0: it made the socket */
	bool allow_postcopy;		/* auto: as soon as it promises more */
	bool lazy;			/* disks are read when the VM runs there */
	bool no_postcopy;		/* auto: never */
	bool resume;			/* send, recv: finish what was begun */
	bool force_switchover;
	bool verify;
	bool keep;			/* send: the memory, for when the VM is back */
	bool json;
	bool no_memory_check;		/* recv */
	bool back;			/* resolve */
};

int cmd_send(const struct options *options);
int cmd_recv(const struct options *options);
int cmd_check(const struct options *options);
int cmd_resolve(const struct options *options);
int cmd_abort(const struct options *options);
int cmd_status(const struct options *options);

#endif /* OPTIONS_H */
