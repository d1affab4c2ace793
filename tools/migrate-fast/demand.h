/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Destination, post-copy: RAM files some of whose pages are absent. Who
 * touches one waits in the kernel until we fill it.
 *
 * From demand_begin() on nothing here may touch the VM's memory but by
 * demand_fill(): we would wait for ourselves.
 */
#ifndef DEMAND_H
#define DEMAND_H

#include <stdbool.h>

#include "conn.h"
#include "latency.h"
#include "vm.h"

/* Somebody waits for a page. */
struct demand_wait {
	unsigned int ram;
	uint64_t page;
	uint64_t ns;		/* since when */
};

struct demand {
	struct vm *vm;
	bool active;		/* from demand_begin() on */
	int nice;		/* what it was before */
	bool broken;		/* a page could not be filled, after fail() */
	uint64_t **lacks;	/* bitmaps; the kernel may know of fewer */
	struct watch watch;
	/* Asks the source for a page. Returns 0, or -1 after fail(). */
	int (*want)(void *arg, unsigned int ram, uint64_t page);
	void *arg;
	struct demand_wait *waits;
	size_t nr_waits, size;
	struct latency latency;
	uint64_t filled;
};

void demand_init(struct demand *demand, struct vm *vm,
		 int (*want)(void *arg, unsigned int ram, uint64_t page),
		 void *arg);
void demand_free(struct demand *demand);

/* A STALE frame: pages that will be absent. */
int demand_stale(struct demand *demand, struct conn *conn,
		 const struct wire_frame *frame, const uint8_t *payload);
/* From here on they are. @total: how many the source has named. */
int demand_begin(struct demand *demand, uint64_t total);
/* Takes over from a recv that has ended: what is absent is known already. */
int demand_again(struct demand *demand);
/* Brings pages; @from is NULL for zeroes, else page aligned. */
int demand_fill(struct demand *demand, unsigned int ram, uint64_t page,
		uint64_t count, const void *from);
/* Pages that are absent still, by the kernel. Brings .lacks up to date. */
int demand_lacking(struct demand *demand, uint64_t *lacking);
/* Asks again for all that somebody waits for: the source is another. */
int demand_repeat(struct demand *demand);
/* Nothing is lacking any more: the VM has ended. */
void demand_forget(struct demand *demand);
/* No VM has seen the pages yet: zeroes, and the file is an ordinary one. */
void demand_undo(struct demand *demand);
/* The pages will not come: who waits for one gets SIGBUS. */
void demand_abort(struct demand *demand);
/* Faults, how many went on meanwhile, how long they took. */
json_t *demand_json(struct demand *demand);

#endif /* DEMAND_H */
