// SPDX-License-Identifier: GPL-2.0
/*
 * Serving absent pages: the session that hears who wants them, and brings
 * them. How they become absent: demand.c.
 */
#include <linux/bvec.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "fill.h"
#include "ram.h"
#include "serve.h"
#include "session.h"
#include "trace.h"

/* Pages that are filled with the locks held once: as many as make 2 MB. */
#define FILL_BATCH	512

/* Becoming the server. */

/* All that was told to an earlier server is told again, before what is new. */
static void tell_again(struct mf_fill *fill)
{
	struct mf_want *want;

	list_for_each_entry(want, &fill->told, list)
		want->flags |= MIGRATE_FAST_FAULT_AGAIN;
	list_splice_init(&fill->told, &fill->untold);
}

/**
 * mf_serve_take - become the server of a file
 * @session: who
 * @fill: of the file; its lock is held
 * @ram: number of the file in the session
 *
 * Return: 0, or -EBUSY if another session is.
 */
int mf_serve_take(struct mf_session *session, struct mf_fill *fill, u32 ram)
{
	int err = 0;

	xa_lock(&fill->wants);
	if (!fill->server) {
		fill->server = session;
		fill->ram = ram;
		/* Faults before this are there already. */
		mf_fill_wake_server(fill);
	} else if (fill->server != session) {
		err = -EBUSY;
	}
	xa_unlock(&fill->wants);
	return err;
}

/**
 * mf_serve_done - there is nothing to serve
 * @session: which may be the server
 * @fill: of a file no page of which is absent; its lock is held
 */
void mf_serve_done(struct mf_session *session, struct mf_fill *fill)
{
	xa_lock(&fill->wants);
	if (fill->server == session)
		fill->server = NULL;
	xa_unlock(&fill->wants);
}

/**
 * mf_serve_leave - the session ends: others may serve the file
 * @session: which may be the server
 * @member: the file
 */
void mf_serve_leave(struct mf_session *session, struct mf_member *member)
{
	struct mf_fill *fill = mf_fill_of(member->ram);

	if (!fill)
		return;
	mutex_lock(&fill->lock);
	xa_lock(&fill->wants);
	if (fill->server == session) {
		tell_again(fill);
		fill->server = NULL;
	}
	xa_unlock(&fill->wants);
	mutex_unlock(&fill->lock);
}

/* Filling. */

/*
 * Bytes of absent pages [@start, @end), which do not touch pages that are
 * present: the page cache fills a new page under its lock, so that nobody
 * sees half of it, and the bits keep everybody off the rest of a large folio.
 * What would lie behind the end of the file is left out: the write would move
 * it. The caller holds the inode lock of ours, so it stays where it is.
 * Return: pages that are complete, or an error if there is none.
 */
static long write_pages(struct mf_ram *ram, u64 start, u64 end,
			struct page **pages)
{
	struct bio_vec *bvec;
	struct iov_iter iter;
	loff_t pos = start << PAGE_SHIFT;
	unsigned int i, nr = end - start;
	ssize_t bytes, ret;

	bytes = min_t(loff_t, i_size_read(file_inode(ram->shmem)) - pos,
		      (loff_t)nr << PAGE_SHIFT);
	if (bytes <= 0)
		return -EINVAL;
	bvec = kmalloc_array(nr, sizeof(*bvec), GFP_KERNEL);
	if (!bvec)
		return -ENOMEM;
	for (i = 0; i < nr; i++)
		bvec[i] = (struct bio_vec){
			.bv_page = pages[i],
			.bv_len = PAGE_SIZE,
		};
	iov_iter_bvec(&iter, ITER_SOURCE, bvec, nr, bytes);
	ret = mf_ram_write(ram, &iter, &pos);
	kfree(bvec);
	if (ret == bytes)
		return nr;
	if (ret >= 0 && ret < PAGE_SIZE)
		ret = -ENOSPC;
	return ret < 0 ? ret : ret >> PAGE_SHIFT;
}

/* @pages: the bytes of [arg->next, @end), or NULL for zeroes. */
static int fill_batch(struct mf_session *session, struct mf_member *member,
		      struct migrate_fast_fill *arg, u64 end,
		      struct page **pages)
{
	struct mf_fill *fill = mf_fill_of(member->ram);
	struct mf_absent *absent;
	u64 base = arg->next;
	int err = 0;

