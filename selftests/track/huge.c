// SPDX-License-Identifier: GPL-2.0
/*
 * 2 MB pages: mapped as such while nobody tracks, 4 KiB precision while one
 * does, and back again afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#include <sys/mman.h>

#define PAGES (4 * MF_HUGE)
#define ALL_KB ((long)(PAGES * MF_PAGE / 1024))

FIXTURE(huge)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(huge)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=always"));
	memset(self->vm.map, 1, PAGES * MF_PAGE);
}

FIXTURE_TEARDOWN(huge)
{
	mf_vm_close(&self->vm);
}

static long mapped_huge(struct mf_vm *vm)
{
	return mf_smaps(vm->map, "ShmemPmdMapped");
}

static int collapse(struct mf_vm *vm)
{
	int tries;

	/*
	 * EAGAIN: a page was busy for a moment, in a per-CPU batch perhaps.
	 * EINVAL: what is tracked is not collapsed (from 6.17 on), nor is it for
	 * a moment after.
	 */
	for (tries = 0; tries < 50; tries++) {
		if (!madvise(vm->map, PAGES * MF_PAGE, MADV_COLLAPSE))
			return 0;
		if (errno != EAGAIN && errno != EINVAL)
			break;
		usleep(20000);
	}
	return -errno;
}

/* Before the first START large mappings are what tmpfs would give. */
TEST_F(huge, mapped_large_while_not_tracked)
{
	EXPECT_EQ(ALL_KB, mapped_huge(&self->vm));
}

/* One store makes one page travel, not 512. */
TEST_F(huge, precise_while_tracked)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 700)[0] = 2;
	EXPECT_STREQ("700", mf_harvest(&self->vm));
	mf_page(&self->vm, 701)[0] = 2;
	mf_page(&self->vm, 1100)[0] = 2;
	EXPECT_STREQ("701,1100", mf_harvest(&self->vm));
	mf_page(&self->vm, 700)[0] = 3;
	EXPECT_STREQ("700", mf_harvest(&self->vm));
}

/* A process that maps the file only now faults into empty page tables. */
TEST_F(huge, precise_in_a_new_mapping)
{
	unsigned char *other;

	ASSERT_EQ(0, mf_start(self->vm.session));
	other = mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_TRUE(other);
	other[100 * MF_PAGE] = 2;
	EXPECT_STREQ("100", mf_harvest(&self->vm));
	other[101 * MF_PAGE] = 2;
	EXPECT_STREQ("101", mf_harvest(&self->vm));
	other[100 * MF_PAGE] = 2;
	mf_page(&self->vm, 100)[0] = 2;
	EXPECT_STREQ("100", mf_harvest(&self->vm));
}

TEST_F(huge, precise_after_dontneed)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_DONTNEED));
	mf_page(&self->vm, 3)[0] = 2;
	EXPECT_STREQ("3", mf_harvest(&self->vm));
	mf_page(&self->vm, 4)[0] = 2;
	EXPECT_STREQ("4", mf_harvest(&self->vm));
}

/* A mapping first made by reading, of which one page is written then. */
TEST_F(huge, precise_after_reading)
{
	unsigned char *other;

	ASSERT_EQ(0, mf_start(self->vm.session));
	other = mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_TRUE(other);
	EXPECT_EQ(1, __atomic_load_n(other + 600 * MF_PAGE, __ATOMIC_RELAXED));
	other[610 * MF_PAGE] = 2;
	EXPECT_STREQ("610", mf_harvest(&self->vm));
	other[611 * MF_PAGE] = 2;
	EXPECT_STREQ("611", mf_harvest(&self->vm));
}

/* One who faults pages of the same large page at the same moment. */
struct other {
	unsigned char *page;
	bool writes;
	unsigned int turn, done;	/* the last one is UINT_MAX */
};

