/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs: the pages of a range of a RAM file, held for a moment to be read.
 */
#ifndef MF_RUN_H
#define MF_RUN_H

#include <linux/mm.h>

struct mf_ram;

/**
 * struct mf_run - neighbouring pages that are there, or are not, together
 * @folio: holds all of them, with a reference; NULL: they are a hole
 * @index: the first page
 * @pages: how many
 */
struct mf_run {
	struct folio *folio;
	pgoff_t index;
	unsigned long pages;
};

int mf_runs_get(struct mf_ram *ram, pgoff_t start, pgoff_t end,
		struct mf_run *runs, unsigned int max);

/* Give back one of them. */
static inline void mf_run_put(const struct mf_run *run)
{
	if (run->folio)
		folio_put(run->folio);
}

/* Page number @i of a run that is not a hole. */
static inline struct page *mf_run_page(const struct mf_run *run,
				       unsigned long i)
{
	return folio_page(run->folio, run->index - run->folio->index + i);
}

#endif
