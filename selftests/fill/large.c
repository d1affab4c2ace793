// SPDX-License-Identifier: GPL-2.0
/*
 * Large pages: one of them may hold present and absent pages side by side, and
 * must not give those away that are absent.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fixture.h"

static long mapped_huge(struct mf_vm *vm)
{
	return mf_smaps(vm->map, "ShmemPmdMapped");
}

/* Some page tables are only changed by a new look at all pages. */
static void look_at_all(struct mf_vm *vm, size_t page, size_t pages)
{
	for (; pages; page++, pages--)
		*(volatile unsigned char *)mf_page(vm, page);
}

/* Who looks at the page waits: 0, else what it did instead. */
static int is_waited_for(struct mf_vm *vm, size_t page)
{
	struct migrate_fast_fault fault = {};
	pid_t pid = mf_touch_start(vm, mf_touch_load, page);

	if (mf_fault(vm, &fault, MF_PATIENCE_MS) != 1 || fault.page != page ||
	    !mf_touch_waits(pid)) {
		kill(pid, SIGKILL);
		return mf_touch_end(pid) ?: -ENODATA;
	}
	if (mf_fill(vm, page, 1, 2) != 1)
		return -EIO;
	return mf_touch_end(pid);
}

TEST_F(fill, whole_ones_stay_whole)
{
	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	EXPECT_EQ(512, mf_fill(&self->vm, 512, 512, 2));
	EXPECT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_DONTNEED));
	look_at_all(&self->vm, 0, PAGES);
	EXPECT_EQ(strcmp(variant->options, "huge=always") ? 0 : 4096, mapped_huge(&self->vm));
	EXPECT_VERSION(2, 512);
	EXPECT_VERSION(2, 1023);
	EXPECT_VERSION(1, 511);
}

/* In pieces as a network brings them; the result is the same memory. */
TEST_F(fill, in_pieces)
{
	size_t page, piece = 1;

	ASSERT_EQ(PAGES, mf_demand(&self->vm, 0, PAGES));
	for (page = 0; page < PAGES; page += piece, piece = piece % 37 + 1) {
		size_t n = page + piece > PAGES ? PAGES - page : piece;

		ASSERT_EQ(n, mf_fill(&self->vm, page, n, 2));
		ASSERT_EQ(PAGES - page - n,
			  mf_absent_state(&self->vm).absent);
	}
	for (page = 0; page < PAGES; page++)
		EXPECT_VERSION(2, page);
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);
}

/* One page of an empty range: what comes with it in memory is not there yet. */
TEST_F(fill, one_page_exposes_no_other)
{
	unsigned char bytes[3 * MF_PAGE];

	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	ASSERT_EQ(1, mf_fill(&self->vm, 600, 1, 2));
	EXPECT_VERSION(2, 600);
	EXPECT_EQ(0, is_waited_for(&self->vm, 601));
	EXPECT_EQ(0, is_waited_for(&self->vm, 599));
	/* A write fault, which would map more than a page if it could. */
	mf_page(&self->vm, 600)[0] = 1;
	EXPECT_EQ(0, is_waited_for(&self->vm, 602));
	EXPECT_EQ(0, is_waited_for(&self->vm, 512));
	EXPECT_EQ(0, is_waited_for(&self->vm, 1023));
	EXPECT_EQ(3 * MF_PAGE, pread(self->vm.fd, bytes, 3 * MF_PAGE,
				     600 * MF_PAGE));
	EXPECT_EQ(-1, mf_stamp_differs(bytes + MF_PAGE, 601, 2));
	EXPECT_EQ(0, mapped_huge(&self->vm) & ~2048);
	EXPECT_STREQ("513-598,603-1022", mf_absent(&self->vm));
}

/* One page of a large one that is mapped as a whole. */
TEST_F(fill, one_page_of_a_mapped_one)
{
	look_at_all(&self->vm, 0, PAGES);
	ASSERT_EQ(1, mf_demand(&self->vm, 700, 1));
	EXPECT_VERSION(1, 699);
	EXPECT_VERSION(1, 701);
	EXPECT_EQ(0, is_waited_for(&self->vm, 700));
	EXPECT_VERSION(2, 700);
}

