// SPDX-License-Identifier: GPL-2.0
/* Waiting times and their percentiles; see latency.h. */
#include <stdlib.h>

#include "../lib/say.h"
#include "latency.h"

void latency_add(struct latency *latency, uint64_t ns)
{
	uint64_t us = ns / 1000;

	if (latency->nr == latency->size) {
		latency->size = latency->size ? latency->size * 2 : 1024;
		latency->us = need(realloc(latency->us, latency->size *
					   sizeof(*latency->us)));
	}
	latency->us[latency->nr++] = us > UINT32_MAX ? UINT32_MAX :
						       (uint32_t)us;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The least value that is not below @percent of all. */
static json_int_t percentile(const struct latency *latency, size_t percent)
{
	size_t rank = (latency->nr * percent + 99) / 100;

	return rank ? latency->us[rank - 1] : 0;
}

json_t *latency_json(struct latency *latency)
{
	if (latency->nr)
		qsort(latency->us, latency->nr, sizeof(*latency->us), compare);
	return json_pack("{s:I, s:I, s:I, s:I}",
			 "p50", percentile(latency, 50),
			 "p95", percentile(latency, 95),
			 "p99", percentile(latency, 99),
			 "max", percentile(latency, 100));
}

void latency_free(struct latency *latency)
{
	free(latency->us);
	latency->us = NULL;
	latency->nr = 0;
	latency->size = 0;
}
