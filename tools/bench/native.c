// SPDX-License-Identifier: GPL-2.0
/*
 * How fast one core of this machine itself, not of an emulated host, does what
 * the page store has it do. GB of pages per second, by the clock:
 *
 *  native.hash	   the image read from the page cache, XXH64 of each page
 *  native.build   store add: that, and the index written and sealed
 *  native.disk	   the image read from the disk
 *  native.cold	   store add of one that is on the disk only
 *  native.lookup  pages looked up in the index, in random order
 *  native.long	   SHA-256 of one long message
 *  native.sha256  SHA-256 of each page
 *  native.take	   pages looked up, read, and proved by SHA-256
 *
 * usage: native IMAGE COLD FOLDER	IMAGE is in the page cache, COLD an equal
 *					one; FOLDER is empty, and for stores
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../migrate-fast/known.h"
#include "../store/build.h"
#include "../store/reader.h"

#define SAMPLES	5
#define READ	(256 << 10)
#define DIRECT	(2UL << 20)
#define MEMORY	(256UL << 20)
#define VM	"vm1"

static const char *path, *cold, *folder, *cold_folder;
static uint8_t *image;
static uint64_t pages;
static struct wire_reference *references;	/* to all, in random order */
static struct known known;

static void check(bool ok, const char *what)
{
	char *cause;

	if (ok)
		return;
	cause = fail_take();
	fprintf(stderr, "%s: %s\n", what, cause ? cause : strerror(errno));
	exit(1);
}

/* As near to the core as it gets: no more is read than the caches hold. */
static void hash_image(void)
{
	static uint8_t buffer[READ];
	uint64_t digests[READ / BLOCK_BYTES];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	check(fd >= 0, path);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		blocks_digest(buffer, (unsigned int)(n / BLOCK_BYTES),
			      known.store.seed, digests);
	check(!n, path);
	close(fd);
}

static int no_step(void *arg, uint64_t done, uint64_t all)
{
	(void)arg;
	(void)done;
	(void)all;
	return 0;
}

static void add(const char *image_path, const char *to)
{
	struct store store;
	struct built built;

	check(!store_open(&store, to, true), "store");
	if (!store.nr_sources) {
		struct source source = {
			.name = need(strdup("image")),
			.path = need(strdup(image_path)),
			.kind = KIND_IMAGE, .format = FORMAT_RAW,
			.vms = json_pack("[s]", VM),
		};

		store_add(&store, &source);
	}
	check(!build(&store, store.sources, true, no_step, NULL, &built),
	      "build");
	check(!store_save(&store), "store");
	store_close(&store);
}

static void build_store(void)
{
	add(path, folder);
}

static void build_cold(void)
{
	add(cold, cold_folder);
}

/* Nothing of it is in the page cache afterwards. */
static void forget(void)
{
	int fd = open(cold, O_RDONLY);

	check(fd >= 0 && !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), cold);
	close(fd);
}

/*
 * As fast as it can be: past the cache, into pages of the processor's (of many
 * small ones the disk would be told one by one), and into as much memory as
 * store add does, so that it is no nearer to the processor than there.
 */
