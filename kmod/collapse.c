// SPDX-License-Identifier: GPL-2.0
/*
 * Refuse MADV_COLLAPSE for a RAM file while pages of it are absent; and on
 * kernels where it heeds the same flag userfaultfd(2), while it is tracked.
 *
 * madvise(MADV_COLLAPSE) puts zeroes in the place of what a large page lacks,
 * and maps it for its caller without a page fault: our methods are not asked,
 * and who looks sees zeroes of pages that are absent. (khugepaged makes large
 * pages likewise but leaves it to the page fault to map them, and there the
 * absent bits decide, whatever the page cache holds.)
 *
 * The kernel does not collapse mappings that are VM_DONTEXPAND, a flag which
 * nothing else sets for a file of shmem and no system call clears. It says so
 * before it begins, and from 6.6 on again before it maps. The page fault does
 * not look at the flag, so what is present is still mapped by PMDs; what the
 * mapping loses meanwhile is growth by mremap(2), mlock(2), merging with
 * neighbours, and khugepaged.
 *
 * MMF_DISABLE_THP would need no mmap_lock, but is the process' own: the VMM
 * would lose the large pages of all its memory, its children would inherit
 * that, across execve(2), for good, and prctl(PR_SET_THP_DISABLE) could undo
 * it. VM_NOHUGEPAGE is undone by madvise(MADV_HUGEPAGE).
 *
 * To refuse is to wait until none of these is left:
 *
 *  - mappings without the flag. Those that fork(), mremap(2) and splits make of
 *    others inherit it; what mmap() makes has it if @refusers were seen, else it
 *    will be found in the file's i_mmap, but not before mmap() has come so far.
 *  - collapses under way that have seen no flag. Before 6.6 they map what they
 *    have made without another look. They let go of mmap_lock while they work.
 *
 * Both hold a reference of the file that is no mapping's in i_mmap: mmap() from
 * before it looks at @refusers, a collapse since it looked at the flag, under
 * mmap_lock. So when every mapping has had the flag set under its mmap_lock,
 * and the file has no more references than mappings and our own, there is
 * neither, and there will be none as long as somebody refuses. References of
 * others delay this: short ones of page faults, long ones of a core dump that has
 * the file mapped.
 *
 * That can take long, so no lock of ours is held: mmap_lock of any process
 * (write) is the only one, and i_mmap_rwsem is not held while it is taken. Of
 * several who begin at once each does all of it; who comes when one has come to
 * the end, and still refuses, has nothing to do. That must be so: page faults
 * that wait for an absent page have a reference until it comes, and who wants to
 * refuse may be who brings it. The last who allows has the flag taken away, by a
 * work that does nothing if somebody refuses again by then.
 */
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/oom.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "collapse.h"
#include "compat/mm.h"
#include "mappings.h"

/*
 * In @refusers, beside one of them at least: since one has come to the end there
 * was always somebody who refused.
 */
#define SETTLED		BIT(MF_REFUSERS)
/* How often mappings are looked at again that were in use. */
#define AGAIN_JIFFIES	(HZ / 50 ?: 1)

/* Of our own, so that the module can wait for the end of the last work. */
static struct workqueue_struct *restore_queue;

static bool is_refused(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_DONTEXPAND;
}

/*
 * The OOM killer takes the process' memory, or fork() has failed half way: then
 * its tree of mappings can have entries that are none (from 6.8 on). Nothing
 * will run in it any more. Once true it stays so.
 */
static bool is_unstable(struct mm_struct *mm)
{
	return check_stable_address_space(mm);
}

/*
 * A process with a mapping of the file that is not as it shall be, with a
 * reference; NULL: there is none. Processes that have ended, or never begun, do
 * not count: nobody can collapse for them. *@settled: what is under way knows
 * what is asked for.
 */
static struct mm_struct *find_other(struct file *shmem, bool refused,
				    long references, bool *settled)
{
	struct address_space *mapping = shmem->f_mapping;
	struct mm_struct *mm = NULL;
	struct vm_area_struct *vma;
	struct rb_node *node;

	i_mmap_lock_read(mapping);
	mf_for_each_mapping(vma, node, mapping) {
		if (is_refused(vma) != refused && !is_unstable(vma->vm_mm) &&
		    mmget_not_zero(vma->vm_mm))
			mm = vma->vm_mm;
		if (mm)
			break;
		references++;
		cond_resched();
	}
	*settled = !mm && file_count(shmem) <= references;
	i_mmap_unlock_read(mapping);
	return mm;
}

/* All mappings of the file in one process, whose mmap_lock is held. */
static void change(struct mm_struct *mm, const struct file *shmem, bool refused)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	if (is_unstable(mm))
		return;
	for_each_vma(vmi, vma) {
		if (vma->vm_file == shmem)
			mf_vma_set_flags(vma, refused ? VM_DONTEXPAND : 0,
					 VM_DONTEXPAND);
	}
}