static void *other_faults(void *arg)
{
	struct other *other = arg;
	unsigned int turn;

	do {
		do {
			turn = __atomic_load_n(&other->turn, __ATOMIC_SEQ_CST);
			sched_yield();
		} while (turn == other->done);
		if (other->writes)
			*(volatile unsigned char *)other->page = 2;
		else
			*(volatile unsigned char *)other->page;
		__atomic_store_n(&other->done, turn, __ATOMIC_SEQ_CST);
	} while (turn != UINT_MAX);
	return NULL;
}

static void other_takes_turn(struct other *other, unsigned int turn)
{
	__atomic_store_n(&other->turn, turn, __ATOMIC_SEQ_CST);
}

static void other_has_done(struct other *other)
{
	while (__atomic_load_n(&other->done, __ATOMIC_SEQ_CST) != other->turn)
		sched_yield();
}

/*
 * Nor does it matter who else faults there: a guest's processor and the
 * thread that faults asynchronously for it are two who write one page.
 */
static void precise_beside(struct __test_metadata *_metadata,
			   struct _test_data_huge *self, unsigned char *map,
			   bool writes)
{
	struct other other = { .writes = writes };
	unsigned int turn, carried = 0;
	pthread_t thread;
	char page[8];

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, pthread_create(&thread, NULL, other_faults, &other));
	for (turn = 1; turn <= 1000; turn++) {
		size_t number = MF_HUGE + turn % (MF_HUGE - 1);

		ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE,
				     MADV_DONTNEED));
		ASSERT_EQ(0, madvise(map, PAGES * MF_PAGE, MADV_DONTNEED));
		other.page = map + (number + !writes) * MF_PAGE;
		other_takes_turn(&other, turn);
		*(volatile unsigned char *)mf_page(&self->vm, number) = 2;
		other_has_done(&other);
		snprintf(page, sizeof(page), "%zu", number);
		ASSERT_STREQ(page, mf_harvest(&self->vm)) {
			TH_LOG("turn %u", turn);
		}
		/*
		 * Who has just faulted there may not have let go of the folio:
		 * then it is reported again, and said to be.
		 */
		if (!self->vm.carried)
			continue;
		carried++;
		ASSERT_STREQ(page, mf_harvest_settled(&self->vm));
	}
	if (carried)
		TH_LOG("%u turns were carried", carried);
	EXPECT_GT(50, carried);
	other.page = map;
	other_takes_turn(&other, UINT_MAX);
	pthread_join(thread, NULL);
}

TEST_F(huge, precise_when_two_write_a_page)
{
	precise_beside(_metadata, self, self->vm.map, true);
}

TEST_F(huge, precise_beside_a_reader_of_the_mapping)
{
	precise_beside(_metadata, self, self->vm.map, false);
}

TEST_F(huge, precise_beside_a_reader)
{
	unsigned char *map = mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ);

	ASSERT_TRUE(map);
	precise_beside(_metadata, self, map, false);
}

/* Holes become large pages while tracked; only what was written is news. */
TEST_F(huge, precise_in_holes)
{
	ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_REMOVE));
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 5)[0] = 2;
	EXPECT_STREQ("5", mf_harvest(&self->vm));
	mf_page(&self->vm, 6)[0] = 2;
	EXPECT_STREQ("6", mf_harvest(&self->vm));
	EXPECT_EQ(1, pwrite(self->vm.fd, "x", 1, 700 * MF_PAGE));
	EXPECT_STREQ("700", mf_harvest(&self->vm));
}

/* A mapping that is not aligned to 2 MB has only small entries. */
TEST_F(huge, precise_in_an_unaligned_mapping)
{
	unsigned char *room, *other;

	room = mf_map(self->vm.fd, PAGES * MF_PAGE, PROT_READ);
	ASSERT_TRUE(room);
	other = mmap(room + MF_PAGE, (PAGES - 1) * MF_PAGE,
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		     self->vm.fd, 0);
	ASSERT_NE(MAP_FAILED, other);
	other[9 * MF_PAGE] = 1;
	ASSERT_EQ(0, mf_start(self->vm.session));
	other[9 * MF_PAGE] = 2;
	EXPECT_STREQ("9", mf_harvest(&self->vm));
	other[10 * MF_PAGE] = 2;
	EXPECT_STREQ("10", mf_harvest(&self->vm));
}

