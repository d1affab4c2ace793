// SPDX-License-Identifier: GPL-2.0
/*
 * The device node: who may open it, and what it is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

TEST(node_is_for_root_only)
{
	struct stat st;

	ASSERT_EQ(0, stat(MIGRATE_FAST_DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
}

/* The mode alone is not the guard: an administrator may loosen it. */
TEST(open_needs_cap_sys_admin)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	ASSERT_EQ(0, syscall(SYS_capget, &header, data));
	data[0].effective &= ~(1U << CAP_SYS_ADMIN);
	ASSERT_EQ(0, syscall(SYS_capset, &header, data));
	EXPECT_EQ(-1, open(MIGRATE_FAST_DEVICE, O_RDWR));
	EXPECT_EQ(EPERM, errno);
}

TEST(other_users_are_kept_out)
{
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-1, open(MIGRATE_FAST_DEVICE, O_RDWR));
	EXPECT_EQ(EACCES, errno);
}

TEST(unknown_ioctls_are_enotty)
{
	unsigned long arg[128] = {};
	int fd = mf_session();

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOTTY, mf_ioctl(fd, _IOWR(MIGRATE_FAST_IOC_MAGIC, 0x7f,
					      struct migrate_fast_add), arg));
	EXPECT_EQ(-ENOTTY, mf_ioctl(fd, _IOWR(MIGRATE_FAST_IOC_MAGIC + 1, 0,
					      struct migrate_fast_handshake),
				    arg));
	EXPECT_EQ(-ENOTTY, mf_ioctl(fd, 0, arg));
	EXPECT_EQ(-ENOTTY, mf_ioctl(fd, TCGETS, arg));
}

TEST(read_and_write_do_not_exist)
{
	char byte = 0;
	int fd = mf_session();

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST(nothing_to_map_in_an_empty_session)
{
	int fd = mf_session();

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, MF_PAGE, PROT_READ, MAP_SHARED, fd, 0));
}

TEST(many_sessions_at_once)
{
	int fds[200], i;

	for (i = 0; i < 200; i++) {
		fds[i] = mf_session();
		ASSERT_LE(0, fds[i]);
	}
	for (i = 0; i < 200; i++)
		EXPECT_EQ(0, close(fds[i]));
}

TEST_HARNESS_MAIN
