// SPDX-License-Identifier: GPL-2.0
/*
 * When rounds of copying end, and how (tools/migrate-fast/stop.c): each rule
 * alone, with a VM of PAGES pages of which a round leaves some, on a line that
 * carries a page in a ms.
 */
#include "kselftest_harness.h"
#include "../../tools/migrate-fast/options.h"
#include "../../tools/migrate-fast/stop.h"

#define PAGES		1000
#define REST_MS		20
#define MANY		100

FIXTURE(rounds)
{
	struct options options;
	struct stop stop;
	struct stop_facts facts;
};

FIXTURE_SETUP(rounds)
{
	self->options = (struct options){
		.mode = MODE_PRECOPY,
		.max_downtime = 50,
		.downtime_limit = 500,
		.max_rounds = 30,
	};
	self->facts = (struct stop_facts){ .rest_ms = REST_MS };
	stop_begin(&self->stop, &self->options, PAGES);
}

FIXTURE_TEARDOWN(rounds)
{
}

/* A round that sends what the last one left, or all, and leaves @left pages. */
static enum stop_verdict round_leaves(struct stop *stop,
				      struct stop_facts *facts, uint64_t left)
{
	facts->sent += facts->number++ ? facts->left : PAGES;
	facts->left = left;
	facts->ram_ms = (double)left;
	return stop_judge(stop, facts);
}

#define LEAVES(left) round_leaves(&self->stop, &self->facts, left)

/* How many rounds that leave @left pages each, until the verdict is another. */
static unsigned int rounds_until(struct stop *stop, struct stop_facts *facts,
				 uint64_t left, enum stop_verdict verdict)
{
	enum stop_verdict now;
	unsigned int n;

	for (n = 1; n < MANY; n++) {
		now = round_leaves(stop, facts, left);
		if (now == verdict)
			return n;
		if (now != STOP_NOT_YET)
			break;
	}
	return MANY;
}

#define ROUNDS_UNTIL(left, verdict) \
	rounds_until(&self->stop, &self->facts, left, verdict)

/* Rule 1: the downtime. */
TEST_F(rounds, so_little_is_left)
{
	EXPECT_EQ(STOP_NOT_YET, LEAVES(31));
	EXPECT_EQ(STOP_NOW, LEAVES(30));
}

TEST_F(rounds, nothing_is_left_at_once)
{
	EXPECT_EQ(STOP_NOW, LEAVES(0));
}

/* Rule 2: they do not pay, and it is short enough. */
TEST_F(rounds, three_do_not_pay)
{
	EXPECT_EQ(STOP_NOT_YET, LEAVES(100));
	EXPECT_EQ(3, ROUNDS_UNTIL(100, STOP_NOW));
}

TEST_F(rounds, one_in_three_pays)
{
	self->stop.total = 100 * PAGES;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(400));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(400));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(400));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(330));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(330));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(330));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(270));
	EXPECT_EQ(3, ROUNDS_UNTIL(270, STOP_NOW));
}

/* A little less each time: compared with the best before, not with the last. */
TEST_F(rounds, small_steps_pay_too)
{
	EXPECT_EQ(STOP_NOT_YET, LEAVES(400));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(370));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(341));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(339));
	EXPECT_EQ(3, ROUNDS_UNTIL(339, STOP_NOW));
}

TEST_F(rounds, memory_is_the_lesser_part)
{
	self->facts.rest_ms = 400;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(100));
	EXPECT_EQ(STOP_NOW, LEAVES(99));
}

/* Rule 3: so many rounds were allowed. */
TEST_F(rounds, no_more_rounds)
{
	self->options.max_rounds = 2;
	EXPECT_EQ(2, ROUNDS_UNTIL(480, STOP_NOW));
}

TEST_F(rounds, no_more_rounds_and_too_much_left)
{
	self->options.max_rounds = 2;
	EXPECT_EQ(2, ROUNDS_UNTIL(481, STOP_TOO_FAST));
}

/* They do not pay, but may yet: to give up is for the other rules. */
TEST_F(rounds, too_much_left_to_stop)
{
	self->stop.total = 100 * PAGES;
	EXPECT_EQ(30, ROUNDS_UNTIL(900, STOP_TOO_FAST));
}

/* Rule 4: three times the memory were sent, though each round has paid. */
TEST_F(rounds, three_times_the_memory)
{
	EXPECT_EQ(STOP_NOT_YET, LEAVES(840));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(710));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(600));
	EXPECT_EQ(STOP_TOO_FAST, LEAVES(510));
	EXPECT_LT(3 * PAGES, self->facts.sent);
}

TEST_F(rounds, three_times_the_memory_and_short_enough)
{
	self->options.downtime_limit = 530;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(840));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(710));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(600));
	EXPECT_EQ(STOP_NOW, LEAVES(510));
}

TEST_F(rounds, stopped_at_any_price)
{
	self->options.max_rounds = 2;
	self->options.force_switchover = true;
	EXPECT_EQ(2, ROUNDS_UNTIL(PAGES, STOP_NOW));
}

