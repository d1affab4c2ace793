/* SPDX-License-Identifier: GPL-2.0 */
/* The destination's side of a migration. */
#ifndef RECEIVER_H
#define RECEIVER_H

#include <stdbool.h>

#include "proof.h"
#include "conn.h"
#include "demand.h"
#include "devstate.h"
#include "door.h"
#include "hello.h"
#include "known.h"
#include "lazy.h"
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
	struct known known;
	struct lazy lazy;
	enum stage stage;
	uint8_t *room;		/* PLACE_ROOM bytes: pages before they are placed */
	json_t *hello;
	char session[HELLO_SESSION];
	struct proof proof;	/* of pages that are here */
	bool run_it;		/* it ran at the source */
	bool unconfirmed;	/* ... and QEMU has yet to say that it runs here */
	bool verify;		/* the source has announced that it compares */
	bool split;		/* ... that the VM may run before all is here */
	uint64_t rounds;
	uint64_t pages, zeroes;
	/* What the source has said. */
	bool prepare, load, commit, bye, differs, verified, cancelled;
	bool round_over;	/* has yet to be answered */
	uint64_t round;		/* its number */

	/* Post-copy; see serve.c. */
	struct conn pull;	/* faults, and the pages that answer them */
	struct door door;
	struct demand demand;
	bool tracked;		/* what the VM writes here is known */
	bool joined;		/* a source has come back */
	uint64_t since;		/* recv --resume: the VM was here then */
	uint64_t lost;		/* since when there is none; 0: there is one */
	uint64_t linger;	/* ns to wait for one */
	bool insisted;		/* an interrupt was not heeded, and that said */
	bool pushed, pulled;	/* nothing more comes on the connections */
	bool complete;		/* nothing is absent any more */
	uint64_t written;	/* pages not compared: the VM has written them */
	bool doubted;		/* a comparison found a difference, none since has not */
};

/* from_source.c: what is said on the first connection. */
int receiver_frame(struct conn *conn, const struct wire_frame *frame,
		   const uint8_t *payload);

/* serve.c */
void serve_init(struct receiver *receiver);
/*
 * With --verify, before anything is here: what the VM will write here need not
 * be what the source has.
 */
int serve_track(struct receiver *receiver);
/*
 * What was written until now was written by us. After each round, while the VM
 * still runs over there: the more there is, the longer it takes. Not from within
 * the loop, if there is much.
 */
int serve_forget(struct receiver *receiver);
/* DEMAND: from here on what is stale is absent. */
int serve_begin(struct receiver *receiver, uint64_t total);
/* A frame that belongs to post-copy. 1 if it does not. */
int serve_frame(struct conn *conn, const struct wire_frame *frame,
		const uint8_t *payload);
/*
 * Asks the source for a page: a FAULT, or a MISS if it thinks that it is here.
 */
int serve_ask(struct receiver *receiver, enum wire_type type, unsigned int ram,
	      uint64_t page);
/* From RUNNING until nothing is absent. 0, or -1 after fail(). */
int serve(struct receiver *receiver, int listener);
/* door.c has let in a source; takes over the socket of @from. */
int receiver_join(struct receiver *receiver, struct conn *from, bool pull);
/* receiver.c: a VM, from its source. 0, or -1 after fail(); @stage tells more. */
int receive(struct receiver *receiver);
/* again.c: the rest of one that is here already (recv --resume). Likewise. */
int receive_again(struct receiver *receiver);

/* placement.c: frames that carry or name pages. */
#define PLACE_ROOM	(WIRE_MAX_REFERENCES * MF_PAGE_SIZE)
int place_pages(struct receiver *receiver, const struct wire_frame *frame,
		const uint8_t *payload);
int place_packed(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload);
int place_delta(struct receiver *receiver, const struct wire_frame *frame,
		const uint8_t *payload);
/* Nothing is placed: the pages are compared. */
int place_same(struct receiver *receiver, const struct wire_frame *frame,
	       const uint8_t *payload);
/* Decompresses to @to. 0, or -1 after fail(). */
int place_unpack(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload, void *to);
int place_references(struct receiver *receiver, const struct wire_frame *frame,
		     const uint8_t *payload);
int place_copies(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload);
/* The same when memory is absent. */
int place_late_copies(struct receiver *receiver, const struct wire_frame *frame,
		      const uint8_t *payload);
int place_zero(struct receiver *receiver, const struct wire_frame *frame);
int place_digest(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload);
/* The same when the VM runs: what it has written may differ. */
int place_compare(struct receiver *receiver, const struct wire_frame *frame,
		  const uint8_t *payload);

/*
 * A source that is lost now need not come back: long enough to hear whether it
 * has only been cut off, not for as long as --linger.
 */
static inline void receiver_linger_less(struct receiver *receiver)
{
	receiver->linger = 2 * receiver->options->timeout * NSEC_PER_MSEC;
}

/* owner.c: "QEMU has ended", as a failure. */
int receiver_qemu_gone(struct receiver *receiver);

/* A source, or somebody who asks, may be waiting at the listening socket. */
struct awaiting {
	struct receiver *receiver;
	int listener;
	uint64_t since;
};

/* takeover.c: from PREPARED on. 0 if the VM runs here. */
int takeover(struct receiver *receiver, int listener);
/* owner.c: ends the QEMU of a VM that must not run. 0 if it has ended. */
int receiver_give_up(struct receiver *receiver);
/* owner.c: lets the VM run here. */
int receiver_run(struct receiver *receiver);
/*
 * owner.c: writes down that the VM is ours, if memory follows it. Before it
 * runs: "recv --resume" must know.
 */
void receiver_own(struct receiver *receiver);
/*
 * owner.c: connects to a QEMU that had another recv before. 0, or -1 after
 * fail(): it may wait for an absent page, or serve somebody else.
 */
int receiver_attach(struct receiver *receiver, unsigned int ms);
/*
 * owner.c: when nothing is absent any more, QEMU can answer: it runs the VM,
 * or is told again. 0, or -1 after fail().
 */
int receiver_confirm(struct receiver *receiver);

/* answer.c: tells who asks later what became of the session. */
int answer(struct receiver *receiver, int listener);
/* answer.c: running, split, gone or unknown. */
int answer_send(struct conn *conn, const char *state);

#endif /* RECEIVER_H */
