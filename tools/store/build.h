/* SPDX-License-Identifier: GPL-2.0 */
/* Makes the index of a source, or brings it up to date. */
#ifndef BUILD_H
#define BUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

struct built {
	uint64_t read;		/* blocks that were digested */
	uint64_t zero;		/* of them, zero */
	uint64_t changed;	/* of them, other than at the last time */
};

/*
 * Reads all of @source; in the index only what has changed is written, unless
 * there is none, or @anew. Fills in what is known of the source, which is then
 * to be saved. @step is called with the blocks dealt with so far; what is not 0
 * ends it. 0, or -1 after fail().
 */
int build(const struct store *store, struct source *source, bool anew,
	  int (*step)(void *arg, uint64_t done, uint64_t all), void *arg,
	  struct built *built);

#endif /* BUILD_H */
