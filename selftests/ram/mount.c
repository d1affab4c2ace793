// SPDX-License-Identifier: GPL-2.0
/*
 * Mounting mfram: options, statfs(2), and the limits that they set.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

static int mount_stat(const char *options, struct stat *st)
{
	int rc = mf_mount(options);

	return rc ?: stat(MF_MNT, st);
}

TEST(defaults)
{
	struct stat st;

	ASSERT_EQ(0, mount_stat(NULL, &st));
	/* The memory of guests is nobody else's business. */
	EXPECT_EQ(0700, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	EXPECT_EQ(0, st.st_gid);
	EXPECT_EQ(0, mf_umount());
}

TEST(mode_uid_gid)
{
	struct stat st;

	ASSERT_EQ(0, mount_stat("mode=1770,uid=64055,gid=108", &st));
	EXPECT_EQ(01770, st.st_mode & 07777);
	EXPECT_EQ(64055, st.st_uid);
	EXPECT_EQ(108, st.st_gid);
}

/* What the mode allows to the group of QEMU works as any user of it. */
TEST(other_user_makes_a_file)
{
	struct stat st;
	int fd;

	ASSERT_EQ(0, mount_stat("mode=0770,gid=108", &st));
	ASSERT_EQ(0, setresgid(108, 108, 108));
	ASSERT_EQ(0, setresuid(64055, 64055, 64055));
	fd = mf_create(MF_MNT "/ram", 4 * MF_PAGE);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pwrite(fd, "text", 4, 0));
	EXPECT_NE(NULL, mf_map(fd, 4 * MF_PAGE, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(64055, st.st_uid);
	EXPECT_EQ(108, st.st_gid);
}

TEST(permissions_are_enforced)
{
	ASSERT_EQ(0, mf_mount(NULL));
	ASSERT_EQ(0, setresuid(64055, 64055, 64055));
	EXPECT_EQ(-1, open(MF_MNT "/ram", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(EACCES, errno);
}

TEST(huge_values)
{
	struct stat st;

	EXPECT_EQ(0, mount_stat("huge=never", &st));
	EXPECT_EQ(0, mf_umount());
	EXPECT_EQ(0, mount_stat("huge=advise", &st));
	EXPECT_EQ(0, mf_umount());
	EXPECT_EQ(0, mount_stat("huge=always", &st));
	EXPECT_EQ(0, mf_umount());
}

TEST(bad_options)
{
	EXPECT_EQ(-EINVAL, mf_mount("huge=sometimes"));
	EXPECT_EQ(-EINVAL, mf_mount("huge=within_size"));
	EXPECT_EQ(-EINVAL, mf_mount("huge="));
	EXPECT_EQ(-EINVAL, mf_mount("size=lots"));
	EXPECT_EQ(-EINVAL, mf_mount("mode=rwx"));
	EXPECT_EQ(-EINVAL, mf_mount("mode=8"));
	EXPECT_EQ(-EINVAL, mf_mount("uid=root"));
	EXPECT_EQ(-EINVAL, mf_mount("uid=-1"));
	EXPECT_EQ(-EINVAL, mf_mount("nr_inodes=5"));
	EXPECT_EQ(-EINVAL, mf_mount("nonsense"));
}

static bool is_in_mounts(const char *option)
{
	bool found = false;
	char line[512];
	FILE *mounts;

	mounts = fopen("/proc/mounts", "r");
	if (!mounts)
		return false;
	while (fgets(line, sizeof(line), mounts)) {
		if (strstr(line, " " MF_MNT " mfram "))
			found = strstr(line, option);
	}
	fclose(mounts);
	return found;
}

TEST(options_are_shown)
{
	ASSERT_EQ(0, mf_mount("size=8m,huge=advise,mode=0750,uid=1,gid=2"));
	EXPECT_TRUE(is_in_mounts("size="));
	EXPECT_TRUE(is_in_mounts("huge=advise"));
	EXPECT_TRUE(is_in_mounts("mode=750"));
	EXPECT_TRUE(is_in_mounts("uid=1"));
	EXPECT_TRUE(is_in_mounts("gid=2"));
}

/* What "mount -o remount,ro" gives is either obeyed or refused. */
TEST(remount)
{
	ASSERT_EQ(0, mf_mount(NULL));
	EXPECT_EQ(-1, mount("none", MF_MNT, NULL, MS_REMOUNT, "huge=always"));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, mount("none", MF_MNT, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	EXPECT_EQ(-1, open(MF_MNT "/ram", O_RDWR | O_CREAT, 0600));
	EXPECT_EQ(EROFS, errno);
}

static int change(const char *options)
{
	return mount("none", MF_MNT, NULL, MS_REMOUNT, options) ? -errno : 0;
}

static long blocks(void)
{
	struct statfs stat;

	return statfs(MF_MNT, &stat) ? -errno : (long)stat.f_blocks;
}

/* Who has no room gets some, without an end to what is there. */
TEST(resize)
{
	char page[MF_PAGE] = { 1 };
	int fd;

	ASSERT_EQ(0, mf_mount("size=8k,huge=never"));
	fd = mf_create(MF_MNT "/ram", 4 * MF_PAGE);
	ASSERT_EQ(MF_PAGE, pwrite(fd, page, MF_PAGE, 0));
	ASSERT_EQ(MF_PAGE, pwrite(fd, page, MF_PAGE, MF_PAGE));
	ASSERT_EQ(-1, pwrite(fd, page, MF_PAGE, 2 * MF_PAGE));
	ASSERT_EQ(ENOSPC, errno);
	ASSERT_EQ(0, change("size=16k"));
	EXPECT_EQ(4, blocks());
	EXPECT_TRUE(is_in_mounts("size=16k"));
	ASSERT_EQ(MF_PAGE, pwrite(fd, page, MF_PAGE, 2 * MF_PAGE));
	/* Less, but not less than what is used. */
	EXPECT_EQ(-EINVAL, change("size=8k"));
	EXPECT_EQ(-EINVAL, change("size=no"));
	EXPECT_TRUE(is_in_mounts("size=16k"));
	EXPECT_EQ(0, change("size=12k"));
	EXPECT_EQ(3, blocks());
	/* As mount(8) says it, with all that it finds in /proc/mounts. */
	EXPECT_EQ(0, change("size=24k,huge=never,mode=700"));
	EXPECT_EQ(6, blocks());
	/* What does not change is not touched. */
	EXPECT_EQ(0, change(NULL));
	EXPECT_EQ(6, blocks());
	EXPECT_EQ(-EINVAL, change("size=32k,huge=always"));
	EXPECT_EQ(-EINVAL, change("size=32k,mode=755"));
	EXPECT_EQ(-EINVAL, change("size=32k,uid=1"));
	EXPECT_EQ(-EINVAL, change("size=32k,gid=1"));
	EXPECT_EQ(6, blocks());
	close(fd);
}

TEST(figures)
{
	struct statfs before, after;
	char data[8 * MF_PAGE] = {};
	int fd;

	ASSERT_EQ(0, mf_mount("size=16m"));
	ASSERT_EQ(0, statfs(MF_MNT, &before));
	EXPECT_EQ(MIGRATE_FAST_FSMAGIC, before.f_type);
	EXPECT_EQ(MF_PAGE, before.f_bsize);
	EXPECT_EQ(4096, before.f_blocks);
	EXPECT_EQ(4096, before.f_bfree);
	EXPECT_EQ(4096, before.f_bavail);
	EXPECT_LE(255, before.f_namelen);
	fd = mf_create(MF_MNT "/ram", 64 * MF_PAGE);
	ASSERT_EQ(sizeof(data), pwrite(fd, data, sizeof(data), 0));
	ASSERT_EQ(0, statfs(MF_MNT, &after));
	EXPECT_EQ(4088, after.f_bfree);
	ASSERT_EQ(0, fstatfs(fd, &after));
	EXPECT_EQ(MIGRATE_FAST_FSMAGIC, after.f_type);
	close(fd);
	ASSERT_EQ(0, unlink(MF_MNT "/ram"));
	ASSERT_EQ(0, statfs(MF_MNT, &after));
	EXPECT_EQ(4096, after.f_bfree);
}

/* QEMU reads the page size of its backend from the file's statfs. */
TEST(page_size_of_huge)
{
	struct statfs st;

	ASSERT_EQ(0, mf_mount("huge=always"));
	ASSERT_EQ(0, statfs(MF_MNT, &st));
	EXPECT_EQ(MF_PAGE, st.f_bsize);
}

TEST(size_suffixes)
{
	struct statfs st;

	ASSERT_EQ(0, mf_mount("size=2048k"));
	ASSERT_EQ(0, statfs(MF_MNT, &st));
	EXPECT_EQ(512, st.f_blocks);
	ASSERT_EQ(0, mf_umount());
	ASSERT_EQ(0, mf_mount("size=1g"));
	ASSERT_EQ(0, statfs(MF_MNT, &st));
	EXPECT_EQ(1 << 18, st.f_blocks);
	ASSERT_EQ(0, mf_umount());
	ASSERT_EQ(0, mf_mount("size=25%"));
	ASSERT_EQ(0, statfs(MF_MNT, &st));
	EXPECT_LT(1000, st.f_blocks);
}

static sigjmp_buf at_fault;

static void fault(int signal)
{
	siglongjmp(at_fault, signal);
}

TEST(limit)
{
	struct sigaction action = { .sa_handler = fault };
	char *data = calloc(1, 1 << 20);
	int fd;
	char *map;

	ASSERT_EQ(0, mf_mount("size=512k"));
	fd = mf_create(MF_MNT "/ram", 1 << 20);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, fallocate(fd, 0, 0, 1 << 20));
	EXPECT_EQ(ENOSPC, errno);
	EXPECT_EQ(1 << 19, pwrite(fd, data, 1 << 20, 0));
	EXPECT_EQ(-1, pwrite(fd, data, 1, 1 << 19));
	EXPECT_EQ(ENOSPC, errno);

	map = mf_map(fd, 1 << 20, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	sigaction(SIGBUS, &action, NULL);
	if (!sigsetjmp(at_fault, 1)) {
		map[1 << 19] = 1;
		EXPECT_TRUE(false) TH_LOG("written beyond the limit");
	}
	/* Room again, and the VM goes on. */
	ASSERT_EQ(0, madvise(map, MF_PAGE, MADV_REMOVE));
	map[1 << 19] = 1;
	free(data);
}

/* Two mounts are two filesystems, each with its own limit. */
TEST(mounts_are_separate)
{
	struct statfs st;

	ASSERT_EQ(0, mf_mount("size=1m"));
	ASSERT_LE(0, mf_create(MF_MNT "/ram", MF_PAGE));
	ASSERT_EQ(0, mount("none", MF_MNT, MIGRATE_FAST_FSTYPE, 0, "size=2m"));
	EXPECT_EQ(-1, access(MF_MNT "/ram", F_OK));
	ASSERT_EQ(0, statfs(MF_MNT, &st));
	EXPECT_EQ(512, st.f_blocks);
	ASSERT_EQ(0, mf_umount());
	EXPECT_EQ(0, access(MF_MNT "/ram", F_OK));
}

TEST(many_mounts)
{
	int i;

	ASSERT_EQ(0, mf_mount(NULL));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(0, mount("none", MF_MNT, MIGRATE_FAST_FSTYPE, 0,
				   i & 1 ? "huge=always,size=1m" : NULL));
		close(mf_create(MF_MNT "/ram", MF_PAGE));
		ASSERT_EQ(0, mf_umount());
	}
}

TEST(busy_while_open)
{
	int fd;

	ASSERT_EQ(0, mf_mount(NULL));
	fd = mf_create(MF_MNT "/ram", MF_PAGE);
	EXPECT_EQ(-EBUSY, mf_umount());
	close(fd);
	EXPECT_EQ(0, mf_umount());
}

/* A user of a container could mount nothing but what is made for that. */
TEST(not_in_a_user_namespace)
{
	pid_t pid = fork();

	if (!pid) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			_exit(2);
		_exit(mount("none", MF_MNT, MIGRATE_FAST_FSTYPE, 0, NULL) ?
		      errno != EPERM : 1);
	}
	EXPECT_EQ(0, mf_wait(pid));
}

TEST_HARNESS_MAIN
