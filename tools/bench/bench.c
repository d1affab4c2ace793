// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

#define LOOPS	1000000ULL
#define CALLS	2000ULL

/* Two instructions for each turn. */
static void spin(__u64 turns)
{
	asm volatile("1: dec %0; jnz 1b" : "+r"(turns));
}

/* A page by the string instruction that kernels use on such a processor. */
static void copy_page(void *to, const void *from)
{
	size_t n = MF_PAGE;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

void bench_check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

void bench_sample(const char *name, __u64 instructions, __u64 n)
{
	printf("%s %.4f\n", name, (double)instructions / n);
	fflush(stdout);
}

void bench_begin(void)
{
	static unsigned char pages[2][4096];
	__u64 start, ticks, least = ~0ULL;
	unsigned int i, n;

	/* Faults on our own code and stack must not be on anybody's account. */
	bench_check(!mlockall(MCL_CURRENT), "mlockall");
	munlockall();

	/* Interrupts come on top, so the least of some tries. */
	for (i = 0; i < BENCH_SAMPLES; i++) {
		start = bench_now();
		spin(LOOPS);
		ticks = bench_now() - start;
		if (ticks < least)
			least = ticks;
	}
	if (least < 2 * LOOPS || least > 2 * LOOPS + LOOPS / 50) {
		fprintf(stderr, "%llu ticks for %llu instructions: not a host with -icount shift=0\n",
			least, 2 * LOOPS);
		exit(1);
	}
	bench_sample("calibrate.instruction", least, 2 * LOOPS);

	/* What bench.h says of string instructions. */
	memset(pages, 1, sizeof(pages));
	for (i = 0; i < BENCH_SAMPLES; i++) {
		start = bench_now();
		copy_page(pages[0], pages[1]);
		bench_sample("calibrate.copy", bench_now() - start, 1);
	}

	for (i = 0; i < BENCH_SAMPLES; i++) {
		start = bench_now();
		for (n = 0; n < CALLS; n++)
			syscall(SYS_getppid);
		bench_sample("calibrate.syscall", bench_now() - start, CALLS);
	}
}
