// SPDX-License-Identifier: GPL-2.0
/*
 * How QEMU prepares guest RAM: prealloc=on with several threads, by
 * MADV_POPULATE_WRITE or by touching, and discarding by the balloon.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES	4096UL
#define THREADS	4

FIXTURE(prealloc)
{
	int fd;
	unsigned char *map;
};

FIXTURE_VARIANT(prealloc)
{
	const char *options;
};

FIXTURE_VARIANT_ADD(prealloc, small)
{
	.options = "size=32m,huge=never",
};

FIXTURE_VARIANT_ADD(prealloc, huge)
{
	.options = "size=32m,huge=always",
};

FIXTURE_SETUP(prealloc)
{
	ASSERT_EQ(0, mf_mount(variant->options));
	self->fd = mf_create(MF_MNT "/ram", PAGES * MF_PAGE);
	self->map = mf_map(self->fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->map);
}

FIXTURE_TEARDOWN(prealloc)
{
	munmap(self->map, PAGES * MF_PAGE);
	close(self->fd);
	mf_umount();
}

struct part {
	unsigned char *map;
	bool touch;
	int rc;
};

static void *populate(void *arg)
{
	struct part *part = arg;
	size_t i, pages = PAGES / THREADS;

	if (!part->touch) {
		if (madvise(part->map, pages * MF_PAGE, MADV_POPULATE_WRITE))
			part->rc = errno;
		return NULL;
	}
	/* What is there already must not be changed by it. */
	for (i = 0; i < pages; i++)
		__atomic_fetch_or(part->map + i * MF_PAGE, 0, __ATOMIC_RELAXED);
	return NULL;
}

static int preallocate(unsigned char *map, bool touch)
{
	struct part parts[THREADS];
	pthread_t threads[THREADS];
	int i, rc = 0;

	for (i = 0; i < THREADS; i++) {
		parts[i] = (struct part){
			.map = map + i * (PAGES / THREADS) * MF_PAGE,
			.touch = touch,
		};
		pthread_create(threads + i, NULL, populate, parts + i);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		rc = rc ?: parts[i].rc;
	}
	return rc;
}

static size_t allocated(int fd)
{
	struct stat st;

	fstat(fd, &st);
	return st.st_blocks / 8;
}

TEST_F(prealloc, by_madvise)
{
	self->map[77] = 5;
	EXPECT_EQ(0, preallocate(self->map, false));
	EXPECT_EQ(PAGES, allocated(self->fd));
	EXPECT_EQ(5, self->map[77]);
	EXPECT_EQ(0, self->map[PAGES * MF_PAGE - 1]);
}

TEST_F(prealloc, by_touching)
{
	self->map[77] = 5;
	EXPECT_EQ(0, preallocate(self->map, true));
	EXPECT_EQ(PAGES, allocated(self->fd));
	EXPECT_EQ(5, self->map[77]);
}

TEST_F(prealloc, by_fallocate)
{
	EXPECT_EQ(0, posix_fallocate(self->fd, 0, PAGES * MF_PAGE));
	EXPECT_EQ(PAGES, allocated(self->fd));
	EXPECT_EQ(0, self->map[PAGES * MF_PAGE - 1]);
}

/* Where there is no room, QEMU is to hear of it before the guest does. */
TEST_F(prealloc, of_too_much)
{
	int fd = mf_create(MF_MNT "/big", 4 * PAGES * MF_PAGE);
	unsigned char *map = mf_map(fd, 4 * PAGES * MF_PAGE,
				    PROT_READ | PROT_WRITE);

	ASSERT_NE(NULL, map);
	EXPECT_EQ(-1, madvise(map, 4 * PAGES * MF_PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(EFAULT, errno);
	munmap(map, 4 * PAGES * MF_PAGE);
	close(fd);
}

/* The balloon: QEMU gives back a page by punching, and gets it by touching. */
TEST_F(prealloc, balloon)
{
	size_t i;

	memset(self->map, 5, PAGES * MF_PAGE);
	for (i = 1; i < PAGES; i += 2)
		ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, i * MF_PAGE,
				       MF_PAGE));
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(i & 1 ? 0 : 5, self->map[i * MF_PAGE]);
	for (i = 1; i < PAGES; i += 2)
		self->map[i * MF_PAGE] = 6;
	for (i = 0; i < PAGES; i++)
		ASSERT_EQ(i & 1 ? 6 : 5, self->map[i * MF_PAGE]);
	EXPECT_EQ(PAGES, allocated(self->fd));
}

/* Discarding whole large pages gives their memory back. */
TEST_F(prealloc, balloon_in_blocks)
{
	memset(self->map, 5, PAGES * MF_PAGE);
	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 512 * MF_PAGE,
			       1024 * MF_PAGE));
	EXPECT_EQ(PAGES - 1024, allocated(self->fd));
}

TEST_HARNESS_MAIN
