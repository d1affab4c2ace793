/* SPDX-License-Identifier: GPL-2.0 */
/* Keeps what is sent below a rate. */
#ifndef RATE_H
#define RATE_H

#include <stdint.h>

struct rate {
	uint64_t bytes_per_s;	/* 0: as fast as the line takes it */
	uint64_t free_at;	/* when all that was sent is paid for */
};

void rate_set(struct rate *rate, uint64_t bytes_per_s);
/* So long rate_wait() would wait now. */
uint64_t rate_early_ns(const struct rate *rate);
/* Waits until @bytes may be sent. 0, or -1 after fail(). */
int rate_wait(struct rate *rate, uint64_t bytes);

#endif /* RATE_H */
