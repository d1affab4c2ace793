// SPDX-License-Identifier: GPL-2.0
/*
 * A read never reports: whoever looks at memory does not make it travel again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fixture.h"
#include "mf_disk.h"

static unsigned int sum(const unsigned char *map, size_t bytes)
{
	unsigned int total = 0;
	size_t i;

	for (i = 0; i < bytes; i += 512)
		total += __atomic_load_n(map + i, __ATOMIC_RELAXED);
	return total;
}

TEST_F(track, loads)
{
	sum(self->vm.map, PAGES * MF_PAGE);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, loads_of_another_process)
{
	pid_t pid = fork();

	if (!pid) {
		sum(mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE),
		    PAGES * MF_PAGE);
		_exit(0);
	}
	EXPECT_EQ(0, mf_wait(pid));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, pread)
{
	char *data = malloc(PAGES * MF_PAGE);

	EXPECT_EQ(PAGES * MF_PAGE,
		  pread(self->vm.fd, data, PAGES * MF_PAGE, 0));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	free(data);
}

TEST_F(track, write_from_the_mapping)
{
	int sock[2], null = open("/dev/null", O_WRONLY);

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	EXPECT_EQ(MF_PAGE, write(null, mf_page(&self->vm, 1), MF_PAGE));
	EXPECT_EQ(MF_PAGE, send(sock[0], mf_page(&self->vm, 2), MF_PAGE, 0));
	EXPECT_EQ(MF_PAGE, sendfile(sock[0], self->vm.fd, NULL, MF_PAGE));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, direct_write_from_the_mapping)
{
	struct mf_disk disk;
	int fd;

	ASSERT_EQ(0, mf_disk_open(&disk, 1 << 20));
	fd = open(disk.path, O_WRONLY | O_DIRECT);
	ASSERT_LE(0, fd);
	EXPECT_EQ(8 * MF_PAGE, pwrite(fd, mf_page(&self->vm, 500), 8 * MF_PAGE, 0));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	close(fd);
	mf_disk_close(&disk);
}

TEST_F(track, process_vm_readv)
{
	char data[100];
	struct iovec to = { data, sizeof(data) };
	struct iovec from = { mf_page(&self->vm, 3), sizeof(data) };
	pid_t pid, parent = getpid();

	pid = fork();
	if (!pid)
		_exit(process_vm_readv(parent, &to, 1, &from, 1, 0) != 100);
	EXPECT_EQ(0, mf_wait(pid));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

/* -overcommit mem-lock=on: every page is there, none is written. */
TEST_F(track, mlock)
{
	EXPECT_EQ(0, mlock(self->vm.map, PAGES * MF_PAGE));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(0, munlock(self->vm.map, PAGES * MF_PAGE));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, populate_read)
{
	EXPECT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_POPULATE_READ));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, new_mapping_populated)
{
	void *map = mmap(NULL, PAGES * MF_PAGE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, self->vm.fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, files_view)
{
	EXPECT_LE(0, lseek(self->vm.fd, 0, SEEK_HOLE));
	lseek(self->vm.fd, 0, SEEK_DATA);
	EXPECT_EQ(0, fsync(self->vm.fd));
	EXPECT_EQ(0, msync(self->vm.map, PAGES * MF_PAGE, MS_SYNC));
	EXPECT_LE(0, mf_resident(self->vm.map));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, our_own_calls)
{
	struct migrate_fast_digest *digests = calloc(PAGES, sizeof(*digests));
	struct migrate_fast_hash hash = {
		.flags = MIGRATE_FAST_HASH_XXH64 | MIGRATE_FAST_HASH_SHA256,
		.pages = 64, .digests = (uintptr_t)digests, .max = PAGES,
	};
	struct migrate_fast_segment segment = { .bytes = 10 * MF_PAGE };
	struct migrate_fast_send send = {
		.segments = (uintptr_t)&segment, .count = 1,
	};
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	send.sock = sock[0];
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, &hash));
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &send));
	EXPECT_STREQ("", mf_peek(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	free(digests);
}

/* A private mapping copies; the file has no news. */
TEST_F(track, stores_to_a_private_mapping)
{
	unsigned char *map = mmap(NULL, PAGES * MF_PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE, self->vm.fd, 0);

	ASSERT_NE(MAP_FAILED, map);
	memset(map + 5 * MF_PAGE, 9, 3 * MF_PAGE);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_NE(9, mf_page(&self->vm, 5)[0]);
}

TEST_F(track, another_file)
{
	int fd = mf_create(MF_MNT "/other", PAGES * MF_PAGE);
	unsigned char *other = mf_map(fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);

	ASSERT_TRUE(other);
	memset(other, 1, 100 * MF_PAGE);
	EXPECT_EQ(4, pwrite(fd, "text", 4, 0));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_HARNESS_MAIN
