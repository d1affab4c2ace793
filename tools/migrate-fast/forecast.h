/* SPDX-License-Identifier: GPL-2.0 */
/* What a stop would cost now, and what more rounds would make of it. */
#ifndef FORECAST_H
#define FORECAST_H

#include <stdbool.h>
#include <stdint.h>

#include "curve.h"
#include "pages.h"

struct options;
struct sender;

struct forecast {
	double bandwidth;	/* bytes per ms */
	double raw_share;	/* pages sent of pages looked at */
	double page_bytes;	/* that one of them needs on the line */
	double page_ms;		/* a dirty page costs so much */
	double ram_ms, rest_ms;
	struct curve curve;
	uint64_t since;		/* the last harvest, or the start */
	uint64_t idle_ns;	/* of the pager, at the last look */
	struct pager *pager;
	bool harvesting;	/* what is dirty is being taken */
};

/* Dirty pages are counted from now on, by .counting of @sender. */
void forecast_begin(struct forecast *cast, struct sender *sender);
/* pages_harvest(), with which the curve begins anew. */
int forecast_harvest(struct forecast *cast, struct mf_harvested *sum);
/* Counts what is dirty now, for the curve. */
int forecast_count(struct forecast *cast);
/* From a round that is over, for which the predictions are filled in. */
void forecast_learn(struct forecast *cast, const struct sender *sender,
		    struct round *round);
/*
 * Is it foretold that more rounds will not do? @best_ms is then what they
 * would make of the downtime, or 0 if that was not asked.
 */
bool forecast_is_bad(const struct forecast *cast, const struct options *options,
		     const struct round *round, double *best_ms);

#endif /* FORECAST_H */
