// SPDX-License-Identifier: GPL-2.0
/* Pages on their way from one store to another; see pagefile.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "index.h"
#include "pagefile.h"

#define FIRST	"migrate-fast pages 1\n"
#define LAST	"migrate-fast pages end %" PRIu64 " %016" PRIx64 "\n"
#define BUFFER	(256 * BLOCK_BYTES)

struct pagefile {
	int fd;
	const char *name;
	uint8_t *buffer;
	size_t len;
	uint64_t pages;
	XXH64_state_t *sum;	/* of all before the last block */
	/* Indexes of what was exported. */
	struct index *before;
	unsigned int nr_before;
};

/* A pipe may stand still for long, and signals are heeded in the loop only. */
static int wait_ready(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	while (!poll(&poll_fd, 1, 200))
		if (loop_check())
			return -1;
	return 0;
}

static int write_all(struct pagefile *file)
{
	size_t done = 0;

	while (done < file->len) {
		ssize_t n;

		if (wait_ready(file->fd, POLLOUT))
			return -1;
		/* A pipe that is ready takes so much without waiting. */
		n = write(file->fd, file->buffer + done, BLOCK_BYTES);
		if (n < 0 && errno != EINTR)
			return fail("cannot write to %s: %s", file->name,
				    strerror(errno));
		if (n > 0)
			done += (size_t)n;
	}
	file->len = 0;
	return 0;
}

/* Room for a block, to be filled in. NULL after fail(). */
static void *room(struct pagefile *file)
{
	void *at;

	if (file->len == BUFFER && write_all(file))
		return NULL;
	at = file->buffer + file->len;
	file->len += BLOCK_BYTES;
	return at;
}

struct pagefile *pagefile_create(int fd, const char *name)
{
	struct pagefile *file = need(calloc(1, sizeof(*file)));
	char *block;

	file->fd = fd;
	file->name = name;
	file->buffer = need(malloc(BUFFER));
	file->sum = need(XXH64_createState());
	XXH64_reset(file->sum, 0);
	block = room(file);
	memset(block, 0, BLOCK_BYTES);
	strcpy(block, FIRST);
	XXH64_update(file->sum, block, BLOCK_BYTES);
	return file;
}

void pagefile_free(struct pagefile *file)
{
	unsigned int i;

	for (i = 0; i < file->nr_before; i++) {
		free((char *)file->before[i].path);
		index_close(&file->before[i]);
	}
	free(file->before);
	free(file->buffer);
	XXH64_freeState(file->sum);
	free(file);
}

/* Is there an earlier page with this digest? */
static int is_known(struct pagefile *file, uint64_t digest, uint64_t block)
{
	struct index *own = &file->before[file->nr_before - 1], *index;
	uint64_t first;
	int found = 0;

	for (index = file->before; index < own && !found; index++)
		found = index_find(index, digest, 0, &first);
	if (found)
		return found;
	found = index_find(own, digest, 0, &first);
	if (found < 0)
		return -1;
	return found && first != block;
}

static int put(struct pagefile *file, struct blocks *blocks, uint64_t block,
	       uint64_t digest, uint64_t seed)
{
	uint64_t now;
	void *at;
	int known;

	known = is_known(file, digest, block);
	if (known)
		return known < 0 ? -1 : 0;
	at = room(file);
	if (!at || blocks->ops->read(blocks, block, 1, at))
		return -1;
	blocks_digest(at, 1, seed, &now);
	if (now != digest) {
		/* It was written since it was indexed. */
		file->len -= BLOCK_BYTES;
		return 0;
	}
	XXH64_update(file->sum, at, BLOCK_BYTES);
	file->pages++;
	return 0;
}

static int put_all(struct pagefile *file, struct blocks *blocks, uint64_t seed,
		   int (*step)(void *arg, uint64_t done, uint64_t all),
		   void *arg)
{
	struct index *index = &file->before[file->nr_before - 1];
	uint64_t block, digest;
	const uint64_t *chunk;

	for (block = 0; block < blocks->count; block++) {
		chunk = index_chunk(index, block / BLOCKS_CHUNK);
		digest = chunk ? chunk[block % BLOCKS_CHUNK] : 0;
		if (digest && put(file, blocks, block, digest, seed))
			return -1;
		if (block % BLOCKS_CHUNK == 0 && step(arg, block,
						      blocks->count))
			return -1;
	}
	return 0;
}

