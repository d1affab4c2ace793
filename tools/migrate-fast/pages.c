// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of each page, and which of them have to be sent.
 *
 * The destination begins with zeroes. From then on, for each page, what it
 * has is one of
 *
 *	.zero set	zeroes: it began so, or a ZERO frame came last
 *	.certain set	the bytes whose XXH64 is .hash
 *	neither		some bytes that the page has held since it was hashed
 *
 * The third comes of sending without a copy. A page is hashed, then sent; the
 * wire takes its bytes when the packet is built, or built again, which may be
 * later. Say that it held A when hashed, B when the wire took it, and A again
 * when the next harvest reports it: its hash is that of the last sending, and
 * yet the destination has B. So "hash equal to the last one" is not enough
 * for "unchanged". The rule:
 *
 *	A hash becomes certain when the first harvest that *began* after the
 *	destination had acknowledged the page does not report the page.
 *
 * Every write to the page after the harvest before the hash is reported by
 * that harvest, at the latest; not reported means that its bytes did not move
 * from before the hash until after the last byte was placed over there. A
 * page that is reported stays uncertain, and is sent again whatever its hash.
 *
 * ZERO frames carry no bytes of the page, hence are certain at once; whatever
 * is written to the page later is reported and looked at then.
 *
 * Harvests are only made between rounds, each of which ends with the
 * acknowledgement: .in_flight, what was sent in the round, less what the
 * harvest reports, is what has become certain.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/bitmap.h"
#include "hook.h"
#include "pages.h"
#include "say.h"

/* Pages looked at in one go: small enough to heed signals in between. */
#define CHUNK	512
#define CHUNK_WORDS	(CHUNK / 64)
/* A chunk is put off if one in so many of its pages would be sent in vain. */
#define LUKEWARM	64
/* Pages counted in one go, which is cheap. */
#define COUNT	32768
/* Pages looked at for pages_sample(). */
#define SAMPLE	64

void pages_init(struct pager *pager, struct vm *vm, struct conn *conn,
		struct progress *progress)
{
	unsigned int i;

	memset(pager, 0, sizeof(*pager));
	pager->vm = vm;
	pager->progress = progress;
	pager->gather.vm = vm;
	pager->gather.conn = conn;
	pager->pages = need(calloc(vm->rams, sizeof(*pager->pages)));
	pager->digests = need(calloc(CHUNK, sizeof(*pager->digests)));
	pager->hot = need(bitmap_new(COUNT));
	/* A guest that does not know the seed cannot aim at a collision. */
	if (getrandom(&pager->seed, sizeof(pager->seed), 0) !=
	    sizeof(pager->seed))
		pager->seed = now_ns();
	for (i = 0; i < vm->rams; i++) {
		struct pages *pages = &pager->pages[i];
		uint64_t n = vm->ram[i].mf.pages;

		pages->ram = &vm->ram[i];
		pages->number = i;
		pages->hash = need(calloc(n, sizeof(*pages->hash)));
		pages->certain = need(bitmap_new(n));
		pages->zero = need(bitmap_new(n));
		pages->in_flight = need(bitmap_new(n));
		pages->stale = need(bitmap_new(n));
		pages->sent = need(bitmap_new(n));
		pages->twice = need(bitmap_new(n));
		pages->before = need(bitmap_new(n));
		memset(pages->zero, 0xff, bitmap_words(n) * 8);
	}
}

void pages_free(struct pager *pager)
{
	unsigned int i;

	for (i = 0; pager->pages && i < pager->vm->rams; i++) {
		free(pager->pages[i].hash);
		free(pager->pages[i].certain);
		free(pager->pages[i].zero);
		free(pager->pages[i].in_flight);
		free(pager->pages[i].stale);
		free(pager->pages[i].sent);
		free(pager->pages[i].twice);
		free(pager->pages[i].before);
	}
	free(pager->pages);
	free(pager->digests);
	free(pager->hot);
	free(pager->later);
	pager->pages = NULL;
}

/* What was sent and not written since is certain now. */
static void settle(struct pages *pages)
{
	uint64_t words = bitmap_words(pages->ram->mf.pages), i;

	for (i = 0; i < words; i++) {
		pages->certain[i] |= pages->in_flight[i] &
				     ~pages->ram->mf.bitmap[i];
		pages->in_flight[i] = 0;
	}
}

