// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which pages are pushed (tools/migrate-fast/prepage.c), against
 * guests that walk through memory in some way. A guest touches a page in a
 * step; what it touches and is not there yet is a fault, and costs it STALL
 * steps. In each step SPEED pages are pushed. Every page goes exactly once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "../../tools/lib/bitmap.h"
#include "../../tools/migrate-fast/prepage.h"

#define PAGES	32768
#define TOUCHED	1500
#define STALL	4

struct link {
	struct prepage prepage;
	struct prepage_ram ram;
	uint64_t *todo;
	uint64_t sent, twice, faults, touches;
};

static void begin(struct link *link)
{
	uint64_t page;

	memset(link, 0, sizeof(*link));
	link->todo = bitmap_new(PAGES);
	for (page = 0; page < PAGES; page++)
		bitmap_set(link->todo, page);
	link->ram = (struct prepage_ram){ .todo = link->todo, .pages = PAGES };
	prepage_init(&link->prepage, &link->ram, 1);
}

static void take(struct link *link, uint64_t page)
{
	link->twice += !bitmap_test(link->todo, page);
	bitmap_clear(link->todo, page);
	link->sent++;
}

static uint64_t push(struct link *link, uint64_t max)
{
	unsigned int ram;
	uint64_t page, n, i;

	n = prepage_next(&link->prepage, max, &ram, &page);
	for (i = 0; i < n; i++)
		take(link, page + i);
	return n;
}

static void push_some(struct link *link, unsigned int speed)
{
	while (speed--)
		push(link, 1);
}

static void touch(struct link *link, uint64_t page, unsigned int speed)
{
	link->touches++;
	if (bitmap_test(link->todo, page)) {
		link->faults++;
		prepage_fault(&link->prepage, 0, page);
		take(link, page);
		push_some(link, speed * STALL);
	}
	push_some(link, speed);
}

/* Of the faults that there would be without pushing, how many were avoided? */
static unsigned int avoided(const struct link *link)
{
	return (unsigned int)(100 * (link->touches - link->faults) /
			      link->touches);
}

FIXTURE(prepage)
{
	struct link link;
};

FIXTURE_SETUP(prepage)
{
	begin(&self->link);
}

/* Nothing is lost, nothing goes twice. */
FIXTURE_TEARDOWN(prepage)
{
	while (push(&self->link, 64))
		;
	EXPECT_EQ(PAGES, self->link.sent);
	EXPECT_EQ(0, self->link.twice);
	EXPECT_EQ(0, bitmap_weight(self->link.todo, bitmap_words(PAGES)));
	free(self->link.todo);
}

TEST_F(prepage, in_order_when_nobody_faults)
{
	unsigned int ram;
	uint64_t page, at;

	for (at = 0; at < PAGES; at += 64) {
		ASSERT_EQ(64, prepage_next(&self->link.prepage, 64, &ram,
					   &page));
		ASSERT_EQ(at, page);
		for (page = at; page < at + 64; page++)
			take(&self->link, page);
	}
}

/* What the guest wrote last it will want first. */
TEST_F(prepage, hot_pages_first)
{
	uint64_t *hot = bitmap_new(PAGES), page;
	unsigned int ram;

	bitmap_set(hot, 700);
	bitmap_set(hot, 30000);
	self->link.ram.hot = hot;
	prepage_init(&self->link.prepage, &self->link.ram, 1);
	ASSERT_EQ(1, prepage_next(&self->link.prepage, 1, &ram, &page));
	EXPECT_EQ(700, page);
	take(&self->link, page);
	ASSERT_EQ(1, prepage_next(&self->link.prepage, 1, &ram, &page));
	EXPECT_EQ(30000, page);
	take(&self->link, page);
	ASSERT_EQ(1, prepage_next(&self->link.prepage, 1, &ram, &page));
	EXPECT_EQ(0, page);
	self->link.ram.hot = NULL;
	free(hot);
}

