// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_ADD: which files may enter a session.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

FIXTURE(add)
{
	int session;
	struct migrate_fast_add add;
};

FIXTURE_SETUP(add)
{
	ASSERT_EQ(0, mf_mount(NULL));
	self->session = mf_session();
	ASSERT_LE(0, self->session);
}

FIXTURE_TEARDOWN(add)
{
	close(self->session);
	mf_umount();
}

static int fresh(size_t bytes)
{
	static int n;
	char path[64];

	snprintf(path, sizeof(path), MF_MNT "/file%d", n++);
	return mf_create(path, bytes);
}

TEST_F(add, answers)
{
	__u64 offset;
	int fd = fresh(100 * MF_PAGE);

	ASSERT_EQ(0, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(0, self->add.ram);
	EXPECT_EQ(100, self->add.pages);
	EXPECT_EQ(0, self->add.bitmap_offset % MF_PAGE);
	EXPECT_EQ(0, self->add.bitmap_bytes % MF_PAGE);
	EXPECT_LE(100 / 8 + 1, self->add.bitmap_bytes);
	offset = self->add.bitmap_offset;

	fd = fresh(40000 * MF_PAGE);
	ASSERT_EQ(0, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(1, self->add.ram);
	EXPECT_EQ(40000, self->add.pages);
	EXPECT_NE(offset, self->add.bitmap_offset);
	EXPECT_EQ(2 * MF_PAGE, self->add.bitmap_bytes);
}

TEST_F(add, length_is_rounded_up_to_pages)
{
	ASSERT_EQ(0, mf_add(self->session, fresh(MF_PAGE + 1), &self->add));
	EXPECT_EQ(2, self->add.pages);
	ASSERT_EQ(0, mf_add(self->session, fresh(1), &self->add));
	EXPECT_EQ(1, self->add.pages);
}

TEST_F(add, the_descriptor_may_be_closed_afterwards)
{
	struct migrate_fast_harvest h = {};
	int fd = fresh(MF_PAGE);

	ASSERT_EQ(0, mf_add(self->session, fd, &self->add));
	close(fd);
	ASSERT_EQ(0, mf_start(self->session));
	EXPECT_EQ(0, mf_ioctl(self->session, MIGRATE_FAST_HARVEST, &h));
}

TEST_F(add, ebadf)
{
	int path = open(MF_MNT, O_PATH);

	EXPECT_EQ(-EBADF, mf_add(self->session, -1, &self->add));
	EXPECT_EQ(-EBADF, mf_add(self->session, 999, &self->add));
	EXPECT_EQ(-EBADF, mf_add(self->session, path, &self->add));
}

TEST_F(add, emediumtype)
{
	int memfd = memfd_create("ram", 0);
	int null = open("/dev/null", O_RDWR);
	int pipes[2];

	ASSERT_EQ(0, ftruncate(memfd, MF_PAGE));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EMEDIUMTYPE, mf_add(self->session, memfd, &self->add));
	EXPECT_EQ(-EMEDIUMTYPE, mf_add(self->session, null, &self->add));
	EXPECT_EQ(-EMEDIUMTYPE, mf_add(self->session, pipes[1], &self->add));
	EXPECT_EQ(-EMEDIUMTYPE,
		  mf_add(self->session, self->session, &self->add));
}

/* A directory of the right filesystem has no pages either. */
TEST_F(add, directory_is_emediumtype)
{
	int fd = open(MF_MNT, O_RDONLY | O_DIRECTORY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EMEDIUMTYPE, mf_add(self->session, fd, &self->add));
}

TEST_F(add, eacces)
{
	int fd;

	close(fresh(MF_PAGE));
	fd = open(MF_MNT "/file0", O_RDONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, mf_add(self->session, fd, &self->add));
	fd = open(MF_MNT "/file0", O_WRONLY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, mf_add(self->session, fd, &self->add));
	fd = open(MF_MNT "/file0", O_RDWR);
	EXPECT_EQ(0, mf_add(self->session, fd, &self->add));
}

TEST_F(add, eexist_by_any_descriptor)
{
	int other, fd = fresh(MF_PAGE);

	ASSERT_EQ(0, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(-EEXIST, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(-EEXIST, mf_add(self->session, dup(fd), &self->add));
	other = open(MF_MNT "/file0", O_RDWR);
	ASSERT_LE(0, other);
	EXPECT_EQ(-EEXIST, mf_add(self->session, other, &self->add));
}

TEST_F(add, one_file_in_two_sessions)
{
	int other = mf_session(), fd = fresh(MF_PAGE);

	EXPECT_EQ(0, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(0, mf_add(other, fd, &self->add));
}

TEST_F(add, enospc)
{
	int i;

	for (i = 0; i < MIGRATE_FAST_MAX_RAM; i++) {
		ASSERT_EQ(0, mf_add(self->session, fresh(MF_PAGE), &self->add));
		ASSERT_EQ(i, self->add.ram);
	}
	EXPECT_EQ(-ENOSPC, mf_add(self->session, fresh(MF_PAGE), &self->add));
}

TEST_F(add, empty_file_is_einval)
{
	EXPECT_EQ(-EINVAL, mf_add(self->session, fresh(0), &self->add));
}

TEST_F(add, efbig)
{
	int fd = fresh(MIGRATE_FAST_MAX_PAGES * MF_PAGE + 1);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EFBIG, mf_add(self->session, fd, &self->add));
}

TEST_F(add, a_refused_file_takes_no_number)
{
	EXPECT_EQ(-EINVAL, mf_add(self->session, fresh(0), &self->add));
	ASSERT_EQ(0, mf_add(self->session, fresh(MF_PAGE), &self->add));
	EXPECT_EQ(0, self->add.ram);
}

TEST_F(add, mount_is_busy_until_the_session_ends)
{
	int fd = fresh(MF_PAGE);

	ASSERT_EQ(0, mf_add(self->session, fd, &self->add));
	close(fd);
	EXPECT_EQ(-EBUSY, mf_umount());
	close(self->session);
	EXPECT_EQ(0, mf_umount());
}

TEST_F(add, unlinked_file)
{
	int fd = fresh(10 * MF_PAGE);

	ASSERT_EQ(0, unlink(MF_MNT "/file0"));
	EXPECT_EQ(0, mf_add(self->session, fd, &self->add));
	EXPECT_EQ(0, mf_start(self->session));
}

TEST_HARNESS_MAIN
