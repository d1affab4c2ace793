// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_START, MIGRATE_FAST_STOP, and what the end of a session undoes.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/userfaultfd.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

FIXTURE(start)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(start)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, NULL));
}

FIXTURE_TEARDOWN(start)
{
	mf_vm_close(&self->vm);
}

static bool tracked(int session, __u32 ram)
{
	struct migrate_fast_counters counters = { .ram = ram };

	mf_ioctl(session, MIGRATE_FAST_COUNTERS, &counters);
	return counters.flags & MIGRATE_FAST_COUNTERS_TRACKED;
}

TEST_F(start, empty_session)
{
	int session = mf_session();

	EXPECT_EQ(0, mf_start(session));
	EXPECT_EQ(0, mf_stop(session));
}

/* What was written before is not news; what was read is not written. */
TEST_F(start, begins_clean)
{
	memset(self->vm.map, 1, 64 * MF_PAGE);
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_TRUE(tracked(self->vm.session, 0));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 5)[0] = 2;
	EXPECT_STREQ("5", mf_harvest(&self->vm));
}

TEST_F(start, twice_keeps_the_bits)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 5)[0] = 2;
	EXPECT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("5", mf_harvest(&self->vm));
}

TEST_F(start, again_takes_the_files_added_since)
{
	struct migrate_fast_harvest h = {};
	struct migrate_fast_add add;
	int fd = mf_create(MF_MNT "/second", 64 * MF_PAGE);

	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 5)[0] = 2;
	ASSERT_EQ(0, mf_add(self->vm.session, fd, &add));
	h.ram = add.ram;
	EXPECT_EQ(-ENODATA, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(1, pwrite(fd, "x", 1, 0));
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(1, h.dirty);
	EXPECT_STREQ("5", mf_harvest(&self->vm));
}

TEST_F(start, stop_forgets)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 5)[0] = 2;
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_FALSE(tracked(self->vm.session, 0));
	EXPECT_STREQ("harvest: ENODATA", mf_harvest(&self->vm));
	mf_page(&self->vm, 6)[0] = 2;
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 6)[0] = 3;
	EXPECT_STREQ("6", mf_harvest(&self->vm));
}

TEST_F(start, stop_of_what_is_not_tracked)
{
	EXPECT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(0, mf_stop(self->vm.session));
}

TEST_F(start, ebusy_for_a_second_tracker)
{
	struct migrate_fast_add add;
	int other = mf_session();

	ASSERT_EQ(0, mf_add(other, self->vm.fd, &add));
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(-EBUSY, mf_start(other));
	/* The first one is none the worse for it. */
	mf_page(&self->vm, 7)[0] = 2;
	EXPECT_STREQ("7", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(0, mf_start(other));
	EXPECT_EQ(-EBUSY, mf_start(self->vm.session));
}

TEST_F(start, all_or_nothing)
{
	struct migrate_fast_add add;
	int other = mf_session(), third = mf_session();
	int fd = mf_create(MF_MNT "/free", 64 * MF_PAGE);
	int last = mf_create(MF_MNT "/last", 64 * MF_PAGE);

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, mf_add(other, fd, &add));
	ASSERT_EQ(0, mf_add(other, self->vm.fd, &add));
	ASSERT_EQ(0, mf_add(other, last, &add));
	EXPECT_EQ(-EBUSY, mf_start(other));
	EXPECT_FALSE(tracked(other, 0));
	EXPECT_FALSE(tracked(other, 1));
	EXPECT_FALSE(tracked(other, 2));
	ASSERT_EQ(0, mf_add(third, fd, &add));
	ASSERT_EQ(0, mf_add(third, last, &add));
	EXPECT_EQ(0, mf_start(third));
}

/* A failed START must not take away what the session tracked before. */
TEST_F(start, failure_keeps_what_was_tracked)
{
	struct migrate_fast_add add;
	int other = mf_session();
	int fd = mf_create(MF_MNT "/taken", 64 * MF_PAGE);

	ASSERT_EQ(0, mf_add(other, fd, &add));
	ASSERT_EQ(0, mf_start(other));
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 9)[0] = 1;
	ASSERT_EQ(0, mf_add(self->vm.session, fd, &add));
	EXPECT_EQ(-EBUSY, mf_start(self->vm.session));
	EXPECT_TRUE(tracked(self->vm.session, 0));
	EXPECT_STREQ("9", mf_harvest(&self->vm));
}

TEST_F(start, estale_after_growth)
{
	ASSERT_EQ(0, ftruncate(self->vm.fd, 129 * MF_PAGE));
	EXPECT_EQ(-ESTALE, mf_start(self->vm.session));
	EXPECT_FALSE(tracked(self->vm.session, 0));
	ASSERT_EQ(0, ftruncate(self->vm.fd, 128 * MF_PAGE));
	EXPECT_EQ(0, mf_start(self->vm.session));
}

