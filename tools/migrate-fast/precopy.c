// SPDX-License-Identifier: GPL-2.0
/*
 * Copies while the VM runs, and says when it shall be stopped.
 *
 * Pre-copy after Clark et al. (NSDI 2005): round by round copies what was
 * written, until so little is left that the VM can be stopped for the rest.
 * In the other modes the VM may go on over there before all of its memory has
 * followed: after no round at all (postcopy), after one (three-stage), or
 * when rounds will not pay any more (hybrid; auto, if nothing else helps).
 *
 * stop.c has the rules of when, forecast.c what is foretold.
 *
 * With --min-bandwidth the first round goes at that rate, and a later one as
 * fast as the VM wrote in the round before, plus FASTER, up to
 * --max-bandwidth: no faster than is of use.
 */
#include "../lib/say.h"
#include "../lib/size.h"
#include "dirty.h"
#include "forecast.h"
#include "hook.h"
#include "line.h"
#include "scan.h"
#include "sender.h"
#include "stop.h"

/* A round is faster than what the VM wrote by 50 Mbit/s. */
#define FASTER		(50 * 1000 * 1000 / 8)

static int give_up(const struct round *last)
{
	return fail("after %u rounds the VM still writes faster (%s/s%s) than its memory can be sent: stopping it now would cost about %.0f ms. Allow more (--downtime-limit, --force-switchover), more rounds (--max-rounds), more bandwidth, %slet the VM do less",
		    last->number,
		    size_text(last->ms > 0 ? (double)last->left *
			      MF_PAGE_SIZE / last->ms * 1000 : 0),
		    last->throttle ? ", throttled" : "",
		    last->predicted_ms,
		    last->throttle ? "or " :
		    "slow it down (--throttle), or ");
}

static int too_slow(const struct forecast *cast)
{
	return fail("the line is too slow: the device state alone is predicted to cost %.0f ms of downtime. Allow more (--downtime-limit, --force-switchover)",
		    cast->rest_ms);
}

/* How fast shall the next round go? */
static void pace(struct sender *sender, const struct round *last)
{
	const struct options *options = sender->options;
	uint64_t rate = options->min_bandwidth;

	if (!options->min_bandwidth)
		return;
	if (last && last->ms > 0)
		rate = (uint64_t)((double)last->left * MF_PAGE_SIZE /
				  last->ms * 1000) + FASTER;
	if (rate < options->min_bandwidth)
		rate = options->min_bandwidth;
	if (options->max_bandwidth && rate > options->max_bandwidth)
		rate = options->max_bandwidth;
	rate_set(&sender->rate, rate);
	sender->pager.gather.rate = &sender->rate;
}

/* One round: harvest, classify, send, wait. */
static int run_round(struct sender *sender, struct round *round,
		     struct forecast *cast)
{
	struct pager *pager = &sender->pager;
	struct mf_harvested sum;

	if (round->number > 1) {
		if (forecast_harvest(cast, &sum))
			return -1;
		round->dirty = sum.dirty;
		sender->stats.working_set = pages_working_set(pager);
	}
	if (scan_pages(pager, round->number == 1 ? SCAN_ALL : SCAN_DIRTY,
		       round) ||
	    sender_round_end(sender, round) || forecast_count(cast))
		return -1;
	/* Later rounds tell by themselves how much of it has to be sent. */
	if (dirty_left(pager, &round->left) ||
	    (round->number == 1 &&
	     dirty_share(pager, round->left, &cast->raw_share)))
		return -1;
	sender->rtt_ms = line_rtt_ms(sender->conn.sock);
	forecast_learn(cast, sender, round);
	return 0;
}

/*
 * The memory follows the VM: the last word on how it moves. A harvest now
 * leaves little to write-protect while the VM stands still, and what is
 * written between it and the stop is what the VM will want first; after a
 * survey, which is short, also what it wrote meanwhile.
 */
static int split(struct sender *sender)
{
	struct mf_harvested sum;

	if (pages_harvest(&sender->pager, &sum))
		return -1;
	pages_stale(&sender->pager, sender->options->mode == MODE_POSTCOPY);
	sender->split = true;
	return 0;
}

/* The end of a round: shall there be another, and if not, what then? */
static enum stop_verdict judge(struct sender *sender, struct stop *stop,
			       const struct round *round,
			       const struct forecast *cast)
{
	struct stop_facts facts = {
		.number = round->number,
		.left = round->left,
		.sent = sender->conn.tx_bytes / MF_PAGE_SIZE,
		.ram_ms = cast->ram_ms,
		.rest_ms = cast->rest_ms,
		.throttle = sender->throttle.percent,
	};
	enum stop_verdict verdict;
	double best_ms;

	facts.in_vain = forecast_is_bad(cast, sender->options, round, &best_ms);
	verdict = stop_judge(stop, &facts);
	if (verdict == STOP_FOLLOW && facts.in_vain && best_ms > 0)
		note("rounds of copying are foretold not to bring the downtime below %.0f ms: the VM goes first, and its memory follows",
		     best_ms);
	return verdict;
}

static int rounds(struct sender *sender)
{
	uint64_t total = sender->stats.total_pages;
	struct forecast cast;
	struct stop stop;

	forecast_begin(&cast, sender);
	stop_begin(&stop, sender->options, total);
	pace(sender, NULL);
	for (;;) {
		struct round *round = sender_round(sender, false, total);

		if (run_round(sender, round, &cast))
			return -1;
		if (round->number == 1 && switchover_prepare(sender))
			return -1;
		progress_done(&sender->progress, total - round->left);
		progress_round(&sender->progress, round);
		if (hook("round") ||
		    (round->number == 1 && hook("first-round")))
			return -1;
		switch (judge(sender, &stop, round, &cast)) {
		case STOP_NOW:
			/* What is promised there is absent, and so follows. */
			return sender->pager.lazy ? split(sender) : 0;
		case STOP_FOLLOW:
			return split(sender);
		case STOP_TOO_FAST:
			return give_up(round);
		case STOP_LINE_TOO_SLOW:
			return too_slow(&cast);
		case STOP_SLOW:
			if (throttle_raise(&sender->throttle))
				return -1;
			break;
		case STOP_NOT_YET:
			break;
		}
		pace(sender, round);
	}
}

/*
 * Nothing is copied, but while the VM runs we find out which pages are zero:
 * with what is written from now on that is all that has to follow.
 */
static int look(struct sender *sender)
{
	struct round *round;

	round = sender_round(sender, false, sender->stats.total_pages);
	if (scan_pages(&sender->pager, SCAN_SURVEY, round) ||
	    sender_round_end(sender, round) ||
	    dirty_count(&sender->pager, &round->left) ||
	    switchover_prepare(sender))
		return -1;
	progress_round(&sender->progress, round);
	return hook("round") ? -1 : split(sender);
}

int precopy(struct sender *sender)
{
	int ret;

	if (sender->options->mode == MODE_POSTCOPY)
		return look(sender);
	/* There is a better way for what would travel a third time. */
	sender->pager.frugal = sender->options->mode == MODE_HYBRID;
	ret = rounds(sender);
	loop_del_ticker(&sender->counting);
	return ret;
}
