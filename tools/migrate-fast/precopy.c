// SPDX-License-Identifier: GPL-2.0
/*
 * Copies while the VM runs, and says when it shall be stopped.
 *
 * Pre-copy after Clark et al. (NSDI 2005): round by round copies what was
 * written, until so little is left that the VM can be stopped for the rest.
 * In the other modes the VM may go on over there before all of its memory has
 * followed: after no round at all (postcopy), after one (three-stage), or
 * when rounds do not pay any more (hybrid; auto, if nothing else helps).
 *
 * The downtime that a stop would cost now is predicted from what was measured:
 *
 *	(dirty pages x share of them that has to be sent) / bandwidth
 *	+ dirty pages x time to digest one
 *	+ device state / bandwidth + round trips + FIXED_MS
 *
 * The rounds end when
 *  - it is not above --max-downtime; or
 *  - rounds do not pay any more (none of the last few has left clearly less
 *    than the best before it, or memory is the lesser part of the downtime
 *    already); or
 *  - --max-rounds is reached; or
 *  - MOST_COPIES of the VM's memory have been sent.
 * In the last three cases the rest follows the VM if that is allowed, and if
 * it is the memory that takes so long (with auto: if it is the greater part
 * of the downtime, or the only way). Else the downtime has to be within
 * --downtime-limit, or --force-switchover given; else, when rounds are over,
 * or when it is not the memory that takes so long, the migration fails and
 * the VM stays where it is.
 *
 * With --min-bandwidth the first round goes at that rate, and a later one as
 * fast as the VM wrote in the round before, plus FASTER, up to
 * --max-bandwidth: no faster than is of use.
 */
#include "hook.h"
#include "say.h"
#include "sender.h"
#include "size.h"

/* stop, save, load, cont of QEMU, as measured on hardware. */
#define FIXED_MS	25
/* Rounds in a row that did not pay. */
#define PATIENCE	3
/* A round pays if it leaves less than this part of the best before. */
#define PAYS		0.85
/* A round is faster than what the VM wrote by 50 Mbit/s. */
#define FASTER		(50 * 1000 * 1000 / 8)
/* Times the VM's memory that may be sent in all. */
#define MOST_COPIES	3
/* --allow-postcopy: a round that leaves more than this of the time of the
 * last one is not worth waiting for.
 */
#define WORTHWHILE	0.5
/* Rounds that moved less tell nothing of the bandwidth. */
#define TELLING_BYTES	(256 * 1024)

struct forecast {
	double bandwidth;	/* bytes per ms */
	double raw_share;	/* pages sent of pages looked at */
	double ram_ms, rest_ms;
};

static void learn(struct forecast *cast, const struct round *round, bool paced)
{
	uint64_t seen = round->pages.zero + round->pages.unchanged +
			round->pages.raw;

	if (round->wire_bytes >= TELLING_BYTES && round->ms > 0) {
		double rate = (double)round->wire_bytes / round->ms;

		/* A round that was held back shows less than the line. */
		if (paced)
			cast->bandwidth = rate > cast->bandwidth ?
					  rate : cast->bandwidth;
		else
			cast->bandwidth = cast->bandwidth > 0 ?
					  (cast->bandwidth + rate) / 2 : rate;
	}
	/* Nothing is known of what was postponed: expect the worst. */
	if (round->number > 1 && seen + round->postponed)
		cast->raw_share = (double)(round->pages.raw +
					   round->postponed) /
				  (double)(seen + round->postponed);
}

static double predict(const struct sender *sender, struct forecast *cast,
		      uint64_t dirty)
{
	double bandwidth = cast->bandwidth > 0 ? cast->bandwidth : 100000;
	double hash_ms = 0;

	if (sender->pager.hashed)
		hash_ms = (double)sender->pager.hash_ns / 1e6 /
			  (double)sender->pager.hashed;
	cast->ram_ms = (double)dirty * (hash_ms + cast->raw_share *
					(MF_PAGE_SIZE + WIRE_HEADER) /
					bandwidth);
	cast->rest_ms = (double)sender->device_guess / bandwidth +
			4 * sender->rtt_ms + FIXED_MS;
	return cast->ram_ms + cast->rest_ms;
}

