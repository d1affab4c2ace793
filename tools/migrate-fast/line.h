/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel knows of the line under a TCP connection, by its socket. */
#ifndef LINE_H
#define LINE_H

#include <stdbool.h>
#include <stdint.h>

/* What the line carries, and what waits for it. */
struct line {
	uint64_t rate;		/* bytes per second that arrive; 0: not known */
	uint64_t queued;	/* bytes that are not on the wire yet */
};

struct line line_now(int sock);
/* The round trip time; 0: not known. */
double line_rtt_ms(int sock);
/* Bytes per second that arrive, as last seen; 0: not known. */
uint64_t line_rate(int sock);
/* Bytes that it takes in @ms beyond the shortest round trip; 0: not known. */
uint64_t line_window(int sock, double ms);
/* Bytes that the peer has not acknowledged yet. */
uint64_t line_in_flight(int sock);
/*
 * Lets few bytes wait in the socket, so that later ones can be urgent; these
 * are, if @first.
 */
void line_hurry(int sock, bool first);

#endif /* LINE_H */
