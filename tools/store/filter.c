// SPDX-License-Identifier: GPL-2.0
/* Which digests may there be? See filter.h. */
#include <endian.h>
#include <stdlib.h>

#include "../lib/say.h"
#include "filter.h"

/* Odd, and otherwise of no meaning: digits of pi. */
static const uint32_t odd[8] = {
	0x243f6a89, 0x85a308d3, 0x13198a2f, 0x03707345,
	0xa4093823, 0x299f31d1, 0x082efa99, 0xec4e6c89,
};

uint64_t filter_bytes(uint64_t digests)
{
	uint64_t bits = FILTER_BLOCK * 8;

	return (digests * FILTER_BITS + bits - 1) / bits * FILTER_BLOCK;
}

void filter_init(struct filter *filter, uint64_t bytes)
{
	filter->nr_blocks = bytes / FILTER_BLOCK;
	filter->blocks = filter->nr_blocks ?
			 need(calloc(filter->nr_blocks, FILTER_BLOCK)) : NULL;
}

void filter_free(struct filter *filter)
{
	free(filter->blocks);
	*filter = (struct filter){ 0 };
}

/* The upper half chooses the block, the lower one its bits. */
static uint32_t *block_of(const struct filter *filter, uint64_t digest)
{
	unsigned __int128 product = (unsigned __int128)digest *
				    filter->nr_blocks;

	return filter->blocks[(uint64_t)(product >> 64)];
}

static uint32_t bit_of(uint64_t digest, unsigned int word)
{
	return htole32(1U << ((uint32_t)digest * odd[word] >> 27));
}

void filter_add(struct filter *filter, uint64_t digest)
{
	uint32_t *block = block_of(filter, digest);
	unsigned int i;

	for (i = 0; i < 8; i++)
		block[i] |= bit_of(digest, i);
}

bool filter_has(const struct filter *filter, uint64_t digest)
{
	const uint32_t *block;
	unsigned int i;

	if (!filter->nr_blocks)
		return false;
	block = block_of(filter, digest);
	for (i = 0; i < 8; i++)
		if (!(block[i] & bit_of(digest, i)))
			return false;
	return true;
}
