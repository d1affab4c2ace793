/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Write-protecting the pages of a RAM file in all page tables.
 */
#ifndef MF_CLEAN_H
#define MF_CLEAN_H

#include <linux/types.h>

struct address_space;
struct mf_ram;

/* Pages that are handled in one go: those of a PMD. */
#define MF_CLEAN_CHUNK	512
#define MF_CLEAN_WORDS	(MF_CLEAN_CHUNK / BITS_PER_LONG)

struct mf_clean;

struct mf_clean *mf_clean_alloc(void);
void mf_clean_free(struct mf_clean *clean);

void mf_clean_chunk(struct mf_clean *clean, struct mf_ram *ram, pgoff_t first,
		    const unsigned long *taken, unsigned long *busy);
bool mf_clean_busy(struct address_space *mapping, pgoff_t index);

#endif
