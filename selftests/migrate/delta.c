// SPDX-License-Identifier: GPL-2.0
/*
 * Changes of pages: whatever has changed arrives, and nothing is made of them
 * where the page is not what the source thinks.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <sys/random.h>

#include "kselftest_harness.h"
#include "../../tools/migrate-fast/delta.h"

#define PAGE	4096
#define PAGES	WIRE_PACK_PAGES
#define BYTES	(PAGES * PAGE)
/* Where they lie in the second RAM file. */
#define FIRST	100
#define SESSION	"0123456789abcdef0123456789abcdef"

FIXTURE(delta)
{
	struct delta delta;
	struct ram ram[2];
	struct vm vm;
	struct proof proof;
	uint8_t pages[BYTES];		/* of the source */
	uint8_t there[BYTES];		/* of the destination */
	uint8_t before[BYTES];
};

static void randomize(uint8_t *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i += 256)
		if (getrandom(bytes + i, n - i < 256 ? n - i : 256, 0) < 0)
			abort();
}

FIXTURE_SETUP(delta)
{
	self->ram[0].mf.pages = 1;
	self->ram[1].mf.pages = FIRST + PAGES;
	self->vm.ram = self->ram;
	self->vm.rams = 2;
	ASSERT_EQ(0, proof_begin(&self->proof, SESSION));
	delta_begin(&self->delta, &self->vm, &self->proof);
	ASSERT_TRUE(self->delta.on);
	randomize(self->pages, BYTES);
	memcpy(self->there, self->pages, BYTES);
}

FIXTURE_TEARDOWN(delta)
{
	delta_end(&self->delta);
	proof_end(&self->proof);
}

static size_t make(struct delta *delta, const uint8_t *pages, uint32_t count)
{
	return delta_make(delta, 1, FIRST, count, pages);
}

/* Changes a byte in each of these blocks. */
static void change(uint8_t *page, unsigned int mask)
{
	unsigned int i;

	for (i = 0; i < DELTA_BLOCKS; i++)
		if (mask >> i & 1)
			page[i * DELTA_BLOCK + (mask + i * 7) % DELTA_BLOCK]++;
}

TEST_F(delta, every_mask)
{
	unsigned int mask, blocks;
	uint64_t missed;
	size_t n;

	ASSERT_EQ(0, make(&self->delta, self->pages, 1));
	for (mask = 0; mask <= 0xffff; mask++) {
		blocks = __builtin_popcount(mask);
		change(self->pages, mask);
		n = make(&self->delta, self->pages, 1);
		if (blocks > DELTA_MOST) {
			ASSERT_EQ(0, n);
			memcpy(self->there, self->pages, PAGE);
			continue;
		}
		ASSERT_EQ(2 + PROOF_BYTES + blocks * DELTA_BLOCK, n);
		missed = 77;
		ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
					 self->there, 1, &missed));
		ASSERT_EQ(0, missed);
		ASSERT_EQ(0, memcmp(self->pages, self->there, PAGE));
	}
	EXPECT_EQ(0, self->delta.missed);
}

TEST_F(delta, every_place_in_a_page)
{
	unsigned int at;
	uint64_t missed;
	size_t n;

	make(&self->delta, self->pages, 1);
	for (at = 0; at < PAGE; at++) {
		self->pages[at] ^= 1 << at % 8;
		n = make(&self->delta, self->pages, 1);
		ASSERT_EQ(2 + PROOF_BYTES + DELTA_BLOCK, n);
		ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
					 self->there, 1, &missed));
		ASSERT_EQ(0, missed);
		ASSERT_EQ(0, memcmp(self->pages, self->there, PAGE));
	}
}

