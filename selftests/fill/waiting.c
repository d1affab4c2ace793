// SPDX-License-Identifier: GPL-2.0
/*
 * Who waits for a page can still be bothered: by signals, by a stop, by its
 * own other threads, by the end of the process. And it is in nobody's way.
 * That every kind of reader can be killed is in readers.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <linux/kvm.h>
#include <unistd.h>

#include "fixture.h"
#include "mf_guest.h"

static volatile int signals;

static void count(int sig)
{
	signals++;
}

static void catch(int sig, int flags)
{
	struct sigaction action = { .sa_handler = count, .sa_flags = flags };

	sigaction(sig, &action, NULL);
}

/* Begins to wait for page 520. */
#define BEGIN(_pid, _touch) do {					\
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));			\
	_pid = mf_touch_start(&self->vm, _touch, 520);			\
	ASSERT_LT(0, _pid);						\
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));			\
	EXPECT_TRUE(mf_touch_waits(_pid));				\
} while (0)

static int load_with_handler(struct mf_vm *vm, size_t page)
{
	catch(SIGUSR1, 0);
	catch(SIGUSR2, 0);
	return mf_touch_load(vm, page) ?: signals == 3 ? 0 : ENOMSG;
}

/* The handlers run while it waits, and then it waits again. */
TEST_F(fill, handlers_run_meanwhile)
{
	pid_t pid;
	int i;

	BEGIN(pid, load_with_handler);
	for (i = 0; i < 3; i++) {
		kill(pid, i & 1 ? SIGUSR2 : SIGUSR1);
		EXPECT_TRUE(mf_touch_waits(pid));
	}
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_EQ(1, mf_absent_state(&self->vm).faults);
}

static int handler_page;
static struct mf_vm *handler_vm;

/* It is another page that the handler wants, and ends there. */
static void handler_ends(int sig)
{
	_exit(mf_touch_load(handler_vm, handler_page));
}

static int load_and_leave(struct mf_vm *vm, size_t page)
{
	signal(SIGUSR1, handler_ends);
	handler_vm = vm;
	handler_page = page + 1;
	return mf_touch_load(vm, page) ?: MF_WRONG;
}

TEST_F(fill, handlers_need_not_return)
{
	pid_t pid;

	BEGIN(pid, load_and_leave);
	kill(pid, SIGUSR1);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));
	EXPECT_EQ(1, mf_fill(&self->vm, 521, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_EQ(63, mf_absent_state(&self->vm).absent);
}

static int pread_with_handler(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[2 * MF_PAGE];
	ssize_t n;

	catch(SIGUSR1, 0);
	n = pread(vm->fd, bytes, MF_PAGE, page * MF_PAGE);
	return n >= 0 ? MF_WRONG : errno;
}

static int pread_across_with_handler(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[10 * MF_PAGE];
	ssize_t n;

	/* Absent begins at 512, and what comes before is read. */
	catch(SIGUSR1, 0);
	n = pread(vm->fd, bytes, sizeof(bytes), 510 * MF_PAGE);
	if (n != 2 * MF_PAGE)
		return n < 0 ? errno : MF_WRONG;
	return mf_stamp_differs(bytes + MF_PAGE, 511, 1) < 0 ? 0 : MF_WRONG;
}

static int pwrite_with_handler(struct mf_vm *vm, size_t page)
{
	catch(SIGUSR1, 0);
	return pwrite(vm->fd, "x", 1, page * MF_PAGE) < 0 ? errno : MF_WRONG;
}

TEST_F(fill, read_is_interrupted)
{
	pid_t pid;

	BEGIN(pid, pread_with_handler);
	kill(pid, SIGUSR1);
	EXPECT_EQ(EINTR, mf_touch_end(pid));
}

TEST_F(fill, write_is_interrupted)
{
	pid_t pid;

	BEGIN(pid, pwrite_with_handler);
	kill(pid, SIGUSR1);
	EXPECT_EQ(EINTR, mf_touch_end(pid));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_VERSION(2, 520);
}

TEST_F(fill, read_is_short_if_interrupted)
{
	pid_t pid;

	BEGIN(pid, pread_across_with_handler);
	kill(pid, SIGUSR1);
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, can_be_stopped_meanwhile)
{
	siginfo_t info;
	pid_t pid;

	BEGIN(pid, mf_touch_load);
	kill(pid, SIGSTOP);
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WSTOPPED));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_TRUE(mf_touch_waits(pid));
	kill(pid, SIGCONT);
	EXPECT_EQ(0, mf_touch_end(pid));
}

struct job {
	struct mf_vm *vm;
	size_t page;
};

static void *loads(void *arg)
{
	struct job *job = arg;

	mf_touch_load(job->vm, job->page);
	return NULL;
}

static void *locks(void *arg)
{
	struct job *job = arg;

	mlock(mf_page(job->vm, job->page), MF_PAGE);
	return NULL;
}

