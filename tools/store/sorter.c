// SPDX-License-Identifier: GPL-2.0
/*
 * Sorts by merging: parts that fit into memory are sorted there and put into
 * a file without a name, which goes when the program does, however it ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/say.h"
#include "sorter.h"

/* 64 MiB: pages of 16 GiB. */
#define PART	(4UL << 20)
#define FIRST	4096

void sorter_init(struct sorter *sorter, const char *dir)
{
	*sorter = (struct sorter){ .dir = dir, .fd = -1, .most = PART };
}

void sorter_free(struct sorter *sorter)
{
	if (sorter->file)
		munmap(sorter->file, sorter->filed * sizeof(*sorter->file));
	if (sorter->fd >= 0)
		close(sorter->fd);
	free(sorter->part);
	free(sorter->parts);
	sorter_init(sorter, sorter->dir);
}

static int compare(const struct place *a, const struct place *b)
{
	if (a->digest != b->digest)
		return a->digest < b->digest ? -1 : 1;
	return a->block < b->block ? -1 : a->block > b->block;
}

/*
 * By one byte of the digest, those that are alike in the order they had: so,
 * from the last byte to the first, all is in order in the end (Hollerith's way;
 * Knuth, The Art of Computer Programming 3, 5.2.5). Blocks come in ascending
 * order, and stay so. Five times as fast as qsort(3).
 */
static void sort_by(unsigned int shift, const struct place *from, size_t n,
		    struct place *to)
{
	size_t ends[256] = { 0 }, i, sum = 0;

	for (i = 0; i < n; i++)
		ends[(from[i].digest >> shift) & 0xff]++;
	for (i = 0; i < 256; i++) {
		sum += ends[i];
		ends[i] = sum - ends[i];
	}
	for (i = 0; i < n; i++)
		to[ends[(from[i].digest >> shift) & 0xff]++] = from[i];
}

static void sort_part(struct sorter *sorter)
{
	struct place *other, *swap;
	unsigned int shift;

	if (!sorter->n)
		return;
	other = need(malloc(sorter->room * sizeof(*other)));
	for (shift = 0; shift < 64; shift += 8) {
		sort_by(shift, sorter->part, sorter->n, other);
		swap = sorter->part;
		sorter->part = other;
		other = swap;
	}
	free(other);
}

/* A part is full: it goes to the file. */
static int put_away(struct sorter *sorter)
{
	size_t bytes = sorter->n * sizeof(*sorter->part), done = 0;

	if (sorter->fd < 0)
		sorter->fd = open(sorter->dir, O_TMPFILE | O_RDWR | O_CLOEXEC,
				  0600);
	if (sorter->fd < 0)
		return fail("cannot make a file in %s: %s", sorter->dir,
			    strerror(errno));
	sort_part(sorter);
	while (done < bytes) {
		ssize_t n = write(sorter->fd, (char *)sorter->part + done,
				  bytes - done);

		if (n < 0 && errno != EINTR)
			return fail("cannot write to a file in %s: %s",
				    sorter->dir, strerror(errno));
		if (n > 0)
			done += (size_t)n;
	}
	sorter->filed += sorter->n;
	sorter->nr_parts++;
	sorter->n = 0;
	return 0;
}

int sorter_add(struct sorter *sorter, uint64_t digest, uint64_t block)
{
	if (sorter->n == sorter->most && put_away(sorter))
		return -1;
	if (sorter->n == sorter->room) {
		sorter->room = sorter->room ? sorter->room * 2 : FIRST;
		sorter->part = need(realloc(sorter->part, sorter->room *
					    sizeof(*sorter->part)));
	}
	sorter->part[sorter->n++] = (struct place){ digest, block };
	return 0;
}

int sorter_sort(struct sorter *sorter)
{
	unsigned int i;
	void *map;

	sort_part(sorter);
	sorter->parts = need(calloc(sorter->nr_parts + 1,
				    sizeof(*sorter->parts)));
	if (sorter->nr_parts) {
		map = mmap(NULL, sorter->filed * sizeof(*sorter->file),
			   PROT_READ, MAP_SHARED, sorter->fd, 0);
		if (map == MAP_FAILED)
			return fail("cannot map a file in %s: %s", sorter->dir,
				    strerror(errno));
		sorter->file = map;
	}
	/* All that were put away are of the same length. */
	for (i = 0; i < sorter->nr_parts; i++)
		sorter->parts[i] = (struct sorted){
			sorter->file + i * sorter->most,
			sorter->file + (i + 1) * sorter->most
		};
	sorter->parts[sorter->nr_parts++] = (struct sorted){
		sorter->part, sorter->part + sorter->n
	};
	return 0;
}

const struct place *sorter_next(struct sorter *sorter)
{
	struct sorted *least = NULL;
	unsigned int i;

	/* There are few: one for 16 GiB. */
	for (i = 0; i < sorter->nr_parts; i++) {
		struct sorted *part = &sorter->parts[i];

		if (part->at < part->end &&
		    (!least || compare(part->at, least->at) < 0))
			least = part;
	}
	return least ? least->at++ : NULL;
}
