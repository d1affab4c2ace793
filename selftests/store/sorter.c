// SPDX-License-Identifier: GPL-2.0
/* Pairs come out in order, however many parts they were sorted in. */
#include "kselftest_harness.h"
#include "../../tools/store/sorter.h"

#define DIR "/tmp"

FIXTURE(sorter)
{
	struct sorter sorter;
	uint64_t random;
};

FIXTURE_SETUP(sorter)
{
	sorter_init(&self->sorter, DIR);
	self->random = 1;
}

FIXTURE_TEARDOWN(sorter)
{
	sorter_free(&self->sorter);
}

FIXTURE_VARIANT(sorter)
{
	size_t pairs, most;
};

FIXTURE_VARIANT_ADD(sorter, none) { .pairs = 0, .most = 10 };
FIXTURE_VARIANT_ADD(sorter, one) { .pairs = 1, .most = 10 };
FIXTURE_VARIANT_ADD(sorter, in_memory) { .pairs = 9999, .most = 10000 };
FIXTURE_VARIANT_ADD(sorter, just_full) { .pairs = 10000, .most = 10000 };
FIXTURE_VARIANT_ADD(sorter, one_more) { .pairs = 10001, .most = 10000 };
FIXTURE_VARIANT_ADD(sorter, many_parts) { .pairs = 100000, .most = 777 };

static uint64_t next(uint64_t *random)
{
	*random = *random * 6364136223846793005ULL + 1442695040888963407ULL;
	return *random >> 33;
}

TEST_F(sorter, in_order)
{
	uint64_t sum = 0, found = 0, digest, last = 0, block = 0;
	const struct place *place;
	size_t i, n = 0;

	self->sorter.most = variant->most;
	for (i = 0; i < variant->pairs; i++) {
		/* Many are equal, and go by their block. */
		digest = next(&self->random) % 1000;
		sum += digest * i;
		ASSERT_EQ(0, sorter_add(&self->sorter, digest, i));
	}
	ASSERT_EQ(0, sorter_sort(&self->sorter));
	while ((place = sorter_next(&self->sorter))) {
		if (n) {
			ASSERT_LE(last, place->digest);
			if (last == place->digest)
				ASSERT_LT(block, place->block);
		}
		last = place->digest;
		block = place->block;
		found += last * block;
		n++;
	}
	EXPECT_EQ(variant->pairs, n);
	EXPECT_EQ(sum, found);
}

TEST_HARNESS_MAIN