static bool within_limit(const struct sender *sender, double predicted)
{
	return sender->options->force_switchover ||
	       predicted <= (double)sender->options->downtime_limit;
}

static int give_up(const struct round *last)
{
	return fail("after %u rounds the VM still writes faster (%s/s) than its memory can be sent: stopping it now would cost about %.0f ms. Allow more (--downtime-limit, --force-switchover), more rounds (--max-rounds), more bandwidth, or let the VM do less",
		    last->number,
		    size_text(last->ms > 0 ? (double)last->left *
			      MF_PAGE_SIZE / last->ms * 1000 : 0),
		    last->predicted_ms);
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
	struct mf_harvested sum;

	if (round->number > 1) {
		if (pages_harvest(&sender->pager, &sum))
			return -1;
		round->dirty = sum.dirty;
		sender->stats.working_set = pages_working_set(&sender->pager);
	}
	if (pages_scan(&sender->pager, round->number == 1 ? SCAN_ALL :
		       SCAN_DIRTY, round) ||
	    sender_round_end(sender, round) ||
	    pages_peek(&sender->pager, &round->left))
		return -1;
	learn(cast, round, sender->options->min_bandwidth);
	sender->rtt_ms = conn_rtt_ms(&sender->conn);
	round->predicted_ms = predict(sender, cast, round->left);
	return 0;
}

/* The memory follows the VM: the last word on how it moves. */
static int split(struct sender *sender)
{
	sender->split = true;
	return 0;
}

/* Would the VM be better off if its memory followed it? */
static bool shall_split(struct sender *sender, const struct forecast *cast,
			const struct round *round, unsigned int idle, bool last)
{
	const struct options *options = sender->options;
	double gain = cast->rest_ms / 4, next;

	if (!mode_may_split(options->mode) ||
	    (options->mode == MODE_AUTO && options->no_postcopy))
		return false;
	/* Nobody has asked for it: not for the lesser part of the downtime. */
	if (options->mode == MODE_AUTO && !options->allow_postcopy &&
	    within_limit(sender, round->predicted_ms))
		gain = cast->rest_ms;
	/* What takes so long is not the memory. */
	if (cast->ram_ms < gain)
		return false;
	if (last || idle >= (options->mode == MODE_HYBRID ? 1 : PATIENCE))
		return true;
	next = round->predicted_ms - cast->rest_ms;
	return options->mode == MODE_AUTO && options->allow_postcopy &&
	       next > WORTHWHILE * round->ms;
}

static int rounds(struct sender *sender)
{
	struct forecast cast = { .raw_share = 1 };
	const struct options *options = sender->options;
	uint64_t total = sender->stats.total_pages, best = total;
	unsigned int idle = 0;

	pace(sender, NULL);
	for (;;) {
		struct round *round = sender_round(sender, false, total);
		bool last, no_use;

		if (run_round(sender, round, &cast))
			return -1;
		if (round->number == 1 && switchover_prepare(sender))
			return -1;
		progress_done(&sender->progress, total - round->left);
		progress_round(&sender->progress, round);
		if (hook("round"))
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
		last = round->number >= options->max_rounds ||
		       sender->conn.tx_bytes / MF_PAGE_SIZE >
		       MOST_COPIES * total;
		if (shall_split(sender, &cast, round, idle, last))
			return split(sender);
		no_use = idle >= PATIENCE || cast.ram_ms < cast.rest_ms / 4;
		if ((last || no_use) &&
		    within_limit(sender, round->predicted_ms))
			return 0;
		if (no_use && cast.rest_ms > (double)options->downtime_limit)
			return too_slow(&cast);
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
	if (pages_scan(&sender->pager, SCAN_SURVEY, round) ||
	    sender_round_end(sender, round) ||
	    pages_peek(&sender->pager, &round->left) ||
	    switchover_prepare(sender))
		return -1;
	progress_round(&sender->progress, round);
	return hook("round") ? -1 : split(sender);
}

int precopy(struct sender *sender)
{
	if (sender->options->mode == MODE_POSTCOPY)
		return look(sender);
	return rounds(sender);
}
