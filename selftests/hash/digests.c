// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_HASH: digests are those that well-known libraries compute of
 * the same bytes, whatever the page is like and wherever it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "kselftest_harness.h"
#include "mf_fixture.h"
#include "mf_test.h"

#define PAGES 1024UL

FIXTURE(digests)
{
	struct mf_vm vm;
	struct migrate_fast_digest *digests;
	struct migrate_fast_hash hash;
	__u64 random;
};

MF_SMALL_AND_HUGE(digests);

FIXTURE_SETUP(digests)
{
	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	self->digests = calloc(PAGES, sizeof(*self->digests));
	/* What is not filled in must show. */
	memset(self->digests, 0xee, PAGES * sizeof(*self->digests));
	self->hash = (struct migrate_fast_hash){
		.digests = (uintptr_t)self->digests, .max = PAGES,
	};
	self->random = 12345;
}

FIXTURE_TEARDOWN(digests)
{
	mf_vm_close_grouped(&self->vm);
}

/* Pages of all sorts: random, zero, zero but for one byte somewhere. */
static void fill(struct _test_data_digests *self)
{
	size_t page, i;

	for (page = 0; page < PAGES; page++) {
		__u64 *words = (void *)mf_page(&self->vm, page);

		switch (page % 4) {
		case 0:
			for (i = 0; i < 512; i++)
				words[i] = mf_random(&self->random);
			break;
		case 1:
			memset(words, 0, MF_PAGE);
			break;
		case 2:
			memset(words, page, MF_PAGE);
			break;
		case 3:
			/* Each byte of the page is the one in its turn. */
			memset(words, 0, MF_PAGE);
			mf_page(&self->vm, page)[page * 4 % 4096 + page / 1024 +
						 page / 4 % 4] = 1;
			break;
		}
	}
}

static bool zero(const unsigned char *page)
{
	static const unsigned char zeroes[4096];

	return !memcmp(page, zeroes, MF_PAGE);
}

static bool sha256_is(const unsigned char *page, const unsigned char *digest)
{
	unsigned char want[32];

	EVP_Digest(page, MF_PAGE, want, NULL, EVP_sha256(), NULL);
	return !memcmp(want, digest, 32);
}

/* How many of the digests are wrong. */
static size_t wrong(struct _test_data_digests *self, __u32 flags, __u64 seed)
{
	static const unsigned char none[32];
	size_t i, bad = 0;

	for (i = 0; i < self->hash.count; i++) {
		struct migrate_fast_digest *digest = self->digests + i;
		unsigned char *page = mf_page(&self->vm, digest->page);
		bool is_zero = digest->flags & MIGRATE_FAST_DIGEST_ZERO;

		bad += digest->reserved != 0;
		bad += is_zero != zero(page);
		bad += digest->xxh64 != (flags & MIGRATE_FAST_HASH_XXH64 ?
					 XXH64(page, MF_PAGE, seed) : 0);
		bad += flags & MIGRATE_FAST_HASH_SHA256 ?
		       !sha256_is(page, digest->sha256) :
		       memcmp(digest->sha256, none, 32) != 0;
	}
	return bad;
}

static int hash(struct _test_data_digests *self, __u32 flags, __u64 seed)
{
	self->hash.flags = flags;
	self->hash.seed = seed;
	return mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, &self->hash);
}

TEST_F(digests, zero_only)
{
	fill(self);
	ASSERT_EQ(0, hash(self, 0, 0));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(PAGES, self->hash.next);
	EXPECT_EQ(0, wrong(self, 0, 0));
}

TEST_F(digests, xxh64_with_seeds)
{
	static const __u64 seeds[] = { 0, 1, 0x123456789abcdef0, ~0ULL };
	size_t i;

	fill(self);
	for (i = 0; i < ARRAY_SIZE(seeds); i++) {
		ASSERT_EQ(0, hash(self, MIGRATE_FAST_HASH_XXH64, seeds[i]));
		EXPECT_EQ(PAGES, self->hash.count);
		EXPECT_EQ(0, wrong(self, MIGRATE_FAST_HASH_XXH64, seeds[i]));
	}
}

TEST_F(digests, sha256)
{
	fill(self);
	ASSERT_EQ(0, hash(self, MIGRATE_FAST_HASH_SHA256, 0));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(0, wrong(self, MIGRATE_FAST_HASH_SHA256, 0));
}

TEST_F(digests, both)
{
	__u32 flags = MIGRATE_FAST_HASH_SHA256 | MIGRATE_FAST_HASH_XXH64;

	fill(self);
	ASSERT_EQ(0, hash(self, flags, 77));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(0, wrong(self, flags, 77));
}

/* Each byte of a page counts for the zero test. */
TEST_F(digests, one_byte_is_not_zero)
{
	size_t at;

	self->hash.pages = 1;
	for (at = 0; at < MF_PAGE; at += 1 + at % 7) {
		self->vm.map[at] = 0x80;
		ASSERT_EQ(0, hash(self, 0, 0));
		EXPECT_EQ(0, self->digests[0].flags);
		self->vm.map[at] = 0;
	}
	ASSERT_EQ(0, hash(self, 0, 0));
	EXPECT_EQ(MIGRATE_FAST_DIGEST_ZERO, self->digests[0].flags);
}

static size_t allocated(struct mf_vm *vm)
{
	struct stat st;

	fstat(vm->fd, &st);
	return st.st_blocks / 8;
}

