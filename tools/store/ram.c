// SPDX-License-Identifier: GPL-2.0
/*
 * A RAM file: of another VM of this host, or one that a VM has left. The
 * module digests it where it lies; holes stay holes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/mf.h"
#include "../lib/say.h"
#include "blocks.h"

struct ram_blocks {
	struct blocks blocks;
	struct mf_ram ram;
	int fd, session;
};

static struct ram_blocks *to_ram(struct blocks *blocks)
{
	return (struct ram_blocks *)blocks;
}

static int ram_digest(struct blocks *blocks, uint64_t first, unsigned int n,
		      uint64_t seed, uint64_t *digests)
{
	struct migrate_fast_digest got[BLOCKS_CHUNK];
	struct ram_blocks *ram = to_ram(blocks);
	uint64_t at = first, end = first + n;
	int64_t count, i;

	memset(digests, 0, n * sizeof(*digests));
	while (at < end) {
		count = mf_hash(ram->session, &ram->ram,
				MIGRATE_FAST_HASH_XXH64, at, end - at, seed,
				got, BLOCKS_CHUNK, &at);
		if (count < 0)
			return fail("the module cannot digest %s: %s",
				    blocks->path, strerror((int)-count));
		for (i = 0; i < count; i++)
			if (!(got[i].flags & MIGRATE_FAST_DIGEST_ZERO))
				digests[got[i].page - first] = got[i].xxh64;
	}
	return 0;
}

static int ram_read(struct blocks *blocks, uint64_t first, unsigned int n,
		    void *to)
{
	struct migrate_fast_digest digests[BLOCKS_CHUNK];
	struct ram_blocks *ram = to_ram(blocks);
	size_t bytes = (size_t)n * BLOCK_BYTES;
	uint64_t next;
	int64_t got;

	/* A page that is absent would keep us waiting. */
	got = mf_hash(ram->session, &ram->ram, 0, first, n, 0, digests,
		      BLOCKS_CHUNK, &next);
	if (got < 0)
		return fail("cannot read pages from %llu of %s: %s",
			    (unsigned long long)first, blocks->path,
			    strerror((int)-got));
	if (pread(ram->fd, to, bytes, (off_t)first * BLOCK_BYTES) !=
	    (ssize_t)bytes)
		return fail("cannot read pages from %llu of %s: %s",
			    (unsigned long long)first, blocks->path,
			    strerror(errno));
	return 0;
}

static void ram_close(struct blocks *blocks)
{
	struct ram_blocks *ram = to_ram(blocks);

	mf_unmap(&ram->ram);
	if (ram->session >= 0)
		close(ram->session);
	if (ram->fd >= 0)
		close(ram->fd);
	free(ram);
}

static const struct blocks_ops ram_ops = {
	.digest = ram_digest,
	.read = ram_read,
	.close = ram_close,
};

struct blocks *blocks_open_ram(const char *path)
{
	struct ram_blocks *ram = need(calloc(1, sizeof(*ram)));
	struct migrate_fast_handshake shake;
	int err = 0;

	ram->blocks.ops = &ram_ops;
	ram->blocks.path = path;
	ram->session = -1;
	ram->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (ram->fd < 0) {
		fail("cannot open %s: %s", path, strerror(errno));
		goto out;
	}
	ram->session = mf_open(MIGRATE_FAST_FEATURE_HASH, &shake);
	if (ram->session < 0)
		err = ram->session;
	else
		err = mf_add(ram->session, ram->fd, &ram->ram);
	if (err == -EMEDIUMTYPE)
		fail("%s is no RAM file (a file of mfram)", path);
	else if (err)
		fail("the module does not take %s: %s", path, strerror(-err));
	if (err)
		goto out;
	ram->blocks.count = ram->ram.pages;
	return &ram->blocks;
out:
	ram_close(&ram->blocks);
	return NULL;
}
