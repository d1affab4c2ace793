// SPDX-License-Identifier: GPL-2.0
/*
 * What tracking costs a guest that writes, and what a harvest of a guest costs
 * that does not.
 *
 * A guest stores to random words of 64 MB; then what it has written is taken:
 * by nobody (none), by our harvest, with events alone (events) or with KVM's
 * log beside them (kvm), or from KVM's log by the VMM itself, as QEMU does it
 * (qemu: manual protection, initially set). The sample is what the guest then
 * takes for the same work, harvests not included:
 *
 *  low	  a page that it has not written for long for each LOW of its own
 *	  instructions; a processor that completes 2 * 10^9 of them in a second
 *	  writes 160 MB in it, and comes back to none of that soon
 *  high  nothing but stores, ten times as many as there are pages, half of
 *	  them in the same megabyte
 *  cold  nothing but stores to pages that were not written for long: no guest
 *	  does this, but it tells what one such store costs
 *
 * "faults" are page_mkwrite calls of the same time, "kvm" faults that KVM has
 * handled.
 *
 * "clean" is a whole harvest of a guest of 2 GB, all of it there, that has
 * written nothing since the last one, and the VMM's own KVM_GET_DIRTY_LOG of it,
 * with manual protection as QEMU and without.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bench.h"
#include "mf_guest.h"

#define PAGES		16384UL		/* 64 MB */
#define CLEAN_PAGES	524288UL	/* 2 GB */
#define HOT		(1UL << 20)	/* bytes */
#define SLOT		1
#define LOW		50000	/* instructions */
#define KVM_FAULTS	"/sys/kernel/debug/kvm/pf_taken"

enum by { NONE, EVENTS, KVM, QEMU };

static const char *const names[] = {
	[NONE] = "none", [EVENTS] = "events", [KVM] = "kvm", [QEMU] = "qemu",
};

static __u64 bits[CLEAN_PAGES / 64];

static void log_dirty(struct mf_guest *guest, struct mf_vm *vm, bool manual)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.flags = KVM_MEM_LOG_DIRTY_PAGES,
		.guest_phys_addr = MF_GUEST_RAM,
		.memory_size = vm->pages * MF_PAGE,
		.userspace_addr = (uintptr_t)vm->map,
	};
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE |
			   KVM_DIRTY_LOG_INITIALLY_SET,
	};

	if (manual)
		bench_check(!ioctl(guest->vm, KVM_ENABLE_CAP, &cap),
			    "manual protection");
	bench_check(!ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &region),
		    "log");
}

static void get_log(struct mf_guest *guest)
{
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = bits };

	bench_check(!ioctl(guest->vm, KVM_GET_DIRTY_LOG, &log), "log");
}

static void clear_log(struct mf_guest *guest, struct mf_vm *vm)
{
	struct kvm_clear_dirty_log clear = {
		.slot = SLOT, .num_pages = vm->pages, .dirty_bitmap = bits,
	};

	bench_check(!ioctl(guest->vm, KVM_CLEAR_DIRTY_LOG, &clear), "clear");
}

static void attach(struct mf_vm *vm, struct mf_guest *guest)
{
	struct migrate_fast_kvm kvm = { .fd = guest->vm };

	bench_check(!mf_ioctl(vm->session, MIGRATE_FAST_KVM, &kvm) &&
		    kvm.slots == 1, "KVM's log");
}

static void harvest(struct mf_vm *vm)
{
	struct migrate_fast_harvest arg = { .ram = vm->ram };

	bench_check(!mf_ioctl(vm->session, MIGRATE_FAST_HARVEST, &arg),
		    "harvest");
}

static void begin(enum by by, struct mf_vm *vm, struct mf_guest *guest)
{
	if (by == QEMU)
		log_dirty(guest, vm, true);
	if (by == EVENTS || by == KVM)
		bench_check(!mf_start(vm->session), "start");
	if (by == KVM)
		attach(vm, guest);
}

static void take(enum by by, struct mf_vm *vm, struct mf_guest *guest)
{
	if (by == EVENTS || by == KVM) {
		harvest(vm);
	} else if (by == QEMU) {
		get_log(guest);
		clear_log(guest, vm);
	}
}