	if (!fill)
		return -EPERM;
	file_start_write(member->ram->shmem);
	mutex_lock(&fill->lock);
	if (fill->aborted)
		err = -ECANCELED;
	else if (fill->server != session)
		err = fill->count ? -EPERM : 0;
	absent = mf_fill_bits(fill);
	/* Present, or cut off meanwhile. */
	while (!err && arg->next < end) {
		u64 stop = min(end, absent->pages), from, to;
		long nr;

		from = find_next_bit(absent->bits, stop, arg->next);
		if (from >= stop)
			break;
		to = find_next_zero_bit(absent->bits, stop, from);
		arg->next = from;
		nr = pages ? write_pages(member->ram, from, to,
					 pages + (from - base)) : to - from;
		if (nr < 0) {
			err = nr;
			break;
		}
		mf_fill_present(fill, from, from + nr);
		arg->next = from + nr;
		arg->filled += nr;
	}
	if (!err)
		arg->next = end;
	arg->absent = fill->count;
	mutex_unlock(&fill->lock);
	file_end_write(member->ram->shmem);
	return err;
}

/* One batch from user memory. The pages are pinned before any lock is taken. */
static int fill_from(struct mf_session *session, struct mf_member *member,
		     struct migrate_fast_fill *arg, struct page **pages,
		     unsigned int nr)
{
	u64 from = arg->from + ((arg->next - arg->start) << PAGE_SHIFT);
	int pinned = 0, err;

	if (pages) {
		pinned = pin_user_pages_fast(from, nr, 0, pages);
		if (pinned <= 0)
			return pinned ?: -EFAULT;
		nr = pinned;
	}
	err = mf_member_lock(member);
	if (!err) {
		err = fill_batch(session, member, arg, arg->next + nr, pages);
		mf_member_unlock(member);
	}
	unpin_user_pages(pages, pinned);
	return err;
}

