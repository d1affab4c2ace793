/* SPDX-License-Identifier: GPL-2.0 */
/* How long those had to wait who wanted an absent page. */
#ifndef LATENCY_H
#define LATENCY_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct latency {
	uint32_t *us;
	size_t nr, size;
};

void latency_add(struct latency *latency, uint64_t ns);
/* {"p50": us, "p95": ..., "p99": ..., "max": ...}; zeroes if there are none. */
json_t *latency_json(struct latency *latency);
void latency_free(struct latency *latency);

#endif /* LATENCY_H */
