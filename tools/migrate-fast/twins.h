/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source: equal pages of the VM. A page whose twin has travelled is copied
 * from that at the destination, which compares its proof (proof.h).
 *
 * Finds a page that was said to the destination, by its XXH64. It forgets
 * some, and remembers some that hold something else by now: it is a hint.
 */
#ifndef TWINS_H
#define TWINS_H

#include <stdbool.h>
#include <stdint.h>

struct twins {
	uint32_t *slots;	/* number of the page + 1; 0: none */
	uint64_t mask;		/* slots, a power of two, less one */
};

/* For @pages pages, of all RAM files. Four to eight bytes for each. */
void twins_init(struct twins *twins, uint64_t pages);
void twins_free(struct twins *twins);
void twins_add(struct twins *twins, uint64_t xxh64, uint64_t page);
/*
 * Calls @is_it with what may be a twin, until it says yes. False: there is
 * none.
 */
bool twins_find(const struct twins *twins, uint64_t xxh64,
		bool (*is_it)(void *arg, uint64_t page), void *arg);

#endif /* TWINS_H */
