// SPDX-License-Identifier: GPL-2.0
/*
 * Absent pages of a RAM file (post-copy migration).
 *
 * Whoever touches an absent page, by whatever way, says what it wants and
 * waits: page faults here, read(2) and write(2) in ram.c. The server of the
 * file (serve.c) reads the wants and brings the pages.
 *
 * Guest-cooperative page faults (Hirofuchi et al., "Reactive consolidation of
 * virtual machines enabled by postcopy live migration", VTDC 2011): KVM first
 * asks without waiting. Then nobody waits here, the guest is told, runs
 * another task, and a kernel thread waits in its place.
 */
#include <linux/file.h>
#include <linux/hash.h>
#include <linux/migrate_fast.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/vmalloc.h>

#include "compat/mm.h"
#include "fill.h"
#include "session.h"
#include "trace.h"

/*
 * How often a kernel thread that waits for a VM looks whether there still is
 * one: nobody can kill a kernel thread, but the VM's end waits for it.
 */
#define ALIVE_JIFFIES	(HZ / 4)
/* Pages that are discarded in one go. */
#define DISCARD_BATCH	(1UL << 16)
/* A system call that faults cannot heed a signal; it must not spin either. */
#define SPIN_JIFFIES	(HZ / 100 ?: 1)

static wait_queue_head_t *queue_of(struct mf_fill *fill, u64 page)
{
	return &fill->queues[hash_64(page, MF_FILL_QUEUE_BITS)];
}

pgoff_t mf_fill_next(const struct mf_ram *ram, pgoff_t start, pgoff_t end)
{
	struct mf_fill *fill = mf_fill_active(ram);
	struct mf_absent *absent;
	u64 stop, at = end;

	if (!fill)
		return end;
	rcu_read_lock();
	absent = rcu_dereference(fill->absent);
	stop = min_t(u64, end, absent->pages);
	if (start < stop) {
		at = find_next_bit(absent->bits, stop, start);
		if (at >= stop)
			at = end;
	}
	rcu_read_unlock();
	return at;
}

static bool is_absent(struct mf_fill *fill, u64 page)
{
	struct mf_absent *absent;
	bool ret;

	rcu_read_lock();
	absent = rcu_dereference(fill->absent);
	ret = page < absent->pages && test_bit(page, absent->bits);
	rcu_read_unlock();
	return ret;
}

/* Wants. */

static void forget(struct mf_fill *fill, struct mf_want *want)
{
	lockdep_assert_held(&fill->wants.xa_lock);
	__xa_erase(&fill->wants, want->page);
	list_del(&want->list);
	fill->waiting--;
	kfree(want);
}

/* Something more is known of who wants the page. */
static void add_flags(struct mf_want *want, u32 flags)
{
	want->flags |= flags & MIGRATE_FAST_FAULT_WRITE;
	if (!(flags & MIGRATE_FAST_FAULT_GOES_ON))
		want->flags &= ~MIGRATE_FAST_FAULT_GOES_ON;
}

/* There is something to read, or nothing will ever be. */
void mf_fill_wake_server(struct mf_fill *fill)
{
	lockdep_assert_held(&fill->wants.xa_lock);
	if (fill->server)
		wake_up_interruptible_poll(&fill->server->wanted,
					   EPOLLIN | EPOLLRDNORM);
}

/*
 * Say that @page is wanted. That it was filled meanwhile is found out by who
 * waits. Return: 0 or -ENOMEM.
 */
static int want_page(struct mf_fill *fill, u64 page, u32 flags)
{
	struct mf_want *want, *old;
	int err = 0;

	xa_lock(&fill->wants);
	old = xa_load(&fill->wants, page);
	if (old)
		add_flags(old, flags);
	xa_unlock(&fill->wants);
	if (old)
		return 0;

	want = kmalloc(sizeof(*want), GFP_KERNEL_ACCOUNT);
	if (!want)
		return -ENOMEM;
	want->page = page;
	want->flags = flags;
	want->ns = ktime_get_ns();

	xa_lock(&fill->wants);
	/* Lets go of the lock when it needs memory. */
	err = __xa_insert(&fill->wants, page, want, GFP_KERNEL);
	if (err) {
		old = err == -EBUSY ? xa_load(&fill->wants, page) : NULL;
		if (old)
			add_flags(old, flags);
		kfree(want);
		xa_unlock(&fill->wants);
		/* Gone already: filled. */
		return err == -EBUSY ? 0 : err;
	}
	list_add_tail(&want->list, &fill->untold);
	fill->waiting++;
	/* Who fills clears the bit first and looks for wants then. */
	if (!is_absent(fill, page)) {
		forget(fill, want);
	} else {
		fill->faults++;
		trace_migrate_fast_fault(fill->ram, page, flags);
		mf_fill_wake_server(fill);
	}
	xa_unlock(&fill->wants);
	return 0;
}

