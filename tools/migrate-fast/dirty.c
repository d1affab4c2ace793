// SPDX-License-Identifier: GPL-2.0
/* How much is dirty now, without taking it. */
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "dirty.h"

/* Pages looked at for dirty_share(). */
#define SAMPLE	64

int dirty_count(struct pager *pager, uint64_t *dirty)
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

int dirty_left(struct pager *pager, uint64_t *left)
{
	uint64_t start, n, more;
	unsigned int i;

	if (!pager->frugal) {
		if (dirty_count(pager, left))
			return -1;
		/* Some of them may be dirty too: few. */
		*left += pager->missing;
		return 0;
	}
	*left = pager->missing;
	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (start = 0; start < pages->ram->mf.pages; start += n) {
			n = pages_part(pages, start, PAGES_COUNT);
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
	uint64_t n = pages_part(pages, start, PAGES_COUNT), page, dirty, next;
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

int dirty_share(struct pager *pager, uint64_t dirty, double *share)
{
	uint64_t start, passed = 0, seen = 0, zero = 0;
	unsigned int i;

	for (i = 0; i < pager->vm->rams; i++) {
		struct pages *pages = &pager->pages[i];

		for (start = 0; start < pages->ram->mf.pages; start += PAGES_COUNT)
			if (sample_part(pager, pages, start,
					dirty / SAMPLE + 1, &passed, &seen,
					&zero))
				return -1;
	}
	*share = seen ? (double)(seen - zero) / (double)seen : 1;
	return 0;
}
