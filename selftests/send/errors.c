// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_SEND: what it refuses, and that a refused call sends nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "pair.h"

#define PAGES 64UL

FIXTURE(errors)
{
	struct mf_vm vm;
	int pair[2];
	struct migrate_fast_segment segments[MIGRATE_FAST_MAX_SEGMENTS + 1];
	struct migrate_fast_send send;
};

FIXTURE_SETUP(errors)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, NULL));
	ASSERT_EQ(0, tcp_pair(self->pair));
	self->segments[0] = (struct migrate_fast_segment){ .bytes = MF_PAGE };
	self->send = (struct migrate_fast_send){
		.sock = self->pair[0], .count = 1,
		.segments = (uintptr_t)self->segments,
	};
}

FIXTURE_TEARDOWN(errors)
{
	close(self->pair[0]);
	close(self->pair[1]);
	mf_vm_close(&self->vm);
}

static int try(struct _test_data_errors *self)
{
	return mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send);
}

/* Nothing has come through. */
static bool silent(struct _test_data_errors *self)
{
	char byte;

	return recv(self->pair[1], &byte, 1, MSG_DONTWAIT) < 0 &&
	       errno == EAGAIN;
}

TEST_F(errors, ebadf)
{
	self->send.sock = -1;
	EXPECT_EQ(-EBADF, try(self));
	self->send.sock = 999;
	EXPECT_EQ(-EBADF, try(self));
	self->send.sock = open("/", O_PATH);
	EXPECT_EQ(-EBADF, try(self));
}

TEST_F(errors, enotsock)
{
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	self->send.sock = pipes[1];
	EXPECT_EQ(-ENOTSOCK, try(self));
	self->send.sock = open("/dev/null", O_RDWR);
	EXPECT_EQ(-ENOTSOCK, try(self));
	self->send.sock = self->vm.fd;
	EXPECT_EQ(-ENOTSOCK, try(self));
	self->send.sock = self->vm.session;
	EXPECT_EQ(-ENOTSOCK, try(self));
}

TEST_F(errors, eopnotsupp)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = 1234,
	};
	int pair[2];

	self->send.sock = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_EQ(0, connect(self->send.sock, (void *)&addr, sizeof(addr)));
	EXPECT_EQ(-EOPNOTSUPP, try(self));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	self->send.sock = pair[0];
	EXPECT_EQ(-EOPNOTSUPP, try(self));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	self->send.sock = pair[0];
	EXPECT_EQ(-EOPNOTSUPP, try(self));
	self->send.sock = socket(AF_NETLINK, SOCK_RAW, 0);
	EXPECT_EQ(-EOPNOTSUPP, try(self));
	self->send.sock = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	EXPECT_EQ(-EOPNOTSUPP, try(self));
}

TEST_F(errors, enotconn)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };

	self->send.sock = socket(AF_INET, SOCK_STREAM, 0);
	EXPECT_EQ(-ENOTCONN, try(self));
	ASSERT_EQ(0, bind(self->send.sock, (void *)&addr, sizeof(addr)));
	ASSERT_EQ(0, listen(self->send.sock, 1));
	EXPECT_EQ(-ENOTCONN, try(self));
	self->send.sock = socket(AF_UNIX, SOCK_STREAM, 0);
	EXPECT_EQ(-ENOTCONN, try(self));
}

TEST_F(errors, enoent)
{
	self->segments[0].ram = 1;
	EXPECT_EQ(-ENOENT, try(self));
	self->segments[0].ram = MIGRATE_FAST_SEGMENT_USER - 1;
	EXPECT_EQ(-ENOENT, try(self));
	EXPECT_TRUE(silent(self));
}

/* The second segment is wrong: the first must not have been sent. */
TEST_F(errors, bad_segment_after_a_good_one)
{
	self->send.count = 2;
	self->segments[1] = self->segments[0];
	self->segments[1].ram = 5;
	EXPECT_EQ(-ENOENT, try(self));
	self->segments[1] = self->segments[0];
	self->segments[1].reserved = 1;
	EXPECT_EQ(-EINVAL, try(self));
	EXPECT_TRUE(silent(self));
}

TEST_F(errors, segment_reserved)
{
	self->segments[0].reserved = 1;
	EXPECT_EQ(-EINVAL, try(self));
}

TEST_F(errors, segment_without_bytes)
{
	self->segments[0].bytes = 0;
	EXPECT_EQ(-EINVAL, try(self));
	self->segments[0].ram = MIGRATE_FAST_SEGMENT_USER;
	EXPECT_EQ(-EINVAL, try(self));
}

TEST_F(errors, segment_leaves_the_file)
{
	self->segments[0].bytes = PAGES * MF_PAGE + 1;
	EXPECT_EQ(-EINVAL, try(self));
	self->segments[0].offset = PAGES * MF_PAGE;
	self->segments[0].bytes = 1;
	EXPECT_EQ(-EINVAL, try(self));
	self->segments[0].offset = 10;
	self->segments[0].bytes = -10ULL;
	EXPECT_EQ(-EINVAL, try(self));
	self->segments[0].offset = -10ULL;
	self->segments[0].bytes = 20;
	EXPECT_EQ(-EINVAL, try(self));
	EXPECT_TRUE(silent(self));
}

