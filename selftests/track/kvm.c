// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's dirty log as a help: pages that the guest is writing are left writable,
 * and nothing is lost by that, whatever others do with the log.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"

/* The slot of the RAM file; see mf_guest.c. */
#define SLOT	1

static int set_slot(struct mf_guest *guest, struct mf_vm *vm, size_t bytes,
		    __u32 flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT,
		.flags = flags,
		.guest_phys_addr = MF_GUEST_RAM,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)vm->map,
	};

	return ioctl(guest->vm, KVM_SET_USER_MEMORY_REGION, &region) ?
	       -errno : 0;
}

/* What the VMM reads there: "3,8-11", or the error. */
static const char *read_log(struct mf_guest *guest)
{
	static __u64 bits[PAGES / 64];
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = bits };

	memset(bits, 0, sizeof(bits));
	if (ioctl(guest->vm, KVM_GET_DIRTY_LOG, &log))
		return strerror(errno);
	return mf_list(bits, PAGES);
}

static __u64 harvest_clean(struct mf_vm *vm)
{
	struct migrate_fast_harvest harvest = {
		.ram = vm->ram, .flags = MIGRATE_FAST_HARVEST_CLEAN,
	};

	if (mf_ioctl(vm->session, MIGRATE_FAST_HARVEST, &harvest))
		return ~0ULL;
	vm->carried = harvest.carried;
	return harvest.dirty;
}

TEST_F(track, kvm_hot_pages_stay_writable)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	EXPECT_EQ(1, kvm.slots);
	EXPECT_EQ(0, kvm.foreign);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 3 * MF_PAGE + 8, i));
		ASSERT_EQ(0, mf_guest_store(&guest, 700 * MF_PAGE, i));
		EXPECT_STREQ("3,700", mf_harvest(&self->vm));
		EXPECT_EQ(2, self->vm.carried);
		EXPECT_EQ(i, mf_page(&self->vm, 3)[8]);
		/* Not written yet. */
		EXPECT_STREQ("", mf_peek(&self->vm));
	}
	EXPECT_EQ(20, tell(&self->vm).kept);
	/* Once more, since nobody knows what a host did to them. */
	EXPECT_STREQ("3,700", mf_harvest(&self->vm));
	EXPECT_EQ(0, self->vm.carried);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_guest_close(&guest);
}

/* It has the guest take no fault of the page cache. */
TEST_F(track, kvm_saves_faults)
{
	struct migrate_fast_counters before, after;
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	ASSERT_EQ(0, mf_guest_store(&guest, 5 * MF_PAGE, 1));
	mf_harvest(&self->vm);
	before = (struct migrate_fast_counters) { .ram = self->vm.ram };
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_COUNTERS,
			      &before));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 5 * MF_PAGE, i));
		EXPECT_STREQ("5", mf_harvest(&self->vm));
	}
	after = (struct migrate_fast_counters) { .ram = self->vm.ram };
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_COUNTERS, &after));
	EXPECT_EQ(before.faults, after.faults);
	mf_guest_close(&guest);
}

TEST_F(track, kvm_host_writes_to_hot_pages)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		/* No fault: its page table has it writable. */
		mf_page(&self->vm, 9)[100] = i;
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		mf_page(&self->vm, 9)[100] = i + 1;
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
	mf_guest_close(&guest);
}

TEST_F(track, kvm_clean)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_EQ(1, harvest_clean(&self->vm));
		EXPECT_EQ(0, self->vm.carried);
		EXPECT_STREQ("", mf_harvest(&self->vm));
		mf_page(&self->vm, 9)[100] = i;
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
	mf_guest_close(&guest);
}

/* The VM is as it was, and while it was not, nobody was refused anything. */
TEST_F(track, kvm_leaves_no_trace)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;

	ENTER(&guest, &kvm);
	ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, 1));
	mf_vm_close(&self->vm);
	EXPECT_STREQ("No such file or directory", read_log(&guest));
	mf_guest_close(&guest);
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
}

