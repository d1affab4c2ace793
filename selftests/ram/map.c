// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of RAM files: shared and private, longer lived than their names,
 * mounts and makers, and with no back door.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 64UL

FIXTURE(map)
{
	int fd;
	unsigned char *map;
};

FIXTURE_SETUP(map)
{
	ASSERT_EQ(0, mf_mount(NULL));
	self->fd = mf_create(MF_MNT "/ram", PAGES * MF_PAGE);
	self->map = mf_map(self->fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->map);
}

FIXTURE_TEARDOWN(map)
{
	munmap(self->map, PAGES * MF_PAGE);
	close(self->fd);
	umount2(MF_MNT, MNT_DETACH);
}

TEST_F(map, shows_what_is_written_and_vice_versa)
{
	char text[5] = "";

	ASSERT_EQ(4, pwrite(self->fd, "text", 4, MF_PAGE));
	EXPECT_EQ(0, memcmp("text", self->map + MF_PAGE, 4));
	memcpy(self->map + 2 * MF_PAGE, "more", 4);
	ASSERT_EQ(4, pread(self->fd, text, 4, 2 * MF_PAGE));
	EXPECT_STREQ("more", text);
}

TEST_F(map, private_is_a_copy)
{
	unsigned char *own = mmap(NULL, PAGES * MF_PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE, self->fd, 0);

	ASSERT_NE(MAP_FAILED, own);
	self->map[0] = 1;
	EXPECT_EQ(1, own[0]);
	own[0] = 2;
	EXPECT_EQ(1, self->map[0]);
	self->map[0] = 3;
	EXPECT_EQ(2, own[0]);
	own[5 * MF_PAGE] = 2;
	EXPECT_EQ(0, self->map[5 * MF_PAGE]);
}

TEST_F(map, private_of_a_read_only_descriptor)
{
	int fd = open(MF_MNT "/ram", O_RDONLY);
	unsigned char *own = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE, fd, 0);

	ASSERT_NE(MAP_FAILED, own);
	own[0] = 2;
	EXPECT_EQ(0, self->map[0]);
}

TEST_F(map, shared_by_fork)
{
	pid_t pid = fork();

	if (!pid) {
		self->map[7] = 7;
		_exit(0);
	}
	ASSERT_EQ(0, mf_wait(pid));
	EXPECT_EQ(7, self->map[7]);
}

TEST_F(map, gone_by_exec)
{
	char command[200];

	snprintf(command, sizeof(command),
		 "! grep -q %s /proc/self/maps", MF_MNT "/ram");
	self->map[7] = 7;
	EXPECT_EQ(0, system(command));
	EXPECT_EQ(7, self->map[7]);
}

/* A program that lies in mfram can be run, as from tmpfs. */
TEST_F(map, exec_of_a_file)
{
	pid_t pid;

	ASSERT_EQ(0, system("cp /bin/true " MF_MNT "/true"));
	ASSERT_EQ(0, chmod(MF_MNT "/true", 0755));
	pid = fork();
	if (!pid) {
		execl(MF_MNT "/true", "true", NULL);
		_exit(1);
	}
	EXPECT_EQ(0, mf_wait(pid));
}

TEST_F(map, dontneed_loses_nothing)
{
	memset(self->map, 5, PAGES * MF_PAGE);
	ASSERT_EQ(0, madvise(self->map, PAGES * MF_PAGE, MADV_DONTNEED));
	EXPECT_EQ(5, self->map[9 * MF_PAGE]);
}

TEST_F(map, remove_makes_a_hole)
{
	struct stat st;

	memset(self->map, 5, PAGES * MF_PAGE);
	ASSERT_EQ(0, madvise(self->map + MF_PAGE, 2 * MF_PAGE, MADV_REMOVE));
	EXPECT_EQ(0, self->map[MF_PAGE]);
	EXPECT_EQ(5, self->map[3 * MF_PAGE]);
	ASSERT_EQ(0, fstat(self->fd, &st));
	/* The page that was just read is there again. */
	EXPECT_EQ((PAGES - 1) * 8, st.st_blocks);
}

TEST_F(map, mlock)
{
	ASSERT_EQ(0, mlock(self->map, PAGES * MF_PAGE));
	EXPECT_EQ(PAGES * MF_PAGE / 1024, mf_smaps(self->map, "Rss"));
	EXPECT_EQ(PAGES * MF_PAGE / 1024, mf_smaps(self->map, "Locked"));
	ASSERT_EQ(0, munlock(self->map, PAGES * MF_PAGE));
}

TEST_F(map, mlockall_as_qemu_does)
{
	unsigned char *other;

	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	other = mmap(NULL, PAGES * MF_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     self->fd, 0);
	ASSERT_NE(MAP_FAILED, other);
	EXPECT_EQ(PAGES * MF_PAGE / 1024, mf_smaps(other, "Rss"));
	other[3] = 1;
	EXPECT_EQ(1, self->map[3]);
	munlockall();
}

/* Nothing but the mapping is left, and it works like before. */
TEST_F(map, outlives_the_mount)
{
	size_t i;

	memset(self->map, 5, 10 * MF_PAGE);
	close(self->fd);
	self->fd = -1;
	ASSERT_EQ(0, unlink(MF_MNT "/ram"));
	EXPECT_EQ(0, mf_umount());
	for (i = 0; i < PAGES; i++) {
		EXPECT_EQ(i < 10 ? 5 : 0, self->map[i * MF_PAGE]);
		self->map[i * MF_PAGE] = i;
	}
	ASSERT_EQ(0, madvise(self->map, PAGES * MF_PAGE, MADV_DONTNEED));
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(i, self->map[i * MF_PAGE]);
	EXPECT_EQ(0, madvise(self->map, MF_PAGE, MADV_REMOVE));
	EXPECT_EQ(0, self->map[1]);
}

