/* SPDX-License-Identifier: GPL-2.0 */
/* One pass over the pages of a VM: each is classified, and sent if need be. */
#ifndef SCAN_H
#define SCAN_H

#include "pages.h"

enum scan {
	SCAN_ALL,	/* first round: every page */
	SCAN_DIRTY,	/* pages in the bitmap, but those being written now */
	SCAN_LAST,	/* pages in the bitmap; the VM is stopped */
	SCAN_SURVEY,	/* every page, but nothing is sent: which are zero? */
};

/*
 * Fills in .pages and .postponed of @round.
 *
 * What the VM writes most comes last: then most of it is dirty again already
 * and is postponed, not sent in vain. With .frugal set a page that has been
 * sent twice is postponed as well: it stays in the bitmap.
 */
int scan_pages(struct pager *pager, enum scan what, struct round *round);

#endif /* SCAN_H */
