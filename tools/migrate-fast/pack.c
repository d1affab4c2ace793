// SPDX-License-Identifier: GPL-2.0
/*
 * Pages compressed on their way; see pack.h.
 *
 * The program does one thing at a time, but the line goes on with what the
 * socket holds. So a page costs the longer of the time that we need for it
 * and the time that the line does: compressing can pay if it takes less than
 * the line needs for a page as it is. Which of both is short just now, the
 * socket tells: as long as the line has enough to do, compressing a batch keeps
 * nobody waiting; when it runs dry we are what is slow, and a page goes as it is
 * with the least work. (zstd's --adapt chooses its level by the same sign.)
 *
 * What the line does the kernel knows, by what arrives; after a pause that can
 * be too much, as of a token bucket. While the socket is full it is seen by what
 * the socket takes. Pages that did not pay are tried again now and then: memory
 * is not the same everywhere.
 *
 * What does not get less is copied all the same if the line does not notice:
 * only of what went as a copy can a delta be made when it is written again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "../lib/loop.h"
#include "../lib/mf.h"
#include "../lib/say.h"
#include "../lib/word.h"
#include "hook.h"
#include "pack.h"
#include "wire.h"

#define LEVEL		1
/* It has to be better by so much: what is measured scatters. */
#define WORTHWHILE	0.8
/* Compressing that takes no more of the line's time need not ask for any. */
#define TRIFLE		0.125
/* A copy that gains nothing yet may take so much of the line's time. */
#define CHEAP		0.5
/* Less is not saved: the pages go as they are, without a copy. */
#define LEAST_SHARE	0.9
/* Batches that go as they are before it is tried again, at first and at most. */
#define FIRST_TRY	16
#define LAST_TRY	1024
/* What a full socket takes tells something from so much on, for some batches. */
#define FULL_BYTES	(128 * 1024)
#define FULL_NS		(20 * NSEC_PER_MSEC)
#define FULL_BATCHES	64
/* Of what was measured, how much is new? */
#define NEW		0.25

enum compress compress_find(const char *name)
{
	static const char *const names[] = {
		[COMPRESS_AUTO] = "auto",
		[COMPRESS_ON] = "on",
		[COMPRESS_OFF] = "off",
	};

	return word_find(names, COMPRESSES, name);
}

void pack_init(struct pack *pack, enum compress how)
{
	*pack = (struct pack){
		.how = how,
		.left = FIRST_TRY,
		.patience = FIRST_TRY,
		.pages = need(malloc(WIRE_PACK_PAGES * MF_PAGE_SIZE)),
	};
	if (how != COMPRESS_OFF)
		pack->context = need(ZSTD_createCCtx());
}

void pack_free(struct pack *pack)
{
	ZSTD_freeCCtx(pack->context);
	free(pack->pages);
}

static void average(double *value, double now)
{
	*value = *value > 0 ? *value * (1 - NEW) + now * NEW : now;
}

/* Has the line enough to do while @page_ns are spent on each page of @batch? */
static bool is_busy(const struct pack *pack, const struct pack_batch *batch,
		    double page_ns)
{
	double takes = page_ns * (double)batch->pages;
	double queued = (double)batch->queued / MF_PAGE_SIZE;

	return page_ns < pack->believed_ns * TRIFLE ||
	       takes < (double)batch->early_ns ||
	       takes < queued * pack->believed_ns;
}

/* Does it pay while the line is busy? */
static bool can_pay(const struct pack *pack)
{
	return pack->page_ns < pack->believed_ns * WORTHWHILE &&
	       pack->share < LEAST_SHARE;
}

/*
 * Does it pay though the line will have to wait? A socket that was full and is
 * not empty yet holds too little: the line is short all the same.
 */
static bool pays_alone(const struct pack *pack, const struct pack_batch *batch)
{
	return batch->full && batch->queued &&
	       pack->page_ns + pack->share * pack->believed_ns <
	       pack->believed_ns * WORTHWHILE;
}

static void spend(struct pack_spent *spent, uint64_t began, uint32_t count,
		  uint64_t left)
{
	spent->pages += count;
	spent->ns += now_ns() - began;
	spent->left += left;
}

/*
 * Few pages tell nothing: somebody else may have got the processor just when
 * one was read.
 */
static bool is_telling(const struct pack_spent *spent)
{
	return spent->pages >= WIRE_PACK_PAGES;
}

static double each_ns(const struct pack_spent *spent)
{
	return (double)spent->ns / (double)spent->pages;
}

