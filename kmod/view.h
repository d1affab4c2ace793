/* SPDX-License-Identifier: GPL-2.0 */
/* Mappings of a RAM file through which it cannot be written; see view.c. */
#ifndef MF_VIEW_H
#define MF_VIEW_H

#include <linux/atomic.h>
#include <linux/types.h>

struct mf_ram;
struct vm_area_struct;

/**
 * struct mf_views - mappings of a file that the kernel's range helpers stop at
 * @ever: how many have been made; changes before one can be met in the file's
 *	tree of mappings
 */
struct mf_views {
	atomic_t ever;
};

void mf_view_map(struct mf_views *views, const struct vm_area_struct *vma);
bool mf_views_before(struct mf_ram *ram, int *ever);
bool mf_views_since(const struct mf_ram *ram, int ever);

#endif
