// SPDX-License-Identifier: GPL-2.0
/*
 * Makes the index of a source, or brings it up to date.
 *
 * All blocks are read and digested, which is as fast as the disk is: XXH64
 * outruns it. SHA-256 is left to who takes a page. The index holds the digests
 * of all blocks, so that only what differs need be written to it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../lib/say.h"
#include "build.h"
#include "index.h"
#include "sorter.h"

struct builder {
	const struct store *store;
	struct blocks *blocks;
	struct index index;
	struct sorter drop, add;
	struct built *built;
};

/* What differs from the digests @old of this chunk? */
static int compare(struct builder *builder, uint64_t first, const uint64_t *old,
		   const uint64_t *new, unsigned int n)
{
	unsigned int i;

	builder->built->read += n;
	for (i = 0; i < BLOCKS_CHUNK; i++) {
		uint64_t was = old ? old[i] : 0;

		builder->built->zero += i < n && !new[i];
		if (new[i] == was)
			continue;
		builder->built->changed++;
		if (was && sorter_add(&builder->drop, was, first + i))
			return -1;
		if (new[i] && sorter_add(&builder->add, new[i], first + i))
			return -1;
	}
	return 0;
}

static int build_chunk(struct builder *builder, uint64_t chunk)
{
	uint64_t first = chunk * BLOCKS_CHUNK, before;
	uint64_t digests[BLOCKS_CHUNK] = { 0 };
	uint64_t left = first < builder->blocks->count ?
			builder->blocks->count - first : 0;
	unsigned int n = left < BLOCKS_CHUNK ? (unsigned int)left :
					       BLOCKS_CHUNK;

	if (n && builder->blocks->ops->digest(builder->blocks, first, n,
					      builder->store->seed, digests))
		return -1;
	before = builder->built->changed;
	if (compare(builder, first, index_chunk(&builder->index, chunk),
		    digests, n))
		return -1;
	if (builder->built->changed == before)
		return 0;
	return index_put_chunk(&builder->index, chunk, digests);
}

static uint64_t chunks(uint64_t blocks)
{
	return (blocks + BLOCKS_CHUNK - 1) / BLOCKS_CHUNK;
}

static int build_index(struct builder *builder, uint64_t blocks_before,
		       int (*step)(void *arg, uint64_t done, uint64_t all),
		       void *arg)
{
	uint64_t all = builder->blocks->count, n = chunks(all), i, done;

	for (i = 0; i < n; i++) {
		if (build_chunk(builder, i))
			return -1;
		done = (i + 1) * BLOCKS_CHUNK;
		if (step(arg, done < all ? done : all, all))
			return -1;
	}
	/* It may have been longer. */
	for (; i < chunks(blocks_before); i++)
		if (build_chunk(builder, i))
			return -1;
	if (sorter_sort(&builder->drop) || sorter_sort(&builder->add) ||
	    index_apply(&builder->index, &builder->drop, &builder->add))
		return -1;
	return 0;
}

int build(const struct store *store, struct source *source, bool anew,
	  int (*step)(void *arg, uint64_t done, uint64_t all), void *arg,
	  struct built *built)
{
	struct builder builder = { .store = store, .built = built };
	char *path = store_index(store, source);
	struct stamp stamp;
	int ret = -1;

	*built = (struct built){ 0 };
	sorter_init(&builder.drop, store->dir);
	sorter_init(&builder.add, store->dir);
	if (index_check(path, store->seed) != INDEX_OK)
		anew = true;
	/* Before it is read: what is written meanwhile is a change. */
	if (source_stamp(source->path, &stamp))
		goto out;
	builder.blocks = blocks_open(source->path, source->format);
	if (!builder.blocks ||
	    index_change(&builder.index, path, builder.blocks->count +
			 (anew ? 0 : source->blocks), anew))
		goto out;
	ret = build_index(&builder, anew ? 0 : source->blocks, step, arg);
	if (ret)
		index_close(&builder.index);
	else
		ret = index_finish(&builder.index, store->seed);
	if (!ret) {
		source->stamp = stamp;
		source->blocks = builder.blocks->count;
		source->places = builder.index.places;
		source->indexed = time(NULL);
	} else {
		/* Half an index is of no use to anybody. */
		index_remove(path);
		source->indexed = 0;
	}
out:
	blocks_close(builder.blocks);
	sorter_free(&builder.drop);
	sorter_free(&builder.add);
	free(path);
	return ret;
}
