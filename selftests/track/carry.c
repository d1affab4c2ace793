// SPDX-License-Identifier: GPL-2.0
/*
 * DMA in flight at a harvest. A driver that has pinned a page writes it when
 * it likes, protected or not. Such pages are carried: reported by every harvest
 * until the pin is gone, and once more then.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_disk.h"

#include <sys/mman.h>

#define PAGES 1024UL

FIXTURE(carry)
{
	struct mf_vm vm;
	struct mf_disk disk;
	io_context_t context;
	struct iocb iocb;
	unsigned char *mirror;
};

FIXTURE_VARIANT(carry)
{
	const char *options;
	bool large;
};

FIXTURE_VARIANT_ADD(carry, small)
{
	.options = "huge=never",
};

FIXTURE_VARIANT_ADD(carry, huge)
{
	.options = "huge=always",
	.large = true,
};

FIXTURE_SETUP(carry)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
	memset(self->vm.map, 0x55, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_disk_open(&self->disk, 64 << 20));
	self->context = 0;
	ASSERT_EQ(0, io_setup(4, &self->context));
	self->mirror = malloc(PAGES * MF_PAGE);
	ASSERT_NE(NULL, self->mirror);
}

FIXTURE_TEARDOWN(carry)
{
	mf_disk_release(&self->disk);
	io_destroy(self->context);
	mf_disk_close(&self->disk);
	mf_vm_close(&self->vm);
}

/* Begin to read into pages; returns when the driver has them. */
static int begin(struct _test_data_carry *self, size_t page, size_t pages)
{
	struct iocb *list[1] = { &self->iocb };
	int rc;

	mf_disk_hold(&self->disk);
	io_prep_pread(&self->iocb, self->disk.fd, mf_page(&self->vm, page),
		      pages * MF_PAGE, 0);
	rc = io_submit(self->context, 1, list);
	return rc == 1 ? mf_disk_wait_held(&self->disk) : -EIO;
}

static int finish(struct _test_data_carry *self)
{
	struct io_event event;

	mf_disk_release(&self->disk);
	if (io_getevents(self->context, 1, 1, &event, NULL) != 1)
		return -EIO;
	return (long)event.res < 0 ? (long)event.res : 0;
}

static bool reported(const struct mf_vm *vm, size_t page, size_t pages)
{
	while (pages--) {
		if (!mf_bit(vm->bitmap, page + pages))
			return false;
	}
	return true;
}

static void copy(struct _test_data_carry *self, bool all)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		if (all || mf_bit(self->vm.bitmap, i))
			memcpy(self->mirror + i * MF_PAGE,
			       mf_page(&self->vm, i), MF_PAGE);
	}
}

TEST_F(carry, until_the_driver_is_done)
{
	const char *list;
	int i;

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 4));
	for (i = 0; i < 3; i++) {
		list = mf_harvest(&self->vm);
		EXPECT_TRUE(reported(&self->vm, 100, 4));
		EXPECT_LE(4, self->vm.carried);
		if (!variant->large) {
			EXPECT_STREQ("100-103", list);
			EXPECT_EQ(4, self->vm.carried);
		}
	}
	ASSERT_EQ(0, finish(self));
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 100, 4));
	EXPECT_TRUE(mf_disk_matches(&self->disk, mf_page(&self->vm, 100), 0,
				    4 * MF_PAGE));
	mf_harvest_settled(&self->vm);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(carry, is_seen_by_peek_and_counted)
{
	struct migrate_fast_counters counters = {};

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 1));
	mf_harvest(&self->vm);
	EXPECT_LE(1, self->vm.carried);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_COUNTERS, &counters));
	EXPECT_EQ(self->vm.carried, counters.carried);
	mf_peek(&self->vm);
	EXPECT_LE(1, self->vm.dirty);
	ASSERT_EQ(0, finish(self));
}

