// SPDX-License-Identifier: GPL-2.0
/*
 * Dirty tracking of a RAM file: events set bits, harvest takes them.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "clean.h"
#include "lru.h"
#include "ram.h"
#include "trace.h"
#include "track.h"
#include "upgrade.h"

static void track_free(struct mf_track *track)
{
	if (!track)
		return;
	mf_clean_free(track->clean);
	kvfree(track->kept);
	kvfree(track->hot);
	kvfree(track->touched);
	kvfree(track->carry);
	kvfree(track->dirty);
	kfree(track);
}

/* Whole chunks, so that none needs a check of its end. */
static unsigned long *bits_alloc(u64 pages)
{
	return kvcalloc(ALIGN(pages, MF_CLEAN_CHUNK) / BITS_PER_LONG,
			sizeof(long), GFP_KERNEL_ACCOUNT);
}

static struct mf_track *track_alloc(u64 pages)
{
	struct mf_track *track = kzalloc(sizeof(*track), GFP_KERNEL);

	if (!track)
		return NULL;
	track->pages = pages;
	track->clean = mf_clean_alloc();
	track->dirty = bits_alloc(pages);
	track->carry = bits_alloc(pages);
	track->touched = bits_alloc(DIV_ROUND_UP_ULL(pages, MF_CLEAN_CHUNK));
	if (!track->clean || !track->dirty || !track->carry ||
	    !track->touched) {
		track_free(track);
		return NULL;
	}
	return track;
}

int mf_track_heat(struct mf_track *track)
{
	unsigned long *hot = bits_alloc(track->pages);
	unsigned long *kept = bits_alloc(track->pages);

	if (!hot || !kept) {
		kvfree(hot);
		kvfree(kept);
		return -ENOMEM;
	}
	track->hot = hot;
	track->kept = kept;
	return 0;
}

/*
 * A dirty bit of this chunk has been set. Whoever harvests takes the chunk's bit
 * and then looks at its dirty bits: either that one is seen, or we see here that
 * the chunk's has been taken. Context: after set_bit() or another full barrier.
 */
static void touch(struct mf_track *track, u64 chunk)
{
	if (!test_bit(chunk, track->touched))
		set_bit(chunk, track->touched);
}

/* Set @nr bits from @first on; a large folio or a punched hole has many. */
static void mark(struct mf_track *track, u64 first, u64 nr)
{
	u64 end = min(first + nr, track->pages);
	u64 chunk = first / MF_CLEAN_CHUNK;

	while (first < end) {
		unsigned long *word = &track->dirty[first / BITS_PER_LONG];
		unsigned int bit = first % BITS_PER_LONG;
		u64 n = min_t(u64, end - first, BITS_PER_LONG - bit);

		atomic_long_or(GENMASK(bit + n - 1, bit),
			       (atomic_long_t *)word);
		first += n;
	}
	smp_mb__after_atomic(); /* pairs with that in take_chunk() */
	for (; chunk * MF_CLEAN_CHUNK < end; chunk++)
		touch(track, chunk);
}

/**
 * mf_track_fault - pages are about to become writable in a page table
 * @ram: the file
 * @index: first page
 * @nr: how many
 *
 * Context: the folio is locked, and stays so until the page table entry is
 * writable.
 */
void mf_track_fault(struct mf_ram *ram, pgoff_t index, unsigned long nr)
{
	struct mf_track *track;

	rcu_read_lock();
	track = rcu_dereference(ram->track);
	if (track) {
		if (nr == 1 && index < track->pages) {
			set_bit(index, track->dirty);
			smp_mb__after_atomic(); /* ... in take_chunk() */
			touch(track, index / MF_CLEAN_CHUNK);
		} else {
			mark(track, index, nr);
		}
		atomic64_inc(&track->faults);
		trace_migrate_fast_dirty(file_inode(ram->shmem)->i_ino, index,
					 nr);
	}
	rcu_read_unlock();
}

