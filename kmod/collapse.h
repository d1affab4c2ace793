/* SPDX-License-Identifier: GPL-2.0 */
/*
 * MADV_COLLAPSE of a RAM file, and userfaultfd(2) where that heeds the same
 * flag: refused while somebody here cannot do with them.
 */
#ifndef MF_COLLAPSE_H
#define MF_COLLAPSE_H

#include <linux/atomic.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct file;
struct vm_area_struct;

/**
 * enum mf_refuser - who refuses, each for itself
 * @MF_REFUSER_FILL: a DEMAND that is counted in fill->marking, until that is 0;
 *	ends under fill->lock
 * @MF_REFUSER_TRACK: who tracks the file, on some kernels: upgrade.c
 */
enum mf_refuser {
	MF_REFUSER_FILL,
	MF_REFUSER_TRACK,
	/* private: not one, but how many there are */
	MF_REFUSERS,
};

/**
 * struct mf_collapse - may mappings of a RAM file be collapsed?
 * @shmem: the file that they map
 * @refusers: bits by enum mf_refuser: they say no; and one more, see collapse.c
 * @restore: makes mappings as they were. While it is pending it owns a
 *	reference of @shmem, and with it this structure and the module
 */
struct mf_collapse {
	struct file *shmem;
	atomic_long_t refusers;
	struct delayed_work restore;
};

void mf_collapse_setup(struct mf_collapse *collapse, struct file *shmem);

/* All mappings. */
int mf_collapse_refuse(struct mf_collapse *collapse, enum mf_refuser who);
void mf_collapse_allow(struct mf_collapse *collapse, enum mf_refuser who);

/* A new one, whose file is set. */
void mf_collapse_map(const struct mf_collapse *collapse,
		     struct vm_area_struct *vma);

int mf_collapse_init(void);
void mf_collapse_exit(void);

#endif