/* No number of rounds would help. */
TEST_F(rounds, not_the_memory_takes_so_long)
{
	self->facts.rest_ms = 600;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(150));
	EXPECT_EQ(STOP_LINE_TOO_SLOW, LEAVES(149));
}

TEST_F(rounds, both_take_so_long)
{
	self->facts.rest_ms = 600;
	EXPECT_EQ(3, ROUNDS_UNTIL(PAGES, STOP_TOO_FAST));
}

/* --throttle */

TEST_F(rounds, slowed_when_they_do_not_pay)
{
	self->options.throttle = 40;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(600));
	EXPECT_EQ(3, ROUNDS_UNTIL(600, STOP_SLOW));
	/* From now on each has to pay. */
	self->facts.throttle = 20;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(500));
	EXPECT_EQ(STOP_SLOW, LEAVES(490));
	self->facts.throttle = 40;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(490));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(490));
	EXPECT_EQ(STOP_TOO_FAST, LEAVES(490));
}

/* What was sent before counts no more: the VM is another now. */
TEST_F(rounds, slowed_after_too_many_copies)
{
	self->options.throttle = 20;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(840));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(710));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(600));
	EXPECT_EQ(STOP_SLOW, LEAVES(510));
	self->facts.throttle = 20;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(300));
	EXPECT_EQ(STOP_NOW, LEAVES(30));
}

TEST_F(rounds, not_slowed_where_it_may_be_stopped)
{
	self->options.throttle = 20;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(100));
	EXPECT_EQ(3, ROUNDS_UNTIL(100, STOP_NOW));
}

TEST_F(rounds, not_slowed_where_it_is_no_use)
{
	self->options.throttle = 20;
	self->facts.rest_ms = 600;
	EXPECT_EQ(3, ROUNDS_UNTIL(PAGES, STOP_TOO_FAST));
}

/* There is no round left in which it could show. */
TEST_F(rounds, not_slowed_at_the_end)
{
	self->options.throttle = 20;
	self->options.max_rounds = 3;
	EXPECT_EQ(3, ROUNDS_UNTIL(PAGES, STOP_TOO_FAST));
}

/* Memory that may follow */

TEST_F(rounds, three_stage_has_one)
{
	self->options.mode = MODE_THREE_STAGE;
	EXPECT_EQ(STOP_FOLLOW, LEAVES(0));
}

TEST_F(rounds, hybrid_goes_when_one_does_not_pay)
{
	self->options.mode = MODE_HYBRID;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(400));
	EXPECT_EQ(STOP_NOT_YET, LEAVES(300));
	EXPECT_EQ(STOP_FOLLOW, LEAVES(290));
}

TEST_F(rounds, hybrid_goes_when_it_is_foretold)
{
	self->options.mode = MODE_HYBRID;
	self->facts.in_vain = true;
	EXPECT_EQ(STOP_FOLLOW, LEAVES(400));
}

TEST_F(rounds, auto_takes_the_risk_last)
{
	self->options.mode = MODE_AUTO;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(600));
	EXPECT_EQ(3, ROUNDS_UNTIL(600, STOP_FOLLOW));
}

TEST_F(rounds, auto_takes_it_when_it_is_foretold)
{
	self->options.mode = MODE_AUTO;
	self->facts.in_vain = true;
	EXPECT_EQ(STOP_FOLLOW, LEAVES(600));
}

TEST_F(rounds, auto_was_forbidden_to)
{
	self->options.mode = MODE_AUTO;
	self->options.no_postcopy = true;
	self->options.max_rounds = 5;
	self->stop.total = 100 * PAGES;
	self->facts.in_vain = true;
	EXPECT_EQ(5, ROUNDS_UNTIL(600, STOP_TOO_FAST));
}

TEST_F(rounds, precopy_never_takes_it)
{
	self->options.max_rounds = 5;
	self->stop.total = 100 * PAGES;
	self->facts.in_vain = true;
	EXPECT_EQ(5, ROUNDS_UNTIL(600, STOP_TOO_FAST));
}

/* Where the memory is the lesser part there is little to be gained. */
TEST_F(rounds, not_for_so_little)
{
	self->options.mode = MODE_HYBRID;
	self->facts.rest_ms = 400;
	self->facts.in_vain = true;
	EXPECT_EQ(STOP_NOW, LEAVES(99));
}

TEST_F(rounds, auto_asks_for_more)
{
	self->options.mode = MODE_AUTO;
	self->facts.rest_ms = 240;
	self->facts.in_vain = true;
	EXPECT_EQ(STOP_NOT_YET, LEAVES(239));
	EXPECT_EQ(STOP_FOLLOW, LEAVES(240));
}

TEST_F(rounds, auto_asks_for_less_if_it_is_allowed)
{
	self->options.mode = MODE_AUTO;
	self->options.allow_postcopy = true;
	self->facts.rest_ms = 240;
	self->facts.in_vain = true;
	EXPECT_EQ(STOP_FOLLOW, LEAVES(60));
}

TEST_HARNESS_MAIN
