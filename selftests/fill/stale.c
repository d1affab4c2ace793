// SPDX-License-Identifier: GPL-2.0
/*
 * Marking pages absent: what they held is gone for everybody from the moment
 * that DEMAND returns, however they had it mapped; and to fill is final.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fixture.h"
#include "mf_guest.h"

static long kilobytes(int fd)
{
	struct stat stat;

	return fstat(fd, &stat) ? -errno : (long)stat.st_blocks / 2;
}

/* It had read the page before, and looks again when a byte comes. */
static int pipes[2], answers[2];

static int looks_twice(struct mf_vm *vm, size_t page)
{
	char byte;

	if (mf_stamp_differs(mf_page(vm, page), page, 1) >= 0)
		return MF_WRONG;
	if (write(answers[1], "x", 1) != 1 || read(pipes[0], &byte, 1) != 1)
		return errno;
	return mf_touch_load(vm, page);
}

/* It had written the page before: its entry was writable and dirty. */
static int writes_twice(struct mf_vm *vm, size_t page)
{
	char byte;

	mf_page(vm, page)[8] = 0xaa;
	if (write(answers[1], "x", 1) != 1 || read(pipes[0], &byte, 1) != 1)
		return errno;
	mf_page(vm, page)[16] = 0xbb;
	return mf_page(vm, page)[8] == 0xaa ? MF_WRONG : 0;
}

/* The same with the pages locked in memory. */
static int locks_and_looks(struct mf_vm *vm, size_t page)
{
	if (mlock(mf_page(vm, page & ~63UL), 64 * MF_PAGE))
		return errno;
	return looks_twice(vm, page);
}

#define FORGETS(_touch) do {						\
	struct migrate_fast_fault _fault;				\
	char _byte;							\
	pid_t _pid;							\
									\
	ASSERT_EQ(0, pipe(pipes));					\
	ASSERT_EQ(0, pipe(answers));					\
	_pid = mf_touch_start(&self->vm, _touch, 600);			\
	ASSERT_EQ(1, read(answers[0], &_byte, 1));			\
	ASSERT_EQ(64, mf_demand(&self->vm, 576, 64));			\
	ASSERT_EQ(1, write(pipes[1], "x", 1));				\
	ASSERT_EQ(1, mf_fault(&self->vm, &_fault, MF_PATIENCE_MS));		\
	EXPECT_EQ(600, _fault.page);					\
	EXPECT_TRUE(mf_touch_waits(_pid));				\
	EXPECT_EQ(1, mf_fill(&self->vm, 600, 1, 2));			\
	EXPECT_EQ(0, mf_touch_end(_pid));				\
} while (0)

TEST_F(fill, forgotten_by_who_had_read_it)
{
	FORGETS(looks_twice);
	EXPECT_VERSION(2, 600);
}

TEST_F(fill, forgotten_by_who_had_written_it)
{
	FORGETS(writes_twice);
	EXPECT_EQ(0xbb, mf_page(&self->vm, 600)[16]);
}

TEST_F(fill, forgotten_by_who_had_locked_it)
{
	FORGETS(locks_and_looks);
}

/* The guest's page tables, too. */
TEST_F(fill, forgotten_by_the_guest)
{
	struct mf_guest guest;
	struct migrate_fast_fault fault;
	__u32 value = 0;
	pid_t pid;
	int rc = mf_guest_open(&guest, self->vm.map, PAGES * MF_PAGE);

	if (rc == -ENODEV)
		SKIP(return, "no KVM on this host");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, mf_guest_load(&guest, 600 * MF_PAGE, &value));
	EXPECT_EQ((__u32)mf_stamp_word(600, 0, 1), value);
	ASSERT_EQ(0, mf_guest_store(&guest, 601 * MF_PAGE, 0x1234));
	ASSERT_EQ(64, mf_demand(&self->vm, 576, 64));
	/* The processor of a VM runs only in its own process: fill elsewhere. */
	pid = fork();
	if (!pid) {
		size_t page;

		for (page = 600; page < 602; page++) {
			if (mf_fault(&self->vm, &fault, MF_PATIENCE_MS) != 1 ||
			    fault.page != page)
				_exit(1);
			usleep(20000);
			if (mf_fill(&self->vm, page, 1, 2) != 1)
				_exit(2);
		}
		_exit(0);
	}
	ASSERT_EQ(0, mf_guest_load(&guest, 600 * MF_PAGE, &value));
	EXPECT_EQ((__u32)mf_stamp_word(600, 0, 2), value);
	ASSERT_EQ(0, mf_guest_load(&guest, 601 * MF_PAGE, &value));
	EXPECT_EQ((__u32)mf_stamp_word(601, 0, 2), value);
	EXPECT_EQ(0, mf_wait(pid));
	mf_guest_close(&guest);
}

