// SPDX-License-Identifier: GPL-2.0
/*
 * Compressed pages come out as they went in, or not at all; and "auto" goes
 * the faster way on any line, also when the line changes.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "../../tools/migrate-fast/pack.h"
#include "../../tools/migrate-fast/wire.h"

#define PAGE	4096
#define PAGES	WIRE_PACK_PAGES
#define BYTES	(PAGES * PAGE)
#define BATCHES	2000
/* ns for a page */
#define SLOW	1000000000.0
#define FAST	1.0

FIXTURE(pack)
{
	struct pack pack;
	int fd;
	uint8_t pages[BYTES], packed[2 * BYTES], out[BYTES + PAGE];
};

static void fill(int fd, uint8_t *pages, bool random)
{
	size_t i;

	for (i = 0; i < BYTES; i++)
		pages[i] = (uint8_t)(i / 97 + i % 13);
	if (random)
		for (i = 0; i < BYTES; i += 256)
			if (getrandom(pages + i, 256, 0) != 256)
				abort();
	if (pwrite(fd, pages, BYTES, PAGE) != BYTES)
		abort();
}

FIXTURE_SETUP(pack)
{
	self->fd = memfd_create("pack", 0);
	ASSERT_LE(0, self->fd);
	fill(self->fd, self->pages, false);
	pack_init(&self->pack, COMPRESS_AUTO);
	/* Until somebody begins a batch. */
	self->pack.on = true;
}

FIXTURE_TEARDOWN(pack)
{
	pack_free(&self->pack);
	close(self->fd);
}

static int64_t pack_pages(struct pack *pack, int fd, uint64_t page,
			  uint32_t count, uint8_t *packed, size_t room)
{
	if (pack_read(pack, fd, page, count))
		return -1;
	pack_copied(pack, count);
	return pack_bytes(pack, pack->pages, count * PAGE, count, packed, room);
}

static int64_t pack_all(struct pack *pack, int fd, uint8_t *packed)
{
	return pack_pages(pack, fd, 1, PAGES, packed, 2 * BYTES);
}

TEST_F(pack, to_and_fro)
{
	int64_t n = pack_all(&self->pack, self->fd, self->packed);

	ASSERT_LT(0, n);
	EXPECT_GT(BYTES / 2, n);
	ASSERT_EQ(0, unpack_pages(self->packed, n, self->out, PAGES));
	EXPECT_EQ(0, memcmp(self->pages, self->out, BYTES));
	EXPECT_EQ(PAGES, self->pack.packed);
}

TEST_F(pack, one_page)
{
	int64_t n = pack_pages(&self->pack, self->fd, 2, 1, self->packed, PAGE);

	ASSERT_LT(0, n);
	ASSERT_EQ(0, unpack_pages(self->packed, n, self->out, 1));
	EXPECT_EQ(0, memcmp(self->pages + PAGE, self->out, PAGE));
}

TEST_F(pack, random_is_left_alone)
{
	fill(self->fd, self->pages, true);
	EXPECT_EQ(0, pack_all(&self->pack, self->fd, self->packed));
	/* Nor is there room for what does not get less. */
	EXPECT_EQ(0, pack_pages(&self->pack, self->fd, 1, PAGES, self->packed,
				PAGE));
	EXPECT_EQ(0, self->pack.packed);
}

/* Changes, where pages as such are not worth it: stored, and still less. */
TEST_F(pack, changes_alone)
{
	size_t length = BYTES - 9 * PAGE / 8, n;

	self->pack.on = false;
	fill(self->fd, self->pages, true);
	n = pack_bytes(&self->pack, self->pages, length, PAGES, self->packed,
		       2 * BYTES);
	ASSERT_LE(length, n);
	EXPECT_GT(length + PAGE / 8, n);
	EXPECT_EQ(length, unpack_bytes(self->packed, n, self->out, BYTES));
	EXPECT_EQ(0, memcmp(self->pages, self->out, length));
	EXPECT_EQ(0, unpack_bytes(self->packed, n, self->out, length - 1));
	EXPECT_EQ(0, self->pack.packing.pages);
}

/* A batch, while the line has nothing to do. */
static bool begin(struct pack *pack, uint64_t allowed)
{
	struct pack_batch batch = { .pages = PAGES, .allowed = allowed };

	return pack_begin(pack, &batch);
}

