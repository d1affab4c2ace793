/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Upgrades: page table entries that become writable without a page fault of
 * ours.
 */
#ifndef MF_UPGRADE_H
#define MF_UPGRADE_H

#include <linux/atomic.h>

struct mf_ram;

/**
 * struct mf_upgrades - has a file been mapped by who makes them?
 * @mprotect: mprotect(2) was called for a mapping of it; never reset
 */
struct mf_upgrades {
	atomic_t mprotect;
};

/* Before any entry is changed. Context: mmap_lock held for writing. */
static inline void mf_upgrades_mprotect(struct mf_upgrades *upgrades)
{
	if (!atomic_read(&upgrades->mprotect))
		atomic_set(&upgrades->mprotect, 1);
}

/* While the file is tracked. */
int mf_upgrades_begin(struct mf_ram *ram);
void mf_upgrades_end(struct mf_ram *ram);

bool mf_upgrades_possible(struct mf_ram *ram);

#endif
