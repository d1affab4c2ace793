// SPDX-License-Identifier: GPL-2.0
/*
 * What has changed in a page since it travelled; see delta.h.
 *
 * No old page is kept, only digests of its blocks. A page that is sent without
 * a copy may change until the wire takes it, and nobody knows what went (see
 * pages.c). One that is compressed, or a part of a delta, goes from a copy in
 * our memory: what is digested there is what the destination gets, torn or
 * not. .known says that the last that was sent of a page was such a copy.
 *
 * None of that has to be right for the memory to be right. A delta brings a
 * proof of the page as it is in our copy. The destination makes the change
 * aside, and puts it in place only if the proof holds. If not, whatever is
 * the reason - digests that are equal by chance, a rule about .known that was
 * broken - it keeps what it had and says MISS: then the page counts as
 * written, is not .known, and travels whole in another round. MISS comes before
 * the round is acknowledged, and in a round no page travels twice: so no page
 * is sent between a delta and its MISS, and RAM is not final before.
 *
 * So after a delta the destination has the bytes of the copy, or has said that
 * it has not: as to what is certain, a delta is to pages.c what any page is.
 *
 * MISS may come before all of the batch has been handed to the socket. That is
 * why .known is set when a delta is made, not when it has gone. If sending
 * fails nothing is known any more: see gather_flush().
 *
 * The digests are XXH3 with a secret that no guest knows, not XXH64, which any
 * guest can deceive (see pages.c): with XXH3 a block is taken for unchanged
 * once in 2^32 changes. Then it is the proof that finds it.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <xxhash.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "delta.h"
#include "hook.h"

_Static_assert(DELTA_BLOCKS == 16, "a mask is 16 bits");
_Static_assert(WIRE_PACK_PAGES <= 64, "what is missed is a word");

static bool begin_ram(struct delta_ram *ram, uint64_t pages)
{
	void *digests;

	ram->bytes = pages * sizeof(*ram->digests);
	digests = mmap(NULL, ram->bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (digests == MAP_FAILED)
		return false;
	ram->digests = digests;
	ram->known = need(bitmap_new(pages));
	ram->changes = need(bitmap_new(pages));
	return true;
}

void delta_begin(struct delta *delta, const struct vm *vm,
		 const struct proof *proof)
{
	unsigned int i;

	*delta = (struct delta){ .proof = proof };
	delta->nr_rams = vm->rams;
	delta->rams = need(calloc(vm->rams, sizeof(*delta->rams)));
	delta->payload = need(malloc(DELTA_BYTES));
	delta->on = getrandom(delta->secret, DELTA_SECRET, 0) == DELTA_SECRET;
	for (i = 0; delta->on && i < vm->rams; i++)
		delta->on = begin_ram(&delta->rams[i], vm->ram[i].mf.pages);
	if (!delta->on)
		delta_end(delta);
}

void delta_end(struct delta *delta)
{
	unsigned int i;

	delta->on = false;
	for (i = 0; i < delta->nr_rams; i++) {
		struct delta_ram *ram = &delta->rams[i];

		if (ram->digests)
			munmap(ram->digests, ram->bytes);
		free(ram->known);
		free(ram->changes);
	}
	delta->nr_rams = 0;
	free(delta->rams);
	free(delta->payload);
	delta->rams = NULL;
	delta->payload = NULL;
}

static unsigned int blocks_in(uint16_t mask)
{
	return (unsigned int)__builtin_popcount(mask);
}

/* Digests the copy, and says what differs from what it was at the last time. */
static uint16_t digest(const struct delta *delta, struct delta_ram *ram,
		       uint64_t page, const uint8_t *copy)
{
	uint32_t *digests = ram->digests[page], now;
	unsigned int mask = 0, i;

	for (i = 0; i < DELTA_BLOCKS; i++) {
		now = (uint32_t)XXH3_64bits_withSecret(copy + i * DELTA_BLOCK,
						       DELTA_BLOCK,
						       delta->secret,
						       DELTA_SECRET);
		mask |= (unsigned int)(now != digests[i]) << i;
		digests[i] = now;
	}
	if (!bitmap_test(ram->known, page) || blocks_in(mask) > DELTA_MOST)
		mask = DELTA_WHOLE;
	bitmap_set(ram->known, page);
	if (mask == DELTA_WHOLE)
		bitmap_clear(ram->changes, page);
	else
		bitmap_set(ram->changes, page);
	return (uint16_t)mask;
}

