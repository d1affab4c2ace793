// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of each page: what the destination has, and how it came there.
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
 * A reference, or a copy of another page, is certain as a page is: its XXH64
 * and SHA-256 need not be of the same moment. If it misses, the destination
 * has what it had, and says so before it acknowledges the round; the next
 * harvest reports the page. So it is with a delta, see delta.c: it brings a
 * copy that was read after the page was hashed, or misses.
 *
 * Harvests are only made between rounds, each of which ends with the
 * acknowledgement: .in_flight, what was sent in the round, less what the
 * harvest reports, is what has become certain.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "pages.h"
#include "ram.h"

void pages_init(struct pager *pager, struct vm *vm, struct conn *conn,
		struct progress *progress, enum compress compress)
{
	uint64_t all = 0;
	unsigned int i;

	memset(pager, 0, sizeof(*pager));
	pager->vm = vm;
	pager->progress = progress;
	gather_init(&pager->gather, vm, conn, compress);
	pager->pages = need(calloc(vm->rams, sizeof(*pager->pages)));
	pager->digests = need(calloc(PAGES_CHUNK, sizeof(*pager->digests)));
	pager->hot = need(bitmap_new(PAGES_COUNT));
	/*
	 * A guest does not know the seed. That is not enough: of pages that
	 * differ in certain two words half collide, whatever it is. So it can
	 * have a write of its own taken for none.
	 */
	if (getrandom(&pager->seed, sizeof(pager->seed), 0) !=
	    sizeof(pager->seed))
		pager->seed = now_ns();
	for (i = 0; i < vm->rams; i++) {
		struct pages *pages = &pager->pages[i];
		uint64_t n = vm->ram[i].mf.pages;

		pages->ram = &vm->ram[i];
		pages->number = i;
		pages->first = all;
		all += n;
		pages->hash = need(calloc(n, sizeof(*pages->hash)));
		pages->certain = need(bitmap_new(n));
		pages->zero = need(bitmap_new(n));
		pages->in_flight = need(bitmap_new(n));
		pages->stale = need(bitmap_new(n));
		pages->sent = need(bitmap_new(n));
		pages->twice = need(bitmap_new(n));
		pages->before = need(bitmap_new(n));
		pages->missed = need(bitmap_new(n));
		pages->refused = need(bitmap_new(n));
		memset(pages->zero, 0xff, bitmap_words(n) * 8);
	}
	twins_init(&pager->twins, all);
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
		free(pager->pages[i].missed);
		free(pager->pages[i].refused);
	}
	gather_free(&pager->gather);
	twins_free(&pager->twins);
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

/* What the destination does not have is as good as written. */
static void report_missed(struct pages *pages)
{
	uint64_t words = bitmap_words(pages->ram->mf.pages), i;

	for (i = 0; i < words; i++) {
		pages->ram->mf.bitmap[i] |= pages->missed[i];
		pages->missed[i] = 0;
	}
}

void pages_record(struct pager *pager, unsigned int ram,
		  const struct migrate_fast_digest *digest)
{
	struct pages *pages = &pager->pages[ram];

	pages->hash[digest->page] = digest->xxh64;
	bitmap_clear(pages->zero, digest->page);
	bitmap_clear(pages->certain, digest->page);
	bitmap_set(pages->in_flight, digest->page);
	twins_add(&pager->twins, digest->xxh64, pages->first + digest->page);
}

/* A page that is looked for, and where it is. */
struct search {
	struct pager *pager;
	const struct migrate_fast_digest *digest;
	unsigned int ram;
	uint64_t page;
};

static bool is_twin(void *arg, uint64_t page)
{
	struct search *search = arg;
	struct pages *pages = search->pager->pages;
	unsigned int ram = 0;

	while (page - pages[ram].first >= pages[ram].ram->mf.pages)
		ram++;
	pages += ram;
	page -= pages->first;
	if (pages->hash[page] != search->digest->xxh64 ||
	    bitmap_test(pages->zero, page) || bitmap_test(pages->stale, page) ||
	    !(bitmap_test(pages->certain, page) ||
	      bitmap_test(pages->in_flight, page)))
		return false;
	search->ram = ram;
	search->page = page;
	return true;
}

int pages_twin(struct pager *pager, const struct migrate_fast_digest *digest,
	       unsigned int *ram, uint64_t *page)
{
	struct search search = { .pager = pager, .digest = digest };

	if (!twins_find(&pager->twins, digest->xxh64, is_twin, &search))
		return 0;
	*ram = search.ram;
	*page = search.page;
	return 1;
}

int pages_miss(struct pager *pager, unsigned int ram, uint64_t page)
{
	struct pages *pages = &pager->pages[ram];

	if (!bitmap_test(pages->in_flight, page) &&
	    !bitmap_test(pages->missed, page))
		return -1;
	/* Nobody knows what the destination has there. */
	bitmap_clear(pages->in_flight, page);
	bitmap_clear(pages->certain, page);
	bitmap_clear(pages->zero, page);
	if (!bitmap_test(pages->missed, page))
		pager->missing++;
	bitmap_set(pages->missed, page);
	return 0;
}

int pages_harvest(struct pager *pager, struct mf_harvested *sum)
{
	unsigned int i;

	*sum = (struct mf_harvested){ 0 };
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];
		struct mf_harvested one = { 0 };

		if (ram_harvest(pager->vm, pages->ram, &one))
			return -1;
		if (pager->missing)
			report_missed(pages);
		/* What a scan has left is among what there is now. */
		sum->dirty += pages->owed || pager->missing ?
			      bitmap_weight(pages->ram->mf.bitmap,
					    bitmap_words(pages->ram->mf.pages)) :
			      one.dirty;
		sum->carried += one.carried;
		settle(pages);
	}
	pager->missing = 0;
	return 0;
}

uint64_t pages_part(const struct pages *pages, uint64_t start, uint64_t most)
{
	uint64_t n = pages->ram->mf.pages - start;

	return n < most ? n : most;
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
