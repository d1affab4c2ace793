// SPDX-License-Identifier: GPL-2.0
/*
 * What a digest costs.
 *
 * All of MIGRATE_FAST_HASH over PAGES pages that are in memory, with the
 * digests brought to user space, divided by PAGES. "zero" asks for no digest
 * but the zero test, of pages that are zero (one that is not is told by its
 * first words). "xxh64" are pages of random bytes, so the zero test that
 * always comes first is on its account.
 */
#include <string.h>

#include "bench.h"

#define PAGES	4096

static struct migrate_fast_digest digests[PAGES];

static void hash(struct mf_vm *vm, const char *name, __u32 flags, __u64 seed,
		 bool zero)
{
	int i;

	for (i = -1; i < BENCH_SAMPLES; i++) {
		struct migrate_fast_hash arg = {
			.ram = vm->ram, .flags = flags, .seed = seed,
			.digests = (uintptr_t)digests, .max = PAGES,
		};
		__u64 n, start, ticks;
		int rc;

		start = bench_now();
		rc = mf_ioctl(vm->session, MIGRATE_FAST_HASH, &arg);
		ticks = bench_now() - start;
		bench_check(!rc && arg.count == PAGES, "hash");
		for (n = 0; n < PAGES; n++) {
			bool said = digests[n].flags & MIGRATE_FAST_DIGEST_ZERO;

			bench_check(said == zero, "zero flag");
		}
		if (i >= 0)
			bench_sample(name, ticks, PAGES);
	}
}

int main(void)
{
	__u64 state = 1, i;
	struct mf_vm vm;

	bench_begin();
	bench_check(!mf_vm_open(&vm, PAGES, NULL), "open");
	/* Stored, or they would be holes, which cost nothing. */
	for (i = 0; i < PAGES; i++)
		*(volatile __u64 *)mf_page(&vm, i) = 0;
	hash(&vm, "hash.zero", 0, 0, true);
	for (i = 0; i < PAGES * MF_PAGE / 8; i++)
		((__u64 *)vm.map)[i] = mf_random(&state);
	hash(&vm, "hash.xxh64", MIGRATE_FAST_HASH_XXH64, 1234567, false);
	hash(&vm, "hash.sha256", MIGRATE_FAST_HASH_SHA256, 0, false);
	mf_vm_close(&vm);
	return 0;
}
