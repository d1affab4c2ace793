/* SPDX-License-Identifier: GPL-2.0 */
/* What a migration has done so far; progress and report show it. */
#ifndef STATS_H
#define STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "curve.h"

/* Classes of pages. A page counts each time that it was looked at. */
struct classes {
	uint64_t zero;		/* zero: not sent, or sent as a frame of 24 bytes */
	uint64_t unchanged;	/* written, but what the destination has, we say */
	uint64_t reference;	/* named: the destination may have it */
	uint64_t copy;		/* named: equals another page that has travelled */
	uint64_t delta;		/* sent again: what has changed in it */
	uint64_t compressed;	/* sent whole, and became less on the way */
	uint64_t raw;		/* sent whole, as it was */
};

/* Pages that the destination needed something of. */
static inline uint64_t classes_travelled(const struct classes *pages)
{
	return pages->delta + pages->compressed + pages->raw;
}

struct round {
	unsigned int number;
	bool stopped;		/* the VM does not run */
	uint64_t dirty;		/* pages to look at */
	uint64_t postponed;	/* of those, being written right now */
	struct classes pages;
	uint64_t wire_bytes;
	double ms;
	uint64_t left;		/* dirty again when it ended */
	struct curve curve;	/* what is known by then of how the VM writes */
	double next_left;	/* what another round is foretold to leave */
	double predicted_ms;	/* downtime if the VM stopped now */
	unsigned int throttle;	/* percent that the VM was slowed by */
};

/* What the guest waits for, one after the other. */
enum part {
	PART_STOP,		/* QEMU stops the VM */
	PART_RAM,		/* last pages; QEMU saves its devices meanwhile */
	PART_VERIFY,
	PART_LOAD,		/* device state on the wire and loaded */
	PART_COMMIT,		/* COMMIT, cont, RUNNING */
	PARTS
};

enum result {
	RESULT_FAILED,		/* the VM runs at the source */
	RESULT_MOVED,
	RESULT_UNKNOWN,		/* COMMIT was said, no answer heard */
	RESULT_STRANDED,	/* failed, and the source could not go on */
	RESULT_SPLIT,		/* runs over there, some of its memory is here */
};

/* How memory followed a VM. */
struct supplied {
	bool used;
	uint64_t stale;		/* pages that the destination lacked */
	uint64_t pulled;	/* sent because the VM waited for them */
	uint64_t pushed;	/* sent before anybody asked */
	uint64_t zero;		/* of both: sent as ZERO frames */
	uint64_t copied;	/* of those pushed: equal to one that was there */
	uint64_t prepaged;	/* of those pushed, because of a fault nearby */
	uint64_t judged, hits;	/* see prepage.h */
	unsigned int rejoined;	/* times that the connection was made anew */
	double ms;		/* from RUNNING to the last page */
};

struct stats {
	const char *mode;
	char session[40];
	uint64_t total_pages;
	struct classes pages;
	uint64_t postponed;
	struct round *rounds;
	unsigned int nr_rounds;
	uint64_t started;	/* ns, CLOCK_MONOTONIC */
	uint64_t stopped;	/* stop was sent; 0: never */
	double total_ms, downtime_ms;
	double verify_after_ms;	/* while the VM ran over there */
	double part_ms[PARTS];	/* of the downtime */
	uint64_t wire_bytes;	/* source to destination */
	uint64_t back_bytes;	/* destination to source */
	uint64_t device_bytes;
	uint64_t working_set;	/* pages written in two rounds on end */
	uint64_t sent_twice;	/* pages that travelled more than once */
	uint64_t sent_more;	/* times that one travelled a third time ... */
	double copy_ms;		/* until the VM was stopped */
	struct supplied supplied;
	json_t *source;		/* what told which pages were written; or NULL */
	json_t *taken;		/* from which source the destination took pages */
	uint64_t missed;	/* references and copies that were not there */
	uint64_t unchanged_missed;	/* unchanged, but not what was there */
	uint64_t delta_missed;	/* deltas that were of another page there */
	uint64_t saved_bytes;	/* see saving.h */
	double saved_ms;
	json_t *arrived;	/* what the destination tells of it, or NULL */
	bool verified;
	uint64_t verify_written;	/* all but those, written over there */
	bool was_running;	/* when it began */
	enum result result;
	char *error;
};

#endif /* STATS_H */
