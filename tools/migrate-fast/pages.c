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
#define CHUNK	2048

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
	pager->hot = need(bitmap_new(CHUNK));
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
		sum->dirty += one.dirty;
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

void pages_stale(struct pager *pager)
{
	unsigned int i;
	uint64_t word;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (word = 0; word < bitmap_words(pages->ram->mf.pages);
		     word++) {
			pages->stale[word] |= pages->ram->mf.bitmap[word];
			pages->before[word] |= pages->ram->mf.bitmap[word];
			pages->ram->mf.bitmap[word] = 0;
		}
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
 * taking them out of our bitmap forgets nothing.
 */
static int take_out_hot(struct pager *pager, struct pages *pages,
			uint64_t start, uint64_t n, struct round *round)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64, hot, i;
	int err;

	err = mf_peek(pager->vm->session, &pages->ram->mf, start, n,
		      pager->hot, &hot);
	if (err)
		return fail("peek at %s: %s", pages->ram->path, strerror(-err));
	for (i = 0; hot && i < bitmap_words(n); i++) {
		round->postponed += (uint64_t)__builtin_popcountll(
					bitmap[i] & pager->hot[i]);
		bitmap[i] &= ~pager->hot[i];
	}
	return 0;
}

static int scan_chunk(struct pager *pager, struct pages *pages,
		      uint64_t start, uint64_t n, enum scan scan,
		      struct round *round)
{
	uint64_t *bitmap = pages->ram->mf.bitmap + start / 64;
	uint64_t words = bitmap_words(n), at = start, began, i;
	uint32_t flags = MIGRATE_FAST_HASH_DIRTY;
	int64_t got, k;

	if (scan != SCAN_SURVEY)
		flags |= MIGRATE_FAST_HASH_XXH64;
	if (scan == SCAN_ALL || scan == SCAN_SURVEY)
		for (i = 0; i < n; i++)
			bitmap_set(bitmap, i);
	if (!bitmap_weight(bitmap, words))
		return 0;
	if (scan != SCAN_LAST && scan != SCAN_SURVEY &&
	    take_out_hot(pager, pages, start, n, round))
		return -1;
	if (!bitmap_weight(bitmap, words))
		return 0;
	while (at < start + n) {
		began = now_ns();
		got = mf_hash(pager->vm->session, &pages->ram->mf, flags, at,
			      start + n - at,
			      scan == SCAN_SURVEY ? 0 : pager->seed,
			      pager->digests, CHUNK, &at);
		if (got < 0)
			return fail("cannot read %s: %s", pages->ram->path,
				    strerror((int)-got));
		pager->hash_ns += now_ns() - began;
		pager->hashed += (uint64_t)got;
		for (k = 0; k < got; k++) {
			if (scan == SCAN_SURVEY)
				survey(pages, &pager->digests[k], round);
			else if (classify(pager, pages, &pager->digests[k], round,
				     scan == SCAN_ALL))
				return -1;
		}
	}
	/* All dealt with, and harvests are only made between rounds. */
	memset(bitmap, 0, words * 8);
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

int pages_scan(struct pager *pager, enum scan scan, struct round *round)
{
	uint64_t start, n;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (start = 0; start < pages->ram->mf.pages; start += n) {
			n = pages->ram->mf.pages - start;
			if (n > CHUNK)
				n = CHUNK;
			if (scan_chunk(pager, pages, start, n, scan, round))
				return -1;
			tell_progress(pager, round);
			/* Holes take no sending, and so no other look. */
			if ((scan == SCAN_ALL || scan == SCAN_SURVEY) &&
			    loop_check())
				return -1;
		}
	}
	return gather_flush(&pager->gather);
}
