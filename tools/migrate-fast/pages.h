/* SPDX-License-Identifier: GPL-2.0 */
/* What is known of each page, and which of them have to be sent. */
#ifndef PAGES_H
#define PAGES_H

#include <stdint.h>

#include "gather.h"
#include "progress.h"
#include "stats.h"
#include "vm.h"

enum scan {
	SCAN_ALL,	/* first round: every page */
	SCAN_DIRTY,	/* pages in the bitmap, but those being written now */
	SCAN_LAST,	/* pages in the bitmap; the VM is stopped */
	SCAN_SURVEY,	/* every page, but nothing is sent: which are zero? */
};

/* Of one RAM file. */
struct pages {
	struct ram *ram;
	unsigned int number;	/* on the wire */
	uint64_t *hash;		/* XXH64 of what was last sent */
	uint64_t *certain;	/* the destination has exactly .hash */
	uint64_t *zero;		/* the destination has zeroes */
	uint64_t *in_flight;	/* sent since the last harvest */
	uint64_t *stale;	/* post-copy: what the destination lacks */
	uint64_t *sent;		/* sent whole, once or more often */
	uint64_t *twice;	/* ... twice or more often */
	uint64_t *before;	/* what the last harvest reported */
	uint64_t owed;		/* pages left in the bitmap by the last scan */
};

/* A part of a RAM file that is looked at in one go. */
struct chunk {
	unsigned int ram;
	uint64_t start, pages;
	uint64_t hot;		/* pages of it that are dirty by now */
};

struct pager {
	struct vm *vm;
	struct gather gather;
	struct progress *progress;
	struct pages *pages;	/* one for each RAM file */
	struct migrate_fast_digest *digests;
	uint64_t *hot;
	struct chunk *later;	/* chunks put off to the end of the scan */
	size_t nr_later, size_later;
	bool frugal;		/* no third time in a round; see pages_scan() */
	uint64_t seed;
	uint64_t hashed, hash_ns;
	uint64_t idle_ns;	/* of .hash_ns, where nothing was to be sent */
	uint64_t more;		/* times that a page was sent a third time ... */
};

void pages_init(struct pager *pager, struct vm *vm, struct conn *conn,
		struct progress *progress);
void pages_free(struct pager *pager);
/* Takes the dirty pages of all files into their bitmaps. */
int pages_harvest(struct pager *pager, struct mf_harvested *sum);
/* Counts the pages that a harvest would take now. */
int pages_peek(struct pager *pager, uint64_t *dirty);
/* After a scan: the same, and those that it has left in the bitmap. */
int pages_left(struct pager *pager, uint64_t *left);
/* Which part of them is not zero? Looks at a few of them. */
int pages_sample(struct pager *pager, uint64_t dirty, double *share);
/*
 * Classifies and sends; fills in .pages and .postponed of @round.
 *
 * What the VM writes most comes last: then most of it is dirty again already
 * and is postponed, not sent in vain. With .frugal set a page that has been
 * sent twice is postponed as well: it stays in the bitmap.
 */
int pages_scan(struct pager *pager, enum scan scan, struct round *round);
/*
 * Post-copy: what was harvested is stale at the destination; what is @hot
 * goes first.
 */
void pages_stale(struct pager *pager, bool hot);
/* Pages that the destination lacks. */
uint64_t pages_lacking(const struct pager *pager);
/* A page travels whole. */
void pages_sent(struct pager *pager, unsigned int ram, uint64_t page);
/* Pages that have travelled whole twice or more often. */
uint64_t pages_sent_twice(const struct pager *pager);
/*
 * The writable working set: pages that were written before the last harvest
 * and, again, before the one that came before it. To be called after each.
 */
uint64_t pages_working_set(struct pager *pager);

#endif /* PAGES_H */
