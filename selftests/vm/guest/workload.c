// SPDX-License-Identifier: GPL-2.0
/*
 * Work for a guest that is being moved, and proof that nothing of it was lost.
 *
 *   workload idle
 *   workload writer SIZE_MB [hot=MB] [few=WORDS] [rate=PAGES_PER_S] [nap=MS] [threads=N]
 *                   [seconds=N] [same|aimed]
 *   workload disk DEVICE SIZE_MB [rate=BLOCKS_PER_S] [seconds=N]
 *   workload sum FILE [SIZE_MB]
 *
 * writer: each page holds its number, a sequence number and a checksum over all of
 * it; what each page must hold is known elsewhere. Every visit verifies the page
 * before it writes the next version, so a lost, stale, torn or exchanged page is
 * found. With few= a visit changes only so many words; with "same" it writes what is
 * there already, as a cache does whose clients store again what they have stored; with
 * "aimed" two versions in turn of which XXH64 tells no difference, see pattern.h. disk
 * does the same as writer with blocks of a disk, around the page cache. When it is ahead
 * of its rate it sleeps for a nap, if not told otherwise so long that there are NAP_PAGES
 * to write: to wake up costs an emulated host as much as to write many pages.
 *
 * Once a second, and at the end, one line goes to standard output:
 *   ops N errors N passes N max_gap_ms N
 * max_gap_ms is the longest time in which this program did not run. SIGUSR1 has
 * everything verified ("verify ops N errors N"), SIGTERM verifies and ends: exit
 * status 0 if there never was an error.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pattern.h"

#define MAX_THREADS 16

/* Of all threads, from one nap to the next; and such a nap is of 2 to 200 ms. */
#define NAP_PAGES	64
#define NAP_LEAST_US	2000
#define NAP_MOST_US	200000

static uint64_t size_mb, hot_mb, few, rate, seconds, threads = 1, nap_us;
static int same, aimed;
static volatile sig_atomic_t stop, verify;

struct worker {
	pthread_t	thread;
	uint64_t	first, count;	/* pages or blocks of this worker */
	uint64_t	hot;
	uint32_t	*want;		/* sequence number that each must have */
	uint64_t	ops, errors, passes, max_gap;
	uint64_t	random;
	int		verified;	/* the last verify request that was served */
};

static struct worker workers[MAX_THREADS];
static char *memory;
static int disk = -1;

static int is_right(const uint64_t *p, uint64_t page, uint32_t seq)
{
	if (aimed)
		return right_aimed(p, page, seq);
	return few ? right_few(p, page, seq, few) : right(p, page, seq);
}

static void rewrite(uint64_t *p, uint64_t page, uint32_t seq)
{
	if (aimed)
		fill_aimed(p, page, seq);
	else if (few)
		fill_few(p, page, seq, few);
	else
		fill(p, page, seq);
}

static uint32_t version(const uint64_t *p, uint64_t page)
{
	return aimed ? seq_aimed(p, page) : p[1];
}

static void complain(struct worker *w, const uint64_t *p, uint64_t page, uint32_t seq)
{
	uint32_t has = version(p, page);

	if (w->errors++ < 20)
		printf("error: page %llu has page %llu seq %u, not seq %u%s\n",
		       (unsigned long long)page, (unsigned long long)p[0], has,
		       seq, p[0] == page && has == seq ? " (torn)" : "");
}

/* Bring one page or block to its next version, or only look (write == 0). */
static void visit(struct worker *w, uint64_t *block, uint64_t i, int write)
{
	uint64_t n = w->first + i;
	uint64_t *p = block;

	if (memory)
		p = (uint64_t *)(memory + n * PAGE);
	else if (pread(disk, p, PAGE, n * PAGE) != PAGE) {
		printf("error: read of block %llu: %s\n", (unsigned long long)n,
		       strerror(errno));
		w->errors++;
		return;
	}
	if (!is_right(p, n, w->want[i])) {
		complain(w, p, n, w->want[i]);
		w->want[i] = version(p, n);	/* count each loss once */
	}
	if (!write)
		return;
	if (aimed)
		w->want[i] ^= 1;
	else
		w->want[i] += !same;
	rewrite(p, n, w->want[i]);
	if (!memory && pwrite(disk, p, PAGE, n * PAGE) != PAGE) {
		printf("error: write of block %llu: %s\n", (unsigned long long)n,
		       strerror(errno));
		w->errors++;
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	uint64_t begin, last, done = 0, *block = NULL;

	if (!memory && posix_memalign((void **)&block, PAGE, PAGE))
		exit(2);
	begin = last = now_us();
	while (!stop) {
		uint64_t i, now;

		if (w->verified != verify) {
			for (i = 0; i < w->count; i++)
				visit(w, block, i, 0);
			w->passes++;
			w->verified++;
			begin = last = now_us();
			done = 0;
		}
		/* Hot pages in random order, the others in turn, one in eight. */
		i = next_random(&w->random);
		if (w->hot < w->count && i % 8 == 0)
			i = w->hot + w->ops / 8 % (w->count - w->hot);
		else
			i = (i >> 8) % w->hot;
		visit(w, block, i, 1);
		w->ops++;
		done++;

		now = now_us();
		if (now - last > w->max_gap)
			w->max_gap = now - last;
		last = now;
		if (rate && done > (now - begin) * rate / threads / 1000000) {
			usleep(nap_us);
			last = now_us();
			/* After a pause do not make up for what was missed. */
			if (last - begin > 2000000) {
				begin = last;
				done = 0;
			}
		}
	}
	for (uint64_t i = 0; i < w->count; i++)
		visit(w, block, i, 0);
	w->passes++;
	return NULL;
}

static void report(const char *what)
{
	uint64_t ops = 0, errors = 0, passes = 0, gap = 0;

	for (uint64_t t = 0; t < threads; t++) {
		ops += workers[t].ops;
		errors += workers[t].errors;
		passes += workers[t].passes;
		if (workers[t].max_gap > gap)
			gap = workers[t].max_gap;
	}
	printf("%sops %llu errors %llu passes %llu max_gap_ms %llu\n", what,
	       (unsigned long long)ops, (unsigned long long)errors,
	       (unsigned long long)passes, (unsigned long long)(gap / 1000));
	fflush(stdout);
}

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		verify++;
	else
		stop = 1;
}

