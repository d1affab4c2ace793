// SPDX-License-Identifier: GPL-2.0
/*
 * Each error of DEMAND, FILL, ABSENT, ABORT and of reading faults. What holds
 * for every ioctl is in session/every.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_fill.h"

#include <sys/mman.h>

/* Not a multiple of 64. */
#define PAGES 200UL

FIXTURE(errors)
{
	struct mf_vm vm;
	__u64 bits[4];
	unsigned char *bytes;
};

FIXTURE_SETUP(errors)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
	mf_stamp(self->vm.map, 0, PAGES, 1);
	self->bytes = mmap(NULL, PAGES * MF_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->bytes);
}

FIXTURE_TEARDOWN(errors)
{
	munmap(self->bytes, PAGES * MF_PAGE);
	mf_vm_close(&self->vm);
}

#define DEMAND(_want, ...) do {						\
	struct migrate_fast_demand _arg = { __VA_ARGS__ };		\
									\
	EXPECT_EQ(_want, mf_ioctl(self->vm.session,			\
				  MIGRATE_FAST_DEMAND, &_arg));		\
} while (0)

#define FILL(_want, ...) do {						\
	struct migrate_fast_fill _arg = { __VA_ARGS__ };		\
									\
	EXPECT_EQ(_want, mf_ioctl(self->vm.session,			\
				  MIGRATE_FAST_FILL, &_arg));		\
} while (0)

#define ABSENT(_want, ...) do {						\
	struct migrate_fast_absent _arg = { __VA_ARGS__ };		\
									\
	EXPECT_EQ(_want, mf_ioctl(self->vm.session,			\
				  MIGRATE_FAST_ABSENT, &_arg));		\
} while (0)

#define ABORT(_want, ...) do {						\
	struct migrate_fast_abort _arg = { __VA_ARGS__ };		\
									\
	EXPECT_EQ(_want, mf_ioctl(self->vm.session,			\
				  MIGRATE_FAST_ABORT, &_arg));		\
} while (0)

#define BITS ((uintptr_t)self->bits)
#define BYTES ((uintptr_t)self->bytes)

TEST_F(errors, demand)
{
	DEMAND(-ENOENT, .ram = 1, .bitmap = BITS);
	DEMAND(-ENOENT, .ram = 0xffffffff, .bitmap = BITS);
	DEMAND(-EINVAL, .start = 1, .bitmap = BITS);
	DEMAND(-EINVAL, .start = 63, .pages = 1, .bitmap = BITS);
	DEMAND(-EINVAL, .bitmap = BITS + 4);
	DEMAND(-EINVAL, .pages = PAGES + 1, .bitmap = BITS);
	DEMAND(-EINVAL, .start = 256, .bitmap = BITS);
	DEMAND(-EINVAL, .start = 64, .pages = PAGES - 63, .bitmap = BITS);
	DEMAND(-EINVAL, .start = 64, .pages = ~0ULL - 63, .bitmap = BITS);
	DEMAND(-EINVAL, .start = ~0ULL << 6, .pages = 64, .bitmap = BITS);
	DEMAND(0, .start = 192, .pages = 8, .bitmap = BITS);
	DEMAND(0, .start = 192, .bitmap = BITS);
	DEMAND(0, .bitmap = 0);
	EXPECT_STREQ("", mf_absent(&self->vm));
}

/* Nothing is asked for where a file ends that has whole words of bits. */
TEST_F(errors, of_no_page)
{
	mf_vm_close(&self->vm);
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, "huge=never"));
	memset(self->bits, 0xff, sizeof(self->bits));
	DEMAND(0, .start = 128, .bitmap = BITS);
	ABSENT(0, .start = 128, .bitmap = BITS);
	EXPECT_STREQ("", mf_absent(&self->vm));
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
	ASSERT_EQ(3, mf_demand(&self->vm, 5, 3));
	DEMAND(0, .start = 128, .bitmap = BITS);
	ABSENT(0, .start = 128, .bitmap = BITS);
	EXPECT_EQ(~0ULL, self->bits[0]);
	EXPECT_STREQ("5-7", mf_absent(&self->vm));
}

TEST_F(errors, demand_with_bad_memory_marks_nothing)
{
	__u64 *bits = mmap(NULL, 2 * MF_PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, bits);
	munmap(bits + 512, MF_PAGE);
	bits[511] = ~0ULL;
	DEMAND(-EFAULT, .bitmap = (uintptr_t)(bits + 511));
	DEMAND(-EFAULT, .bitmap = 8);
	DEMAND(-EFAULT, .bitmap = ~7ULL);
	EXPECT_STREQ("", mf_absent(&self->vm));
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, 3), 3, 1));
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
}

