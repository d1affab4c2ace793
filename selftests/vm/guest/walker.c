// SPDX-License-Identifier: GPL-2.0
/*
 * Somebody walks through memory, in an order that others may foretell or not.
 *
 *   walker SIZE_MB PAGES sequential|strided|random [rate=PAGES_PER_S]
 *
 * SIZE_MB are filled, FRAMES tells where the pages that it will look at are in the
 * guest's memory, by page number and in turn, then "ready" is said. SIGUSR1 has it look
 * at PAGES of its pages, each once: one behind the other, every STRIDE-th, or in no order
 * at all. A page that lets it wait makes it late, and it does not hurry to make up for
 * that. Then
 *   walked N us N errors N
 * goes to standard output. Before that, at the first SIGUSR1, it looks at WARM pages that
 * are none of them, so that what the guest's kernel needs for it is there.
 * SIGTERM ends it: exit status 0 if there was no error.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pattern.h"

#define STRIDE	4
#define WARM	200
#define FRAMES	"/run/walker"

static volatile sig_atomic_t stop, walk;

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		walk = 1;
	else
		stop = 1;
}

/* The page of each step. */
static uint64_t *plan(uint64_t total, uint64_t pages, const char *order)
{
	uint64_t *page = malloc(total * sizeof(*page));
	uint64_t stride = !strcmp(order, "strided") ? STRIDE : 1;
	uint64_t state = 88172645463325252ULL;

	if (!page || pages * stride > total)
		return NULL;
	for (uint64_t i = 0; i < total; i++)
		page[i] = i * stride;
	if (strcmp(order, "random"))
		return page;
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t other = i + next_random(&state) % (total - i);
		uint64_t at = page[i];

		page[i] = page[other];
		page[other] = at;
	}
	return page;
}

/* A page's entry of /proc/self/pagemap: its frame number is in the lower bits. */
static int tell_frames(const char *memory, const uint64_t *page, uint64_t pages)
{
	int map = open("/proc/self/pagemap", O_RDONLY);
	FILE *out = fopen(FRAMES, "w");

	if (map < 0 || !out)
		return -1;
	for (uint64_t i = 0; i < pages; i++) {
		uint64_t at = (uintptr_t)memory / PAGE + page[i], entry;

		if (pread(map, &entry, sizeof(entry), at * sizeof(entry)) != sizeof(entry))
			return -1;
		fprintf(out, "%llu\n", (unsigned long long)(entry & ((1ULL << 55) - 1)));
	}
	close(map);
	return fclose(out);
}

static uint64_t go(const char *memory, const uint64_t *page, uint64_t pages, uint64_t rate)
{
	uint64_t began = now_us(), due = began, errors = 0;

	for (uint64_t i = 0; i < pages && !stop; i++) {
		const uint64_t *p = (const uint64_t *)(memory + page[i] * PAGE);
		uint64_t now;

		if (!right(p, page[i], 0) && errors++ < 20)
			printf("error: page %llu is page %llu\n",
			       (unsigned long long)page[i], (unsigned long long)p[0]);
		if (!rate)
			continue;
		due += 1000000 / rate;
		now = now_us();
		if (now < due)
			usleep(due - now);
		else
			due = now;
	}
	printf("walked %llu us %llu errors %llu\n", (unsigned long long)pages,
	       (unsigned long long)(now_us() - began), (unsigned long long)errors);
	return errors;
}

int main(int argc, char **argv)
{
	uint64_t size, pages, rate = 0, errors = 0, *page, warm[WARM];
	int is_warm = 0;
	sigset_t both, old;
	char *memory;

	if (argc < 4)
		return 2;
	size = strtoull(argv[1], NULL, 0) << 20;
	pages = strtoull(argv[2], NULL, 0);
	if (argc > 4 && !strncmp(argv[4], "rate=", 5))
		rate = strtoull(argv[4] + 5, NULL, 0);
	page = plan(size / PAGE, pages, argv[3]);
	for (uint64_t i = 0; i < WARM; i++)
		warm[i] = size / PAGE + i;
	memory = mmap(NULL, size + WARM * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!page || memory == MAP_FAILED)
		return 2;
	setlinebuf(stdout);
	/* They are heard in sigsuspend(), or between two pages. */
	sigemptyset(&both);
	sigaddset(&both, SIGUSR1);
	sigaddset(&both, SIGTERM);
	sigprocmask(SIG_BLOCK, &both, &old);
	signal(SIGUSR1, on_signal);
	signal(SIGTERM, on_signal);
	for (uint64_t i = 0; i < size / PAGE + WARM; i++)
		fill((uint64_t *)(memory + i * PAGE), i, 0);
	if (tell_frames(memory, page, pages)) {
		perror(FRAMES);
		return 2;
	}
	printf("ready\n");
	while (!stop) {
		sigsuspend(&old);
		if (!walk)
			continue;
		walk = 0;
		sigprocmask(SIG_SETMASK, &old, NULL);
		errors += is_warm ? go(memory, page, pages, rate) :
				    go(memory, warm, WARM, rate);
		is_warm = 1;
		sigprocmask(SIG_BLOCK, &both, NULL);
	}
	return errors ? 1 : 0;
}