/* Some whole, some changed, some as they were, in one frame. */
TEST_F(delta, many_pages)
{
	uint64_t missed;
	unsigned int i;
	size_t n;

	ASSERT_EQ(0, make(&self->delta, self->pages, PAGES));
	for (i = 0; i < PAGES; i++) {
		if (i % 5 == 0)
			delta_forget(&self->delta, 1, FIRST + i, 1);
		change(self->pages + i * PAGE, i % 3 ? 1 << i % 16 : 0);
		if (i % 7 == 0)
			randomize(self->pages + i * PAGE, PAGE);
	}
	n = make(&self->delta, self->pages, PAGES);
	ASSERT_LT(0, n);
	EXPECT_GT(BYTES / 2, n);
	ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
				 self->there, PAGES, &missed));
	EXPECT_EQ(0, missed);
	EXPECT_EQ(0, memcmp(self->pages, self->there, BYTES));
	/* Not divisible by 5 or 7: 64 - 13 - 10 + 2. */
	EXPECT_EQ(43, self->delta.sent);
}

TEST_F(delta, another_page_is_left_alone)
{
	uint64_t missed;
	unsigned int i;
	size_t n;

	make(&self->delta, self->pages, PAGES);
	for (i = 0; i < PAGES; i++)
		change(self->pages + i * PAGE, 1 << i % 16);
	n = make(&self->delta, self->pages, PAGES);
	/* A bit in another block than that which comes. */
	for (i = 0; i < PAGES; i += 2)
		self->there[i * PAGE + (i + 1) % 16 * DELTA_BLOCK + i] ^= 4;
	memcpy(self->before, self->there, BYTES);
	ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
				 self->there, PAGES, &missed));
	EXPECT_EQ(0x5555555555555555ULL, missed);
	for (i = 0; i < PAGES; i++)
		EXPECT_EQ(0, memcmp(self->there + i * PAGE, i % 2 ?
				    self->pages + i * PAGE :
				    self->before + i * PAGE, PAGE));
}

/* Nothing has changed, but the page is another one there. */
TEST_F(delta, nothing_is_checked_too)
{
	uint64_t missed;
	size_t n;

	make(&self->delta, self->pages, 1);
	n = make(&self->delta, self->pages, 1);
	ASSERT_EQ(2 + PROOF_BYTES, n);
	self->there[PAGE - 1]++;
	ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
				 self->there, 1, &missed));
	EXPECT_EQ(1, missed);
}

TEST_F(delta, another_session)
{
	struct proof other;
	uint64_t missed;
	size_t n;

	make(&self->delta, self->pages, 1);
	n = make(&self->delta, self->pages, 1);
	ASSERT_EQ(0, proof_begin(&other, "0123456789abcdef0123456789abcdee"));
	ASSERT_EQ(0, delta_apply(&other, self->delta.payload, n,
				 self->there, 1, &missed));
	EXPECT_EQ(1, missed);
	proof_end(&other);
}

TEST_F(delta, missed_goes_whole)
{
	make(&self->delta, self->pages, 3);
	/* Those that were whole cannot be missed. */
	EXPECT_FALSE(delta_miss(&self->delta, 1, FIRST));
	change(self->pages + PAGE, 1);
	EXPECT_LT(0, make(&self->delta, self->pages, 3));
	EXPECT_EQ(3, self->delta.sent);
	EXPECT_TRUE(delta_miss(&self->delta, 1, FIRST + 1));
	EXPECT_FALSE(delta_miss(&self->delta, 1, FIRST + 1));
	EXPECT_FALSE(delta_miss(&self->delta, 0, 0));
	EXPECT_EQ(1, self->delta.missed);
	EXPECT_EQ(0, delta_make(&self->delta, 1, FIRST + 1, 1,
				self->pages + PAGE));
	/* And then it is known again. */
	EXPECT_LT(0, delta_make(&self->delta, 1, FIRST + 1, 1,
				self->pages + PAGE));
}

TEST_F(delta, files_are_told_apart)
{
	EXPECT_EQ(0, delta_make(&self->delta, 0, 0, 1, self->pages));
	EXPECT_EQ(0, make(&self->delta, self->pages, 1));
	EXPECT_LT(0, delta_make(&self->delta, 0, 0, 1, self->pages));
}

