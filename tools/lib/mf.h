/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Thin C library over <linux/migrate_fast.h>: one function for an ioctl.
 *
 * Functions return 0 (or a count) or a negative errno. They start again what
 * a signal interrupted, except where they say that they do less than asked.
 */
#ifndef MF_H
#define MF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/migrate_fast.h>

#define MF_PAGE_SIZE	MIGRATE_FAST_PAGE_SIZE

/* A RAM file in a session. */
struct mf_ram {
	uint32_t number;	/* what the ioctls call it */
	uint64_t pages;
	uint64_t *bitmap;	/* the harvest bitmap, mapped */
	uint64_t bitmap_bytes;
};

struct mf_harvested {
	uint64_t dirty;
	uint64_t carried;
};

/*
 * Opens a session and shakes hands. On failure of the handshake *@shake still
 * says what the module offers. -ENOENT or -ENODEV: the module is not loaded.
 */
int mf_open(uint64_t features, struct migrate_fast_handshake *shake);

/* Adds the file @fd and maps its bitmap. */
int mf_add(int session, int fd, struct mf_ram *ram);
void mf_unmap(struct mf_ram *ram);

int mf_start(int session);
int mf_stop(int session);

/* Takes the dirty pages of the whole file into the bitmap. */
int mf_harvest(int session, struct mf_ram *ram, struct mf_harvested *sum);
/*
 * The same of @pages pages from @start, a multiple of 64; adds to @sum. @flags:
 * MIGRATE_FAST_HARVEST_*.
 */
int mf_harvest_part(int session, struct mf_ram *ram, uint64_t start,
		    uint64_t pages, uint32_t flags, struct mf_harvested *sum);

/* Uses the dirty log of the VM @fd; or, with -1, only tells about it. */
int mf_kvm(int session, int fd, struct migrate_fast_kvm *kvm);

/*
 * Looks at @pages pages from @start (0: to the end) without taking; @bitmap
 * may be NULL. Returns the number in *@dirty.
 */
int mf_peek(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	    uint64_t *bitmap, uint64_t *dirty);

/*
 * Digests pages from @start on, at most @max and at most @pages of them.
 * *@next is where to go on. Returns the number of digests.
 */
int64_t mf_hash(int session, struct mf_ram *ram, uint32_t flags,
		uint64_t start, uint64_t pages, uint64_t seed,
		struct migrate_fast_digest *digests, uint64_t max,
		uint64_t *next);

/*
 * Hands the gather, less its first @skip bytes, to the socket without
 * waiting. Returns the bytes taken, -EAGAIN if the socket is full.
 */
int64_t mf_send(int session, int sock, struct migrate_fast_segment *segments,
		uint32_t count, uint64_t skip, uint32_t flags);

int mf_counters(int session, struct mf_ram *ram,
		struct migrate_fast_counters *counters);

/*
 * Serve the file: @pages pages from @start (0: to the end) whose bits are set
 * become absent; @bitmap may be NULL. *@absent is how many the file lacks now.
 */
int mf_demand(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	      const uint64_t *bitmap, uint64_t *absent);

/*
 * Bring all of @pages pages; @from is NULL for zeroes. What is not absent is
 * left alone: *@filled says how many were, *@absent how many the file lacks
 * still. Either may be NULL. After an error a part may have been filled.
 */
int mf_fill(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	    const void *from, uint64_t *filled, uint64_t *absent);

/* What is absent of @pages pages from @start; @bitmap may be NULL. */
int mf_absent(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	      uint64_t *bitmap, struct migrate_fast_absent *absent);

int mf_abort(int session, struct mf_ram *ram);

/* Takes at most @max faults. Returns how many; -EAGAIN if O_NONBLOCK is set. */
int mf_faults(int session, struct migrate_fast_fault *faults, size_t max);

#endif /* MF_H */
