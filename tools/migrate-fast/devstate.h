/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device state, on its way from QEMU to QEMU. Either end is a socket pair
 * of which QEMU is given one descriptor ("fd:NAME"): no path that QEMU would
 * have to reach, nothing left behind.
 *
 * At the source the stream is collected while QEMU writes it. At the
 * destination it is collected as it comes, and QEMU sees no byte of it before
 * RAM is final there: loading reads RAM.
 */
#ifndef DEVSTATE_H
#define DEVSTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"
#include "vm.h"

struct devstate {
	int fd;			/* our end of the pair, or -1 */
	bool given;		/* QEMU holds the other end under the name */
	bool running;		/* QEMU was told to use it */
	json_int_t id;		/* of that command */
	struct watch watch;
	uint8_t *buf;
	uint64_t len, size;
	uint64_t done;		/* sent to the peer, or written to QEMU */
	bool eof;
	struct conn *stream;	/* send what comes at once, if it can take it */
};

/* Makes the pair and gives QEMU its end. */
int devstate_open(struct devstate *state, struct vm *vm);
void devstate_close(struct devstate *state, struct vm *vm);

/* Source: tells QEMU to migrate into the pair; does not wait. */
int devstate_save(struct devstate *state, struct vm *vm);
/* Source: waits for QEMU to complete. */
int devstate_saved(struct devstate *state, struct vm *vm, unsigned int ms);
/* Source: sends what was collected, and from now on what comes. */
int devstate_stream(struct devstate *state, struct conn *conn);
/* Source: sends all that was collected and not sent yet. */
int devstate_push(struct devstate *state, struct conn *conn);

/* Destination: keeps bytes that came. */
int devstate_keep(struct devstate *state, const void *bytes, uint64_t len);
/* Destination: gives QEMU what was kept, waits until it is loaded. */
int devstate_load(struct devstate *state, struct vm *vm, unsigned int ms);

#endif /* DEVSTATE_H */
