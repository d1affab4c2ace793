/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MADV_COLLAPSE of a RAM file: refused while pages are absent.
 */
#ifndef MF_COLLAPSE_H
#define MF_COLLAPSE_H

#include <linux/types.h>
#include <linux/workqueue.h>

struct file;
struct vm_area_struct;

/**
 * struct mf_collapse - may mappings of a RAM file be collapsed?
 * @shmem: the file that they map
 * @refused: no; set by a DEMAND that is counted in fill->marking, and reset
 *	under fill->lock when that is 0
 * @restore: makes mappings as they were. While it is pending it owns a
 *	reference of @shmem, and with it this structure and the module
 */
struct mf_collapse {
	struct file *shmem;
	bool refused;
	struct delayed_work restore;
};

void mf_collapse_setup(struct mf_collapse *collapse, struct file *shmem);

/* All mappings. */
int mf_collapse_refuse(struct mf_collapse *collapse);
void mf_collapse_allow(struct mf_collapse *collapse);

/* A new one, whose file is set. */
void mf_collapse_map(const struct mf_collapse *collapse,
		     struct vm_area_struct *vma);

int mf_collapse_init(void);
void mf_collapse_exit(void);

#endif