/**
 * mf_track_write - bytes of the file have been changed without a mapping
 * @ram: the file
 * @from: first byte
 * @to: the byte after the last
 *
 * To be called after the change: had the bit been set before, a harvest in
 * between would take it, and the change would come without a trace.
 * Context: any that may not be atomic.
 */
void mf_track_write(struct mf_ram *ram, loff_t from, loff_t to)
{
	u64 first = from >> PAGE_SHIFT;
	u64 end = DIV_ROUND_UP_ULL(to, PAGE_SIZE);
	struct mf_track *track;

	if (from >= to)
		return;
	/* The bytes before the bit, for whoever takes the bit. */
	smp_mb();
	rcu_read_lock();
	track = rcu_dereference(ram->track);
	if (track) {
		mark(track, first, end - first);
		atomic64_inc(&track->writes);
		trace_migrate_fast_dirty(file_inode(ram->shmem)->i_ino, first,
					 end - first);
	}
	rcu_read_unlock();
}

/* The next chunk from that of @page on that has bits, by its first page; or @end. */
static u64 next_touched(const struct mf_track *track, u64 page, u64 end)
{
	u64 chunks = DIV_ROUND_UP_ULL(end, MF_CLEAN_CHUNK);
	u64 chunk = find_next_bit(track->touched, chunks,
				  page / MF_CLEAN_CHUNK);

	return chunk < chunks ? max(page, chunk * MF_CLEAN_CHUNK) : end;
}

/*
 * Look at the carried pages of a range again and forget those that are not
 * in use any longer. Returns how many stay.
 */
static u64 count_carried(struct mf_ram *ram, struct mf_track *track, u64 start,
			 u64 end)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	u64 page = start, chunk_end, stay = 0;

	while ((page = next_touched(track, page, end)) < end) {
		chunk_end = min(end, round_down(page, MF_CLEAN_CHUNK) +
				MF_CLEAN_CHUNK);
		page = find_next_bit(track->carry, chunk_end, page);
		if (page == chunk_end)
			continue;
		if (mf_clean_busy(mapping, page))
			stay++;
		else
			__clear_bit(page, track->carry);
		page++;
		cond_resched();
	}
	return stay;
}

/*
 * Many a stranger's reference is gone a moment later (a vCPU that waited for
 * our folio lock), or as soon as the LRU batches are emptied.
 */
static u64 recheck_carried(struct mf_ram *ram, struct mf_track *track,
			   u64 start, u64 end)
{
	if (!count_carried(ram, track, start, end))
		return 0;
	mf_lru_drain();
	return count_carried(ram, track, start, end);
}

/* The first page at or after @page that is in memory, or @end. */
static u64 next_present(struct address_space *mapping, u64 page, u64 end)
{
	XA_STATE(xas, &mapping->i_pages, page);
	void *entry;

	rcu_read_lock();
	do {
		entry = xas_find(&xas, end - 1);
	} while (entry && (xas_retry(&xas, entry) || xa_is_value(entry)));
	page = entry ? max_t(u64, xas.xa_index, page) : end;
	rcu_read_unlock();
	return page;
}

/* Write-protect all pages there are. */
static int arm(struct mf_ram *ram, struct mf_track *track)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	DECLARE_BITMAP(all, MF_CLEAN_CHUNK);
	u64 chunk;

	bitmap_fill(all, MF_CLEAN_CHUNK);
	for (chunk = 0; chunk < track->pages; chunk += MF_CLEAN_CHUNK) {
		/* A guest may be mostly holes: skip whole chunks of them. */
		chunk = round_down(next_present(mapping, chunk, track->pages),
				   MF_CLEAN_CHUNK);
		if (chunk >= track->pages)
			break;
		/*
		 * Pages in use now are carried from the beginning: a device
		 * that has them writes without any event.
		 */
		mf_clean_chunk(track->clean, ram, chunk, all,
			       &track->carry[chunk / BITS_PER_LONG]);
		set_bit(chunk / MF_CLEAN_CHUNK, track->touched);
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	recheck_carried(ram, track, 0, track->pages);
	return 0;
}

