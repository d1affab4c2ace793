/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences of the memory management between kernels.
 */
#ifndef MF_COMPAT_MM_H
#define MF_COMPAT_MM_H

#include <linux/build_bug.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#include <linux/folio_batch.h>
#else
#include <linux/pagevec.h>
#endif

/* The folio at @index with a reference, or NULL. */
static inline struct folio *mf_filemap_get(struct address_space *mapping,
					   pgoff_t index)
{
	struct folio *folio = filemap_get_folio(mapping, index);

	/* From 6.4 on a hole is ERR_PTR(-ENOENT). */
	return IS_ERR(folio) ? NULL : folio;
}

/*
 * 7.2 has a mapping's own methods for userfaultfd(2), where others knew those of
 * tmpfs by their address. Who puts pages in place by them asks nobody.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define mf_refuse_userfaultfd(_ops)	((_ops)->uffd_ops = NULL)
#else
#define mf_refuse_userfaultfd(_ops)	do { } while (0)
#endif

/*
 * From 6.17 on mprotect(2) takes entries of a large folio together, and makes
 * clean ones writable, and dirty, with one that is dirty. True: and nobody
 * faults in @vma until mmap_lock is let go.
 */
static inline bool mf_mprotect_batches(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
	vma_start_write(vma);
	return true;
#else
	return false;
#endif
}

/*
 * So does userfaultfd(2) when it ends write protection, which it can with the
 * asynchronous one without our methods. Since 7.2 not in mappings that are
 * VM_DONTEXPAND.
 */
static inline bool mf_userfaultfd_batches(void)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0);
}

/*
 * From 6.18 on a fault in a mapping of a tmpfs file maps, with the page that
 * .fault has found, all the others of its folio, and so does .map_pages.
 */
static inline bool mf_fault_maps_folio(void)
{
	return LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0);
}

/*
 * There vmf->page, which is locked, can be mapped alone and read-only all the
 * same. VM_FAULT_NOPAGE: it is, or was; an error; 0: not on this kernel.
 */
static inline vm_fault_t mf_insert_page(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return vmf_insert_page_mkwrite(vmf, vmf->page, false);
#else
	return 0;
#endif
}

/*
 * In how many page tables the pages of @folio are, all together. 6.12 keeps the
 * sum, and its function needs nothing that is not exported. That of 6.1 does
 * when the folio is large; what follows instead is right for 6.1 only: from 6.2
 * on a mapping of the whole folio does not count in its pages any more.
 */
static inline int mf_folio_mapcount(struct folio *folio)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return folio_mapcount(folio);
#else
	int entire, sum;
	long i, nr;

	if (!folio_test_large(folio))
		return atomic_read(&folio->_mapcount) + 1;
	entire = folio_entire_mapcount(folio);
	nr = folio_nr_pages(folio);
	/*
	 * Unmapping a whole folio counts down its pages first: in this order
	 * the sum can be too low meanwhile, never too high.
	 */
	smp_rmb();
	sum = entire;
	/*
	 * A mapping of the whole file folio counts once in each page as well
	 * as once in the folio.
	 */
	for (i = 0; i < nr; i++)
		sum += atomic_read(&folio_page(folio, i)->_mapcount) + 1 -
		       entire;
	return sum;
#endif
}

/* Let go of the lock that a page fault came with, to return VM_FAULT_RETRY. */
static inline void mf_fault_unlock(struct vm_fault *vmf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	release_fault_lock(vmf);
#else
	mmap_read_unlock(vmf->vma->vm_mm);
#endif
}

/* What collapse.c rests on: this kernel does not collapse such mappings. */
static inline bool mf_heeds_dontexpand(void)
{
	return VM_NO_KHUGEPAGED & VM_DONTEXPAND;
}

/* A file of shmem on the mount @backing, as if by hand. */
static inline struct file *mf_shmem_file(struct vfsmount *backing,
					 const char *name)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	return shmem_file_setup_with_mnt(backing, name, 0,
					 mk_vma_flags(VMA_NORESERVE_BIT));
#else
	return shmem_file_setup_with_mnt(backing, name, 0, VM_NORESERVE);
#endif
}

/* Map it, by its own methods @shmem_fops, which are not @file's any more. */
static inline int mf_shmem_mmap(const struct file_operations *shmem_fops,
				struct file *file, struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	struct vm_area_desc desc;
	int err;

	compat_set_desc_from_vma(&desc, file, vma);
	err = shmem_fops->mmap_prepare(&desc);
	return err ? err : __compat_vma_mmap(&desc, vma);
#else
	return shmem_fops->mmap(file, vma);
#endif
}

/* Methods that were copied from shmem's, and get a way to map of their own. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define mf_forget_mmap(fops)	((fops)->mmap_prepare = NULL)
#else
#define mf_forget_mmap(fops)	((fops)->mmap = NULL)
#endif

/* Of the flags @mask those in @flags are set; mmap_lock is held for writing. */
static inline void mf_vma_set_flags(struct vm_area_struct *vma,
				    unsigned long flags, unsigned long mask)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, flags, mask & ~flags);
#else
	WRITE_ONCE(vma->vm_flags, (vma->vm_flags & ~mask) | flags);
#endif
}

/*
 * NUMA balancing has been at the process that @vma is of, and may have taken
 * access to its pages away, to give it back in a page fault. It keeps the write
 * bit meanwhile before 6.3, and has looked at mappings of shmem files with a
 * policy of their own only.
 */
static inline bool mf_vma_numa_scanned(const struct vm_area_struct *vma)
{
#if defined(CONFIG_NUMA_BALANCING) && \
	LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	/* A mapping that was split off has no state of its own. */
	return READ_ONCE(vma->numab_state) ||
	       READ_ONCE(vma->vm_mm->numa_scan_seq) ||
	       READ_ONCE(vma->vm_mm->numa_scan_offset);
#else
	return false;
#endif
}

/*
 * This thread is the kernel's, and works for a process that goes on meanwhile:
 * KVM's for asynchronous page faults, vhost's. From 6.4 on the latter is one of
 * the process's own, and ends with it. Not io_uring's: they are what a process
 * waits for that has asked for it.
 */
static inline bool mf_works_for_others(void)
{
#ifdef PF_USER_WORKER
	if ((current->flags & (PF_USER_WORKER | PF_IO_WORKER)) == PF_USER_WORKER)
		return true;
#endif
	return current->flags & PF_KTHREAD;
}

/*
 * Some process uses @mm, and has not been killed. Without CONFIG_MEMCG nothing
 * tells: then it counts as alive as long as somebody holds it.
 */
static inline bool mf_mm_alive(const struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	struct task_struct *owner;
	bool alive;

	rcu_read_lock();
	owner = rcu_dereference(mm->owner);
	alive = owner && !(READ_ONCE(owner->signal->flags) & SIGNAL_GROUP_EXIT);
	rcu_read_unlock();
	return alive;
#else
	return true;
#endif
}

#endif