/* A page that a pipe holds by reference, as a device does. */
static int hold(struct mf_vm *vm, int to, size_t page)
{
	struct iovec page_iov = {
		.iov_base = mf_page(vm, page), .iov_len = MF_PAGE,
	};

	return vmsplice(to, &page_iov, 1, 0) == MF_PAGE ? 0 : -errno;
}

/* What it has held all the time: 0 if that is version 1. */
static int held(int from, size_t page)
{
	unsigned char bytes[MF_PAGE];

	if (read(from, bytes, MF_PAGE) != MF_PAGE)
		return -EIO;
	return mf_stamp_differs(bytes, page, 1) < 0 ? 0 : -MF_WRONG;
}

/* If it is part of a large one, which cannot be split then, it stays. */
TEST_F(fill, who_holds_one_keeps_it)
{
	bool large;
	int ends[2];

	look_at_all(&self->vm, 0, PAGES);
	large = mapped_huge(&self->vm) == 4096;
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, hold(&self->vm, ends[1], 700));
	EXPECT_EQ(large ? -EAGAIN : 101, mf_demand(&self->vm, 650, 101));
	EXPECT_STREQ(large ? "" : "650-750", mf_absent(&self->vm));
	if (large)
		EXPECT_VERSION(1, 650);
	EXPECT_EQ(0, held(ends[0], 700));
	EXPECT_EQ(101, mf_demand(&self->vm, 650, 101));
	EXPECT_STREQ("650-750", mf_absent(&self->vm));
	EXPECT_EQ(0, is_waited_for(&self->vm, 700));
	EXPECT_VERSION(1, 649);
	EXPECT_VERSION(1, 751);
}

TEST_F(fill, who_holds_a_whole_one_keeps_it)
{
	int ends[2];

	look_at_all(&self->vm, 0, PAGES);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, hold(&self->vm, ends[1], 700));
	EXPECT_EQ(512, mf_demand(&self->vm, 512, 512));
	EXPECT_EQ(0, held(ends[0], 700));
	EXPECT_EQ(0, is_waited_for(&self->vm, 700));
}

/* What was absent before stays so when nothing comes of a DEMAND. */
TEST_F(fill, what_was_absent_stays_so)
{
	bool large;
	int ends[2];

	look_at_all(&self->vm, 0, PAGES);
	large = mapped_huge(&self->vm) == 4096;
	ASSERT_EQ(10, mf_demand(&self->vm, 100, 10));
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, hold(&self->vm, ends[1], 700));
	EXPECT_EQ(large ? -EAGAIN : 910, mf_demand(&self->vm, 100, 910));
	if (large) {
		EXPECT_STREQ("100-109", mf_absent(&self->vm));
		EXPECT_EQ(0, is_waited_for(&self->vm, 105));
		EXPECT_VERSION(1, 300);
		EXPECT_VERSION(1, 512);
		EXPECT_VERSION(1, 1009);
	}
	EXPECT_EQ(0, held(ends[0], 700));
}

static void *reads_it(void *arg)
{
	int *end = arg;

	usleep(200 * 1000);
	*end = held(*end, 700);
	return NULL;
}

TEST_F(fill, who_lets_go_is_waited_for)
{
	pthread_t thread;
	int ends[2];

	look_at_all(&self->vm, 0, PAGES);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(0, hold(&self->vm, ends[1], 700));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reads_it, ends));
	EXPECT_EQ(101, mf_demand(&self->vm, 650, 101));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, ends[0]);
	EXPECT_EQ(0, is_waited_for(&self->vm, 700));
}

TEST_F(fill, populate_waits_for_the_one)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	EXPECT_EQ(188, mf_fill(&self->vm, 512, 188, 2));
	EXPECT_EQ(323, mf_fill(&self->vm, 701, 323, 2));
	pid = fork();
	if (!pid)
		_exit(madvise(mf_page(&self->vm, 512), 512 * MF_PAGE,
			      MADV_POPULATE_WRITE) != 0);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_EQ(700, fault.page);
	EXPECT_EQ(1, mf_fill(&self->vm, 700, 1, 2));
	EXPECT_EQ(0, mf_wait(pid));
	look_at_all(&self->vm, 512, 512);
	EXPECT_VERSION(2, 700);
	EXPECT_VERSION(2, 1023);
}

