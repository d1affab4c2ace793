// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_COUNTERS: each counter counts its own thing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 256

FIXTURE(counters)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(counters)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
}

FIXTURE_TEARDOWN(counters)
{
	mf_vm_close(&self->vm);
}

static struct migrate_fast_counters counters(struct mf_vm *vm)
{
	struct migrate_fast_counters c = { .ram = vm->ram };
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_COUNTERS, &c);

	if (rc)
		memset(&c, 0xff, sizeof(c));
	return c;
}

TEST_F(counters, begin_at_zero)
{
	struct migrate_fast_counters zero = {}, c = counters(&self->vm);

	EXPECT_EQ(0, memcmp(&c, &zero, sizeof(c)));
}

TEST_F(counters, enoent)
{
	struct migrate_fast_counters c = { .ram = 1 };

	EXPECT_EQ(-ENOENT, mf_ioctl(self->vm.session, MIGRATE_FAST_COUNTERS, &c));
}

TEST_F(counters, tracked)
{
	EXPECT_EQ(0, counters(&self->vm).flags);
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(MIGRATE_FAST_COUNTERS_TRACKED, counters(&self->vm).flags);
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(0, counters(&self->vm).flags);
}

/* One for each first write: the second store to a page costs nothing. */
TEST_F(counters, faults)
{
	int i;

	memset(self->vm.map, 1, 10 * MF_PAGE);
	EXPECT_EQ(0, counters(&self->vm).faults);
	ASSERT_EQ(0, mf_start(self->vm.session));
	for (i = 0; i < 3; i++)
		memset(self->vm.map, i, 10 * MF_PAGE);
	EXPECT_EQ(10, counters(&self->vm).faults);
	EXPECT_STREQ("0-9", mf_harvest(&self->vm));
	self->vm.map[0] = 1;
	EXPECT_EQ(11, counters(&self->vm).faults);
	EXPECT_EQ(0, counters(&self->vm).writes);
}

TEST_F(counters, writes)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(5, pwrite(self->vm.fd, "bytes", 5, 0));
	EXPECT_EQ(1, counters(&self->vm).writes);
	EXPECT_EQ(0, fallocate(self->vm.fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 0, MF_PAGE));
	EXPECT_EQ(2, counters(&self->vm).writes);
	EXPECT_EQ(0, madvise(self->vm.map, MF_PAGE, MADV_REMOVE));
	EXPECT_EQ(3, counters(&self->vm).writes);
	EXPECT_EQ(0, ftruncate(self->vm.fd, 200 * MF_PAGE));
	EXPECT_EQ(4, counters(&self->vm).writes);
	EXPECT_EQ(0, counters(&self->vm).faults);
}

TEST_F(counters, harvests)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(self->vm.map, 1, 7 * MF_PAGE);
	mf_harvest(&self->vm);
	mf_harvest_range(&self->vm, 64, 64);
	EXPECT_EQ(2, counters(&self->vm).harvests);
	EXPECT_EQ(7, counters(&self->vm).harvested);
	EXPECT_EQ(0, counters(&self->vm).carried);
}

TEST_F(counters, hashed)
{
	struct migrate_fast_digest digests[20];
	struct migrate_fast_hash hash = {
		.pages = 20, .digests = (uintptr_t)digests, .max = 20,
	};

	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, &hash));
	EXPECT_EQ(20, counters(&self->vm).hashed);
}

TEST_F(counters, sent_bytes_of_the_file_only)
{
	struct migrate_fast_segment segments[2] = {
		{ .ram = MIGRATE_FAST_SEGMENT_USER,
		  .offset = (uintptr_t)"header", .bytes = 6 },
		{ .ram = self->vm.ram, .offset = 10, .bytes = 5000 },
	};
	struct migrate_fast_send send = {
		.segments = (uintptr_t)segments, .count = 2,
	};
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	send.sock = sock[0];
	self->vm.map[0] = 1;
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &send));
	EXPECT_EQ(5006, send.sent);
	EXPECT_EQ(5000, counters(&self->vm).sent_bytes);
}

TEST_HARNESS_MAIN