TEST_F(fill, their_memory_is_freed)
{
	long before = kilobytes(self->vm.fd);

	ASSERT_EQ(PAGES * 4, before);
	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	EXPECT_EQ(before - 512 * 4, kilobytes(self->vm.fd));
	EXPECT_EQ(100, mf_fill(&self->vm, 512, 100, 2));
	/* In a large page the rest is paid for as well. */
	EXPECT_LE(before - 412 * 4, kilobytes(self->vm.fd));
	EXPECT_EQ(412, mf_fill_zero(&self->vm, 612, 412));
	if (!strcmp(variant->options, "huge=never"))
		EXPECT_EQ(before - 412 * 4, kilobytes(self->vm.fd));
}

TEST_F(fill, only_those_in_the_bitmap)
{
	__u64 bits[PAGES / 64] = {};
	size_t page;

	for (page = 0; page < PAGES; page++) {
		if (page % 7 == 0 || (page / 64) % 3 == 0)
			bits[page / 64] |= 1ULL << page % 64;
	}
	ASSERT_LT(0, mf_demand_bits(&self->vm, bits));
	EXPECT_STREQ(mf_list(bits, PAGES), mf_absent(&self->vm));
	for (page = 0; page < PAGES; page++) {
		if (!mf_bit(bits, page))
			EXPECT_VERSION(1, page);
	}
	/* A fill of everything leaves alone what is there. */
	EXPECT_EQ(mf_absent_state(&self->vm).absent,
		  mf_fill(&self->vm, 0, PAGES, 2));
	for (page = 0; page < PAGES; page++)
		EXPECT_VERSION(mf_bit(bits, page) ? 2 : 1, page);
}

TEST_F(fill, pages_that_never_were)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_REMOVE));
	ASSERT_EQ(PAGES, mf_demand(&self->vm, 0, PAGES));
	pid = mf_touch_start(&self->vm, mf_touch_load, 77);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 77, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, pages_in_swap)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	EXPECT_EQ(64, mf_swap_out(mf_page(&self->vm, 512), 64 * MF_PAGE));
	ASSERT_EQ(32, mf_demand(&self->vm, 512, 32));
	EXPECT_EQ(32, mf_fill(&self->vm, 512, 32, 2));
	EXPECT_VERSION(2, 520);
	EXPECT_VERSION(1, 550);
	/* What was filled can go to swap and come back. */
	EXPECT_EQ(64, mf_swap_out(mf_page(&self->vm, 512), 64 * MF_PAGE));
	EXPECT_EQ(0, mf_fill(&self->vm, 512, 32, 3));
	EXPECT_VERSION(2, 520);
	EXPECT_VERSION(2, 543);
	EXPECT_VERSION(1, 544);
}

/* Again and again: the newest alone counts. */
TEST_F(fill, the_same_pages_again)
{
	__u64 version;

	for (version = 2; version < 8; version++) {
		ASSERT_EQ(100, mf_demand(&self->vm, 500, 100));
		/* To say it twice changes nothing. */
		ASSERT_EQ(100, mf_demand(&self->vm, 500, 100));
		EXPECT_EQ(100, mf_fill(&self->vm, 500, 100, version));
		EXPECT_VERSION(version, 500);
		EXPECT_VERSION(version, 599);
		EXPECT_VERSION(1, 499);
		EXPECT_VERSION(1, 600);
	}
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
}

/* The second comes late: by a push, say, that a fault has overtaken. */
TEST_F(fill, the_first_fill_wins)
{
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_fill(&self->vm, 520, 1, 3));
	EXPECT_VERSION(2, 520);
	mf_page(&self->vm, 520)[100] = 0xcc;
	EXPECT_EQ(63, mf_fill(&self->vm, 512, 64, 4));
	EXPECT_EQ(0xcc, mf_page(&self->vm, 520)[100]);
	EXPECT_VERSION(4, 519);
	EXPECT_VERSION(4, 521);
	/* Nothing to serve any more: nobody minds late fills. */
	EXPECT_EQ(0, mf_fill(&self->vm, 512, 64, 5));
	EXPECT_EQ(0, mf_fill_zero(&self->vm, 520, 1));
	EXPECT_EQ(0xcc, mf_page(&self->vm, 520)[100]);
}

