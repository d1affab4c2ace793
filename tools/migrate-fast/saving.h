/* SPDX-License-Identifier: GPL-2.0 */
/* What need not travel, in bytes, and in time on this line. */
#ifndef SAVING_H
#define SAVING_H

#include "gather.h"
#include "stats.h"

/*
 * Sets .saved_bytes and .saved_ms of @stats, at the end. Compared with pages
 * that are all sent whole, but for those of zeroes: these anybody leaves out.
 * @rate is what the line carries, bytes/s; 0: not known, and no time is told.
 */
void saving_count(struct stats *stats, const struct gather *gather,
		  uint64_t rate);

#endif /* SAVING_H */
