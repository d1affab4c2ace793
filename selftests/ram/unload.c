// SPDX-License-Identifier: GPL-2.0
/*
 * The module stays as long as anything of it is in use: a mount, a session, an
 * open file, a mapping alone. And it goes when nothing is, and comes again.
 *
 * The host's own mount is taken away for that time. MF_MODULE names the file
 * of the module if it is not where the build puts it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define HOSTS_MOUNT "/run/migrate-fast"

FIXTURE(unload)
{
	char module[512];
	bool was_mounted;
};

static int unload(void)
{
	return syscall(SYS_delete_module, "migrate_fast", O_NONBLOCK) ?
	       -errno : 0;
}

static int load(const char *path)
{
	int rc, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	rc = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return rc;
}

/* build/selftests/ram/unload -> build/kmod-6.1/migrate_fast.ko */
static void find_module(char *path, size_t size)
{
	const char *given = getenv("MF_MODULE"), *kernel = getenv("MF_KERNEL");
	char self[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int i;

	if (given) {
		snprintf(path, size, "%s", given);
		return;
	}
	self[n < 0 ? 0 : n] = '\0';
	for (i = 0; i < 3 && strrchr(self, '/'); i++)
		*strrchr(self, '/') = '\0';
	snprintf(path, size, "%s/kmod-%s/migrate_fast.ko", self,
		 kernel ? kernel : "6.1");
}

FIXTURE_SETUP(unload)
{
	find_module(self->module, sizeof(self->module));
	if (access(self->module, R_OK))
		SKIP(return, "the module's file is not where it was built");
	self->was_mounted = !umount(HOSTS_MOUNT);
	if (!self->was_mounted && errno == EBUSY)
		SKIP(return, "a VM uses the host's mount");
	/* Is it needed by nothing now? Else the tests would prove nothing. */
	ASSERT_EQ(0, mf_users());
}

FIXTURE_TEARDOWN(unload)
{
	if (access("/sys/module/migrate_fast", F_OK))
		load(self->module);
	if (self->was_mounted)
		mount("mfram", HOSTS_MOUNT, MIGRATE_FAST_FSTYPE, 0, NULL);
}

TEST_F(unload, and_load_again)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, unload());
		EXPECT_EQ(-1, access(MIGRATE_FAST_DEVICE, F_OK));
		EXPECT_EQ(-ENODEV, mf_mount(NULL));
		ASSERT_EQ(0, load(self->module));
		ASSERT_EQ(0, mf_mount(NULL));
		ASSERT_EQ(0, mf_umount());
	}
}

TEST_F(unload, while_mounted)
{
	ASSERT_EQ(0, mf_mount(NULL));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	ASSERT_EQ(0, mf_umount());
	EXPECT_EQ(0, unload());
}

TEST_F(unload, while_a_session_is_open)
{
	int session = mf_session();

	ASSERT_LE(0, session);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(session);
	EXPECT_EQ(0, unload());
}

TEST_F(unload, while_only_a_bitmap_is_mapped)
{
	struct mf_vm vm;

	ASSERT_EQ(0, mf_vm_open(&vm, 64, NULL));
	munmap(vm.map, 64 * MF_PAGE);
	close(vm.fd);
	close(vm.session);
	umount2(MF_MNT, MNT_DETACH);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	vm.bitmap[0] = 1;
	munmap(vm.bitmap, vm.bitmap_bytes);
	EXPECT_EQ(0, unload());
}

/* What pins the module here is the shmem file of the mapping, and it alone. */
TEST_F(unload, while_only_a_mapping_is_left)
{
	unsigned char *map;
	int fd, done[2];
	pid_t pid;
	char byte;

	ASSERT_EQ(0, mf_mount(NULL));
	ASSERT_EQ(0, pipe(done));
	fd = mf_create(MF_MNT "/ram", 64 * MF_PAGE);
	map = mf_map(fd, 64 * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	close(fd);
	ASSERT_EQ(0, mf_umount());
	EXPECT_EQ(-EWOULDBLOCK, unload());
	map[0] = 1;
	EXPECT_EQ(1, map[0]);
	/* A child's copy of the mapping counts as well. */
	pid = fork();
	if (!pid) {
		munmap(map, 32 * MF_PAGE);
		if (read(done[0], &byte, 1) != 1)
			_exit(1);
		map[40 * MF_PAGE] = 1;
		_exit(0);
	}
	munmap(map, 64 * MF_PAGE);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_EQ(1, write(done[1], "x", 1));
	EXPECT_EQ(0, mf_wait(pid));
	close(done[0]);
	close(done[1]);
	EXPECT_EQ(0, unload());
}

TEST_F(unload, while_only_a_part_is_mapped)
{
	unsigned char *map;
	int fd;

	ASSERT_EQ(0, mf_mount(NULL));
	fd = mf_create(MF_MNT "/ram", 64 * MF_PAGE);
	map = mf_map(fd, 64 * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	close(fd);
	ASSERT_EQ(0, mf_umount());
	munmap(map, 10 * MF_PAGE);
	munmap(map + 20 * MF_PAGE, 44 * MF_PAGE);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	map[15 * MF_PAGE] = 1;
	munmap(map + 10 * MF_PAGE, 10 * MF_PAGE);
	EXPECT_EQ(0, unload());
}

/* A lazily unmounted filesystem lives as long as its last open file. */
TEST_F(unload, while_a_file_of_a_detached_mount_is_open)
{
	int fd;

	ASSERT_EQ(0, mf_mount(NULL));
	fd = mf_create(MF_MNT "/ram", 64 * MF_PAGE);
	ASSERT_EQ(0, umount2(MF_MNT, MNT_DETACH));
	EXPECT_EQ(-EWOULDBLOCK, unload());
	EXPECT_EQ(4, pwrite(fd, "text", 4, 0));
	close(fd);
	EXPECT_EQ(0, unload());
}

/* The session keeps the file, the file the mount, whatever the VM does. */
TEST_F(unload, while_a_session_tracks)
{
	struct mf_vm vm;

	ASSERT_EQ(0, mf_vm_open(&vm, 64, NULL));
	ASSERT_EQ(0, mf_start(vm.session));
	memset(vm.map, 1, 64 * MF_PAGE);
	munmap(vm.map, 64 * MF_PAGE);
	munmap(vm.bitmap, vm.bitmap_bytes);
	close(vm.fd);
	umount2(MF_MNT, MNT_DETACH);
	EXPECT_EQ(-EWOULDBLOCK, unload());
	close(vm.session);
	EXPECT_EQ(0, unload());
}

/* A path to the shmem file is all that is left: it must not lead anywhere. */
TEST_F(unload, with_a_path_to_the_hidden_file)
{
	char name[100];
	unsigned char *map;
	int fd, path;

	ASSERT_EQ(0, mf_mount(NULL));
	fd = mf_create(MF_MNT "/ram", 64 * MF_PAGE);
	map = mf_map(fd, 64 * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, map);
	snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)map, (unsigned long)map + 64 * MF_PAGE);
	path = open(name, O_PATH);
	munmap(map, 64 * MF_PAGE);
	close(fd);
	umount2(MF_MNT, MNT_DETACH);
	if (path < 0 || unload())
		return;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path);
	fd = open(name, O_RDWR);
	if (fd >= 0) {
		char byte;

		EXPECT_LE(0, pread(fd, &byte, 1, 0));
		EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
		map = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			   fd, 0);
		if (map != MAP_FAILED)
			map[0] = 1;
		close(fd);
	}
	close(path);
}

TEST_HARNESS_MAIN
