// SPDX-License-Identifier: GPL-2.0
/*
 * Swapping takes pages, page tables and their dirty bits away, and brings
 * pages back in other memory. No write is lost by it, and no byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "fixture.h"

#define OUT(_page, _pages) \
	mf_swap_out(mf_page(&self->vm, _page), (_pages) * MF_PAGE)

TEST_F(track, written_then_swapped_out)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	memset(mf_page(&self->vm, 8), 0xa5, 8 * MF_PAGE);
	EXPECT_EQ(8, OUT(8, 8));
	EXPECT_STREQ("8-15", mf_peek(&self->vm));
	EXPECT_STREQ("8-15", mf_harvest(&self->vm));
	EXPECT_EQ(0xa5, mf_page(&self->vm, 9)[100]);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 9)[0] = 1;
	EXPECT_STREQ("9", mf_harvest(&self->vm));
}

/*
 * Harvest takes the dirty bits of the page tables. If it did not pass them on
 * to the page, reclaim would throw the page away as never written.
 */
TEST_F(track, harvested_then_swapped_out)
{
	size_t i;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	for (i = 0; i < 16; i++)
		memset(mf_page(&self->vm, 8 + i), i + 1, MF_PAGE);
	EXPECT_STREQ("8-23", mf_harvest(&self->vm));
	EXPECT_EQ(16, OUT(8, 16));
	for (i = 0; i < 16; i++) {
		EXPECT_EQ(i + 1, mf_page(&self->vm, 8 + i)[0]);
		EXPECT_EQ(i + 1, mf_page(&self->vm, 8 + i)[4095]);
	}
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(track, swapped_in_by_a_store)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	memset(self->vm.map, 3, 32 * MF_PAGE);
	EXPECT_STREQ("0-31", mf_harvest(&self->vm));
	EXPECT_EQ(32, OUT(0, 32));
	mf_page(&self->vm, 5)[7] = 4;
	EXPECT_EQ(4, pwrite(self->vm.fd, "text", 4, 6 * MF_PAGE));
	EXPECT_STREQ("5-6", mf_harvest(&self->vm));
	EXPECT_EQ(3, mf_page(&self->vm, 5)[6]);
	EXPECT_EQ(3, mf_page(&self->vm, 6)[4]);
}

/* Arming must not forget pages that are not in memory at that moment. */
TEST_F(track, swapped_out_before_start)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	ASSERT_EQ(0, mf_stop(self->vm.session));
	memset(self->vm.map, 3, 32 * MF_PAGE);
	EXPECT_EQ(32, OUT(0, 32));
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(3, mf_page(&self->vm, 4)[0]);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 4)[0] = 4;
	mf_page(&self->vm, 5)[0] = 4;
	EXPECT_STREQ("4-5", mf_harvest(&self->vm));
}

TEST_F(track, punched_while_in_swap)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	memset(self->vm.map, 3, 32 * MF_PAGE);
	EXPECT_STREQ("0-31", mf_harvest(&self->vm));
	EXPECT_EQ(32, OUT(0, 32));
	EXPECT_EQ(0, madvise(mf_page(&self->vm, 5), 2 * MF_PAGE, MADV_REMOVE));
	EXPECT_STREQ("5-6", mf_harvest(&self->vm));
	EXPECT_EQ(0, mf_page(&self->vm, 5)[0]);
	EXPECT_EQ(3, mf_page(&self->vm, 7)[0]);
}

/* The same pages many times: written, harvested, out, written, out, harvested. */
TEST_F(track, to_and_fro)
{
	int round;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	for (round = 1; round < 6; round++) {
		memset(mf_page(&self->vm, 64), round, 4 * MF_PAGE);
		EXPECT_EQ(4, OUT(64, 4));
		mf_page(&self->vm, 65)[9] = round + 100;
		EXPECT_STREQ("64-67", mf_harvest(&self->vm));
		EXPECT_EQ(4, OUT(64, 4));
		EXPECT_EQ(round + 100, mf_page(&self->vm, 65)[9]);
		EXPECT_EQ(round, mf_page(&self->vm, 65)[10]);
		EXPECT_STREQ("", mf_harvest(&self->vm));
	}
}

TEST_HARNESS_MAIN