/**
 * mf_track_start - begin to track a RAM file
 * @ram: the file
 * @inode: of mfram, that of @ram
 * @pages: its length as the caller knows it
 * @ret: the new track, owned by the caller
 *
 * Takes the inode lock of the file, so that its size cannot change between
 * the check and the moment from which on it is fixed.
 *
 * Context: may sleep; see mf_upgrades_begin(). Return: 0, -EBUSY somebody tracks
 * it, -ESTALE it is longer than @pages, -EADDRINUSE see mf_upgrades_begin(),
 * -ENOMEM, -EINTR.
 */
int mf_track_start(struct mf_ram *ram, struct inode *inode, u64 pages,
		   struct mf_track **ret)
{
	struct mf_track *track = track_alloc(pages);
	int err;

	if (!track)
		return -ENOMEM;

	err = down_write_killable(&inode->i_rwsem);
	if (err)
		goto free;
	if (rcu_access_pointer(ram->track))
		err = -EBUSY;
	else if (DIV_ROUND_UP_ULL(i_size_read(inode), PAGE_SIZE) > pages)
		err = -ESTALE;
	else
		rcu_assign_pointer(ram->track, track);
	inode_unlock(inode);
	if (err)
		goto free;

	/*
	 * Writers that found no track are over after this: what they wrote is
	 * in the page, and pages that they made writable are in the file with
	 * their folio locked, or writable already. arm() waits for those locks.
	 * Expedited: else a CPU must find time to say that it has no reader,
	 * which one that a real-time task has for itself may never do.
	 */
	synchronize_rcu_expedited();
	err = mf_upgrades_begin(ram);
	if (!err)
		err = arm(ram, track);
	if (err) {
		mf_track_stop(ram, inode, track);
		return err;
	}
	*ret = track;
	return 0;
free:
	track_free(track);
	return err;
}

/**
 * mf_track_stop - end tracking and free the bits
 * @ram: the file
 * @inode: of mfram, that of @ram
 * @track: from mf_track_start()
 *
 * Context: may sleep.
 */
void mf_track_stop(struct mf_ram *ram, struct inode *inode,
		   struct mf_track *track)
{
	mf_upgrades_end(ram);
	inode_lock(inode);
	RCU_INIT_POINTER(ram->track, NULL);
	inode_unlock(inode);
	synchronize_rcu_expedited();
	track_free(track);
}

/*
 * Take the dirty bits of one word. The exchange comes before the pages are
 * cleaned: a write in between sets the bit again.
 */
static unsigned long take(struct mf_track *track, u64 word, unsigned long mask)
{
	atomic_long_t *dirty = (atomic_long_t *)&track->dirty[word];
	unsigned long taken = track->carry[word] & mask;

	if (atomic_long_read(dirty) & mask)
		taken |= atomic_long_fetch_andnot(mask, dirty) & mask;
	return taken;
}

/*
 * Those of a word that are hot stay writable, and so they stay dirty: all that
 * is writable is. Nobody has asked whether a device has them; that comes when
 * they have become cold.
 */
static unsigned long keep(struct mf_track *track, u64 word, unsigned long mask)
{
	unsigned long kept;

	if (!track->hot)
		return 0;
	kept = READ_ONCE(track->dirty[word]) & track->hot[word] &
	       ~track->carry[word] & mask;
	track->hot[word] &= ~mask;
	track->kept[word] = (track->kept[word] & ~mask) | kept;
	return kept;
}

/* One chunk of harvest: words [@word, @end) with @last masking the last. */
static void harvest_chunk(struct mf_ram *ram, struct mf_track *track, u64 word,
			  u64 end, unsigned long last,
			  struct mf_harvest *harvest)
{
	DECLARE_BITMAP(taken, MF_CLEAN_CHUNK);
	DECLARE_BITMAP(busy, MF_CLEAN_CHUNK);
	unsigned long kept[MF_CLEAN_WORDS];
	unsigned int i, nr = end - word;

