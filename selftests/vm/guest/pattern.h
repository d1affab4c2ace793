/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the pages of a guest's programs hold: a page is known by its content, so that
 * one that was lost, torn, exchanged or left behind is found.
 */
#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define PAGE	4096
#define WORDS	(PAGE / sizeof(uint64_t))

static inline uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline uint64_t mix(uint64_t page, uint32_t seq)
{
	uint64_t x = (page << 32 | seq) * 0x9e3779b97f4a7c15ULL + 1;

	x ^= x >> 29;
	return x * 0xbf58476d1ce4e5b9ULL | 1;
}

/* Every word depends on page, version and place; word 0 and 1 can be read. */
static inline void fill(uint64_t *p, uint64_t page, uint32_t seq)
{
	uint64_t x = mix(page, seq);

	p[0] = page;
	p[1] = seq;
	for (size_t i = 2; i < WORDS; i++)
		p[i] = x * i;
}

static inline int right(const uint64_t *p, uint64_t page, uint32_t seq)
{
	uint64_t x = mix(page, seq), bad = 0;

	bad |= p[0] ^ page;
	bad |= p[1] ^ seq;
	for (size_t i = 2; i < WORDS; i++)
		bad |= p[i] ^ x * i;
	return !bad;
}

#endif /* PATTERN_H */
