/* SPDX-License-Identifier: GPL-2.0 */
/* What is known of each page: what the destination has, and how it came there. */
#ifndef PAGES_H
#define PAGES_H

#include <stdint.h>

#include "gather.h"
#include "progress.h"
#include "refer.h"
#include "stats.h"
#include "twins.h"
#include "vm.h"

/* Pages that are hashed, and counted, in one go: so that signals are heeded. */
#define PAGES_CHUNK	512
#define PAGES_COUNT	32768

/* Of one RAM file. */
struct pages {
	struct ram *ram;
	unsigned int number;	/* on the wire */
	uint64_t first;		/* number of its first page among all of the VM */
	uint64_t *hash;		/* XXH64 of what was last sent */
	uint64_t *told;		/* ... if it was not zero, and did not miss */
	uint64_t *zero;		/* the destination has zeroes */
	uint64_t *in_flight;	/* sent since the last harvest */
	uint64_t *stale;	/* post-copy: what the destination lacks */
	uint64_t *sent;		/* sent, not named, once or more often */
	uint64_t *twice;	/* ... twice or more often */
	uint64_t *written;	/* before the last harvest, as far as is known */
	uint64_t *before;	/* ... and before the one that came before it */
	uint64_t *same;		/* ... as what is there already */
	uint64_t *missed;	/* travelled other than whole, but was not right */
	uint64_t *refused;	/* ... named, once or more often */
	uint64_t owed;		/* pages left in the bitmap by the last scan */
};

struct pager {
	struct vm *vm;
	struct gather gather;
	struct progress *progress;
	struct pages *pages;	/* one for each RAM file */
	struct migrate_fast_digest *digests;	/* room for PAGES_CHUNK */
	uint64_t *hot;		/* room for PAGES_COUNT */
	struct refer *refer;	/* what the destination may have, or NULL */
	bool lazy;		/* ... and reads only when the VM runs there */
	struct twins twins;	/* what it has of this VM */
	uint64_t missing;	/* pages that .missed names */
	bool frugal;		/* no third time in a round; see scan.h */
	uint64_t seed;
	uint64_t hashed, hash_ns;
	uint64_t idle_ns;	/* of .hash_ns, where nothing was to be sent */
	uint64_t more;		/* times that a page was sent a third time ... */
};

void pages_init(struct pager *pager, struct vm *vm, struct conn *conn,
		struct progress *progress, enum compress compress);
void pages_free(struct pager *pager);
/* Takes the dirty pages of all files into their bitmaps. */
int pages_harvest(struct pager *pager, struct mf_harvested *sum);
/*
 * What was said of a page instead of sending it whole was wrong: the next
 * harvest reports it. -1 if nothing was under way.
 */
int pages_miss(struct pager *pager, unsigned int ram, uint64_t page);
/* Of the pages from @start, no more than @most. */
uint64_t pages_part(const struct pages *pages, uint64_t start, uint64_t most);
/*
 * Post-copy: what was harvested is stale at the destination; what is @hot
 * goes first.
 */
void pages_stale(struct pager *pager, bool hot);
/* Pages that the destination lacks. */
uint64_t pages_lacking(const struct pager *pager);
/* A page travels, whole or by name: what it is. */
void pages_record(struct pager *pager, unsigned int ram,
		  const struct migrate_fast_digest *digest);
/* ... as what is there already. */
void pages_record_same(struct pager *pager, unsigned int ram,
		       const struct migrate_fast_digest *digest);
/* ... as nothing but zeroes. */
void pages_record_zero(struct pager *pager, unsigned int ram, uint64_t page);
/* One that the destination has, perhaps, and that equals it. 1, or 0. */
int pages_twin(struct pager *pager, const struct migrate_fast_digest *digest,
	       unsigned int *ram, uint64_t *page);
/* A page travels: whole, or what has changed in it. */
void pages_sent(struct pager *pager, unsigned int ram, uint64_t page);
/* Pages that have travelled so twice or more often. */
uint64_t pages_sent_twice(const struct pager *pager);
/*
 * The writable working set: pages that were written before the last harvest
 * and, again, before the one that came before it. To be called after each.
 */
uint64_t pages_working_set(struct pager *pager);

#endif /* PAGES_H */
