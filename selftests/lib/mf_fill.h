/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Absent pages for tests: make them, fill them with bytes that tell which fill
 * they came by, and watch processes wait for them.
 */
#ifndef MF_FILL_H
#define MF_FILL_H

#include <errno.h>
#include <sys/types.h>

#include "mf_test.h"

/*
 * A stamp is what a page of a version holds: each of its words names version
 * and page, so that an old, a foreign, a zero and a torn page all differ.
 */
static inline __u64 mf_stamp_word(size_t page, size_t word, __u64 version)
{
	__u64 hash = (page * 512 + word + 1) * 0x9e3779b97f4a7c15 ^
		     version * 0xbf58476d1ce4e5b9;

	return version << 32 | (hash >> 32 & 0xffffffff);
}

void mf_stamp(void *bytes, size_t page, size_t pages, __u64 version);
/* Offset of the first wrong byte, or -1 when it is the stamp. */
long mf_stamp_differs(const void *bytes, size_t page, __u64 version);

/* Serve the file; these pages become absent. How many are, or -errno. */
long mf_demand(struct mf_vm *vm, size_t page, size_t pages);
/* Likewise for those set in a bitmap of the whole file; it may be NULL. */
long mf_demand_bits(struct mf_vm *vm, const __u64 *bits);
/* Fill in one call from memory; how many were filled, or -errno. */
long mf_fill_from(struct mf_vm *vm, size_t page, size_t pages, const void *from);
/* Fill with stamps, or with zeroes. */
long mf_fill(struct mf_vm *vm, size_t page, size_t pages, __u64 version);
long mf_fill_zero(struct mf_vm *vm, size_t page, size_t pages);
int mf_abort(struct mf_vm *vm);

/* The absent pages as a list ("3,8-11"), checked against their number. */
const char *mf_absent(struct mf_vm *vm);
/* All that ABSENT says of the file but the bitmap. */
struct migrate_fast_absent mf_absent_state(struct mf_vm *vm);

/*
 * The next fault that the server is told, waited for. 1: there is one, 0: none
 * within @ms, or -errno.
 */
int mf_fault(struct mf_vm *vm, struct migrate_fast_fault *fault, int ms);
/* Wait until so many pages are wanted: 0, or -ETIMEDOUT. */
int mf_wait_waiting(struct mf_vm *vm, unsigned int pages);

/*
 * A process that does something to a page. Its exit status is what @touch
 * returns. It has no session, so that it does not keep one alive.
 */
#define MF_WRONG EBADMSG	/* it got other bytes than the right ones */

typedef int (*mf_touch)(struct mf_vm *vm, size_t page);

pid_t mf_touch_start(struct mf_vm *vm, mf_touch touch, size_t page);
/* Is it still at it, a moment later? */
bool mf_touch_waits(pid_t pid);
/* How it ended: exit status, -signal, or -ETIMEDOUT after killing it. */
int mf_touch_end(pid_t pid);

/* Reads a page through the mapping: 0 when it has the stamp of version 2. */
int mf_touch_load(struct mf_vm *vm, size_t page);

#endif
