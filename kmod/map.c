// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of a RAM file.
 *
 * A mapping refers to the shmem file itself, whose fault and mempolicy code
 * looks at vma->vm_file. Its methods are shmem's but for four. That there is a
 * page_mkwrite at all makes the kernel map pages of shared mappings read-only
 * until it was asked: so every first write of a page by anybody, guest, VMM,
 * vhost or DMA, passes by here.
 *
 * Large folios: page_mkwrite without a page table entry can be followed by a
 * writable PMD, or entries for all of the folio. Then all of it counts as
 * written. While the file is tracked .fault prevents that, so that a write counts
 * for 4 KiB only.
 *
 * Absent pages (fill.h): a folio can hold some beside present ones, so .fault
 * and .map_pages ask for each page, and no PMD may cover any, nor may a fault map
 * more than its own page. Who makes PMDs without a page fault is kept away by
 * collapse.c.
 *
 * Lock order: mmap_lock (read) -> folio lock -> page table lock.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/pagemap.h>

#include "compat/mm.h"
#include "fill.h"
#include "map.h"
#include "ram.h"
#include "track.h"
#include "view.h"

/* How often a write of one page tries to be counted as one. */
#define PRECISE_TRIES	8

static struct vm_operations_struct mf_vm_ops;
/* Those of shmem; they are the same for every file. */
static const struct vm_operations_struct *shmem_ops;
static DEFINE_MUTEX(vm_ops_lock);

static struct mf_ram *vma_ram(const struct vm_area_struct *vma)
{
	return vma->vm_file->private_data;
}

struct mf_ram *mf_map_ram(const struct vm_area_struct *vma)
{
	return vma->vm_ops == &mf_vm_ops ? vma_ram(vma) : NULL;
}

static int see_pte(pte_t *pte, unsigned long addr, void *data)
{
	if (pte_present(ptep_get(pte)))
		*(bool *)data = true;
	return 0;
}

/*
 * The folio is large, locked, and about to be mapped. Leave a page table where
 * a PMD would go: with one in place the kernel maps single pages. Nobody can
 * put a PMD of this folio there meanwhile, that takes the folio lock. But one
 * may be there, or on its way to another folio, and its end (DEMAND unmaps
 * without that lock) leaves nothing where the next one is kept out: -EAGAIN.
 * That, and @mapped, this page is mapped here by now: the fault is done with,
 * and the access repeated.
 */
static int prevent_pmd(struct vm_fault *vmf, bool *mapped)
{
	pmd_t pmd = READ_ONCE(*vmf->pmd);

	if (!pmd_none(pmd) && (!pmd_present(pmd) || pmd_leaf(pmd)))
		return -EAGAIN;
	return apply_to_page_range(vmf->vma->vm_mm, vmf->address & PAGE_MASK,
				   PAGE_SIZE, see_pte, mapped);
}

/* Some page of the folio, which is locked, is absent. */
static bool lacks_pages(struct mf_ram *ram, struct folio *folio)
{
	pgoff_t end = folio->index + folio_nr_pages(folio);

	return mf_fill_next(ram, folio->index, end) < end;
}

static vm_fault_t map_page_mkwrite(struct vm_fault *vmf)
{
	struct folio *folio = page_folio(vmf->page);
	struct mf_ram *ram = vma_ram(vmf->vma);
	/* All of the folio may be mapped then. */
	bool whole = !vmf->pte;
	bool mapped = false;

	folio_lock(folio);
	if (folio->mapping != mf_ram_mapping(ram)) {
		/* Truncated or migrated under us: fault again. */
		goto again;
	}
	/* About to be taken away; or a page table has gone meanwhile. */
	if (mf_fill_absent(ram, vmf->pgoff) ||
	    (folio_test_large(folio) && lacks_pages(ram, folio) &&
	     ((whole && mf_fault_maps_folio()) || prevent_pmd(vmf, &mapped))))
		goto again;
	if (folio_test_large(folio) && whole)
		mf_track_fault(ram, folio->index, folio_nr_pages(folio));
	else
		mf_track_fault(ram, vmf->pgoff, 1);
	/* Locked until the entry is writable: harvest relies on it. */
	return VM_FAULT_LOCKED;
again:
	folio_unlock(folio);
	return VM_FAULT_NOPAGE;
}

