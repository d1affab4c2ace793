// SPDX-License-Identifier: GPL-2.0
/*
 * Making pages absent.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat/mm.h"
#include "fill.h"
#include "ram.h"
#include "serve.h"
#include "session.h"
#include "trace.h"

/* Pages that are marked with the locks held once: 256 MB. */
#define MARK_BATCH	(1UL << 16)

/*
 * A page of a large folio is about to be taken out of it, which zeroes it in
 * its place. Who has found it present, with the folio locked, must have mapped
 * it by then: what is unmapped first is unmapped without that lock, and to take
 * it out later can fail to split the folio, and then unmaps nothing.
 */
static void wait_for_mappers(struct mf_ram *ram, u64 page)
{
	struct folio *folio = mf_filemap_get(mf_ram_mapping(ram), page);

	if (!folio)
		return;
	if (folio_test_large(folio)) {
		folio_lock(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
}

/*
 * Pages [@start, @end) whose bits are in @bitmap (bit 0 is @start) become
 * absent. First the bits, then wait for who has looked at them before and maps
 * a page now, then take the pages away.
 */
static void mark(struct mf_ram *ram, struct mf_fill *fill, u64 start, u64 end,
		 const unsigned long *bitmap)
{
	struct mf_absent *absent = mf_fill_bits(fill);
	u64 base = start, from, to, new = 0;

	for (from = start; from < end; from++) {
		if (test_bit(from - base, bitmap) &&
		    !test_and_set_bit(from, absent->bits))
			new++;
	}
	if (!new)
		return;
	WRITE_ONCE(fill->count, fill->count + new);
	/* Pairs with mf_fill_marks(). */
	smp_store_release(&fill->marks, fill->marks + 1);
	synchronize_rcu_expedited();

	for (from = start; from < end; from = to) {
		from = base + find_next_bit(bitmap, end - base, from - base);
		to = base + find_next_zero_bit(bitmap, end - base, from - base);
		if (from >= end)
			break;
		/* Folios that go as a whole are unmapped under their lock. */
		wait_for_mappers(ram, from);
		wait_for_mappers(ram, to - 1);
		file_start_write(ram->shmem);
		ram->shmem_fops->fallocate(ram->shmem, FALLOC_FL_PUNCH_HOLE |
					   FALLOC_FL_KEEP_SIZE,
					   from << PAGE_SHIFT,
					   (to - from) << PAGE_SHIFT);
		file_end_write(ram->shmem);
	}
}

/*
 * From before the first page is absent no mapping can be collapsed, as long as
 * somebody is marking. That can take long, and is waited for without a lock.
 */
static int begin_marking(struct mf_fill *fill)
{
	bool refused;

	mutex_lock(&fill->lock);
	fill->marking++;
	/* And stays so, since we are marking. */
	refused = fill->count;
	mutex_unlock(&fill->lock);
	return refused ? 0 : mf_collapse_refuse(fill->collapse);
}

static void end_marking(struct mf_fill *fill)
{
	mutex_lock(&fill->lock);
	if (!--fill->marking && !fill->count)
		mf_collapse_allow(fill->collapse);
	mutex_unlock(&fill->lock);
}

/* @bitmap: NULL, or begin_marking() was called. Under the inode lock. */
static int become_server(struct mf_session *session, struct mf_member *member,
			 struct migrate_fast_demand *arg, u64 pages,
			 const unsigned long *bitmap)
{
	u64 start = arg->start, end = arg->start + pages, next;
	struct inode *inode = file_inode(member->file);
	struct mf_fill *fill = mf_fill_of(member->ram);
	int err = 0;

	if (DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE) != member->pages)
		return -ESTALE;
	mutex_lock(&fill->lock);
	if (fill->aborted)
		err = -ECANCELED;
	if (!err)
		err = mf_fill_resize(fill, member->pages);
	if (!err)
		err = mf_serve_take(session, fill, arg->ram);
	for (; !err && bitmap && start < end; start = next) {
		next = min_t(u64, end, start + MARK_BATCH);
		mark(member->ram, fill, start, next,
		     bitmap + (start - arg->start) / BITS_PER_LONG);
		if (next < end && signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	arg->absent = fill->count;
	if (!fill->count)
		mf_serve_done(session, fill);
	trace_migrate_fast_demand(inode->i_ino, arg->start, pages, fill->count,
				  err);
	mutex_unlock(&fill->lock);
	return err;
}

static struct mf_fill *make_fill(struct mf_member *member)
{
	struct mf_fill *fill;
	int err = mf_member_lock(member);

	if (err)
		return ERR_PTR(err);
	fill = mf_fill_make(member->ram);
	mf_member_unlock(member);
	return fill;
}

/*
 * The caller's bitmap, all of it: a bad address marks nothing. NULL: there is
 * none, or not a bit in it (the range can be empty, at the end of the file).
 */
static unsigned long *copy_bitmap(u64 user, u64 pages)
{
	size_t bytes = BITS_TO_LONGS(pages) * sizeof(long);
	unsigned long *bitmap;

	if (!user || !pages)
		return NULL;
	bitmap = __vmalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!bitmap)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(bitmap, u64_to_user_ptr(user), bytes)) {
		vfree(bitmap);
		return ERR_PTR(-EFAULT);
	}
	return bitmap;
}

/* What it does and returns is told in the uapi header. */
int mf_session_demand(struct mf_session *session,
		      struct migrate_fast_demand *arg)
{
	struct mf_member *member = mf_session_member(session, arg->ram);
	unsigned long *bitmap;
	u64 pages = arg->pages;
	struct mf_fill *fill;
	int err;

	if (IS_ERR(member))
		return PTR_ERR(member);
	if (arg->flags || arg->start % BITS_PER_LONG ||
	    !IS_ALIGNED(arg->bitmap, sizeof(u64)))
		return -EINVAL;
	err = mf_member_range(member, arg->start, &pages);
	if (err)
		return err;
	fill = make_fill(member);
	if (IS_ERR(fill))
		return PTR_ERR(fill);
	bitmap = copy_bitmap(arg->bitmap, pages);
	if (IS_ERR(bitmap))
		return PTR_ERR(bitmap);
	if (bitmap)
		err = begin_marking(fill);
	if (!err)
		err = mf_member_lock(member);
	if (!err) {
		err = become_server(session, member, arg, pages, bitmap);
		mf_member_unlock(member);
	}
	if (bitmap)
		end_marking(fill);
	vfree(bitmap);
	return err;
}
