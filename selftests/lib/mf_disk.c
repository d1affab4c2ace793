// SPDX-License-Identifier: GPL-2.0
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mf_disk.h"

#define LONGEST (1 << 20)

static int all(int sock, void *data, size_t bytes, bool out)
{
	char *at = data;

	while (bytes) {
		ssize_t n = out ? send(sock, at, bytes, MSG_NOSIGNAL) :
				  recv(sock, at, bytes, 0);

		if (n <= 0)
			return -EPIPE;
		at += n;
		bytes -= n;
	}
	return 0;
}

static void wait_for_release(struct mf_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	disk->held++;
	pthread_cond_broadcast(&disk->changed);
	while (disk->hold)
		pthread_cond_wait(&disk->changed, &disk->lock);
	disk->held--;
	pthread_mutex_unlock(&disk->lock);
}

static void dawdle(const struct mf_disk *disk, __u64 *random)
{
	unsigned int us = __atomic_load_n(&disk->delay_us, __ATOMIC_RELAXED);

	if (us)
		usleep(mf_random(random) % us);
}

static void *server(void *arg)
{
	struct mf_disk *disk = arg;
	struct nbd_reply reply = { .magic = htobe32(NBD_REPLY_MAGIC) };
	struct nbd_request request;
	__u64 *data = malloc(LONGEST);
	__u64 from, seed, random = 1;
	size_t bytes, i;

	while (data && !all(disk->sock, &request, sizeof(request), false)) {
		bytes = be32toh(request.len);
		from = be64toh(request.from);
		if ((be32toh(request.type) & 0xffff) == NBD_CMD_DISC ||
		    bytes > LONGEST)
			break;
		if ((be32toh(request.type) & 0xffff) == NBD_CMD_WRITE) {
			/* What is written to it is forgotten. */
			if (all(disk->sock, data, bytes, false))
				break;
			bytes = 0;
		}
		if (__atomic_load_n(&disk->hold, __ATOMIC_ACQUIRE))
			wait_for_release(disk);
		seed = __atomic_load_n(&disk->seed, __ATOMIC_ACQUIRE);
		for (i = 0; i < bytes; i += 8)
			data[i / 8] = mf_disk_word(seed, from + i);
		memcpy(reply.handle, request.handle, sizeof(reply.handle));
		dawdle(disk, &random);
		if (all(disk->sock, &reply, sizeof(reply), true) ||
		    all(disk->sock, data, bytes / 2, true))
			break;
		dawdle(disk, &random);
		if (all(disk->sock, (char *)data + bytes / 2, bytes - bytes / 2,
			true))
			break;
	}
	free(data);
	return NULL;
}

/* The driver needs a process that stands in it as long as the disk is there. */
static void *client(void *arg)
{
	struct mf_disk *disk = arg;

	ioctl(disk->nbd, NBD_DO_IT);
	return NULL;
}

static int attach(struct mf_disk *disk, int sock, size_t bytes)
{
	int i;

	for (i = 0; i < 16; i++) {
		snprintf(disk->path, sizeof(disk->path), "/dev/nbd%d", i);
		disk->nbd = open(disk->path, O_RDWR | O_CLOEXEC);
		if (disk->nbd < 0)
			return -errno;
		if (!ioctl(disk->nbd, NBD_SET_SOCK, sock))
			break;
		close(disk->nbd);
	}
	if (i == 16)
		return -EBUSY;
	if (ioctl(disk->nbd, NBD_SET_BLKSIZE, 512UL) ||
	    ioctl(disk->nbd, NBD_SET_SIZE_BLOCKS, bytes / 512) ||
	    ioctl(disk->nbd, NBD_SET_FLAGS, NBD_FLAG_HAS_FLAGS))
		return -errno;
	return 0;
}

int mf_disk_open(struct mf_disk *disk, size_t bytes)
{
	int pair[2], rc, tries;
	char *probe = aligned_alloc(512, 512);

	*disk = (struct mf_disk){ .fd = -1, .seed = 1 };
	pthread_mutex_init(&disk->lock, NULL);
	pthread_cond_init(&disk->changed, NULL);
	mf_modprobe("nbd", "max_part=0");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	rc = attach(disk, pair[0], bytes);
	close(pair[0]);
	disk->sock = pair[1];
	if (rc)
		return rc;
	rc = pthread_create(&disk->server, NULL, server, disk);
	if (!rc)
		rc = pthread_create(&disk->client, NULL, client, disk);
	if (rc)
		return -rc;
	disk->fd = open(disk->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (disk->fd < 0)
		return -errno;
	/* The client thread may not have got there yet. */
	for (tries = 0; tries < 500; tries++) {
		rc = pread(disk->fd, probe, 512, 0);
		if (rc == 512)
			break;
		usleep(10000);
	}
	free(probe);
	return rc == 512 ? 0 : -ETIMEDOUT;
}

void mf_disk_close(struct mf_disk *disk)
{
	if (disk->fd < 0)
		return;
	mf_disk_release(disk);
	close(disk->fd);
	ioctl(disk->nbd, NBD_DISCONNECT);
	shutdown(disk->sock, SHUT_RDWR);
	pthread_join(disk->server, NULL);
	pthread_join(disk->client, NULL);
	ioctl(disk->nbd, NBD_CLEAR_SOCK);
	close(disk->nbd);
	close(disk->sock);
	disk->fd = -1;
}

void mf_disk_hold(struct mf_disk *disk)
{
	__atomic_store_n(&disk->hold, true, __ATOMIC_RELEASE);
}

void mf_disk_release(struct mf_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	disk->hold = false;
	pthread_cond_broadcast(&disk->changed);
	pthread_mutex_unlock(&disk->lock);
}

int mf_disk_wait_held(struct mf_disk *disk)
{
	struct timespec until;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	pthread_mutex_lock(&disk->lock);
	while (!disk->held && !rc)
		rc = pthread_cond_timedwait(&disk->changed, &disk->lock, &until);
	pthread_mutex_unlock(&disk->lock);
	return -rc;
}

bool mf_disk_matches(const struct mf_disk *disk, const void *memory,
		     __u64 offset, size_t bytes)
{
	const __u64 *words = memory;
	size_t i;

	for (i = 0; i < bytes; i += 8) {
		if (words[i / 8] != mf_disk_word(disk->seed, offset + i))
			return false;
	}
	return true;
}
