// SPDX-License-Identifier: GPL-2.0
/*
 * The size of a file some of whose pages are absent: it grows from one server
 * to the next, it ends within a page, and somebody appends to it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_fill.h"
#include "mf_fixture.h"

#define PAGES 200UL
/* A file that ends within a page, and where. */
#define LAST 10UL
#define TAIL 100
#define BYTES (LAST * MF_PAGE + TAIL)

FIXTURE(size)
{
	struct mf_vm vm;
};

MF_SMALL_AND_HUGE(size);

FIXTURE_SETUP(size)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
}

FIXTURE_TEARDOWN(size)
{
	mf_vm_close(&self->vm);
}

/* The server goes, the file gets another size, and another server comes. */
static int resize(struct mf_vm *vm, size_t bytes)
{
	struct migrate_fast_add add;
	int rc;

	munmap(vm->bitmap, vm->bitmap_bytes);
	vm->bitmap = NULL;
	close(vm->session);
	munmap(vm->map, vm->pages * MF_PAGE);
	if (ftruncate(vm->fd, bytes))
		return -errno;
	vm->pages = (bytes + MF_PAGE - 1) / MF_PAGE;
	vm->map = mf_map(vm->fd, bytes, PROT_READ | PROT_WRITE);
	vm->session = mf_session();
	if (!vm->map || vm->session < 0)
		return -EIO;
	rc = mf_add(vm->session, vm->fd, &add);
	vm->ram = add.ram;
	return rc;
}

static long size_of(const struct mf_vm *vm)
{
	struct stat stat;

	return fstat(vm->fd, &stat) ? -errno : (long)stat.st_size;
}

/* Page 0 was left absent; all of the longer file becomes so. */
#define GROWS(_pages, _list) do {					\
	struct migrate_fast_fault _fault;				\
	pid_t _pid;							\
									\
	ASSERT_EQ(1, mf_demand(&self->vm, 0, 1));			\
	ASSERT_EQ(0, resize(&self->vm, (_pages) * MF_PAGE));		\
	EXPECT_STREQ("0", mf_absent(&self->vm));			\
	ASSERT_EQ(_pages, mf_demand(&self->vm, 0, _pages));		\
	EXPECT_STREQ(_list, mf_absent(&self->vm));			\
	_pid = mf_touch_start(&self->vm, mf_touch_load, (_pages) - 50);	\
	ASSERT_EQ(1, mf_fault(&self->vm, &_fault, MF_PATIENCE_MS)) {		\
		TH_LOG("it ended with %d", mf_touch_end(_pid));		\
	}								\
	EXPECT_EQ((_pages) - 50, _fault.page);				\
	EXPECT_TRUE(mf_touch_waits(_pid));				\
	EXPECT_EQ(1, mf_fill(&self->vm, (_pages) - 50, 1, 2));		\
	EXPECT_EQ(0, mf_touch_end(_pid));				\
	EXPECT_EQ(1, mf_fill(&self->vm, 0, 1, 2));			\
	EXPECT_EQ((_pages) - 2, mf_fill_zero(&self->vm, 0, _pages));	\
	EXPECT_STREQ("", mf_absent(&self->vm));				\
	EXPECT_EQ(0, mf_absent_state(&self->vm).state);			\
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, 0), 0, 2));	\
} while (0)

TEST_F(size, grows_from_server_to_server)
{
	GROWS(300, "0-299");
}

TEST_F(size, grows_a_lot)
{
	GROWS(40000, "0-39999");
}

/* It grows under its server, who cannot mark what is new; a later one can. */
TEST_F(size, what_grows_is_present)
{
	ASSERT_EQ(64, mf_demand(&self->vm, 128, 64));
	ASSERT_EQ(0, ftruncate(self->vm.fd, 300 * MF_PAGE));
	EXPECT_EQ(-ESTALE, mf_demand(&self->vm, 0, 64));
	EXPECT_EQ(1, mf_fill(&self->vm, 130, 1, 2));
	ASSERT_EQ(0, resize(&self->vm, 300 * MF_PAGE));
	/* To take over makes no page absent, and none present. */
	EXPECT_EQ(63, mf_demand_bits(&self->vm, NULL));
	EXPECT_STREQ("128-129,131-191", mf_absent(&self->vm));
	EXPECT_EQ(0, mf_page(&self->vm, 250)[0]);
	EXPECT_EQ(163, mf_demand(&self->vm, 200, 100));
	EXPECT_STREQ("128-129,131-191,200-299", mf_absent(&self->vm));
	EXPECT_EQ(163, mf_fill(&self->vm, 0, 300, 2));
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, 299), 299, 2));
}

/* Whatever size it had: what is cut off is not absent any more. */
TEST_F(size, cut_from_the_largest_size)
{
	ASSERT_EQ(64, mf_demand(&self->vm, 128, 64));
	ASSERT_EQ(0, ftruncate(self->vm.fd, LLONG_MAX));
	ASSERT_EQ(0, ftruncate(self->vm.fd, 0));
	EXPECT_EQ(0, mf_absent_state(&self->vm).absent);
	ASSERT_EQ(0, ftruncate(self->vm.fd, 300 * MF_PAGE));
	EXPECT_EQ(0, mf_fill(&self->vm, 128, 64, 2));
	EXPECT_EQ(0, mf_page(&self->vm, 130)[0]);
}