/* Somebody else had the processor for a second while one page was read. */
TEST_F(pack, one_page_tells_nothing)
{
	ASSERT_EQ(0, pack_read(&self->pack, self->fd, 1, 1));
	self->pack.began -= 1000000000;
	pack_copied(&self->pack, 1);
	begin(&self->pack, 0);
	EXPECT_EQ(0, self->pack.copy_ns);
	ASSERT_EQ(0, pack_read(&self->pack, self->fd, 1, PAGES));
	pack_copied(&self->pack, PAGES);
	begin(&self->pack, 0);
	EXPECT_LT(1000000000.0 / (PAGES + 1), self->pack.copy_ns);
	EXPECT_GT(2000000000.0 / (PAGES + 1), self->pack.copy_ns);
}

TEST_F(pack, what_is_wrong_is_refused)
{
	int64_t n = pack_all(&self->pack, self->fd, self->packed), i;

	self->out[BYTES] = 77;
	EXPECT_NE(0, unpack_pages(self->packed, n - 1, self->out, PAGES));
	EXPECT_NE(0, unpack_pages(self->packed, n, self->out, PAGES - 1));
	EXPECT_NE(0, unpack_pages(self->packed, n, self->out, 1));
	EXPECT_NE(0, unpack_pages(self->packed, 0, self->out, PAGES));
	for (i = 0; i < 4; i++)
		self->packed[i] ^= 1;
	EXPECT_NE(0, unpack_pages(self->packed, n, self->out, PAGES));
	EXPECT_EQ(77, self->out[BYTES]);
	/* A page more than was said. */
	n = pack_all(&self->pack, self->fd, self->packed);
	EXPECT_NE(0, unpack_pages(self->packed, n, self->out, PAGES + 1));
}

/* Batches that were compressed, on a line that takes so long for a page. */
static unsigned int compressed(struct pack *pack, int fd, uint8_t *packed,
			       double line_ns, uint64_t allowed)
{
	unsigned int n = 0, i;

	for (i = 0; i < BATCHES; i++) {
		if (begin(pack, allowed)) {
			n++;
			pack_all(pack, fd, packed);
		}
		if (line_ns > 0)
			pack_learn_line(pack, (uint64_t)(1e9 * PAGE / line_ns));
	}
	return n;
}

TEST_F(pack, slow_line)
{
	EXPECT_LT(BATCHES * 9 / 10, compressed(&self->pack, self->fd,
					       self->packed, SLOW, 0));
}

TEST_F(pack, fast_line)
{
	EXPECT_GT(BATCHES / 20, compressed(&self->pack, self->fd, self->packed,
					   FAST, 0));
}

TEST_F(pack, line_that_nobody_knows)
{
	EXPECT_EQ(0, compressed(&self->pack, self->fd, self->packed, 0, 0));
}

/* A token bucket swallows the first bytes at once; a full socket tells. */
TEST_F(pack, seems_fast)
{
	unsigned int n = 0, i;

	for (i = 0; i < BATCHES; i++) {
		pack_learn_line(&self->pack, (uint64_t)(1e9 * PAGE / FAST));
		pack_learn_full(&self->pack, 64 * PAGE, (uint64_t)(64 * SLOW));
		if (begin(&self->pack, 0)) {
			n++;
			pack_all(&self->pack, self->fd, self->packed);
		}
	}
	EXPECT_LT(BATCHES * 9 / 10, n);
	/* It is not full any more. */
	compressed(&self->pack, self->fd, self->packed, FAST, 0);
	EXPECT_GT(BATCHES / 20, compressed(&self->pack, self->fd, self->packed,
					   FAST, 0));
}

TEST_F(pack, limited)
{
	EXPECT_LT(BATCHES * 9 / 10, compressed(&self->pack, self->fd,
					       self->packed, 0, PAGE));
}

/*
 * Batches that were compressed where that takes half of the line's time for a
 * page, which is no trifle, as long as @queued bytes wait.
 */
static unsigned int while_queued(struct pack *pack, uint64_t queued,
				 uint64_t early_ns, bool full, double share)
{
	struct pack_batch batch = {
		.pages = PAGES,
		.queued = queued,
		.full = full,
		.early_ns = early_ns,
	};
	unsigned int n = 0, i;

	pack->page_ns = 100000;
	pack->copy_ns = 50000;
	pack->line_ns = 200000;
	pack->share = share;
	for (i = 0; i < BATCHES; i++)
		n += pack_begin(pack, &batch);
	return n;
}

