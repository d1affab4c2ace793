// SPDX-License-Identifier: GPL-2.0
/*
 * Each kind of reader and writer waits for an absent page, and gets just the
 * bytes that it is filled with; can be killed while it waits; and is told when
 * the page will not come.
 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "touches.h"

#include <sys/mman.h>

#define PAGES	1024UL
/* The absent pages, and that of them which is touched. */
#define FROM	64UL
#define COUNT	64UL
#define PAGE	100UL

FIXTURE(reader)
{
	struct mf_vm vm;
	bool has_disk;
};

FIXTURE_VARIANT(reader)
{
	mf_touch touch;
	/* Wants to write: the server is told so. */
	bool writes;
	/* What it ends with when the page will not come. */
	int aborted;
	bool disk;
	/* Needs KVM. */
	bool guest;
	/* The kernel's own threads wait for it. */
	bool goes_on;
	/* Begins in the page before, so that one must be there. */
	bool across;
};

FIXTURE_VARIANT_ADD(reader, load)
{
	.touch = load,
	.aborted = -SIGBUS,
};

FIXTURE_VARIANT_ADD(reader, store)
{
	.touch = store,
	.aborted = -SIGBUS, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, atomic_add)
{
	.touch = atomic_add,
	.aborted = -SIGBUS, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, own_mapping)
{
	.touch = own_mapping,
	.aborted = -SIGBUS,
};

FIXTURE_VARIANT_ADD(reader, private_mapping)
{
	.touch = private_mapping,
	.aborted = -SIGBUS,
};

FIXTURE_VARIANT_ADD(reader, private_store)
{
	.touch = private_store,
	.aborted = -SIGBUS, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, map_populate)
{
	.touch = map_populate,
	.aborted = -SIGBUS,
};

FIXTURE_VARIANT_ADD(reader, populate_read)
{
	.touch = populate_read,
	.aborted = EFAULT,
};

FIXTURE_VARIANT_ADD(reader, populate_write)
{
	.touch = populate_write,
	.aborted = EFAULT, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, lock_memory)
{
	.touch = lock_memory,
	.aborted = ENOMEM,
};

FIXTURE_VARIANT_ADD(reader, syscall_source)
{
	.touch = syscall_source,
	.aborted = EFAULT,
};

FIXTURE_VARIANT_ADD(reader, syscall_target)
{
	.touch = syscall_target,
	.aborted = EFAULT, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, proc_mem)
{
	.touch = proc_mem,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, vm_readv)
{
	.touch = vm_readv,
	.aborted = EFAULT,
};

FIXTURE_VARIANT_ADD(reader, vm_writev)
{
	.touch = vm_writev,
	.aborted = EFAULT, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, futex_wait)
{
	.touch = futex_wait,
	.aborted = EFAULT,
};

FIXTURE_VARIANT_ADD(reader, direct_from)
{
	.touch = direct_from,
	.aborted = EFAULT, .disk = true,
};

FIXTURE_VARIANT_ADD(reader, direct_into)
{
	.touch = direct_into,
	.aborted = EFAULT, .disk = true, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, read_file)
{
	.touch = read_file,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, read_across)
{
	.touch = read_across,
	.aborted = EIO, .across = true,
};

FIXTURE_VARIANT_ADD(reader, read_vector)
{
	.touch = read_vector,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, write_part)
{
	.touch = write_part,
	.aborted = EIO, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, write_page)
{
	.touch = write_page,
	.aborted = EIO, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, write_from_same_file)
{
	.touch = write_from_same_file,
	.aborted = EFAULT,
};

FIXTURE_VARIANT_ADD(reader, splice_out)
{
	.touch = splice_out,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, splice_in)
{
	.touch = splice_in,
	.aborted = EIO, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, send_file)
{
	.touch = send_file,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, copy_range)
{
	.touch = copy_range,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, uring_read)
{
	.touch = uring_read,
	.aborted = EIO,
};

FIXTURE_VARIANT_ADD(reader, uring_write)
{
	.touch = uring_write,
	.aborted = EIO, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, uring_into)
{
	.touch = uring_into,
	.aborted = EFAULT, .writes = true, .across = true,
};

FIXTURE_VARIANT_ADD(reader, guest_load)
{
	.touch = guest_load,
	.aborted = -SIGBUS, .guest = true,
};

FIXTURE_VARIANT_ADD(reader, guest_store)
{
	.touch = guest_store,
	.aborted = -SIGBUS, .guest = true, .writes = true,
};

FIXTURE_VARIANT_ADD(reader, guest_load_async)
{
	.touch = guest_load_async,
	.aborted = -SIGBUS, .guest = true, .goes_on = true,
};

FIXTURE_VARIANT_ADD(reader, vhost_from)
{
	.touch = vhost_from,
	.aborted = EFAULT, .goes_on = true,
};

FIXTURE_VARIANT_ADD(reader, vhost_into)
{
	.touch = vhost_into,
	/* Itself: the device says nothing. */
	.aborted = -SIGBUS, .writes = true, .goes_on = true,
};

