// SPDX-License-Identifier: GPL-2.0
/* A raw disk image, or block device. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "blocks.h"
#include "reader.h"

struct raw {
	struct blocks blocks;
	int fd;
	struct reader reader;
};

static struct raw *to_raw(struct blocks *blocks)
{
	return (struct raw *)blocks;
}

static int cannot_read(const struct raw *raw, off_t at, int err)
{
	return fail("cannot read %s at %lld: %s", raw->blocks.path,
		    (long long)at, strerror(err));
}

static int raw_digest(struct blocks *blocks, uint64_t first, unsigned int n,
		      uint64_t seed, uint64_t *digests)
{
	off_t at = (off_t)first * BLOCK_BYTES;
	struct raw *raw = to_raw(blocks);
	const struct reader_piece *piece = reader_get(&raw->reader, at);

	if (piece->err)
		return cannot_read(raw, piece->failed, piece->err);
	if (piece->hole)
		memset(digests, 0, n * sizeof(*digests));
	else
		blocks_digest(piece->buffer + (at - piece->at), n, seed,
			      digests);
	return 0;
}

static void raw_ahead(struct blocks *blocks, uint64_t first, unsigned int n)
{
	posix_fadvise(to_raw(blocks)->fd, (off_t)first * BLOCK_BYTES,
		      (off_t)n * BLOCK_BYTES, POSIX_FADV_WILLNEED);
}

static int raw_read(struct blocks *blocks, uint64_t first, unsigned int n,
		    void *to)
{
	off_t at = (off_t)first * BLOCK_BYTES, failed;
	struct raw *raw = to_raw(blocks);
	int err = reader_read(raw->fd, at, (size_t)n * BLOCK_BYTES, to,
			      &failed);

	return err ? cannot_read(raw, failed, err) : 0;
}

static void raw_close(struct blocks *blocks)
{
	struct raw *raw = to_raw(blocks);

	reader_end(&raw->reader);
	close(raw->fd);
	free(raw);
}

static const struct blocks_ops raw_ops = {
	.digest = raw_digest,
	.ahead = raw_ahead,
	.read = raw_read,
	.close = raw_close,
};

struct blocks *blocks_open_raw(const char *path)
{
	uint64_t bytes = 0;
	struct raw *raw;
	struct stat st;
	int fd;

	/* O_NONBLOCK: a pipe of that name must not keep us waiting. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		fail("cannot open %s: %s", path, strerror(errno));
		goto out;
	}
	if (S_ISREG(st.st_mode)) {
		bytes = (uint64_t)st.st_size;
	} else if (!S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, &bytes)) {
		fail("%s is neither a file nor a block device", path);
		goto out;
	}
	raw = need(calloc(1, sizeof(*raw)));
	raw->blocks.ops = &raw_ops;
	raw->blocks.path = path;
	raw->blocks.count = bytes / BLOCK_BYTES;
	raw->fd = fd;
	reader_begin(&raw->reader, fd, (off_t)raw->blocks.count * BLOCK_BYTES);
	return &raw->blocks;
out:
	if (fd >= 0)
		close(fd);
	return NULL;
}