/* We are what is slow, until something waits for the line. */
TEST_F(pack, line_runs_dry)
{
	struct pack *pack = &self->pack;
	double share = 0.3;

	EXPECT_GT(BATCHES / 20, while_queued(pack, 0, 0, false, share));
	EXPECT_FALSE(pack->cheap);
	/* The line takes half as long as compressing does. */
	EXPECT_GT(BATCHES / 20, while_queued(pack, BYTES / 4, 0, false, share));
	EXPECT_EQ(BATCHES, while_queued(pack, BYTES, 0, false, share));
	EXPECT_TRUE(pack->cheap);
	/* It is not the line that is waited for, but the limit. */
	EXPECT_EQ(BATCHES, while_queued(pack, 0, PAGES * 100001, false, share));
	EXPECT_GT(BATCHES / 20, while_queued(pack, 0, PAGES * 99999, false,
					     share));
}

/* A socket that holds less than the line takes meanwhile cannot tell. */
TEST_F(pack, small_socket)
{
	struct pack *pack = &self->pack;

	EXPECT_EQ(BATCHES, while_queued(pack, BYTES / 4, 0, true, 0.25));
	/* Half of the line's time, and two fifths for what is left of it. */
	EXPECT_GT(BATCHES / 20, while_queued(pack, BYTES / 4, 0, true, 0.4));
	/* It was full, but the line has run dry since. */
	EXPECT_GT(BATCHES / 20, while_queued(pack, 0, 0, true, 0.25));
}

TEST_F(pack, random_on_a_slow_line)
{
	fill(self->fd, self->pages, true);
	EXPECT_GT(BATCHES / 20, compressed(&self->pack, self->fd, self->packed,
					   SLOW, 0));
}

TEST_F(pack, becomes_slow)
{
	compressed(&self->pack, self->fd, self->packed, FAST, 0);
	EXPECT_LT(BATCHES * 9 / 10, compressed(&self->pack, self->fd,
					       self->packed, SLOW, 0));
}

/* What was random becomes text: somebody has to try. */
TEST_F(pack, becomes_compressible)
{
	fill(self->fd, self->pages, true);
	compressed(&self->pack, self->fd, self->packed, SLOW, 0);
	fill(self->fd, self->pages, false);
	EXPECT_LT(BATCHES / 3, compressed(&self->pack, self->fd, self->packed,
					  SLOW, 0));
}

/* Batches that may be copied, though it gains nothing; as compressed(). */
static unsigned int cheap(struct pack *pack, int fd, uint8_t *packed,
			  double line_ns)
{
	unsigned int n = 0, i;

	for (i = 0; i < BATCHES; i++) {
		begin(pack, 0);
		if (pack->cheap && !pack_read(pack, fd, 1, PAGES)) {
			pack_copied(pack, PAGES);
			n++;
		}
		if (line_ns > 0)
			pack_learn_line(pack, (uint64_t)(1e9 * PAGE / line_ns));
	}
	return n;
}

TEST_F(pack, copies_cost_a_slow_line_nothing)
{
	EXPECT_LT(BATCHES * 9 / 10, cheap(&self->pack, self->fd, self->packed,
					  SLOW));
	EXPECT_GT(BATCHES / 20, cheap(&self->pack, self->fd, self->packed,
				      FAST));
}

TEST_F(pack, no_copies_if_nobody_knows_the_line)
{
	EXPECT_EQ(0, cheap(&self->pack, self->fd, self->packed, 0));
}

TEST_F(pack, told)
{
	pack_free(&self->pack);
	pack_init(&self->pack, compress_find("off"));
	EXPECT_EQ(0, compressed(&self->pack, self->fd, self->packed, SLOW, 0));
	pack_free(&self->pack);
	pack_init(&self->pack, compress_find("on"));
	EXPECT_EQ(BATCHES, compressed(&self->pack, self->fd, self->packed,
				      FAST, 0));
	EXPECT_EQ(COMPRESSES, compress_find("sometimes"));
}

TEST_HARNESS_MAIN
