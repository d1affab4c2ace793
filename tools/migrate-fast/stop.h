/* SPDX-License-Identifier: GPL-2.0 */
/* When rounds of copying end, and how. Pure logic. */
#ifndef STOP_H
#define STOP_H

#include <stdbool.h>
#include <stdint.h>

struct options;

/* How rounds have gone so far. */
struct stop {
	const struct options *options;
	uint64_t total;		/* pages of the VM */
	uint64_t best;		/* pages left by the best of them */
	uint64_t since;		/* .sent when the VM was last slowed */
	unsigned int idle;	/* rounds in a row that did not pay */
};

/* What is known when a round is over. */
struct stop_facts {
	unsigned int number;	/* of the round, from 1 */
	uint64_t left;		/* pages that are dirty again */
	uint64_t sent;		/* pages' worth of bytes, by all rounds */
	double ram_ms;		/* downtime for them, if the VM stopped now */
	double rest_ms;		/* downtime that no round makes shorter */
	bool in_vain;		/* more rounds are foretold not to do */
	unsigned int throttle;	/* percent that the VM is slowed by */
};

enum stop_verdict {
	STOP_NOT_YET,		/* another round */
	STOP_SLOW,		/* another, with the VM slowed down further */
	STOP_NOW,		/* the rest goes while the VM stands still */
	STOP_FOLLOW,		/* the rest follows the VM (post-copy) */
	STOP_TOO_FAST,		/* it fails: the VM writes too fast */
	STOP_LINE_TOO_SLOW,	/* it fails, and memory is not why */
};

void stop_begin(struct stop *stop, const struct options *options,
		uint64_t total);
enum stop_verdict stop_judge(struct stop *stop,
			     const struct stop_facts *facts);
/*
 * With less than so many ms to be gained memory does not follow the VM, if
 * @rest_ms of @downtime_ms are not the memory's.
 */
double stop_least_gain(const struct options *options, double rest_ms,
		       double downtime_ms);

#endif /* STOP_H */
