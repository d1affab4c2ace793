// SPDX-License-Identifier: GPL-2.0
/*
 * Files of mfram behave as those of tmpfs: names, sizes, holes, copies.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

FIXTURE(file)
{
	int fd;
};

FIXTURE_SETUP(file)
{
	ASSERT_EQ(0, mf_mount("size=64m"));
	self->fd = mf_create(MF_MNT "/ram", 256 * MF_PAGE);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
	mf_umount();
}

TEST_F(file, stat)
{
	struct stat st;

	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(S_ISREG(st.st_mode));
	EXPECT_EQ(0600, st.st_mode & 07777);
	EXPECT_EQ(1, st.st_nlink);
	EXPECT_EQ(256 * MF_PAGE, st.st_size);
	EXPECT_EQ(0, st.st_blocks);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, stat(MF_MNT "/ram", &st));
	EXPECT_EQ(8, st.st_blocks);
	ASSERT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 0, MF_PAGE));
	ASSERT_EQ(0, stat(MF_MNT "/ram", &st));
	EXPECT_EQ(0, st.st_blocks);
}

TEST_F(file, times)
{
	struct stat before, after;

	ASSERT_EQ(0, fstat(self->fd, &before));
	usleep(20000);
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 0));
	ASSERT_EQ(0, fstat(self->fd, &after));
	EXPECT_TRUE(after.st_mtim.tv_sec != before.st_mtim.tv_sec ||
		    after.st_mtim.tv_nsec != before.st_mtim.tv_nsec);
}

TEST_F(file, chmod_and_chown)
{
	struct stat st;

	ASSERT_EQ(0, fchmod(self->fd, 0640));
	ASSERT_EQ(0, fchown(self->fd, 64055, 108));
	ASSERT_EQ(0, stat(MF_MNT "/ram", &st));
	EXPECT_EQ(0640, st.st_mode & 07777);
	EXPECT_EQ(64055, st.st_uid);
	EXPECT_EQ(108, st.st_gid);
}

TEST_F(file, listing)
{
	struct dirent *entry;
	int files = 0, others = 0;
	DIR *dir;

	close(mf_create(MF_MNT "/vm2", MF_PAGE));
	dir = opendir(MF_MNT);
	ASSERT_NE(NULL, dir);
	while ((entry = readdir(dir))) {
		if (!strcmp(entry->d_name, "ram") ||
		    !strcmp(entry->d_name, "vm2"))
			files++;
		else if (entry->d_name[0] != '.')
			others++;
	}
	closedir(dir);
	EXPECT_EQ(2, files);
	EXPECT_EQ(0, others);
}

TEST_F(file, create_and_remove)
{
	EXPECT_EQ(-1, open(MF_MNT "/ram", O_RDWR | O_CREAT | O_EXCL, 0600));
	EXPECT_EQ(EEXIST, errno);
	EXPECT_EQ(0, unlink(MF_MNT "/ram"));
	EXPECT_EQ(-1, unlink(MF_MNT "/ram"));
	EXPECT_EQ(ENOENT, errno);
	/* It lives on without a name. */
	EXPECT_EQ(4, pwrite(self->fd, "text", 4, 0));
	EXPECT_LE(0, mf_create(MF_MNT "/ram", MF_PAGE));
}

TEST_F(file, rename_and_link)
{
	struct stat st;

	EXPECT_EQ(0, rename(MF_MNT "/ram", MF_MNT "/new"));
	EXPECT_EQ(0, link(MF_MNT "/new", MF_MNT "/second"));
	ASSERT_EQ(0, stat(MF_MNT "/second", &st));
	EXPECT_EQ(2, st.st_nlink);
	EXPECT_EQ(256 * MF_PAGE, st.st_size);
}

TEST_F(file, folders)
{
	int fd;

	ASSERT_EQ(0, mkdir(MF_MNT "/libvirt", 0755));
	fd = mf_create(MF_MNT "/libvirt/ram", MF_PAGE);
	EXPECT_LE(0, fd);
	EXPECT_EQ(-1, rmdir(MF_MNT "/libvirt"));
	EXPECT_EQ(ENOTEMPTY, errno);
	close(fd);
	EXPECT_EQ(0, unlink(MF_MNT "/libvirt/ram"));
	EXPECT_EQ(0, rmdir(MF_MNT "/libvirt"));
}

