/* SPDX-License-Identifier: GPL-2.0 */
/* The destination's side of a migration. */
#ifndef RECEIVER_H
#define RECEIVER_H

#include <stdbool.h>

#include "conn.h"
#include "devstate.h"
#include "hello.h"
#include "options.h"
#include "vm.h"

enum stage {
	STAGE_GREETING,		/* waits for HELLO */
	STAGE_COPYING,		/* pages come */
	STAGE_LOADING,		/* RAM is final; QEMU loads its devices */
	STAGE_PREPARED,		/* loaded and paused; waits for COMMIT */
	STAGE_RUNNING,		/* the VM is ours */
	STAGE_GONE,		/* given up for good: QEMU has ended */
	STAGE_LOST,		/* told to run, but QEMU has not answered */
};

struct receiver {
	const struct options *options;
	struct vm vm;
	struct conn conn;
	struct devstate devstate;
	enum stage stage;
	uint8_t **map;		/* of each RAM file */
	json_t *hello;
	char session[HELLO_SESSION];
	bool run_it;		/* it ran at the source */
	bool verify;		/* the source has announced that it compares */
	uint64_t rounds;
	uint64_t pages, zeroes;
	/* What the source has said. */
	bool prepare, load, commit, bye, differs, verified, cancelled;
};

/* placement.c: frames that carry or name pages. */
int place_payload(struct conn *conn, const struct wire_frame *frame,
		  void **dest);
int place_zero(struct receiver *receiver, const struct wire_frame *frame);
int place_digest(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload);

/* "QEMU has ended", as a failure. */
int receiver_qemu_gone(struct receiver *receiver);

/* A source, or somebody who asks, may be waiting at the listening socket. */
struct awaiting {
	struct receiver *receiver;
	int listener;
	uint64_t since;
};

/* takeover.c: from PREPARED on. 0 if the VM runs here. */
int takeover(struct receiver *receiver, int listener);
/* takeover.c: ends the QEMU of a VM that must not run. 0 if it has ended. */
int receiver_give_up(struct receiver *receiver);
/* takeover.c: lets the VM run here. */
int receiver_run(struct receiver *receiver);

/* answer.c: tells who asks later what became of the session. */
int answer(struct receiver *receiver, int listener);

#endif /* RECEIVER_H */
