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

/*
 * The same with pages of which a new version rewrites only word 1 and @few others,
 * somewhere in the page: what stands elsewhere is of version 0.
 */
static inline size_t few_at(uint64_t page, size_t few)
{
	return 2 + page * 37 % (WORDS - 1 - few);
}

static inline void fill_few(uint64_t *p, uint64_t page, uint32_t seq, size_t few)
{
	uint64_t x = mix(page, seq);
	size_t at = few_at(page, few);

	p[1] = seq;
	for (size_t i = at; i < at + few; i++)
		p[i] = x * i;
}

static inline int right_few(const uint64_t *p, uint64_t page, uint32_t seq, size_t few)
{
	uint64_t x = mix(page, seq), old = mix(page, 0), bad = 0;
	size_t at = few_at(page, few);

	bad |= p[0] ^ page;
	bad |= p[1] ^ seq;
	for (size_t i = 2; i < WORDS; i++)
		bad |= p[i] ^ (i >= at && i < at + few ? x : old) * i;
	return !bad;
}

/*
 * Two versions in turn that have the same XXH64, for half of the pages with whatever seed.
 * There, a word times an odd number is added to a sum, which is turned by 31 bits and
 * multiplied by XXH_1; the word 32 bytes on comes next. Of a word whose bit 63 is flipped,
 * bit 30 is left after the turn: taken away by the next word, or made twice as much, as it
 * happens.
 */
#define XXH_1		0x9e3779b185ebca87ULL
#define XXH_2_INVERSE	0x0ba79078168d4bafULL
#define AIMED_AT	8

static inline void fill_aimed(uint64_t *p, uint64_t page, uint32_t seq)
{
	uint64_t x = mix(page, 0);

	p[AIMED_AT] = x * AIMED_AT ^ (uint64_t)(seq & 1) << 63;
	p[AIMED_AT + 4] = x * (AIMED_AT + 4) -
			  (seq & 1) * (XXH_1 << 30) * XXH_2_INVERSE;
}

/* The version, if it is one: 0 or 1. */
static inline uint32_t seq_aimed(const uint64_t *p, uint64_t page)
{
	return (p[AIMED_AT] ^ mix(page, 0) * AIMED_AT) >> 63;
}

static inline int right_aimed(const uint64_t *p, uint64_t page, uint32_t seq)
{
	uint64_t want[WORDS], bad = 0;

	fill(want, page, 0);
	fill_aimed(want, page, seq);
	for (size_t i = 0; i < WORDS; i++)
		bad |= p[i] ^ want[i];
	return !bad;
}

#endif /* PATTERN_H */
