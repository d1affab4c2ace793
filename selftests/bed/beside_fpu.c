// SPDX-License-Identifier: GPL-2.0
/*
 *   beside_fpu CPU SECONDS
 *
 * Runs a guest on a processor again and again, while another one does nothing
 * but restore its FPU. Hosts in which that does the guest harm are of no use:
 * see vm/qemu.sh. Exit status 0 if every run was right; says how many.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "mf_guest.h"

#define PAGES	512
#define VALUE	0x01010101

static int stay_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

static void restore_for_ever(int cpu)
{
	static char area[512] __attribute__((aligned(16)));

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	asm volatile("fxsave %0" : "=m" (area));
	if (stay_on(cpu))
		return;
	for (;;)
		asm volatile("fxrstor %0" : : "m" (area));
}

int main(int argc, char **argv)
{
	size_t bytes = PAGES * MF_PAGE;
	struct mf_guest guest;
	unsigned long runs = 0;
	time_t end;
	char *ram;

	if (argc < 3)
		return 2;
	if (!fork()) {
		restore_for_ever(!atoi(argv[1]));
		_exit(1);
	}
	/* Guest memory begins where 2 MB do. */
	ram = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED || stay_on(atoi(argv[1])))
		return 2;
	ram += bytes - (uintptr_t)ram % bytes;
	memset(ram, VALUE & 0xff, bytes);
	if (mf_guest_open(&guest, ram, bytes))
		return 2;
	end = time(NULL) + atoi(argv[2]);
	for (; time(NULL) < end; runs++) {
		__u32 value = 0;
		int ret = mf_guest_load(&guest, runs % PAGES * MF_PAGE, &value);

		if (ret || value != VALUE) {
			printf("run %lu: returned %d, value %x\n", runs, ret, value);
			return 1;
		}
	}
	printf("%lu runs\n", runs);
	mf_guest_close(&guest);
	return 0;
}