/**
 * mf_fill_present - pages are no longer absent
 * @fill: its lock is held
 * @start: first page
 * @end: the page after the last one; all between are absent now, and their
 *	bytes are in place
 */
void mf_fill_present(struct mf_fill *fill, u64 start, u64 end)
{
	struct mf_absent *absent = mf_fill_bits(fill);
	struct mf_want *want;
	unsigned long index;
	unsigned int i;

	/* The bytes before the bits. */
	smp_wmb();
	for (index = start; index < end; index++)
		clear_bit(index, absent->bits);
	WRITE_ONCE(fill->count, fill->count - (end - start));

	/* Who comes later finds the bits cleared: the lock sees to that. */
	xa_lock(&fill->wants);
	xa_for_each_range(&fill->wants, index, want, start, end - 1) {
		if (want->flags & MIGRATE_FAST_FAULT_GOES_ON)
			fill->went_on++;
		forget(fill, want);
	}
	xa_unlock(&fill->wants);
	if (end - start >= MF_FILL_QUEUES) {
		for (i = 0; i < MF_FILL_QUEUES; i++)
			if (wq_has_sleeper(&fill->queues[i]))
				wake_up_all(&fill->queues[i]);
	} else {
		for (index = start; index < end; index++)
			if (wq_has_sleeper(queue_of(fill, index)))
				wake_up_all(queue_of(fill, index));
	}
	if (fill->count)
		return;
	/* All there: nothing to serve any more. */
	xa_lock(&fill->wants);
	mf_fill_wake_server(fill);
	fill->server = NULL;
	xa_unlock(&fill->wants);
	if (!fill->marking)
		mf_collapse_allow(fill->collapse, MF_REFUSER_FILL);
}

void mf_fill_abort(struct mf_fill *fill)
{
	unsigned int i;

	WRITE_ONCE(fill->aborted, true);
	/* Pairs with the barrier of prepare_to_wait(). */
	smp_mb();
	for (i = 0; i < MF_FILL_QUEUES; i++)
		wake_up_all(&fill->queues[i]);
}

/* Waiting. */

/*
 * The process that a kernel thread works for has been killed or has ended:
 * its end may wait for the thread.
 */
static bool is_orphan(const struct mm_struct *mm)
{
	return current->flags & PF_KTHREAD && !mf_mm_alive(mm);
}

/* Wait for one page. Return: 0 look again, -EINTR. */
static int wait_for(struct mf_fill *fill, u64 page, unsigned int state,
		    long timeout)
{
	wait_queue_head_t *queue = queue_of(fill, page);
	DEFINE_WAIT(wait);
	int err = 0;

	prepare_to_wait(queue, &wait, state);
	if (is_absent(fill, page) && !READ_ONCE(fill->aborted)) {
		if (signal_pending_state(state, current))
			err = -EINTR;
		else
			schedule_timeout(timeout);
	}
	finish_wait(queue, &wait);
	return err;
}

static u32 fault_flags(const struct vm_fault *vmf)
{
	u32 flags = 0;

	if (vmf->flags & FAULT_FLAG_WRITE)
		flags |= MIGRATE_FAST_FAULT_WRITE;
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT || mf_works_for_others())
		flags |= MIGRATE_FAST_FAULT_GOES_ON;
	return flags;
}