/*
 * Collapsing makes zeroes of what is not in memory. It is refused (see
 * collapse.c), and to those who have their own page tables nothing comes of it.
 */
TEST_F(fill, collapse_brings_no_page)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(101, mf_demand(&self->vm, 600, 101));
		madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
		EXPECT_STREQ("600-700", mf_absent(&self->vm));
		look_at_all(&self->vm, 512, 88);
		EXPECT_EQ(0, is_waited_for(&self->vm, 600));
		madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
		EXPECT_EQ(0, is_waited_for(&self->vm, 650));
		/* A write to a neighbour, and a mapping made from nothing. */
		mf_page(&self->vm, 701)[0] = i;
		madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_DONTNEED);
		look_at_all(&self->vm, 701, 200);
		EXPECT_EQ(0, is_waited_for(&self->vm, 700));
		EXPECT_VERSION(1, 599);
		EXPECT_VERSION(1, 702);
		EXPECT_EQ(98, mf_fill(&self->vm, 512, 512, 2));
		madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
		EXPECT_VERSION(2, 601);
		EXPECT_VERSION(2, 699);
		EXPECT_EQ(i, mf_page(&self->vm, 701)[0]);
		mf_stamp(mf_page(&self->vm, 701), 701, 1, 1);
	}
}

/* All absent: nothing to collapse, and nothing to be seen. */
TEST_F(fill, collapse_of_nothing)
{
	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
	EXPECT_EQ(0, is_waited_for(&self->vm, 800));
	madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
	EXPECT_EQ(0, is_waited_for(&self->vm, 801));
	EXPECT_EQ(510, mf_fill(&self->vm, 512, 512, 2));
	EXPECT_VERSION(2, 512);
	EXPECT_VERSION(2, 1023);
}

/* Digests of a range, again and again, in which there never is a zero page. */
struct hasher {
	struct mf_vm *vm;
	bool stop;
	int error;
	unsigned long digests, zeroes;
};

static void *hashes(void *arg)
{
	static struct migrate_fast_digest digests[512];
	struct hasher *hasher = arg;

	while (!__atomic_load_n(&hasher->stop, __ATOMIC_ACQUIRE)) {
		struct migrate_fast_hash hash = {
			.ram = hasher->vm->ram, .start = 512, .pages = 512,
			.flags = MIGRATE_FAST_HASH_XXH64,
			.digests = (uintptr_t)digests, .max = 512,
		};
		int rc = mf_ioctl(hasher->vm->session, MIGRATE_FAST_HASH,
				  &hash);
		size_t i;

		if (rc == -ENODATA)
			continue;
		if (rc)
			hasher->error = rc;
		for (i = 0; i < hash.count; i++)
			hasher->zeroes += !!digests[i].flags;
		hasher->digests += hash.count;
	}
	return NULL;
}

/*
 * A page that goes is zeroed in its place, if the large one cannot be split, and
 * it cannot while somebody reads it.
 */
TEST_F(fill, no_digest_of_what_goes)
{
	struct hasher hasher = { .vm = &self->vm };
	pthread_t thread;
	int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, hashes, &hasher));
	for (i = 0; i < 100 && !hasher.zeroes; i++) {
		madvise(mf_page(&self->vm, 512), 512 * MF_PAGE, MADV_COLLAPSE);
		look_at_all(&self->vm, 512, 1);
		EXPECT_EQ(16, mf_demand(&self->vm, 900, 16));
		EXPECT_EQ(16, mf_fill(&self->vm, 900, 16, 2));
	}
	__atomic_store_n(&hasher.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, hasher.error);
	EXPECT_EQ(0, hasher.zeroes);
	EXPECT_LT(0, hasher.digests);
}

TEST_HARNESS_MAIN
