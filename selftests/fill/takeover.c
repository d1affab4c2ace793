// SPDX-License-Identifier: GPL-2.0
/*
 * The server goes, or is killed, and another takes over: who waits goes on
 * waiting, is told of anew, and gets its page. Nothing is left behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fixture.h"

#define START(_page) mf_touch_start(&self->vm, mf_touch_load, _page)

/* Another session with the same file. */
static int another(const struct mf_vm *vm, struct mf_vm *other)
{
	struct migrate_fast_add add;
	int rc;

	*other = *vm;
	other->session = mf_session();
	if (other->session < 0)
		return other->session;
	rc = mf_add(other->session, vm->fd, &add);
	other->ram = add.ram;
	return rc;
}

/* The session of the test ends, though not its file. */
static void leave(struct mf_vm *vm)
{
	munmap(vm->bitmap, vm->bitmap_bytes);
	close(vm->session);
	vm->bitmap = NULL;
	vm->session = -1;
}

/*
 * A process that serves, and is killed. It writes a byte when it does, which is
 * read here, and another one to @told when it has read of so many faults.
 */
static pid_t serve_elsewhere(struct mf_vm *vm, int reads, int *told)
{
	struct migrate_fast_fault fault;
	struct mf_vm server;
	pid_t pid;
	int done[2];
	char byte;

	if (pipe(done))
		return -errno;
	fflush(stdout);
	pid = fork();
	if (pid) {
		close(done[1]);
		*told = done[0];
		if (read(done[0], &byte, 1) != 1)
			return -EIO;
		return pid;
	}
	if (another(vm, &server) || mf_demand(&server, 512, 64) != 64)
		_exit(1);
	if (write(done[1], "x", 1) != 1)
		_exit(1);
	while (reads--)
		mf_fault(&server, &fault, MF_PATIENCE_MS);
	if (write(done[1], "x", 1) != 1)
		_exit(1);
	while (1)
		pause();
}

TEST_F(fill, waiters_survive_the_server)
{
	struct migrate_fast_fault fault;
	struct mf_vm next;
	pid_t told, untold, late;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, another(&self->vm, &next));
	told = START(520);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS));
	untold = START(515);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));
	leave(&self->vm);
	EXPECT_TRUE(mf_touch_waits(told));
	EXPECT_TRUE(mf_touch_waits(untold));
	/* Nobody serves; still nobody gets a zero page. */
	late = START(530);
	ASSERT_EQ(0, mf_wait_waiting(&next, 3));
	EXPECT_EQ(0, mf_absent_state(&next).state);
	EXPECT_STREQ("512-575", mf_absent(&next));
	EXPECT_EQ(-EPERM, mf_fill(&next, 520, 1, 2));
	EXPECT_EQ(-1, read(next.session, &fault, sizeof(fault)));
	EXPECT_EQ(ENODATA, errno);

	/* Without marking anything. */
	EXPECT_EQ(64, mf_demand_bits(&next, NULL));
	EXPECT_EQ(MIGRATE_FAST_ABSENT_SERVED, mf_absent_state(&next).state);
	ASSERT_EQ(1, mf_fault(&next, &fault, 1000));
	EXPECT_EQ(520, fault.page);
	EXPECT_EQ(MIGRATE_FAST_FAULT_AGAIN, fault.flags);
	ASSERT_EQ(1, mf_fault(&next, &fault, 1000));
	EXPECT_EQ(515, fault.page);
	EXPECT_EQ(0, fault.flags);
	ASSERT_EQ(1, mf_fault(&next, &fault, 1000));
	EXPECT_EQ(530, fault.page);
	EXPECT_EQ(0, mf_fault(&next, &fault, 0));
	EXPECT_EQ(64, mf_fill(&next, 512, 64, 2));
	EXPECT_EQ(0, mf_touch_end(told));
	EXPECT_EQ(0, mf_touch_end(untold));
	EXPECT_EQ(0, mf_touch_end(late));
	EXPECT_EQ(3, mf_absent_state(&next).faults);
	close(next.session);
}

TEST_F(fill, a_killed_server_is_replaced)
{
	struct migrate_fast_fault fault;
	pid_t server, waiter;
	int i, told = -1;
	char byte;

	for (i = 0; i < 3; i++) {
		server = serve_elsewhere(&self->vm, i ? 1 : 0, &told);
		ASSERT_LT(0, server);
		waiter = START(512 + i);
		ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
		EXPECT_EQ(-EBUSY, mf_demand_bits(&self->vm, NULL));
		ASSERT_EQ(1, read(told, &byte, 1));
		close(told);
		ASSERT_EQ(0, kill(server, SIGKILL));
		EXPECT_EQ(-SIGKILL, mf_touch_end(server));
		EXPECT_TRUE(mf_touch_waits(waiter));
		EXPECT_EQ(64, mf_demand_bits(&self->vm, NULL));
		ASSERT_EQ(1, mf_fault(&self->vm, &fault, 1000));
		EXPECT_EQ(512 + i, fault.page);
		EXPECT_EQ(i ? MIGRATE_FAST_FAULT_AGAIN : 0, fault.flags);
		EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
		EXPECT_EQ(0, mf_touch_end(waiter));
	}
}