static void fault_wait(struct mf_fill *fill, const struct vm_fault *vmf)
{
	unsigned int state = TASK_UNINTERRUPTIBLE;
	long timeout = MAX_SCHEDULE_TIMEOUT;

	if (vmf->flags & FAULT_FLAG_INTERRUPTIBLE)
		state = TASK_INTERRUPTIBLE;
	else if (vmf->flags & FAULT_FLAG_KILLABLE)
		state = TASK_KILLABLE;
	/*
	 * A fault from user mode heeds every signal. Of the others some do
	 * and some only say so: slow down those that come back at once.
	 */
	if (state == TASK_INTERRUPTIBLE && !(vmf->flags & FAULT_FLAG_USER) &&
	    vmf->flags & FAULT_FLAG_TRIED && signal_pending(current)) {
		state = TASK_KILLABLE;
		timeout = SPIN_JIFFIES;
	}
	if (current->flags & PF_KTHREAD)
		timeout = ALIVE_JIFFIES;
	wait_for(fill, vmf->pgoff, state, timeout);
}

/**
 * mf_fill_fault - a page fault: is the page there?
 * @ram: the file
 * @vmf: the fault, of a mapping of it
 *
 * If it is absent says so to the server, and waits if that is allowed.
 *
 * Context: mmap_lock or the lock of the mapping is held for reading; it is no
 * more when VM_FAULT_RETRY is returned to who did not forbid to wait.
 * Return: 0 the page is present, as far as is known now;
 * VM_FAULT_RETRY it was absent; VM_FAULT_SIGBUS or VM_FAULT_HWPOISON it will
 * not come, or a killed process wants it; VM_FAULT_OOM.
 */
vm_fault_t mf_fill_fault(struct mf_ram *ram, struct vm_fault *vmf)
{
	struct mf_fill *fill;
	struct file *file;

	while (mf_fill_absent(ram, vmf->pgoff)) {
		fill = ram->fill;
		if (is_orphan(vmf->vma->vm_mm))
			return VM_FAULT_SIGBUS;
		/*
		 * SIGBUS without having waited: KVM would think that it has to
		 * wait, be told SIGBUS again, and so on.
		 */
		if (READ_ONCE(fill->aborted))
			return vmf->flags & FAULT_FLAG_RETRY_NOWAIT ?
			       VM_FAULT_HWPOISON : VM_FAULT_SIGBUS;
		if (want_page(fill, vmf->pgoff, fault_flags(vmf)))
			return VM_FAULT_OOM;
		if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
			return VM_FAULT_RETRY;
		if (vmf->flags & FAULT_FLAG_ALLOW_RETRY) {
			/* The mapping may go meanwhile, and fill with it. */
			file = get_file(vmf->vma->vm_file);
			mf_fault_unlock(vmf);
			fault_wait(fill, vmf);
			fput(file);
			return VM_FAULT_RETRY;
		}
		/*
		 * Few do not allow it (a core dump, some drivers). They wait
		 * with the lock held, which who fills does not need.
		 */
		if (fatal_signal_pending(current))
			return VM_FAULT_SIGBUS;
		wait_for(fill, vmf->pgoff, TASK_KILLABLE, ALIVE_JIFFIES);
	}
	return 0;
}

/**
 * mf_fill_wait - wait until no page of a range is absent
 * @ram: the file
 * @start: first page
 * @end: the page after the last one
 * @write: they are wanted for writing
 *
 * Context: may sleep; no lock of ours held. Return: 0; -EINTR; -EIO they will
 * not come; -ENOMEM.
 */
int mf_fill_wait(struct mf_ram *ram, pgoff_t start, pgoff_t end, bool write)
{
	struct mf_fill *fill;
	int err = 0;

	while (!err && (start = mf_fill_next(ram, start, end)) < end) {
		fill = ram->fill;
		if (READ_ONCE(fill->aborted))
			return -EIO;
		err = want_page(fill, start,
				write ? MIGRATE_FAST_FAULT_WRITE : 0);
		if (!err)
			err = wait_for(fill, start, TASK_INTERRUPTIBLE,
				       MAX_SCHEDULE_TIMEOUT);
	}
	return err;
}

/**
 * mf_fill_give_way - wait until no DEMAND waits for who holds pages
 * @ram: the file
 *
 * Context: may sleep, as long as DEMAND waits at most, but not if a signal is
 * pending; nothing of the file is held.
 */
