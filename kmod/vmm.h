/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The process that runs a VM, as KVM's ioctls want it: they refuse whoever is
 * not in its address space, and read their arguments there.
 */
#ifndef MF_VMM_H
#define MF_VMM_H

#include <linux/types.h>

struct file;
struct kthread_worker;
struct mm_struct;

/* Bytes for arguments of an ioctl; more than one page is for bitmaps. */
#define MF_VMM_BYTES	(64 * 1024)

/**
 * struct mf_vmm - a thread of ours in the address space of a VMM
 * @mm: the address space; we keep the structure, not what is in it
 * @worker: the thread
 * @room: MF_VMM_BYTES for arguments; belongs to @mapped
 * @mapped: the file by which @room is mapped there, read-only
 * @addr: where
 *
 * One caller at a time.
 */
struct mf_vmm {
	struct mm_struct *mm;
	struct kthread_worker *worker;
	void *room;
	struct file *mapped;
	unsigned long addr;
};

int mf_vmm_enter(struct mf_vmm *vmm, struct mm_struct *mm);
void mf_vmm_leave(struct mf_vmm *vmm);
int mf_vmm_ioctl(struct mf_vmm *vmm, struct file *file, unsigned int cmd);

#endif
