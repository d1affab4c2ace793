// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mf_vhost.h"

/* As vhost-net numbers its queues. */
enum { RECEIVE, TRANSMIT };

#define ENTRIES	4
/* Before the payload of a packet, of which the test's buffers are. */
struct head {
	struct virtio_net_hdr virtio;
	struct ethhdr eth;
} __attribute__((packed));

/* Of no protocol (IEEE 802, for local experiments). */
#define PROTOCOL htons(0x88b5)

/* Where in our memory. */
#define RING_AT(_nr)	((_nr) * MF_PAGE)
#define HEAD_AT(_nr)	((2 + (_nr)) * MF_PAGE)
#define MEMORY_BYTES	(4 * MF_PAGE)

/* A tap that is up, and a socket that is its other end. */
static int open_wire(struct mf_vhost *vhost)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET, .sll_protocol = PROTOCOL,
	};

	/* Of itself it says nothing on the wire. */
	mf_write_string("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	vhost->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (vhost->tap < 0)
		return -ENODEV;
	if (ioctl(vhost->tap, TUNSETIFF, &ifr))
		return -errno;
	vhost->wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, PROTOCOL);
	if (vhost->wire < 0)
		return -errno;
	ifr.ifr_flags = IFF_UP | IFF_NOARP;
	if (ioctl(vhost->wire, SIOCSIFFLAGS, &ifr) ||
	    ioctl(vhost->wire, SIOCGIFINDEX, &ifr))
		return -errno;
	at.sll_ifindex = ifr.ifr_ifindex;
	return bind(vhost->wire, (void *)&at, sizeof(at)) ? -errno : 0;
}

/* The caller's thread comes back to its own network. */
static int open_wire_apart(struct mf_vhost *vhost)
{
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC), rc;

	if (home < 0 || unshare(CLONE_NEWNET))
		return -errno;
	rc = open_wire(vhost);
	if (setns(home, CLONE_NEWNET))
		rc = -errno;
	close(home);
	return rc;
}

/* It sees memory where we do. */
static int show_memory(struct mf_vhost *vhost, void *ram, size_t bytes)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region regions[2];
	} memory = {
		.head.nregions = 2,
		.regions = {
			{ (uintptr_t)ram, bytes, (uintptr_t)ram },
			{ (uintptr_t)vhost->memory, MEMORY_BYTES,
			  (uintptr_t)vhost->memory },
		},
	};

	return ioctl(vhost->vhost, VHOST_SET_MEM_TABLE, &memory) ? -errno : 0;
}

static int open_queue(struct mf_vhost *vhost, unsigned int nr)
{
	struct mf_vhost_queue *queue = vhost->queues + nr;
	struct vhost_vring_state entries = { nr, ENTRIES }, base = { nr, 0 };
	struct vhost_vring_file kick = { nr }, call = { nr };
	struct vhost_vring_file backend = { nr, vhost->tap };
	struct vhost_vring_addr addr = { .index = nr };

	vring_init(&queue->ring, ENTRIES, vhost->memory + RING_AT(nr), 16);
	queue->kick = kick.fd = eventfd(0, EFD_CLOEXEC);
	queue->call = call.fd = eventfd(0, EFD_CLOEXEC);
	if (kick.fd < 0 || call.fd < 0)
		return -errno;
	addr.desc_user_addr = (uintptr_t)queue->ring.desc;
	addr.avail_user_addr = (uintptr_t)queue->ring.avail;
	addr.used_user_addr = (uintptr_t)queue->ring.used;
	if (ioctl(vhost->vhost, VHOST_SET_VRING_NUM, &entries) ||
	    ioctl(vhost->vhost, VHOST_SET_VRING_BASE, &base) ||
	    ioctl(vhost->vhost, VHOST_SET_VRING_ADDR, &addr) ||
	    ioctl(vhost->vhost, VHOST_SET_VRING_KICK, &kick) ||
	    ioctl(vhost->vhost, VHOST_SET_VRING_CALL, &call) ||
	    ioctl(vhost->vhost, VHOST_NET_SET_BACKEND, &backend))
		return -errno;
	return 0;
}