TEST_F(huge, large_again_after_tracking)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(mf_page(&self->vm, 10), 2, 1200 * MF_PAGE);
	EXPECT_STREQ("10-1209", mf_harvest(&self->vm));
	mf_page(&self->vm, 10)[0] = 3;
	ASSERT_EQ(0, mf_stop(self->vm.session));
	ASSERT_EQ(0, collapse(&self->vm));
	EXPECT_EQ(ALL_KB, mapped_huge(&self->vm));
	EXPECT_EQ(3, mf_page(&self->vm, 10)[0]);
	EXPECT_EQ(2, mf_page(&self->vm, 11)[0]);
}

TEST_F(huge, large_again_when_the_session_ends)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(self->vm.map, 2, PAGES * MF_PAGE);
	munmap(self->vm.bitmap, self->vm.bitmap_bytes);
	self->vm.bitmap = NULL;
	close(self->vm.session);
	self->vm.session = -1;
	ASSERT_EQ(0, collapse(&self->vm));
	EXPECT_EQ(ALL_KB, mapped_huge(&self->vm));
	memset(self->vm.map, 3, PAGES * MF_PAGE);
	EXPECT_EQ(ALL_KB, mapped_huge(&self->vm));
}

/* Someone collapses while tracked: nothing written before or after is lost. */
TEST_F(huge, collapse_while_tracked)
{
	__u64 want[PAGES / 64] = {};
	size_t i;

	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 700)[0] = 2;
	collapse(&self->vm);
	mf_page(&self->vm, 20)[0] = 2;
	mf_page(&self->vm, 1500)[0] = 2;
	mf_harvest(&self->vm);
	for (i = 0; i < PAGES; i++) {
		if (i == 700 || i == 20 || i == 1500)
			want[i / 64] |= 1ULL << i % 64;
	}
	/* More may be reported here: whole large pages. Not less. */
	for (i = 0; i < PAGES / 64; i++)
		EXPECT_EQ(want[i], want[i] & self->vm.bitmap[i]);
	mf_page(&self->vm, 20)[0] = 3;
	mf_harvest(&self->vm);
	EXPECT_TRUE(mf_bit(self->vm.bitmap, 20));
}

/* Tracking begins, ends and begins: large mappings at each beginning. */
TEST_F(huge, again_and_again)
{
	int round;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, mf_start(self->vm.session));
		mf_page(&self->vm, 513)[0] = round;
		EXPECT_STREQ("513", mf_harvest(&self->vm));
		memset(self->vm.map, round, PAGES * MF_PAGE);
		EXPECT_STREQ("0-2047", mf_harvest(&self->vm));
		ASSERT_EQ(0, mf_stop(self->vm.session));
		ASSERT_EQ(0, collapse(&self->vm));
		memset(self->vm.map, round, PAGES * MF_PAGE);
		EXPECT_EQ(ALL_KB, mapped_huge(&self->vm));
	}
}

TEST_F(huge, punch_of_a_part)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 600), 3 * MF_PAGE, MADV_REMOVE));
	EXPECT_STREQ("600-602", mf_harvest(&self->vm));
	mf_page(&self->vm, 601)[0] = 2;
	mf_page(&self->vm, 603)[0] = 2;
	EXPECT_STREQ("601,603", mf_harvest(&self->vm));
	EXPECT_EQ(0, mf_page(&self->vm, 602)[0]);
	EXPECT_EQ(1, mf_page(&self->vm, 604)[0]);
}

TEST_HARNESS_MAIN
