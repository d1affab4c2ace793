// SPDX-License-Identifier: GPL-2.0
/*
 * One pass over the pages of a VM: each is classified, and sent if need be.
 *
 * It goes by chunks. Those in which much is being written wait until the
 * others are through, the hottest longest.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "hook.h"
#include "scan.h"

#define CHUNK_WORDS	(PAGES_CHUNK / 64)
/* A chunk is put off if one in so many of its pages would be sent in vain. */
#define LUKEWARM	64

/* A part of a RAM file that is looked at in one go. */
struct chunk {
	struct pages *pages;
	uint64_t start, n;
	uint64_t hot;		/* pages of it that are dirty by now */
};

struct pass {
	struct pager *pager;
	enum scan what;
	struct round *round;
	uint64_t candidates[CHUNK_WORDS];	/* of the chunk: may be known there */
	struct chunk *later;	/* chunks put off */
	size_t nr_later, size_later;
};

static bool is_survey(const struct pass *pass)
{
	return pass->what == SCAN_SURVEY;
}

static bool is_of_all(const struct pass *pass)
{
	return pass->what == SCAN_ALL || is_survey(pass);
}

static bool is_known(const struct pager *pager,
		     const struct migrate_fast_digest *digest)
{
	return pager->refer && refer_perhaps(pager->refer, digest->xxh64);
}

/* Has the destination got it? If not it will say so. */
static bool may_be_same(const struct pass *pass, const struct pages *pages,
			const struct migrate_fast_digest *digest)
{
	uint64_t page = digest->page;

	return !is_survey(pass) && bitmap_test(pages->told, page) &&
	       pages->hash[page] == digest->xxh64;
}

static int whole(struct pass *pass, struct pages *pages,
		 const struct migrate_fast_digest *digest)
{
	struct classes *classes = &pass->round->pages;
	struct pager *pager = pass->pager;

	/* Its memory shall follow the VM. */
	if (is_survey(pass)) {
		bitmap_set(pages->stale, digest->page);
		return 0;
	}
	classes->raw++;
	pages_record(pager, pages->number, digest);
	if (pass->what == SCAN_ALL && hook_lose("lose-page", digest->page))
		return 0;
	pages_sent(pager, pages->number, digest->page);
	return gather_page(&pager->gather, pages->number, digest->page);
}

/*
 * Names it, if it has a name: its twin, which is nearer than a disk, but not
 * there yet if the disk is read later. What may be known there by @digest needs
 * a SHA-256, and waits for it if it is @without. Else it goes whole; one name
 * that was missed is enough.
 */
static int by_name(struct pass *pass, const struct chunk *chunk,
		   const struct migrate_fast_digest *digest, bool without)
{
	struct classes *classes = &pass->round->pages;
	struct pages *pages = chunk->pages;
	struct pager *pager = pass->pager;
	bool known = is_known(pager, digest);
	unsigned int ram;
	uint64_t page;

	if (bitmap_test(pages->refused, digest->page))
		return whole(pass, pages, digest);
	if (!(pager->lazy && known) && pages_twin(pager, digest, &ram, &page)) {
		classes->copy++;
		pages_record(pager, pages->number, digest);
		return gather_copy(&pager->gather, pages->number, digest->page,
				   ram, page);
	}
	if (!known)
		return whole(pass, pages, digest);
	if (without) {
		bitmap_set(pass->candidates, digest->page - chunk->start);
		return 0;
	}
	classes->reference++;
	pages_record(pager, pages->number, digest);
	return gather_reference(&pager->gather, pages->number, digest);
}

static int zero(struct pass *pass, struct pages *pages, uint64_t page)
{
	struct classes *classes = &pass->round->pages;

	if (bitmap_test(pages->zero, page)) {
		if (is_of_all(pass))
			classes->zero++;
		else
			classes->unchanged++;
		return 0;
	}
	classes->zero++;
	pages_record_zero(pass->pager, pages->number, page);
	return gather_zero(&pass->pager->gather, pages->number, page);
}

/* One page: is there anything to send? */
static int classify(struct pass *pass, const struct chunk *chunk,
		    const struct migrate_fast_digest *digest)
{
	struct classes *classes = &pass->round->pages;
	struct pages *pages = chunk->pages;
	uint64_t page = digest->page;

	if (digest->flags & MIGRATE_FAST_DIGEST_ZERO)
		return zero(pass, pages, page);
	if (may_be_same(pass, pages, digest)) {
		classes->unchanged++;
		pages_record_same(pass->pager, pages->number, digest);
		return gather_same(&pass->pager->gather, pages->number, page);
	}
	return by_name(pass, chunk, digest, true);
}

