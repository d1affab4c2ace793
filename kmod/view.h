/* SPDX-License-Identifier: GPL-2.0 */
/* Mappings of a RAM file through which it cannot be written; see view.c. */
#ifndef MF_VIEW_H
#define MF_VIEW_H

#include <linux/atomic.h>

struct vm_area_struct;
struct vm_operations_struct;

/**
 * struct mf_views - mappings of a file that the kernel's range helpers stop at
 * @now: how many there are, at least
 * @ever: how many have been made; changes before one can be met in the file's
 *	tree of mappings
 */
struct mf_views {
	atomic_t now;
	atomic_t ever;
};

/* Of a VMA that shmem has just mapped: is it one? Counts it if so. */
bool mf_view_adopt(struct mf_views *views, struct vm_area_struct *vma);
/* The methods of such a mapping: @ops, and those that count. */
void mf_view_ops(struct vm_operations_struct *view_ops,
		 const struct vm_operations_struct *ops);

/*
 * @seen: what mf_views_begin() has told. True if a walk over the mappings,
 * begun after that and ended now, can have met one.
 */
static inline int mf_views_begin(struct mf_views *views)
{
	int seen = atomic_read(&views->ever);

	/* Pairs with mf_view_adopt(): counted in @now, if in @ever. */
	smp_rmb();
	return seen;
}

static inline bool mf_views_any(struct mf_views *views)
{
	return atomic_read(&views->now);
}

static inline bool mf_views_met(struct mf_views *views, int seen)
{
	return atomic_read(&views->ever) != seen;
}

#endif
