// SPDX-License-Identifier: GPL-2.0
/*
 * Write-protect and clean pages in every page table that maps them.
 *
 * A page whose dirty bit was taken must not stay writable anywhere, or its
 * next write would leave no trace. Who can make it writable, and why none
 * slips through:
 *
 *  - page_mkwrite sets the bit and keeps the folio locked until the page table
 *    entry is writable. We lock the folio after the bit was taken: either we
 *    wait for that entry and clean it, or the bit is set again after us.
 *  - Migration replaces entries by its own and later puts back writable ones
 *    without asking, holding the folio lock all the time. That is why the
 *    locks of *all* folios of a run are held while the run is cleaned, and why
 *    a folio that has left the file when we got its lock is looked up again
 *    (its successor inherits the writable entries).
 *  - An entry that is read-only but dirty can be made writable without asking:
 *    by mprotect(), and by a page fault where NUMA balancing has taken access
 *    away for a while. None that is clean can, or it counts as written then
 *    (map_mprotect()). So an entry is done with when it was seen read-only and
 *    clean at once, and not before; see clean_range().
 *  - GUP takes its reference before it looks at the entry again, we clean the
 *    entry before we look at the references: one of the two sees the other.
 *
 * Lock order: folio locks, ascending by index -> i_mmap_rwsem (taken by the
 * rmap and range walks) -> page table lock. Nobody else waits for one folio
 * lock while holding another of the same file with a higher index.
 */
#include <linux/bitmap.h>
#include <linux/rmap.h>
#include <linux/slab.h>

#include "clean.h"
#include "compat/mm.h"
#include "ram.h"
#include "view.h"

/*
 * Below this many pages in a row, cleaning each by its reverse mapping is
 * cheaper than a walk over the range (measured; 3 is about the break-even).
 */
#define MF_RUN_MIN	3
/* Folio locks held at a time: bounds how long a faulting vCPU waits for us. */
#define MF_RUN_MAX	128
/* Where one is not enough, pages are cleaned one by one in the end. */
#define MF_RANGE_WALKS	4

struct mf_clean {
	struct folio *folios[MF_RUN_MAX];
	DECLARE_BITMAP(scratch, MF_CLEAN_CHUNK);
};

struct mf_clean *mf_clean_alloc(void)
{
	return kmalloc(sizeof(struct mf_clean), GFP_KERNEL);
}

void mf_clean_free(struct mf_clean *clean)
{
	kfree(clean);
}

/*
 * Are there references to @folio that no page table and no page cache
 * explains? Then a device may write to it by DMA, whatever the page tables
 * say. The caller holds the lock, so that the folio cannot be faulted in, and
 * one reference. May say yes wrongly (a lookup in progress, a page in a
 * socket queue, LRU batches), never no.
 */
static bool folio_has_strangers(struct folio *folio)
{
	int mapped = mf_folio_mapcount(folio);
	int refs;

	/*
	 * What needs no folio lock, unmapping and fork() of a private mapping,
	 * changes references and mappings one after the other; seen half, it
	 * could hide a pin. So mappings that have changed count as use.
	 */
	smp_rmb(); /* mappings, references, mappings again: in this order */
	refs = folio_ref_count(folio);
	smp_rmb(); /* see above */
	return mapped != mf_folio_mapcount(folio) ||
	       refs > mapped + folio_nr_pages(folio) + 1;
}

/*
 * Clear the dirty bits of a range. What is recorded is of no interest here, the
 * folios have been marked dirty. Returns how many there were.
 */
static unsigned long clean_entries(struct mf_clean *clean,
				   struct address_space *mapping, pgoff_t first,
				   unsigned long nr)
{
	pgoff_t start = 0, end = 0;

	bitmap_zero(clean->scratch, nr);
	return clean_record_shared_mapping_range(mapping, first, nr, first,
						 clean->scratch, &start, &end);
}

/*
 * Clean pages [@first, @first + @nr), whose folios are locked, by range. False
 * if that may have left some as they were: see view.c.
 *
 * An entry that is read-only and dirty, or has just become so, can be writable
 * again when it is made clean (upgrade.c), and its next write would not be seen.
 * Where that is possible what is dirty is made clean first, and then again: who
 * finds nothing dirty behind write protection has seen each entry read-only,
 * and later clean. If it was dirty in between, it would be still; and clean it
 * could not become writable.
 */
static bool clean_range(struct mf_clean *clean, struct mf_ram *ram,
			pgoff_t first, unsigned long nr)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	bool upgrades = mf_upgrades_possible(ram);
	unsigned long dirty;
	int views, walks;

	if (mf_views_before(ram, &views))
		return false;
	if (upgrades)
		clean_entries(clean, mapping, first, nr);
	for (walks = 0; walks < MF_RANGE_WALKS; walks++) {
		wp_shared_mapping_range(mapping, first, nr);
		dirty = clean_entries(clean, mapping, first, nr);
		upgrades = upgrades || mf_upgrades_possible(ram);
		if (!upgrades || !dirty)
			return !mf_views_since(ram, views);
	}
	return false;
}

/* The folio at @index, locked, with a reference; NULL if there is none. */
static struct folio *lock_folio(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio;

	while ((folio = mf_filemap_get(mapping, index))) {
		folio_lock(folio);
		if (likely(folio->mapping == mapping &&
			   folio_contains(folio, index)))
			return folio;
		folio_unlock(folio);
		folio_put(folio);
	}
	return NULL;
}

static void release_folio(struct folio *folio)
{
	folio_unlock(folio);
	folio_put(folio);
}

