// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_PEEK: what the next harvest would say, and nothing changes.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 1000

FIXTURE(peek)
{
	struct mf_vm vm;
	__u64 bits[16];
};

FIXTURE_SETUP(peek)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, NULL));
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(peek)
{
	mf_vm_close(&self->vm);
}

static int peek(struct mf_vm *vm, struct migrate_fast_peek p)
{
	return mf_ioctl(vm->session, MIGRATE_FAST_PEEK, &p);
}

TEST_F(peek, takes_nothing)
{
	struct migrate_fast_counters counters = {};

	mf_page(&self->vm, 5)[0] = 1;
	mf_page(&self->vm, 999)[0] = 1;
	EXPECT_STREQ("5,999", mf_peek(&self->vm));
	EXPECT_STREQ("5,999", mf_peek(&self->vm));
	EXPECT_EQ(2, self->vm.dirty);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_COUNTERS, &counters));
	EXPECT_EQ(0, counters.harvests);
	EXPECT_EQ(0, counters.harvested);
	EXPECT_STREQ("5,999", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_peek(&self->vm));
}

TEST_F(peek, does_not_touch_the_harvest_bitmap)
{
	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	mf_page(&self->vm, 5)[0] = 1;
	EXPECT_STREQ("5", mf_peek(&self->vm));
	EXPECT_EQ(0, self->vm.bitmap[0]);
}

TEST_F(peek, only_counts_without_a_bitmap)
{
	struct migrate_fast_peek p = {};

	memset(self->vm.map, 1, 17 * MF_PAGE);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_PEEK, &p));
	EXPECT_EQ(17, p.dirty);
}

TEST_F(peek, range_and_the_rest_of_its_last_word)
{
	struct migrate_fast_peek p = {
		.start = 64, .pages = 70, .bitmap = (uintptr_t)self->bits,
	};

	memset(self->bits, 0xff, sizeof(self->bits));
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_PEEK, &p));
	EXPECT_EQ(70, p.dirty);
	EXPECT_EQ(~0ULL, self->bits[0]);
	EXPECT_EQ(0x3f, self->bits[1]);
	/* Beyond the range the memory is the caller's. */
	EXPECT_EQ(~0ULL, self->bits[2]);
}

TEST_F(peek, last_word_of_the_file)
{
	struct migrate_fast_peek p = {
		.start = 960, .bitmap = (uintptr_t)self->bits,
	};

	memset(self->bits, 0xff, sizeof(self->bits));
	mf_page(&self->vm, 961)[0] = 1;
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_PEEK, &p));
	EXPECT_EQ(1, p.dirty);
	EXPECT_EQ(2, self->bits[0]);
	EXPECT_EQ(~0ULL, self->bits[1]);
}

TEST_F(peek, errors_of_the_range)
{
	EXPECT_EQ(-ENOENT, peek(&self->vm, (struct migrate_fast_peek){
		.ram = 1 }));
	EXPECT_EQ(-EINVAL, peek(&self->vm, (struct migrate_fast_peek){
		.start = 1 }));
	EXPECT_EQ(-EINVAL, peek(&self->vm, (struct migrate_fast_peek){
		.pages = PAGES + 1 }));
	EXPECT_EQ(-EINVAL, peek(&self->vm, (struct migrate_fast_peek){
		.start = 1024 }));
	EXPECT_EQ(-EINVAL, peek(&self->vm, (struct migrate_fast_peek){
		.start = 64, .pages = -64ULL }));
}

TEST_F(peek, errors_of_the_bitmap)
{
	EXPECT_EQ(-EINVAL, peek(&self->vm, (struct migrate_fast_peek){
		.bitmap = (uintptr_t)self->bits + 4 }));
	EXPECT_EQ(-EFAULT, peek(&self->vm, (struct migrate_fast_peek){
		.bitmap = 8 }));
	EXPECT_EQ(-EFAULT, peek(&self->vm, (struct migrate_fast_peek){
		.bitmap = 1ULL << 63 }));
}

TEST_F(peek, enodata)
{
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(-ENODATA, peek(&self->vm, (struct migrate_fast_peek){}));
}

TEST_HARNESS_MAIN
