/* SPDX-License-Identifier: GPL-2.0 */
/* Shows how far work on a source has come: a bar, or JSON events. */
#ifndef METER_H
#define METER_H

#include <stdbool.h>
#include <stdint.h>

struct meter {
	const char *what;	/* "indexing" */
	const char *name;	/* of the source */
	bool json, tty;
	uint64_t started, shown;	/* ns */
};

void meter_start(struct meter *meter, const char *what, const char *name,
		 bool json);
/*
 * So many blocks of all; for build(), with a meter as @arg. Heeds signals: 0,
 * or -1 after fail().
 */
int meter_step(void *arg, uint64_t done, uint64_t all);
/* Wipes the bar. Seconds since the start. */
double meter_end(struct meter *meter);

#endif /* METER_H */
