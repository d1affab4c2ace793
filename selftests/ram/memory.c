// SPDX-License-Identifier: GPL-2.0
/*
 * Whose memory it is: charged to the control group that touches it, swappable,
 * and given back to the last page.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 2048UL
#define BYTES (PAGES * MF_PAGE)

FIXTURE(memory)
{
	int fd;
	unsigned char *map;
};

FIXTURE_SETUP(memory)
{
	ASSERT_EQ(0, mf_cgroup_enter());
	ASSERT_EQ(0, mf_mount("huge=never"));
	self->fd = mf_create(MF_MNT "/ram", BYTES);
	self->map = mf_map(self->fd, BYTES, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->map);
}

FIXTURE_TEARDOWN(memory)
{
	munmap(self->map, BYTES);
	close(self->fd);
	mf_umount();
	mf_swap_off();
	mf_cgroup_leave();
}

TEST_F(memory, is_charged_to_the_group)
{
	long before = mf_cgroup_stat("shmem"), after;

	ASSERT_LE(0, before);
	memset(self->map, 1, BYTES);
	after = mf_cgroup_stat("shmem");
	EXPECT_LE(before + BYTES * 9 / 10, after);
	EXPECT_GE(before + BYTES * 11 / 10, after);
	ASSERT_EQ(0, ftruncate(self->fd, 0));
	EXPECT_GE(before + BYTES / 10, mf_cgroup_stat("shmem"));
}

TEST_F(memory, of_write_is_charged_too)
{
	long before = mf_cgroup_stat("shmem");
	char *data = malloc(BYTES);

	memset(data, 1, BYTES);
	ASSERT_EQ(BYTES, pwrite(self->fd, data, BYTES, 0));
	EXPECT_LE(before + BYTES * 9 / 10, mf_cgroup_stat("shmem"));
	free(data);
}

TEST_F(memory, goes_to_swap_and_comes_back)
{
	size_t i;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	for (i = 0; i < PAGES; i++)
		*(__u64 *)(self->map + i * MF_PAGE + 8) = i * 77 + 1;
	EXPECT_EQ(PAGES, mf_swap_out(self->map, BYTES));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(i * 77 + 1, *(__u64 *)(self->map + i * MF_PAGE + 8));
}

TEST_F(memory, in_swap_is_read_by_read)
{
	__u64 word;
	size_t i;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	for (i = 0; i < 100; i++)
		*(__u64 *)(self->map + i * MF_PAGE) = i + 1;
	EXPECT_EQ(100, mf_swap_out(self->map, 100 * MF_PAGE));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(8, pread(self->fd, &word, 8, i * MF_PAGE));
		ASSERT_EQ(i + 1, word);
	}
}

TEST_F(memory, in_swap_is_still_allocated)
{
	struct stat st;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	memset(self->map, 1, 100 * MF_PAGE);
	EXPECT_EQ(100, mf_swap_out(self->map, 100 * MF_PAGE));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(100 * 8, st.st_blocks);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(100 * MF_PAGE, lseek(self->fd, 0, SEEK_HOLE));
}

static long available_kb(void)
{
	char line[128];
	long kb = -1;
	FILE *file = fopen("/proc/meminfo", "r");

	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "MemAvailable: %ld", &kb) == 1)
			break;
	}
	fclose(file);
	return kb;
}

/* Much more than there is goes through, so what is not given back shows. */
TEST_F(memory, comes_back)
{
	struct migrate_fast_add add;
	long before, after;
	int i, session;

	for (i = 0; i < 60; i++) {
		if (i == 10)
			before = available_kb();
		session = mf_session();
		ASSERT_LE(0, session);
		ASSERT_EQ(0, mf_add(session, self->fd, &add));
		ASSERT_EQ(0, mf_start(session));
		memset(self->map, i, BYTES);
		close(session);
		munmap(self->map, BYTES);
		close(self->fd);
		ASSERT_EQ(0, unlink(MF_MNT "/ram"));
		self->fd = mf_create(MF_MNT "/ram", BYTES);
		self->map = mf_map(self->fd, BYTES, PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, self->map);
	}
	after = available_kb();
	/* 50 files of 8 MB went by; other programs of the host come and go. */
	EXPECT_LE(before - 100 * 1024, after);
}

TEST_HARNESS_MAIN
