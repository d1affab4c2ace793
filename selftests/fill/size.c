// SPDX-License-Identifier: GPL-2.0
/*
 * The size of a file some of whose pages are absent: it grows from one server
 * to the next.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_fill.h"
#include "mf_fixture.h"

#define PAGES 200UL

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
	ASSERT_EQ(1, mf_fault(&self->vm, &_fault, 5000)) {		\
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

TEST_HARNESS_MAIN