int mf_session_fill(struct mf_session *session, struct migrate_fast_fill *arg)
{
	struct mf_member *member = mf_session_member(session, arg->ram);
	bool zero = arg->flags & MIGRATE_FAST_FILL_ZERO;
	struct page **pages = NULL;
	u64 count = arg->pages, end;
	int err;

	if (IS_ERR(member))
		return PTR_ERR(member);
	if (arg->flags & ~MIGRATE_FAST_FILL_ZERO || !count ||
	    !PAGE_ALIGNED(arg->from) || (zero && arg->from))
		return -EINVAL;
	/* Outputs only; a wrapped address is the caller's to explain. */
	if (arg->next || arg->filled || arg->absent)
		return -EINVAL;
	err = mf_member_range(member, arg->start, &count);
	if (err)
		return err;
	if (arg->from + (count << PAGE_SHIFT) < arg->from)
		return -EFAULT;
	if (!zero) {
		pages = kmalloc_array(min_t(u64, count, FILL_BATCH),
				      sizeof(*pages), GFP_KERNEL);
		if (!pages)
			return -ENOMEM;
	}
	end = arg->start + count;
	arg->next = arg->start;
	while (!err && arg->next < end) {
		/* Batches end where a large folio does. */
		u64 stop = min(end, ALIGN_DOWN(arg->next + FILL_BATCH,
					       FILL_BATCH));

		err = fill_from(session, member, arg, pages, stop - arg->next);
		if (!err && arg->next < end && signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	kfree(pages);
	trace_migrate_fast_fill(file_inode(member->file)->i_ino, arg->start,
				arg->next, arg->filled, arg->absent, err);
	/* What was done is told; the next call tells why it was not more. */
	return arg->next > arg->start ? 0 : err;
}

static unsigned long absent_word(const void *from, u64 word)
{
	const struct mf_fill *fill = from;
	const struct mf_absent *absent;
	unsigned long bits = 0;

	rcu_read_lock();
	absent = rcu_dereference(fill->absent);
	if (word < BITS_TO_LONGS(absent->pages))
		bits = READ_ONCE(absent->bits[word]);
	rcu_read_unlock();
	return bits;
}

int mf_session_absent(struct mf_session *session,
		      struct migrate_fast_absent *arg)
{
	struct mf_member *member = mf_session_member(session, arg->ram);
	struct migrate_fast_absent out = *arg;
	struct mf_fill *fill;
	u64 pages = arg->pages;
	int err;

	if (IS_ERR(member))
		return PTR_ERR(member);
	if (arg->flags || arg->start % BITS_PER_LONG ||
	    !IS_ALIGNED(arg->bitmap, sizeof(u64)) || arg->absent ||
	    arg->waiting || arg->faults || arg->went_on || arg->state ||
	    arg->reserved)
		return -EINVAL;
	err = mf_member_range(member, arg->start, &pages);
	if (err)
		return err;
	fill = mf_fill_of(member->ram);
	if (!fill) {
		if (arg->bitmap &&
		    clear_user(u64_to_user_ptr(arg->bitmap),
			       BITS_TO_LONGS(pages) * sizeof(long)))
			return -EFAULT;
		return 0;
	}
	/*
	 * Not under fill->lock: the caller's memory can be an absent page
	 * itself, and to fill that takes the lock.
	 */
	err = mf_words_to_user(absent_word, fill, arg->start, pages,
			       u64_to_user_ptr(arg->bitmap), &out.absent);
	if (err)
		return err;
	xa_lock(&fill->wants);
	out.waiting = fill->waiting;
	out.faults = fill->faults;
	out.went_on = fill->went_on;
	if (fill->server)
		out.state |= MIGRATE_FAST_ABSENT_SERVED;
	if (READ_ONCE(fill->aborted))
		out.state |= MIGRATE_FAST_ABSENT_ABORTED;
	xa_unlock(&fill->wants);
	*arg = out;
	return 0;
}

int mf_session_abort(struct mf_session *session,
		     const struct migrate_fast_abort *arg)
{
	struct mf_member *member = mf_session_member(session, arg->ram);
	struct mf_fill *fill;
	int err;

	if (IS_ERR(member))
		return PTR_ERR(member);
	if (arg->flags)
		return -EINVAL;
	fill = mf_fill_of(member->ram);
	if (!fill)
		return 0;
	err = mutex_lock_interruptible(&fill->lock);
	if (err)
		return err;
	if (fill->count)
		mf_fill_abort(fill);
	mutex_unlock(&fill->lock);
	return 0;
}

/* Fault events. */

/* The file whose oldest untold want is the oldest of all; NULL: none has any. */
static struct mf_fill *oldest(struct mf_session *session,
			      struct migrate_fast_fault *fault, bool *serves)
{
	/* Pairs with the release in mf_session_add(). */
	unsigned int i, count = smp_load_acquire(&session->count);
	struct mf_fill *found = NULL;

	*serves = false;
	for (i = 0; i < count; i++) {
		struct mf_fill *fill = mf_fill_of(session->members[i]->ram);
		struct mf_want *want;

		if (!fill)
			continue;
		xa_lock(&fill->wants);
		if (fill->server == session) {
			*serves = true;
			want = list_first_entry_or_null(&fill->untold,
							struct mf_want, list);
			if (want && (!found || want->ns < fault->ns)) {
				found = fill;
				fault->ram = i;
				fault->flags = want->flags;
				fault->page = want->page;
				fault->ns = want->ns;
			}
		}
		xa_unlock(&fill->wants);
	}
	return found;
}

/*
 * User space has it. It may have been answered by now, and another session may
 * serve the file, for which the page is news.
 */
static void told(struct mf_session *session, struct mf_fill *fill,
		 const struct migrate_fast_fault *fault)
{
	struct mf_want *want;

	xa_lock(&fill->wants);
	want = xa_load(&fill->wants, fault->page);
	if (want && want->ns == fault->ns && fill->server == session)
		list_move_tail(&want->list, &fill->told);
	xa_unlock(&fill->wants);
}

static bool has_news(struct mf_session *session)
{
	struct migrate_fast_fault fault;
	bool serves;

	return oldest(session, &fault, &serves) || !serves;
}

ssize_t mf_session_read(struct mf_session *session, char __user *to,
			size_t bytes, bool nonblock)
{
	struct migrate_fast_fault fault;
	struct mf_fill *fill;
	ssize_t done = 0;
	bool serves;
	int err;

	if (bytes < sizeof(fault))
		return -EINVAL;
	/* One reader at a time: none is told twice. */
	err = mutex_lock_interruptible(&session->read_lock);
	if (err)
		return err;
	while (bytes - done >= sizeof(fault)) {
		fill = oldest(session, &fault, &serves);
		if (fill) {
			err = copy_to_user(to + done, &fault, sizeof(fault)) ?
			      -EFAULT : 0;
			if (err)
				break;
			told(session, fill, &fault);
			done += sizeof(fault);
			continue;
		}
		if (done)
			break;
		err = !serves ? -ENODATA : nonblock ? -EAGAIN :
		      wait_event_interruptible(session->wanted,
					       has_news(session));
		if (err)
			break;
	}
	mutex_unlock(&session->read_lock);
	return done ?: err;
}

__poll_t mf_session_poll(struct mf_session *session, struct file *file,
			 poll_table *table)
{
	struct migrate_fast_fault fault;
	bool serves;

	poll_wait(file, &session->wanted, table);
	return oldest(session, &fault, &serves) ? EPOLLIN | EPOLLRDNORM : 0;
}