int pages_harvest(struct pager *pager, struct mf_harvested *sum)
{
	struct mf_harvested one;
	unsigned int i;
	int err;

	sum->dirty = 0;
	sum->carried = 0;
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		err = mf_harvest(pager->vm->session, &pages->ram->mf, &one);
		if (err)
			return fail("harvest of %s: %s", pages->ram->path,
				    strerror(-err));
		/* What a scan has left is among what there is now. */
		sum->dirty += pages->owed ?
			      bitmap_weight(pages->ram->mf.bitmap,
					    bitmap_words(pages->ram->mf.pages)) :
			      one.dirty;
		sum->carried += one.carried;
		settle(pages);
	}
	return 0;
}

int pages_peek(struct pager *pager, uint64_t *dirty)
{
	unsigned int i;
	uint64_t n;
	int err;

	*dirty = 0;
	for (i = 0; i < pager->vm->rams; i++) {
		err = mf_peek(pager->vm->session, &pager->vm->ram[i].mf, 0, 0,
			      NULL, &n);
		if (err)
			return fail("peek at %s: %s", pager->vm->ram[i].path,
				    strerror(-err));
		*dirty += n;
	}
	return 0;
}

/* Those that a harvest would take (.hot), and those that are in the bitmap. */
static int left_in_part(struct pager *pager, struct pages *pages,
			 uint64_t start, uint64_t n, uint64_t *left)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64, i;
	int err;

	err = mf_peek(pager->vm->session, &pages->ram->mf, start, n,
		      pager->hot, left);
	if (err)
		return fail("peek at %s: %s", pages->ram->path, strerror(-err));
	for (i = 0; i < bitmap_words(n); i++)
		*left += (uint64_t)__builtin_popcountll(bitmap[i] &
							~pager->hot[i]);
	return 0;
}

static uint64_t part_at(const struct pages *pages, uint64_t start,
			uint64_t most)
{
	uint64_t n = pages->ram->mf.pages - start;

	return n < most ? n : most;
}

int pages_left(struct pager *pager, uint64_t *left)
{
	uint64_t start, n, more;
	unsigned int i;

	if (!pager->frugal)
		return pages_peek(pager, left);
	*left = 0;
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (start = 0; start < pages->ram->mf.pages; start += n) {
			n = part_at(pages, start, COUNT);
			if (left_in_part(pager, pages, start, n, &more))
				return -1;
			*left += more;
		}
	}
	return 0;
}

/* Looks at one dirty page in @each. */
static int sample_part(struct pager *pager, struct pages *pages,
		       uint64_t start, uint64_t each, uint64_t *passed,
		       uint64_t *seen, uint64_t *zero)
{
	uint64_t n = part_at(pages, start, COUNT), page, dirty, next;
	int64_t got;

	if (left_in_part(pager, pages, start, n, &dirty))
		return -1;
	for (page = 0; dirty && page < n; page++) {
		if (!bitmap_test(pager->hot, page) || (*passed)++ % each)
			continue;
		got = mf_hash(pager->vm->session, &pages->ram->mf, 0,
			      start + page, 1, 0, pager->digests, 1, &next);
		if (got < 0)
			return fail("cannot read %s: %s", pages->ram->path,
				    strerror((int)-got));
		(*seen)++;
		*zero += got && pager->digests->flags &
				MIGRATE_FAST_DIGEST_ZERO;
	}
	return 0;
}

int pages_sample(struct pager *pager, uint64_t dirty, double *share)
{
	uint64_t start, passed = 0, seen = 0, zero = 0;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (start = 0; start < pages->ram->mf.pages; start += COUNT)
			if (sample_part(pager, pages, start,
					dirty / SAMPLE + 1, &passed, &seen,
					&zero))
				return -1;
	}
	*share = seen ? (double)(seen - zero) / (double)seen : 1;
	return 0;
}

void pages_stale(struct pager *pager, bool hot)
{
	unsigned int i;
	uint64_t word;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (word = 0; word < bitmap_words(pages->ram->mf.pages);
		     word++) {
			pages->stale[word] |= pages->ram->mf.bitmap[word];
			if (hot)
				pages->before[word] |=
					pages->ram->mf.bitmap[word];
			else
				pages->before[word] = 0;
			pages->ram->mf.bitmap[word] = 0;
		}
		pages->owed = 0;
	}
}

uint64_t pages_lacking(const struct pager *pager)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++)
		n += bitmap_weight(pager->pages[i].stale,
				   bitmap_words(pager->vm->ram[i].mf.pages));
	return n;
}

void pages_sent(struct pager *pager, unsigned int ram, uint64_t page)
{
	struct pages *pages = &pager->pages[ram];

	if (bitmap_test(pages->twice, page))
		pager->more++;
	else if (bitmap_test(pages->sent, page))
		bitmap_set(pages->twice, page);
	bitmap_set(pages->sent, page);
}