/*
 * Pages that are written right now would be sent in vain. They are dirty in
 * the module still, so that the next harvest reports them whatever we do:
 * taking them out of our bitmap forgets nothing. Returns 1, and has done
 * nothing, if the chunk would better wait.
 */
static int take_out_hot(struct pass *pass, const struct chunk *chunk,
			bool may_wait)
{
	struct pages *pages = chunk->pages;
	uint64_t *bitmap = pages->ram->mf.bitmap + chunk->start / 64;
	uint64_t words = bitmap_words(chunk->n), vain = 0, hot, i;
	struct pager *pager = pass->pager;
	int err;

	err = mf_peek(pager->vm->session, &pages->ram->mf, chunk->start,
		      chunk->n, pager->hot, &hot);
	if (err)
		return fail("peek at %s: %s", pages->ram->path, strerror(-err));
	for (i = 0; hot && i < words; i++)
		vain += (uint64_t)__builtin_popcountll(bitmap[i] &
						       pager->hot[i]);
	if (may_wait && vain > bitmap_weight(bitmap, words) / LUKEWARM)
		return 1;
	for (i = 0; vain && i < words; i++)
		bitmap[i] &= ~pager->hot[i];
	pass->round->postponed += vain;
	return 0;
}

/* Takes out those that have been sent twice; @owed is where they are kept. */
static void take_out_owed(struct pass *pass, const struct chunk *chunk,
			  uint64_t *owed)
{
	struct pages *pages = chunk->pages;
	uint64_t *bitmap = pages->ram->mf.bitmap + chunk->start / 64;
	uint64_t words = bitmap_words(chunk->n), i;

	if (!pass->pager->frugal)
		return;
	for (i = 0; i < words; i++) {
		owed[i] = bitmap[i] & pages->twice[chunk->start / 64 + i];
		bitmap[i] &= ~owed[i];
	}
	pages->owed += bitmap_weight(owed, words);
	pass->round->postponed += bitmap_weight(owed, words);
}

/* With SHA-256: is it still what passed the filter? */
static int classify_candidate(struct pass *pass, const struct chunk *chunk,
			      const struct migrate_fast_digest *digest)
{
	if (digest->flags & MIGRATE_FAST_DIGEST_ZERO)
		return zero(pass, chunk->pages, digest->page);
	return by_name(pass, chunk, digest, false);
}

/* Digests what the bitmap names, and deals with each page by @deal. */
static int digest_pages(struct pass *pass, const struct chunk *chunk,
			uint32_t what,
			int (*deal)(struct pass *pass,
				    const struct chunk *chunk,
				    const struct migrate_fast_digest *digest))
{
	uint64_t at = chunk->start, end = chunk->start + chunk->n;
	struct pager *pager = pass->pager;
	struct ram *ram = chunk->pages->ram;
	uint64_t began, took, raw;
	int64_t got, k;

	while (at < end) {
		began = now_ns();
		got = mf_hash(pager->vm->session, &ram->mf,
			      what | MIGRATE_FAST_HASH_DIRTY, at, end - at,
			      what & MIGRATE_FAST_HASH_XXH64 ? pager->seed : 0,
			      pager->digests, PAGES_CHUNK, &at);
		if (got < 0)
			return fail("cannot read %s: %s", ram->path,
				    strerror((int)-got));
		took = now_ns() - began;
		raw = pass->round->pages.raw;
		for (k = 0; k < got; k++)
			if (deal(pass, chunk, &pager->digests[k]))
				return -1;
		pager->hash_ns += took;
		pager->hashed += (uint64_t)got;
		if (pass->round->pages.raw == raw)
			pager->idle_ns += took;
	}
	return 0;
}

/* A page that will not be copied while the VM runs here, unless it is zero. */
static int survey(struct pass *pass, const struct chunk *chunk,
		  const struct migrate_fast_digest *digest)
{
	if (digest->flags & MIGRATE_FAST_DIGEST_ZERO) {
		pass->round->pages.zero++;
		return 0;
	}
	return whole(pass, chunk->pages, digest);
}

