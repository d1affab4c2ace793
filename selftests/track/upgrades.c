// SPDX-License-Identifier: GPL-2.0
/*
 * Entries of page tables that become writable without a page fault of ours:
 * mprotect() does that to those that are dirty, NUMA balancing, and the end of
 * write protection by userfaultfd(2) if that is asynchronous. A harvest
 * that cleans a run meanwhile must not leave one writable and clean: what is
 * written through it would never be seen again (kmod/clean.c).
 *
 * MF_SECONDS and MF_REPEAT in the environment.
 */
#include <pthread.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/userfaultfd.h>

#include "fixture.h"

/* The headers of Debian 12 do not know it. */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define FIRST	256UL
#define RUN	64UL
#define WINDOW_MS 100

static long vmstat(const char *field)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char name[64];
	long value = 0;

	while (file && fscanf(file, "%63s %ld", name, &value) == 2) {
		if (!strcmp(name, field))
			break;
		value = 0;
	}
	if (file)
		fclose(file);
	return value;
}

/* One that writes, and takes the right to write from itself and gives it back. */
struct upgrader {
	struct mf_vm *vm;
	pthread_t thread;
	int uffd;
	bool stop;
	int error;
	__u64 rounds;
};

/* All pages, once more. False: it shall end. */
static bool writes(struct upgrader *self)
{
	unsigned char *run = mf_page(self->vm, FIRST);
	size_t i;

	if (__atomic_load_n(&self->stop, __ATOMIC_SEQ_CST))
		return false;
	self->rounds++;
	for (i = 0; i < RUN; i++)
		*(volatile __u64 *)(run + i * MF_PAGE) = self->rounds;
	return true;
}

static void *upgrades(void *arg)
{
	struct upgrader *self = arg;
	unsigned char *run = mf_page(self->vm, FIRST);
	size_t i;

	while (writes(self)) {
		for (i = 0; i < 4 && !self->error; i++) {
			if (mprotect(run, RUN * MF_PAGE, PROT_READ) ||
			    mprotect(run, RUN * MF_PAGE,
				     PROT_READ | PROT_WRITE))
				self->error = errno;
		}
	}
	return NULL;
}

/* One who writes itself asks nobody to end the protection. */
static int protect(struct upgrader *self, __u64 mode)
{
	struct uffdio_writeprotect arg = {
		.range = { (uintptr_t)mf_page(self->vm, FIRST), RUN * MF_PAGE },
		.mode = mode,
	};

	return ioctl(self->uffd, UFFDIO_WRITEPROTECT, &arg);
}

/* Likewise, by userfaultfd(2). */
static void *write_protects(void *arg)
{
	struct upgrader *self = arg;
	size_t i;

	while (writes(self)) {
		for (i = 0; i < 4 && !self->error; i++) {
			if (protect(self, UFFDIO_WRITEPROTECT_MODE_WP) ||
			    protect(self, 0))
				self->error = errno;
		}
	}
	return NULL;
}

/* One whose access to the pages is taken away by NUMA balancing. */
static void *only_writes(void *arg)
{
	while (writes(arg))
		;
	return NULL;
}

static bool harvest_into(struct mf_vm *vm, unsigned char *mirror)
{
	size_t page;

	if (strchr(mf_harvest(vm), ' '))
		return false;
	for (page = FIRST; page < FIRST + RUN; page++) {
		if (mf_bit(vm->bitmap, page))
			memcpy(mirror + page * MF_PAGE, mf_page(vm, page),
			       MF_PAGE);
	}
	return true;
}