/*
 * Get the small folios in a row from @index on, at most @max. Returns how many;
 * what ends them, at the first page or later, is left to lock_folio(): a hole,
 * a page in swap, a large folio, one that is being freed or replaced.
 *
 * filemap_get_folios_contig() would do, but trips over large folios in kernels
 * before 6.14.
 */
static unsigned long get_run(struct mf_clean *clean,
			     struct address_space *mapping, pgoff_t index,
			     unsigned long max)
{
	XA_STATE(xas, &mapping->i_pages, index);
	unsigned long nr = 0;
	struct folio *folio;

	rcu_read_lock();
	xas_for_each(&xas, folio, index + max - 1) {
		if (xas_retry(&xas, folio))
			continue;
		if (xa_is_value(folio) || xas.xa_index != index + nr ||
		    !folio_try_get(folio))
			break;
		/* Was it freed, and used for something else, meanwhile? */
		if (unlikely(folio != xas_reload(&xas)) ||
		    folio_test_large(folio)) {
			folio_put(folio);
			break;
		}
		clean->folios[nr++] = folio;
	}
	rcu_read_unlock();
	return nr;
}

/*
 * Get and lock them: one walk for all costs a fifth of looking up each.
 * Returns how many; it ends also before a folio that has left the file when
 * we got its lock.
 */
static unsigned long lock_run(struct mf_clean *clean,
			      struct address_space *mapping, pgoff_t index,
			      unsigned long max)
{
	unsigned long nr = get_run(clean, mapping, index, max);
	unsigned long i, locked;

	for (locked = 0; locked < nr; locked++) {
		struct folio *folio = clean->folios[locked];

		folio_lock(folio);
		if (unlikely(folio->mapping != mapping ||
			     folio->index != index + locked)) {
			folio_unlock(folio);
			break;
		}
	}
	for (i = locked; i < nr; i++)
		folio_put(clean->folios[i]);
	return locked;
}

/*
 * A large folio is cleaned by range like others, unless a PMD maps it: the
 * range helpers skip that. folio_mkclean() handles both, but costs 30 times
 * as much on page table entries of a large folio and makes KVM drop all of it.
 */
static void clean_large(struct mf_clean *clean, struct mf_ram *ram,
			struct folio *folio, pgoff_t index, unsigned long nr)
{
	folio_mark_dirty(folio);
	if (folio_entire_mapcount(folio) ||
	    !clean_range(clean, ram, index, nr))
		folio_mkclean(folio);
}

/* Clean @nr small folios in a row, locked, the first of them page @index. */
static void clean_small(struct mf_clean *clean, struct mf_ram *ram,
			pgoff_t index, unsigned long nr)
{
	unsigned long i;

	/*
	 * Before cleaning: the dirtiness must not exist only in an entry that
	 * is about to lose it, or reclaim would drop the page.
	 */
	for (i = 0; i < nr; i++) {
		if (!folio_test_dirty(clean->folios[i]))
			folio_mark_dirty(clean->folios[i]);
	}
	if (nr >= MF_RUN_MIN && clean_range(clean, ram, index, nr))
		return;
	for (i = 0; i < nr; i++)
		folio_mkclean(clean->folios[i]);
}

/*
 * Clean up to @max pages from @index on, all of which are taken. Returns how
 * many were dealt with, at least 1. Sets the bits of busy ones in @busy, whose
 * bit 0 is page @base.
 */
static unsigned long clean_some(struct mf_clean *clean, struct mf_ram *ram,
				pgoff_t index, unsigned long max, pgoff_t base,
				unsigned long *busy)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	unsigned long i, nr = 0;
	struct folio *folio;

	if (max > 1)
		nr = lock_run(clean, mapping, index,
			      min_t(unsigned long, max, MF_RUN_MAX));
	if (!nr) {
		folio = lock_folio(mapping, index);
		/* Absent or in swap: no page table has it. */
		if (!folio)
			return 1;
		if (folio_test_large(folio)) {
			nr = min_t(unsigned long, max,
				   folio_next_index(folio) - index);
			clean_large(clean, ram, folio, index, nr);
			if (folio_has_strangers(folio))
				bitmap_set(busy, index - base, nr);
			release_folio(folio);
			return nr;
		}
		clean->folios[nr++] = folio;
	}

	clean_small(clean, ram, index, nr);
	for (i = 0; i < nr; i++) {
		if (folio_has_strangers(clean->folios[i]))
			__set_bit(index + i - base, busy);
		release_folio(clean->folios[i]);
	}
	return nr;
}

/**
 * mf_clean_chunk - write-protect taken pages and find out which are in use
 * @clean: scratch memory; one caller at a time
 * @ram: the RAM file
 * @first: index of the first page of the chunk, a multiple of 64
 * @taken: MF_CLEAN_CHUNK bits: the pages to clean
 * @busy: MF_CLEAN_CHUNK bits: set for pages that somebody may be writing by
 *	DMA; others are not touched
 *
 * Context: may sleep; takes folio locks.
 */
void mf_clean_chunk(struct mf_clean *clean, struct mf_ram *ram, pgoff_t first,
		    const unsigned long *taken, unsigned long *busy)
{
	unsigned long start, end;

	for_each_set_bitrange(start, end, taken, MF_CLEAN_CHUNK) {
		while (start < end)
			start += clean_some(clean, ram, first + start,
					    end - start, first, busy);
	}
}

/**
 * mf_clean_busy - may somebody be writing a page by DMA right now?
 * @mapping: of the RAM file's pages
 * @index: the page
 *
 * Context: may sleep; takes the folio lock.
 */
bool mf_clean_busy(struct address_space *mapping, pgoff_t index)
{
	struct folio *folio = lock_folio(mapping, index);
	bool busy;

	if (!folio)
		return false;
	busy = folio_has_strangers(folio);
	release_folio(folio);
	return busy;
}
