// SPDX-License-Identifier: GPL-2.0
/*
 * What the destination takes from its store: pages that are proved to be what
 * was asked for, and no others, whatever an image has become, and whatever its
 * XXH64 says.
 */
#include <endian.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "kselftest_harness.h"
#include "../../tools/migrate-fast/known.h"
#include "../../tools/lib/say.h"
#include "../../tools/store/build.h"
#include "../../tools/store/sharing.h"

#define PAGES	1000
#define BUDGET	(1 << 20)
#define VM	"vm1"

FIXTURE(known)
{
	char folder[64], dir[128], image[128];
	uint8_t (*page)[BLOCK_BYTES];
	struct known known;
	uint64_t seed;
};

static int no_step(void *arg, uint64_t done, uint64_t all)
{
	return 0;
}

static void write_image(const char *path, const void *from, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || write(fd, from, bytes) != (ssize_t)bytes || close(fd))
		abort();
}

/* The image as it is now becomes a source that @vm may take from. */
static int index_image(const char *dir, const char *image, const char *vm,
		       uint64_t *seed)
{
	struct source source = {
		.name = strdup("image"), .path = strdup(image),
		.kind = KIND_IMAGE, .format = FORMAT_RAW,
		.vms = json_pack("[s]", vm),
	};
	struct store store;
	struct built built;
	int ret;

	if (store_open(&store, dir, true))
		return -1;
	*seed = store.seed;
	ret = build(&store, store_add(&store, &source), true, no_step, NULL,
		    &built);
	if (!ret)
		ret = store_save(&store);
	store_close(&store);
	return ret;
}

static void refer(struct wire_reference *reference, const void *page,
		  uint64_t seed)
{
	reference->page = 0;
	reference->xxh64 = htole64(XXH64(page, BLOCK_BYTES, seed));
	SHA256(page, BLOCK_BYTES, reference->sha256);
}

