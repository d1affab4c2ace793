// SPDX-License-Identifier: GPL-2.0
/*
 * What rounds of copying will do (tools/migrate-fast/curve.c), against guests
 * that write at random, RATE pages in a ms, HOT of eight writes to a small set:
 * their first round is watched, the later ones are foretold and then run.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "../../tools/lib/bitmap.h"
#include "../../tools/migrate-fast/curve.h"

#define PAGES		16384
#define FIRST_ROUND_MS	10000
#define ENOUGH		20
#define ROUNDS		30

TEST(nothing_is_known)
{
	struct curve curve = { 0 };

	EXPECT_EQ(0, curve_points(&curve));
	EXPECT_EQ(0, curve_at(&curve, 1000));
}

/* The end of a round so short that nobody has looked before. */
TEST(one_point_is_a_straight_line)
{
	struct curve curve = { 0 };

	curve_add(&curve, 20, 40);
	EXPECT_EQ(1, curve_points(&curve));
	EXPECT_EQ(20, curve_at(&curve, 10));
	EXPECT_EQ(40, curve_at(&curve, 20));
	EXPECT_EQ(60, curve_at(&curve, 30));
}

TEST(looks_become_rare)
{
	struct curve curve = { 0 };
	unsigned int looks = 0, ms;

	for (ms = 0; ms < 600 * 1000; ms++) {
		if (!curve_due(&curve, ms))
			continue;
		curve_add(&curve, ms, ms);
		looks++;
	}
	EXPECT_EQ(14, looks);
	EXPECT_EQ(14, curve_points(&curve));
	curve_harvested(&curve);
	EXPECT_FALSE(curve_due(&curve, 49));
	EXPECT_TRUE(curve_due(&curve, 50));
	EXPECT_EQ(14, curve_points(&curve));
}

/* Who looks late does not look twice. */
TEST(what_was_missed_is_left_out)
{
	struct curve curve = { 0 };

	curve_add(&curve, 450, 1);
	EXPECT_FALSE(curve_due(&curve, 799));
	EXPECT_TRUE(curve_due(&curve, 800));
}

TEST(later_rounds_know_better)
{
	struct curve curve = { 0 };

	curve_add(&curve, 50, 100);
	curve_add(&curve, 100, 150);
	curve_add(&curve, 210, 200);
	curve_harvested(&curve);
	curve_add(&curve, 60, 50);
	curve_add(&curve, 100, 75);
	EXPECT_EQ(3, curve_points(&curve));
	EXPECT_EQ(50, curve_at(&curve, 60));
	EXPECT_EQ(75, curve_at(&curve, 100));
	EXPECT_EQ(200, curve_at(&curve, 210));
}

/* Two rounds may contradict each other; W(t) never falls. */
TEST(it_never_falls)
{
	struct curve curve = { 0 };
	double ms, last = 0;

	curve_add(&curve, 50, 300);
	curve_add(&curve, 100, 200);
	curve_add(&curve, 250, 100);
	for (ms = 0; ms < 1000; ms += 5) {
		EXPECT_LE(last, curve_at(&curve, ms));
		last = curve_at(&curve, ms);
	}
}

/* A VM that stood still as the round began, and then wrote a page each ms. */
TEST(a_late_start_is_made_up_for)
{
	struct curve curve = { 0 };
	unsigned int ms;

	curve_add(&curve, 3200, 3200);
	curve_harvested(&curve);
	for (ms = 0; ms <= 1600; ms++)
		if (curve_due(&curve, ms))
			curve_add(&curve, ms, ms > 400 ? ms - 400 : 0);
	EXPECT_EQ(1200, curve_at(&curve, 1600));
	EXPECT_EQ(600, curve_at(&curve, 800));
	EXPECT_EQ(75, curve_at(&curve, 100));
	/* What was measured in another round is left alone. */
	EXPECT_EQ(3200, curve_at(&curve, 3200));
	curve_harvested(&curve);
	curve_add(&curve, 1600, 3000);
	EXPECT_EQ(600, curve_at(&curve, 800));
}

TEST(few_enough_need_no_round)
{
	struct curve curve = { 0 };
	struct course course;

	curve_add(&curve, 1000, 1000);
	course = curve_follow(&curve, 1, 100, 100, ROUNDS);
	EXPECT_EQ(0, course.rounds);
	EXPECT_EQ(0, course.pages);
	EXPECT_EQ(100, course.left);
}

TEST(rounds_are_bounded)
{
	struct curve curve = { 0 };

	curve_add(&curve, 1000, 1000);
	EXPECT_EQ(3, curve_follow(&curve, 0.9, 1000, 0, 3).rounds);
}

