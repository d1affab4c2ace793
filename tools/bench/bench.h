/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counting instructions in an emulated host.
 *
 * The host runs with "-icount shift=0": its one processor is emulated in one
 * thread, virtual time goes on by 1 ns with each instruction, user's and
 * kernel's alike, and the time stamp counter reads that time. So the
 * difference of two readings is the number of instructions in between, on any
 * machine, however busy it is. bench_begin() proves it before anything is
 * measured.
 *
 * What such counts are not: cycles. An instruction that misses the cache costs
 * as much as one that does not, and each step of a REP string instruction
 * counts as one: a page is copied by 4096 with rep movsb (what the kernel uses
 * on a processor with ERMS, as this one), by 512 with rep movsq.
 *
 * A sample is printed as "NAME VALUE" on a line of its own. Timer interrupts
 * are not taken out: they are 250 a second, less than 0.2 %. What is on a
 * sample's account is said where it is measured; nothing is taken off here.
 */
#ifndef MF_BENCH_H
#define MF_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <linux/types.h>
#include "mf_test.h"

/* Samples of each figure; the driver takes the median. */
#define BENCH_SAMPLES	7

static inline __u64 bench_now(void)
{
	__u32 low, high;

	asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (__u64)high << 32 | low;
}

/* Ends the program if the counter does not count instructions. */
void bench_begin(void);
/* A sample: @instructions for @n pages, or calls. */
void bench_sample(const char *name, __u64 instructions, __u64 n);
/* What is not measured must not fail in silence. */
void bench_check(bool ok, const char *what);

#endif
