/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk whose server is a thread of the test, so that a test decides when a
 * request is answered: until then the driver may write the reader's pages at
 * any moment, which is what DMA in flight is.
 */
#ifndef MF_DISK_H
#define MF_DISK_H

#include <pthread.h>
#include <stdbool.h>

#include "mf_test.h"

/**
 * struct mf_disk - a network block device without a network
 * @path: of the device
 * @fd: open for O_DIRECT
 * @seed: what it contains, see mf_disk_word(). May be changed at any time
 * @hold: requests wait while this is set
 * @held: requests that wait now
 * @delay_us: answers come in two halves, each up to this much later
 */
struct mf_disk {
	char path[32];
	int fd;
	__u64 seed;
	bool hold;
	int held;
	unsigned int delay_us;
	int nbd;
	int sock;
	pthread_t server;
	pthread_t client;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

/* The 8 bytes that the disk holds at a byte offset that is a multiple of 8. */
static inline __u64 mf_disk_word(__u64 seed, __u64 offset)
{
	return (offset / 8 + 1) * 0x9e3779b97f4a7c15 ^ seed;
}

int mf_disk_open(struct mf_disk *disk, size_t bytes);
void mf_disk_close(struct mf_disk *disk);
void mf_disk_hold(struct mf_disk *disk);
void mf_disk_release(struct mf_disk *disk);
/* Wait until a request is held: a driver has the reader's pages. */
int mf_disk_wait_held(struct mf_disk *disk);
/* Does memory hold what the disk has at @offset? */
bool mf_disk_matches(const struct mf_disk *disk, const void *memory,
		     __u64 offset, size_t bytes);

#endif