TEST_F(delta, ended)
{
	delta_end(&self->delta);
	delta_forget(&self->delta, 1, FIRST, 1);
	EXPECT_FALSE(delta_miss(&self->delta, 1, FIRST));
}

/*
 * Two blocks of the first page change. What a test asks for is looked up once
 * in a program: so before the first page.
 */
static size_t make_wrong(struct delta *delta, uint8_t *pages, const char *hooks)
{
	setenv("MIGRATE_FAST_TEST", hooks, 1);
	make(delta, pages, 1);
	change(pages, 6);
	return make(delta, pages, 1);
}

/* A left-out block, as by "wrong-delta". */
TEST_F(delta, wrong_on_purpose)
{
	size_t n = make_wrong(&self->delta, self->pages, "wrong-delta");
	uint64_t missed;

	ASSERT_EQ(2 + PROOF_BYTES + DELTA_BLOCK, n);
	ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
				 self->there, 1, &missed));
	EXPECT_EQ(1, missed);
	EXPECT_NE(0, memcmp(self->pages, self->there, PAGE));
}

/* And taken all the same, as by "trust-proof": so the proof is what finds it. */
TEST_F(delta, wrong_and_trusted)
{
	size_t n = make_wrong(&self->delta, self->pages,
			      "wrong-delta,trust-proof");
	uint64_t missed;

	ASSERT_EQ(0, delta_apply(&self->proof, self->delta.payload, n,
				 self->there, 1, &missed));
	EXPECT_EQ(0, missed);
	EXPECT_NE(0, memcmp(self->pages, self->there, PAGE));
}

TEST_F(delta, what_is_wrong_is_refused)
{
	uint8_t *payload = self->delta.payload;
	uint64_t missed;
	size_t n, i;

	make(&self->delta, self->pages, PAGES);
	change(self->pages, 5);
	randomize(self->pages + PAGE, PAGE);
	n = make(&self->delta, self->pages, PAGES);
	memcpy(self->before, self->there, BYTES);
	/* Less, more, none, or of another number of pages. */
	for (i = 0; i < n; i++)
		ASSERT_NE(0, delta_apply(&self->proof, payload, i, self->there,
					 PAGES, &missed));
	ASSERT_NE(0, delta_apply(&self->proof, payload, n + 1, self->there,
				 PAGES, &missed));
	for (i = 0; i < PAGES; i++)
		ASSERT_NE(0, delta_apply(&self->proof, payload, n, self->there,
					 i, &missed));
	ASSERT_NE(0, delta_apply(&self->proof, payload, n, self->there,
				 PAGES + 1, &missed));
	/* A block that is said to come, or not to, changes the length. */
	for (i = 0; i < 16 * PAGES; i++) {
		payload[i / 8] ^= 1 << i % 8;
		ASSERT_NE(0, delta_apply(&self->proof, payload, n, self->there,
					 PAGES, &missed));
		payload[i / 8] ^= 1 << i % 8;
	}
	ASSERT_EQ(0, memcmp(self->before, self->there, BYTES));
	/* A byte that is wrong makes the page wrong, unless it goes whole. */
	for (i = 0; i < PROOF_BYTES + 2 * DELTA_BLOCK; i++) {
		payload[2 * PAGES + i] ^= 0x80;
		ASSERT_EQ(0, delta_apply(&self->proof, payload, n, self->there,
					 PAGES, &missed));
		ASSERT_EQ(1, missed);
		ASSERT_EQ(0, memcmp(self->before, self->there, PAGE));
		payload[2 * PAGES + i] ^= 0x80;
	}
	ASSERT_EQ(0, delta_apply(&self->proof, payload, n, self->there, PAGES,
				 &missed));
	EXPECT_EQ(0, missed);
	EXPECT_EQ(0, memcmp(self->pages, self->there, BYTES));
}

TEST_HARNESS_MAIN
