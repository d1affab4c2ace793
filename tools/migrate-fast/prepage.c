// SPDX-License-Identifier: GPL-2.0
/*
 * In which order pages are pushed; see prepage.h.
 *
 * A fault either goes on with a stream, or begins one. A stream pushes a
 * window of pages ahead of its last fault. If the next fault lies just beyond
 * what was pushed, the guest has gone past all of it without a fault: the
 * window grows. If it lies elsewhere the distance is taken for the stride,
 * and the window is small again. Faults may be some strides apart, where the
 * window held what lay between by chance: if the distance and the stride that
 * was thought have a common divisor, that is the stride. The stream that has
 * faulted last goes first. What no stream asks for goes in ascending order,
 * first what the VM wrote last.
 *
 * A stream, or another stride of it, is a guess until a fault comes as
 * foretold. Guesses cost line that somebody else may wait for: where few of
 * them have proved right of late, none is pushed for until it has.
 */
#include <string.h>

#include "../lib/bitmap.h"
#include "prepage.h"

#define WINDOW_MIN	8
#define WINDOW_MAX	2048
/*
 * What is pushed for a fault is queued on the line, and the first pages of it
 * are wanted before they come: the fewer such beginnings, the better.
 */
#define WINDOW_GROWTH	4
/* A fault so far from a stream has nothing to do with it. */
#define REACH		256
/* Steps beyond the window: it is still on its way. */
#define SLACK		2
/* Luck is a moving average over about so many guesses, 256 if all are right. */
#define LUCK_SPAN	16
#define LUCK_ALL	256
#define LUCK_LEAST	(LUCK_ALL / 4)

void prepage_init(struct prepage *prepage, struct prepage_ram *rams,
		  unsigned int nr_rams)
{
	unsigned int i;

	memset(prepage, 0, sizeof(*prepage));
	prepage->rams = rams;
	prepage->nr_rams = nr_rams;
	prepage->luck = LUCK_ALL;
	for (i = 0; i < nr_rams; i++)
		rams[i].cursor = 0;
}

/* Steps from the last fault to @page, or -1 if it is not on the way. */
static int64_t steps_to(const struct prepage_stream *stream, uint64_t page)
{
	int64_t stride = stream->stride ? stream->stride : 1;
	int64_t distance = (int64_t)(page - stream->last);

	if (distance % stride || distance / stride < 0)
		return -1;
	return distance / stride;
}

static int64_t steps_ahead(const struct prepage_stream *stream)
{
	int64_t stride = stream->stride ? stream->stride : 1;

	return (int64_t)(stream->next - stream->last) / stride;
}

static void guess_ends(struct prepage *prepage,
		       const struct prepage_stream *stream, bool right)
{
	if (!stream->used || stream->proved)
		return;
	prepage->luck -= prepage->luck / LUCK_SPAN;
	if (right)
		prepage->luck += LUCK_ALL / LUCK_SPAN;
}

/* Steps to push for a guess. */
static uint64_t guess(const struct prepage *prepage, uint64_t window)
{
	return prepage->luck < LUCK_LEAST ? 0 : window;
}