/* Bits behind the last page are those of no page. */
TEST_F(errors, demand_ignores_bits_behind_the_range)
{
	memset(self->bits, 0xff, sizeof(self->bits));
	DEMAND(0, .start = 192, .pages = 3, .bitmap = BITS);
	EXPECT_STREQ("192-194", mf_absent(&self->vm));
	DEMAND(0, .bitmap = BITS);
	EXPECT_STREQ("0-199", mf_absent(&self->vm));
	EXPECT_EQ(PAGES, mf_fill(&self->vm, 0, PAGES, 2));
	EXPECT_STREQ("", mf_absent(&self->vm));
}

TEST_F(errors, demand_of_a_file_of_another_length)
{
	self->bits[0] = 1;
	ASSERT_EQ(0, ftruncate(self->vm.fd, (PAGES + 1) * MF_PAGE));
	DEMAND(-ESTALE, .bitmap = BITS);
	ASSERT_EQ(0, ftruncate(self->vm.fd, (PAGES - 1) * MF_PAGE));
	DEMAND(-ESTALE, .bitmap = BITS);
	ASSERT_EQ(0, ftruncate(self->vm.fd, PAGES * MF_PAGE));
	DEMAND(0, .bitmap = BITS);
	EXPECT_STREQ("0", mf_absent(&self->vm));
}

TEST_F(errors, fill)
{
	/* Nobody serves the file yet. */
	FILL(-EPERM, .start = 0, .pages = 1, .from = BYTES);
	ASSERT_EQ(PAGES, mf_demand(&self->vm, 0, PAGES));
	FILL(-ENOENT, .ram = 1, .pages = 1, .from = BYTES);
	FILL(-EINVAL, .pages = 0, .from = BYTES);
	FILL(-EINVAL, .pages = 1, .from = BYTES + 1);
	FILL(-EINVAL, .pages = 1, .from = BYTES + 2048);
	FILL(-EINVAL, .pages = PAGES + 1, .from = BYTES);
	FILL(-EINVAL, .start = PAGES, .pages = 1, .from = BYTES);
	FILL(-EINVAL, .start = 1, .pages = PAGES, .from = BYTES);
	FILL(-EINVAL, .start = 2, .pages = ~0ULL, .from = BYTES);
	FILL(-EINVAL, .start = ~0ULL, .pages = 2, .from = BYTES);
	FILL(-EINVAL, .pages = 1, .from = BYTES,
	     .flags = MIGRATE_FAST_FILL_ZERO);
	FILL(-EFAULT, .pages = 1, .from = 0);
	FILL(-EFAULT, .pages = 1, .from = ~0ULL << 12);
	EXPECT_STREQ("0-199", mf_absent(&self->vm));
	FILL(0, .start = 199, .pages = 1, .from = BYTES);
	FILL(0, .start = 198, .pages = 1, .flags = MIGRATE_FAST_FILL_ZERO);
	EXPECT_STREQ("0-197", mf_absent(&self->vm));
}

/* What could be read of the caller's memory is filled, the rest is not. */
TEST_F(errors, fill_from_memory_that_ends)
{
	struct migrate_fast_fill arg = {
		.start = 10, .pages = 8, .from = BYTES,
	};
	unsigned char *end = self->bytes + 4 * MF_PAGE;

	mf_stamp(self->bytes, 10, 4, 2);
	ASSERT_EQ(0, mprotect(end, MF_PAGE, PROT_NONE));
	ASSERT_EQ(PAGES, mf_demand(&self->vm, 0, PAGES));
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_FILL, &arg));
	EXPECT_EQ(14, arg.next);
	EXPECT_EQ(4, arg.filled);
	EXPECT_EQ(PAGES - 4, arg.absent);
	EXPECT_STREQ("0-9,14-199", mf_absent(&self->vm));
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, 13), 13, 2));
	FILL(-EFAULT, .start = 14, .pages = 4, .from = (uintptr_t)end);
}

