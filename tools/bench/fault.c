// SPDX-License-Identifier: GPL-2.0
/*
 * What the first write of a page costs whoever writes.
 *
 * A store to each of PAGES pages of a shared mapping whose pages are in
 * memory, so that each store takes one fault. On its account: the fault with
 * all that the processor and the kernel do for it, and the loop, some five
 * instructions.
 *
 *  fault.tmpfs      plain tmpfs, page table entry not there: its write fault
 *  fault.untracked  the same in our file, while nobody tracks it
 *  fault.tracked    our file, while it is tracked: after a harvest, which is
 *                   what a running VM meets once per page and round
 *  fault.unmapped   our file, while it is tracked, entry not there: as
 *                   fault.tmpfs, which is the stricter comparison
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

#define PAGES	4096
#define TMPFS	"/tmp/mf-bench-fault"

static __u64 touch(unsigned char *map)
{
	__u64 i, start = bench_now();

	for (i = 0; i < PAGES; i++)
		*(volatile unsigned char *)(map + i * MF_PAGE) = i;
	return bench_now() - start;
}

/* Forget the page table entries; the pages stay. */
static void unmap(unsigned char *map)
{
	bench_check(!madvise(map, PAGES * MF_PAGE, MADV_DONTNEED), "madvise");
}

static void tmpfs(void)
{
	unsigned char *map;
	int i, fd;

	mkdir(TMPFS, 0700);
	bench_check(!mount("none", TMPFS, "tmpfs", 0, NULL), "mount tmpfs");
	fd = mf_create(TMPFS "/ram", PAGES * MF_PAGE);
	bench_check(fd >= 0, "create");
	map = mf_map(fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	bench_check(map, "map");
	touch(map);
	for (i = -1; i < BENCH_SAMPLES; i++) {
		__u64 ticks;

		unmap(map);
		ticks = touch(map);
		if (i >= 0)
			bench_sample("fault.tmpfs", ticks, PAGES);
	}
	munmap(map, PAGES * MF_PAGE);
	close(fd);
	umount2(TMPFS, MNT_DETACH);
}

/* @clean brings the mapping into the state from which a store faults. */
static void ours(struct mf_vm *vm, const char *name,
		 void (*clean)(struct mf_vm *vm))
{
	int i;

	for (i = -1; i < BENCH_SAMPLES; i++) {
		__u64 ticks;

		clean(vm);
		ticks = touch(vm->map);
		if (i >= 0)
			bench_sample(name, ticks, PAGES);
	}
}

static void unmap_ours(struct mf_vm *vm)
{
	unmap(vm->map);
}

static void harvest(struct mf_vm *vm)
{
	mf_harvest(vm);
	bench_check(vm->dirty == PAGES, "harvest of all pages");
}

static void harvest_unmap(struct mf_vm *vm)
{
	harvest(vm);
	unmap(vm->map);
}

int main(void)
{
	struct mf_vm vm;

	bench_begin();
	bench_check(!mf_vm_open(&vm, PAGES, NULL), "open");
	touch(vm.map);
	tmpfs();
	ours(&vm, "fault.untracked", unmap_ours);

	bench_check(!mf_start(vm.session), "start");
	mf_harvest_settled(&vm);
	touch(vm.map);
	ours(&vm, "fault.tracked", harvest);
	ours(&vm, "fault.unmapped", harvest_unmap);
	mf_vm_close(&vm);
	return 0;
}