void mf_fill_give_way(const struct mf_ram *ram)
{
	struct mf_fill *fill = mf_fill_of(ram);

	while (unlikely(fill) && READ_ONCE(fill->settling) &&
	       !signal_pending(current))
		schedule_timeout_interruptible(1);
}

/* Discarding. */

/**
 * mf_fill_lock - keep pages from being filled while they are discarded
 * @ram: the file
 *
 * Return: what mf_fill_discard_unlock() wants: NULL if nothing was locked.
 */
struct mf_fill *mf_fill_lock(struct mf_ram *ram)
{
	struct mf_fill *fill = mf_fill_active(ram);

	if (fill)
		mutex_lock(&fill->lock);
	return fill;
}

/**
 * mf_fill_discard_unlock - whole pages were discarded: they are holes now
 * @fill: of mf_fill_lock(), may be NULL
 * @from: first byte
 * @to: the byte after the last one; nothing if not more than @from
 */
void mf_fill_discard_unlock(struct mf_fill *fill, loff_t from, loff_t to)
{
	struct mf_absent *absent;
	u64 start, end, stop;

	if (!fill)
		return;
	absent = mf_fill_bits(fill);
	start = DIV_ROUND_UP_ULL(from, PAGE_SIZE);
	stop = to > from ? min_t(u64, to >> PAGE_SHIFT, absent->pages) : 0;
	while (start < stop) {
		start = find_next_bit(absent->bits, stop, start);
		end = find_next_zero_bit(absent->bits,
					 min(stop, start + DISCARD_BATCH), start);
		if (start < end)
			mf_fill_present(fill, start, end);
		start = end;
		cond_resched();
	}
	mutex_unlock(&fill->lock);
}

/* Lifetime. */

static struct mf_absent *absent_new(u64 pages)
{
	struct mf_absent *absent;

	absent = __vmalloc(struct_size(absent, bits, BITS_TO_LONGS(pages)),
			   GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (absent)
		absent->pages = pages;
	return absent;
}

/*
 * Make room for so many pages: the file may have grown since pages of it became
 * absent. Who looks at the old bits meanwhile does not see what is marked in
 * the new ones; DEMAND waits for him then. Nor does he miss that a page has
 * come: he is in a wait queue by then, where its fill looks afterwards.
 */
int mf_fill_resize(struct mf_fill *fill, u64 pages)
{
	struct mf_absent *old = mf_fill_bits(fill), *absent;

	if (old->pages >= pages)
		return 0;
	absent = absent_new(pages);
	if (!absent)
		return -ENOMEM;
	memcpy(absent->bits, old->bits,
	       BITS_TO_LONGS(old->pages) * sizeof(long));
	rcu_assign_pointer(fill->absent, absent);
	kvfree_rcu(old, rcu);
	return 0;
}

/* Under the inode lock of the file. */
struct mf_fill *mf_fill_make(struct mf_ram *ram)
{
	struct mf_fill *fill = ram->fill;
	struct mf_absent *absent;
	unsigned int i;

	if (fill)
		return fill;
	fill = kzalloc(sizeof(*fill), GFP_KERNEL_ACCOUNT);
	absent = absent_new(0);
	if (!fill || !absent) {
		kfree(fill);
		vfree(absent);
		return ERR_PTR(-ENOMEM);
	}
	mutex_init(&fill->lock);
	fill->collapse = &ram->collapse;
	xa_init(&fill->wants);
	INIT_LIST_HEAD(&fill->untold);
	INIT_LIST_HEAD(&fill->told);
	for (i = 0; i < MF_FILL_QUEUES; i++)
		init_waitqueue_head(&fill->queues[i]);
	RCU_INIT_POINTER(fill->absent, absent);
	/* Pairs with mf_fill_of(). */
	smp_store_release(&ram->fill, fill);
	return fill;
}

void mf_fill_free(struct mf_fill *fill)
{
	struct mf_want *want;
	unsigned long index;

	if (!fill)
		return;
	/* Asked for without waiting, and never again. */
	xa_for_each(&fill->wants, index, want)
		kfree(want);
	xa_destroy(&fill->wants);
	vfree(rcu_dereference_protected(fill->absent, true));
	kfree(fill);
}
