// SPDX-License-Identifier: GPL-2.0
/*
 * What processes do with their mappings hides no write: page tables come and
 * go, dirty bits of page table entries with them, ours stay.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "fixture.h"

TEST_F(track, exiting_writer)
{
	pid_t pid = fork();

	if (!pid) {
		memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
		_exit(0);
	}
	EXPECT_EQ(0, mf_wait(pid));
	EXPECT_STREQ("100-104", mf_harvest(&self->vm));
}

TEST_F(track, killed_writer)
{
	pid_t pid = fork();

	if (!pid) {
		memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
		kill(getpid(), SIGKILL);
	}
	EXPECT_EQ(-EINTR, mf_wait(pid));
	EXPECT_STREQ("100-104", mf_harvest(&self->vm));
}

TEST_F(track, exec)
{
	pid_t pid = fork();

	if (!pid) {
		memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
		execl("/bin/true", "true", NULL);
		_exit(1);
	}
	EXPECT_EQ(0, mf_wait(pid));
	EXPECT_STREQ("100-104", mf_harvest(&self->vm));
}

TEST_F(track, munmap)
{
	unsigned char *other = mf_map(self->vm.fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);

	ASSERT_TRUE(other);
	memset(other + 100 * MF_PAGE, 1, 5 * MF_PAGE);
	EXPECT_EQ(0, munmap(other, PAGES * MF_PAGE));
	EXPECT_STREQ("100-104", mf_harvest(&self->vm));
}

TEST_F(track, madvise_dontneed)
{
	memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
	EXPECT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_DONTNEED));
	EXPECT_STREQ("100-104", mf_harvest(&self->vm));
	EXPECT_EQ(1, mf_page(&self->vm, 102)[5]);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 102)[5] = 2;
	EXPECT_STREQ("102", mf_harvest(&self->vm));
}

/*
 * From 6.17 on the kernel can make clean entries writable beside dirty ones when
 * a mapping becomes writable: there all its pages count as written, once.
 */
static const char *made_writable(const char *pages)
{
	return mf_kernel() >= 6017 ? "0-1023" : pages;
}

/* Making a mapping writable again must not make its pages writable. */
TEST_F(track, mprotect)
{
	size_t bytes = PAGES * MF_PAGE;
	int i;

	for (i = 0; i < 2; i++) {
		memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
		EXPECT_EQ(0, mprotect(self->vm.map, bytes, PROT_READ));
		EXPECT_STREQ("100-104", mf_harvest(&self->vm));
		EXPECT_EQ(0, mprotect(self->vm.map, bytes,
				      PROT_READ | PROT_WRITE));
		EXPECT_STREQ(made_writable(""), mf_harvest(&self->vm));
		mf_page(&self->vm, 102)[0] = 1;
		EXPECT_STREQ("102", mf_harvest(&self->vm));
		EXPECT_EQ(0, mprotect(self->vm.map, bytes, PROT_NONE));
		EXPECT_EQ(0, mprotect(self->vm.map, bytes,
				      PROT_READ | PROT_WRITE));
		mf_page(&self->vm, 102)[0] = 1;
		EXPECT_STREQ(made_writable("102"), mf_harvest(&self->vm));
	}
}

/* Written, made read-only and writable with no harvest between. */
TEST_F(track, mprotect_keeps_dirty)
{
	size_t bytes = PAGES * MF_PAGE;

	memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
	EXPECT_EQ(0, mprotect(self->vm.map, bytes, PROT_READ));
	EXPECT_EQ(0, mprotect(self->vm.map, bytes, PROT_READ | PROT_WRITE));
	mf_page(&self->vm, 104)[0] = 2;
	mf_page(&self->vm, 105)[0] = 2;
	EXPECT_STREQ(made_writable("100-105"), mf_harvest(&self->vm));
	mf_page(&self->vm, 104)[0] = 3;
	EXPECT_STREQ("104", mf_harvest(&self->vm));
}

