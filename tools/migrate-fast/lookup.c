// SPDX-License-Identifier: GPL-2.0
/*
 * Finds pages in the sources of known.h.
 *
 * An index says where a page of some XXH64 lay. The place is read and its
 * SHA-256 compared, since it may have been written, and XXH64 can be forged.
 * The pages of a file that a guest has read lie next to each other on its
 * disk, so all places are looked up first, sorted, and read in runs.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "known.h"

/* Places that are tried for a digest, in one source. */
#define TRIES	8

/* Where a page lies, perhaps. */
struct place {
	struct known_source *source;
	uint64_t block;
	uint32_t number;	/* of the reference */
};

/* Block number @nth of @open with that digest. 1, or 0. */
static int find_block(struct known_source *open, uint64_t digest,
		      unsigned int nth, uint64_t *block)
{
	int found = index_find(&open->index, digest, nth, block);

	if (found < 0)
		known_leave_out(open->source);
	return found > 0 && *block < open->blocks->count;
}

/* The first place. 1, or 0 if there is none. */
static int find_place(struct known *known, uint64_t digest,
		      struct place *place)
{
	struct known_source *open = known->sources;

	for (; open < known->sources + known->nr_sources; open++) {
		place->source = open;
		if (find_block(open, digest, 0, &place->block))
			return 1;
	}
	return 0;
}

bool known_on_disk(struct known *known, const struct wire_reference *reference)
{
	struct place place;

	return find_place(known, le64toh(reference->xxh64), &place) &&
	       place.source->source->format != FORMAT_RAM;
}

static int nearer(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* Places from the first on that can be read as one run of @blocks. */
static uint32_t run_of(const struct place *places, uint32_t n,
		       unsigned int *blocks)
{
	uint32_t i;

	for (i = 1; i < n; i++)
		if (places[i].source != places[0].source ||
		    places[i].block > places[i - 1].block + 1)
			break;
	*blocks = (unsigned int)(places[i - 1].block - places[0].block + 1);
	return i;
}

/* Is this the SHA-256 of the page? */
static bool is_it(struct known *known, const void *page,
		  const uint8_t sha256[32])
{
	unsigned int len = 32;
	uint8_t sum[32];

	if (!known->sum) {
		known->sum = need(EVP_MD_CTX_new());
		known->sha256 = need(EVP_MD_fetch(NULL, "SHA2-256", NULL));
	}
	return EVP_DigestInit_ex2(known->sum, known->sha256, NULL) &&
	       EVP_DigestUpdate(known->sum, page, BLOCK_BYTES) &&
	       EVP_DigestFinal_ex(known->sum, sum, &len) &&
	       !memcmp(sum, sha256, sizeof(sum));
}

static bool take(struct known *known, struct known_source *source,
		 const void *page, const struct wire_reference *reference,
		 uint8_t *to)
{
	if (!is_it(known, page, reference->sha256))
		return false;
	memcpy(to, page, BLOCK_BYTES);
	source->taken++;
	return true;
}

/* Reads @n places, which are a run of @blocks. */
static void take_run(struct known *known, const struct place *places,
		     uint32_t n, unsigned int blocks,
		     const struct wire_reference *references,
		     uint8_t *const *to, bool *found)
{
	struct blocks *from = places->source->blocks;
	uint32_t i;

	/* A disk that fails costs misses, and of its neighbours none. */
	if (from->ops->read(from, places->block, blocks, known->room)) {
		free(fail_take());
		for (i = 0; blocks > 1 && i < n; i++)
			take_run(known, &places[i], 1, 1, references, to,
				 found);
		return;
	}
	for (i = 0; i < n; i++) {
		uint32_t number = places[i].number;

		found[number] = take(known, places[i].source, known->room +
				     (places[i].block - places->block) *
				     BLOCK_BYTES, &references[number],
				     to[number]);
	}
}

/* All places but @tried. */
static bool take_elsewhere(struct known *known, const struct place *tried,
			   const struct wire_reference *reference, uint8_t *to)
{
	uint64_t digest = le64toh(reference->xxh64), block;
	struct known_source *open = tried->source;
	unsigned int n = 1;

	for (; open < known->sources + known->nr_sources; open++, n = 0) {
		for (; n < TRIES && find_block(open, digest, n, &block); n++) {
			if (open->blocks->ops->read(open->blocks, block, 1,
						    known->room))
				free(fail_take());
			else if (take(known, open, known->room, reference, to))
				return true;
		}
	}
	return false;
}

void known_find(struct known *known, const struct wire_reference *references,
		uint32_t count, uint8_t *const *to, bool *found)
{
	struct place places[WIRE_MAX_REFERENCES];
	uint32_t n = 0, i, len;
	unsigned int blocks;

	if (!known->room)
		known->room = need(malloc(WIRE_MAX_REFERENCES * BLOCK_BYTES));
	for (i = 0; i < count; i++) {
		found[i] = false;
		places[n].number = i;
		n += (uint32_t)find_place(known, le64toh(references[i].xxh64),
					  &places[n]);
	}
	qsort(places, n, sizeof(*places), nearer);
	for (i = 0; i < n; i += len) {
		struct blocks *from = places[i].source->blocks;

		len = run_of(places + i, n - i, &blocks);
		if (from->ops->ahead)
			from->ops->ahead(from, places[i].block, blocks);
	}
	for (i = 0; i < n; i += len) {
		len = run_of(places + i, n - i, &blocks);
		take_run(known, places + i, len, blocks, references, to,
			 found);
	}
	for (i = 0; i < n; i++) {
		uint32_t number = places[i].number;

		if (!found[number])
			found[number] = take_elsewhere(known, &places[i],
						       &references[number],
						       to[number]);
	}
	for (i = 0; i < count; i++)
		known->missed += !found[i];
}