/*
 * The kernel maps what is in the page cache around a fault, a whole PMD of it
 * if it can. Not where pages are absent: DEMAND waits for this to end before
 * it takes pages away.
 */
static vm_fault_t map_around(struct vm_fault *vmf, pgoff_t start, pgoff_t end)
{
	struct mf_ram *ram = vma_ram(vmf->vma);
	pgoff_t first = round_down(start, PTRS_PER_PTE);
	pgoff_t stop = round_up(end + 1, PTRS_PER_PTE);
	vm_fault_t ret = 0;

	rcu_read_lock();
	if (likely(!mf_fill_active(ram)) ||
	    mf_fill_next(ram, first, stop) == stop)
		ret = shmem_ops->map_pages(vmf, start, end);
	rcu_read_unlock();
	return ret;
}

/*
 * Map just the page at the faulting address, read-only. The write then faults
 * again, with an entry, and is counted for this page alone.
 */
static vm_fault_t map_one_readonly(struct vm_fault *vmf)
{
	unsigned int flags = vmf->flags;
	vm_fault_t ret = 0;

	/* filemap_map_pages() maps what it maps as this flag says. */
	vmf->flags &= ~FAULT_FLAG_WRITE;
	rcu_read_lock();
	/* There is a page table: no PMD, just this page. */
	if (!mf_fill_absent(vma_ram(vmf->vma), vmf->pgoff))
		ret = shmem_ops->map_pages(vmf, vmf->pgoff, vmf->pgoff);
	rcu_read_unlock();
	vmf->flags = flags;
	/* It leaves the entry that it looked at, unlocked and unmapped. */
	vmf->pte = NULL;
	return ret;
}

/*
 * The kernel asks before it changes any entry. Where clean ones can become
 * writable beside a dirty one all count as written. Until they are changed no
 * fault makes another one dirty; and a harvest that is quicker takes all of
 * them, and leaves none dirty.
 */
static int map_mprotect(struct vm_area_struct *vma, unsigned long start,
			unsigned long end, unsigned long flags)
{
	struct mf_ram *ram = vma_ram(vma);
	loff_t shift = ((loff_t)vma->vm_pgoff << PAGE_SHIFT) - vma->vm_start;

	mf_upgrades_mprotect(&ram->upgrades);
	if (flags & VM_WRITE && mf_mprotect_batches(vma))
		mf_track_write(ram, start + shift, end + shift);
	return 0;
}

/*
 * The same for a folio that others fault at as well. Who sleeps for its lock is
 * handed it when we let go, and so are we the next time: in turns, and none of
 * us finds it free to map from. So nobody queues up here: whoever holds it is
 * waited for without taking it.
 */
static vm_fault_t map_one_beside(struct vm_fault *vmf, struct folio *folio)
{
	vm_fault_t ret = map_one_readonly(vmf);

	if (!(ret & VM_FAULT_NOPAGE) && !folio_wait_locked_killable(folio))
		ret = map_one_readonly(vmf);
	return ret;
}

static void drop_page(struct vm_fault *vmf)
{
	unlock_page(vmf->page);
	put_page(vmf->page);
	vmf->page = NULL;
}

/*
 * vmf->page, which is locked and of a large folio, is not to be returned: with
 * it the kernel would map more of the folio. It is mapped here, if it is not
 * @mapped already, by another fault, which was faster. Return: VM_FAULT_NOPAGE;
 * an error; 0: it could not be mapped now.
 */
static vm_fault_t map_alone(struct vm_fault *vmf, bool mapped)
{
	vm_fault_t ret = mapped ? VM_FAULT_NOPAGE : mf_insert_page(vmf);
	struct folio *folio = page_folio(vmf->page);

	folio_get(folio);
	drop_page(vmf);
	if (!ret)
		ret = map_one_beside(vmf, folio) & VM_FAULT_NOPAGE;
	folio_put(folio);
	return ret;
}