TEST_F(fill, there_is_one_server)
{
	struct migrate_fast_fault fault;
	struct mf_vm other;

	ASSERT_EQ(0, another(&self->vm, &other));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(-EBUSY, mf_demand(&other, 0, 64));
	EXPECT_EQ(-EBUSY, mf_demand_bits(&other, NULL));
	EXPECT_EQ(-EPERM, mf_fill(&other, 512, 1, 2));
	EXPECT_EQ(-EPERM, mf_fill_zero(&other, 512, 1));
	EXPECT_EQ(-1, read(other.session, &fault, sizeof(fault)));
	EXPECT_EQ(ENODATA, errno);
	/* Anybody may look. */
	EXPECT_STREQ("512-575", mf_absent(&other));
	EXPECT_VERSION(1, 0);
	/* When all is there, there is none, and each may become it. */
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_EQ(64, mf_demand(&other, 512, 64));
	EXPECT_EQ(-EBUSY, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(64, mf_fill(&other, 512, 64, 3));
	EXPECT_VERSION(3, 512);
	close(other.session);
}

/* Sessions that only look do not matter when they go. */
TEST_F(fill, others_may_go)
{
	struct mf_vm other;
	pid_t pid;

	ASSERT_EQ(0, another(&self->vm, &other));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(520);
	ASSERT_EQ(0, mf_wait_waiting(&other, 1));
	close(other.session);
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(MIGRATE_FAST_ABSENT_SERVED, mf_absent_state(&self->vm).state);
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
}

TEST_F(fill, anybody_may_abort)
{
	struct mf_vm other;
	pid_t pid;

	ASSERT_EQ(0, another(&self->vm, &other));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	ASSERT_EQ(0, mf_abort(&other));
	EXPECT_EQ(-SIGBUS, mf_touch_end(pid));
	EXPECT_EQ(-ECANCELED, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(-ECANCELED, mf_demand_bits(&other, NULL));
	close(other.session);
	/* It stays so when the server has gone. */
	leave(&self->vm);
	ASSERT_EQ(0, another(&self->vm, &other));
	EXPECT_EQ(-ECANCELED, mf_demand_bits(&other, NULL));
	EXPECT_TRUE(mf_absent_state(&other).state & MIGRATE_FAST_ABSENT_ABORTED);
	pid = mf_touch_start(&other, mf_touch_load, 521);
	EXPECT_EQ(-SIGBUS, mf_touch_end(pid));
	close(other.session);
}

/* Users of the module when what came before has been cleaned up. */
static long users_at_rest(void)
{
	long before, now = mf_users();

	do {
		before = now;
		usleep(500000);
		now = mf_users();
	} while (now != before);
	return now;
}

/* A process that waits keeps file, mount and module, though all else went. */
TEST_F(fill, waiters_keep_everything)
{
	long before = mf_users();
	struct mf_vm vm;
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = START(520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	/* The child's copies of descriptors and mappings keep it as well. */
	EXPECT_EQ(-EBUSY, mf_umount());
	vm = self->vm;
	leave(&vm);
	self->vm.session = -1;
	self->vm.bitmap = NULL;
	munmap(vm.map, PAGES * MF_PAGE);
	close(vm.fd);
	self->vm.map = NULL;
	self->vm.fd = -1;
	umount2(MF_MNT, MNT_DETACH);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "migrate_fast", O_NONBLOCK));
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_LT(0, mf_users());
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, mf_touch_end(pid));
	EXPECT_GT(before, mf_users_settled(0));
}

/* Many files, each left in the middle of it in some way. */
TEST_F(fill, nothing_is_left_behind)
{
	long before = users_at_rest(), i;
	char path[64];

	for (i = 0; i < 12; i++) {
		struct migrate_fast_add add;
		struct mf_vm vm = self->vm;
		pid_t pid;

		snprintf(path, sizeof(path), MF_MNT "/file%ld", i);
		vm.fd = mf_create(path, PAGES * MF_PAGE);
		vm.map = mf_map(vm.fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
		vm.session = mf_session();
		ASSERT_EQ(0, mf_add(vm.session, vm.fd, &add));
		vm.ram = add.ram;
		ASSERT_EQ(64, mf_demand(&vm, 512, 64));
		pid = mf_touch_start(&vm, mf_touch_load, 520);
		ASSERT_EQ(0, mf_wait_waiting(&vm, 1));
		if (i % 3 == 0)
			EXPECT_EQ(64, mf_fill(&vm, 512, 64, 2));
		if (i % 3 == 1)
			EXPECT_EQ(0, mf_abort(&vm));
		if (i & 1)
			close(vm.session);
		kill(pid, SIGKILL);
		mf_touch_end(pid);
		if (!(i & 1))
			close(vm.session);
		munmap(vm.map, PAGES * MF_PAGE);
		close(vm.fd);
		ASSERT_EQ(0, unlink(path));
	}
	EXPECT_EQ(before, mf_users_settled(before));
}

TEST_HARNESS_MAIN
