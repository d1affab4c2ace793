// SPDX-License-Identifier: GPL-2.0
/* Pages that are read from a disk when the VM runs; see lazy.h. */
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "hook.h"
#include "lazy.h"

/* Pages read in one go: who waits for another one waits for them first. */
#define BATCH	32

/* Pages that are being read. */
struct batch {
	unsigned int n;
	unsigned int ram[BATCH];
	uint64_t page[BATCH];
	struct wire_reference references[BATCH];
	uint8_t *to[BATCH];
	bool found[BATCH];
};

static const struct vm *vm_of(const struct lazy *lazy)
{
	return lazy->demand->vm;
}

static uint64_t pages_of(const struct lazy *lazy, unsigned int ram)
{
	return vm_of(lazy)->ram[ram].mf.pages;
}

void lazy_init(struct lazy *lazy, struct known *known, struct demand *demand)
{
	unsigned int rams, i;

	*lazy = (struct lazy){ .on = true, .known = known, .demand = demand };
	rams = vm_of(lazy)->rams;
	lazy->promised = need(calloc(rams, sizeof(*lazy->promised)));
	lazy->broken = need(calloc(rams, sizeof(*lazy->broken)));
	lazy->references = need(calloc(rams, sizeof(*lazy->references)));
	lazy->rams = need(calloc(rams, sizeof(*lazy->rams)));
	for (i = 0; i < rams; i++) {
		uint64_t pages = pages_of(lazy, i);

		lazy->promised[i] = need(bitmap_new(pages));
		lazy->broken[i] = need(bitmap_new(pages));
		/* Memory is taken for what is promised only. */
		lazy->references[i] = need(calloc(pages,
					sizeof(**lazy->references)));
		lazy->rams[i].todo = lazy->promised[i];
		lazy->rams[i].pages = pages;
	}
	lazy->landing = need(aligned_alloc(MF_PAGE_SIZE,
					   BATCH * MF_PAGE_SIZE));
}

void lazy_free(struct lazy *lazy)
{
	unsigned int i;

	for (i = 0; lazy->on && i < vm_of(lazy)->rams; i++) {
		free(lazy->promised[i]);
		free(lazy->broken[i]);
		free(lazy->references[i]);
	}
	free(lazy->promised);
	free(lazy->broken);
	free(lazy->references);
	free(lazy->rams);
	free(lazy->landing);
	memset(lazy, 0, sizeof(*lazy));
}

bool lazy_promise(struct lazy *lazy, unsigned int ram, uint64_t page,
		  const struct wire_reference *reference)
{
	if (!lazy->on || !known_on_disk(lazy->known, reference))
		return false;
	lazy->references[ram][page] = *reference;
	bitmap_set(lazy->promised[ram], page);
	return true;
}

bool lazy_is_broken(const struct lazy *lazy, unsigned int ram, uint64_t page)
{
	return lazy->on && bitmap_test(lazy->broken[ram], page);
}

void lazy_leave_out(struct lazy *lazy, unsigned int ram, uint64_t *map)
{
	uint64_t words, word;

	if (!lazy->on)
		return;
	words = bitmap_words(pages_of(lazy, ram));
	for (word = 0; word < words; word++)
		map[word] &= ~lazy->promised[ram][word];
	memset(lazy->broken[ram], 0, words * 8);
}

static bool has_any(const struct lazy *lazy, uint64_t *const *maps)
{
	unsigned int i;

	for (i = 0; lazy->on && i < vm_of(lazy)->rams; i++)
		if (bitmap_weight(maps[i], bitmap_words(pages_of(lazy, i))))
			return true;
	return false;
}

bool lazy_has_broken(const struct lazy *lazy)
{
	return has_any(lazy, lazy->broken);
}

bool lazy_has_promised(const struct lazy *lazy)
{
	return has_any(lazy, lazy->promised);
}

/* It is being read, or need not be. */
static void settle(struct lazy *lazy, unsigned int ram, uint64_t page)
{
	if (!bitmap_test(lazy->promised[ram], page))
		return;
	bitmap_clear(lazy->promised[ram], page);
	lazy->left -= lazy->begun;
}

