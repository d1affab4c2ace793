// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_HANDSHAKE: both sides learn what the other can do, or why not.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define KNOWN (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
	       MIGRATE_FAST_FEATURE_SEND | MIGRATE_FAST_FEATURE_FILL | \
	       MIGRATE_FAST_FEATURE_KVM)

FIXTURE(handshake)
{
	int fd;
};

FIXTURE_SETUP(handshake)
{
	self->fd = open(MIGRATE_FAST_DEVICE, O_RDWR);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(handshake)
{
	close(self->fd);
}

TEST_F(handshake, tells_version_and_features)
{
	struct migrate_fast_handshake hello = { .abi = MIGRATE_FAST_ABI };

	ASSERT_EQ(0, mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_EQ(MIGRATE_FAST_ABI, hello.abi);
	EXPECT_EQ(KNOWN, hello.features & KNOWN);
	EXPECT_EQ(0, hello.reserved);
}

TEST_F(handshake, required_features_that_exist)
{
	struct migrate_fast_handshake hello = {
		.abi = MIGRATE_FAST_ABI, .features = KNOWN,
	};

	EXPECT_EQ(0, mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
}

TEST_F(handshake, may_be_repeated)
{
	struct migrate_fast_handshake hello = { .abi = MIGRATE_FAST_ABI };

	EXPECT_EQ(0, mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	hello.features = 0;
	EXPECT_EQ(0, mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
}

/* The caller must be able to print what the module has instead. */
TEST_F(handshake, other_version_is_refused_with_answers)
{
	struct migrate_fast_handshake hello = { .abi = MIGRATE_FAST_ABI + 1 };

	EXPECT_EQ(-EPROTONOSUPPORT,
		  mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_EQ(MIGRATE_FAST_ABI, hello.abi);
	EXPECT_EQ(KNOWN, hello.features & KNOWN);
}

TEST_F(handshake, version_zero_is_refused)
{
	struct migrate_fast_handshake hello = {};

	EXPECT_EQ(-EPROTONOSUPPORT,
		  mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
}

TEST_F(handshake, missing_feature_is_refused_with_answers)
{
	struct migrate_fast_handshake hello = {
		.abi = MIGRATE_FAST_ABI,
		.features = KNOWN | 1ULL << 63,
	};

	EXPECT_EQ(-EPROTONOSUPPORT,
		  mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_EQ(MIGRATE_FAST_ABI, hello.abi);
	EXPECT_EQ(KNOWN, hello.features);
}

TEST_F(handshake, a_refused_one_opens_nothing)
{
	struct migrate_fast_handshake hello = { .abi = MIGRATE_FAST_ABI + 1 };

	EXPECT_EQ(-EPROTONOSUPPORT,
		  mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_EQ(-EPROTO, mf_start(self->fd));
}

TEST_F(handshake, reserved_must_be_zero)
{
	struct migrate_fast_handshake hello = {
		.abi = MIGRATE_FAST_ABI, .reserved = 1,
	};

	EXPECT_EQ(-EINVAL, mf_ioctl(self->fd, MIGRATE_FAST_HANDSHAKE, &hello));
	EXPECT_EQ(-EPROTO, mf_start(self->fd));
}

TEST_HARNESS_MAIN
