/* SPDX-License-Identifier: GPL-2.0 */
/* Bitmaps of pages on the wire: STALE and MISSING frames. */
#ifndef BITS_H
#define BITS_H

#include "conn.h"

/* Sends @map, of @pages pages of file @ram, but for long runs of zeroes. */
int bits_send(struct conn *conn, enum wire_type type, unsigned int ram,
	      const uint64_t *map, uint64_t pages);
/*
 * Sets in @map, of @pages pages, what a frame says. 0, or -1 after fail() if
 * it does not fit.
 */
int bits_take(struct conn *conn, const struct wire_frame *frame,
	      const uint8_t *payload, uint64_t *map, uint64_t pages);

#endif /* BITS_H */