TEST_F(track, mremap)
{
	unsigned char *other = mf_map(self->vm.fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);
	unsigned char *moved;

	ASSERT_TRUE(other);
	other[100 * MF_PAGE] = 1;
	other[600 * MF_PAGE] = 1;
	moved = mmap(NULL, PAGES * MF_PAGE, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	moved = mremap(other, PAGES * MF_PAGE, PAGES * MF_PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	ASSERT_NE(MAP_FAILED, moved);
	moved[101 * MF_PAGE] = 1;
	EXPECT_STREQ("100-101,600", mf_harvest(&self->vm));
	moved[100 * MF_PAGE] = 1;
	EXPECT_STREQ("100", mf_harvest(&self->vm));
}

/* A page table that is moved as a whole takes its entries along as they are. */
TEST_F(track, mremap_after_harvest)
{
	unsigned char *other = mf_map(self->vm.fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);
	unsigned char *room, *moved;

	ASSERT_TRUE(other);
	memset(other, 1, PAGES * MF_PAGE);
	EXPECT_STREQ("0-1023", mf_harvest(&self->vm));
	room = mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ);
	ASSERT_TRUE(room);
	moved = mremap(other, PAGES * MF_PAGE, PAGES * MF_PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, room);
	ASSERT_EQ(room, moved);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	moved[100 * MF_PAGE] = 1;
	EXPECT_STREQ("100", mf_harvest(&self->vm));
}

TEST_F(track, mremap_duplicates)
{
	unsigned char *twin = mremap(self->vm.map, 0, PAGES * MF_PAGE,
				     MREMAP_MAYMOVE);

	/* Nor does a mapping grow there while it is tracked: kmod/collapse.c. */
	if (mf_kernel() >= 6017) {
		EXPECT_EQ(MAP_FAILED, twin);
		EXPECT_EQ(EFAULT, errno);
		return;
	}
	ASSERT_NE(MAP_FAILED, twin);
	twin[100 * MF_PAGE] = 1;
	mf_page(&self->vm, 101)[0] = 1;
	EXPECT_STREQ("100-101", mf_harvest(&self->vm));
	twin[101 * MF_PAGE] = 1;
	mf_page(&self->vm, 100)[0] = 1;
	EXPECT_STREQ("100-101", mf_harvest(&self->vm));
}

/* The kernel makes the new mapping by itself, from the file of the old one. */
TEST_F(track, remap_file_pages)
{
	unsigned char *map = mmap(NULL, 4 * MF_PAGE, PROT_READ | PROT_WRITE,
				  MAP_SHARED, self->vm.fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	if (remap_file_pages(map, 4 * MF_PAGE, 0, 100, 0)) {
		/* To refuse it would be as good. */
		TH_LOG("refused: %s", strerror(errno));
		return;
	}
	map[0] = 1;
	EXPECT_STREQ("100", mf_harvest(&self->vm));
	map[0] = 2;
	map[MF_PAGE] = 2;
	EXPECT_STREQ("100-101", mf_harvest(&self->vm));
}

/* fork(2) copies entries; neither copy may be writable after a harvest. */
TEST_F(track, fork_with_dirty_pages)
{
	int command[2], answer[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(command));
	ASSERT_EQ(0, pipe(answer));
	memset(mf_page(&self->vm, 100), 1, 5 * MF_PAGE);
	pid = fork();
	if (!pid) {
		close(command[1]);
		mf_page(&self->vm, 104)[0] = 2;
		mf_page(&self->vm, 105)[0] = 2;
		while (write(answer[1], &byte, 1) == 1 &&
		       read(command[0], &byte, 1) == 1)
			mf_page(&self->vm, 101)[0]++;
		_exit(0);
	}
	close(command[0]);
	ASSERT_EQ(1, read(answer[0], &byte, 1));
	EXPECT_STREQ("100-105", mf_harvest(&self->vm));
	ASSERT_EQ(1, write(command[1], &byte, 1));
	ASSERT_EQ(1, read(answer[0], &byte, 1));
	EXPECT_STREQ("101", mf_harvest(&self->vm));
	mf_page(&self->vm, 101)[0]++;
	EXPECT_STREQ("101", mf_harvest(&self->vm));
	close(command[1]);
	EXPECT_EQ(0, mf_wait(pid));
}

/* A part of the mapping gets other rights: the mapping is split there. */
TEST_F(track, split_mapping)
{
	EXPECT_EQ(0, mprotect(mf_page(&self->vm, 100), 8 * MF_PAGE, PROT_READ));
	memset(mf_page(&self->vm, 90), 1, 10 * MF_PAGE);
	memset(mf_page(&self->vm, 108), 1, 10 * MF_PAGE);
	EXPECT_STREQ("90-99,108-117", mf_harvest(&self->vm));
	EXPECT_EQ(0, munmap(mf_page(&self->vm, 100), 8 * MF_PAGE));
	memset(mf_page(&self->vm, 90), 1, 10 * MF_PAGE);
	EXPECT_STREQ("90-99", mf_harvest(&self->vm));
}

/* Stores of a mapping that begins after START are seen as well. */
TEST_F(track, new_mapping)
{
	unsigned char *other;
	int i;

	memset(self->vm.map, 1, PAGES * MF_PAGE);
	EXPECT_STREQ("0-1023", mf_harvest(&self->vm));
	for (i = 0; i < 2; i++) {
		other = mf_map(self->vm.fd, PAGES * MF_PAGE,
			       PROT_READ | PROT_WRITE);
		ASSERT_TRUE(other);
		other[100 * MF_PAGE] = 1;
		EXPECT_STREQ("100", mf_harvest(&self->vm));
		other[100 * MF_PAGE] = 1;
		EXPECT_STREQ("100", mf_harvest(&self->vm));
	}
}

/* Memory cannot be made writable behind our back through the descriptor. */
TEST_F(track, read_only_descriptor)
{
	int fd = open(self->vm.path, O_RDONLY);
	void *map;

	ASSERT_LE(0, fd);
	map = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EACCES, errno);
	map = mmap(NULL, MF_PAGE, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(-1, mprotect(map, MF_PAGE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
}

TEST_HARNESS_MAIN
