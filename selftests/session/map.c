// SPDX-License-Identifier: GPL-2.0
/*
 * mmap(2) of a session: the harvest bitmaps, and nothing else.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

/* Two pages of bitmap. */
#define PAGES 65536

FIXTURE(map)
{
	struct mf_vm vm;
	struct migrate_fast_add second;
};

FIXTURE_SETUP(map)
{
	int fd;

	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, NULL));
	fd = mf_create(MF_MNT "/second", 64 * MF_PAGE);
	ASSERT_EQ(0, mf_add(self->vm.session, fd, &self->second));
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(map)
{
	mf_vm_close(&self->vm);
}

static void *map(int session, size_t bytes, __u64 offset)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, session,
		    offset);
}

TEST_F(map, same_memory_each_time)
{
	__u64 *again = map(self->vm.session, self->vm.bitmap_bytes, 0);

	ASSERT_EQ(2 * MF_PAGE, self->vm.bitmap_bytes);
	ASSERT_NE(MAP_FAILED, again);
	mf_page(&self->vm, 1)[0] = 1;
	mf_page(&self->vm, PAGES - 1)[0] = 1;
	EXPECT_STREQ("1,65535", mf_harvest(&self->vm));
	EXPECT_EQ(2, again[0]);
	EXPECT_EQ(1ULL << 63, again[PAGES / 64 - 1]);
	again[0] = 0;
	EXPECT_EQ(0, self->vm.bitmap[0]);
}

TEST_F(map, each_file_has_its_own)
{
	struct migrate_fast_harvest h = { .ram = self->second.ram };
	__u64 *second = map(self->vm.session, self->second.bitmap_bytes,
			    self->second.bitmap_offset);

	ASSERT_NE(MAP_FAILED, second);
	mf_page(&self->vm, 3)[0] = 1;
	EXPECT_STREQ("3", mf_harvest(&self->vm));
	EXPECT_EQ(0, second[0]);
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(0, second[0]);
	EXPECT_EQ(8, self->vm.bitmap[0]);
}

TEST_F(map, a_part_of_it)
{
	__u64 *part = map(self->vm.session, MF_PAGE, MF_PAGE);

	ASSERT_NE(MAP_FAILED, part);
	mf_page(&self->vm, PAGES / 2)[0] = 1;
	EXPECT_STREQ("32768", mf_harvest(&self->vm));
	EXPECT_EQ(1, part[0]);
}

TEST_F(map, not_beyond_its_end)
{
	size_t bytes = self->vm.bitmap_bytes;

	EXPECT_EQ(MAP_FAILED, map(self->vm.session, bytes + MF_PAGE, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, map(self->vm.session, 2 * MF_PAGE, MF_PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, map(self->vm.session, MF_PAGE,
				  self->second.bitmap_offset + MF_PAGE));
	EXPECT_EQ(EINVAL, errno);
	/* Where no file's bitmap could be. */
	EXPECT_EQ(MAP_FAILED, map(self->vm.session, MF_PAGE, 1ULL << 62));
}

TEST_F(map, does_not_grow_by_mremap)
{
	size_t bytes = self->vm.bitmap_bytes;
	__u64 *grown;

	grown = mremap(self->vm.bitmap, bytes, bytes + MF_PAGE, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED)
		return;
	/* If it grew, then without a page of somebody else in it. */
	self->vm.bitmap = grown;
	EXPECT_EQ(-EFAULT, write(1, grown + bytes / 8, 1) < 0 ?
		  -errno : 0);
}

TEST_F(map, shared_with_children)
{
	pid_t pid;

	mf_page(&self->vm, 3)[0] = 1;
	pid = fork();
	if (!pid)
		_exit(strcmp("3", mf_harvest(&self->vm)) != 0);
	EXPECT_EQ(0, mf_wait(pid));
	EXPECT_EQ(8, self->vm.bitmap[0]);
}

/* The memory stays as long as somebody can look at it. */
TEST_F(map, outlives_the_descriptor)
{
	mf_page(&self->vm, 3)[0] = 1;
	EXPECT_STREQ("3", mf_harvest(&self->vm));
	close(self->vm.session);
	self->vm.session = -1;
	EXPECT_EQ(8, self->vm.bitmap[0]);
	self->vm.bitmap[0] = 0;
}

/* The module never believes what user space writes there. */
TEST_F(map, nonsense_in_it_is_harmless)
{
	__u64 *all = self->vm.bitmap;

	memset(all, 0xff, self->vm.bitmap_bytes);
	mf_page(&self->vm, 3)[0] = 1;
	EXPECT_STREQ("3", mf_peek(&self->vm));
	EXPECT_STREQ("3", mf_harvest(&self->vm));
	memset(all, 0xff, self->vm.bitmap_bytes);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_HARNESS_MAIN
