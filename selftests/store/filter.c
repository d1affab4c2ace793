// SPDX-License-Identifier: GPL-2.0
/* What is in a filter is found; of what is not, little. */
#include <stdio.h>

#include "kselftest_harness.h"
#include "../../tools/store/filter.h"

#define DIGESTS	1000000
/* One in a hundred at most; filter.h says one in two hundred. */
#define FALSE	(DIGESTS / 100)

static uint64_t digest(uint64_t n)
{
	n ^= n >> 31;
	n *= 0x9e3779b97f4a7c15ULL;
	n ^= n >> 29;
	n *= 0xbf58476d1ce4e5b9ULL;
	return n ^ n >> 32;
}

TEST(holds_what_was_added)
{
	struct filter filter;
	uint64_t i, found = 0;

	EXPECT_GE(DIGESTS * FILTER_BITS / 8 + FILTER_BLOCK,
		  filter_bytes(DIGESTS));
	filter_init(&filter, filter_bytes(DIGESTS));
	for (i = 0; i < DIGESTS; i++)
		filter_add(&filter, digest(i));
	for (i = 0; i < DIGESTS; i++)
		ASSERT_TRUE(filter_has(&filter, digest(i)));
	for (i = DIGESTS; i < 2 * DIGESTS; i++)
		found += filter_has(&filter, digest(i));
	TH_LOG("says perhaps to %.3f%% of those that are not in it",
	       100.0 * found / DIGESTS);
	EXPECT_GE(FALSE, found);
	filter_free(&filter);
}

TEST(few)
{
	struct filter filter;
	uint64_t n, i;

	for (n = 1; n < 100; n++) {
		filter_init(&filter, filter_bytes(n));
		for (i = 0; i < n; i++)
			filter_add(&filter, digest(i));
		for (i = 0; i < n; i++)
			ASSERT_TRUE(filter_has(&filter, digest(i)));
		filter_free(&filter);
	}
}

TEST(empty)
{
	struct filter filter;

	filter_init(&filter, filter_bytes(0));
	EXPECT_EQ(0, filter.nr_blocks);
	EXPECT_FALSE(filter_has(&filter, 0));
	EXPECT_FALSE(filter_has(&filter, ~0ULL));
	filter_free(&filter);
}

TEST_HARNESS_MAIN
