// SPDX-License-Identifier: GPL-2.0
/*
 * Upgrades: page table entries that become writable without a page fault of
 * ours.
 *
 * The kernel makes an entry of a shared mapping writable without asking
 * page_mkwrite when it is dirty: then it was asked before. Who does so:
 * mprotect(2), which gives back what it has taken away; page faults where NUMA
 * balancing has taken access away for a while (before 6.3 such entries keep
 * their write bit instead); and userfaultfd(2) with asynchronous write
 * protection, from 6.7 on. All this is rare, and to be sure of it while
 * cleaning costs a third walk over the range: see clean_range(). From 6.17 on
 * mprotect(2) does so for clean entries as well: see map_mprotect(). So does
 * userfaultfd(2) when told to end write protection, of which nothing tells us
 * before: there a file that is tracked has no such mappings, nor can get any.
 *
 * That mprotect(2) was ever called is counted, before it changes anything. The
 * others are seen in the mappings. A look before a walk and one after it are
 * enough: what NUMA balancing leaves behind stays, and to be overlooked by
 * both looks at userfaultfd, one would have to register, protect, write and
 * unregister between them.
 */
#include <linux/fs.h>
#include <linux/mm.h>

#include "collapse.h"
#include "compat/mm.h"
#include "mappings.h"
#include "ram.h"
#include "upgrade.h"

/* Mappings that are looked at; who has more has to be cleaned with care. */
#define MAPPINGS_MOST	64

/* Somebody has the right to write taken away by userfaultfd(2). */
static bool is_write_protected(struct mf_ram *ram)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	struct vm_area_struct *vma;
	struct rb_node *node;
	bool ret = false;

	i_mmap_lock_read(mapping);
	mf_for_each_mapping(vma, node, mapping) {
		ret = READ_ONCE(vma->vm_flags) & VM_UFFD_WP;
		if (ret)
			break;
		cond_resched();
	}
	i_mmap_unlock_read(mapping);
	return ret;
}

/**
 * mf_upgrades_begin - the file will be tracked
 * @ram: the file, tracked by nobody else
 *
 * Context: as mf_collapse_refuse(). Return: 0: until mf_upgrades_end() nothing
 * makes an entry writable of which mf_upgrades_possible() does not know;
 * -EADDRINUSE a mapping is under write protection by userfaultfd(2), which this
 * kernel does not let us see the end of; -EINTR.
 */
int mf_upgrades_begin(struct mf_ram *ram)
{
	int err;

	if (!mf_userfaultfd_batches())
		return 0;
	err = mf_collapse_refuse(&ram->collapse, MF_REFUSER_TRACK);
	if (!err && is_write_protected(ram))
		err = -EADDRINUSE;
	if (err)
		mf_upgrades_end(ram);
	return err;
}

/**
 * mf_upgrades_end - it is not tracked any more
 * @ram: the file
 *
 * Context: may not be atomic.
 */
void mf_upgrades_end(struct mf_ram *ram)
{
	mf_collapse_allow(&ram->collapse, MF_REFUSER_TRACK);
}

/**
 * mf_upgrades_possible - can entries have become writable, or become so now?
 * @ram: the file
 *
 * Context: may sleep; takes i_mmap_rwsem.
 */
bool mf_upgrades_possible(struct mf_ram *ram)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	struct vm_area_struct *vma;
	unsigned int looked = 0;
	struct rb_node *node;
	bool ret = false;

	if (atomic_read(&ram->upgrades.mprotect))
		return true;
	i_mmap_lock_read(mapping);
	mf_for_each_mapping(vma, node, mapping) {
		ret = READ_ONCE(vma->vm_flags) & VM_UFFD_WP ||
		      mf_vma_numa_scanned(vma) || looked++ == MAPPINGS_MOST;
		if (ret)
			break;
	}
	i_mmap_unlock_read(mapping);
	return ret;
}