/* A hole reads as zeroes, is told apart from them, and stays one. */
TEST_F(digests, holes)
{
	__u32 flags = MIGRATE_FAST_HASH_SHA256 | MIGRATE_FAST_HASH_XXH64;
	static const unsigned char zeroes[4096];
	__u64 want = XXH64(zeroes, MF_PAGE, 9);
	size_t i, before, holes = 0;

	mf_page(&self->vm, 600)[0] = 1;
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 600), MF_PAGE, MADV_REMOVE));
	mf_page(&self->vm, 5)[0] = 1;
	before = allocated(&self->vm);
	ASSERT_EQ(0, hash(self, flags, 9));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(before, allocated(&self->vm));
	for (i = 0; i < PAGES; i++) {
		struct migrate_fast_digest *digest = self->digests + i;

		ASSERT_EQ(i, digest->page);
		if (i == 5) {
			EXPECT_EQ(0, digest->flags);
			continue;
		}
		ASSERT_TRUE(digest->flags & MIGRATE_FAST_DIGEST_ZERO);
		holes += !!(digest->flags & MIGRATE_FAST_DIGEST_ABSENT);
		ASSERT_EQ(want, digest->xxh64);
		ASSERT_TRUE(sha256_is(zeroes, digest->sha256));
	}
	/* In large pages the zeroes around a written byte are there as well. */
	EXPECT_EQ(PAGES - before, holes);
}

/* Allocated but never written: zeroes, with or without their page. */
TEST_F(digests, allocated_and_not_written)
{
	ASSERT_EQ(0, fallocate(self->vm.fd, 0, 0, PAGES * MF_PAGE));
	ASSERT_EQ(0, hash(self, 0, 0));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(0, wrong(self, 0, 0));
}

TEST_F(digests, of_swapped_pages)
{
	__u32 flags = MIGRATE_FAST_HASH_SHA256 | MIGRATE_FAST_HASH_XXH64;

	ASSERT_EQ(0, mf_swap_on(64 << 20));
	fill(self);
	EXPECT_EQ(100, mf_swap_out(self->vm.map, 100 * MF_PAGE));
	ASSERT_EQ(0, hash(self, flags, 3));
	EXPECT_EQ(PAGES, self->hash.count);
	EXPECT_EQ(0, wrong(self, flags, 3));
}

TEST_F(digests, while_tracked)
{
	__u32 flags = MIGRATE_FAST_HASH_XXH64;

	fill(self);
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(0, hash(self, flags, 3));
	EXPECT_EQ(0, wrong(self, flags, 3));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

/* "The dirty pages of this range": those that are set in the bitmap. */
TEST_F(digests, dirty_filter)
{
	__u32 flags = MIGRATE_FAST_HASH_DIRTY | MIGRATE_FAST_HASH_XXH64;
	static const size_t pages[] = { 0, 63, 64, 500, 501, 1023 };
	size_t i;

	fill(self);
	ASSERT_EQ(0, mf_start(self->vm.session));
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		mf_page(&self->vm, pages[i])[9] = 0x77;
	EXPECT_STREQ("0,63-64,500-501,1023", mf_harvest(&self->vm));
	ASSERT_EQ(0, hash(self, flags, 3));
	ASSERT_EQ(ARRAY_SIZE(pages), self->hash.count);
	EXPECT_EQ(PAGES, self->hash.next);
	for (i = 0; i < ARRAY_SIZE(pages); i++)
		EXPECT_EQ(pages[i], self->digests[i].page);
	EXPECT_EQ(0, wrong(self, flags, 3));

	/* It is the mapped bitmap, as user space has changed it. */
	self->vm.bitmap[0] = 1ULL << 7;
	self->hash.start = 1;
	self->hash.pages = 500;
	ASSERT_EQ(0, hash(self, flags, 3));
	ASSERT_EQ(3, self->hash.count);
	EXPECT_EQ(501, self->hash.next);
	EXPECT_EQ(7, self->digests[0].page);
	EXPECT_EQ(64, self->digests[1].page);
	EXPECT_EQ(500, self->digests[2].page);
}

TEST_F(digests, dirty_filter_of_nothing)
{
	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	ASSERT_EQ(0, hash(self, MIGRATE_FAST_HASH_DIRTY, 0));
	EXPECT_EQ(0, self->hash.count);
	EXPECT_EQ(PAGES, self->hash.next);
}

TEST_F(digests, dirty_filter_with_a_full_array)
{
	size_t total = 0;

	fill(self);
	memset(self->vm.bitmap, 0xff, self->vm.bitmap_bytes);
	self->hash.max = 100;
	while (self->hash.start < PAGES) {
		ASSERT_EQ(0, hash(self, MIGRATE_FAST_HASH_DIRTY, 0));
		ASSERT_LT(0, self->hash.count);
		total += self->hash.count;
		self->hash.start = self->hash.next;
	}
	EXPECT_EQ(PAGES, total);
}

/* The one who hashes does not decide about the bits. */
TEST_F(digests, dirty_filter_leaves_the_bitmap)
{
	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	self->vm.bitmap[1] = 0xf0;
	ASSERT_EQ(0, hash(self, MIGRATE_FAST_HASH_DIRTY, 0));
	EXPECT_EQ(4, self->hash.count);
	EXPECT_EQ(0xf0, self->vm.bitmap[1]);
}

TEST_HARNESS_MAIN
