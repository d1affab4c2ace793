// SPDX-License-Identifier: GPL-2.0
/*
 * What is known of each page: what the destination was told of it.
 *
 * The destination begins with zeroes. From then on, for each page, what it
 * has is one of
 *
 *	.zero set	zeroes: it began so, or a ZERO frame came last
 *	.told set	the bytes whose XXH64 is .hash, perhaps
 *	neither		nobody knows
 *
 * A page that was written goes again. If its XXH64 is what it was, most likely
 * the destination has it. That is not certain, for two reasons. A page that is
 * sent without a copy is hashed, then sent; the wire takes its bytes when the
 * packet is built, or built again, which may be later. Say that it held A when
 * hashed, B when the wire took it, and A again when the next harvest reports
 * it. And XXH64 has no secret that a guest could not do without: if bit 63 of
 * a word is flipped, and a constant added to the word 32 bytes on, it stays
 * the same for half of all seeds.
 *
 * So the page is said to be the same, with a proof (proof.h) of a copy that is
 * read then. A destination that has something else misses it.
 *
 * Whatever else is said of a page instead of sending it is proved likewise: a
 * reference or a copy of another page by SHA-256, a delta as here. None of
 * that need be of the moment of the hash: what is written later is reported by
 * the next harvest. If it misses, the destination has what it had, and says so
 * before it acknowledges the round; the next harvest reports the page.
 *
 * ZERO frames carry no bytes of the page; whatever is written to it later is
 * reported and looked at then.
 *
 * Harvests are only made between rounds, each of which ends with the
 * acknowledgement: only what was .in_flight in the round can have missed.
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
		pages->told = need(bitmap_new(n));
		pages->zero = need(bitmap_new(n));
		pages->in_flight = need(bitmap_new(n));
		pages->stale = need(bitmap_new(n));
		pages->sent = need(bitmap_new(n));
		pages->twice = need(bitmap_new(n));
		pages->written = need(bitmap_new(n));
		pages->before = need(bitmap_new(n));
		pages->same = need(bitmap_new(n));
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
		free(pager->pages[i].told);
		free(pager->pages[i].zero);
		free(pager->pages[i].in_flight);
		free(pager->pages[i].stale);
		free(pager->pages[i].sent);
		free(pager->pages[i].twice);
		free(pager->pages[i].written);
		free(pager->pages[i].before);
		free(pager->pages[i].same);
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
	bitmap_set(pages->told, digest->page);
	bitmap_set(pages->in_flight, digest->page);
	bitmap_clear(pages->same, digest->page);
	twins_add(&pager->twins, digest->xxh64, pages->first + digest->page);
}

void pages_record_same(struct pager *pager, unsigned int ram,
		       const struct migrate_fast_digest *digest)
{
	pages_record(pager, ram, digest);
	bitmap_set(pager->pages[ram].same, digest->page);
}

void pages_record_zero(struct pager *pager, unsigned int ram, uint64_t page)
{
	bitmap_set(pager->pages[ram].zero, page);
	bitmap_clear(pager->pages[ram].told, page);
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
	    !bitmap_test(pages->told, page) || bitmap_test(pages->stale, page))
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
	bitmap_clear(pages->in_flight, page);
	bitmap_clear(pages->told, page);
	bitmap_clear(pages->zero, page);
	if (!bitmap_test(pages->missed, page))
		pager->missing++;
	bitmap_set(pages->missed, page);
	return 0;
}

/*
 * A harvest reports a page that KVM's log has kept writable once more, written
 * or not; to look tells them apart.
 */
static int peek_written(struct pager *pager, struct pages *pages)
{
	uint64_t written;
	int err = mf_peek(pager->vm->session, &pages->ram->mf, 0, 0,
			  pages->written, &written);

	return err ? fail("peek at %s: %s", pages->ram->path, strerror(-err)) :
		     0;
}

int pages_harvest(struct pager *pager, struct mf_harvested *sum)
{
	unsigned int i;

	*sum = (struct mf_harvested){ 0 };
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];
		struct mf_harvested one = { 0 };

		if (peek_written(pager, pages) ||
		    ram_harvest(pager->vm, pages->ram, &one))
			return -1;
		if (pager->missing)
			report_missed(pages);
		/* What a scan has left is among what there is now. */
		sum->dirty += pages->owed || pager->missing ?
			      bitmap_weight(pages->ram->mf.bitmap,
					    bitmap_words(pages->ram->mf.pages)) :
			      one.dirty;
		sum->carried += one.carried;
		memset(pages->in_flight, 0,
		       bitmap_words(pages->ram->mf.pages) * 8);
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
			/* What it was told is not what it will get. */
			pages->told[word] &= ~pages->ram->mf.bitmap[word];
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
		const uint64_t *now = pages->written;

		for (word = 0; word < bitmap_words(pages->ram->mf.pages);
		     word++) {
			n += (uint64_t)__builtin_popcountll(pages->before[word]
							    & now[word]);
			pages->before[word] = now[word];
		}
	}
	return n;
}