/*
 * The page, locked; it is present, and stays so as long as it is locked. If
 * others of its folio are not, no PMD can be made of it.
 */
static vm_fault_t fault_present(struct mf_ram *ram, struct vm_fault *vmf)
{
	struct folio *folio;
	bool mapped = false;
	vm_fault_t ret;
	int err;

	for (;;) {
		ret = mf_fill_fault(ram, vmf);
		if (ret)
			return ret;
		ret = shmem_ops->fault(vmf);
		if (!(ret & VM_FAULT_LOCKED))
			return ret;
		if (!mf_fill_absent(ram, vmf->pgoff))
			break;
		drop_page(vmf);
	}
	folio = page_folio(vmf->page);
	if (!folio_test_large(folio) || !lacks_pages(ram, folio))
		return ret;
	err = prevent_pmd(vmf, &mapped);
	if (err) {
		drop_page(vmf);
		return err == -EAGAIN ? VM_FAULT_NOPAGE : VM_FAULT_OOM;
	}
	/* A private copy is one page anyhow. */
	if (!mf_fault_maps_folio() || vmf->cow_page)
		return ret;
	return map_alone(vmf, mapped);
}

static vm_fault_t map_fault(struct vm_fault *vmf)
{
	struct mf_ram *ram = vma_ram(vmf->vma);
	unsigned int tries = 0;
	vm_fault_t ret;

	for (;;) {
		bool mapped = false;

		ret = fault_present(ram, vmf);
		if (!(ret & VM_FAULT_LOCKED) ||
		    !(vmf->vma->vm_flags & VM_SHARED))
			return ret;
		if (!folio_test_large(page_folio(vmf->page)) ||
		    !rcu_access_pointer(ram->track))
			return ret;

		/* Without memory for a table this write marks all of the folio. */
		if (prevent_pmd(vmf, &mapped) == -EAGAIN)
			mapped = true;
		/* It does also if nothing has helped. */
		if (!mapped && (!(vmf->flags & FAULT_FLAG_WRITE) ||
				tries++ == PRECISE_TRIES))
			return ret;

		ret = map_alone(vmf, mapped);
		if (ret)
			return ret;
	}
}

/* Our methods are made from shmem's at the first mapping. */
static void make_vm_ops(const struct vm_operations_struct *ops)
{
	mutex_lock(&vm_ops_lock);
	if (!shmem_ops) {
		mf_vm_ops = *ops;
		mf_vm_ops.fault = map_fault;
		mf_vm_ops.map_pages = map_around;
		mf_vm_ops.page_mkwrite = map_page_mkwrite;
		mf_vm_ops.mprotect = map_mprotect;
		mf_refuse_userfaultfd(&mf_vm_ops);
		/* Read without the lock by faults of later mappings only. */
		shmem_ops = ops;
	}
	mutex_unlock(&vm_ops_lock);
}

/**
 * mf_map_adopt - give a mapping of a shmem file our methods
 * @vma: as shmem has made it; its file is that of shmem
 *
 * Context: mmap_lock held for writing.
 */
void mf_map_adopt(struct vm_area_struct *vma)
{
	struct mf_ram *ram = vma_ram(vma);

	make_vm_ops(vma->vm_ops);
	vma->vm_ops = &mf_vm_ops;
	mf_view_map(&ram->views, vma);
	mf_collapse_map(&ram->collapse, vma);
}

/**
 * mf_map_mmap - map a RAM file
 * @ram: the file
 * @vma: the new mapping; its file becomes that of shmem
 *
 * The mapping holds the shmem file, which holds @ram, the backing mount and
 * the module: it stays usable after the file of ours and even its mount are
 * gone.
 *
 * Context: mmap_lock held for writing. Return: 0 or what shmem says.
 */
int mf_map_mmap(struct mf_ram *ram, struct vm_area_struct *vma)
{
	vma_set_file(vma, ram->shmem);
	/* Ends in mf_map_adopt(). */
	return ram->shmem->f_op->mmap(ram->shmem, vma);
}
