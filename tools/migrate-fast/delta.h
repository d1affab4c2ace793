/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A page that travels again: what has changed in it since it travelled last.
 *
 * The payload of a DELTA frame, before zstd, little endian:
 *
 *	__u16 for each page: which of its blocks have changed; all: it is whole
 *	for each page	__u8[16] proof of what it becomes; none if it is whole
 *			__u8[]	the blocks that have changed, ascending
 */
#ifndef DELTA_H
#define DELTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proof.h"
#include "vm.h"
#include "wire.h"

#define DELTA_BLOCK	256
#define DELTA_BLOCKS	(MF_PAGE_SIZE / DELTA_BLOCK)
#define DELTA_WHOLE	0xffff
/* A page in which more blocks have changed travels whole. */
#define DELTA_MOST	(DELTA_BLOCKS / 2)
/* Of XXH3. */
#define DELTA_SECRET	192
/* What the payload of a frame can be, at most. */
#define DELTA_BYTES	(WIRE_PACK_PAGES * (2 + PROOF_BYTES + MF_PAGE_SIZE))

/* Of one RAM file. */
struct delta_ram {
	uint32_t (*digests)[DELTA_BLOCKS];	/* of each page, where known */
	size_t bytes;		/* of .digests; what is not known takes none */
	uint64_t *known;	/* pages that travelled last as digested here */
	uint64_t *changes;	/* ... as a delta */
};

/* The source's side. */
struct delta {
	bool on;
	uint8_t secret[DELTA_SECRET];	/* of .digests */
	const struct proof *proof;
	struct delta_ram *rams;
	unsigned int nr_rams;
	uint8_t *payload;		/* room for DELTA_BYTES */
	uint64_t sent;			/* pages that travelled as deltas */
	uint64_t missed;		/* of those, wrong over there */
};

/*
 * From here on it is known what copies the destination has of the pages of
 * @vm. Where there is no memory for that, .on is not set, and nothing else need
 * be asked. @proof stays the caller's.
 */
void delta_begin(struct delta *delta, const struct vm *vm,
		 const struct proof *proof);
void delta_end(struct delta *delta);
/*
 * @count neighbours travel: these copies of them, at @pages. What has changed
 * is made a payload. Its length; or 0, if all of them travel whole.
 */
size_t delta_make(struct delta *delta, unsigned int ram, uint64_t page,
		  uint32_t count, const uint8_t *pages);
/* They travel otherwise: what exactly the destination has is not known. */
void delta_forget(struct delta *delta, unsigned int ram, uint64_t page,
		  uint64_t count);
/*
 * The destination has not taken what it was sent of this page, which is
 * forgotten. True if that was a delta.
 */
bool delta_miss(struct delta *delta, unsigned int ram, uint64_t page);

/*
 * Destination: makes @count pages at @pages what they are at the source. One
 * that would become something else is left as it was, and named in *@missed,
 * a bitmap. 0, or -1 and nothing done if that is no such payload.
 */
int delta_apply(const struct proof *proof, const uint8_t *payload,
		size_t length, uint8_t *pages, uint32_t count,
		uint64_t *missed);

#endif /* DELTA_H */
