// SPDX-License-Identifier: GPL-2.0
/*
 * What harvest costs, for clean pages and for dirty ones.
 *
 * On the account of a page: all of MIGRATE_FAST_HARVEST, from user space and
 * back, divided by the pages in question. Nothing is subtracted.
 *
 * As on a real host, the memory is mapped by one process, the VMM, and
 * harvested by another, which does not map it. The VMM here is a child that
 * writes pages when told to. In "kvm" a KVM guest writes them, so that KVM
 * maps each of them writable and has to drop it when its notifier is called;
 * in "vmm" the VMM itself writes them, as QEMU's device emulation does, and
 * the guest has the memory but not these pages; in "plain" there is no guest.
 * So "kvm" less "plain" is what the notifier costs, which is called once for
 * each isolated page and is KVM's own.
 *
 * "isolated" are every eighth page, "runs" are runs of 64 pages with gaps of
 * 64. Other lengths show what the length is worth.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "mf_guest.h"

#define PAGES		32768		/* 128 MB */
#define DIRTY		1024		/* pages of one sample */
/* 1 GB, of which RESIDENT pages are there; harvest never looks at them. */
#define CLEAN_PAGES	262144
#define RESIDENT	16384

/* Harvest everything; @dirty pages must come out of it. */
static __u64 harvest(struct mf_vm *vm, __u64 dirty)
{
	struct migrate_fast_harvest arg = { .ram = vm->ram };
	__u64 start, ticks;
	int rc;

	memset(vm->bitmap, 0, vm->bitmap_bytes);
	start = bench_now();
	rc = mf_ioctl(vm->session, MIGRATE_FAST_HARVEST, &arg);
	ticks = bench_now() - start;
	bench_check(!rc && arg.next == vm->pages, "harvest");
	if (arg.dirty != dirty || arg.carried) {
		fprintf(stderr, "harvest: %llu dirty, %llu carried; should be %llu, 0\n",
			arg.dirty, arg.carried, dirty);
		exit(1);
	}
	return ticks;
}

/* Until nothing is in use any more that filling it has left in use. */
static void settle(struct mf_vm *vm)
{
	mf_harvest_settled(vm);
	harvest(vm, 0);
}

static void clean(void)
{
	struct mf_vm vm;
	int i;

	bench_check(!mf_vm_open(&vm, CLEAN_PAGES, NULL), "open");
	memset(vm.map, 1, RESIDENT * MF_PAGE);
	bench_check(!mf_start(vm.session), "start");
	settle(&vm);
	for (i = 0; i < BENCH_SAMPLES; i++)
		bench_sample("harvest.idle", harvest(&vm, 0), CLEAN_PAGES);
	mf_vm_close(&vm);
}

/* Pages to write: DIRTY of them in runs of @run, @stride pages apart. */
struct pattern {
	__u64 run;
	__u64 stride;
	bool by_guest;
};

static void write_pages(struct mf_vm *vm, struct mf_guest *guest,
			const struct pattern *pattern)
{
	__u64 i;

	for (i = 0; i < DIRTY; i++) {
		__u64 page = i / pattern->run * pattern->stride +
			     i % pattern->run;

		if (pattern->by_guest)
			bench_check(!mf_guest_store(guest, page * MF_PAGE, i),
				    "store of the guest");
		else
			*(volatile __u32 *)mf_page(vm, page) = i;
	}
}

/* The VMM: a child with the mapping and, if wanted, a guest. */
struct vmm {
	pid_t pid;
	int orders;
	int answers;
};

static void vmm_work(struct mf_vm *vm, bool with_guest, int orders,
		     int answers)
{
	struct mf_guest guest;
	struct pattern pattern;

	if (with_guest)
		bench_check(!mf_guest_open(&guest, vm->map, PAGES * MF_PAGE),
			    "guest");
	while (read(orders, &pattern, sizeof(pattern)) == sizeof(pattern)) {
		write_pages(vm, &guest, &pattern);
		bench_check(write(answers, "", 1) == 1, "answer");
	}
	_exit(0);
}

static void vmm_start(struct vmm *vmm, struct mf_vm *vm, bool with_guest)
{
	int orders[2], answers[2];

	bench_check(!pipe(orders) && !pipe(answers), "pipe");
	vmm->pid = fork();
	bench_check(vmm->pid >= 0, "fork");
	if (!vmm->pid) {
		close(orders[1]);
		vmm_work(vm, with_guest, orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	vmm->orders = orders[1];
	vmm->answers = answers[0];
	munmap(vm->map, PAGES * MF_PAGE);
	vm->map = NULL;
}

static void vmm_end(struct vmm *vmm)
{
	int status;

	close(vmm->orders);
	bench_check(waitpid(vmm->pid, &status, 0) == vmm->pid && !status,
		    "the VMM");
	close(vmm->answers);
}

static void vmm_write(struct vmm *vmm, const struct pattern *pattern)
{
	char answer;

	bench_check(write(vmm->orders, pattern, sizeof(*pattern)) ==
		    sizeof(*pattern), "order");
	bench_check(read(vmm->answers, &answer, 1) == 1, "the VMM");
}

static void dirty(struct mf_vm *vm, struct vmm *vmm, const char *name,
		  struct pattern pattern)
{
	int i;

	/* One round more: the first use of a page table is not the rule. */
	for (i = -1; i < BENCH_SAMPLES; i++) {
		__u64 ticks;

		vmm_write(vmm, &pattern);
		ticks = harvest(vm, DIRTY);
		if (i >= 0)
			bench_sample(name, ticks, DIRTY);
	}
}

static void plain(void)
{
	struct vmm vmm;
	struct mf_vm vm;

	bench_check(!mf_vm_open(&vm, PAGES, NULL), "open");
	memset(vm.map, 1, PAGES * MF_PAGE);
	vmm_start(&vmm, &vm, false);
	bench_check(!mf_start(vm.session), "start");
	settle(&vm);
	dirty(&vm, &vmm, "harvest.isolated.plain", (struct pattern){ 1, 8, false });
	dirty(&vm, &vmm, "harvest.runs.plain", (struct pattern){ 64, 128, false });
	vmm_end(&vmm);
	mf_vm_close(&vm);
}

static void kvm(void)
{
	struct vmm vmm;
	struct mf_vm vm;

	bench_check(!mf_vm_open(&vm, PAGES, NULL), "open");
	memset(vm.map, 1, PAGES * MF_PAGE);
	vmm_start(&vmm, &vm, true);
	bench_check(!mf_start(vm.session), "start");
	settle(&vm);
	dirty(&vm, &vmm, "harvest.isolated.vmm", (struct pattern){ 1, 8, false });
	dirty(&vm, &vmm, "harvest.runs.vmm", (struct pattern){ 64, 128, false });
	dirty(&vm, &vmm, "harvest.isolated.kvm",
	      (struct pattern){ 1, 8, true });
	dirty(&vm, &vmm, "harvest.runs.kvm", (struct pattern){ 64, 128, true });
	dirty(&vm, &vmm, "harvest.run4.kvm", (struct pattern){ 4, 8, true });
	dirty(&vm, &vmm, "harvest.run16.kvm", (struct pattern){ 16, 32, true });
	dirty(&vm, &vmm, "harvest.run1024.kvm",
	      (struct pattern){ 1024, 1024, true });
	vmm_end(&vmm);
	mf_vm_close(&vm);
}

int main(void)
{
	bench_begin();
	clean();
	plain();
	kvm();
	return 0;
}
