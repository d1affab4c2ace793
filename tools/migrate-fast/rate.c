// SPDX-License-Identifier: GPL-2.0
/* Keeps what is sent below a rate; see rate.h. */
#include "../lib/loop.h"
#include "rate.h"

/* What may be made up for after a pause. */
#define BURST_NS	(20 * NSEC_PER_MSEC)

void rate_set(struct rate *rate, uint64_t bytes_per_s)
{
	rate->bytes_per_s = bytes_per_s;
	rate->free_at = now_ns();
}

uint64_t rate_early_ns(const struct rate *rate)
{
	uint64_t now = now_ns();

	return rate->bytes_per_s && rate->free_at > now ?
	       rate->free_at - now : 0;
}

int rate_wait(struct rate *rate, uint64_t bytes)
{
	uint64_t now = now_ns(), early = rate_early_ns(rate);
	int ret = 0;

	if (!rate->bytes_per_s)
		return 0;
	if (rate->free_at + BURST_NS < now)
		rate->free_at = now - BURST_NS;
	if (early)
		ret = loop_sleep(early);
	rate->free_at += (uint64_t)((double)bytes * NSEC_PER_SEC /
				    (double)rate->bytes_per_s);
	return ret;
}