uint64_t pages_sent_twice(const struct pager *pager)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++)
		n += bitmap_weight(pager->pages[i].twice,
				   bitmap_words(pager->vm->ram[i].mf.pages));
	return n;
}

uint64_t pages_working_set(struct pager *pager)
{
	uint64_t n = 0, word;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];
		uint64_t *now = pages->ram->mf.bitmap;

		for (word = 0; word < bitmap_words(pages->ram->mf.pages);
		     word++) {
			n += (uint64_t)__builtin_popcountll(pages->before[word]
							    & now[word]);
			pages->before[word] = now[word];
		}
	}
	return n;
}

/* A page of a VM whose memory shall follow it. */
static void survey(struct pages *pages, const struct migrate_fast_digest *digest,
		   struct round *round)
{
	if (digest->flags & MIGRATE_FAST_DIGEST_ZERO)
		round->pages.zero++;
	else
		bitmap_set(pages->stale, digest->page);
}

/* One page: is there anything to send? */
static int classify(struct pager *pager, struct pages *pages,
		    const struct migrate_fast_digest *digest,
		    struct round *round, bool first)
{
	uint64_t page = digest->page;

	if (digest->flags & MIGRATE_FAST_DIGEST_ZERO) {
		if (bitmap_test(pages->zero, page)) {
			if (first)
				round->pages.zero++;
			else
				round->pages.unchanged++;
			return 0;
		}
		round->pages.zero++;
		bitmap_set(pages->zero, page);
		bitmap_clear(pages->certain, page);
		return gather_zero(&pager->gather, pages->number, page);
	}
	if (!bitmap_test(pages->zero, page) &&
	    pages->hash[page] == digest->xxh64 &&
	    (bitmap_test(pages->certain, page) || hook_set("trust-hash"))) {
		round->pages.unchanged++;
		return 0;
	}
	round->pages.raw++;
	/* First the record, then the sending. */
	pages->hash[page] = digest->xxh64;
	bitmap_clear(pages->zero, page);
	bitmap_clear(pages->certain, page);
	bitmap_set(pages->in_flight, page);
	if (first && round->pages.raw == 100 && hook_set("lose-page"))
		return 0;
	pages_sent(pager, pages->number, page);
	return gather_page(&pager->gather, pages->number, page);
}

/*
 * Pages that are written right now would be sent in vain. They are dirty in
 * the module still, so that the next harvest reports them whatever we do:
 * taking them out of our bitmap forgets nothing. Returns 1, and has done
 * nothing, if the chunk would better wait.
 */
static int take_out_hot(struct pager *pager, struct pages *pages,
			uint64_t start, uint64_t n, bool may_wait,
			struct round *round)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64, hot, i;
	uint64_t words = bitmap_words(n), vain = 0;
	int err;

	err = mf_peek(pager->vm->session, &pages->ram->mf, start, n,
		      pager->hot, &hot);
	if (err)
		return fail("peek at %s: %s", pages->ram->path, strerror(-err));
	for (i = 0; hot && i < words; i++)
		vain += (uint64_t)__builtin_popcountll(bitmap[i] &
						       pager->hot[i]);
	if (may_wait && vain > bitmap_weight(bitmap, words) / LUKEWARM)
		return 1;
	for (i = 0; vain && i < words; i++)
		bitmap[i] &= ~pager->hot[i];
	round->postponed += vain;
	return 0;
}

/* Takes out those that have been sent twice; @owed is where they are kept. */
static void take_out_owed(struct pager *pager, struct pages *pages,
			  uint64_t start, uint64_t words, uint64_t *owed,
			  struct round *round)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64, i;

	memset(owed, 0, words * 8);
	for (i = 0; pager->frugal && i < words; i++) {
		owed[i] = bitmap[i] & pages->twice[start / 64 + i];
		bitmap[i] &= ~owed[i];
	}
	pages->owed += bitmap_weight(owed, words);
	round->postponed += bitmap_weight(owed, words);
}

/* Digests what the bitmap names, and deals with it. */
static int look_at(struct pager *pager, struct pages *pages, uint64_t start,
		   uint64_t n, enum scan scan, struct round *round)
{
	uint32_t flags = MIGRATE_FAST_HASH_DIRTY;
	uint64_t at = start, began, took, raw;
	int64_t got, k;

	if (scan != SCAN_SURVEY)
		flags |= MIGRATE_FAST_HASH_XXH64;
	while (at < start + n) {
		began = now_ns();
		got = mf_hash(pager->vm->session, &pages->ram->mf, flags, at,
			      start + n - at,
			      scan == SCAN_SURVEY ? 0 : pager->seed,
			      pager->digests, CHUNK, &at);
		if (got < 0)
			return fail("cannot read %s: %s", pages->ram->path,
				    strerror((int)-got));
		took = now_ns() - began;
		raw = round->pages.raw;
		for (k = 0; k < got; k++) {
			if (scan == SCAN_SURVEY)
				survey(pages, &pager->digests[k], round);
			else if (classify(pager, pages, &pager->digests[k],
					  round, scan == SCAN_ALL))
				return -1;
		}
		pager->hash_ns += took;
		pager->hashed += (uint64_t)got;
		if (round->pages.raw == raw)
			pager->idle_ns += took;
	}
	return 0;
}

