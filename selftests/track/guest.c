// SPDX-License-Identifier: GPL-2.0
/*
 * Stores of a guest through KVM: they go through page tables of the processor
 * that are filled from the host's, and that a harvest must write-protect too.
 */
#include <errno.h>
#include <unistd.h>

#include "fixture.h"
#include "mf_guest.h"

static int enter(struct mf_vm *vm, struct mf_guest *guest)
{
	return mf_guest_open(guest, vm->map, PAGES * MF_PAGE);
}

TEST_F(track, stores)
{
	struct mf_guest guest;
	int i, rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 3 * MF_PAGE + 8, i));
		ASSERT_EQ(0, mf_guest_store(&guest, 700 * MF_PAGE, i));
		EXPECT_STREQ("3,700", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_EQ(i, mf_page(&self->vm, 3)[8]);
	}
	mf_guest_close(&guest);
}

TEST_F(track, loads)
{
	struct mf_guest guest;
	size_t page;
	__u32 value;
	int rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	for (page = 0; page < PAGES; page += 100) {
		ASSERT_EQ(0, mf_guest_load(&guest, page * MF_PAGE, &value));
		EXPECT_EQ(variant->filled ? 0x55555555 : 0, value);
	}
	EXPECT_STREQ("", mf_harvest(&self->vm));
	/* What was mapped for loading is not writable for it. */
	ASSERT_EQ(0, mf_guest_store(&guest, 500 * MF_PAGE, 1));
	EXPECT_STREQ("500", mf_harvest(&self->vm));
	mf_guest_close(&guest);
}

TEST_F(track, stores_beside_the_hosts)
{
	struct mf_guest guest;
	int i, rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, mf_guest_store(&guest, 9 * MF_PAGE, i));
		mf_page(&self->vm, 9)[100] = i;
		mf_page(&self->vm, 10)[100] = i;
		EXPECT_STREQ("9-10", mf_harvest(&self->vm));
		mf_page(&self->vm, 9)[100] = i;
		EXPECT_STREQ("9", mf_harvest(&self->vm));
		ASSERT_EQ(0, mf_guest_store(&guest, 10 * MF_PAGE, i));
		EXPECT_STREQ("10", mf_harvest(&self->vm));
	}
	mf_guest_close(&guest);
}

/* Runs and isolated pages are protected in different ways. */
TEST_F(track, stores_in_runs)
{
	struct mf_guest guest;
	size_t page, round;
	int rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	for (round = 0; round < 2; round++) {
		for (page = 100; page < 140; page++)
			ASSERT_EQ(0, mf_guest_store(&guest, page * MF_PAGE, 1));
		ASSERT_EQ(0, mf_guest_store(&guest, 200 * MF_PAGE, 1));
		EXPECT_STREQ("100-139,200", mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
	mf_guest_close(&guest);
}

/* The guest wrote large pages before; START makes it fault again. */
TEST_F(track, stores_before_start)
{
	struct mf_guest guest;
	int rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, mf_stop(self->vm.session));
	ASSERT_EQ(0, mf_guest_scatter(&guest, 0, PAGES * MF_PAGE, 20000, 5));
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_store(&guest, 77 * MF_PAGE, 1));
	EXPECT_STREQ("77", mf_harvest(&self->vm));
	mf_guest_close(&guest);
}

TEST_F(track, scattered_stores_mirror)
{
	unsigned char *mirror = malloc(PAGES * MF_PAGE);
	struct mf_guest guest;
	int round, rc = enter(&self->vm, &guest);
	size_t i;

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	memcpy(mirror, self->vm.map, PAGES * MF_PAGE);
	for (round = 1; round < 6; round++) {
		ASSERT_EQ(0, mf_guest_scatter(&guest, 0, PAGES * MF_PAGE, 200,
					      round));
		mf_harvest(&self->vm);
		EXPECT_LT(0, self->vm.dirty);
		for (i = 0; i < PAGES; i++) {
			if (mf_bit(self->vm.bitmap, i))
				memcpy(mirror + i * MF_PAGE,
				       mf_page(&self->vm, i), MF_PAGE);
		}
		EXPECT_EQ(-1, mf_differs(&self->vm, mirror));
	}
	mf_guest_close(&guest);
	free(mirror);
}

TEST_F(track, punched_under_the_guest)
{
	struct mf_guest guest;
	__u32 value;
	int rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, mf_guest_store(&guest, 20 * MF_PAGE, 0x1234));
	EXPECT_STREQ("20", mf_harvest(&self->vm));
	/* The balloon takes a page away, and the guest wants it back. */
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 20), MF_PAGE, MADV_REMOVE));
	EXPECT_STREQ("20", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_load(&guest, 20 * MF_PAGE, &value));
	EXPECT_EQ(0, value);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_store(&guest, 20 * MF_PAGE, 0x1234));
	EXPECT_STREQ("20", mf_harvest(&self->vm));
	mf_guest_close(&guest);
}

TEST_F(track, swapped_under_the_guest)
{
	struct mf_guest guest;
	__u32 value;
	int rc = enter(&self->vm, &guest);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	ASSERT_EQ(0, mf_guest_store(&guest, 20 * MF_PAGE, 0x1234));
	EXPECT_EQ(1, mf_swap_out(mf_page(&self->vm, 20), MF_PAGE));
	EXPECT_STREQ("20", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_load(&guest, 20 * MF_PAGE, &value));
	EXPECT_EQ(0x1234, value);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_guest_store(&guest, 20 * MF_PAGE, 0x4321));
	EXPECT_STREQ("20", mf_harvest(&self->vm));
	mf_guest_close(&guest);
}

TEST_HARNESS_MAIN