/* Growth within the last page brings no page that the bitmap cannot tell. */
TEST_F(start, shrunk_files_are_fine)
{
	ASSERT_EQ(0, ftruncate(self->vm.fd, 100 * MF_PAGE));
	EXPECT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(start, tracked_files_do_not_grow)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(-1, ftruncate(self->vm.fd, 129 * MF_PAGE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, pwrite(self->vm.fd, "x", 1, 128 * MF_PAGE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(-1, fallocate(self->vm.fd, 0, 0, 129 * MF_PAGE));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(128 * MF_PAGE, lseek(self->vm.fd, 0, SEEK_END));

	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(0, ftruncate(self->vm.fd, 129 * MF_PAGE));
}

/* Whatever a write at the end does, no byte may get past the bitmap. */
TEST_F(start, a_write_across_the_end_does_not_grow_it)
{
	char bytes[200] = "across";

	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_GE(100, pwrite(self->vm.fd, bytes, sizeof(bytes),
			      128 * MF_PAGE - 100));
	EXPECT_EQ(128 * MF_PAGE, lseek(self->vm.fd, 0, SEEK_END));
}

TEST_F(start, ends_with_the_last_descriptor)
{
	struct migrate_fast_add add;
	int other = mf_session(), copy = dup(self->vm.session);

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, mf_add(other, self->vm.fd, &add));
	/* A mapped bitmap is no descriptor, but holds the session as one. */
	munmap(self->vm.bitmap, self->vm.bitmap_bytes);
	self->vm.bitmap = NULL;
	close(self->vm.session);
	EXPECT_EQ(-EBUSY, mf_start(other));
	close(copy);
	EXPECT_EQ(0, mf_start(other));
	self->vm.session = -1;
}

TEST_F(start, ends_with_the_process)
{
	struct migrate_fast_add add;
	int session;
	pid_t pid;

	close(self->vm.session);
	munmap(self->vm.bitmap, self->vm.bitmap_bytes);
	self->vm.bitmap = NULL;
	memset(self->vm.map, 3, 128 * MF_PAGE);
	pid = fork();
	if (!pid) {
		session = mf_session();
		if (mf_add(session, self->vm.fd, &add) || mf_start(session))
			_exit(1);
		self->vm.map[0] = 4;
		kill(getpid(), SIGKILL);
	}
	EXPECT_EQ(-EINTR, mf_wait(pid));
	self->vm.session = mf_session();
	ASSERT_EQ(0, mf_add(self->vm.session, self->vm.fd, &add));
	EXPECT_EQ(0, mf_start(self->vm.session));
	EXPECT_EQ(4, self->vm.map[0]);
	EXPECT_EQ(3, self->vm.map[MF_PAGE]);
}

/* The VM goes first: the session keeps the file and harvests on. */
TEST_F(start, outlives_the_vm)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(mf_page(&self->vm, 10), 1, 3 * MF_PAGE);
	munmap(self->vm.map, 128 * MF_PAGE);
	self->vm.map = NULL;
	close(self->vm.fd);
	self->vm.fd = -1;
	ASSERT_EQ(0, unlink(self->vm.path));
	EXPECT_STREQ("10-12", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

/* Memory whose owner never brings it; NULL if this kernel has no such thing. */
static void *never_comes(size_t bytes)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	void *memory;

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		return NULL;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	reg.range.start = (uintptr_t)memory;
	reg.range.len = bytes;
	return ioctl(uffd, UFFDIO_REGISTER, &reg) ? NULL : memory;
}

/*
 * A process that writes to the file what never comes: returns when it is about
 * to. -ENOSYS if this kernel has no such memory.
 */
static pid_t write_never(const struct mf_vm *vm)
{
	int pipes[2];
	void *memory;
	pid_t pid;
	char byte;

	if (pipe(pipes))
		return -errno;
	pid = fork();
	if (!pid) {
		/* It is not inherited. */
		memory = never_comes(MF_PAGE);
		if (memory && write(pipes[1], "x", 1) == 1)
			pwrite(vm->fd, memory, MF_PAGE, 5 * MF_PAGE);
		_exit(1);
	}
	close(pipes[1]);
	if (read(pipes[0], &byte, 1) != 1) {
		mf_wait(pid);
		pid = -ENOSYS;
	}
	close(pipes[0]);
	return pid;
}

/* It is another process' business when a write of its comes to an end. */
#define NOT_KEPT(_what) do {						\
	pid_t _pid, _writer = write_never(&self->vm);			\
									\
	if (_writer < 0)						\
		SKIP(return, "no userfaultfd in this kernel");		\
	EXPECT_FALSE(mf_ends_until(_writer, mf_ms() + 300));		\
	_pid = fork();							\
	if (!_pid) {							\
		_what;							\
		_exit(0);						\
	}								\
	EXPECT_TRUE(mf_ends_until(_pid, mf_ms() + MF_PATIENCE_MS));		\
	EXPECT_FALSE(mf_ends_until(_writer, mf_ms()));			\
	/* Or the other one might hang for ever. */			\
	kill(_writer, SIGKILL);						\
	EXPECT_EQ(-EINTR, mf_wait(_writer));				\
	EXPECT_EQ(0, mf_wait(_pid));					\
} while (0)

TEST_F(start, not_kept_by_a_write_that_takes_its_time)
{
	NOT_KEPT(mf_start(self->vm.session));
}

TEST_F(start, stop_not_kept_by_a_write_that_takes_its_time)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	NOT_KEPT(mf_stop(self->vm.session));
}

/* The session is that of the child alone. */
TEST_F(start, end_not_kept_by_a_write_that_takes_its_time)
{
	NOT_KEPT({
		struct migrate_fast_add add;
		int session = mf_session();

		if (mf_add(session, self->vm.fd, &add) || mf_start(session))
			_exit(2);
		close(session);
	});
}

/* Nor are others who write. */
TEST_F(start, a_write_that_takes_its_time_blocks_no_other)
{
	NOT_KEPT(pwrite(self->vm.fd, "x", 1, 6 * MF_PAGE));
	EXPECT_EQ('x', mf_page(&self->vm, 6)[0]);
}

TEST_HARNESS_MAIN