/* mem-path may be a folder: QEMU then makes a file without a name. */
TEST_F(file, without_a_name)
{
	char template[] = MF_MNT "/qemu_back_mem.XXXXXX";
	int fd = mkstemp(template);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink(template));
	ASSERT_EQ(0, ftruncate(fd, 4 * MF_PAGE));
	EXPECT_NE(NULL, mf_map(fd, 4 * MF_PAGE, PROT_READ | PROT_WRITE));
	fd = open(MF_MNT, O_TMPFILE | O_RDWR, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, pwrite(fd, "text", 4, 0));
}

/* No devices, pipes, sockets and links: it is for RAM. */
TEST_F(file, nothing_but_files_and_folders)
{
	EXPECT_EQ(-1, mknod(MF_MNT "/null", S_IFCHR | 0600, 0x103));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, symlink("/etc/passwd", MF_MNT "/link"));
	EXPECT_EQ(EPERM, errno);
}

TEST_F(file, truncate_clears)
{
	char byte = 1;

	ASSERT_EQ(3, pwrite(self->fd, "abc", 3, 10 * MF_PAGE));
	ASSERT_EQ(0, ftruncate(self->fd, 10 * MF_PAGE + 1));
	ASSERT_EQ(0, ftruncate(self->fd, 256 * MF_PAGE));
	ASSERT_EQ(1, pread(self->fd, &byte, 1, 10 * MF_PAGE));
	EXPECT_EQ('a', byte);
	ASSERT_EQ(1, pread(self->fd, &byte, 1, 10 * MF_PAGE + 1));
	EXPECT_EQ(0, byte);
	EXPECT_EQ(256 * MF_PAGE, lseek(self->fd, 0, SEEK_END));
}

/* A mapping sees the end of the file where it is. */
TEST_F(file, truncate_takes_pages_from_a_mapping)
{
	unsigned char *map = mf_map(self->fd, 256 * MF_PAGE,
				    PROT_READ | PROT_WRITE);
	int pipes[2];

	ASSERT_NE(NULL, map);
	memset(map, 1, 256 * MF_PAGE);
	ASSERT_EQ(0, ftruncate(self->fd, 100 * MF_PAGE));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(1, write(pipes[1], map + 99 * MF_PAGE, 1));
	EXPECT_EQ(-1, write(pipes[1], map + 100 * MF_PAGE, 1));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(file, holes)
{
	EXPECT_EQ(-1, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_HOLE));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 20 * MF_PAGE));
	ASSERT_EQ(1, pwrite(self->fd, "x", 1, 22 * MF_PAGE));
	EXPECT_EQ(20 * MF_PAGE, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(21 * MF_PAGE, lseek(self->fd, 20 * MF_PAGE + 1, SEEK_HOLE));
	EXPECT_EQ(22 * MF_PAGE, lseek(self->fd, 21 * MF_PAGE, SEEK_DATA));
	EXPECT_EQ(23 * MF_PAGE, lseek(self->fd, 22 * MF_PAGE, SEEK_HOLE));
	EXPECT_EQ(-1, lseek(self->fd, 256 * MF_PAGE, SEEK_DATA));
	EXPECT_EQ(ENXIO, errno);
	/* Looking for holes has left none filled. */
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_HOLE));
}

