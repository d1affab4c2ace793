// SPDX-License-Identifier: GPL-2.0
/*
 * huge=: what each value gives to mappings, as on tmpfs.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define BYTES	(4 * MF_HUGE * MF_PAGE)
#define KB	((long)(BYTES / 1024))

FIXTURE(huge)
{
	int fd;
	unsigned char *map;
};

FIXTURE_SETUP(huge)
{
	self->fd = -1;
	self->map = NULL;
}

FIXTURE_TEARDOWN(huge)
{
	if (self->map)
		munmap(self->map, BYTES);
	close(self->fd);
	mf_umount();
}

static int prepare(struct _test_data_huge *self, const char *options)
{
	int rc = mf_mount(options);

	if (rc)
		return rc;
	self->fd = mf_create(MF_MNT "/ram", BYTES);
	self->map = mf_map(self->fd, BYTES, PROT_READ | PROT_WRITE);
	return self->map ? 0 : -errno;
}

static long mapped(struct _test_data_huge *self)
{
	return mf_smaps(self->map, "ShmemPmdMapped");
}

TEST_F(huge, never)
{
	ASSERT_EQ(0, prepare(self, "huge=never"));
	memset(self->map, 1, BYTES);
	EXPECT_EQ(0, mapped(self));
}

TEST_F(huge, always)
{
	ASSERT_EQ(0, prepare(self, "huge=always"));
	memset(self->map, 1, BYTES);
	EXPECT_EQ(KB, mapped(self));
}

TEST_F(huge, always_by_reading)
{
	size_t i;

	ASSERT_EQ(0, prepare(self, "huge=always"));
	for (i = 0; i < BYTES; i += MF_PAGE)
		EXPECT_EQ(0, __atomic_load_n(self->map + i, __ATOMIC_RELAXED));
	EXPECT_EQ(KB, mapped(self));
	/* And then written. */
	memset(self->map, 1, BYTES);
	EXPECT_EQ(KB, mapped(self));
}

TEST_F(huge, always_by_write)
{
	unsigned char *data = calloc(1, BYTES);

	ASSERT_EQ(0, prepare(self, "huge=always"));
	ASSERT_EQ(BYTES, pwrite(self->fd, data, BYTES, 0));
	memset(self->map, 1, BYTES);
	EXPECT_EQ(KB, mapped(self));
	free(data);
}

TEST_F(huge, advise)
{
	ASSERT_EQ(0, prepare(self, "huge=advise"));
	ASSERT_EQ(0, madvise(self->map + BYTES / 2, BYTES / 2, MADV_HUGEPAGE));
	memset(self->map, 1, BYTES);
	EXPECT_EQ(0, mapped(self));
	EXPECT_EQ(KB / 2, mf_smaps(self->map + BYTES / 2, "ShmemPmdMapped"));
}

TEST_F(huge, nohugepage)
{
	ASSERT_EQ(0, prepare(self, "huge=always"));
	ASSERT_EQ(0, madvise(self->map, BYTES, MADV_NOHUGEPAGE));
	memset(self->map, 1, BYTES);
	EXPECT_EQ(0, mapped(self));
}

/* Two mappings of one file, each with large entries. */
TEST_F(huge, second_mapping)
{
	unsigned char *other;

	ASSERT_EQ(0, prepare(self, "huge=always"));
	memset(self->map, 1, BYTES);
	other = mf_map(self->fd, BYTES, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, other);
	memset(other, 2, BYTES);
	EXPECT_EQ(KB, mf_smaps(other, "ShmemPmdMapped"));
	EXPECT_EQ(KB, mapped(self));
	EXPECT_EQ(2, self->map[12345]);
	munmap(other, BYTES);
}

/* An address of the kernel's choice, as QEMU's align=2M would ask for it. */
TEST_F(huge, mapping_without_an_address)
{
	unsigned char *other;

	ASSERT_EQ(0, prepare(self, "huge=always"));
	other = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd,
		     0);
	ASSERT_NE(MAP_FAILED, other);
	memset(other, 1, BYTES);
	EXPECT_EQ(1, self->map[0]);
	munmap(other, BYTES);
}

TEST_F(huge, mremap)
{
	unsigned char *moved;

	ASSERT_EQ(0, prepare(self, "huge=always"));
	memset(self->map, 1, BYTES);
	moved = mremap(self->map, BYTES, BYTES, MREMAP_MAYMOVE | MREMAP_FIXED,
		       self->map + 16 * BYTES);
	ASSERT_NE(MAP_FAILED, moved);
	self->map = moved;
	EXPECT_EQ(1, moved[BYTES - 1]);
	EXPECT_EQ(KB, mapped(self));
	/* Where the kernel likes: this asks the file for a place. */
	moved = mremap(self->map, BYTES / 2, BYTES, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(1, moved[BYTES - 1]);
	munmap(moved, BYTES);
}

TEST_HARNESS_MAIN