FIXTURE_SETUP(known)
{
	uint64_t random = 1;
	size_t i;

	strcpy(self->folder, "/tmp/known.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->folder));
	snprintf(self->dir, sizeof(self->dir), "%s/store", self->folder);
	snprintf(self->image, sizeof(self->image), "%s/image", self->folder);
	self->page = calloc(PAGES, BLOCK_BYTES);
	for (i = 0; i < PAGES * BLOCK_BYTES / 8; i++) {
		random = random * 6364136223846793005ULL + 1;
		((uint64_t *)self->page)[i] = random;
	}
	write_image(self->image, self->page, PAGES * BLOCK_BYTES);
	ASSERT_EQ(0, index_image(self->dir, self->image, VM, &self->seed));
}

FIXTURE_TEARDOWN(known)
{
	char line[256];

	known_close(&self->known);
	snprintf(line, sizeof(line), "rm -rf %s", self->folder);
	if (system(line))
		abort();
	free(self->page);
}

/* Looks for every page, and counts those that are found; they must be right. */
static unsigned int find_all(struct known *known, uint64_t seed,
			     uint8_t (*pages)[BLOCK_BYTES])
{
	static uint8_t got[WIRE_MAX_REFERENCES][BLOCK_BYTES];
	struct wire_reference references[WIRE_MAX_REFERENCES];
	uint8_t *to[WIRE_MAX_REFERENCES];
	bool was[WIRE_MAX_REFERENCES];
	unsigned int found = 0;
	uint32_t n, k;
	size_t i;

	for (i = 0; i < PAGES; i += n) {
		n = PAGES - i < WIRE_MAX_REFERENCES ? (uint32_t)(PAGES - i) :
						      WIRE_MAX_REFERENCES;
		memset(got, 0, sizeof(got));
		/* As memory lies: in no order that the disk knows. */
		for (k = 0; k < n; k++) {
			refer(&references[k], pages[i + n - 1 - k], seed);
			to[k] = got[k];
		}
		known_find(known, references, n, to, was);
		for (k = 0; k < n; k++) {
			found += was[k];
			if (was[k] != !memcmp(got[k], pages[i + n - 1 - k],
					      BLOCK_BYTES))
				return ~0U;
		}
	}
	return found;
}

TEST_F(known, finds_all)
{
	size_t i;

	known_open(&self->known, self->dir, VM, BUDGET);
	for (i = 0; i < PAGES; i++)
		EXPECT_TRUE(filter_has(&self->known.filter,
				       XXH64(self->page[i], BLOCK_BYTES,
					     self->seed)));
	EXPECT_EQ(PAGES, find_all(&self->known, self->seed, self->page));
	EXPECT_EQ(0, self->known.missed);
	EXPECT_EQ(PAGES, self->known.sources[0].taken);
}

TEST_F(known, not_for_others)
{
	known_open(&self->known, self->dir, "vm2", BUDGET);
	EXPECT_EQ(0, self->known.filter.nr_blocks);
	EXPECT_EQ(0, find_all(&self->known, self->seed, self->page));
	known_close(&self->known);
	known_open(&self->known, self->dir, NULL, BUDGET);
	EXPECT_EQ(0, self->known.filter.nr_blocks);
}

/* The image becomes memory of @vm. */
static int make_memory_of(const char *dir, const char *vm)
{
	struct store store;
	int ret;

	if (store_open(&store, dir, true))
		return -1;
	json_array_clear(store.sources[0].vms);
	free(store.sources[0].of);
	store.sources[0].of = strdup(vm);
	store.sources[0].kind = KIND_KEPT;
	ret = store_save(&store);
	store_close(&store);
	return ret;
}

TEST_F(known, memory_of_another)
{
	static const char *const policies[] = {
		"",
		"nonsense",
		"[group a]\nvms = a-*\nshare = group\n"
		"[group b]\nvms = b-*\nshare = host\n",
		"[group a]\nvms = a-* b-*\nshare = own\n",
		"[group a]\nvms = a-* b-*\nshare = group\n",
	};
	char path[128];
	size_t i, last = sizeof(policies) / sizeof(policies[0]) - 1;
	FILE *file;

	snprintf(path, sizeof(path), "%s/store.conf", self->folder);
	ASSERT_EQ(0, make_memory_of(self->dir, "a-1"));
	for (i = 0; i <= last; i++) {
		unlink(path);
		file = fopen(path, "w");
		ASSERT_NE(NULL, file);
		ASSERT_EQ(0, fchmod(fileno(file), 0644));
		ASSERT_LE(0, fputs(policies[i], file));
		ASSERT_EQ(0, fclose(file));
		sharing_load(path, "b-1");
		/* It is told of nothing, and takes nothing. */
		known_open(&self->known, self->dir, "b-1", BUDGET);
		EXPECT_EQ(i == last, !!self->known.filter.nr_blocks);
		EXPECT_EQ(i == last, self->known.nr_sources);
		EXPECT_EQ(i == last ? PAGES : 0,
			  find_all(&self->known, self->seed, self->page));
		EXPECT_FALSE(known_has_kept(&self->known, "b-1"));
		known_close(&self->known);
		known_open(&self->known, self->dir, "a-1", BUDGET);
		EXPECT_EQ(PAGES, find_all(&self->known, self->seed, self->page));
		EXPECT_TRUE(known_has_kept(&self->known, "a-1"));
		known_close(&self->known);
	}
	sharing_unload();
}

TEST_F(known, budget)
{
	known_open(&self->known, self->dir, VM, 1000);
	EXPECT_EQ(0, self->known.filter.nr_blocks);
	EXPECT_EQ(0, self->known.nr_sources);
}

TEST_F(known, no_store)
{
	known_open(&self->known, "/nonexistent", VM, BUDGET);
	EXPECT_EQ(0, find_all(&self->known, self->seed, self->page));
}

TEST_F(known, image_was_written)
{
	unsigned int found;

	known_open(&self->known, self->dir, VM, BUDGET);
	memset(self->page[500], 1, BLOCK_BYTES);
	write_image(self->image, self->page, PAGES * BLOCK_BYTES);
	found = find_all(&self->known, self->seed, self->page);
	EXPECT_EQ(PAGES - 1, found);
}

TEST_F(known, image_is_cut_short)
{
	known_open(&self->known, self->dir, VM, BUDGET);
	ASSERT_EQ(0, truncate(self->image, 100 * BLOCK_BYTES + 10));
	EXPECT_EQ(100, find_all(&self->known, self->seed, self->page));
	known_close(&self->known);
	known_open(&self->known, self->dir, VM, BUDGET);
	EXPECT_EQ(100, find_all(&self->known, self->seed, self->page));
	known_close(&self->known);
	ASSERT_EQ(0, unlink(self->image));
	known_open(&self->known, self->dir, VM, BUDGET);
	EXPECT_EQ(0, find_all(&self->known, self->seed, self->page));
}

TEST_F(known, index_is_broken)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/1.index", self->dir);
	fd = open(path, O_WRONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(5, pwrite(fd, "wrong", 5, 8192 + 77));
	close(fd);
	known_open(&self->known, self->dir, VM, BUDGET);
	EXPECT_EQ(0, self->known.nr_sources);
	EXPECT_EQ(0, find_all(&self->known, self->seed, self->page));
	EXPECT_EQ(NULL, fail_text());
}

/* The inverse of an odd number, modulo 2^64. */
static uint64_t inverse(uint64_t odd)
{
	uint64_t x = odd;
	int i;

	for (i = 0; i < 6; i++)
		x *= 2 - odd * x;
	return x;
}

static uint64_t rotl31(uint64_t x)
{
	return x << 31 | x >> 33;
}

/*
 * Another page with the same XXH64, for who knows the seed: what one word does
 * to the first of four accumulators, the word 32 bytes further on undoes.
 */
static void forge(uint8_t *page, uint64_t seed)
{
	const uint64_t p1 = 0x9e3779b185ebca87ULL, p2 = 0xc2b2ae3d27d4eb4fULL;
	uint64_t *word = (uint64_t *)page;
	uint64_t start = seed + p1 + p2;
	uint64_t before = rotl31(start + word[0] * p2) * p1, after;

	word[0] ^= 1;
	after = rotl31(start + word[0] * p2) * p1;
	word[4] = (before + word[4] * p2 - after) * inverse(p2);
}

TEST_F(known, forged)
{
	uint8_t (*forged)[BLOCK_BYTES] = calloc(PAGES, BLOCK_BYTES);
	size_t i;

	memcpy(forged, self->page, PAGES * BLOCK_BYTES);
	for (i = 0; i < PAGES; i++) {
		forge(forged[i], self->seed);
		ASSERT_NE(0, memcmp(forged[i], self->page[i], BLOCK_BYTES));
		/* Or nothing is shown. */
		ASSERT_EQ(XXH64(self->page[i], BLOCK_BYTES, self->seed),
			  XXH64(forged[i], BLOCK_BYTES, self->seed));
	}
	write_image(self->image, forged, PAGES * BLOCK_BYTES);
	known_open(&self->known, self->dir, VM, BUDGET);
	EXPECT_EQ(0, find_all(&self->known, self->seed, self->page));
	EXPECT_EQ(PAGES, self->known.missed);
	EXPECT_EQ(PAGES, find_all(&self->known, self->seed, forged));
	free(forged);
}

TEST_HARNESS_MAIN
