/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Who may share with whom: which VM may take pages from which source? Nobody
 * else decides that.
 *
 * A guest can time what it cannot read: a page that the destination had takes
 * another time to come than one that travelled. So it finds out whether a
 * source has a page that it guesses, and is told of no source that is not for
 * it, not by a single bit of a filter.
 *
 *  1. What the operator has named for a VM (store add --for, --for-group,
 *     --for-all) is for it, whatever store.conf says.
 *  2. Memory of a VM (send --keep, store add --of) is for that VM; and for
 *     another one if both say so in store.conf: they are of one group, which
 *     shares, or both share with the host.
 *  3. Images that were named for others are for a VM too if it, and all of
 *     those, share with the host.
 *
 * Both must say so, since it is the one that learns, and the other of which is
 * learnt. What store.conf does not allow is forbidden, and without one, or one
 * that cannot be read, 1. and the first half of 2. are all there is.
 */
#ifndef SHARING_H
#define SHARING_H

#include "policy.h"
#include "source.h"

/* Why a VM may take pages. */
enum sharing {
	SHARING_NONE,		/* it may not */
	SHARING_PAST,		/* it is its own memory */
	SHARING_NAMED,		/* --for */
	SHARING_NAMED_GROUP,	/* --for-group */
	SHARING_NAMED_ALL,	/* --for-all */
	SHARING_GROUP,		/* it is of a VM of its group, which shares */
	SHARING_HOST,		/* both share with the host */
};

/*
 * Reads what the operator says: one policy for the process, as there is one for
 * the host. @path: NULL is POLICY_FILE, which need not exist. What is wrong
 * with it, or with what it says of @vm (may be NULL), is told; then, and if
 * this was never called, nobody shares with anybody.
 */
void sharing_load(const char *path, const char *vm);
void sharing_unload(void);

/* May a VM of that name take pages? NULL: one without a name. */
enum sharing sharing_find(const struct source *source, const char *vm);
/* In words. */
const char *sharing_text(enum sharing sharing);

/* What was loaded. */
const struct policy *sharing_policy(void);

#endif /* SHARING_H */