static void *preads(void *arg)
{
	struct job *job = arg;
	char byte;

	if (pread(job->vm->fd, &byte, 1, job->page * MF_PAGE) < 0)
		return arg;
	return NULL;
}

/* Tells goes_about() that its threads wait: it has no session to ask. */
static int all_wait[2];

/* Threads wait; this one changes the address space, forks, reads, and exits. */
static int goes_about(struct mf_vm *vm, size_t page)
{
	struct job jobs[] = { { vm, page }, { vm, page + 1 }, { vm, page + 2 } };
	pthread_t thread;
	pid_t pid;
	void *map;
	char byte;

	pthread_create(&thread, NULL, loads, jobs);
	pthread_create(&thread, NULL, locks, jobs + 1);
	pthread_create(&thread, NULL, preads, jobs + 2);
	if (read(all_wait[0], &byte, 1) != 1)
		return 6;
	map = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED || munmap(map, MF_PAGE))
		return 1;
	pid = fork();
	if (!pid)
		_exit(0);
	if (mf_wait(pid))
		return 2;
	if (pread(vm->fd, &byte, 1, 0) != 1 || pwrite(vm->fd, "x", 1, 0) != 1)
		return 3;
	if (mprotect(mf_page(vm, page), MF_PAGE, PROT_READ))
		return 4;
	/* Even what somebody waits for. */
	if (munmap(mf_page(vm, page), MF_PAGE))
		return 5;
	/* The others still wait. */
	return 0;
}

TEST_F(fill, is_in_nobodys_way)
{
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, pipe(all_wait));
	pid = mf_touch_start(&self->vm, goes_about, 520);
	EXPECT_EQ(0, mf_wait_waiting(&self->vm, 3));
	EXPECT_EQ(1, write(all_wait[1], "x", 1));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_EQ(3, mf_absent_state(&self->vm).faults);
}

/* A dying process leaves its memory to read: that waits, too. */
static int crashes(struct mf_vm *vm, size_t page)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	prctl(PR_SET_DUMPABLE, 1);
	setrlimit(RLIMIT_CORE, &all);
	/* With the pages of files as well. */
	mf_write_string("/proc/self/coredump_filter", "0xff");
	raise(SIGABRT);
	return 1;
}

/* Where the kernel brings what is left of a process. */
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"
static char core_pattern[128];

static int dump_to(const char *pattern)
{
	int fd = open(CORE_PATTERN, O_RDONLY);
	ssize_t n = read(fd, core_pattern, sizeof(core_pattern) - 1);

	close(fd);
	return n > 0 ? mf_write_string(CORE_PATTERN, pattern) : -EIO;
}

static void dump_as_before(void)
{
	mf_write_string(CORE_PATTERN, core_pattern);
}

TEST_F(fill, a_core_dump_can_be_killed)
{
	bool waited;
	pid_t pid;

	ASSERT_EQ(0, dump_to("/tmp/mf-core"));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = mf_touch_start(&self->vm, crashes, 0);
	waited = !mf_wait_waiting(&self->vm, 1);
	EXPECT_TRUE(waited);
	if (waited)
		EXPECT_TRUE(mf_touch_waits(pid));
	/* Others are not held up. */
	EXPECT_EQ(1, mf_fill(&self->vm, 575, 1, 2));
	kill(pid, SIGKILL);
	EXPECT_GT(0, mf_touch_end(pid));
	unlink("/tmp/mf-core");
	dump_as_before();
}

struct demander {
	struct mf_vm *vm;
	pthread_t thread;
	long absent;
	bool ended;
};

