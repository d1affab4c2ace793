/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lossless stress: what its writers and its judge share.
 */
#ifndef TRACK_LOSSLESS_H
#define TRACK_LOSSLESS_H

#include "mf_actors.h"
#include "mf_disk.h"
#include "mf_guest.h"
#include "mf_test.h"

/*
 * Pages of the file, and of the window in which all write at one time. A window
 * is a large page, since DMA into one part of it makes all of it carried.
 */
#define PAGES	(8 * MF_HUGE)
#define WINDOW	MF_HUGE

/**
 * struct stage - in memory that all processes share
 * @stop: writers shall end
 * @epoch: grows when the window moves
 * @window: first page of the window
 * @seen: per writer, the epoch in which its last round began
 * @rounds: per writer, how often it has written
 */
struct stage {
	int stop;
	__u64 epoch;
	size_t window;
	__u64 seen[MF_MAX_ACTORS];
	__u64 rounds[MF_MAX_ACTORS];
};

/**
 * struct writer - one of those that try to get a write past the harvest
 * @name: of its kind
 * @write: writes some pages of the window. Everything that it began is over
 *	when it returns. Negative: it cannot work here
 * @process: runs in a process of its own, else in a thread of the VM's
 */
struct writer {
	const char *name;
	int (*write)(struct mf_vm *vm, size_t window, __u64 *random);
	bool process;
};

extern const struct writer writers[];
extern const unsigned int writers_count;

/* The disk that direct readers read from, and the guest, made by the test. */
extern struct mf_disk lossless_disk;
extern struct mf_guest lossless_guest;
extern bool lossless_has_guest;
extern pid_t lossless_vm_pid;

#endif