int pagefile_export(struct pagefile *file, const struct store *store,
		    const struct source *source,
		    int (*step)(void *arg, uint64_t done, uint64_t all),
		    void *arg)
{
	char *path = store_index(store, source);
	struct blocks *blocks;
	int ret;

	if (index_check(path, store->seed) != INDEX_OK) {
		ret = fail("the index of %s is not whole: migrate-fast store update",
			   source->name);
		free(path);
		return ret;
	}
	file->before = need(realloc(file->before, (file->nr_before + 1) *
				    sizeof(*file->before)));
	if (index_open(&file->before[file->nr_before], path)) {
		free(path);
		return -1;
	}
	file->nr_before++;
	blocks = blocks_open(source->path, source->format);
	if (!blocks)
		return -1;
	ret = put_all(file, blocks, store->seed, step, arg);
	blocks_close(blocks);
	return ret;
}

int pagefile_finish(struct pagefile *file, uint64_t *pages)
{
	char *block = room(file);
	int ret = -1;

	*pages = file->pages;
	if (block) {
		memset(block, 0, BLOCK_BYTES);
		snprintf(block, BLOCK_BYTES, LAST, file->pages,
			 (uint64_t)XXH64_digest(file->sum));
		ret = write_all(file);
	}
	pagefile_free(file);
	return ret;
}

/* A file that is imported. */
struct import {
	int fd;
	const char *name;
	size_t at, len;
	uint8_t buffer[BUFFER];
};

/* The next whole block; NULL at the end, and after fail(). */
static const void *get(struct import *from)
{
	const void *block = from->buffer + from->at;
	ssize_t n = 1;

	if (from->len - from->at >= BLOCK_BYTES) {
		from->at += BLOCK_BYTES;
		return block;
	}
	memmove(from->buffer, block, from->len - from->at);
	from->len -= from->at;
	from->at = 0;
	while (from->len < BLOCK_BYTES && n) {
		if (wait_ready(from->fd, POLLIN))
			return NULL;
		n = read(from->fd, from->buffer + from->len,
			 BUFFER - from->len);
		if (n > 0)
			from->len += (size_t)n;
		if (n < 0 && errno != EINTR) {
			fail("cannot read %s: %s", from->name,
			     strerror(errno));
			return NULL;
		}
	}
	if (from->len && from->len < BLOCK_BYTES)
		fail("%s is cut off", from->name);
	return from->len < BLOCK_BYTES ? NULL : get(from);
}

static int copy(struct pagefile *to, struct import *from,
		int (*step)(void *arg, uint64_t done, uint64_t all), void *arg)
{
	uint8_t block[BLOCK_BYTES], last[BLOCK_BYTES] = "";
	const void *next;
	void *out;

	next = get(from);
	if (!next || memcmp(next, FIRST, sizeof(FIRST)))
		return fail("%s is no page file (store export makes them), or one of a newer release",
			    from->name);
	next = get(from);
	/* Only what has another one after it is a page. */
	while (next) {
		memcpy(block, next, BLOCK_BYTES);
		next = get(from);
		if (!next)
			break;
		out = room(to);
		if (!out)
			return -1;
		memcpy(out, block, BLOCK_BYTES);
		XXH64_update(to->sum, out, BLOCK_BYTES);
		if (++to->pages % BLOCKS_CHUNK == 0 &&
		    step(arg, to->pages, 0))
			return -1;
	}
	if (fail_text())
		return -1;
	snprintf((char *)last, sizeof(last), LAST, to->pages,
		 (uint64_t)XXH64_digest(to->sum));
	if (memcmp(last, block, BLOCK_BYTES))
		return fail("%s is cut off, or damaged: export and copy it again",
			    from->name);
	return 0;
}

int pagefile_import(int fd, const char *name, const char *to,
		    int (*step)(void *arg, uint64_t done, uint64_t all),
		    void *arg, uint64_t *pages)
{
	int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct pagefile *file;
	struct import *from;
	int ret;

	if (out < 0)
		return fail("cannot create %s: %s", to, strerror(errno));
	file = pagefile_create(out, to);
	from = need(calloc(1, sizeof(*from)));
	from->fd = fd;
	from->name = name;
	ret = copy(file, from, step, arg);
	free(from);
	if (ret)
		pagefile_free(file);
	else
		ret = pagefile_finish(file, pages);
	if (!ret && fsync(out))
		ret = fail("cannot write to %s: %s", to, strerror(errno));
	if (close(out) && !ret)
		ret = fail("cannot write to %s: %s", to, strerror(errno));
	if (ret)
		unlink(to);
	return ret;
}
