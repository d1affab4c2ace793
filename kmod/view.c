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
 * The kind of a mapping is final once it is made, and inherited by fork(),
 * splits and mremap(). A new one is counted in .mmap, before it is linked
 * into the file's tree, which is done, as is the walk, under i_mmap_rwsem: a
 * walk that meets it is followed by a look that sees @ever changed. The copies
 * that fork() and its like make are counted late, but next to one that is
 * counted, and that cannot go away meanwhile: mmap_lock is held. It is counted
 * out, in .close, after it was unlinked.
 */
#include <linux/mm.h>

#include "ram.h"
#include "view.h"

static struct mf_views *vma_views(const struct vm_area_struct *vma)
{
	struct mf_ram *ram = vma->vm_file->private_data;

	return &ram->views;
}

static void view_open(struct vm_area_struct *vma)
{
	atomic_inc(&vma_views(vma)->now);
}

static void view_close(struct vm_area_struct *vma)
{
	atomic_dec(&vma_views(vma)->now);
}

/**
 * mf_view_adopt - count a new mapping, if it is a view
 * @views: of the file
 * @vma: as shmem has mapped it, not linked yet
 *
 * Context: mmap_lock held for writing. Return: it is one, and wants the
 * methods that mf_view_ops() makes.
 */
bool mf_view_adopt(struct mf_views *views, struct vm_area_struct *vma)
{
	const vm_flags_t writable = VM_SHARED | VM_MAYWRITE;

	/* What wp_clean_test_walk() of the kernel asks. */
	if ((vma->vm_flags & writable) == writable)
		return false;
	atomic_inc(&views->now);
	/* Whoever does not see it in @ever has seen it in @now: first that. */
	smp_mb__after_atomic();
	atomic_inc(&views->ever);
	return true;
}

void mf_view_ops(struct vm_operations_struct *view_ops,
		 const struct vm_operations_struct *ops)
{
	*view_ops = *ops;
	view_ops->open = view_open;
	view_ops->close = view_close;
}