/* Returns 1, and has done nothing, if @may_wait and it would better wait. */
static int scan_chunk(struct pager *pager, struct pages *pages,
		      uint64_t start, uint64_t n, enum scan scan,
		      bool may_wait, struct round *round)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64;
	uint64_t words = bitmap_words(n), owed[CHUNK_WORDS] = { 0 }, i;
	int ret;

	if (scan == SCAN_ALL || scan == SCAN_SURVEY)
		for (i = 0; i < n; i++)
			bitmap_set(bitmap, i);
	if (!bitmap_weight(bitmap, words))
		return 0;
	if (scan != SCAN_LAST && scan != SCAN_SURVEY) {
		ret = take_out_hot(pager, pages, start, n, may_wait, round);
		if (ret)
			return ret;
		take_out_owed(pager, pages, start, words, owed, round);
	}
	if (bitmap_weight(bitmap, words) &&
	    look_at(pager, pages, start, n, scan, round))
		return -1;
	/* All dealt with, and harvests are only made between rounds. */
	memcpy(bitmap, owed, words * 8);
	return 0;
}

/*
 * Pages that are right at the destination: all but those that this round has
 * yet to look at, and those that it has postponed.
 */
static void tell_progress(struct pager *pager, const struct round *round)
{
	const struct classes *pages = &round->pages;
	uint64_t total = pager->progress->stats->total_pages;
	uint64_t seen = pages->zero + pages->unchanged + pages->raw;

	if (round->dirty - seen <= total)
		progress_done(pager->progress, total - (round->dirty - seen));
}

static void put_off(struct pager *pager, unsigned int ram, uint64_t start,
		    uint64_t n)
{
	if (pager->nr_later == pager->size_later) {
		pager->size_later = pager->size_later ? pager->size_later * 2 :
							64;
		pager->later = need(realloc(pager->later, pager->size_later *
					    sizeof(*pager->later)));
	}
	pager->later[pager->nr_later++] = (struct chunk){
		.ram = ram,
		.start = start,
		.pages = n,
	};
}

static int cooler(const void *a, const void *b)
{
	uint64_t x = ((const struct chunk *)a)->hot;
	uint64_t y = ((const struct chunk *)b)->hot;

	return x < y ? -1 : x > y;
}

/* The chunks that were put off, the coolest first. */
static int scan_later(struct pager *pager, enum scan scan, struct round *round)
{
	struct pages *pages;
	struct chunk *chunk;
	size_t i;
	int err;

	for (i = 0; i < pager->nr_later; i++) {
		chunk = &pager->later[i];
		pages = &pager->pages[chunk->ram];
		err = mf_peek(pager->vm->session, &pages->ram->mf,
			      chunk->start, chunk->pages, NULL, &chunk->hot);
		if (err)
			return fail("peek at %s: %s", pages->ram->path,
				    strerror(-err));
	}
	if (pager->nr_later)
		qsort(pager->later, pager->nr_later, sizeof(*pager->later),
		      cooler);
	for (i = 0; i < pager->nr_later; i++) {
		chunk = &pager->later[i];
		if (scan_chunk(pager, &pager->pages[chunk->ram], chunk->start,
			       chunk->pages, scan, false, round) ||
		    loop_check())
			return -1;
		tell_progress(pager, round);
	}
	return 0;
}

int pages_scan(struct pager *pager, enum scan scan, struct round *round)
{
	uint64_t start, n;
	unsigned int i;
	int ret;

	pager->nr_later = 0;
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		pages->owed = 0;
		for (start = 0; start < pages->ram->mf.pages; start += n) {
			n = part_at(pages, start, CHUNK);
			ret = scan_chunk(pager, pages, start, n, scan, true,
					 round);
			if (ret < 0)
				return -1;
			if (ret)
				put_off(pager, i, start, n);
			tell_progress(pager, round);
			/* Holes take no sending, and so no other look. */
			if ((scan == SCAN_ALL || scan == SCAN_SURVEY) &&
			    loop_check())
				return -1;
		}
	}
	return scan_later(pager, scan, round) ? -1 :
	       gather_flush(&pager->gather);
}
