// SPDX-License-Identifier: GPL-2.0
/*
 * Who throws an absent page away need not wait for it: it is a hole then, and
 * no fill brings it back. Who throws away a part must wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "fixture.h"

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int sees_zeroes(struct mf_vm *vm, size_t page)
{
	return is_zero(mf_page(vm, page)) ? 0 : MF_WRONG;
}

static int reads_zeroes(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	ssize_t n = pread(vm->fd, bytes, MF_PAGE, page * MF_PAGE);

	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	return is_zero(bytes) ? 0 : MF_WRONG;
}

/* Two wait, the pages are discarded, and both go on and see a hole. */
#define DISCARDS(_list, _discard) do {					\
	pid_t _reader, _mapper;						\
									\
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));			\
	_reader = mf_touch_start(&self->vm, reads_zeroes, 530);		\
	_mapper = mf_touch_start(&self->vm, sees_zeroes, 531);		\
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));			\
	EXPECT_TRUE(mf_touch_waits(_reader));				\
	EXPECT_TRUE(mf_touch_waits(_mapper));				\
	EXPECT_EQ(0, _discard);						\
	EXPECT_STREQ(_list, mf_absent(&self->vm));			\
	EXPECT_EQ(0, mf_touch_end(_reader));				\
	EXPECT_EQ(0, mf_touch_end(_mapper));				\
	EXPECT_EQ(0, mf_absent_state(&self->vm).waiting);		\
	/* The fill comes late. */					\
	EXPECT_EQ(0, mf_fill(&self->vm, 530, 2, 2));			\
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 530)));			\
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 531)));			\
} while (0)

TEST_F(fill, punch_wakes_who_waits)
{
	DISCARDS("512-519,540-575", fallocate(self->vm.fd, PUNCH, 520 * MF_PAGE,
					      20 * MF_PAGE));
	EXPECT_EQ(44, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_VERSION(2, 519);
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 520)));
	EXPECT_VERSION(2, 540);
}

TEST_F(fill, madvise_remove_wakes_who_waits)
{
	DISCARDS("512-529,532-575", madvise(mf_page(&self->vm, 530),
					    2 * MF_PAGE, MADV_REMOVE));
}

TEST_F(fill, all_can_be_discarded)
{
	DISCARDS("", fallocate(self->vm.fd, PUNCH, 0, PAGES * MF_PAGE));
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
	mf_page(&self->vm, 530)[0] = 1;
	EXPECT_EQ(1, mf_page(&self->vm, 530)[0]);
}

/* Present ones and absent ones, and beyond the end of the file. */
TEST_F(fill, punch_across)
{
	DISCARDS("512-527", fallocate(self->vm.fd, PUNCH, 528 * MF_PAGE,
				      2 * PAGES * MF_PAGE));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 1000)));
	EXPECT_VERSION(1, 511);
}

static loff_t punch_from, punch_bytes;

static int punches(struct mf_vm *vm, size_t page)
{
	return fallocate(vm->fd, PUNCH, punch_from, punch_bytes) ? errno : 0;
}

/* The rest of the page is to come yet. */
TEST_F(fill, a_part_waits)
{
	struct migrate_fast_fault fault;
	unsigned char want[MF_PAGE];
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	punch_from = 520 * MF_PAGE + 100;
	punch_bytes = 50;
	pid = mf_touch_start(&self->vm, punches, 0);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_EQ(520, fault.page);
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	mf_stamp(want, 520, 1, 2);
	memset(want + 100, 0, 50);
	EXPECT_EQ(0, memcmp(want, mf_page(&self->vm, 520), MF_PAGE));
}

/* Whole ones in the middle, a part at both ends. */
TEST_F(fill, parts_at_both_ends_wait)
{
	unsigned char want[MF_PAGE];
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	punch_from = 521 * MF_PAGE - 8;
	punch_bytes = 3 * MF_PAGE + 16;
	pid = mf_touch_start(&self->vm, punches, 0);
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 524, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_STREQ("512-519,525-575", mf_absent(&self->vm));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 522)));
	EXPECT_EQ((long)MF_PAGE - 8,
		  mf_stamp_differs(mf_page(&self->vm, 520), 520, 2));
	mf_stamp(want, 524, 1, 2);
	memset(want, 0, 8);
	EXPECT_EQ(0, memcmp(want, mf_page(&self->vm, 524), MF_PAGE));
}

/* It waits for nobody but itself: others come and go. */
TEST_F(fill, who_waits_for_a_part_blocks_nobody)
{
	pid_t pid;
	char byte;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	punch_from = 520 * MF_PAGE + 100;
	punch_bytes = 50;
	pid = mf_touch_start(&self->vm, punches, 0);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	EXPECT_EQ(1, pread(self->vm.fd, &byte, 1, 0));
	EXPECT_EQ(1, pwrite(self->vm.fd, &byte, 1, 0));
	EXPECT_EQ(0, fallocate(self->vm.fd, PUNCH, 530 * MF_PAGE, MF_PAGE));
	EXPECT_EQ(1, mf_fill(&self->vm, 531, 1, 2));
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, mf_touch_end(pid));
	EXPECT_STREQ("512-529,532-575", mf_absent(&self->vm));
}

/* Pages that are cut off are discarded; who waits for them has lost them. */
TEST_F(fill, truncate_wakes_who_waits)
{
	pid_t reader, mapper;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	reader = mf_touch_start(&self->vm, reads_zeroes, 530);
	mapper = mf_touch_start(&self->vm, sees_zeroes, 531);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));
	ASSERT_EQ(0, ftruncate(self->vm.fd, 520 * MF_PAGE));
	EXPECT_EQ(ENODATA, mf_touch_end(reader));
	EXPECT_EQ(-SIGBUS, mf_touch_end(mapper));
	EXPECT_EQ(8, mf_absent_state(&self->vm).absent);
	/* What grows is new. */
	ASSERT_EQ(0, ftruncate(self->vm.fd, PAGES * MF_PAGE));
	EXPECT_STREQ("512-519", mf_absent(&self->vm));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 520)));
	EXPECT_EQ(8, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 530)));
	EXPECT_VERSION(2, 519);
}

/* The system call has locked the file by then, so it cannot wait. */
TEST_F(fill, truncate_in_an_absent_page_is_busy)
{
	unsigned char bytes[MF_PAGE], want[MF_PAGE];

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(-1, ftruncate(self->vm.fd, 520 * MF_PAGE + 1000));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_STREQ("512-575", mf_absent(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, ftruncate(self->vm.fd, 520 * MF_PAGE + 1000));
	EXPECT_EQ(8, mf_absent_state(&self->vm).absent);
	EXPECT_EQ(1000, pread(self->vm.fd, bytes, MF_PAGE, 520 * MF_PAGE));
	mf_stamp(want, 520, 1, 2);
	EXPECT_EQ(0, memcmp(want, bytes, 1000));
}

TEST_F(fill, open_with_truncation_discards_all)
{
	pid_t pid;
	int fd;

	ASSERT_EQ(PAGES, mf_demand(&self->vm, 0, PAGES));
	pid = mf_touch_start(&self->vm, sees_zeroes, 5);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	fd = open(self->vm.path, O_RDWR | O_TRUNC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-SIGBUS, mf_touch_end(pid));
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
	close(fd);
}

/* A name is not the file: it is served until nobody uses it. */
TEST_F(fill, unlink_discards_nothing)
{
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = mf_touch_start(&self->vm, mf_touch_load, 520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	ASSERT_EQ(0, unlink(self->vm.path));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_HARNESS_MAIN