struct guest {
	uint64_t *dirty;
	uint64_t nr_dirty;
	double rate, due;	/* writes in a ms; those that are due */
	unsigned int hot;	/* of eight writes, those to the hot pages */
	uint64_t random;
};

static void run(struct guest *guest, double ms)
{
	uint64_t page;

	for (guest->due += ms * guest->rate; guest->due >= 1; guest->due--) {
		guest->random ^= guest->random << 13;
		guest->random ^= guest->random >> 7;
		guest->random ^= guest->random << 17;
		page = guest->random >> 8;
		page %= guest->random % 8 < guest->hot ? PAGES / 64 : PAGES;
		guest->nr_dirty += !bitmap_test(guest->dirty, page);
		bitmap_set(guest->dirty, page);
	}
}

static uint64_t harvest(struct guest *guest)
{
	uint64_t n = guest->nr_dirty;

	memset(guest->dirty, 0, bitmap_words(PAGES) * 8);
	guest->nr_dirty = 0;
	return n;
}

FIXTURE(rounds)
{
	struct guest guest;
	struct curve curve;
};

FIXTURE_VARIANT(rounds)
{
	double rate;
	unsigned int hot;
	bool end;		/* a page goes in a ms: do rounds come to an end? */
};

/* Nothing much. */
FIXTURE_VARIANT_ADD(rounds, idle)
{
	.rate = 0.01,
	.end = true,
};

FIXTURE_VARIANT_ADD(rounds, a_third_of_the_line)
{
	.rate = 0.33,
	.end = true,
};

FIXTURE_VARIANT_ADD(rounds, half_of_the_line)
{
	.rate = 0.5,
	.end = true,
};

FIXTURE_VARIANT_ADD(rounds, twice_the_line)
{
	.rate = 2,
};

FIXTURE_VARIANT_ADD(rounds, ten_times_the_line)
{
	.rate = 10,
};

/* It writes twice what the line carries, but not to so many pages. */
FIXTURE_VARIANT_ADD(rounds, twice_but_always_the_same)
{
	.rate = 2,
	.hot = 7,
};

FIXTURE_SETUP(rounds)
{
	unsigned int ms;

	memset(self, 0, sizeof(*self));
	self->guest = (struct guest){
		.dirty = bitmap_new(PAGES),
		.rate = variant->rate,
		.hot = variant->hot,
		.random = 88172645463325252ULL,
	};
	for (ms = 1; ms <= FIRST_ROUND_MS; ms++) {
		run(&self->guest, 1);
		if (ms % 20 == 0 && curve_due(&self->curve, ms))
			curve_add(&self->curve, ms, self->guest.nr_dirty);
	}
	curve_add(&self->curve, FIRST_ROUND_MS, self->guest.nr_dirty);
}

FIXTURE_TEARDOWN(rounds)
{
	free(self->guest.dirty);
}

/* Some of it is chance, and a straight line is no curve. */
static bool about(double a, double b)
{
	double away = a > b ? a - b : b - a;

	return away <= 0.2 * b + 30;
}

TEST_F(rounds, do_as_foretold)
{
	struct course course, seen = { .left = (double)self->guest.nr_dirty };
	double before;

	course = curve_follow(&self->curve, 1, seen.left, ENOUGH, ROUNDS);
	do {
		before = seen.left;
		seen.pages += before;
		seen.rounds++;
		harvest(&self->guest);
		run(&self->guest, before);
		seen.left = (double)self->guest.nr_dirty;
	} while (seen.left > ENOUGH && seen.rounds < ROUNDS &&
		 seen.left < 0.97 * before);
	TH_LOG("foretold: %u rounds, %.0f pages, %.0f left; seen: %u, %.0f, %.0f",
	       course.rounds, course.pages, course.left, seen.rounds,
	       seen.pages, seen.left);
	if (variant->end) {
		EXPECT_GE(ENOUGH, course.left);
		EXPECT_GE(ENOUGH, seen.left);
		EXPECT_TRUE(about(course.pages, seen.pages));
	}
	EXPECT_TRUE(about(course.left, seen.left));
}

/* A wrong forecast must not matter: what is clear stays clear. */
TEST_F(rounds, clear_by_a_margin)
{
	struct course quick, slow;

	quick = curve_follow(&self->curve, 0.7,
			     (double)self->guest.nr_dirty, ENOUGH, ROUNDS);
	slow = curve_follow(&self->curve, 1.4,
			    (double)self->guest.nr_dirty, ENOUGH, ROUNDS);
	EXPECT_TRUE(!variant->end || slow.left <= ENOUGH);
	EXPECT_TRUE(variant->end || variant->hot || quick.left >= PAGES / 3);
}

TEST_HARNESS_MAIN