/* Others write beside it: they are reported once, as ever. */
TEST_F(carry, does_not_spread)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 1));
	memset(mf_page(&self->vm, 512), 1, 5 * MF_PAGE);
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 512, 5));
	EXPECT_TRUE(reported(&self->vm, 100, 1));
	mf_harvest(&self->vm);
	EXPECT_FALSE(reported(&self->vm, 512, 1));
	EXPECT_TRUE(reported(&self->vm, 100, 1));
	ASSERT_EQ(0, finish(self));
}

TEST_F(carry, belongs_to_its_range)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 1));
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 100, 1));
	EXPECT_STREQ("", mf_harvest_range(&self->vm, 512, 512));
	EXPECT_EQ(0, self->vm.carried);
	mf_harvest_range(&self->vm, 64, 64);
	EXPECT_TRUE(reported(&self->vm, 100, 1));
	ASSERT_EQ(0, finish(self));
}

/*
 * The read began before START. Its page was copied after START, as told, and
 * the driver wrote it later still, through no page table.
 */
TEST_F(carry, began_before_start)
{
	ASSERT_EQ(0, begin(self, 100, 4));
	ASSERT_EQ(0, mf_start(self->vm.session));
	copy(self, true);
	ASSERT_EQ(0, finish(self));
	do {
		mf_harvest(&self->vm);
		copy(self, false);
	} while (self->vm.carried);
	EXPECT_EQ(-1, mf_differs(&self->vm, self->mirror));
	EXPECT_TRUE(mf_disk_matches(&self->disk, self->mirror + 100 * MF_PAGE,
				    0, 4 * MF_PAGE));
}

TEST_F(carry, began_before_start_and_ends_late)
{
	ASSERT_EQ(0, begin(self, 100, 4));
	ASSERT_EQ(0, mf_start(self->vm.session));
	copy(self, true);
	mf_harvest(&self->vm);
	copy(self, false);
	EXPECT_LE(4, self->vm.carried);
	ASSERT_EQ(0, finish(self));
	do {
		mf_harvest(&self->vm);
		copy(self, false);
	} while (self->vm.carried);
	EXPECT_EQ(-1, mf_differs(&self->vm, self->mirror));
}

/* The mapping through which it began need not stay. */
TEST_F(carry, reader_unmaps)
{
	unsigned char *other = mf_map(self->vm.fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);
	unsigned char *map = self->vm.map;

	ASSERT_TRUE(other);
	ASSERT_EQ(0, mf_start(self->vm.session));
	self->vm.map = other;
	ASSERT_EQ(0, begin(self, 100, 2));
	munmap(other, PAGES * MF_PAGE);
	self->vm.map = map;
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 100, 2));
	EXPECT_LE(2, self->vm.carried);
	ASSERT_EQ(0, finish(self));
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 100, 2));
	EXPECT_TRUE(mf_disk_matches(&self->disk, mf_page(&self->vm, 100), 0,
				    2 * MF_PAGE));
}

/* Punched meanwhile: the driver's page is no page of the file any more. */
TEST_F(carry, punched_meanwhile)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 1));
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 100), MF_PAGE, MADV_REMOVE));
	mf_harvest(&self->vm);
	EXPECT_TRUE(reported(&self->vm, 100, 1));
	ASSERT_EQ(0, finish(self));
	mf_harvest_settled(&self->vm);
	copy(self, true);
	EXPECT_EQ(-1, mf_differs(&self->vm, self->mirror));
}

TEST_F(carry, ends_with_tracking)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, begin(self, 100, 1));
	mf_harvest(&self->vm);
	ASSERT_EQ(0, mf_stop(self->vm.session));
	ASSERT_EQ(0, finish(self));
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest_settled(&self->vm));
}

/* Nobody has these pages: a harvest that finds a carry among them is wrong. */
TEST_F(carry, none_without_dma)
{
	int round;

	ASSERT_EQ(0, mf_start(self->vm.session));
	for (round = 0; round < 20; round++) {
		memset(mf_page(&self->vm, 40 * round), round, 40 * MF_PAGE);
		mf_harvest(&self->vm);
		EXPECT_EQ(40, self->vm.dirty);
		EXPECT_EQ(0, self->vm.carried);
	}
}

TEST_HARNESS_MAIN