static int all_verified(void)
{
	for (uint64_t t = 0; t < threads; t++)
		if (workers[t].verified != verify)
			return 0;
	return 1;
}

static int run_workers(void)
{
	uint64_t pages = size_mb * 256 / threads, begin, tick = 0, errors = 0;
	uint64_t *block;
	int told = 0;

	if (posix_memalign((void **)&block, PAGE, PAGE))
		return 2;
	for (uint64_t t = 0; t < threads; t++) {
		struct worker *w = &workers[t];

		w->first = t * pages;
		w->count = pages;
		w->hot = hot_mb ? hot_mb * 256 / threads : pages;
		if (w->hot > pages)
			w->hot = pages;
		w->want = calloc(pages, sizeof(*w->want));
		w->random = 88172645463325252ULL + t;
		if (!w->want)
			return 2;
		for (uint64_t i = 0; i < pages; i++) {
			uint64_t n = w->first + i;
			uint64_t *p = memory ? (uint64_t *)(memory + n * PAGE) : block;

			fill(p, n, 0);
			if (!memory && pwrite(disk, p, PAGE, n * PAGE) != PAGE) {
				perror("write");
				return 2;
			}
		}
	}
	free(block);
	printf("ready\n");
	fflush(stdout);
	for (uint64_t t = 0; t < threads; t++)
		pthread_create(&workers[t].thread, NULL, work, &workers[t]);
	begin = now_us();
	while (!stop) {
		usleep(100000);
		if (verify != told && all_verified()) {
			told = verify;
			report("verify ");
		}
		if (++tick % 10 == 0)
			report("");
		if (seconds && now_us() - begin > seconds * 1000000)
			stop = 1;
	}
	for (uint64_t t = 0; t < threads; t++) {
		pthread_join(workers[t].thread, NULL);
		errors += workers[t].errors;
	}
	report("end ");
	return errors ? 1 : 0;
}

/* FNV-1a over 64-bit words: enough to compare a file before and after. */
static int sum(const char *path, uint64_t limit)
{
	static uint64_t block[1 << 13];
	uint64_t x = 0xcbf29ce484222325ULL, total = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0) {
		perror(path);
		return 2;
	}
	while ((!limit || total < limit) && (n = read(fd, block, sizeof(block))) > 0) {
		memset((char *)block + n, 0, -n & 7);
		for (ssize_t i = 0; i < (n + 7) / 8; i++)
			x = (x ^ block[i]) * 0x100000001b3ULL;
		total += n;
	}
	printf("%016llx %llu\n", (unsigned long long)x, (unsigned long long)total);
	return 0;
}

static void options(int argc, char **argv)
{
	for (; argc > 0; argc--, argv++) {
		if (!strncmp(*argv, "hot=", 4))
			hot_mb = strtoull(*argv + 4, NULL, 0);
		else if (!strncmp(*argv, "few=", 4))
			few = strtoull(*argv + 4, NULL, 0);
		else if (!strncmp(*argv, "rate=", 5))
			rate = strtoull(*argv + 5, NULL, 0);
		else if (!strncmp(*argv, "nap=", 4))
			nap_us = strtoull(*argv + 4, NULL, 0) * 1000;
		else if (!strncmp(*argv, "threads=", 8))
			threads = strtoull(*argv + 8, NULL, 0);
		else if (!strncmp(*argv, "seconds=", 8))
			seconds = strtoull(*argv + 8, NULL, 0);
		else if (!strcmp(*argv, "same"))
			same = 1;
		else if (!strcmp(*argv, "aimed"))
			aimed = 1;
		else
			exit(2);
	}
	if (threads < 1 || threads > MAX_THREADS || few > WORDS - 2)
		exit(2);
	if (nap_us || !rate)
		return;
	nap_us = NAP_PAGES * 1000000 / rate;
	if (nap_us < NAP_LEAST_US)
		nap_us = NAP_LEAST_US;
	if (nap_us > NAP_MOST_US)
		nap_us = NAP_MOST_US;
}

int main(int argc, char **argv)
{
	signal(SIGUSR1, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	setlinebuf(stdout);

	if (argc == 2 && !strcmp(argv[1], "idle")) {
		while (!stop)
			pause();
		return 0;
	}
	if (argc >= 3 && !strcmp(argv[1], "writer")) {
		size_mb = strtoull(argv[2], NULL, 0);
		options(argc - 3, argv + 3);
		memory = mmap(NULL, size_mb << 20, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED) {
			perror("mmap");
			return 2;
		}
		return run_workers();
	}
	if (argc >= 4 && !strcmp(argv[1], "disk")) {
		size_mb = strtoull(argv[3], NULL, 0);
		options(argc - 4, argv + 4);
		disk = open(argv[2], O_RDWR | O_DIRECT);
		if (disk < 0) {
			perror(argv[2]);
			return 2;
		}
		return run_workers();
	}
	if (argc >= 3 && !strcmp(argv[1], "sum"))
		return sum(argv[2], argc > 3 ? strtoull(argv[3], NULL, 0) << 20 : 0);
	fprintf(stderr, "usage: workload idle|writer|disk|sum ...\n");
	return 2;
}
