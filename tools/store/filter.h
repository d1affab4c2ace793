/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which digests may there be? A set that says "perhaps" or "no", in 12 bits for
 * each digest: small enough to be told to another host.
 *
 * A Bloom filter whose bits of one digest lie in one block of 32 bytes, one in
 * each of its 8 words, so that a look takes one cache line: "Cache-, Hash- and
 * Space-Efficient Bloom Filters", Putze, Sanders, Singler (WEA 2007), 3.1. With
 * 12 bits it says "perhaps" to one of about 200 that are not in it.
 */
#ifndef FILTER_H
#define FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_BLOCK	32
#define FILTER_BITS	12

struct filter {
	uint32_t (*blocks)[8];	/* little endian, as they are told */
	uint64_t nr_blocks;	/* 0: nothing is in it */
};

/* Bytes of a filter for so many digests. */
uint64_t filter_bytes(uint64_t digests);
/* An empty one of so many bytes, a multiple of FILTER_BLOCK. */
void filter_init(struct filter *filter, uint64_t bytes);
void filter_free(struct filter *filter);
void filter_add(struct filter *filter, uint64_t digest);
bool filter_has(const struct filter *filter, uint64_t digest);

#endif /* FILTER_H */