static void nothing_is_lost(struct __test_metadata *_metadata,
			    struct _test_data_track *self,
			    void *(*upgrades)(void *), int uffd)
{
	unsigned int seconds = mf_environment("MF_SECONDS", 4) *
			       mf_environment("MF_REPEAT", 1);
	unsigned long long until = mf_ms() + seconds * 1000, window;
	unsigned char *mirror = calloc(PAGES, MF_PAGE);
	__u64 rounds = 0, windows = 0;

	ASSERT_NE(NULL, mirror);
	ASSERT_TRUE(harvest_into(&self->vm, mirror));
	memcpy(mirror, self->vm.map, PAGES * MF_PAGE);
	while (mf_ms() < until) {
		struct upgrader upgrader = { .vm = &self->vm, .uffd = uffd };

		upgrader.rounds = rounds;
		ASSERT_EQ(0, pthread_create(&upgrader.thread, NULL, upgrades,
					    &upgrader));
		window = mf_ms() + WINDOW_MS;
		while (mf_ms() < window)
			ASSERT_TRUE(harvest_into(&self->vm, mirror));
		__atomic_store_n(&upgrader.stop, true, __ATOMIC_SEQ_CST);
		pthread_join(upgrader.thread, NULL);
		ASSERT_EQ(0, upgrader.error);
		ASSERT_TRUE(harvest_into(&self->vm, mirror));
		ASSERT_EQ(-1, mf_differs(&self->vm, mirror)) {
			TH_LOG("window %llu", windows);
		}
		rounds = upgrader.rounds;
		windows++;
	}
	ASSERT_LT(0, rounds);
	TH_LOG("%llu windows, %llu rounds of the writer", windows, rounds);
	free(mirror);
}

TEST_F_TIMEOUT(track, nothing_is_lost_to_mprotect, 1200)
{
	nothing_is_lost(_metadata, self, upgrades, -1);
}

/* A descriptor, or -1: this kernel has no asynchronous write protection. */
static int open_userfaultfd(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC,
	};
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd >= 0 && ioctl(uffd, UFFDIO_API, &api)) {
		close(uffd);
		uffd = -1;
	}
	return uffd;
}

static int register_all(struct mf_vm *vm, int uffd)
{
	struct uffdio_register arg = {
		.range = { (uintptr_t)vm->map, PAGES * MF_PAGE },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	return ioctl(uffd, UFFDIO_REGISTER, &arg) ? -errno : 0;
}

/*
 * Where clean entries can become writable with dirty ones there must be no such
 * mapping of what is tracked; elsewhere nothing may be lost to it.
 */
TEST_F_TIMEOUT(track, nothing_is_lost_to_userfaultfd, 1200)
{
	unsigned long long until = mf_ms() + MF_PATIENCE_MS;
	int uffd = open_userfaultfd(), err;

	if (uffd < 0)
		SKIP(return, "no asynchronous write protection in this kernel");
	err = register_all(&self->vm, uffd);
	if (!err) {
		nothing_is_lost(_metadata, self, write_protects, uffd);
	} else {
		EXPECT_EQ(-EINVAL, err);
		ASSERT_EQ(0, mf_stop(self->vm.session));
		do {
			usleep(10000);
			err = register_all(&self->vm, uffd);
		} while (err == -EINVAL && mf_ms() < until);
		ASSERT_EQ(0, err);
		EXPECT_EQ(-EADDRINUSE, mf_start(self->vm.session));
		/* The end of its descriptor is the end of its protection. */
		close(uffd);
		ASSERT_EQ(0, mf_start(self->vm.session));
		uffd = open_userfaultfd();
		EXPECT_EQ(-EINVAL, register_all(&self->vm, uffd));
	}
	close(uffd);
}

#define BALANCING "/sys/kernel/debug/sched/numa_balancing/"

/* On one node the kernel balances nothing; numa=fake=2 makes two. */
TEST_F_TIMEOUT(track, nothing_is_lost_to_numa_balancing, 1200)
{
	if (mf_read_number("/proc/sys/kernel/numa_balancing") != 1)
		SKIP(return, "no NUMA balancing here: boot with numa=fake=2");
	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	ASSERT_EQ(0, mf_write_string(BALANCING "scan_delay_ms", "1"));
	ASSERT_EQ(0, mf_write_string(BALANCING "scan_period_min_ms", "1"));
	ASSERT_EQ(0, mf_write_string(BALANCING "scan_period_max_ms", "10"));
	nothing_is_lost(_metadata, self, only_writes, -1);
	ASSERT_LT(0, vmstat("numa_hint_faults"));
}

TEST_HARNESS_MAIN
