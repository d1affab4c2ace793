// SPDX-License-Identifier: GPL-2.0
/*
 * What a stop would cost now, and what more rounds would make of it.
 *
 * The downtime that a stop would cost now is predicted from what was measured:
 *
 *	(dirty pages x share of them that has to be sent) / bandwidth
 *	+ dirty pages x time to digest one
 *	+ device state / bandwidth + round trips + FIXED_MS
 *
 * What more rounds would do is foretold from how fast the VM writes, pages
 * that it writes again counted once (curve.h): dirty pages are counted now and
 * then while a round goes on. So a VM that writes too fast is told from one
 * that writes the same few pages again and again after the first round, before
 * any page has travelled twice.
 */
#include <math.h>

#include "dirty.h"
#include "forecast.h"
#include "line.h"
#include "sender.h"
#include "stop.h"

/* stop, save, load, cont of QEMU, as measured on hardware. */
#define FIXED_MS	25
/* Post-copy is welcome: a round that leaves more than this of the pages that
 * it sends is not worth waiting for.
 */
#define WORTHWHILE	0.5
/* Post-copy is the last resort: rounds are taken to need only this of the time
 * that they are foretold to take, and the curve has to have so many points.
 */
#define DOUBT		0.7
#define TELLING_POINTS	3
/* Rounds that moved less tell nothing of the bandwidth. */
#define TELLING_BYTES	(256 * 1024)
#define TELLING_PAGES	64

/* Now and then, while a round goes on: how much has been written? */
static int count(struct ticker *ticker, uint64_t now)
{
	struct forecast *cast = ticker->arg;
	double ms = (double)(now - cast->since) / 1e6;

	return cast->harvesting || !curve_due(&cast->curve, ms) ? 0 :
	       forecast_count(cast);
}

int forecast_count(struct forecast *cast)
{
	uint64_t dirty;

	if (dirty_count(cast->pager, &dirty))
		return -1;
	curve_add(&cast->curve, ms_since(cast->since), dirty);
	return 0;
}

int forecast_harvest(struct forecast *cast, struct mf_harvested *sum)
{
	int ret;

	cast->since = now_ns();
	cast->harvesting = true;
	ret = pages_harvest(cast->pager, sum);
	cast->harvesting = false;
	curve_harvested(&cast->curve);
	return ret;
}

/*
 * Where most pages were only named, the destination has looked for them while
 * the line waited: then the kernel knows better.
 */
static double round_rate(const struct round *round, double ms, int sock)
{
	double rate = (double)round->wire_bytes / ms;
	double line = (double)line_rate(sock) / 1000;

	return round->pages.reference > classes_travelled(&round->pages) &&
	       line > rate ? line : rate;
}

static void learn(struct forecast *cast, const struct round *round, bool paced,
		  int sock)
{
	uint64_t travelled = classes_travelled(&round->pages);
	uint64_t seen = round->pages.zero + round->pages.unchanged +
			round->pages.reference + round->pages.copy + travelled;
	double idle = (double)(cast->pager->idle_ns - cast->idle_ns) / 1e6;

	cast->idle_ns = cast->pager->idle_ns;
	if (round->wire_bytes >= TELLING_BYTES && round->ms > 0) {
		/* The line waited while memory was zero, but has queues. */
		double ms = round->ms - (idle < round->ms / 2 ?
					 idle : round->ms / 2);
		double rate = round_rate(round, ms, sock);

		/* A round that was held back shows less than the line. */
		if (paced)
			cast->bandwidth = rate > cast->bandwidth ?
					  rate : cast->bandwidth;
		else
			cast->bandwidth = cast->bandwidth > 0 ?
					  (cast->bandwidth + rate) / 2 : rate;
	}
	/*
	 * What is written again and again may be compressible or not, whatever
	 * the rest of the memory is: the first round tells nothing of it.
	 */
	if (round->number > 1 && travelled >= TELLING_PAGES &&
	    travelled > round->pages.reference)
		cast->page_bytes = fmin((double)round->wire_bytes /
					(double)travelled, MF_PAGE_SIZE);
	/* Nothing is known of what was postponed: expect the worst. */
	if (round->number > 1 && seen + round->postponed)
		cast->raw_share = (double)(travelled + round->postponed) /
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
	cast->page_ms = hash_ms + cast->raw_share *
			(cast->page_bytes + WIRE_HEADER) / bandwidth;
	cast->ram_ms = (double)dirty * cast->page_ms;
	cast->rest_ms = (double)sender->device_guess / bandwidth +
			4 * sender->rtt_ms + FIXED_MS;
	return cast->ram_ms + cast->rest_ms;
}

void forecast_learn(struct forecast *cast, const struct sender *sender,
		    struct round *round)
{
	learn(cast, round, sender->options->min_bandwidth, sender->conn.sock);
	round->predicted_ms = predict(sender, cast, round->left);
	round->curve = cast->curve;
	round->next_left = curve_at(&cast->curve,
				    (double)round->left * cast->page_ms);
}

bool forecast_is_bad(const struct forecast *cast, const struct options *options,
		     const struct round *round, double *best_ms)
{
	double aim = (double)options->max_downtime - cast->rest_ms, ram_ms;
	struct course course;

	*best_ms = 0;
	/* A paced round does not tell what the line carries. */
	if (options->min_bandwidth)
		return false;
	if (options->mode == MODE_HYBRID || options->allow_postcopy)
		return round->next_left > WORTHWHILE * (double)round->left;
	if (curve_points(&cast->curve) < TELLING_POINTS ||
	    round->number >= options->max_rounds)
		return false;
	course = curve_follow(&cast->curve, DOUBT * cast->page_ms,
			      (double)round->left,
			      aim > 0 ? aim / cast->page_ms : 0,
			      (unsigned int)options->max_rounds -
			      round->number);
	ram_ms = course.left * cast->page_ms;
	*best_ms = ram_ms + cast->rest_ms;
	return ram_ms > aim &&
	       ram_ms >= stop_least_gain(options, cast->rest_ms, *best_ms);
}

void forecast_begin(struct forecast *cast, struct sender *sender)
{
	*cast = (struct forecast){
		.raw_share = 1,
		.page_bytes = MF_PAGE_SIZE,
	};
	cast->since = now_ns();
	cast->pager = &sender->pager;
	sender->counting = (struct ticker){ .tick = count, .arg = cast };
	loop_add_ticker(&sender->counting);
}