/* Deals with the pages that the bitmap names. */
static int look_at(struct pass *pass, const struct chunk *chunk)
{
	uint64_t *bitmap = chunk->pages->ram->mf.bitmap + chunk->start / 64;
	uint64_t words = bitmap_words(chunk->n);

	/* What it has no use for is not digested. */
	if (is_survey(pass) && !pass->pager->refer)
		return digest_pages(pass, chunk, 0, survey);
	memset(pass->candidates, 0, sizeof(pass->candidates));
	if (digest_pages(pass, chunk, MIGRATE_FAST_HASH_XXH64, classify))
		return -1;
	if (!bitmap_weight(pass->candidates, words))
		return 0;
	memcpy(bitmap, pass->candidates, words * 8);
	return digest_pages(pass, chunk, MIGRATE_FAST_HASH_XXH64 |
			    MIGRATE_FAST_HASH_SHA256, classify_candidate);
}

/* Returns 1, and has done nothing, if @may_wait and it would better wait. */
static int scan_chunk(struct pass *pass, const struct chunk *chunk,
		      bool may_wait)
{
	uint64_t *bitmap = chunk->pages->ram->mf.bitmap + chunk->start / 64;
	uint64_t words = bitmap_words(chunk->n), owed[CHUNK_WORDS] = { 0 }, i;
	int ret;

	if (is_of_all(pass))
		for (i = 0; i < chunk->n; i++)
			bitmap_set(bitmap, i);
	if (!bitmap_weight(bitmap, words))
		return 0;
	if (pass->what != SCAN_LAST && !is_survey(pass)) {
		ret = take_out_hot(pass, chunk, may_wait);
		if (ret)
			return ret;
		take_out_owed(pass, chunk, owed);
	}
	if (bitmap_weight(bitmap, words) && look_at(pass, chunk))
		return -1;
	/* All dealt with, and harvests are only made between rounds. */
	memcpy(bitmap, owed, words * 8);
	return 0;
}

/*
 * Pages that are right at the destination: all but those that this round has
 * yet to look at, and those that it has postponed.
 */
static void tell_progress(const struct pass *pass)
{
	const struct classes *classes = &pass->round->pages;
	struct progress *progress = pass->pager->progress;
	uint64_t seen = classes->zero + classes->unchanged +
			classes->reference + classes->copy + classes->raw;
	uint64_t rest = pass->round->dirty - seen;

	if (rest <= progress->stats->total_pages)
		progress_done(progress, progress->stats->total_pages - rest);
}

static void put_off(struct pass *pass, const struct chunk *chunk)
{
	if (pass->nr_later == pass->size_later) {
		pass->size_later = pass->size_later ? pass->size_later * 2 : 64;
		pass->later = need(realloc(pass->later, pass->size_later *
					   sizeof(*pass->later)));
	}
	pass->later[pass->nr_later++] = *chunk;
}

static int scan_file(struct pass *pass, struct pages *pages)
{
	struct chunk chunk = { .pages = pages };
	int ret;

	pages->owed = 0;
	for (; chunk.start < pages->ram->mf.pages; chunk.start += chunk.n) {
		chunk.n = pages_part(pages, chunk.start, PAGES_CHUNK);
		ret = scan_chunk(pass, &chunk, true);
		if (ret < 0)
			return -1;
		if (ret)
			put_off(pass, &chunk);
		tell_progress(pass);
		/* Holes take no sending, and so no other look. */
		if (is_of_all(pass) && loop_check())
			return -1;
	}
	return 0;
}

static int cooler(const void *a, const void *b)
{
	uint64_t x = ((const struct chunk *)a)->hot;
	uint64_t y = ((const struct chunk *)b)->hot;

	return x < y ? -1 : x > y;
}

/* The chunks that were put off, the coolest first. */
static int scan_later(struct pass *pass)
{
	struct chunk *chunk, *end = pass->later + pass->nr_later;
	int err;

	for (chunk = pass->later; chunk < end; chunk++) {
		err = mf_peek(pass->pager->vm->session, &chunk->pages->ram->mf,
			      chunk->start, chunk->n, NULL, &chunk->hot);
		if (err)
			return fail("peek at %s: %s", chunk->pages->ram->path,
				    strerror(-err));
	}
	if (pass->nr_later)
		qsort(pass->later, pass->nr_later, sizeof(*pass->later),
		      cooler);
	for (chunk = pass->later; chunk < end; chunk++) {
		if (scan_chunk(pass, chunk, false) || loop_check())
			return -1;
		tell_progress(pass);
	}
	return 0;
}

int scan_pages(struct pager *pager, enum scan what, struct round *round)
{
	struct pass pass = { .pager = pager, .what = what, .round = round };
	unsigned int i;
	int ret = 0;

	for (i = 0; !ret && i < pager->vm->rams; i++)
		ret = scan_file(&pass, &pager->pages[i]);
	if (!ret)
		ret = scan_later(&pass);
	free(pass.later);
	return ret ? -1 : gather_flush(&pager->gather);
}