static void *demands(void *arg)
{
	struct demander *demander = arg;

	demander->absent = mf_demand(demander->vm, 512, 64);
	__atomic_store_n(&demander->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

/* It has begun to write, and nobody reads it. */
static bool is_dumping(pid_t pid)
{
	char path[64], text[128] = {};
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strstr(text, "pipe_write");
}

static int wait_dumping(pid_t pid)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;

	while (!is_dumping(pid)) {
		if (mf_ms() > limit)
			return -ETIMEDOUT;
		usleep(2000);
	}
	return 0;
}

/*
 * A dump has the file until it has come to its end, and here that takes 3 s.
 * DEMAND waits for it (collapse.c), and must keep nothing from others.
 */
TEST_F(fill, a_core_dump_holds_up_demand_only)
{
	struct demander demander = { .vm = &self->vm };
	pid_t pid;

	ASSERT_EQ(0, dump_to("|/bin/sleep 3"));
	pid = mf_touch_start(&self->vm, crashes, 0);
	EXPECT_EQ(0, wait_dumping(pid));
	ASSERT_EQ(0, pthread_create(&demander.thread, NULL, demands,
				    &demander));
	usleep(300 * 1000);
	EXPECT_FALSE(__atomic_load_n(&demander.ended, __ATOMIC_ACQUIRE));
	EXPECT_EQ(0, ftruncate(self->vm.fd, PAGES * MF_PAGE));
	EXPECT_EQ(1, pwrite(self->vm.fd, mf_page(&self->vm, 3), 1, 3 * MF_PAGE));
	EXPECT_FALSE(__atomic_load_n(&demander.ended, __ATOMIC_ACQUIRE));
	pthread_join(demander.thread, NULL);
	EXPECT_EQ(64, demander.absent);
	EXPECT_GT(0, mf_touch_end(pid));
	dump_as_before();
}

/* A virtual processor in a thread, whose KVM_RUN a signal is to end. */
struct processor {
	struct mf_guest guest;
	pthread_t thread;
	int error;
	int done;
};

static void *runs(void *arg)
{
	struct processor *self = arg;

	self->error = ioctl(self->guest.vcpu, KVM_RUN, 0) ? errno : 0;
	__atomic_store_n(&self->done, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int run_until_signal(struct mf_vm *vm, struct processor *processor,
			    bool ends)
{
	struct kvm_regs regs = {
		.rdi = MF_GUEST_RAM + 520 * MF_PAGE,
		.rip = (processor->guest.irqchip ? mf_guest_code_load_out :
			mf_guest_code_load) - mf_guest_code,
		.rflags = processor->guest.irqchip ? 0x202 : 2,
	};
	unsigned long long limit;

	catch(SIGUSR1, 0);
	if (ioctl(processor->guest.vcpu, KVM_SET_REGS, &regs))
		return -errno;
	if (pthread_create(&processor->thread, NULL, runs, processor))
		return -EAGAIN;
	if (mf_wait_waiting(vm, 1))
		return -ETIMEDOUT;
	usleep(50000);
	pthread_kill(processor->thread, SIGUSR1);
	limit = mf_ms() + (ends ? MF_PATIENCE_MS : 1000);
	while (!__atomic_load_n(&processor->done, __ATOMIC_SEQ_CST) &&
	       mf_ms() < limit)
		usleep(2000);
	return processor->done;
}

#define INTERRUPTED(_open, _ends) do {					\
	struct processor processor = {};				\
	__u32 value = 0;						\
	int rc;								\
									\
	if (_open(&processor.guest, self->vm.map, PAGES * MF_PAGE) ==	\
	    -ENODEV)							\
		SKIP(return, "no KVM on this host");			\
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));			\
	rc = run_until_signal(&self->vm, &processor, _ends);		\
	EXPECT_EQ(_ends, rc);						\
	if (rc == 1)							\
		EXPECT_EQ(EINTR, processor.error);			\
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));			\
	pthread_join(processor.thread, NULL);				\
	/* It can go on. */						\
	EXPECT_EQ(0, mf_guest_load(&processor.guest, 520 * MF_PAGE,	\
				   &value));				\
	EXPECT_EQ((__u32)mf_stamp_word(520, 0, 2), value);		\
	mf_guest_close(&processor.guest);				\
} while (0)

/* KVM heeds signals in page faults from 6.2 on. */
TEST_F(fill, a_processor_is_interrupted)
{
	INTERRUPTED(mf_guest_open, mf_kernel() >= 6002);
}

/* One that KVM has halted always. */
TEST_F(fill, a_halted_processor_is_interrupted)
{
	INTERRUPTED(mf_guest_open_irqchip, 1);
}

/* Asks what is absent, and wants to have it told in an absent page. */
static pid_t ask_into(struct mf_vm *vm, size_t page)
{
	struct migrate_fast_absent arg = {
		.ram = vm->ram, .bitmap = (uintptr_t)mf_page(vm, page),
	};
	__u64 *bits = (__u64 *)mf_page(vm, page);
	pid_t pid = fork();

	if (pid)
		return pid;
	if (mf_ioctl(vm->session, MIGRATE_FAST_ABSENT, &arg))
		_exit(1);
	_exit(bits[7] || !bits[8] || bits[9]);
}

/* The page that is to tell it is one of those that it tells of. */
TEST_F(fill, absent_into_an_absent_page)
{
	struct migrate_fast_fault fault;
	pid_t asks, fills;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	asks = ask_into(&self->vm, 520);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	EXPECT_EQ(520, fault.page);
	fills = fork();
	if (!fills)
		_exit(mf_fill(&self->vm, 520, 1, 2) != 1);
	EXPECT_TRUE(mf_ends_until(fills, mf_ms() + MF_PATIENCE_MS)) {
		kill(asks, SIGKILL);
	}
	EXPECT_EQ(0, mf_wait(fills));
	EXPECT_TRUE(mf_ends_until(asks, mf_ms() + MF_PATIENCE_MS)) {
		kill(asks, SIGKILL);
	}
	EXPECT_EQ(0, mf_wait(asks));
	EXPECT_STREQ("512-519,521-575", mf_absent(&self->vm));
}

TEST_HARNESS_MAIN