/*
 * Make all mappings as they shall be. Context: may sleep. Return: 0; -EAGAIN
 * something is under way that may not know.
 */
static int change_all(struct file *shmem, bool refused, long references,
		      int (*lock)(struct mm_struct *mm))
{
	struct mm_struct *mm;
	bool settled;
	int err = 0;

	while (!err && (mm = find_other(shmem, refused, references, &settled))) {
		err = lock(mm);
		if (!err) {
			change(mm, shmem, refused);
			mmap_write_unlock(mm);
		}
		/* If it is the last one: not here, all that its end does. */
		mmput_async(mm);
	}
	return err ?: settled ? 0 : -EAGAIN;
}

/**
 * mf_collapse_refuse - none of the file's mappings can be collapsed any more
 * @collapse: of the file
 * @who: refuses, until mf_collapse_allow()
 *
 * Context: no lock held that is taken under mmap_lock or waits for it; the
 * caller has an open file of ours, whose inode holds a reference of the shmem
 * file, and sees to it that nobody calls mf_collapse_allow() for @who meanwhile.
 * Unless it is refused already may wait for mmap_lock of any process that maps it,
 * and for page faults that hold a reference. Return: 0, or -EINTR: then
 * mf_collapse_allow() is to be called.
 */
int mf_collapse_refuse(struct mf_collapse *collapse, enum mf_refuser who)
{
	int err;

	/* A full barrier: pairs with mf_collapse_map(), and with restore(). */
	if (atomic_long_fetch_or(BIT(who), &collapse->refusers) & SETTLED)
		return 0;
	if (cancel_delayed_work_sync(&collapse->restore))
		fput(collapse->shmem);
	while ((err = change_all(collapse->shmem, true, 1,
				 mmap_write_lock_killable)) == -EAGAIN) {
		if (signal_pending(current))
			return -EINTR;
		schedule_timeout_interruptible(1);
	}
	if (!err)
		atomic_long_or(SETTLED, &collapse->refusers);
	return err;
}

/*
 * Who holds it may wait for an absent page of another file, and whoever wants
 * it after us waits for us: rather look again later.
 */
static int lock_if_free(struct mm_struct *mm)
{
	if (rwsem_is_locked(&mm->mmap_lock))
		return -EAGAIN;
	return mmap_write_lock_killable(mm);
}

static void restore(struct work_struct *work)
{
	struct mf_collapse *collapse = container_of(to_delayed_work(work),
						    struct mf_collapse,
						    restore);
	int err = 0;

	/*
	 * Who refuses after this look waits for us to end. The inode of ours
	 * may have a reference of the file, and this work has one.
	 */
	if (!atomic_long_read(&collapse->refusers))
		err = change_all(collapse->shmem, false, 2, lock_if_free);
	/* Refused to be queued: it is being cancelled, and was not pending. */
	if (!err || !queue_delayed_work(restore_queue, &collapse->restore,
					AGAIN_JIFFIES))
		fput(collapse->shmem);
}

/**
 * mf_collapse_allow - as far as @who goes, mappings of the file can be collapsed
 * @collapse: of the file
 * @who: has refused, or not
 *
 * That takes a while: a mapping may be in use by who waits for an absent page
 * of another file, which must not keep the caller.
 *
 * Context: any that may not be atomic; not called for the same @who at once.
 */
void mf_collapse_allow(struct mf_collapse *collapse, enum mf_refuser who)
{
	long before = atomic_long_read(&collapse->refusers), after;

	do {
		after = before & ~BIT(who);
		if (after == SETTLED)
			after = 0;
	} while (!atomic_long_try_cmpxchg(&collapse->refusers, &before, after));
	if (!before || after)
		return;
	get_file(collapse->shmem);
	/* Two who were both the last ones queue it once. */
	if (!queue_delayed_work(restore_queue, &collapse->restore, 0))
		fput(collapse->shmem);
}

/**
 * mf_collapse_map - a mapping is being made
 * @collapse: of its file
 * @vma: it holds a reference of the shmem file already
 *
 * Context: mmap_lock held for writing.
 */
void mf_collapse_map(const struct mf_collapse *collapse,
		     struct vm_area_struct *vma)
{
	/* The reference first: see mf_collapse_refuse(). */
	smp_mb();
	if (atomic_long_read(&collapse->refusers))
		mf_vma_set_flags(vma, VM_DONTEXPAND, VM_DONTEXPAND);
}

void mf_collapse_setup(struct mf_collapse *collapse, struct file *shmem)
{
	collapse->shmem = shmem;
	INIT_DELAYED_WORK(&collapse->restore, restore);
}

int mf_collapse_init(void)
{
	if (WARN_ON_ONCE(!mf_heeds_dontexpand()))
		return -EOPNOTSUPP;
	restore_queue = alloc_workqueue("migrate_fast", WQ_UNBOUND, 0);
	return restore_queue ? 0 : -ENOMEM;
}

void mf_collapse_exit(void)
{
	destroy_workqueue(restore_queue);
}