static void read_disk(void)
{
	size_t bytes = READER_PIECES * READER_PIECE / DIRECT * DIRECT, i;
	int fd = open(cold, O_RDONLY | O_DIRECT);
	char *map = mmap(NULL, bytes + DIRECT, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *to;
	ssize_t n;

	check(fd >= 0, cold);
	check(map != MAP_FAILED, "memory");
	madvise(map, bytes + DIRECT, MADV_HUGEPAGE);
	to = (char *)(((uintptr_t)map + DIRECT - 1) & ~(DIRECT - 1));
	for (i = 0; (n = read(fd, to + i % bytes, DIRECT)) > 0; i += DIRECT)
		;
	check(!n, cold);
	munmap(map, bytes + DIRECT);
	close(fd);
}

static void sha256(const void *from, size_t bytes, uint8_t sum[32])
{
	unsigned int len = 32;

	check(EVP_Digest(from, bytes, sum, &len, EVP_sha256(), NULL),
	      "SHA-256");
}

static void sha256_long(void)
{
	uint8_t sum[32];

	sha256(image, pages * BLOCK_BYTES, sum);
}

static void sha256_pages(void)
{
	uint8_t sum[32];
	uint64_t i;

	for (i = 0; i < pages; i++)
		sha256(image + i * BLOCK_BYTES, BLOCK_BYTES, sum);
}

static void lookup(void)
{
	uint64_t i, block;

	for (i = 0; i < pages; i++)
		check(index_find(&known.sources[0].index,
				 le64toh(references[i].xxh64), 0, &block) == 1,
		      "look-up");
}

/* As many at a time as a frame has. */
static void take(void)
{
	static uint8_t room[WIRE_MAX_REFERENCES][BLOCK_BYTES];
	uint8_t *to[WIRE_MAX_REFERENCES];
	bool found[WIRE_MAX_REFERENCES];
	uint64_t i;
	uint32_t n, k;

	for (k = 0; k < WIRE_MAX_REFERENCES; k++)
		to[k] = room[k];
	for (i = 0; i < pages; i += n) {
		n = pages - i < WIRE_MAX_REFERENCES ? (uint32_t)(pages - i) :
						      WIRE_MAX_REFERENCES;
		known_find(&known, &references[i], n, to, found);
		for (k = 0; k < n; k++)
			check(found[k], "take");
	}
}

static void make_references(void)
{
	uint64_t i, state = 88172645463325252ULL;

	references = need(calloc(pages, sizeof(*references)));
	for (i = 0; i < pages; i++) {
		struct wire_reference *at = &references[i];
		uint64_t digest, other;

		blocks_digest(image + i * BLOCK_BYTES, 1, known.store.seed,
			      &digest);
		at->page = htole64(i);
		at->xxh64 = htole64(digest);
		sha256(image + i * BLOCK_BYTES, BLOCK_BYTES, at->sha256);
		/* As they come: each changes places with one before it. */
		state = state * 6364136223846793005ULL + 1442695040888963407ULL;
		other = (state >> 33) % (i + 1);
		if (other != i) {
			struct wire_reference kept = references[other];

			references[other] = *at;
			*at = kept;
		}
	}
}

static const struct work {
	const char *name;
	void (*work)(void);
	void (*before)(void);	/* not measured */
} works[] = {
	{ "native.hash", hash_image, NULL },
	{ "native.build", build_store, NULL },
	{ "native.disk", read_disk, forget },
	{ "native.cold", build_cold, forget },
	{ "native.lookup", lookup, NULL },
	{ "native.long", sha256_long, NULL },
	{ "native.sha256", sha256_pages, NULL },
	{ "native.take", take, NULL },
};

/*
 * A virtual machine may give free memory back to its host, and then waits for
 * each page of it: not what is measured here. After this there is some at hand.
 */
static void have_memory(void)
{
	void *map = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	check(map != MAP_FAILED, "memory");
	munmap(map, MEMORY);
}

/* Alternating, so that what slows the machine down befalls all. */
static void measure(bool print)
{
	unsigned int i;

	known_open(&known, folder, VM, UINT64_MAX);
	check(known.nr_sources == 1, "the image is not in the store");
	if (!references)
		make_references();
	for (i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		uint64_t began;

		if (works[i].before)
			works[i].before();
		have_memory();
		began = now_ns();
		works[i].work();
		if (print)
			printf("%s %.4f\n", works[i].name,
			       (double)(pages * BLOCK_BYTES) /
			       (double)(now_ns() - began));
		/* The old index is gone from its folder. */
		if (works[i].work == build_store) {
			known_close(&known);
			known_open(&known, folder, VM, UINT64_MAX);
		}
	}
	known_close(&known);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct stat st;
	int i, fd;

	if (argc != 4) {
		fprintf(stderr, "usage: native IMAGE COLD FOLDER\n");
		return 2;
	}
	path = argv[1];
	cold = argv[2];
	check(asprintf((char **)&folder, "%s/store", argv[3]) > 0 &&
	      asprintf((char **)&cold_folder, "%s/cold", argv[3]) > 0, "memory");
	fd = open(path, O_RDONLY);
	check(fd >= 0 && !fstat(fd, &st), path);
	pages = (uint64_t)st.st_size / BLOCK_BYTES;
	image = mmap(NULL, pages * BLOCK_BYTES, PROT_READ,
		     MAP_SHARED | MAP_POPULATE, fd, 0);
	check(image != MAP_FAILED, path);
	build_store();
	/* The first is to find all in caches, as the others do. */
	for (i = -1; i < SAMPLES; i++)
		measure(i >= 0);
	return 0;
}
