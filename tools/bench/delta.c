// SPDX-License-Identifier: GPL-2.0
/*
 * What finding the changes of pages costs one processor of this machine.
 *
 * Gigabytes of pages per second, the best of SAMPLES passes over BYTES of
 * memory, by frames of WIRE_PACK_PAGES pages, as the tool does it. One of the
 * 16 blocks of each page has changed ("delta-1"); "delta-apply" is what the
 * destination does with it. Copying the pages to where they are digested,
 * which the kernel does there, is measured beside it. Compression is left out.
 *
 * Samples of native.py: an emulated host is the wrong place for what vector
 * instructions do.
 */
#include <time.h>
#include <string.h>
#include <sys/random.h>

#include "../migrate-fast/delta.h"
#include "../lib/say.h"

#define BYTES		(128UL << 20)
#define FRAME		(WIRE_PACK_PAGES * MF_PAGE_SIZE)
#define PAGES		(BYTES / MF_PAGE_SIZE)
#define SAMPLES		5
#define SESSION		"00000000000000000000000000000000"

struct bench {
	struct delta delta;
	struct ram ram;
	struct vm vm;
	struct proof proof;
	uint8_t *memory;	/* the VM's */
	uint8_t *there;		/* at the destination */
	uint8_t frame[FRAME];
	uint64_t sum;		/* so that nothing is optimized away */
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void copy(struct bench *bench, uint64_t page)
{
	memcpy(bench->frame, bench->memory + page * MF_PAGE_SIZE, FRAME);
	bench->sum += bench->frame[page % FRAME];
}

static size_t make(struct bench *bench, uint64_t page)
{
	return delta_make(&bench->delta, 0, page, WIRE_PACK_PAGES,
			  bench->memory + page * MF_PAGE_SIZE);
}

static void again(struct bench *bench, uint64_t page)
{
	bench->sum += make(bench, page);
}

static void apply(struct bench *bench, uint64_t page)
{
	uint64_t missed;

	if (delta_apply(&bench->proof, bench->delta.payload, make(bench, page),
			bench->there + page * MF_PAGE_SIZE, WIRE_PACK_PAGES,
			&missed) || missed)
		exit(1);
}

/* One block of each page. */
static void change(struct bench *bench)
{
	uint64_t page;

	for (page = 0; page < PAGES; page++)
		bench->memory[page * MF_PAGE_SIZE]++;
}

/* Seconds for all of the memory. */
static double pass(struct bench *bench,
		   void (*work)(struct bench *bench, uint64_t page))
{
	double best = 0, took;
	unsigned int i;
	uint64_t page;

	for (i = 0; i < SAMPLES; i++) {
		change(bench);
		took = now();
		for (page = 0; page < PAGES; page += WIRE_PACK_PAGES)
			work(bench, page);
		took = now() - took;
		if (!i || took < best)
			best = took;
	}
	return best;
}

static void tell(const char *name, double seconds)
{
	printf("native.%s %.2f\n", name, (double)BYTES / seconds / 1e9);
}

int main(void)
{
	static struct bench bench;
	double made;
	size_t i;

	bench.memory = need(malloc(BYTES));
	bench.there = need(malloc(BYTES));
	for (i = 0; i < BYTES; i += 256)
		if (getrandom(bench.memory + i, 256, 0) != 256)
			return 1;
	bench.ram.mf.pages = PAGES;
	bench.vm.ram = &bench.ram;
	bench.vm.rams = 1;
	if (proof_begin(&bench.proof, SESSION))
		return 1;
	delta_begin(&bench.delta, &bench.vm, &bench.proof);
	if (!bench.delta.on)
		return 1;
	tell("memcpy", pass(&bench, copy));
	/* Until then nothing is known of the pages, which may take less time. */
	pass(&bench, again);
	made = pass(&bench, again);
	tell("delta-1", made);
	memcpy(bench.there, bench.memory, BYTES);
	/* Each was made for it too. */
	tell("delta-apply", pass(&bench, apply) - made);
	return bench.sum == 1;
}
