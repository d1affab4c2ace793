// SPDX-License-Identifier: GPL-2.0
/*
 * How the server is told of faults: each absent page once, oldest first, by
 * read(2) and poll(2), with all that is known of who wants it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

#define START(_page) mf_touch_start(&self->vm, mf_touch_load, _page)

static __u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static int readable(struct mf_vm *vm)
{
	struct pollfd pollfd = { .fd = vm->session, .events = POLLIN };

	return poll(&pollfd, 1, 0) == 1 && pollfd.revents & POLLIN;
}

static void nonblocking(struct mf_vm *vm)
{
	fcntl(vm->session, F_SETFL, O_RDWR | O_NONBLOCK);
}

static int store_byte(struct mf_vm *vm, size_t page)
{
	mf_page(vm, page)[0] = 1;
	return 0;
}

TEST_F(fill, tells_page_flags_and_time)
{
	struct migrate_fast_fault fault = {};
	__u64 before = now(), after;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(513);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	after = now();
	usleep(50000);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, 1000));
	EXPECT_EQ(self->vm.ram, fault.ram);
	EXPECT_EQ(513, fault.page);
	EXPECT_EQ(0, fault.flags);
	/* When it was wanted, not when it was told. */
	EXPECT_LT(before, fault.ns);
	EXPECT_GT(after, fault.ns);
	EXPECT_EQ(1, mf_fill(&self->vm, 513, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, tells_of_a_write)
{
	struct migrate_fast_fault fault = {};
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = mf_touch_start(&self->vm, store_byte, 520);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_EQ(520, fault.page);
	EXPECT_EQ(MIGRATE_FAST_FAULT_WRITE, fault.flags);
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

/* One wants to read it, another to write it, before the server has looked. */
TEST_F(fill, gathers_what_is_wanted)
{
	struct migrate_fast_fault fault = {};
	pid_t pid, writer;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	writer = mf_touch_start(&self->vm, store_byte, 520);
	EXPECT_TRUE(mf_touch_waits(writer));
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, 1000));
	EXPECT_EQ(MIGRATE_FAST_FAULT_WRITE, fault.flags);
	EXPECT_FALSE(readable(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	mf_touch_end(pid);
	EXPECT_EQ(0, mf_touch_end(writer));
}

TEST_F(fill, tells_once_however_many_wait)
{
	struct migrate_fast_fault fault;
	pid_t pids[6];
	int i;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	for (i = 0; i < 3; i++)
		pids[i] = START(530);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	for (; i < 6; i++)
		pids[i] = START(530);
	for (i = 0; i < 6; i++)
		EXPECT_TRUE(mf_touch_waits(pids[i]));
	EXPECT_EQ(0, mf_fault(&self->vm, &fault, 0));
	EXPECT_EQ(1, mf_absent_state(&self->vm).waiting);
	EXPECT_EQ(1, mf_fill(&self->vm, 530, 1, 2));
	for (i = 0; i < 6; i++)
		EXPECT_EQ(0, mf_touch_end(pids[i]));
	EXPECT_EQ(0, mf_absent_state(&self->vm).waiting);
	EXPECT_EQ(1, mf_absent_state(&self->vm).faults);
	EXPECT_EQ(0, mf_absent_state(&self->vm).went_on);
}

TEST_F(fill, tells_the_oldest_first)
{
	static const size_t order[] = { 570, 513, 540, 575, 512 };
	struct migrate_fast_fault faults[8];
	pid_t pids[5];
	int i;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	for (i = 0; i < 5; i++) {
		pids[i] = START(order[i]);
		ASSERT_EQ(0, mf_wait_waiting(&self->vm, i + 1));
	}
	/* As many as fit, to the byte. */
	ASSERT_EQ(2 * sizeof(*faults), read(self->vm.session, faults,
					    3 * sizeof(*faults) - 1));
	ASSERT_EQ(3 * sizeof(*faults), read(self->vm.session, faults + 2,
					    6 * sizeof(*faults)));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(order[i], faults[i].page);
		if (i)
			EXPECT_LT(faults[i - 1].ns, faults[i].ns);
	}
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, mf_touch_end(pids[i]));
}