void lazy_forget(struct lazy *lazy, unsigned int ram, uint64_t page,
		 uint64_t count)
{
	uint64_t end = page + count;

	for (; lazy->on && page < end; page++)
		settle(lazy, ram, page);
}

void lazy_end(struct lazy *lazy)
{
	unsigned int i;

	for (i = 0; lazy->on && i < vm_of(lazy)->rams; i++)
		lazy_forget(lazy, i, 0, pages_of(lazy, i));
}

uint64_t lazy_begin(struct lazy *lazy)
{
	const struct vm *vm;
	unsigned int i;
	uint64_t word;

	if (!lazy->on)
		return 0;
	vm = vm_of(lazy);
	for (i = 0; i < vm->rams; i++) {
		uint64_t *lacks = lazy->demand->lacks[i];
		uint64_t words = bitmap_words(pages_of(lazy, i));

		for (word = 0; word < words; word++) {
			lazy->promised[i][word] &= ~lacks[word];
			lacks[word] |= lazy->promised[i][word];
		}
		lazy->left += bitmap_weight(lazy->promised[i], words);
	}
	lazy->begun = true;
	lazy->all = lazy->left;
	prepage_init(&lazy->prepage, lazy->rams, vm->rams);
	return lazy->left;
}

static void add(struct lazy *lazy, struct batch *batch, unsigned int ram,
		uint64_t page)
{
	unsigned int i = batch->n++;

	batch->ram[i] = ram;
	batch->page[i] = page;
	batch->references[i] = lazy->references[ram][page];
	batch->to[i] = lazy->landing + i * MF_PAGE_SIZE;
	settle(lazy, ram, page);
	/* Until it is there. */
	bitmap_set(lazy->broken[ram], page);
}

/* Pages of the batch from @at on that are neighbours, and found like the first. */
static unsigned int run_of(const struct batch *batch, unsigned int at)
{
	unsigned int n = 1;

	while (at + n < batch->n && batch->ram[at + n] == batch->ram[at] &&
	       batch->page[at + n] == batch->page[at] + n &&
	       batch->found[at + n] == batch->found[at])
		n++;
	return n;
}

static int read_batch(struct lazy *lazy, struct batch *batch)
{
	unsigned int i, n, k;

	known_find(lazy->known, batch->references, batch->n, batch->to,
		   batch->found);
	for (i = 0; i < batch->n; i += n) {
		n = run_of(batch, i);
		if (!batch->found[i])
			continue;
		if (demand_fill(lazy->demand, batch->ram[i], batch->page[i], n,
				batch->to[i]))
			return -1;
		lazy->kept += n;
		for (k = 0; k < n; k++)
			bitmap_clear(lazy->broken[batch->ram[i]],
				     batch->page[i] + k);
	}
	return 0;
}

int lazy_want(struct lazy *lazy, unsigned int ram, uint64_t page)
{
	struct batch batch = { 0 };

	if (!lazy->on)
		return 1;
	prepage_fault(&lazy->prepage, ram, page);
	if (!bitmap_test(lazy->promised[ram], page))
		return 1;
	add(lazy, &batch, ram, page);
	if (read_batch(lazy, &batch))
		return -1;
	return !batch.found[0];
}

int lazy_step(struct lazy *lazy)
{
	struct batch batch = { 0 };
	uint64_t page, n, i;
	unsigned int ram;

	if (!lazy->first) {
		lazy->first = true;
		if (hook("lazy"))
			return -1;
	}
	while (batch.n < BATCH) {
		n = prepage_next(&lazy->prepage, BATCH - batch.n, &ram, &page);
		if (!n)
			break;
		for (i = 0; i < n && batch.n < BATCH; i++)
			add(lazy, &batch, ram, page + i);
	}
	return batch.n ? read_batch(lazy, &batch) : 0;
}

json_t *lazy_json(const struct lazy *lazy)
{
	return json_pack("{s:I, s:I}", "promised", (json_int_t)lazy->all,
			 "kept", (json_int_t)lazy->kept);
}