int mf_vhost_open(struct mf_vhost *vhost, void *ram, size_t bytes)
{
	__u64 features = 1ULL << VHOST_NET_F_VIRTIO_NET_HDR;
	unsigned int nr;
	int rc;

	*vhost = (struct mf_vhost){ .tap = -1, .wire = -1 };
	mf_modprobe("tun", NULL);
	mf_modprobe("vhost_net", NULL);
	vhost->vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	if (vhost->vhost < 0)
		return -ENODEV;
	vhost->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vhost->memory == MAP_FAILED)
		return -errno;
	rc = open_wire_apart(vhost);
	if (rc)
		return rc;
	if (ioctl(vhost->vhost, VHOST_SET_OWNER) ||
	    ioctl(vhost->vhost, VHOST_SET_FEATURES, &features))
		return -errno;
	rc = show_memory(vhost, ram, bytes);
	for (nr = RECEIVE; !rc && nr <= TRANSMIT; nr++)
		rc = open_queue(vhost, nr);
	return rc;
}

void mf_vhost_close(struct mf_vhost *vhost)
{
	unsigned int nr;

	for (nr = RECEIVE; nr <= TRANSMIT; nr++) {
		close(vhost->queues[nr].kick);
		close(vhost->queues[nr].call);
	}
	close(vhost->vhost);
	close(vhost->tap);
	close(vhost->wire);
	munmap(vhost->memory, MEMORY_BYTES);
}

struct mf_vhost *mf_vhost_of_thread(void *ram, size_t bytes)
{
	static __thread struct mf_vhost vhost;
	static __thread bool ready;

	if (!ready && mf_vhost_open(&vhost, ram, bytes))
		return NULL;
	ready = true;
	return &vhost;
}

static struct head *head_of(struct mf_vhost *vhost, unsigned int nr)
{
	return (struct head *)(vhost->memory + HEAD_AT(nr));
}

/* A buffer: the head of a packet, and its payload in the memory under test. */
static void offer(struct mf_vhost *vhost, unsigned int nr, const void *payload,
		  size_t bytes)
{
	struct mf_vhost_queue *queue = vhost->queues + nr;
	__u16 flags = nr == RECEIVE ? VRING_DESC_F_WRITE : 0;
	struct vring *ring = &queue->ring;
	__u16 at = ring->avail->idx;
	__u64 one = 1;

	ring->desc[0] = (struct vring_desc){
		(uintptr_t)head_of(vhost, nr), sizeof(struct head),
		flags | VRING_DESC_F_NEXT, 1,
	};
	ring->desc[1] = (struct vring_desc){
		(uintptr_t)payload, bytes, flags, 0,
	};
	ring->avail->ring[at % ENTRIES] = 0;
	__atomic_store_n(&ring->avail->idx, at + 1, __ATOMIC_SEQ_CST);
	if (write(queue->kick, &one, sizeof(one)) < 0)
		abort();
}

/* The device has given back all that it was offered. */
static bool is_used(const struct mf_vhost_queue *queue)
{
	return __atomic_load_n(&queue->ring.used->idx, __ATOMIC_ACQUIRE) ==
	       queue->ring.avail->idx;
}

/* As long as it takes. */
static void wait_used(const struct mf_vhost_queue *queue)
{
	struct pollfd pollfd = { .fd = queue->call, .events = POLLIN };
	__u64 calls;

	while (!is_used(queue)) {
		if (poll(&pollfd, 1, -1) == 1 &&
		    read(queue->call, &calls, sizeof(calls)) < 0)
			abort();
	}
}

int mf_vhost_read(struct mf_vhost *vhost, const void *from, size_t bytes,
		  void *got)
{
	struct head *head = head_of(vhost, TRANSMIT);
	struct ethhdr eth;
	struct iovec iov[] = { { &eth, sizeof(eth) }, { got, bytes } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	*head = (struct head){ .eth.h_proto = PROTOCOL };
	memset(head->eth.h_dest, 0xff, ETH_ALEN);
	offer(vhost, TRANSMIT, from, bytes);
	wait_used(vhost->queues + TRANSMIT);
	/* A packet that it could not read is given back as well. */
	n = recvmsg(vhost->wire, &msg, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? -EFAULT : -errno;
	return n == (ssize_t)(sizeof(eth) + bytes) ? 0 : -ENODATA;
}

/*
 * What of a packet it could not write is lost: the tap does not ask whether all
 * of it was copied.
 */
int mf_vhost_write(struct mf_vhost *vhost, void *to, const void *data,
		   size_t bytes)
{
	struct ethhdr eth = { .h_proto = PROTOCOL };
	struct iovec iov[] = { { &eth, sizeof(eth) }, { (void *)data, bytes } };

	offer(vhost, RECEIVE, to, bytes);
	if (writev(vhost->wire, iov, 2) < 0)
		return -errno;
	wait_used(vhost->queues + RECEIVE);
	return 0;
}