TEST_F(fill, zeroes)
{
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(1, mf_fill_zero(&self->vm, 513, 1));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 513)));
	mf_page(&self->vm, 513)[0] = 1;
	EXPECT_EQ(0, mf_fill_zero(&self->vm, 513, 1));
	EXPECT_EQ(1, mf_page(&self->vm, 513)[0]);
	EXPECT_EQ(63, mf_fill_zero(&self->vm, 512, 64));
	EXPECT_EQ(1, mf_page(&self->vm, 513)[0]);
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 575)));
	EXPECT_VERSION(1, 511);
	EXPECT_VERSION(1, 576);
}

/* Page tables may come and go; the page stays what it is. */
TEST_F(fill, dontneed_is_harmless)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 512), 64 * MF_PAGE,
			     MADV_DONTNEED));
	EXPECT_STREQ("512-575", mf_absent(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	mf_page(&self->vm, 512)[9] = 0x77;
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 512), 64 * MF_PAGE,
			     MADV_DONTNEED));
	EXPECT_EQ(0x77, mf_page(&self->vm, 512)[9]);
	pid = mf_touch_start(&self->vm, mf_touch_load, 513);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 513, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

/* Those that only ask, or give advice, do not wait and change nothing. */
TEST_F(fill, who_only_asks_does_not_wait)
{
	struct migrate_fast_fault fault;
	struct iovec iov;
	char byte;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(0, mf_resident(mf_page(&self->vm, 520)));
	EXPECT_EQ(0, madvise(mf_page(&self->vm, 512), 64 * MF_PAGE,
			     MADV_WILLNEED));
	EXPECT_EQ(0, msync(self->vm.map, PAGES * MF_PAGE, MS_SYNC));
	EXPECT_EQ(0, fsync(self->vm.fd));
	posix_fadvise(self->vm.fd, 512 * MF_PAGE, 64 * MF_PAGE,
		      POSIX_FADV_WILLNEED);
	readahead(self->vm.fd, 512 * MF_PAGE, 64 * MF_PAGE);
	/* It must not block, so it cannot read. */
	iov = (struct iovec){ &byte, 1 };
	EXPECT_EQ(-1, preadv2(self->vm.fd, &iov, 1, 520 * MF_PAGE, RWF_NOWAIT));
	EXPECT_TRUE(errno == EAGAIN || errno == EOPNOTSUPP);
	EXPECT_EQ(0, mf_fault(&self->vm, &fault, 50));
	EXPECT_STREQ("512-575", mf_absent(&self->vm));
}

/* A copy of the file skips what is a hole; an absent page is none. */
TEST_F(fill, an_absent_page_is_no_hole)
{
	ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_REMOVE));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_GE(512 * MF_PAGE, lseek(self->vm.fd, 0, SEEK_DATA));
	EXPECT_EQ(520 * MF_PAGE, lseek(self->vm.fd, 520 * MF_PAGE, SEEK_DATA));
	EXPECT_LE(576 * MF_PAGE, lseek(self->vm.fd, 512 * MF_PAGE, SEEK_HOLE));
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_LE(512 * MF_PAGE, lseek(self->vm.fd, 0, SEEK_DATA));
}

/* Memory is allocated beforehand, and would be taken for the page. */
TEST_F(fill, allocation_brings_no_page)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(0, fallocate(self->vm.fd, 0, 0, PAGES * MF_PAGE));
	EXPECT_EQ(0, fallocate(self->vm.fd, FALLOC_FL_KEEP_SIZE, 520 * MF_PAGE,
			       MF_PAGE));
	EXPECT_STREQ("512-575", mf_absent(&self->vm));
	pid = mf_touch_start(&self->vm, mf_touch_load, 520);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_VERSION(2, 512);
	EXPECT_VERSION(2, 575);
	EXPECT_VERSION(1, 576);
}

TEST_HARNESS_MAIN
