/* SPDX-License-Identifier: GPL-2.0 */
/* The source's side of a migration. */
#ifndef SENDER_H
#define SENDER_H

#include <stdbool.h>

#include "conn.h"
#include "devstate.h"
#include "guard.h"
#include "hello.h"
#include "options.h"
#include "pages.h"
#include "progress.h"
#include "rate.h"
#include "stats.h"
#include "supply.h"
#include "throttle.h"
#include "vm.h"

struct sender {
	const struct options *options;
	struct vm vm;
	struct conn conn;
	struct pager pager;
	struct rate rate;
	struct devstate devstate;
	struct guard guard;
	json_t *capabilities;		/* to be set before the VM stops */
	struct refer refer;
	struct throttle throttle;
	struct supply supply;
	bool split;		/* memory follows the VM (post-copy) */
	struct progress progress;
	struct stats stats;
	char session[HELLO_SESSION];
	uint64_t part_at;	/* when the last part ended */
	uint64_t device_guess;	/* bytes of device state to expect */
	double rtt_ms;
	struct ticker counting;	/* of dirty pages, while rounds go on */
	struct ticker bound;	/* of the downtime, while the rest is sent */
	uint64_t bound_at;

	/* What the destination has said. */
	json_t *welcome;
	bool ready, verified, prepared, answered_running, refused;
	uint64_t round_done;
	uint64_t round_at, round_tx;	/* when the round began, bytes by then */
	uint64_t round_packed;		/* pages compressed by then */
	uint64_t round_delta;		/* ... of them sent as deltas */
	struct wire_frame differ;	/* .count != 0: pages differ */
	uint8_t *differ_digests;

	/* What has to be undone if it fails. */
	bool was_running;
	bool stopped;		/* we have stopped the VM */
	bool committed;		/* COMMIT was, or may have been, said */
};

/* round.c: starts the next round; the figures are filled in as it goes. */
struct round *sender_round(struct sender *sender, bool stopped, uint64_t dirty);
/* Says ROUND and waits until the destination has placed all of it. */
int sender_round_end(struct sender *sender, struct round *round);

/* from_destination.c: what is said on the first connection. */
int sender_frame(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload);

/* A part of the downtime has ended. */
void sender_part(struct sender *sender, enum part part);

/* precopy.c: copies while the VM runs, until it is time to stop it. */
int precopy(struct sender *sender);
/* switchover.c: what the stop will need, while the VM runs; does not wait. */
int switchover_prepare(struct sender *sender);
/* switchover.c: stops the VM, sends the rest, loads the device state. */
int switchover(struct sender *sender);
/* commit.c: hands the VM over. Sets .stats.result. */
int commit(struct sender *sender);
/* commit.c: after a failure, lets the VM run on here. */
void resume(struct sender *sender);
/* commit.c: the VM is the destination's: QEMU here ends. */
void commit_end(struct sender *sender);
/* commit.c: memory is left here. Says how to go on; returns -1. */
int commit_left_behind(struct sender *sender);
/* verify.c: before the device state is loaded. */
int verify_source(struct sender *sender);
/* verify.c: when the VM runs over there, but what it has written. */
int verify_after(struct sender *sender);

#endif /* SENDER_H */
