/* SPDX-License-Identifier: GPL-2.0 */
/* Bitmaps of __u64: page p is bit p % 64 of word p / 64. One thread only. */
#ifndef BITMAP_H
#define BITMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline uint64_t bitmap_words(uint64_t bits)
{
	return (bits + 63) / 64;
}

static inline uint64_t *bitmap_new(uint64_t bits)
{
	return calloc(bitmap_words(bits), sizeof(uint64_t));
}

static inline bool bitmap_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / 64] >> (bit % 64) & 1;
}

static inline void bitmap_set(uint64_t *map, uint64_t bit)
{
	map[bit / 64] |= 1ULL << (bit % 64);
}

static inline void bitmap_clear(uint64_t *map, uint64_t bit)
{
	map[bit / 64] &= ~(1ULL << (bit % 64));
}

/* Bits set in @words words. */
static inline uint64_t bitmap_weight(const uint64_t *map, uint64_t words)
{
	uint64_t n = 0, i;

	for (i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(map[i]);
	return n;
}

#endif /* BITMAP_H */
