/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Dirty bits of a RAM file while it is tracked.
 */
#ifndef MF_TRACK_H
#define MF_TRACK_H

#include <linux/atomic.h>
#include <linux/types.h>

struct inode;
struct mf_clean;
struct mf_ram;

/**
 * struct mf_track - which pages of a RAM file were written
 * @pages: length of the file when tracking began; it cannot grow meanwhile
 * @faults: first writes through a mapping
 * @writes: calls that wrote to the file without a mapping
 * @clean: scratch memory for write-protecting
 * @dirty: one bit for a page; set by writers at any time, taken by harvest
 * @carry: pages that a device might still be writing; START sets the first
 *	ones, harvest changes them and PEEK looks, never two at a time
 * @touched: one bit for MF_CLEAN_CHUNK pages: some of their bits are set above,
 *	or may be. Nearly all of a big guest is clean: harvest looks no further
 *
 * @hot: NULL, or pages that KVM's log has: harvest leaves them writable, hence
 *	dirty, and forgets the bit
 * @kept: with @hot: those that it has left so. If nobody writes to them they
 *	are reported once more
 * @kept_pages: how many, in all harvests
 *
 * Published in ram->track. Writers find it there under rcu_read_lock() and
 * only set bits; everything else is serialised by the owning session's lock.
 */
struct mf_track {
	u64 pages;
	atomic64_t faults;
	atomic64_t writes;
	struct mf_clean *clean;
	unsigned long *dirty;
	unsigned long *carry;
	unsigned long *touched;
	unsigned long *hot;
	unsigned long *kept;
	u64 kept_pages;
};

int mf_track_start(struct mf_ram *ram, struct inode *inode, u64 pages,
		   struct mf_track **ret);
void mf_track_stop(struct mf_ram *ram, struct inode *inode,
		   struct mf_track *track);

/* Room for what KVM's log has. 0, or -ENOMEM. */
int mf_track_heat(struct mf_track *track);

/* What harvest reports to. */
struct mf_harvest {
	unsigned long *bitmap;	/* OR into this; user space writes it too */
	u64 next;		/* first page that was not looked at */
	u64 dirty;		/* pages reported */
	u64 carried;		/* of them, those that the next one reports too */
	u64 kept;		/* ... as they are hot, and stay writable */
};

int mf_track_harvest(struct mf_ram *ram, struct mf_track *track, u64 start,
		     u64 pages, struct mf_harvest *harvest);

/*
 * The word of 64 pages, number @word, that the next harvest would report. Of
 * those that were kept only what is hot.
 */
static inline unsigned long mf_track_peek(const struct mf_track *track,
					  u64 word)
{
	unsigned long dirty = READ_ONCE(track->dirty[word]);

	if (track->kept)
		dirty &= ~track->kept[word] | track->hot[word];
	return dirty | READ_ONCE(track->carry[word]);
}

/*
 * Events. Each is called *after* the write can have changed the page, or with
 * the folio locked and before it can be written through the page table.
 */
void mf_track_fault(struct mf_ram *ram, pgoff_t index, unsigned long nr);
void mf_track_write(struct mf_ram *ram, loff_t from, loff_t to);

#endif