TEST_F(file, positions)
{
	char byte;

	EXPECT_EQ(5, lseek(self->fd, 5, SEEK_SET));
	EXPECT_EQ(7, lseek(self->fd, 2, SEEK_CUR));
	EXPECT_EQ(256 * MF_PAGE - 1, lseek(self->fd, -1, SEEK_END));
	EXPECT_EQ(1, write(self->fd, "e", 1));
	EXPECT_EQ(1, write(self->fd, "f", 1));
	EXPECT_EQ(256 * MF_PAGE + 1, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(0, read(self->fd, &byte, 1));
	EXPECT_EQ(-1, lseek(self->fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(file, append)
{
	int fd = open(MF_MNT "/ram", O_WRONLY | O_APPEND);
	char text[4] = "";

	ASSERT_LE(0, fd);
	EXPECT_EQ(4, write(fd, "text", 4));
	EXPECT_EQ(256 * MF_PAGE + 4, lseek(fd, 0, SEEK_END));
	EXPECT_EQ(4, pread(self->fd, text, 4, 256 * MF_PAGE));
	EXPECT_EQ(0, memcmp("text", text, 4));
}

TEST_F(file, fallocate)
{
	struct stat st;

	EXPECT_EQ(0, fallocate(self->fd, 0, 0, 300 * MF_PAGE));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(300 * MF_PAGE, st.st_size);
	EXPECT_EQ(300 * 8, st.st_blocks);
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_KEEP_SIZE, 0, 310 * MF_PAGE));
	ASSERT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ(300 * MF_PAGE, st.st_size);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_ZERO_RANGE, 0, MF_PAGE));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, fallocate(self->fd, FALLOC_FL_COLLAPSE_RANGE, 0, MF_PAGE));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, fallocate(self->fd, 0, -1, MF_PAGE));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(file, descriptor_modes)
{
	char byte;
	int fd = open(MF_MNT "/ram", O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, write(fd, "x", 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, ftruncate(fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				0, MF_PAGE));
	EXPECT_EQ(EBADF, errno);
	fd = open(MF_MNT "/ram", O_WRONLY);
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(file, sendfile_and_splice)
{
	int pipes[2], to = mf_create(MF_MNT "/to", 0);
	char text[5] = "";
	loff_t at = 3;
	off_t from = 3;

	ASSERT_EQ(4, pwrite(self->fd, "text", 4, 3));
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(4, splice(self->fd, &at, pipes[1], NULL, 4, 0));
	EXPECT_EQ(4, read(pipes[0], text, 4));
	EXPECT_STREQ("text", text);
	EXPECT_EQ(4, sendfile(to, self->fd, &from, 4));
	EXPECT_EQ(4, pread(to, text, 4, 0));
	EXPECT_STREQ("text", text);
}

/* cp keeps the holes of a file that is mostly holes. */
TEST_F(file, sparse_copy)
{
	struct stat st;

	ASSERT_EQ(4, pwrite(self->fd, "text", 4, 100 * MF_PAGE));
	ASSERT_EQ(0, system("cp --sparse=always " MF_MNT "/ram " MF_MNT "/copy"));
	ASSERT_EQ(0, stat(MF_MNT "/copy", &st));
	EXPECT_EQ(256 * MF_PAGE, st.st_size);
	EXPECT_EQ(8, st.st_blocks);
	EXPECT_EQ(0, system("cmp " MF_MNT "/ram " MF_MNT "/copy"));
	ASSERT_EQ(0, stat(MF_MNT "/ram", &st));
	EXPECT_EQ(8, st.st_blocks);
}

/* A program without O_LARGEFILE of its own must reach all of a large VM. */
TEST_F(file, beyond_2_gb)
{
	static const off_t places[] = {
		(2LL << 30) - 2, 3LL << 30, (5LL << 30) - 4,
	};
	char text[5];
	int i;

	ASSERT_EQ(0, ftruncate(self->fd, 5LL << 30));
	for (i = 0; i < 3; i++) {
		memset(text, 0, sizeof(text));
		EXPECT_EQ(4, pwrite(self->fd, "text", 4, places[i]));
		EXPECT_EQ(4, pread(self->fd, text, 4, places[i]));
		EXPECT_STREQ("text", text);
	}
	EXPECT_EQ(0, fallocate(self->fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, 3LL << 30, MF_PAGE));
	EXPECT_EQ(4, pread(self->fd, text, 4, 3LL << 30));
	EXPECT_EQ(0, memcmp(text, "\0\0\0\0", 4));
}

/* An old file of the same name keeps its contents when it is opened. */
TEST_F(file, contents_last)
{
	char text[5] = "";
	int fd;

	ASSERT_EQ(4, pwrite(self->fd, "text", 4, 0));
	close(self->fd);
	fd = open(MF_MNT "/ram", O_RDWR | O_CREAT, 0600);
	ASSERT_EQ(0, ftruncate(fd, 256 * MF_PAGE));
	EXPECT_EQ(4, read(fd, text, 4));
	EXPECT_STREQ("text", text);
	close(fd);
	fd = open(MF_MNT "/ram", O_RDWR | O_TRUNC);
	EXPECT_EQ(0, read(fd, text, 4));
	self->fd = fd;
}

TEST_HARNESS_MAIN
