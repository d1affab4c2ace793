// SPDX-License-Identifier: GPL-2.0
/*
 * Nobody writes, but the kernel moves the pages about: to swap and back, into
 * large pages and out of them, to other places in memory. Digests must stay
 * the same all the while; a page that is caught half way would read as zeroes.
 *
 * MF_SECONDS in the environment.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xxhash.h>

#include "kselftest_harness.h"
#include "mf_fixture.h"
#include "mf_test.h"

#define PAGES (4 * MF_HUGE)

FIXTURE(steady)
{
	struct mf_vm vm;
	struct migrate_fast_digest *digests;
	__u64 *want;
	pthread_t threads[4];
	bool stop;
};

MF_SMALL_AND_HUGE(steady);

FIXTURE_SETUP(steady)
{
	size_t i, page;

	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	self->digests = calloc(PAGES, sizeof(*self->digests));
	self->want = calloc(PAGES, sizeof(*self->want));
	for (page = 0; page < PAGES; page++) {
		__u64 *words = (void *)mf_page(&self->vm, page);

		for (i = 0; i < 512; i++)
			words[i] = page * 512 + i + 1;
		self->want[page] = XXH64(words, MF_PAGE, 5);
	}
	self->stop = false;
}

FIXTURE_TEARDOWN(steady)
{
	mf_vm_close_grouped(&self->vm);
}

static bool stopped(struct _test_data_steady *self)
{
	return __atomic_load_n(&self->stop, __ATOMIC_ACQUIRE);
}

static void *swap(void *arg)
{
	struct _test_data_steady *self = arg;
	__u64 random = 1;

	while (!stopped(self)) {
		madvise(mf_page(&self->vm, mf_random(&random) % (PAGES - 64)),
			64 * MF_PAGE, MADV_PAGEOUT);
		usleep(2000);
	}
	return NULL;
}

static void *collapse(void *arg)
{
	struct _test_data_steady *self = arg;
	__u64 random = 2;

	while (!stopped(self)) {
		madvise(mf_page(&self->vm, mf_random(&random) % 4 * MF_HUGE),
			MF_HUGE * MF_PAGE, MADV_COLLAPSE);
		usleep(5000);
	}
	return NULL;
}

/* Reads, which splits and maps, and moves between nodes where there are two. */
static void *touch(void *arg)
{
	struct _test_data_steady *self = arg;
	__u64 random = 3;

	while (!stopped(self)) {
		void *page = mf_page(&self->vm, mf_random(&random) % PAGES);
		int status, node = mf_random(&random) & 1;

		__atomic_load_n((char *)page, __ATOMIC_RELAXED);
		syscall(SYS_move_pages, 0, 1UL, &page, &node, &status, 4);
		usleep(500);
	}
	return NULL;
}

/* As memory failure does, or a balloon that takes a part; where debugfs has it. */
static void *split(void *arg)
{
	struct _test_data_steady *self = arg;
	__u64 random = 4;
	int fd;

	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	fd = open("/sys/kernel/debug/split_huge_pages", O_WRONLY | O_CLOEXEC);
	while (fd >= 0 && !stopped(self)) {
		unsigned long at = (unsigned long)
			mf_page(&self->vm, mf_random(&random) % 4 * MF_HUGE);
		char range[100];

		snprintf(range, sizeof(range), "%d,%#lx,%#lx", getpid(), at,
			 at + MF_HUGE * MF_PAGE);
		/* Fails where nothing was to be split, or it was in use. */
		if (write(fd, range, strlen(range)) < 0)
			usleep(500);
		usleep(2000);
	}
	close(fd);
	return NULL;
}

TEST_F_TIMEOUT(steady, digests_while_pages_move, 600)
{
	void *(*movers[])(void *arg) = {
		swap, collapse, touch, split,
	};
	unsigned long long until = mf_ms() +
		1000 * mf_environment("MF_SECONDS", 6);
	unsigned int rounds = 0, wrong = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(movers); i++)
		ASSERT_EQ(0, pthread_create(self->threads + i, NULL, movers[i],
					    self));
	while (mf_ms() < until && !wrong) {
		struct migrate_fast_hash hash = {
			.flags = MIGRATE_FAST_HASH_XXH64, .seed = 5,
			.digests = (uintptr_t)self->digests, .max = PAGES,
		};

		EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HASH,
				      &hash));
		EXPECT_EQ(PAGES, hash.count);
		for (i = 0; i < hash.count; i++) {
			if (self->digests[i].xxh64 != self->want[i] && !wrong++)
				TH_LOG("round %u page %zu flags %u", rounds, i,
				       self->digests[i].flags);
		}
		rounds++;
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < ARRAY_SIZE(movers); i++)
		pthread_join(self->threads[i], NULL);
	EXPECT_EQ(0, wrong);
	TH_LOG("%u rounds", rounds);
}

TEST_HARNESS_MAIN
