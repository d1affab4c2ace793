// SPDX-License-Identifier: GPL-2.0
/*
 * Each kind of writer is reported, with exactly the pages that it wrote, and
 * again when it writes again after a harvest.
 *
 * Every test does its writing twice with a harvest between: the first finds a
 * page that is not marked, the second one that is not write-protected again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fixture.h"
#include "mf_vhost.h"

#define TWICE(_pages, _write) do {					\
	int _i;								\
									\
	for (_i = 0; _i < 2; _i++) {					\
		_write;							\
		EXPECT_STREQ(_pages, mf_harvest(&self->vm));		\
		EXPECT_STREQ("", mf_harvest(&self->vm));		\
	}								\
} while (0)

TEST_F(track, stores)
{
	TWICE("0,3,7-9,1023", {
		mf_page(&self->vm, 0)[0] = 1;
		mf_page(&self->vm, 3)[4095] = 1;
		memset(mf_page(&self->vm, 7) + 4095, 1, MF_PAGE + 2);
		mf_page(&self->vm, 1023)[17] = 1;
	});
}

/* A page that was read first has a mapping, which must not be writable. */
TEST_F(track, store_after_load)
{
	unsigned char *page = mf_page(&self->vm, 600);
	unsigned char value;

	TWICE("600", {
		value = __atomic_load_n(page, __ATOMIC_RELAXED);
		*page = value + 1;
	});
}

TEST_F(track, atomic_operations)
{
	__u64 *word = (void *)mf_page(&self->vm, 600);

	TWICE("600", __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST));
}

/* Both mappings are harvested, and both are protected again. */
TEST_F(track, two_mappings)
{
	unsigned char *other = mf_map(self->vm.fd, PAGES * MF_PAGE,
				      PROT_READ | PROT_WRITE);

	ASSERT_TRUE(other);
	TWICE("10-11,515", {
		mf_page(&self->vm, 10)[0] = 1;
		other[11 * MF_PAGE] = 1;
		other[515 * MF_PAGE] = 1;
		mf_page(&self->vm, 515)[8] = 1;
	});
}

TEST_F(track, mapping_at_another_offset)
{
	unsigned char *part = mmap(NULL, 8 * MF_PAGE, PROT_READ | PROT_WRITE,
				   MAP_SHARED, self->vm.fd, 700 * MF_PAGE);

	ASSERT_NE(MAP_FAILED, part);
	TWICE("701,707", {
		part[MF_PAGE] = 1;
		part[7 * MF_PAGE] = 1;
	});
}

static int in_child(struct mf_vm *vm, bool own_mapping)
{
	unsigned char *map = vm->map;
	pid_t pid = fork();

	if (!pid) {
		if (own_mapping) {
			int fd = open(vm->path, O_RDWR);

			map = mf_map(fd, PAGES * MF_PAGE,
				     PROT_READ | PROT_WRITE);
		}
		if (!map)
			_exit(1);
		map[20 * MF_PAGE] = 1;
		map[800 * MF_PAGE] = 1;
		_exit(0);
	}
	return mf_wait(pid);
}

TEST_F(track, another_process)
{
	TWICE("20,800", EXPECT_EQ(0, in_child(&self->vm, true)));
}

TEST_F(track, inherited_mapping)
{
	TWICE("20,800", EXPECT_EQ(0, in_child(&self->vm, false)));
}