TEST_F(errors, fill_of_a_full_mount)
{
	struct mf_vm vm;
	long rc;

	mf_vm_close(&self->vm);
	ASSERT_EQ(0, mf_vm_open(&vm, PAGES, "huge=never,size=400k"));
	ASSERT_EQ(PAGES, mf_demand(&vm, 0, PAGES));
	/* What fits is filled. */
	rc = mf_fill_from(&vm, 0, PAGES, self->bytes);
	EXPECT_EQ(-EINTR, rc);
	EXPECT_STREQ("100-199", mf_absent(&vm));
	EXPECT_EQ(-ENOSPC, mf_fill_from(&vm, 100, 1, self->bytes));
	/* A hole takes no memory. */
	EXPECT_EQ(1, mf_fill_zero(&vm, 100, 1));
	/* There is room again. */
	ASSERT_EQ(0, madvise(mf_page(&vm, 0), MF_PAGE, MADV_REMOVE));
	EXPECT_EQ(1, mf_fill_from(&vm, 101, 1, self->bytes));
	EXPECT_STREQ("102-199", mf_absent(&vm));
	mf_vm_close(&vm);
}

TEST_F(errors, absent)
{
	/* Before the first DEMAND. */
	memset(self->bits, 0xff, sizeof(self->bits));
	ABSENT(0, .bitmap = BITS);
	EXPECT_EQ(0, self->bits[0] | self->bits[1] | self->bits[2]);
	ASSERT_EQ(3, mf_demand(&self->vm, 5, 3));
	ABSENT(-ENOENT, .ram = 1, .bitmap = BITS);
	ABSENT(-EINVAL, .start = 1, .bitmap = BITS);
	ABSENT(-EINVAL, .bitmap = BITS + 1);
	ABSENT(-EINVAL, .pages = PAGES + 1);
	ABSENT(-EINVAL, .start = 256);
	ABSENT(-EINVAL, .start = 64, .pages = ~0ULL - 63);
	ABSENT(-EFAULT, .bitmap = 8);
	self->bits[0] = 0;
	self->bits[1] = 0x1234;
	ABSENT(0, .pages = 7, .bitmap = BITS);
	EXPECT_EQ(3 << 5, self->bits[0]);
	EXPECT_EQ(0x1234, self->bits[1]);
}

TEST_F(errors, abort)
{
	ABORT(-ENOENT, .ram = 1);
	ABORT(-EINVAL, .flags = 1);
	/* Nothing is absent. */
	ABORT(0, .ram = 0);
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
	ASSERT_EQ(3, mf_demand(&self->vm, 5, 3));
	EXPECT_EQ(MIGRATE_FAST_ABSENT_SERVED, mf_absent_state(&self->vm).state);
	ABORT(0, .ram = 0);
	EXPECT_TRUE(mf_absent_state(&self->vm).state &
		    MIGRATE_FAST_ABSENT_ABORTED);
	ABORT(0, .ram = 0);
	self->bits[0] = 1;
	DEMAND(-ECANCELED, .bitmap = BITS);
	DEMAND(-ECANCELED, .bitmap = 0);
	FILL(-ECANCELED, .start = 5, .pages = 1, .from = BYTES);
	FILL(-ECANCELED, .start = 5, .pages = 1,
	     .flags = MIGRATE_FAST_FILL_ZERO);
	EXPECT_STREQ("5-7", mf_absent(&self->vm));
	/* What is there stays usable. */
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, 4), 4, 1));
}

TEST_F(errors, read)
{
	struct migrate_fast_fault fault;
	int fd;

	EXPECT_EQ(-1, read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(ENODATA, errno);
	ASSERT_EQ(3, mf_demand(&self->vm, 5, 3));
	EXPECT_EQ(-1, read(self->vm.session, &fault, sizeof(fault) - 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, read(self->vm.session, &fault, 0));
	EXPECT_EQ(EINVAL, errno);
	/* One that has not even greeted. */
	fd = open(MIGRATE_FAST_DEVICE, O_RDWR);
	EXPECT_EQ(-1, read(fd, &fault, sizeof(fault)));
	EXPECT_TRUE(errno == EPROTO || errno == ENODATA);
	close(fd);
	EXPECT_EQ(3, mf_fill(&self->vm, 5, 3, 2));
	EXPECT_EQ(-1, read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(ENODATA, errno);
}

TEST_F(errors, handshake_tells_of_it)
{
	struct migrate_fast_handshake hello = {
		.abi = MIGRATE_FAST_ABI, .features = MIGRATE_FAST_FEATURE_FILL,
	};

	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_TRUE(hello.features & MIGRATE_FAST_FEATURE_FILL);
}

TEST_HARNESS_MAIN
