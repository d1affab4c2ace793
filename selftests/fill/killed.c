// SPDX-License-Identifier: GPL-2.0
/*
 * The server is killed at a random moment, again and again, while the VM reads
 * and writes. The next server finds out what is absent and brings it. The VM
 * waits, and notices nothing else.
 *
 * MF_REPEAT (each is 8 kills) and MF_SEED in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fixture.h"

#define READERS 3

/* What the VM's threads share with the judge. */
static struct {
	struct mf_vm *vm;
	bool stop;
	__u64 floor;	/* no page is older */
	__u64 looks;
	__u64 errors;
	__u64 random;
} readers;

/* Any version from the floor on, but all of a page the same. */
static void *reads(void *arg)
{
	__u64 random = __atomic_add_fetch(&readers.random, 1, __ATOMIC_SEQ_CST);
	__u64 words[MF_PAGE / 8], floor, again;
	size_t page;

	while (!__atomic_load_n(&readers.stop, __ATOMIC_ACQUIRE)) {
		page = mf_random(&random) % PAGES;
		floor = __atomic_load_n(&readers.floor, __ATOMIC_SEQ_CST);
		/* Copied twice: a page that is exchanged meanwhile may differ. */
		again = *(volatile __u64 *)mf_page(readers.vm, page);
		memcpy(words, mf_page(readers.vm, page), MF_PAGE);
		if (words[0] >> 32 < floor || again >> 32 < floor ||
		    words[0] != mf_stamp_word(page, 0, words[0] >> 32) ||
		    words[511] != mf_stamp_word(page, 511, words[511] >> 32) ||
		    words[511] >> 32 < words[0] >> 32) {
			if (!__atomic_fetch_add(&readers.errors, 1,
						__ATOMIC_SEQ_CST))
				fprintf(stderr, "# page %zu: %llx %llx %llx, floor %llx\n",
					page, again, words[0], words[511], floor);
		}
		__atomic_fetch_add(&readers.looks, 1, __ATOMIC_RELAXED);
		usleep(mf_random(&random) % 500);
	}
	return NULL;
}

/* Makes all absent, and brings it: what is wanted first. Never ends by itself. */
static int serve(struct mf_vm *vm, __u64 version, __u64 random)
{
	struct migrate_fast_fault faults[8];
	struct migrate_fast_add add;
	size_t page = 0;
	ssize_t n;
	int i;

	/* The session that was inherited is the judge's. */
	vm->session = mf_session();
	if (vm->session < 0 || mf_add(vm->session, vm->fd, &add))
		return 1;
	vm->ram = add.ram;
	fcntl(vm->session, F_SETFL, O_RDWR | O_NONBLOCK);
	if (mf_demand(vm, 0, PAGES) < 0)
		return 2;
	while (1) {
		size_t piece = 1 + mf_random(&random) % 16;

		n = read(vm->session, faults, sizeof(faults));
		for (i = 0; i < n / (ssize_t)sizeof(*faults); i++)
			mf_fill(vm, faults[i].page, 1, version);
		if (page + piece < PAGES)
			mf_fill(vm, page, piece, version);
		page += piece;
		usleep(mf_random(&random) % 500);
	}
}

/* All pages are the same version, which one? */
static long version_of_all(struct mf_vm *vm)
{
	__u64 version = *(__u64 *)vm->map >> 32;
	size_t page;

	for (page = 0; page < PAGES; page++) {
		if (mf_stamp_differs(mf_page(vm, page), page, version) >= 0) {
			fprintf(stderr, "# page %zu is not of version %llu\n",
				page, version);
			return -EBADMSG;
		}
	}
	return version;
}

TEST_F_TIMEOUT(fill, killed_at_random_moments, 600)
{
	unsigned int repeat = 8 * mf_environment("MF_REPEAT", 1);
	long refcnt = mf_users(), absent, left = 0;
	pthread_t threads[READERS];
	__u64 random = mf_seed();
	unsigned int i, marked = 0;
	pid_t pid;

	readers.vm = &self->vm;
	readers.floor = 1;
	readers.random = mf_random(&random);
	for (i = 0; i < READERS; i++)
		ASSERT_EQ(0, pthread_create(threads + i, NULL, reads, NULL));
	for (i = 0; i < repeat; i++) {
		fflush(stdout);
		pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(serve(&self->vm, i + 2, random));
		}
		usleep(mf_random(&random) % 150000);
		kill(pid, SIGKILL);
		ASSERT_EQ(-SIGKILL, mf_touch_end(pid));
		absent = mf_demand_bits(&self->vm, NULL);
		ASSERT_LE(0, absent);
		EXPECT_EQ(absent, mf_fill(&self->vm, 0, PAGES, i + 2));
		EXPECT_EQ(0, mf_absent_state(&self->vm).absent);
		left += absent;
		/* It was marked as a whole, or not at all. */
		absent = version_of_all(&self->vm);
		EXPECT_TRUE(absent == i + 2 || absent == readers.floor);
		marked += absent == i + 2;
		if (absent > 0)
			__atomic_store_n(&readers.floor, absent,
					 __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&readers.stop, true, __ATOMIC_RELEASE);
	for (i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, readers.errors);
	EXPECT_LT(0, readers.looks);
	EXPECT_EQ(refcnt, mf_users_settled(refcnt));
	TH_LOG("%u kills, %u after marking, %ld pages left, %llu faults, %llu looks",
	       repeat, marked, left, mf_absent_state(&self->vm).faults,
	       readers.looks);
}

TEST_HARNESS_MAIN