TEST_F(fill, wakes_poll)
{
	struct pollfd pollfd = { .fd = self->vm.session, .events = POLLIN };
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(0, poll(&pollfd, 1, 20));
	pid = START(512);
	EXPECT_EQ(1, poll(&pollfd, 1, MF_PATIENCE_MS));
	EXPECT_EQ(POLLIN, pollfd.revents & POLLIN);
	/* Not read yet. */
	EXPECT_EQ(1, poll(&pollfd, 1, 0));
	EXPECT_EQ(sizeof(fault), read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(0, poll(&pollfd, 1, 0));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, does_not_wait_if_told_not_to)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	nonblocking(&self->vm);
	EXPECT_EQ(-1, read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(EAGAIN, errno);
	pid = START(512);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	EXPECT_EQ(sizeof(fault), read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(-1, read(self->vm.session, &fault, sizeof(fault)));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

/* A thread in read(2): how it ended, and what it got. */
struct reading {
	pthread_t thread;
	int session;
	struct migrate_fast_fault fault;
	long rc;
};

static void *reading(void *arg)
{
	struct reading *self = arg;
	ssize_t n = read(self->session, &self->fault, sizeof(self->fault));

	self->rc = n < 0 ? -errno : n;
	return NULL;
}

static void ignore(int sig)
{
}

TEST_F(fill, wakes_read)
{
	struct reading thread = { .session = self->vm.session };
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, pthread_create(&thread.thread, NULL, reading, &thread));
	usleep(50000);
	pid = START(515);
	ASSERT_EQ(0, pthread_join(thread.thread, NULL));
	EXPECT_EQ(sizeof(thread.fault), thread.rc);
	EXPECT_EQ(515, thread.fault.page);
	EXPECT_EQ(1, mf_fill(&self->vm, 515, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, read_is_interrupted)
{
	struct reading thread = { .session = self->vm.session };
	struct sigaction action = { .sa_handler = ignore };

	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, pthread_create(&thread.thread, NULL, reading, &thread));
	/* Again and again: the first may come before it waits. */
	do {
		usleep(50000);
		pthread_kill(thread.thread, SIGUSR1);
	} while (pthread_tryjoin_np(thread.thread, NULL));
	EXPECT_EQ(-EINTR, thread.rc);
}

/* No page is absent any more: who waits for faults waits in vain. */
TEST_F(fill, read_ends_with_the_last_page)
{
	struct reading thread = { .session = self->vm.session };

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, pthread_create(&thread.thread, NULL, reading, &thread));
	usleep(50000);
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	ASSERT_EQ(0, pthread_join(thread.thread, NULL));
	EXPECT_EQ(-ENODATA, thread.rc);
}

/* The page came by itself (pushed) before the server read of it. */
TEST_F(fill, what_was_filled_is_not_told)
{
	struct migrate_fast_fault fault;
	pid_t pid, other;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(512);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	other = START(513);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, 1000));
	EXPECT_EQ(513, fault.page);
	EXPECT_FALSE(readable(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, 513, 1, 2));
	EXPECT_EQ(0, mf_touch_end(other));
}

/* Lost in the caller's bad memory: nobody would ever fill it. */
TEST_F(fill, an_event_is_not_lost_by_efault)
{
	struct migrate_fast_fault *hole, fault;
	pid_t pid;

	hole = mmap(NULL, MF_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, hole);
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(512);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	EXPECT_EQ(-1, read(self->vm.session, hole, sizeof(fault)));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, mf_fault(&self->vm, &fault, 1000));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

/* A page that is made absent again is wanted anew. */
TEST_F(fill, tells_again_of_a_page_that_is_absent_again)
{
	struct migrate_fast_fault fault;
	pid_t pid;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
		pid = START(512);
		ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
		EXPECT_EQ(512, fault.page);
		EXPECT_EQ(0, fault.flags);
		EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
		EXPECT_EQ(0, mf_touch_end(pid));
	}
	EXPECT_EQ(3, mf_absent_state(&self->vm).faults);
}

/* A VM with two RAM files: the older event first, whose-ever it is. */
TEST_F(fill, tells_of_which_file)
{
	struct migrate_fast_fault faults[3];
	struct migrate_fast_add add;
	struct mf_vm other = self->vm;
	pid_t pids[3];

	other.fd = mf_create(MF_MNT "/other", PAGES * MF_PAGE);
	other.map = mf_map(other.fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_TRUE(other.map);
	ASSERT_EQ(0, mf_add(self->vm.session, other.fd, &add));
	other.ram = add.ram;
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(64, mf_demand(&other, 0, 64));
	pids[0] = mf_touch_start(&other, mf_touch_load, 7);
	ASSERT_EQ(0, mf_wait_waiting(&other, 1));
	pids[1] = START(520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	pids[2] = mf_touch_start(&other, mf_touch_load, 3);
	ASSERT_EQ(0, mf_wait_waiting(&other, 2));
	ASSERT_EQ(sizeof(faults), read(self->vm.session, faults, sizeof(faults)));
	EXPECT_EQ(other.ram, faults[0].ram);
	EXPECT_EQ(7, faults[0].page);
	EXPECT_EQ(self->vm.ram, faults[1].ram);
	EXPECT_EQ(520, faults[1].page);
	EXPECT_EQ(other.ram, faults[2].ram);
	EXPECT_EQ(3, faults[2].page);
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_EQ(64, mf_fill(&other, 0, 64, 2));
	EXPECT_EQ(0, mf_touch_end(pids[0]));
	EXPECT_EQ(0, mf_touch_end(pids[1]));
	EXPECT_EQ(0, mf_touch_end(pids[2]));
}

TEST_HARNESS_MAIN
