/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In which order pages are pushed that nobody has asked for yet: dynamic
 * prepaging after Hines and Gopalan (VEE 2009), with strides. Pure logic.
 */
#ifndef PREPAGE_H
#define PREPAGE_H

#include <stdbool.h>
#include <stdint.h>

#define PREPAGE_STREAMS	8

/* Somebody walks through memory, as far as can be told from the faults. */
struct prepage_stream {
	bool used;
	unsigned int ram;
	uint64_t last;		/* page of the last fault */
	int64_t stride;		/* pages from one to the next; 0: not known */
	uint64_t next;		/* page to push next */
	uint64_t left;		/* steps to go in this window */
	uint64_t window;	/* steps of a window */
	uint64_t pushed;	/* pages pushed since the last fault */
	bool proved;		/* a fault has come as foretold */
	uint64_t turn;		/* of the last fault: the youngest is first */
};

/* The pages that are left of one RAM file. */
struct prepage_ram {
	const uint64_t *todo;	/* bitmap, which others clear as pages go */
	const uint64_t *hot;	/* those that were written last; may be NULL */
	uint64_t pages;
	uint64_t cursor;	/* nothing (hot) is left below */
};

struct prepage {
	struct prepage_ram *rams;
	unsigned int nr_rams;
	bool hot_gone;
	unsigned int ram;	/* of the rest */
	struct prepage_stream streams[PREPAGE_STREAMS];
	uint64_t turn;
	unsigned int luck;	/* of 256: streams begun of late that went on */
	uint64_t pushed;	/* pages pushed because of a fault elsewhere */
	/* Of windows about which a later fault has told something: */
	uint64_t judged;	/* pages pushed */
	uint64_t hits;		/* of them, those that the guest went past */
};

void prepage_init(struct prepage *prepage, struct prepage_ram *rams,
		  unsigned int nr_rams);
/* A page was wanted; it need not be one that is left. */
void prepage_fault(struct prepage *prepage, unsigned int ram, uint64_t page);
/*
 * Which pages next: at most @max, neighbours. The caller clears their bits
 * before it asks again. Returns how many, 0 when nothing is left.
 */
uint64_t prepage_next(struct prepage *prepage, uint64_t max,
		      unsigned int *ram, uint64_t *page);

#endif /* PREPAGE_H */