TEST_F(map, outlives_the_mount_with_its_name)
{
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(0, mf_umount());
	self->map[0] = 5;
	EXPECT_EQ(5, self->map[0]);
	EXPECT_EQ(0, self->map[MF_PAGE]);
	/* A new mount knows nothing of the old one. */
	ASSERT_EQ(0, mount("none", MF_MNT, MIGRATE_FAST_FSTYPE, 0, NULL));
	EXPECT_EQ(-1, access(MF_MNT "/ram", F_OK));
	EXPECT_EQ(5, self->map[0]);
}

TEST_F(map, outlives_the_mount_and_moves)
{
	unsigned char *moved;
	pid_t pid;

	close(self->fd);
	self->fd = -1;
	ASSERT_EQ(0, mf_umount());
	self->map[0] = 5;
	moved = mremap(self->map, PAGES * MF_PAGE, PAGES * MF_PAGE,
		       MREMAP_MAYMOVE | MREMAP_FIXED,
		       self->map + 512 * PAGES * MF_PAGE);
	ASSERT_NE(MAP_FAILED, moved);
	self->map = moved;
	pid = fork();
	if (!pid) {
		moved[1] = 6;
		_exit(0);
	}
	ASSERT_EQ(0, mf_wait(pid));
	EXPECT_EQ(5, moved[0]);
	EXPECT_EQ(6, moved[1]);
}

static int map_file(const unsigned char *map, size_t bytes, int flags)
{
	char path[100];

	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)map, (unsigned long)map + bytes);
	return open(path, flags);
}

/* The file behind the mapping, opened anew, would be one that nobody tracks. */
TEST_F(map, cannot_be_reopened)
{
	int fd = map_file(self->map, PAGES * MF_PAGE, O_RDWR);

	self->map[0] = 1;
	if (fd >= 0) {
		/* If so, then the file is ours and can be tracked. */
		struct migrate_fast_add add;
		int session = mf_session();

		EXPECT_EQ(0, mf_add(session, fd, &add));
		close(session);
		close(fd);
	} else {
		EXPECT_EQ(EACCES, errno);
	}
	fd = map_file(self->map, PAGES * MF_PAGE, O_RDONLY);
	EXPECT_EQ(-1, fd);
}

TEST_F(map, cannot_be_reopened_by_a_path_descriptor)
{
	int path = map_file(self->map, PAGES * MF_PAGE, O_PATH);
	char name[64];
	int fd;

	if (path < 0)
		return;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path);
	EXPECT_EQ(-1, open(name, O_RDWR));
	EXPECT_EQ(-1, truncate(name, MF_PAGE));
	/* The mapping ends, the path stays: whatever it is then, it is safe. */
	munmap(self->map, PAGES * MF_PAGE);
	close(self->fd);
	unlink(MF_MNT "/ram");
	fd = open(name, O_RDWR);
	if (fd >= 0) {
		EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
		close(fd);
	}
	close(path);
	self->fd = -1;
	self->map = mmap(NULL, PAGES * MF_PAGE, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* /proc/PID/fd leads to our file, which is as good as opening it by name. */
TEST_F(map, reopened_through_its_descriptor)
{
	struct migrate_fast_add add;
	char name[64];
	int fd, session = mf_session();

	snprintf(name, sizeof(name), "/proc/self/fd/%d", self->fd);
	fd = open(name, O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, mf_add(session, fd, &add));
	close(session);
	close(fd);
}

TEST_F(map, has_the_name_of_the_file)
{
	char line[300];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "r");

	while (fgets(line, sizeof(line), maps)) {
		unsigned long start;

		if (sscanf(line, "%lx-", &start) == 1 &&
		    start == (unsigned long)self->map)
			found = strstr(line, "ram");
	}
	fclose(maps);
	EXPECT_TRUE(found);
}

TEST_F(map, beyond_the_end_is_sigbus)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (ftruncate(self->fd, MF_PAGE))
			_exit(1);
		self->map[MF_PAGE] = 1;
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
}

/*
 * Seals live in the inodes of tmpfs. Ours is none: the kernel would look for
 * them in somebody else's memory, if it took our file for one of tmpfs.
 */
TEST_F(map, has_no_seals)
{
	int fd = mf_create(MF_MNT "/unmapped", MF_PAGE);

	EXPECT_EQ(-1, fcntl(fd, F_GET_SEALS));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

/* As in those of tmpfs: it would put pages in place, and make entries for them. */
TEST_F(map, is_not_served_by_userfaultfd)
{
	static const __u64 modes[] = {
		UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_MINOR,
		UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	unsigned int i;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		SKIP(return, "no userfaultfd in this kernel");
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		struct uffdio_register reg = {
			.range = { (uintptr_t)self->map, PAGES * MF_PAGE },
			.mode = modes[i],
		};

		EXPECT_EQ(-1, ioctl(uffd, UFFDIO_REGISTER, &reg));
		EXPECT_EQ(EINVAL, errno) {
			TH_LOG("mode %llu", modes[i]);
		}
	}
	close(uffd);
}

TEST_HARNESS_MAIN