static __u64 faults(struct mf_vm *vm)
{
	struct migrate_fast_counters counters = { .ram = vm->ram };

	bench_check(!mf_ioctl(vm->session, MIGRATE_FAST_COUNTERS, &counters),
		    "counters");
	return counters.faults;
}

static __u64 kvm_faults(void)
{
	unsigned long long n = 0;
	FILE *file = fopen(KVM_FAULTS, "r");

	bench_check(file && fscanf(file, "%llu", &n) == 1, KVM_FAULTS);
	fclose(file);
	return n;
}

/*
 * The guest's work of a round: @cold stores anywhere, @hot in a megabyte, each
 * after @own instructions.
 */
struct rate {
	const char *name;
	__u32 cold;
	__u32 hot;
	__u32 own;
};

static void work(struct mf_guest *guest, const struct rate *rate, __u32 seed)
{
	bench_check(!mf_guest_work(guest, 0, PAGES * MF_PAGE, rate->cold,
				   seed, rate->own), "guest");
	if (rate->hot)
		bench_check(!mf_guest_scatter(guest, 0, HOT, rate->hot, seed),
			    "guest");
}

static void sample(const struct rate *rate, enum by by, const char *what,
		   __u64 value, __u64 units)
{
	char name[64];

	snprintf(name, sizeof(name), "track.%s.%s%s", rate->name, names[by],
		 what);
	bench_sample(name, value, units);
}

static void measure(enum by by, const struct rate *rate)
{
	__u64 start, ticks, before, kvm;
	struct mf_guest guest;
	struct mf_vm vm;
	int i;

	bench_check(!mf_vm_open(&vm, PAGES, "huge=never"), "open");
	memset(vm.map, 1, PAGES * MF_PAGE);
	bench_check(!mf_guest_open(&guest, vm.map, PAGES * MF_PAGE), "guest");
	/* All of it is in KVM's tables: that is not what is measured. */
	bench_check(!mf_guest_scatter(&guest, 0, PAGES * MF_PAGE, PAGES * 8, 3),
		    "guest");
	begin(by, &vm, &guest);
	for (i = -3; i < BENCH_SAMPLES; i++) {
		take(by, &vm, &guest);
		before = faults(&vm);
		kvm = kvm_faults();
		start = bench_now();
		work(&guest, rate, 1000 + i);
		ticks = bench_now() - start;
		if (i < 0)
			continue;
		sample(rate, by, "", ticks, rate->cold + rate->hot);
		sample(rate, by, ".faults", faults(&vm) - before, 1);
		sample(rate, by, ".kvm", kvm_faults() - kvm, 1);
	}
	mf_guest_close(&guest);
	mf_vm_close(&vm);
}

static void clean(bool ours, bool manual, const char *name)
{
	struct mf_guest guest;
	struct mf_vm vm;
	__u64 start;
	int i;

	bench_check(!mf_vm_open(&vm, CLEAN_PAGES, "huge=never,size=90%"), "open");
	bench_check(!fallocate(vm.fd, 0, 0, CLEAN_PAGES * MF_PAGE), "fill");
	bench_check(!mf_guest_open(&guest, vm.map, CLEAN_PAGES * MF_PAGE),
		    "guest");
	if (ours) {
		bench_check(!mf_start(vm.session), "start");
		attach(&vm, &guest);
	} else {
		log_dirty(&guest, &vm, manual);
		get_log(&guest);
		if (manual)
			clear_log(&guest, &vm);
	}
	for (i = -1; i < BENCH_SAMPLES; i++) {
		start = bench_now();
		if (ours)
			harvest(&vm);
		else
			get_log(&guest);
		start = bench_now() - start;
		if (i >= 0)
			bench_sample(name, start, 1);
	}
	mf_guest_close(&guest);
	mf_vm_close(&vm);
}

int main(void)
{
	static const struct rate rates[] = {
		{ "low", PAGES / 100, 0, LOW },
		{ "high", PAGES * 5, PAGES * 5, 0 },
		{ "cold", PAGES / 100, 0, 0 },
	};
	unsigned int i;
	enum by by;

	bench_begin();
	for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		for (by = NONE; by <= QEMU; by++)
			measure(by, &rates[i]);
	clean(true, false, "track.clean.kvm");
	clean(false, true, "track.clean.manual");
	clean(false, false, "track.clean.get");
	return 0;
}