TEST_F(errors, count)
{
	size_t i;

	self->send.count = 0;
	EXPECT_EQ(-EINVAL, try(self));
	for (i = 1; i <= MIGRATE_FAST_MAX_SEGMENTS; i++)
		self->segments[i] = self->segments[0];
	self->send.count = MIGRATE_FAST_MAX_SEGMENTS + 1;
	EXPECT_EQ(-EINVAL, try(self));
	self->send.count = ~0U;
	EXPECT_EQ(-EINVAL, try(self));
	EXPECT_TRUE(silent(self));
}

TEST_F(errors, skip_beyond_the_gather)
{
	self->send.skip = MF_PAGE + 1;
	EXPECT_EQ(-EINVAL, try(self));
	self->send.skip = ~0ULL;
	EXPECT_EQ(-EINVAL, try(self));
}

/* All has been sent already: either way it must not say that bytes were. */
TEST_F(errors, skip_of_all)
{
	int rc;

	self->send.skip = MF_PAGE;
	rc = try(self);
	EXPECT_TRUE(rc == -EINVAL || (!rc && !self->send.sent));
	EXPECT_TRUE(silent(self));
}

TEST_F(errors, emsgsize)
{
	size_t i, bytes = PAGES * MF_PAGE;

	self->send.count = MIGRATE_FAST_MAX_SEGMENTS;
	self->send.flags = MIGRATE_FAST_SEND_DONTWAIT;
	for (i = 0; i < MIGRATE_FAST_MAX_SEGMENTS; i++)
		self->segments[i] = (struct migrate_fast_segment){
			.ram = MIGRATE_FAST_SEGMENT_USER,
			.offset = (uintptr_t)self->vm.map,
			.bytes = MIGRATE_FAST_MAX_SEND,
		};
	EXPECT_EQ(-EMSGSIZE, try(self));
	/* The limit itself: 2^30 = 1024 times 2^20. */
	for (i = 0; i < MIGRATE_FAST_MAX_SEGMENTS; i++)
		self->segments[i].bytes = MIGRATE_FAST_MAX_SEND /
					  MIGRATE_FAST_MAX_SEGMENTS;
	self->segments[5].bytes++;
	EXPECT_EQ(-EMSGSIZE, try(self));
	EXPECT_TRUE(silent(self));
	/* A sum that overflows is not a small one. */
	self->segments[0].bytes = ~0ULL;
	self->segments[1].bytes = bytes;
	self->send.count = 2;
	EXPECT_LT(try(self), 0);
	EXPECT_TRUE(silent(self));
}

TEST_F(errors, efault)
{
	self->send.segments = 8;
	EXPECT_EQ(-EFAULT, try(self));
	self->send.segments = 1ULL << 63;
	EXPECT_EQ(-EFAULT, try(self));
	self->send.segments = (uintptr_t)self->segments;
	self->segments[0] = (struct migrate_fast_segment){
		.ram = MIGRATE_FAST_SEGMENT_USER, .offset = 4096, .bytes = 100,
	};
	EXPECT_EQ(-EFAULT, try(self));
	self->segments[0].offset = 1ULL << 63;
	EXPECT_EQ(-EFAULT, try(self));
	EXPECT_TRUE(silent(self));
}

/* Good bytes first, then memory that is not there: the good ones count. */
TEST_F(errors, efault_after_progress)
{
	int rc;

	self->segments[1] = (struct migrate_fast_segment){
		.ram = MIGRATE_FAST_SEGMENT_USER, .offset = 4096, .bytes = 100,
	};
	self->send.count = 2;
	rc = try(self);
	if (rc) {
		EXPECT_EQ(-EFAULT, rc);
		EXPECT_TRUE(silent(self));
		return;
	}
	EXPECT_EQ(MF_PAGE, self->send.sent);
	self->send.skip = self->send.sent;
	EXPECT_EQ(-EFAULT, try(self));
}

TEST_F(errors, misaligned_segments)
{
	self->send.segments += 4;
	EXPECT_EQ(-EINVAL, try(self));
}

TEST_F(errors, file_has_become_shorter)
{
	char byte = 1;

	memset(self->vm.map, 1, PAGES * MF_PAGE);
	ASSERT_EQ(0, ftruncate(self->vm.fd, 10 * MF_PAGE));
	self->segments[0].offset = 20 * MF_PAGE;
	ASSERT_EQ(0, try(self));
	EXPECT_EQ(MF_PAGE, self->send.sent);
	EXPECT_EQ(1, recv(self->pair[1], &byte, 1, 0));
	EXPECT_EQ(0, byte);
}

TEST_HARNESS_MAIN