	bitmap_zero(taken, MF_CLEAN_CHUNK);
	bitmap_zero(busy, MF_CLEAN_CHUNK);
	for (i = 0; i < nr; i++) {
		unsigned long mask = i == nr - 1 ? last : ~0UL;

		kept[i] = keep(track, word + i, mask);
		taken[i] = take(track, word + i, mask & ~kept[i]);
		track->carry[word + i] &= ~taken[i];
	}

	mf_clean_chunk(track->clean, ram, word * BITS_PER_LONG, taken, busy);

	for (i = 0; i < nr; i++) {
		unsigned long all = taken[i] | kept[i];

		if (!all)
			continue;
		track->carry[word + i] |= busy[i];
		/* User space may clear bits of this word at the same time. */
		atomic_long_or(all,
			       (atomic_long_t *)&harvest->bitmap[word + i]);
		harvest->dirty += hweight_long(all);
		harvest->kept += hweight_long(kept[i]);
	}
}

/*
 * Take the bit of the chunk that @word is in. It is set again if anything stays
 * there: what is carried, or kept, or not of the words that are asked for.
 */
static void take_chunk(struct mf_track *track, u64 word)
{
	clear_bit(word / MF_CLEAN_WORDS, track->touched);
	smp_mb__after_atomic(); /* pairs with those of who sets dirty bits */
}

static void leave_chunk(struct mf_track *track, u64 word)
{
	unsigned long left = 0;
	u64 i;

	word = round_down(word, MF_CLEAN_WORDS);
	for (i = word; i < word + MF_CLEAN_WORDS; i++)
		left |= READ_ONCE(track->dirty[i]) | track->carry[i];
	if (left)
		touch(track, word / MF_CLEAN_WORDS);
}

/**
 * mf_track_harvest - take the dirty pages of a range
 * @ram: the file
 * @track: from mf_track_start()
 * @start: first page, a multiple of 64
 * @pages: how many; the range lies within the file
 * @harvest: the bitmap to report to; the other fields are set
 *
 * Taken bits are cleaned and then reported chunk by chunk, so that nothing is
 * lost when a signal ends it early.
 *
 * Context: may sleep; the caller lets in one at a time. Return: 0, or -EINTR
 * when nothing was looked at though there was something.
 */
int mf_track_harvest(struct mf_ram *ram, struct mf_track *track, u64 start,
		     u64 pages, struct mf_harvest *harvest)
{
	u64 stop = start + pages;
	u64 word = start / BITS_PER_LONG;
	u64 end = DIV_ROUND_UP_ULL(stop, BITS_PER_LONG);

	harvest->dirty = 0;
	harvest->kept = 0;
	while (word < end) {
		u64 chunk_end;
		unsigned long last = ~0UL;

		word = next_touched(track, word * BITS_PER_LONG,
				    end * BITS_PER_LONG) / BITS_PER_LONG;
		if (word == end)
			break;
		if (signal_pending(current))
			break;
		chunk_end = min_t(u64, end, round_down(word, MF_CLEAN_WORDS) +
				  MF_CLEAN_WORDS);
		if (chunk_end == end && stop % BITS_PER_LONG)
			last = GENMASK(stop % BITS_PER_LONG - 1, 0);
		take_chunk(track, word);
		harvest_chunk(ram, track, word, chunk_end, last, harvest);
		leave_chunk(track, word);
		word = chunk_end;
		cond_resched();
	}

	harvest->next = min(word * BITS_PER_LONG, stop);
	harvest->carried = recheck_carried(ram, track, start, harvest->next);
	/* They will be reported again, too. */
	harvest->carried += harvest->kept;
	track->kept_pages += harvest->kept;
	trace_migrate_fast_harvest(file_inode(ram->shmem)->i_ino, start,
				   harvest->next - start, harvest->dirty,
				   harvest->carried);
	return pages && harvest->next == start ? -EINTR : 0;
}
