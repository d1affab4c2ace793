// SPDX-License-Identifier: GPL-2.0
/*
 * O_DIRECT reads into the mapping: a driver writes the pages, no processor of
 * the reader does. Whole and part pages, synchronous and not.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_disk.h"
#include "mf_fixture.h"

#include <sys/mman.h>

#define PAGES 1024UL

FIXTURE(direct)
{
	struct mf_vm vm;
	struct mf_disk disk;
};

MF_SMALL_AND_HUGE(direct);

FIXTURE_SETUP(direct)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
	memset(self->vm.map, 0x55, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_disk_open(&self->disk, 64 << 20));
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(direct)
{
	mf_disk_close(&self->disk);
	mf_vm_close(&self->vm);
}

TEST_F(direct, pread)
{
	int i;

	for (i = 0; i < 3; i++) {
		self->disk.seed = i + 7;
		ASSERT_EQ(8 * MF_PAGE, pread(self->disk.fd,
					     mf_page(&self->vm, 100),
					     8 * MF_PAGE, i * MF_PAGE));
		EXPECT_STREQ("100-107", mf_harvest_settled(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_TRUE(mf_disk_matches(&self->disk,
					    mf_page(&self->vm, 100),
					    i * MF_PAGE, 8 * MF_PAGE));
	}
}

TEST_F(direct, part_of_a_page)
{
	ASSERT_EQ(1024, pread(self->disk.fd, mf_page(&self->vm, 601) - 512,
			      1024, 0));
	EXPECT_STREQ("600-601", mf_harvest_settled(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(0x55, mf_page(&self->vm, 601)[512]);
}

TEST_F(direct, preadv)
{
	struct iovec iov[] = {
		{ mf_page(&self->vm, 5), MF_PAGE },
		{ mf_page(&self->vm, 900), 2 * MF_PAGE },
	};

	ASSERT_EQ(3 * MF_PAGE, preadv(self->disk.fd, iov, 2, 0));
	EXPECT_STREQ("5,900-901", mf_harvest_settled(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(direct, libaio)
{
	struct iocb iocbs[4], *list[4];
	struct io_event events[4];
	io_context_t context = 0;
	int i, round;

	ASSERT_EQ(0, io_setup(4, &context));
	for (round = 0; round < 3; round++) {
		self->disk.seed = round + 1;
		for (i = 0; i < 4; i++) {
			list[i] = iocbs + i;
			io_prep_pread(iocbs + i, self->disk.fd,
				      mf_page(&self->vm, 200 + 100 * i),
				      2 * MF_PAGE, i * MF_PAGE);
		}
		ASSERT_EQ(4, io_submit(context, 4, list));
		ASSERT_EQ(4, io_getevents(context, 4, 4, events, NULL));
		for (i = 0; i < 4; i++)
			EXPECT_EQ(2 * MF_PAGE, events[i].res);
		EXPECT_STREQ("200-201,300-301,400-401,500-501",
			     mf_harvest_settled(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_TRUE(mf_disk_matches(&self->disk,
					    mf_page(&self->vm, 300),
					    MF_PAGE, 2 * MF_PAGE));
	}
	io_destroy(context);
}

TEST_F(direct, io_uring)
{
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	int round;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	for (round = 0; round < 3; round++) {
		self->disk.seed = round + 1;
		io_uring_prep_read(io_uring_get_sqe(&ring), self->disk.fd,
				   mf_page(&self->vm, 50), 3 * MF_PAGE, 0);
		ASSERT_EQ(1, io_uring_submit(&ring));
		ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
		EXPECT_EQ(3 * MF_PAGE, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
		EXPECT_STREQ("50-52", mf_harvest_settled(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
		EXPECT_TRUE(mf_disk_matches(&self->disk,
					    mf_page(&self->vm, 50), 0,
					    3 * MF_PAGE));
	}
	io_uring_queue_exit(&ring);
}

/* The reader may be gone when the harvest comes. */
TEST_F(direct, by_an_exited_process)
{
	pid_t pid = fork();

	if (!pid)
		_exit(pread(self->disk.fd, mf_page(&self->vm, 77), MF_PAGE,
			    0) != MF_PAGE);
	ASSERT_EQ(0, mf_wait(pid));
	EXPECT_STREQ("77", mf_harvest_settled(&self->vm));
}

/* The file itself opened with O_DIRECT: as tmpfs does, or not at all. */
TEST_F(direct, of_the_file_itself)
{
	void *page = aligned_alloc(MF_PAGE, MF_PAGE);
	int fd = open(self->vm.path, O_RDWR | O_DIRECT);

	if (fd < 0) {
		EXPECT_EQ(EINVAL, errno);
		return;
	}
	memset(page, 1, MF_PAGE);
	EXPECT_EQ(MF_PAGE, pwrite(fd, page, MF_PAGE, 9 * MF_PAGE));
	EXPECT_STREQ("9", mf_harvest_settled(&self->vm));
}

TEST_HARNESS_MAIN