TEST_F(prepage, goes_on_behind_a_fault)
{
	unsigned int ram;
	uint64_t page;

	prepage_fault(&self->link.prepage, 0, 20000);
	take(&self->link, 20000);
	ASSERT_LT(0, prepage_next(&self->link.prepage, 1, &ram, &page));
	EXPECT_EQ(20001, page);
}

TEST_F(prepage, ends_at_the_last_page)
{
	prepage_fault(&self->link.prepage, 0, PAGES - 1);
	take(&self->link, PAGES - 1);
	EXPECT_EQ(1, push(&self->link, 1));
	EXPECT_FALSE(bitmap_test(self->link.todo, 0));
}

TEST_F(prepage, sequential)
{
	uint64_t i;

	for (i = 0; i < TOUCHED; i++)
		touch(&self->link, 16000 + i, 1);
	TH_LOG("%u%% of the faults avoided", avoided(&self->link));
	EXPECT_LE(90, avoided(&self->link));
}

TEST_F(prepage, backwards)
{
	uint64_t i;

	for (i = 0; i < TOUCHED; i++)
		touch(&self->link, 16000 - i, 1);
	TH_LOG("%u%% of the faults avoided", avoided(&self->link));
	EXPECT_LE(80, avoided(&self->link));
}

FIXTURE(stride)
{
	struct link link;
};

FIXTURE_VARIANT(stride)
{
	uint64_t stride;
};

FIXTURE_VARIANT_ADD(stride, of_2)
{
	.stride = 2,
};

FIXTURE_VARIANT_ADD(stride, of_3)
{
	.stride = 3,
};

FIXTURE_VARIANT_ADD(stride, of_4)
{
	.stride = 4,
};

FIXTURE_VARIANT_ADD(stride, of_7)
{
	.stride = 7,
};

FIXTURE_VARIANT_ADD(stride, of_8)
{
	.stride = 8,
};

FIXTURE_SETUP(stride)
{
	begin(&self->link);
}

FIXTURE_TEARDOWN(stride)
{
	free(self->link.todo);
}

TEST_F(stride, is_found)
{
	uint64_t i;

	for (i = 0; i < TOUCHED; i++)
		touch(&self->link, 16000 + i * variant->stride, 1);
	TH_LOG("%u%% of the faults avoided", avoided(&self->link));
	EXPECT_LE(80, avoided(&self->link));
}

/* Two that walk at once do not confuse it. */
TEST_F(prepage, two_at_once)
{
	uint64_t i;

	for (i = 0; i < TOUCHED; i++) {
		touch(&self->link, 10000 + i, 1);
		touch(&self->link, 20000 + i * 4, 1);
	}
	TH_LOG("%u%% of the faults avoided", avoided(&self->link));
	EXPECT_LE(80, avoided(&self->link));
}

static void touch_at_random(struct link *link)
{
	uint64_t i, state = 88172645463325252ULL;

	for (i = 0; i < TOUCHED; i++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		touch(link, state % PAGES, 1);
	}
}

/* Faults that follow no pattern gain nothing, and lose nothing. */
TEST_F(prepage, at_random)
{
	touch_at_random(&self->link);
	TH_LOG("%u%% of the faults avoided, %llu of %llu pages pushed for them",
	       avoided(&self->link),
	       (unsigned long long)self->link.prepage.pushed,
	       (unsigned long long)self->link.sent);
	EXPECT_LT(0, avoided(&self->link));
	EXPECT_GE(self->link.sent / 10, self->link.prepage.pushed);
}

/* Nor do they spoil what comes after them. */
TEST_F(prepage, sequential_after_random)
{
	uint64_t i;

	touch_at_random(&self->link);
	self->link.faults = 0;
	self->link.touches = 0;
	for (i = 0; i < TOUCHED; i++)
		touch(&self->link, PAGES - 2 * TOUCHED + i, 1);
	TH_LOG("%u%% of the faults avoided", avoided(&self->link));
	EXPECT_LE(90, avoided(&self->link));
}

TEST_HARNESS_MAIN
