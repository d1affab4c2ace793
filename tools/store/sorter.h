/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sorts more (digest, block) pairs than memory shall hold: an index that is
 * written in order of its keys is written once.
 */
#ifndef SORTER_H
#define SORTER_H

#include <stddef.h>
#include <stdint.h>

/* Where a page with this digest is. */
struct place {
	uint64_t digest;
	uint64_t block;
};

struct sorter {
	const char *dir;	/* where a file may be made, if memory does not do */
	struct place *part;	/* in memory, unsorted until sorter_sort() */
	size_t n, room, most;	/* there; allocated; before it goes to a file */
	int fd;			/* sorted parts, one after the other */
	struct place *file;	/* ... mapped */
	uint64_t filed;		/* places in it */
	struct sorted {
		const struct place *at, *end;
	} *parts;
	unsigned int nr_parts;
};

void sorter_init(struct sorter *sorter, const char *dir);
void sorter_free(struct sorter *sorter);
/* With blocks in ascending order. 0, or -1 after fail(). */
int sorter_add(struct sorter *sorter, uint64_t digest, uint64_t block);
/* Nothing can be added after this. 0, or -1 after fail(). */
int sorter_sort(struct sorter *sorter);
/* The next in ascending order of digest, then block; NULL at the end. */
const struct place *sorter_next(struct sorter *sorter);

#endif /* SORTER_H */
