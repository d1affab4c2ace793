// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_HASH as a call: ranges, full arrays, signals, errors.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 300UL

FIXTURE(ranges)
{
	struct mf_vm vm;
	struct migrate_fast_digest *digests;
	struct migrate_fast_hash hash;
};

FIXTURE_SETUP(ranges)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	self->digests = calloc(PAGES, sizeof(*self->digests));
	self->hash = (struct migrate_fast_hash){
		.digests = (uintptr_t)self->digests, .max = PAGES,
	};
}

FIXTURE_TEARDOWN(ranges)
{
	mf_vm_close(&self->vm);
}

static int hash(struct _test_data_ranges *self, struct migrate_fast_hash *arg)
{
	return mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, arg);
}

TEST_F(ranges, anywhere)
{
	self->hash.start = 7;
	self->hash.pages = 100;
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(100, self->hash.count);
	EXPECT_EQ(107, self->hash.next);
	EXPECT_EQ(7, self->digests[0].page);
	EXPECT_EQ(106, self->digests[99].page);
}

TEST_F(ranges, to_the_end)
{
	self->hash.start = 299;
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(1, self->hash.count);
	EXPECT_EQ(300, self->hash.next);
	EXPECT_EQ(299, self->digests[0].page);
}

/* In pieces of every size: no page twice, none left out. */
TEST_F(ranges, full_array)
{
	struct migrate_fast_hash arg;
	__u64 max, want;

	for (max = 1; max < PAGES + 10; max = max * 2 + 3) {
		arg = self->hash;
		arg.max = max;
		for (want = 0; want < PAGES; want += arg.count) {
			__u64 left = PAGES - want;

			ASSERT_EQ(0, hash(self, &arg));
			ASSERT_EQ(left < max ? left : max, arg.count);
			ASSERT_EQ(want, self->digests[0].page);
			ASSERT_EQ(want + arg.count, arg.next);
			arg.start = arg.next;
		}
	}
}

TEST_F(ranges, array_is_not_overrun)
{
	memset(self->digests, 0xee, PAGES * sizeof(*self->digests));
	self->hash.max = 50;
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(50, self->hash.count);
	EXPECT_EQ(0xeeeeeeee, self->digests[50].flags);
}

TEST_F(ranges, enoent)
{
	self->hash.ram = 1;
	EXPECT_EQ(-ENOENT, hash(self, &self->hash));
}

TEST_F(ranges, leave_the_file)
{
	struct migrate_fast_hash arg = self->hash;

	arg.pages = PAGES + 1;
	EXPECT_EQ(-EINVAL, hash(self, &arg));
	arg.start = 1;
	arg.pages = PAGES;
	EXPECT_EQ(-EINVAL, hash(self, &arg));
	arg.start = PAGES + 1;
	arg.pages = 0;
	EXPECT_EQ(-EINVAL, hash(self, &arg));
	arg.start = 2;
	arg.pages = -1ULL;
	EXPECT_EQ(-EINVAL, hash(self, &arg));
	arg.start = -1ULL;
	arg.pages = 2;
	EXPECT_EQ(-EINVAL, hash(self, &arg));
}

TEST_F(ranges, no_room)
{
	self->hash.max = 0;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
}

TEST_F(ranges, misaligned_array)
{
	self->hash.digests += 4;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
}

TEST_F(ranges, seed_without_xxh64)
{
	self->hash.seed = 1;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
	self->hash.flags = MIGRATE_FAST_HASH_SHA256;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
	self->hash.flags = MIGRATE_FAST_HASH_XXH64;
	EXPECT_EQ(0, hash(self, &self->hash));
}

TEST_F(ranges, unknown_flags)
{
	self->hash.flags = 8;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
	self->hash.flags = 1U << 31;
	EXPECT_EQ(-EINVAL, hash(self, &self->hash));
}

TEST_F(ranges, efault)
{
	self->hash.digests = 8;
	EXPECT_EQ(-EFAULT, hash(self, &self->hash));
	self->hash.digests = 1ULL << 63;
	EXPECT_EQ(-EFAULT, hash(self, &self->hash));
}

/* A max beyond all memory is a promise that need not be kept. */
TEST_F(ranges, enormous_max)
{
	self->hash.max = ~0ULL;
	self->hash.pages = 10;
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(10, self->hash.count);
}

/* Where start + max does not fit. */
TEST_F(ranges, enormous_max_further_on)
{
	self->hash.max = ~0ULL;
	self->hash.start = 5;
	self->hash.pages = 10;
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(10, self->hash.count);
	EXPECT_EQ(15, self->hash.next);
}

TEST_F(ranges, file_has_become_shorter)
{
	ASSERT_EQ(0, ftruncate(self->vm.fd, 100 * MF_PAGE));
	ASSERT_EQ(0, hash(self, &self->hash));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(0, self->digests[99].flags);
	EXPECT_EQ(MIGRATE_FAST_DIGEST_ZERO | MIGRATE_FAST_DIGEST_ABSENT,
		  self->digests[100].flags);
}

static void ignore(int signal)
{
}

static void *interrupt(void *arg)
{
	pthread_t *victim = arg;
	int i;

	for (i = 0; i < 40; i++) {
		usleep(2000);
		pthread_kill(*victim, SIGUSR1);
	}
	return NULL;
}

/* Signals make it shorter, never wrong: it goes on where it ended. */
TEST_F(ranges, signals)
{
	struct sigaction action = { .sa_handler = ignore };
	size_t pages = 16384, want = 0, early = 0;
	struct migrate_fast_digest *digests = calloc(pages, sizeof(*digests));
	struct migrate_fast_hash arg;
	struct migrate_fast_add add;
	int fd = mf_create(MF_MNT "/long", pages * MF_PAGE);
	void *map = mf_map(fd, pages * MF_PAGE, PROT_READ | PROT_WRITE);
	pthread_t thread, self_id = pthread_self();

	ASSERT_NE(NULL, map);
	memset(map, 1, pages * MF_PAGE);
	ASSERT_EQ(0, mf_add(self->vm.session, fd, &add));
	sigaction(SIGUSR1, &action, NULL);
	ASSERT_EQ(0, pthread_create(&thread, NULL, interrupt, &self_id));
	arg = (struct migrate_fast_hash){
		.ram = add.ram, .flags = MIGRATE_FAST_HASH_SHA256,
		.digests = (uintptr_t)digests, .max = pages,
	};
	while (want < pages) {
		int rc = hash(self, &arg);

		if (rc == -EINTR) {
			early++;
			continue;
		}
		ASSERT_EQ(0, rc);
		ASSERT_EQ(want + arg.count, arg.next);
		if (arg.count)
			ASSERT_EQ(want, digests[0].page);
		want = arg.next;
		early += want < pages;
		arg.start = want;
	}
	pthread_join(thread, NULL);
	TH_LOG("ended early %zu times", early);
	EXPECT_LT(0, early);
	munmap(map, pages * MF_PAGE);
	close(fd);
	free(digests);
}

TEST_HARNESS_MAIN