TEST_F(track, kvm_the_log_of_others)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER_ONLY(&guest);
	ASSERT_EQ(0, set_slot(&guest, &self->vm, PAGES * MF_PAGE,
			      KVM_MEM_LOG_DIRTY_PAGES));
	ATTACH(guest.vm, &kvm);
	EXPECT_EQ(MIGRATE_FAST_KVM_USED, kvm.state);
	EXPECT_EQ(0, kvm.slots);
	EXPECT_EQ(1, kvm.foreign);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_STREQ("9", read_log(&guest));
		EXPECT_STREQ("", read_log(&guest));
	}
	EXPECT_EQ(MIGRATE_FAST_KVM_USED, tell(&self->vm).state);
	mf_vm_close(&self->vm);
	EXPECT_STREQ("", read_log(&guest));
	mf_guest_close(&guest);
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
}

/* It is theirs from then on, whole, and afterwards. */
TEST_F(track, kvm_the_vmm_reads_it)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, 1));
	EXPECT_STREQ("9", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_store(&guest, 10 * MF_PAGE, 1));
	EXPECT_STREQ("10", read_log(&guest));
	EXPECT_EQ(MIGRATE_FAST_KVM_CONTENDED, tell(&self->vm).state);
	EXPECT_STREQ("9-10", mf_harvest(&self->vm));
	EXPECT_EQ(0, self->vm.carried);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_STREQ("9", read_log(&guest));
	}
	mf_vm_close(&self->vm);
	EXPECT_STREQ("", read_log(&guest));
	mf_guest_close(&guest);
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
}

TEST_F(track, kvm_the_vmm_switches_it_on)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;

	ENTER(&guest, &kvm);
	ASSERT_EQ(0, set_slot(&guest, &self->vm, PAGES * MF_PAGE,
			      KVM_MEM_LOG_DIRTY_PAGES));
	EXPECT_EQ(MIGRATE_FAST_KVM_CONTENDED, tell(&self->vm).state);
	ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, 1));
	EXPECT_STREQ("9", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_STREQ("9", read_log(&guest));
	mf_guest_close(&guest);
}

TEST_F(track, kvm_slots_come_and_go)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int i;

	ENTER(&guest, &kvm);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		ASSERT_EQ(0, set_slot(&guest, &self->vm, 0, 0));
		ASSERT_EQ(0, set_slot(&guest, &self->vm, PAGES * MF_PAGE, 0));
		/* Nobody knows whether it was written. */
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_EQ(1, self->vm.carried);
		ASSERT_EQ(0, set_slot(&guest, &self->vm, PAGES * MF_PAGE, 0));
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
	EXPECT_EQ(MIGRATE_FAST_KVM_USED, tell(&self->vm).state);
	EXPECT_EQ(1, tell(&self->vm).slots);
	mf_guest_close(&guest);
}

TEST_F(track, kvm_what_is_wrong)
{
	struct migrate_fast_kvm kvm;
	struct mf_guest guest;
	int fd = eventfd(0, 0);

	MF_SKIP_WITHOUT_KVM_LOG(attach(&self->vm, fd, &kvm));
	EXPECT_EQ(MIGRATE_FAST_KVM_NONE, tell(&self->vm).state);
	EXPECT_EQ(-EMEDIUMTYPE, attach(&self->vm, fd, &kvm));
	EXPECT_EQ(-EMEDIUMTYPE, attach(&self->vm, self->vm.fd, &kvm));
	EXPECT_EQ(-EBADF, attach(&self->vm, 999, &kvm));
	EXPECT_EQ(-EINVAL, attach(&self->vm, -2, &kvm));
	if (!enter(&self->vm, &guest)) {
		EXPECT_EQ(-EMEDIUMTYPE, attach(&self->vm, guest.kvm, &kvm));
		EXPECT_EQ(-EMEDIUMTYPE, attach(&self->vm, guest.vcpu, &kvm));
		mf_guest_close(&guest);
	}
	ENTER(&guest, &kvm);
	EXPECT_EQ(-EEXIST, attach(&self->vm, guest.vm, &kvm));
	mf_guest_close(&guest);
	close(fd);
}

TEST_HARNESS_MAIN
