// SPDX-License-Identifier: GPL-2.0
/*
 * Runs of pages: how HASH and SEND find what they read.
 *
 * A lookup for each page would cost more than the zero test of it, and one for
 * each page of a hole would make a sparse file as slow as a full one. So the
 * page cache is walked from entry to entry, and what lies between two of them
 * is a hole by that alone.
 */
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/xarray.h>

#include "fill.h"
#include "ram.h"
#include "run.h"

/*
 * A folio that is not up to date has been allocated (fallocate(2)) but never
 * written, which reads as a hole; or else somebody is filling it: khugepaged
 * of older kernels puts its new folio into the cache first and copies the old
 * pages into it afterwards. To take that for zeroes would lose them. Whoever
 * fills a folio holds its lock.
 *
 * Consumes the reference of @folio unless it returns it.
 */
static struct folio *settle(struct address_space *mapping, struct folio *folio)
{
	bool gone, filled;

	folio_lock(folio);
	gone = folio->mapping != mapping;
	filled = folio_test_uptodate(folio);
	folio_unlock(folio);

	if (!gone && filled)
		return folio;
	folio_put(folio);
	return gone ? ERR_PTR(-EAGAIN) : NULL;
}

/*
 * Take a reference to what was found in the cache at @index. Until there is
 * one the folio may be freed and used for something else: whether it was is
 * told by where it is now.
 */
static inline bool hold_entry(struct address_space *mapping, pgoff_t index,
			      struct folio *folio)
{
	if (unlikely(!folio_try_get(folio)))
		return false;
	if (likely(folio->mapping == mapping &&
		   (folio->index == index ||
		    index - folio->index < folio_nr_pages(folio))))
		return true;
	folio_put(folio);
	return false;
}

/*
 * The folio at the cursor when that takes a sleep: it is in swap (@folio is
 * NULL), or @folio is not up to date. NULL: a hole after all; -EAGAIN: look
 * again at the same place; other errors as of mf_ram_get_folio().
 */
static noinline struct folio *wait_folio(struct mf_ram *ram,
					 struct xa_state *xas,
					 struct folio *folio)
	__must_hold(RCU)
{
	rcu_read_unlock();
	if (!folio) {
		folio = mf_ram_get_folio(ram, xas->xa_index);
		/* The file has become shorter: nothing is there any more. */
		if (folio == ERR_PTR(-EINVAL))
			folio = NULL;
	}
	if (!IS_ERR_OR_NULL(folio) && !folio_test_uptodate(folio))
		folio = settle(mf_ram_mapping(ram), folio);
	rcu_read_lock();
	xas_reset(xas);
	return folio;
}

/*
 * How many pages of the folio can be read, from @index on, at most up to @end.
 * If a broken one comes first the cursor is put there, to find it next.
 */
static inline unsigned long readable_pages(struct xa_state *xas,
					   struct folio *folio, pgoff_t index,
					   pgoff_t end)
{
	unsigned long pages, i;

	if (likely(!folio_test_large(folio)))
		return !folio_test_hwpoison(folio);
	pages = min(folio_next_index(folio), end) - index;
	if (likely(!folio_test_has_hwpoisoned(folio)))
		return pages;
	for (i = 0; i < pages; i++) {
		if (PageHWPoison(folio_page(folio, index - folio->index + i))) {
			xas_set(xas, index + i);
			break;
		}
	}
	return i;
}

/* Make a hole a run at @run, or part of the one before; returns the next. */
static struct mf_run *add_hole(struct mf_run *runs, struct mf_run *run,
			       pgoff_t index, unsigned long pages)
{
	if (run != runs && !run[-1].folio) {
		run[-1].pages += pages;
		return run;
	}
	*run = (struct mf_run){ .index = index, .pages = pages };
	return run + 1;
}

/*
 * mf_runs_get(), where no page is absent, or may become so meanwhile.
 *
 * A large folio that is split when the cursor has found it, and we have no
 * reference yet, leaves the cursor above the nodes of its pages: it would pass
 * over them, as over a hole. One that is taken away when we have a reference
 * may leave it before small ones that have come since. So before there is a
 * hole the cursor begins anew, at its first page. That is cheaper than to look
 * after each page whether it still is in its place.
 */
static int get_runs(struct mf_ram *ram, pgoff_t start, pgoff_t end,
		    struct mf_run *runs, unsigned int max)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	XA_STATE(xas, &mapping->i_pages, start);
	pgoff_t index = start, fresh = start;
	struct mf_run *run = runs;
	int err = 0;

	rcu_read_lock();
	while (run != runs + max) {
		struct folio *folio = xas_next_entry(&xas, end - 1);
		unsigned long pages;
		pgoff_t found;

		if (xas_retry(&xas, folio))
			continue;
		found = folio ? xas.xa_index : end;
		if (found != index) {
			/* Ask the tree, not a cursor that has come from afar. */
			if (fresh != index) {
				fresh = index;
				xas_set(&xas, index);
				continue;
			}
			run = add_hole(runs, run, index, found - index);
			index = found;
			if (run == runs + max)
				break;
		}
		if (!folio)
			break;

		if (unlikely(xa_is_value(folio))) {
			folio = NULL;
		} else if (unlikely(!hold_entry(mapping, index, folio))) {
			xas_set(&xas, index);
			continue;
		}
		if (unlikely(!folio || !folio_test_uptodate(folio))) {
			folio = wait_folio(ram, &xas, folio);
			if (folio == ERR_PTR(-EAGAIN))
				continue;
			if (IS_ERR(folio)) {
				err = PTR_ERR(folio);
				break;
			}
			/* The cursor starts anew, behind what was found. */
			if (!folio) {
				run = add_hole(runs, run, index, 1);
				xas_set(&xas, ++index);
				continue;
			}
			xas_set(&xas, folio_next_index(folio));
		}

		pages = readable_pages(&xas, folio, index, end);
		if (unlikely(!pages)) {
			folio_put(folio);
			err = -EIO;
			break;
		}
		run->folio = folio;
		run->index = index;
		run->pages = pages;
		run++;
		index += pages;
	}
	rcu_read_unlock();
	return run - runs ?: err;
}

/**
 * mf_runs_get - hold the pages of a range
 * @ram: the file
 * @start: first page
 * @end: the page after the last one, more than @start
 * @runs: out: runs without gaps between them, from @start on
 * @max: room in @runs, at least 1
 *
 * Swapped pages are read back, holes are not filled. The runs can end before
 * @end: because there is no more room, or before a page that cannot be read;
 * a call that begins with that one gives the error. Writers are not kept off,
 * and a page may be truncated while it is held.
 *
 * Context: may sleep, for swap and for the lock of a folio that is being
 * filled. Return: number of runs, more than 0, each to be given back with
 * mf_run_put(); -EIO no swap to be read from, or broken memory; -ENODATA the
 * first page is absent; -ENOMEM.
 */
int mf_runs_get(struct mf_ram *ram, pgoff_t start, pgoff_t end,
		struct mf_run *runs, unsigned int max)
{
	for (;;) {
		unsigned long marks = mf_fill_marks(ram);
		pgoff_t stop = mf_fill_next(ram, start, end);
		int nr, i;

		if (stop == start)
			return -ENODATA;
		nr = get_runs(ram, start, stop, runs, max);
		if (!mf_fill_marks_since(ram, marks))
			return nr;
		/* A hole may be a page that was just taken away. */
		for (i = 0; i < nr; i++)
			mf_run_put(&runs[i]);
	}
}