/* The stream goes on at @page, as foretold. */
static void go_on(struct prepage *prepage, struct prepage_stream *stream,
		  uint64_t page, int64_t steps)
{
	int64_t stride = stream->stride ? stream->stride : 1;
	int64_t ahead = steps_ahead(stream);
	uint64_t passed = stream->pushed;

	if (steps < ahead)
		passed = (uint64_t)(steps > 0 ? steps - 1 : 0) < passed ?
			 (uint64_t)(steps > 0 ? steps - 1 : 0) : passed;
	prepage->judged += stream->pushed;
	prepage->hits += passed;
	guess_ends(prepage, stream, true);
	stream->proved = true;
	stream->stride = stride;
	stream->pushed = 0;
	if (steps >= ahead)
		stream->window *= WINDOW_GROWTH;
	if (stream->window > WINDOW_MAX)
		stream->window = WINDOW_MAX;
	stream->last = page;
	if (steps >= ahead)
		stream->next = page + (uint64_t)stride;
	stream->left = stream->window;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* The stream goes on, but in other steps than thought. */
static void turn_to(struct prepage *prepage, struct prepage_stream *stream,
		    uint64_t page)
{
	int64_t distance = (int64_t)(page - stream->last);
	uint64_t length = (uint64_t)(distance < 0 ? -distance : distance);
	uint64_t common = 1;

	if (stream->stride)
		common = gcd(length, (uint64_t)(stream->stride < 0 ?
						-stream->stride :
						stream->stride));
	if (common > 1)
		length = common;
	prepage->judged += stream->pushed;
	guess_ends(prepage, stream, false);
	stream->proved = false;
	stream->stride = distance < 0 ? -(int64_t)length : (int64_t)length;
	stream->pushed = 0;
	stream->window = WINDOW_MIN;
	stream->left = guess(prepage, WINDOW_MIN);
	stream->last = page;
	stream->next = page + (uint64_t)stream->stride;
}

static struct prepage_stream *oldest(struct prepage *prepage)
{
	struct prepage_stream *stream = &prepage->streams[0];
	unsigned int i;

	for (i = 1; i < PREPAGE_STREAMS && stream->used; i++)
		if (!prepage->streams[i].used ||
		    prepage->streams[i].turn < stream->turn)
			stream = &prepage->streams[i];
	return stream;
}

void prepage_fault(struct prepage *prepage, unsigned int ram, uint64_t page)
{
	struct prepage_stream *near = NULL, *stream;
	uint64_t least = REACH + 1, away;
	unsigned int i;

	for (i = 0; i < PREPAGE_STREAMS; i++) {
		int64_t steps;

		stream = &prepage->streams[i];
		if (!stream->used || stream->ram != ram)
			continue;
		steps = steps_to(stream, page);
		if (steps >= 0 && steps <= steps_ahead(stream) +
		    (stream->stride ? SLACK : 0)) {
			stream->turn = ++prepage->turn;
			go_on(prepage, stream, page, steps);
			return;
		}
		away = page > stream->last ? page - stream->last :
					     stream->last - page;
		if (away < least) {
			least = away;
			near = stream;
		}
	}
	if (near && least) {
		near->turn = ++prepage->turn;
		turn_to(prepage, near, page);
		return;
	}
	stream = oldest(prepage);
	prepage->judged += stream->pushed;
	guess_ends(prepage, stream, false);
	*stream = (struct prepage_stream){
		.used = true,
		.ram = ram,
		.last = page,
		.next = page + 1,
		.left = guess(prepage, WINDOW_MIN / 2),
		.window = WINDOW_MIN / 2,
		.turn = ++prepage->turn,
	};
}

static uint64_t run_at(const struct prepage_ram *ram, uint64_t page,
		       uint64_t max)
{
	uint64_t n = 0;

	while (n < max && page + n < ram->pages &&
	       bitmap_test(ram->todo, page + n))
		n++;
	return n;
}

/* The next pages of a stream, or 0 when its window is done. */
static uint64_t from_stream(struct prepage *prepage,
			    struct prepage_stream *stream, uint64_t max,
			    uint64_t *page)
{
	const struct prepage_ram *ram = &prepage->rams[stream->ram];
	int64_t stride = stream->stride ? stream->stride : 1;
	uint64_t n;

	while (stream->left) {
		if (stream->next >= ram->pages) {
			stream->left = 0;
			break;
		}
		*page = stream->next;
		n = run_at(ram, *page, stride == 1 ? (max < stream->left ?
						      max : stream->left) : 1);
		stream->next += (uint64_t)stride * (n ? n : 1);
		stream->left -= n ? n : 1;
		if (n) {
			stream->pushed += n;
			prepage->pushed += n;
			return n;
		}
	}
	return 0;
}

static struct prepage_stream *youngest(struct prepage *prepage)
{
	struct prepage_stream *stream = NULL;
	unsigned int i;

	for (i = 0; i < PREPAGE_STREAMS; i++) {
		struct prepage_stream *at = &prepage->streams[i];

		if (at->used && at->left && (!stream || at->turn > stream->turn))
			stream = at;
	}
	return stream;
}

static uint64_t left_in(const struct prepage_ram *ram, uint64_t word, bool hot)
{
	if (!hot)
		return ram->todo[word];
	return ram->hot ? ram->todo[word] & ram->hot[word] : 0;
}

static uint64_t ascending(struct prepage *prepage, bool hot, uint64_t max,
			  unsigned int *number, uint64_t *page)
{
	for (; prepage->ram < prepage->nr_rams; prepage->ram++) {
		struct prepage_ram *ram = &prepage->rams[prepage->ram];
		uint64_t words = bitmap_words(ram->pages);
		uint64_t word = ram->cursor / 64;

		while (word < words && !left_in(ram, word, hot))
			word++;
		if (word == words)
			continue;
		*page = word * 64 + (uint64_t)
			__builtin_ctzll(left_in(ram, word, hot));
		ram->cursor = *page;
		*number = prepage->ram;
		/* Neighbours that are not hot cost no header of their own. */
		return run_at(ram, *page, max);
	}
	return 0;
}

static uint64_t from_rest(struct prepage *prepage, uint64_t max,
			  unsigned int *number, uint64_t *page)
{
	unsigned int i;
	uint64_t n;

	if (!prepage->hot_gone) {
		n = ascending(prepage, true, max, number, page);
		if (n)
			return n;
		prepage->hot_gone = true;
		prepage->ram = 0;
		for (i = 0; i < prepage->nr_rams; i++)
			prepage->rams[i].cursor = 0;
	}
	return ascending(prepage, false, max, number, page);
}

uint64_t prepage_next(struct prepage *prepage, uint64_t max,
		      unsigned int *ram, uint64_t *page)
{
	struct prepage_stream *stream;
	uint64_t n;

	while ((stream = youngest(prepage))) {
		n = from_stream(prepage, stream, max, page);
		if (n) {
			*ram = stream->ram;
			return n;
		}
	}
	return from_rest(prepage, max, ram, page);
}
