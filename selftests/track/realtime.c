// SPDX-License-Identifier: GPL-2.0
/*
 * A processor that belongs to a real-time program, as hosts have them whose
 * virtual processors must not wait: no kernel thread runs there, so nobody may
 * wait for one.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#include <sys/mman.h>

#define PAGES 256UL
#define RUNTIME "/proc/sys/kernel/sched_rt_runtime_us"

FIXTURE(realtime)
{
	struct mf_vm vm;
	int last;
	int pipes[2];
	long runtime;
	pid_t hog;
};

static cpu_set_t one_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return set;
}

/* Takes the last processor for itself. */
static pid_t take_processor(int last)
{
	struct sched_param param = { .sched_priority = 50 };
	cpu_set_t set = one_cpu(last);
	pid_t pid = fork();

	if (pid)
		return pid;
	if (sched_setaffinity(0, sizeof(set), &set) ||
	    sched_setscheduler(0, SCHED_FIFO, &param))
		_exit(1);
	while (1)
		;
}

FIXTURE_SETUP(realtime)
{
	cpu_set_t first = one_cpu(0);

	self->last = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	if (!self->last)
		SKIP(return, "one processor only");
	/* By default real-time programs leave a little to others. */
	self->runtime = mf_read_number(RUNTIME);
	if (mf_write_string(RUNTIME, "-1"))
		SKIP(return, "no real-time scheduling in this kernel");
	/* We are on the first one. */
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(first), &first));
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	ASSERT_EQ(0, pipe(self->pipes));
}

FIXTURE_TEARDOWN(realtime)
{
	char text[32];

	mf_vm_close(&self->vm);
	snprintf(text, sizeof(text), "%ld", self->runtime);
	mf_write_string(RUNTIME, text);
}

/* A pipe holds a page: to us it might be a device. */
static int hold(struct _test_data_realtime *self, size_t page)
{
	struct iovec iov = { mf_page(&self->vm, page), MF_PAGE };

	return vmsplice(self->pipes[1], &iov, 1, 0) == MF_PAGE ? 0 : -errno;
}

/* Where a process is in the kernel. */
static void tell_stack(pid_t pid)
{
	char path[32], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file))
		fprintf(stderr, "# %s", line);
	if (file)
		fclose(file);
}

#define ENDS(_what) do {						\
	pid_t _pid;							\
									\
	self->hog = take_processor(self->last);				\
	usleep(100000);							\
	_pid = fork();							\
	if (!_pid)							\
		_exit(!(_what));					\
	EXPECT_TRUE(mf_ends_until(_pid, mf_ms() + MF_PATIENCE_MS)) {		\
		tell_stack(_pid);					\
	}								\
	EXPECT_FALSE(mf_ends_until(self->hog, mf_ms()));		\
	kill(self->hog, SIGKILL);					\
	EXPECT_EQ(-EINTR, mf_wait(self->hog));				\
	EXPECT_EQ(0, mf_wait(_pid));					\
} while (0)

TEST_F(realtime, start)
{
	ASSERT_EQ(0, hold(self, 100));
	ENDS(mf_start(self->vm.session) == 0);
	mf_harvest(&self->vm);
	EXPECT_LE(1, self->vm.carried);
}

TEST_F(realtime, stop)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ENDS(mf_stop(self->vm.session) == 0);
	EXPECT_STREQ("harvest: ENODATA", mf_harvest(&self->vm));
}

TEST_F(realtime, harvest)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_harvest_settled(&self->vm);
	ASSERT_EQ(0, hold(self, 100));
	mf_page(&self->vm, 100)[0] = 2;
	ENDS(mf_bit((mf_harvest(&self->vm), self->vm.bitmap), 100) &&
	     self->vm.carried);
	/* It has been reported to the child, and is again. */
	mf_harvest(&self->vm);
	EXPECT_TRUE(mf_bit(self->vm.bitmap, 100));
}

TEST_HARNESS_MAIN
