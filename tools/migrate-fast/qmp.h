/* SPDX-License-Identifier: GPL-2.0 */
/* QMP, QEMU's control socket: commands, replies, events. */
#ifndef QMP_H
#define QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../lib/loop.h"

struct qmp {
	int fd;
	char *path;
	pid_t peer;		/* who made the socket; QEMU as a rule */
	json_t *greeting;	/* "version" of it */
	bool gone;		/* QEMU has closed the socket */
	struct watch watch;
	char *in;
	size_t in_len, in_size;
	json_int_t last_id;
	json_t *replies;	/* those that nobody has fetched yet */
	void (*event)(struct qmp *qmp, const char *name, const json_t *data);
	void *arg;
};

/* How long QEMU may take for a command that does not wait for anything. */
#define QMP_MS	10000
/* How long it may take to greet: who is not greeted by then is not served. */
#define QMP_GREETING_MS	5000

/* Connects, and waits @ms for the greeting. 0, or -1 after fail(). */
int qmp_open(struct qmp *qmp, const char *path, unsigned int ms);
void qmp_close(struct qmp *qmp);

/*
 * Executes @command; steals @args, which may be NULL. The value returned, to
 * be released by the caller, or NULL after fail().
 */
json_t *qmp_call(struct qmp *qmp, const char *command, json_t *args,
		 unsigned int ms);
/* The same for commands whose value does not matter: 0 or -1. */
int qmp_do(struct qmp *qmp, const char *command, json_t *args);
/* The reply as it came, with "error" or "return": for those who try. */
json_t *qmp_try(struct qmp *qmp, const char *command, json_t *args,
		unsigned int ms);

/* Sends without waiting; returns the id for the two others, or -1. */
json_int_t qmp_start(struct qmp *qmp, const char *command, json_t *args);
/* The reply as it came, as qmp_try(). */
json_t *qmp_await(struct qmp *qmp, json_int_t id, const char *command,
		  unsigned int ms);
/* The value, as qmp_call(). */
json_t *qmp_fetch(struct qmp *qmp, json_int_t id, const char *command,
		  unsigned int ms);

/* Gives QEMU a descriptor under a name, for "fd:NAME". */
int qmp_give_fd(struct qmp *qmp, const char *name, int fd);

#endif /* QMP_H */
