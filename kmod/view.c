// SPDX-License-Identifier: GPL-2.0
/*
 * Views: mappings of a RAM file through which it cannot be written, private
 * ones and shared ones of a file that was opened for reading.
 *
 * Nothing has to be cleaned in them. But the kernel's helpers that clean a
 * range in all mappings of a file end their walk at the first such mapping,
 * silently, and leave every mapping behind it writable (walk_page_mapping()
 * takes "skip this one" of a test_walk method for "enough", from 6.1 on).
 * Writes through those would never be seen again. So whoever walks has to
 * know whether it can have met one, and then clean page by page.
 *
 * Where there has never been one, which is the rule, a look before the walk
 * and a look after it are all: a new one is counted in .mmap, before it is
 * linked into the file's tree, which is done, as is the walk, under
 * i_mmap_rwsem. Else the tree is searched before the walk. The kind of a
 * mapping is final once it is made, and what fork(), splits and mremap() copy
 * is linked itself meanwhile; so what the search does not find can only be met
 * if it was counted already and is not linked yet. Such a mapping holds a
 * reference of the shmem file that no mapping in the tree explains.
 *
 * (To count them in and out by methods of the VMA would be simpler, but a VMA
 * with a .close is never merged again with what was split off it.)
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "mappings.h"
#include "ram.h"
#include "view.h"

/* Mappings that are looked at. */
#define VIEW_MOST	4096

/* What wp_clean_test_walk() of the kernel asks. */
static bool is_view(const struct vm_area_struct *vma)
{
	const vm_flags_t writable = VM_SHARED | VM_MAYWRITE;

	return (READ_ONCE(vma->vm_flags) & writable) != writable;
}

/**
 * mf_view_map - a mapping is being made
 * @views: of its file
 * @vma: it holds a reference of the shmem file already
 *
 * Context: mmap_lock held for writing.
 */
void mf_view_map(struct mf_views *views, const struct vm_area_struct *vma)
{
	if (!is_view(vma))
		return;
	/* The reference first: see mf_views_before(). */
	smp_mb__before_atomic();
	atomic_inc(&views->ever);
}

/* Is there a view, or can one be under way? */
static bool can_be_met(const struct mf_ram *ram)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	struct vm_area_struct *vma;
	struct rb_node *node;
	long references = 1;	/* the inode of ours */
	bool ret = false;

	i_mmap_lock_read(mapping);
	mf_for_each_mapping(vma, node, mapping) {
		/* Too many to look at while others wait: it may be one. */
		ret = is_view(vma) || references++ > VIEW_MOST;
		if (ret)
			break;
		cond_resched();
	}
	if (!ret)
		ret = file_count(ram->shmem) > references;
	i_mmap_unlock_read(mapping);
	return ret;
}

/**
 * mf_views_before - could a walk over the mappings of a file meet a view?
 * @ram: the file; its inode, or a session's file, is held
 * @ever: for mf_views_since(), after the walk
 *
 * Context: may sleep; takes i_mmap_rwsem.
 */
bool mf_views_before(struct mf_ram *ram, int *ever)
{
	*ever = atomic_read(&ram->views.ever);
	if (likely(!*ever))
		return false;
	/* Pairs with mf_view_map(): if it is in @ever, so is its reference. */
	smp_rmb();
	return can_be_met(ram);
}

/**
 * mf_views_since - could the walk have met one that was made meanwhile?
 * @ram: the file
 * @ever: from mf_views_before()
 */
bool mf_views_since(const struct mf_ram *ram, int ever)
{
	return atomic_read(&ram->views.ever) != ever;
}
