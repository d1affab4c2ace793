/* SPDX-License-Identifier: GPL-2.0 */
/* Shows how a migration goes: a bar, lines, or JSON events. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdbool.h>

#include "../lib/loop.h"
#include "stats.h"

struct progress {
	const struct stats *stats;
	bool json, tty;
	struct ticker ticker;
	uint64_t drawn;
	double percent;		/* never falls */
	uint64_t done;		/* pages that are right at the destination */
	uint64_t rate_bytes, rate_at;
	double rate;		/* bytes per second, smoothed */
	const uint64_t *wire;	/* bytes sent so far */
	const char *phase;
	bool line;		/* a bar stands on the line */
};

void progress_start(struct progress *progress, const struct stats *stats,
		    const uint64_t *wire, bool json);
/* So many pages of all are, as far as known, right at the destination. */
void progress_done(struct progress *progress, uint64_t pages);
void progress_phase(struct progress *progress, const char *phase);
void progress_round(struct progress *progress, const struct round *round);
void progress_end(struct progress *progress);

#endif /* PROGRESS_H */