static void learn(struct pack *pack)
{
	struct pack_spent *copying = &pack->copying, *packing = &pack->packing;

	if (is_telling(copying)) {
		average(&pack->copy_ns, each_ns(copying));
		*copying = (struct pack_spent){ 0 };
	}
	if (is_telling(packing)) {
		average(&pack->page_ns, each_ns(packing));
		average(&pack->share, (double)packing->left /
			(double)(packing->pages * MF_PAGE_SIZE));
		*packing = (struct pack_spent){ 0 };
	}
}

/* What the line needs for a page, by all that is known. */
static double believe(struct pack *pack, uint64_t allowed)
{
	double line_ns = pack->line_ns;

	if (pack->full_left) {
		pack->full_left--;
		if (line_ns < pack->full_ns)
			line_ns = pack->full_ns;
	}
	if (allowed && line_ns < 1e9 * MF_PAGE_SIZE / (double)allowed)
		line_ns = 1e9 * MF_PAGE_SIZE / (double)allowed;
	return line_ns;
}

bool pack_begin(struct pack *pack, const struct pack_batch *batch)
{
	learn(pack);
	pack->believed_ns = believe(pack, batch->allowed);
	if (pack->how != COMPRESS_AUTO) {
		pack->on = pack->how == COMPRESS_ON;
		pack->small = pack->on;
		return pack->on;
	}
	pack->cheap = (pack->copy_ns < pack->believed_ns * CHEAP &&
		       is_busy(pack, batch, pack->copy_ns)) ||
		      hook_set("always-copy");
	/* As long as nothing is known of the line, nothing is too much. */
	if (pack->believed_ns <= 0) {
		pack->on = false;
		return false;
	}
	pack->small = pack->page_ns <= 0 || can_pay(pack);
	pack->on = pack->small && (is_busy(pack, batch, pack->page_ns) ||
				   pays_alone(pack, batch));
	if (pack->on) {
		pack->patience = FIRST_TRY;
		pack->left = FIRST_TRY;
	} else if (!pack->left--) {
		pack->on = true;
		if (pack->patience < LAST_TRY)
			pack->patience *= 2;
		pack->left = pack->patience;
	}
	return pack->on;
}

int pack_read(struct pack *pack, int fd, uint64_t page, uint32_t count)
{
	size_t bytes = (size_t)count * MF_PAGE_SIZE, done = 0;

	pack->began = now_ns();
	while (done < bytes) {
		ssize_t n = pread(fd, pack->pages + done, bytes - done,
				  (off_t)(page * MF_PAGE_SIZE + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fail("cannot read the VM's RAM: %s",
				    n ? strerror(errno) : "it has shrunk");
		done += (size_t)n;
	}
	return 0;
}

void pack_copied(struct pack *pack, uint32_t count)
{
	spend(&pack->copying, pack->began, count, 0);
}

size_t pack_bytes(struct pack *pack, const void *from, size_t length,
		  uint32_t count, void *to, size_t room)
{
	size_t bytes = (size_t)count * MF_PAGE_SIZE, n;

	/* Changes alone are hardly looked at: that is no more than a copy. */
	n = ZSTD_compressCCtx(pack->context, to, room, from, length,
			      pack->on ? LEVEL : ZSTD_minCLevel());
	/* It has not become less, and so there was no room for it. */
	if (ZSTD_isError(n))
		n = bytes;
	/* What deltas alone gain says nothing of compressing. */
	if (pack->on)
		spend(&pack->packing, pack->began, count, n);
	if ((double)n >= (double)bytes * (length < bytes ? 1 : LEAST_SHARE))
		return 0;
	pack->packed += count;
	return n;
}

void pack_learn_line(struct pack *pack, uint64_t rate)
{
	if (rate)
		average(&pack->line_ns, 1e9 * MF_PAGE_SIZE / (double)rate);
}

void pack_learn_full(struct pack *pack, uint64_t bytes, uint64_t ns)
{
	pack->took += bytes;
	pack->took_ns += ns;
	if (pack->took < FULL_BYTES || pack->took_ns < FULL_NS)
		return;
	average(&pack->full_ns, (double)pack->took_ns * MF_PAGE_SIZE /
		(double)pack->took);
	pack->full_left = FULL_BATCHES;
	pack->took = 0;
	pack->took_ns = 0;
}

size_t unpack_bytes(const void *from, size_t bytes, void *to, size_t room)
{
	static ZSTD_DCtx *context;
	size_t n;

	if (!context)
		context = need(ZSTD_createDCtx());
	n = ZSTD_decompressDCtx(context, to, room, from, bytes);
	return ZSTD_isError(n) ? 0 : n;
}

int unpack_pages(const void *from, size_t bytes, void *to, uint32_t count)
{
	size_t all = (size_t)count * MF_PAGE_SIZE;

	return unpack_bytes(from, bytes, to, all) == all ? 0 : -1;
}