/* The process stays, so its page tables must have been protected. */
TEST_F(track, another_process_that_stays)
{
	int command[2], answer[2];
	char byte = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(command));
	ASSERT_EQ(0, pipe(answer));
	pid = fork();
	if (!pid) {
		close(command[1]);
		while (read(command[0], &byte, 1) == 1) {
			mf_page(&self->vm, 30)[0]++;
			mf_page(&self->vm, 31)[0]++;
			if (write(answer[1], &byte, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	close(command[0]);
	TWICE("30-31", {
		ASSERT_EQ(1, write(command[1], &byte, 1));
		ASSERT_EQ(1, read(answer[0], &byte, 1));
	});
	close(command[1]);
	EXPECT_EQ(0, mf_wait(pid));
}

TEST_F(track, read_into_the_mapping)
{
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	TWICE("40-41,900", {
		ASSERT_EQ(10, write(pipes[1], "0123456789", 10));
		EXPECT_EQ(10, read(pipes[0], mf_page(&self->vm, 41) - 5, 10));
		ASSERT_EQ(1, write(pipes[1], "x", 1));
		EXPECT_EQ(1, read(pipes[0], mf_page(&self->vm, 900), 1));
	});
}

TEST_F(track, receive_into_the_mapping)
{
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	TWICE("41", {
		ASSERT_EQ(4, send(sock[0], "text", 4, 0));
		EXPECT_EQ(4, recv(sock[1], mf_page(&self->vm, 41), 4, 0));
	});
}

/* The kernel's own thread writes, for a network device of a guest. */
TEST_F(track, vhost_receives)
{
	struct mf_vhost vhost;
	char data[100] = "a packet";

	ASSERT_EQ(0, mf_vhost_open(&vhost, self->vm.map, PAGES * MF_PAGE));
	TWICE("44-45,901", {
		EXPECT_EQ(0, mf_vhost_write(&vhost, mf_page(&self->vm, 45) - 5,
					    data, sizeof(data)));
		EXPECT_EQ(0, mf_vhost_write(&vhost, mf_page(&self->vm, 901),
					    data, sizeof(data)));
	});
	EXPECT_EQ(0, memcmp(data, mf_page(&self->vm, 901), sizeof(data)));
	mf_vhost_close(&vhost);
}

TEST_F(track, process_vm_writev)
{
	char data[] = "from outside";
	struct iovec from = { data, sizeof(data) };
	struct iovec to = { mf_page(&self->vm, 51) - 4, sizeof(data) };
	pid_t pid, parent = getpid();

	TWICE("50-51", {
		pid = fork();
		if (!pid)
			_exit(process_vm_writev(parent, &from, 1, &to, 1, 0) !=
			      sizeof(data));
		EXPECT_EQ(0, mf_wait(pid));
	});
	EXPECT_STREQ(data, (char *)to.iov_base);
}

/* How a debugger pokes: page by page, with force. */
TEST_F(track, proc_pid_mem)
{
	int fd = open("/proc/self/mem", O_RDWR);
	off_t at = (uintptr_t)mf_page(&self->vm, 52) + 9;

	ASSERT_LE(0, fd);
	TWICE("52", EXPECT_EQ(4, pwrite(fd, "poke", 4, at)));
}

TEST_F(track, pwrite)
{
	TWICE("59-60,1023", {
		EXPECT_EQ(4, pwrite(self->vm.fd, "text", 4, 60 * MF_PAGE - 2));
		EXPECT_EQ(1, pwrite(self->vm.fd, "x", 1, PAGES * MF_PAGE - 1));
	});
}

TEST_F(track, pwritev)
{
	struct iovec iov[] = { { "one", 3 }, { "two", 3 } };

	TWICE("61", EXPECT_EQ(6, pwritev(self->vm.fd, iov, 2, 61 * MF_PAGE)));
}

TEST_F(track, long_write)
{
	char *data = calloc(600, MF_PAGE);

	TWICE("300-900", {
		EXPECT_EQ(600 * MF_PAGE, pwrite(self->vm.fd, data,
						600 * MF_PAGE,
						300 * MF_PAGE + 8));
	});
	free(data);
}

TEST_F(track, write_at_the_file_position)
{
	TWICE("62", {
		lseek(self->vm.fd, 62 * MF_PAGE, SEEK_SET);
		EXPECT_EQ(1, write(self->vm.fd, "x", 1));
	});
}

TEST_F(track, splice_into_the_file)
{
	loff_t at;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	TWICE("63", {
		at = 63 * MF_PAGE;
		ASSERT_EQ(4, write(pipes[1], "text", 4));
		EXPECT_EQ(4, splice(pipes[0], NULL, self->vm.fd, &at, 4, 0));
	});
}

TEST_F(track, copy_file_range_into_the_file)
{
	int from = mf_create(MF_MNT "/from", MF_PAGE);
	loff_t in, out;

	ASSERT_LE(0, from);
	ASSERT_EQ(4, pwrite(from, "text", 4, 0));
	TWICE("64", {
		in = 0;
		out = 64 * MF_PAGE;
		EXPECT_EQ(4, copy_file_range(from, &in, self->vm.fd, &out, 4, 0));
	});
}

/* The pages at both ends lose only a part. */
TEST_F(track, punch_hole)
{
	TWICE("70-72", {
		EXPECT_EQ(0, fallocate(self->vm.fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE,
				       71 * MF_PAGE - 10, MF_PAGE + 20));
	});
	EXPECT_EQ(0, mf_page(&self->vm, 71)[0]);
}

TEST_F(track, punch_large_hole)
{
	TWICE("256-767", {
		EXPECT_EQ(0, fallocate(self->vm.fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 256 * MF_PAGE,
				       512 * MF_PAGE));
	});
}

/* What lies behind the end is no page of the file. */
TEST_F(track, punch_across_the_end)
{
	TWICE("1020-1023", {
		EXPECT_EQ(0, fallocate(self->vm.fd, FALLOC_FL_PUNCH_HOLE |
				       FALLOC_FL_KEEP_SIZE, 1020 * MF_PAGE,
				       100 * MF_PAGE));
	});
}

TEST_F(track, madvise_remove)
{
	TWICE("80-83", {
		EXPECT_EQ(0, madvise(mf_page(&self->vm, 80), 4 * MF_PAGE,
				     MADV_REMOVE));
	});
	EXPECT_EQ(0, mf_page(&self->vm, 80)[0]);
}

TEST_F(track, store_into_a_punched_hole)
{
	EXPECT_EQ(0, madvise(mf_page(&self->vm, 80), 4 * MF_PAGE, MADV_REMOVE));
	EXPECT_STREQ("80-83", mf_harvest(&self->vm));
	TWICE("81", mf_page(&self->vm, 81)[0] = 1);
}

TEST_F(track, madvise_populate_write)
{
	TWICE("90-93", {
		EXPECT_EQ(0, madvise(mf_page(&self->vm, 90), 4 * MF_PAGE,
				     MADV_POPULATE_WRITE));
	});
}

/* The file is shorter afterwards, so this one cannot be done twice. */
TEST_F(track, ftruncate)
{
	ASSERT_EQ(0, ftruncate(self->vm.fd, 1000 * MF_PAGE + 10));
	EXPECT_STREQ("1000-1023", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 1000)[3] = 1;
	EXPECT_STREQ("1000", mf_harvest(&self->vm));
}

TEST_F(track, ftruncate_at_a_page)
{
	ASSERT_EQ(0, ftruncate(self->vm.fd, 1000 * MF_PAGE));
	EXPECT_STREQ("1000-1023", mf_harvest(&self->vm));
}

TEST_F(track, truncate_by_name)
{
	ASSERT_EQ(0, truncate(self->vm.path, 1020 * MF_PAGE));
	EXPECT_STREQ("1020-1023", mf_harvest(&self->vm));
}

TEST_F(track, open_with_truncation)
{
	int fd = open(self->vm.path, O_RDWR | O_TRUNC);

	EXPECT_LE(0, fd);
	EXPECT_STREQ("0-1023", mf_harvest(&self->vm));
}

TEST_F(track, every_page)
{
	TWICE("0-1023", memset(self->vm.map, 7, PAGES * MF_PAGE));
}

/* Isolated pages are protected by another way than runs. */
TEST_F(track, every_second_page)
{
	size_t i, round;

	for (round = 0; round < 2; round++) {
		for (i = 0; i < PAGES; i += 2)
			mf_page(&self->vm, i)[0] = round;
		mf_harvest(&self->vm);
		EXPECT_EQ(PAGES / 2, self->vm.dirty);
		for (i = 0; i < PAGES; i++)
			EXPECT_EQ(!(i & 1), mf_bit(self->vm.bitmap, i));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
}

/* Runs of every length up to 20, with gaps of 1. */
TEST_F(track, runs_of_every_length)
{
	size_t length, at, round;
	__u64 want[PAGES / 64] = {};

	for (round = 0; round < 2; round++) {
		for (length = 1, at = 7; length <= 20; at += ++length) {
			memset(mf_page(&self->vm, at), round, length * MF_PAGE);
			for (size_t i = at; i < at + length; i++)
				want[i / 64] |= 1ULL << i % 64;
		}
		EXPECT_STREQ(mf_list(want, PAGES), mf_harvest(&self->vm));
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
}

TEST_F(track, pages_stay_in_the_state_of_the_last_harvest)
{
	size_t i;

	for (i = 0; i < PAGES; i += 37)
		mf_page(&self->vm, i)[0] = 1;
	mf_harvest(&self->vm);
	EXPECT_EQ((PAGES + 36) / 37, self->vm.dirty);
	mf_page(&self->vm, 74)[0] = 2;
	mf_page(&self->vm, 75)[0] = 2;
	EXPECT_STREQ("74-75", mf_harvest(&self->vm));
}

TEST_HARNESS_MAIN
