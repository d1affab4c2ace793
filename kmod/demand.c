// SPDX-License-Identifier: GPL-2.0
/*
 * Making pages absent.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/xarray.h>

#include "clean.h"
#include "compat/mm.h"
#include "fill.h"
#include "lru.h"
#include "ram.h"
#include "serve.h"
#include "session.h"
#include "trace.h"

/* Pages that are marked with the locks held once: 256 MB. */
#define MARK_BATCH	(1UL << 16)
/* How long it waits for who holds a page by reference. */
#define HOLDER_JIFFIES	HZ

/*
 * Is @page in a large folio of which pages [@start, @end) are a part only?
 *
 * A large one can be in swap as a whole from 6.12 on. To take a part away reads
 * that back; if it fails, all of it may go. So it is read here, or not taken
 * away. (What is in swap as a single page, and cannot be read, is well rid of.)
 *
 * Return: 1, and its pages among them in *@first and *@stop; 0; -EIO; -ENOMEM.
 */
static int is_part(struct mf_ram *ram, u64 page, u64 start, u64 end,
		   u64 *first, u64 *stop)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	struct folio *folio = mf_filemap_get(mapping, page);
	bool part = false;

	if (!folio && xa_get_order(&mapping->i_pages, page))
		folio = mf_ram_get_folio(ram, page);
	if (IS_ERR_OR_NULL(folio))
		return PTR_ERR_OR_ZERO(folio);
	if (folio_test_large(folio)) {
		/* Who has found the page present, with the lock, has mapped it. */
		folio_lock(folio);
		*first = max_t(u64, start, folio->index);
		*stop = min_t(u64, end, folio_next_index(folio));
		part = folio->mapping == mapping &&
		       *stop - *first < folio_nr_pages(folio);
		folio_unlock(folio);
	}
	folio_put(folio);
	return part;
}

/*
 * Pages [@start, @end), which are absent by their bits, are about to be taken
 * away, @page at one end of them. Those of a folio that goes as a whole stay as
 * they are for who holds one, by reference; folios that go so are unmapped under
 * their lock, too. But a part of a large folio is zeroed in its place first:
 *
 *  - Who has found @page present, with the folio locked, must have mapped it by
 *    then: what is unmapped first is unmapped without that lock, and to take it
 *    out later can fail to split the folio, and then unmaps nothing.
 *  - Who holds it (a pipe, a device, a debugger) would read zeroes. After it
 *    was unmapped nobody can get hold of it, and who did has to let go.
 *
 * Return: 0; -EAGAIN somebody does not; -EINTR; -EIO; -ENOMEM.
 */
static int wait_for_users(struct mf_ram *ram, struct mf_fill *fill, u64 page,
			  u64 start, u64 end)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	unsigned long until = jiffies + HOLDER_JIFFIES;
	u64 first, stop;
	int part, err = 0;

	part = is_part(ram, page, start, end, &first, &stop);
	if (part <= 0)
		return part;
	unmap_mapping_range(mapping, first << PAGE_SHIFT,
			    (stop - first) << PAGE_SHIFT, 0);
	while (!err && mf_clean_busy(mapping, page)) {
		/* Readers of our own take no new ones. */
		WRITE_ONCE(fill->settling, true);
		mf_lru_drain();
		if (time_after(jiffies, until))
			err = -EAGAIN;
		else if (signal_pending(current))
			err = -EINTR;
		else
			schedule_timeout_interruptible(1);
	}
	WRITE_ONCE(fill->settling, false);
	return err;
}

/* Set the bits of a range; in @bitmap stay those that were not set before. */
static u64 set_bits(struct mf_absent *absent, u64 start, u64 end,
		    unsigned long *bitmap)
{
	u64 page, new = 0;

	for (page = start; page < end; page++) {
		if (!test_bit(page - start, bitmap))
			continue;
		if (test_and_set_bit(page, absent->bits))
			__clear_bit(page - start, bitmap);
		else
			new++;
	}
	return new;
}

/*
 * Pages [@start, @end) whose bits are in @bitmap (bit 0 is @start) become
 * absent. First the bits, then wait for who has looked at them before and maps
 * a page now, then take the pages away. If that does not go on, what is there
 * still is present again.
 */
static int mark(struct mf_ram *ram, struct mf_fill *fill, u64 start, u64 end,
		unsigned long *bitmap)
{
	u64 base = start, from, to, new;
	int err = 0;

	new = set_bits(mf_fill_bits(fill), start, end, bitmap);
	if (!new)
		return 0;
	WRITE_ONCE(fill->count, fill->count + new);
	/* Pairs with mf_fill_marks(). */
	smp_store_release(&fill->marks, fill->marks + 1);
	synchronize_rcu_expedited();

	for (from = start; from < end; from = to) {
		from = base + find_next_bit(bitmap, end - base, from - base);
		to = base + find_next_zero_bit(bitmap, end - base, from - base);
		if (from >= end)
			break;
		if (!err)
			err = wait_for_users(ram, fill, from, from, to);
		if (!err)
			err = wait_for_users(ram, fill, to - 1, from, to);
		if (err) {
			mf_fill_present(fill, from, to);
			continue;
		}
		ram->shmem_fops->fallocate(ram->shmem, FALLOC_FL_PUNCH_HOLE |
					   FALLOC_FL_KEEP_SIZE,
					   from << PAGE_SHIFT,
					   (to - from) << PAGE_SHIFT);
	}
	return err;
}

/*
 * From before the first page is absent no mapping can be collapsed, as long as
 * somebody is marking. That can take long, and is waited for without a lock.
 */
static int begin_marking(struct mf_fill *fill)
{
	mutex_lock(&fill->lock);
	fill->marking++;
	mutex_unlock(&fill->lock);
	return mf_collapse_refuse(fill->collapse, MF_REFUSER_FILL);
}

static void end_marking(struct mf_fill *fill)
{
	mutex_lock(&fill->lock);
	if (!--fill->marking && !fill->count)
		mf_collapse_allow(fill->collapse, MF_REFUSER_FILL);
	mutex_unlock(&fill->lock);
}

/* @bitmap: NULL, or begin_marking() was called. Under the inode lock. */
static int become_server(struct mf_session *session, struct mf_member *member,
			 struct migrate_fast_demand *arg, u64 pages,
			 unsigned long *bitmap)
{
	u64 start = arg->start, end = arg->start + pages, next;
	struct inode *inode = file_inode(member->file);
	struct mf_fill *fill = mf_fill_of(member->ram);
	int err = 0;

	if (DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE) != member->pages)
		return -ESTALE;
	file_start_write(member->ram->shmem);
	mutex_lock(&fill->lock);
	if (fill->aborted)
		err = -ECANCELED;
	if (!err)
		err = mf_fill_resize(fill, member->pages);
	if (!err)
		err = mf_serve_take(session, fill, arg->ram);
	for (; !err && bitmap && start < end; start = next) {
		/* Batches end where a large folio does. */
		next = min_t(u64, end, ALIGN_DOWN(start + MARK_BATCH,
						  MARK_BATCH));
		err = mark(member->ram, fill, start, next,
			   bitmap + (start - arg->start) / BITS_PER_LONG);
		if (!err && next < end && signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	arg->absent = fill->count;
	if (!fill->count)
		mf_serve_done(session, fill);
	trace_migrate_fast_demand(inode->i_ino, arg->start, pages, fill->count,
				  err);
	mutex_unlock(&fill->lock);
	file_end_write(member->ram->shmem);
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
