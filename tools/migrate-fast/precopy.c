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
 * The rounds end when
 *  - the downtime that is foretold (forecast.c) is not above --max-downtime; or
 *  - rounds do not pay any more (none of the last few has left clearly less
 *    than the best before it, or memory is the lesser part of the downtime
 *    already); or
 *  - --max-rounds is reached; or
 *  - MOST_COPIES of the VM's memory have been sent.
 * In the last three cases the rest follows the VM if that is allowed, and if
 * it is the memory that takes so long (with auto: if it is the greater part
 * of the downtime, or the only way). Where it is allowed it does so earlier:
 *  - hybrid, and auto with --allow-postcopy: when the next round is foretold
 *    to leave more than WORTHWHILE of what there is to send;
 *  - auto: when rounds are foretold to get stuck, even if they were quicker by
 *    DOUBT than they can be expected to be.
 * Else the downtime has to be within
 * --downtime-limit, or --force-switchover given; else, when rounds are over,
 * or when it is not the memory that takes so long, the migration fails and
 * the VM stays where it is. With --throttle, however, rounds that do not pay,
 * and too many copies, have the VM slowed down a step further first, after
 * which each round has to pay; it fails when all steps were in vain.
 *
 * With --min-bandwidth the first round goes at that rate, and a later one as
 * fast as the VM wrote in the round before, plus FASTER, up to
 * --max-bandwidth: no faster than is of use.
 */
#include "dirty.h"
#include "forecast.h"
#include "hook.h"
#include "line.h"
#include "say.h"
#include "scan.h"
#include "sender.h"
#include "size.h"

/* Rounds in a row that did not pay. */
#define PATIENCE	3
/* A round pays if it leaves less than this part of the best before. */
#define PAYS		0.85
/* A round is faster than what the VM wrote by 50 Mbit/s. */
#define FASTER		(50 * 1000 * 1000 / 8)
/* Times the VM's memory that may be sent in all. */
#define MOST_COPIES	3

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

/* Would the VM be better off if its memory followed it? */
static bool shall_split(struct sender *sender, const struct forecast *cast,
			const struct round *round, unsigned int idle, bool last)
{
	const struct options *options = sender->options;

	if (!mode_may_split(options->mode) ||
	    (options->mode == MODE_AUTO && options->no_postcopy))
		return false;
	/* What takes so long is not the memory. */
	if (cast->ram_ms < forecast_least_gain(cast, sender, round->predicted_ms))
		return false;
	/* What was foretold may have been wrong. */
	if (last || idle >= (options->mode == MODE_HYBRID ? 1 : PATIENCE))
		return true;
	return forecast_is_bad(cast, sender, round);
}

/* Before it is given up, or stopped for long. */
static bool shall_slow(const struct sender *sender, const struct forecast *cast,
		       const struct round *round, bool in_vain)
{
	double limit = (double)sender->options->downtime_limit;

	return in_vain && throttle_can_rise(&sender->throttle) &&
	       round->number < sender->options->max_rounds &&
	       cast->rest_ms <= limit && round->predicted_ms > limit;
}

static int rounds(struct sender *sender)
{
	struct forecast cast;
	const struct options *options = sender->options;
	struct throttle *throttle = &sender->throttle;
	uint64_t total = sender->stats.total_pages, best = total, since = 0;
	unsigned int idle = 0, patience;

	forecast_begin(&cast, sender);
	pace(sender, NULL);
	for (;;) {
		struct round *round = sender_round(sender, false, total);
		bool last, no_use, copies;

		if (run_round(sender, round, &cast))
			return -1;
		if (round->number == 1 && switchover_prepare(sender))
			return -1;
		progress_done(&sender->progress, total - round->left);
		progress_round(&sender->progress, round);
		if (hook("round") ||
		    (round->number == 1 && hook("first-round")))
			return -1;
		if (options->mode == MODE_THREE_STAGE)
			return split(sender);
		if (round->predicted_ms <= (double)options->max_downtime)
			return 0;
		if ((double)round->left < PAYS * (double)best) {
			best = round->left;
			idle = 0;
		} else {
			idle++;
		}
		copies = (sender->conn.tx_bytes - since) / MF_PAGE_SIZE >
			 MOST_COPIES * total;
		patience = throttle->percent ? 1 : PATIENCE;
		if (shall_slow(sender, &cast, round,
			       copies || idle >= patience)) {
			if (throttle_raise(throttle))
				return -1;
			best = round->left;
			since = sender->conn.tx_bytes;
			idle = 0;
			pace(sender, round);
			continue;
		}
		last = round->number >= options->max_rounds || copies ||
		       (idle >= PATIENCE && throttle_is_spent(throttle));
		if (shall_split(sender, &cast, round, idle, last))
			return split(sender);
		no_use = idle >= patience || cast.ram_ms < cast.rest_ms / 4;
		if ((last || no_use) &&
		    sender_within_limit(sender, round->predicted_ms))
			return 0;
		/* Nor would any number of rounds help; what is most in the way? */
		if (no_use && cast.rest_ms > (double)options->downtime_limit)
			return cast.ram_ms > cast.rest_ms ? give_up(round) :
			       too_slow(&cast);
		if (last)
			return give_up(round);
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
