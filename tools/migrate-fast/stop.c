// SPDX-License-Identifier: GPL-2.0
/*
 * When rounds of copying end, and how.
 *
 * They end (after Clark et al., NSDI 2005, section 5.3, where the first rule
 * is one of pages, not of time) when
 *  - the downtime that is foretold is not above --max-downtime; or
 *  - rounds do not pay any more: none of the last PATIENCE has left clearly
 *    less than the best before it, or memory is the lesser part of the
 *    downtime already; or
 *  - --max-rounds is reached; or
 *  - MOST_COPIES of the VM's memory have been sent.
 * In the last three cases the rest follows the VM if that is allowed, and if
 * it is the memory that takes so long (with auto: if it is the greater part
 * of the downtime, or the only way). Where it is allowed it does so earlier,
 * when more rounds are foretold not to do.
 * Else the downtime has to be within --downtime-limit, or --force-switchover
 * given; else, when rounds are over, or when it is not the memory that takes
 * so long, the migration fails and the VM stays where it is. With --throttle,
 * however, rounds that do not pay, and too many copies, have the VM slowed
 * down a step further first, after which each round has to pay; it fails when
 * all steps were in vain.
 */
#include "hook.h"
#include "options.h"
#include "stop.h"

/* Rounds in a row that did not pay. */
#define PATIENCE	3
/* A round pays if it leaves less than this part of the best before. */
#define PAYS		0.85
/* Times the VM's memory that may be sent in all. */
#define MOST_COPIES	3

void stop_begin(struct stop *stop, const struct options *options,
		uint64_t total)
{
	*stop = (struct stop){
		.options = options,
		.total = total,
		.best = total,
	};
}

static double downtime(const struct stop_facts *facts)
{
	return facts->ram_ms + facts->rest_ms;
}

/* Would so many ms of downtime do, if rounds do not help any more? */
static bool within_limit(const struct options *options, double ms)
{
	return options->force_switchover || ms <= (double)options->downtime_limit;
}

double stop_least_gain(const struct options *options, double rest_ms,
		       double downtime_ms)
{
	/* Nobody has asked for it: not for the lesser part of the downtime. */
	if (options->mode == MODE_AUTO && !options->allow_postcopy &&
	    within_limit(options, downtime_ms))
		return rest_ms;
	return rest_ms / 4;
}

/* Is it the memory that the VM would stand still for? */
static bool memory_counts(const struct stop_facts *facts, double least_ms)
{
	return facts->ram_ms >= least_ms || hook_set("memory-counts");
}

/* Would the VM be better off if its memory followed it? */
static bool shall_follow(const struct stop *stop,
			 const struct stop_facts *facts, bool last)
{
	const struct options *options = stop->options;

	if (!mode_may_split(options->mode) ||
	    (options->mode == MODE_AUTO && options->no_postcopy))
		return false;
	if (!memory_counts(facts, stop_least_gain(options, facts->rest_ms,
						  downtime(facts))))
		return false;
	/* What was foretold may have been wrong. */
	return last || facts->in_vain ||
	       stop->idle >= (options->mode == MODE_HYBRID ? 1 : PATIENCE);
}

static bool can_slow(const struct options *options,
		     const struct stop_facts *facts)
{
	return facts->throttle < options->throttle;
}

/* Before it is given up, or stopped for long. */
static bool shall_slow(const struct options *options,
		       const struct stop_facts *facts)
{
	double limit = (double)options->downtime_limit;

	return can_slow(options, facts) && facts->number < options->max_rounds &&
	       facts->rest_ms <= limit && downtime(facts) > limit;
}

static void learn(struct stop *stop, const struct stop_facts *facts)
{
	if ((double)facts->left < PAYS * (double)stop->best) {
		stop->best = facts->left;
		stop->idle = 0;
	} else {
		stop->idle++;
	}
}

enum stop_verdict stop_judge(struct stop *stop, const struct stop_facts *facts)
{
	const struct options *options = stop->options;
	unsigned int patience = facts->throttle ? 1 : PATIENCE;
	bool copies, last, no_use;

	if (options->mode == MODE_THREE_STAGE)
		return STOP_FOLLOW;
	if (downtime(facts) <= (double)options->max_downtime)
		return STOP_NOW;
	learn(stop, facts);
	copies = facts->sent - stop->since > MOST_COPIES * stop->total;
	if ((copies || stop->idle >= patience) && shall_slow(options, facts)) {
		stop->best = facts->left;
		stop->since = facts->sent;
		stop->idle = 0;
		return STOP_SLOW;
	}
	last = facts->number >= options->max_rounds || copies ||
	       (options->throttle && !can_slow(options, facts) &&
		stop->idle >= PATIENCE);
	if (shall_follow(stop, facts, last))
		return STOP_FOLLOW;
	no_use = stop->idle >= patience ||
		 !memory_counts(facts, facts->rest_ms / 4);
	if ((last || no_use) && within_limit(options, downtime(facts)))
		return STOP_NOW;
	/* Nor would any number of rounds help; what is most in the way? */
	if (no_use && facts->rest_ms > (double)options->downtime_limit)
		return facts->ram_ms > facts->rest_ms ? STOP_TOO_FAST :
							STOP_LINE_TOO_SLOW;
	return last ? STOP_TOO_FAST : STOP_NOT_YET;
}