/* What changes in one page. Returns the end of it. */
static uint8_t *put(const struct delta *delta, uint16_t mask,
		    const uint8_t *copy, uint8_t *to)
{
	unsigned int i;

	if (mask == DELTA_WHOLE) {
		memcpy(to, copy, MF_PAGE_SIZE);
		return to + MF_PAGE_SIZE;
	}
	proof_make(delta->proof, copy, to);
	to += PROOF_BYTES;
	for (i = 0; i < DELTA_BLOCKS; i++) {
		if (!(mask >> i & 1))
			continue;
		memcpy(to, copy + i * DELTA_BLOCK, DELTA_BLOCK);
		to += DELTA_BLOCK;
	}
	return to;
}

size_t delta_make(struct delta *delta, unsigned int ram, uint64_t page,
		  uint32_t count, const uint8_t *pages)
{
	uint8_t *at = delta->payload + count * sizeof(uint16_t);
	bool wrong = hook_set("wrong-delta");
	uint16_t masks[WIRE_PACK_PAGES];
	uint32_t changes = 0, i;

	for (i = 0; i < count; i++) {
		masks[i] = digest(delta, &delta->rams[ram], page + i,
				  pages + i * MF_PAGE_SIZE);
		if (masks[i] == DELTA_WHOLE)
			continue;
		changes++;
		if (wrong)
			masks[i] &= (uint16_t)(masks[i] - 1);
	}
	if (!changes)
		return 0;
	delta->sent += changes;
	for (i = 0; i < count; i++) {
		at = put(delta, masks[i], pages + i * MF_PAGE_SIZE, at);
		masks[i] = htole16(masks[i]);
	}
	memcpy(delta->payload, masks, count * sizeof(*masks));
	return (size_t)(at - delta->payload);
}

void delta_forget(struct delta *delta, unsigned int ram, uint64_t page,
		  uint64_t count)
{
	for (; delta->on && count; page++, count--) {
		bitmap_clear(delta->rams[ram].known, page);
		bitmap_clear(delta->rams[ram].changes, page);
	}
}

bool delta_miss(struct delta *delta, unsigned int ram, uint64_t page)
{
	if (!delta->on || !bitmap_test(delta->rams[ram].changes, page))
		return false;
	delta_forget(delta, ram, page, 1);
	delta->missed++;
	return true;
}

static uint16_t mask_at(const uint8_t *payload, uint32_t i)
{
	uint16_t mask;

	memcpy(&mask, payload + i * sizeof(mask), sizeof(mask));
	return le16toh(mask);
}

/* What follows the masks of one page. */
static size_t length_of(uint16_t mask)
{
	return mask == DELTA_WHOLE ? MF_PAGE_SIZE :
	       PROOF_BYTES + blocks_in(mask) * DELTA_BLOCK;
}

/* Changes one page, or leaves it alone: then it would not become right. */
static bool change(const struct proof *proof, uint16_t mask,
		   const uint8_t *from, uint8_t *page)
{
	const uint8_t *right = from;
	uint8_t next[MF_PAGE_SIZE];
	unsigned int i;

	from += PROOF_BYTES;
	memcpy(next, page, sizeof(next));
	for (i = 0; i < DELTA_BLOCKS; i++) {
		if (!(mask >> i & 1))
			continue;
		memcpy(next + i * DELTA_BLOCK, from, DELTA_BLOCK);
		from += DELTA_BLOCK;
	}
	if (!proof_is(proof, next, right))
		return false;
	if (mask)
		memcpy(page, next, sizeof(next));
	return true;
}

int delta_apply(const struct proof *proof, const uint8_t *payload,
		size_t length, uint8_t *pages, uint32_t count,
		uint64_t *missed)
{
	size_t at = count * sizeof(uint16_t), all = at;
	uint32_t i;

	if (count > WIRE_PACK_PAGES || length < at)
		return -1;
	for (i = 0; i < count; i++)
		all += length_of(mask_at(payload, i));
	if (length != all)
		return -1;
	*missed = 0;
	for (i = 0; i < count; i++, pages += MF_PAGE_SIZE) {
		uint16_t mask = mask_at(payload, i);

		if (mask == DELTA_WHOLE)
			memcpy(pages, payload + at, MF_PAGE_SIZE);
		else if (!change(proof, mask, payload + at, pages))
			*missed |= 1ULL << i;
		at += length_of(mask);
	}
	return 0;
}
