// SPDX-License-Identifier: GPL-2.0
/* Proofs: no page passes for another, and no session for another. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "kselftest_harness.h"
#include "../vm/guest/pattern.h"
#include "../../tools/migrate-fast/proof.h"

#define SESSION	"0123456789abcdef0123456789abcdef"
#define PAGES	10000

FIXTURE(proof)
{
	struct proof proof;
	uint8_t tag[PROOF_BYTES];
	union {
		uint64_t words[WORDS];
		uint8_t page[PAGE];
	};
};

FIXTURE_SETUP(proof)
{
	ASSERT_EQ(0, proof_begin(&self->proof, SESSION));
	fill(self->words, 7, 7);
	proof_make(&self->proof, self->page, self->tag);
}

FIXTURE_TEARDOWN(proof)
{
	proof_end(&self->proof);
}

TEST_F(proof, it_is_the_page)
{
	EXPECT_TRUE(proof_is(&self->proof, self->page, self->tag));
	EXPECT_TRUE(proof_is(&self->proof, self->page, self->tag));
}

TEST_F(proof, every_bit_counts)
{
	unsigned int bit;

	for (bit = 0; bit < PAGE * 8; bit++) {
		self->page[bit / 8] ^= 1 << bit % 8;
		ASSERT_FALSE(proof_is(&self->proof, self->page, self->tag));
		self->page[bit / 8] ^= 1 << bit % 8;
	}
	for (bit = 0; bit < PROOF_BYTES * 8; bit++) {
		self->tag[bit / 8] ^= 1 << bit % 8;
		ASSERT_FALSE(proof_is(&self->proof, self->page, self->tag));
		self->tag[bit / 8] ^= 1 << bit % 8;
	}
}

TEST_F(proof, another_session)
{
	struct proof other;

	ASSERT_EQ(0, proof_begin(&other, "0123456789abcdef0123456789abcdee"));
	EXPECT_FALSE(proof_is(&other, self->page, self->tag));
	proof_end(&other);
}

/* What XXH64 does not tell from one another: see pattern.h. */
TEST_F(proof, pages_that_are_aimed_at_it)
{
	unsigned int equal = 0, i;
	uint64_t seed, before;

	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(sizeof(seed), getrandom(&seed, sizeof(seed), 0));
		fill(self->words, i, 0);
		before = XXH64(self->page, PAGE, seed);
		proof_make(&self->proof, self->page, self->tag);
		fill_aimed(self->words, i, 1);
		equal += XXH64(self->page, PAGE, seed) == before;
		ASSERT_FALSE(proof_is(&self->proof, self->page, self->tag));
	}
	TH_LOG("XXH64 took %u of %u for the same", equal, PAGES);
	EXPECT_LT(PAGES / 3, equal);
}

TEST_HARNESS_MAIN
