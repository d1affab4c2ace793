/* SPDX-License-Identifier: GPL-2.0 */
/* How much is dirty now, without taking it. */
#ifndef DIRTY_H
#define DIRTY_H

#include "pages.h"

/* Counts the pages that a harvest would take now. */
int dirty_count(struct pager *pager, uint64_t *dirty);
/* After a scan: the same, and those that it has left in the bitmap. */
int dirty_left(struct pager *pager, uint64_t *left);
/* Which part of @dirty pages is not zero? Looks at a few of them. */
int dirty_share(struct pager *pager, uint64_t dirty, double *share);

#endif /* DIRTY_H */