/* Bytes behind the end are brought as well, and belong to nothing. */
TEST_F(size, a_fill_does_not_grow_it)
{
	unsigned char bytes[2 * MF_PAGE], want[MF_PAGE];
	size_t i;

	ASSERT_EQ(0, resize(&self->vm, BYTES));
	mf_stamp(self->vm.map, 0, LAST, 1);
	ASSERT_EQ(3, mf_demand(&self->vm, LAST - 2, 3));
	EXPECT_EQ(3, mf_fill(&self->vm, LAST - 2, 3, 2));
	EXPECT_EQ(BYTES, size_of(&self->vm));
	mf_stamp(want, LAST, 1, 2);
	ASSERT_EQ(TAIL, pread(self->vm.fd, bytes, sizeof(bytes),
			      LAST * MF_PAGE));
	EXPECT_EQ(0, memcmp(want, bytes, TAIL));
	EXPECT_EQ(0, pread(self->vm.fd, bytes, sizeof(bytes), BYTES));
	EXPECT_EQ(BYTES, lseek(self->vm.fd, 0, SEEK_END));
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, LAST - 1), LAST - 1,
				       2));
	/* What was behind the end of a file reads as zeroes when it grows. */
	ASSERT_EQ(0, ftruncate(self->vm.fd, (LAST + 1) * MF_PAGE));
	ASSERT_EQ(MF_PAGE, pread(self->vm.fd, bytes, MF_PAGE, LAST * MF_PAGE));
	EXPECT_EQ(0, memcmp(want, bytes, TAIL));
	for (i = TAIL; i < MF_PAGE && !bytes[i]; i++)
		;
	EXPECT_EQ(MF_PAGE, i);
}

/* The last page alone. */
TEST_F(size, a_fill_of_the_last_page_is_complete)
{
	ASSERT_EQ(0, resize(&self->vm, BYTES));
	ASSERT_EQ(1, mf_demand(&self->vm, LAST, 1));
	EXPECT_EQ(1, mf_fill(&self->vm, LAST, 1, 2));
	EXPECT_EQ(BYTES, size_of(&self->vm));
	EXPECT_STREQ("", mf_absent(&self->vm));
	EXPECT_EQ(TAIL, mf_stamp_differs(mf_page(&self->vm, LAST), LAST, 2));
}

static int appends(struct mf_vm *vm, size_t page)
{
	int fd = open(vm->path, O_WRONLY | O_APPEND);

	if (fd < 0)
		return errno;
	return write(fd, "appended", 8) == 8 ? 0 : errno;
}

/* The page that it appends to is to come yet. */
TEST_F(size, an_append_waits)
{
	unsigned char bytes[MF_PAGE], want[MF_PAGE];
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(0, resize(&self->vm, BYTES));
	ASSERT_EQ(1, mf_demand(&self->vm, LAST, 1));
	pid = mf_touch_start(&self->vm, appends, 0);
	ASSERT_EQ(1, mf_fault(&self->vm, &fault, MF_PATIENCE_MS)) {
		TH_LOG("it ended with %d", mf_touch_end(pid));
	}
	EXPECT_EQ(LAST, fault.page);
	EXPECT_TRUE(fault.flags & MIGRATE_FAST_FAULT_WRITE);
	EXPECT_TRUE(mf_touch_waits(pid));
	EXPECT_EQ(BYTES, size_of(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, LAST, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_EQ(BYTES + 8, size_of(&self->vm));
	ASSERT_EQ(TAIL + 8, pread(self->vm.fd, bytes, MF_PAGE, LAST * MF_PAGE));
	mf_stamp(want, LAST, 1, 2);
	memcpy(want + TAIL, "appended", 8);
	EXPECT_EQ(0, memcmp(want, bytes, TAIL + 8));
}

/* Where the descriptor was before is of no interest. */
TEST_F(size, an_append_waits_for_nothing_else)
{
	struct migrate_fast_fault fault;
	pid_t pid;

	ASSERT_EQ(0, resize(&self->vm, BYTES));
	ASSERT_EQ(LAST, mf_demand(&self->vm, 0, LAST));
	pid = mf_touch_start(&self->vm, appends, 0);
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_EQ(0, mf_fault(&self->vm, &fault, 0));
	EXPECT_EQ(BYTES + 8, size_of(&self->vm));
}

/* Two wait to append, and both do. */
TEST_F(size, appends_lose_nothing)
{
	unsigned char bytes[MF_PAGE];
	pid_t pids[2];
	int i;

	ASSERT_EQ(0, resize(&self->vm, BYTES));
	ASSERT_EQ(1, mf_demand(&self->vm, LAST, 1));
	for (i = 0; i < 2; i++)
		pids[i] = mf_touch_start(&self->vm, appends, 0);
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(mf_touch_waits(pids[i]));
	EXPECT_EQ(1, mf_fill(&self->vm, LAST, 1, 2));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, mf_touch_end(pids[i]));
	ASSERT_EQ(TAIL + 16, pread(self->vm.fd, bytes, MF_PAGE,
				   LAST * MF_PAGE));
	EXPECT_EQ(0, memcmp(bytes + TAIL, "appendedappended", 16));
}

TEST_HARNESS_MAIN