FIXTURE_SETUP(reader)
{
	if (variant->guest && access("/dev/kvm", F_OK))
		SKIP(return, "no KVM on this host");
	if (variant->disk) {
		ASSERT_EQ(0, touch_disk_open());
		self->has_disk = true;
	}
}

FIXTURE_TEARDOWN(reader)
{
	mf_vm_close(&self->vm);
	if (self->has_disk)
		touch_disk_close();
}

#define SETUP(_options) do {						\
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, _options));		\
	mf_stamp(self->vm.map, 0, PAGES, 1);				\
	ASSERT_EQ(COUNT, mf_demand(&self->vm, FROM, COUNT));		\
	if (variant->across)						\
		ASSERT_EQ(1, mf_fill(&self->vm, PAGE - 1, 1, 1));	\
} while (0)

/* The reader has begun, waits, and the server was told of its page. */
#define BEGIN(_pid) do {						\
	struct migrate_fast_fault _fault = {};				\
									\
	_pid = mf_touch_start(&self->vm, variant->touch, PAGE);	\
	ASSERT_LT(0, _pid);						\
	ASSERT_EQ(1, mf_fault(&self->vm, &_fault, MF_PATIENCE_MS)) {		\
		TH_LOG("it ended with %d", mf_touch_end(_pid));		\
	}								\
	EXPECT_EQ(PAGE, _fault.page);					\
	if (variant->writes)						\
		EXPECT_TRUE(_fault.flags & MIGRATE_FAST_FAULT_WRITE);	\
	/* KVM always tries at first without waiting. */		\
	if (!variant->guest)						\
		EXPECT_EQ(variant->goes_on, !!(_fault.flags &		\
				       MIGRATE_FAST_FAULT_GOES_ON));	\
	EXPECT_TRUE(mf_touch_waits(_pid));				\
} while (0)

#define GETS_IT(_options) do {						\
	struct migrate_fast_fault _none;				\
	size_t _i;							\
	pid_t _pid;							\
									\
	SETUP(_options);						\
	BEGIN(_pid);							\
	/* Others come first: that wakes nobody who does not want them. */ \
	EXPECT_EQ(1, mf_fill(&self->vm, PAGE + 1, 1, 2));		\
	EXPECT_EQ(1, mf_fill_zero(&self->vm, PAGE + 2, 1));		\
	EXPECT_TRUE(mf_touch_waits(_pid));				\
	EXPECT_EQ(1, mf_fill(&self->vm, PAGE, 1, 2));			\
	EXPECT_EQ(0, mf_touch_end(_pid));				\
	/* It has asked for nothing else, and no page came by chance. */ \
	EXPECT_EQ(0, mf_fault(&self->vm, &_none, 0));			\
	EXPECT_EQ(COUNT - 3 - variant->across,				\
		  mf_absent_state(&self->vm).absent);			\
	EXPECT_EQ(0, mf_absent_state(&self->vm).waiting);		\
	EXPECT_EQ(1, mf_absent_state(&self->vm).faults);		\
	EXPECT_EQ(variant->goes_on, mf_absent_state(&self->vm).went_on); \
	/* The rest of the file is as it was. */			\
	for (_i = 0; _i < PAGES; _i++) {				\
		if (_i < FROM || _i >= FROM + COUNT)			\
			ASSERT_EQ(-1, mf_stamp_differs(			\
				mf_page(&self->vm, _i), _i, 1));	\
	}								\
} while (0)

TEST_F(reader, gets_the_small_page)
{
	GETS_IT("huge=never");
}

TEST_F(reader, gets_the_page_of_a_large_one)
{
	GETS_IT("huge=always");
}

/* Nobody is left in the kernel, and the page is as absent as before. */
TEST_F(reader, can_be_killed)
{
	pid_t pid;
	int status;

	SETUP("huge=never");
	BEGIN(pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, mf_touch_end(pid));
	EXPECT_EQ(COUNT - variant->across, mf_absent_state(&self->vm).absent);
	/* Nor is a kernel thread in its way. */
	EXPECT_EQ(1, mf_fill(&self->vm, PAGE, 1, 2));
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, PAGE), PAGE, 2));
	EXPECT_EQ(-1, waitpid(-1, &status, WNOHANG));
}

TEST_F(reader, is_told_that_it_will_not_come)
{
	pid_t pid;
	int rc;

	SETUP("huge=never");
	BEGIN(pid);
	ASSERT_EQ(0, mf_abort(&self->vm));
	rc = mf_touch_end(pid);
	/* What KVM makes of it depends on whether it had begun to wait. */
	EXPECT_TRUE(rc == variant->aborted || (variant->guest && rc == EFAULT)) {
		TH_LOG("ended with %d", rc);
	}
	/* And so are those that come late. */
	pid = mf_touch_start(&self->vm, variant->touch, PAGE);
	EXPECT_EQ(variant->aborted, mf_touch_end(pid));
	EXPECT_EQ(-ECANCELED, mf_fill(&self->vm, PAGE, 1, 2));
}

TEST_HARNESS_MAIN
