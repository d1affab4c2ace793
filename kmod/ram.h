/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A RAM file: an inode of mfram and the shmem file that holds its pages.
 */
#ifndef MF_RAM_H
#define MF_RAM_H

#include <linux/fs.h>
#include <linux/mm.h>

#include "collapse.h"
#include "upgrade.h"
#include "view.h"

struct inode;
struct mf_fill;
struct mf_track;

/**
 * struct mf_ram - guest RAM in a file
 * @shmem: the file that holds the pages. Mappings (vma->vm_file) refer to it
 *	directly, so it outlives the inode of ours while something is mapped;
 *	its last fput() frees this structure
 * @shmem_fops: shmem's own methods of that file
 * @shmem_iops: and of its inode
 * @track: dirty bits while a session tracks the file, else NULL. Written
 *	under the inode lock of ours; readers are under rcu_read_lock()
 * @fill: which pages are absent; NULL until somebody has served the file
 * @collapse: may mappings be collapsed? Not while a page is absent
 * @views: have there been mappings that cannot write?
 * @upgrades: have there been mappings that can without asking?
 *
 * Lifetime: owned by @shmem. The inode of ours owns one reference of @shmem,
 * each mapping another. Lock order: session->lock -> inode lock of ours ->
 * freeze protection of the hidden filesystem -> fill->lock -> inode lock of
 * @shmem -> folio lock; mmap_lock -> folio lock (see map.c, clean.c). No user
 * memory is faulted in under that inode lock: to bring it, if it is absent,
 * takes the lock. MADV_REMOVE comes with the freeze protection and nothing else.
 */
struct mf_ram {
	struct file *shmem;
	const struct file_operations *shmem_fops;
	const struct inode_operations *shmem_iops;
	struct mf_track __rcu *track;
	struct mf_fill *fill;
	struct mf_collapse collapse;
	struct mf_views views;
	struct mf_upgrades upgrades;
};

static inline struct address_space *mf_ram_mapping(const struct mf_ram *ram)
{
	return ram->shmem->f_mapping;
}

/* The file is one of mfram's; NULL if it is not. */
struct mf_ram *mf_ram_from_file(struct file *file);

/*
 * The folio that holds page @index, with a reference, swapped in if need be.
 * NULL: a hole (which stays one). ERR_PTR: -EIO, -ENOMEM. May sleep. The
 * folio can be truncated or go to swap at any time: its bytes then are what
 * the page held a moment ago, which is what a reader of a live file gets.
 */
struct folio *mf_ram_get_folio(struct mf_ram *ram, pgoff_t index);

/*
 * Bytes into the shmem file, at *@pos, which moves on. Its freeze protection is
 * held (file_start_write()), and not its inode lock. What it returns is what
 * write(2) does.
 */
ssize_t mf_ram_write(struct mf_ram *ram, struct iov_iter *from, loff_t *pos);

/* For mfram.c: make the RAM of a new inode, and take it away at its end. */
int mf_ram_attach(struct inode *inode, struct vfsmount *backing,
		  const char *name);
void mf_ram_detach(struct inode *inode);

#endif
