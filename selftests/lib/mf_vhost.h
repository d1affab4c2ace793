/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's own network device for guests (vhost-net), without a guest: a
 * worker of the kernel reads and writes memory of the process that has opened
 * it. Its packets go by a tap, in a network namespace that nobody else is in.
 */
#ifndef MF_VHOST_H
#define MF_VHOST_H

#include <linux/virtio_ring.h>

#include "mf_test.h"

/* One queue, with at most one buffer in it. */
struct mf_vhost_queue {
	struct vring ring;
	int kick;
	int call;
};

/**
 * struct mf_vhost - the device and both ends of its wire
 * @vhost: the device
 * @tap: where it puts its packets, and takes them from
 * @wire: the other end, of the test
 * @memory: rings, and the heads of packets
 * @queues: what it receives into, what it transmits from
 */
struct mf_vhost {
	int vhost;
	int tap;
	int wire;
	unsigned char *memory;
	struct mf_vhost_queue queues[2];
};

/*
 * For memory of this process. -ENODEV when the kernel has no such device. It is
 * gone with the process that has opened it.
 */
int mf_vhost_open(struct mf_vhost *vhost, void *ram, size_t bytes);
void mf_vhost_close(struct mf_vhost *vhost);
/* The device of this thread, opened when first asked for; NULL without one. */
struct mf_vhost *mf_vhost_of_thread(void *ram, size_t bytes);
/*
 * The device reads @bytes, a page or more, at @from in that memory; they come
 * to @got. -EFAULT when it could not.
 */
int mf_vhost_read(struct mf_vhost *vhost, const void *from, size_t bytes,
		  void *got);
/*
 * The device writes @bytes of @data to @to in that memory. It does not tell if
 * it could not.
 */
int mf_vhost_write(struct mf_vhost *vhost, void *to, const void *data,
		   size_t bytes);

#endif
