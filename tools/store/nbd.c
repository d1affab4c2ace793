// SPDX-License-Identifier: GPL-2.0
/*
 * A disk image that QEMU can read, through a qemu-nbd of our own: it knows
 * the formats, and what is broken in one breaks qemu-nbd, not us. It ends
 * with us.
 *
 * libnbd is loaded when an image needs it. It brings sixteen more libraries
 * (TLS, XML, ICU), which have no business in a program that runs as root and
 * moves VMs, and take longer to load than all else of it.
 */
#include <dlfcn.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "blocks.h"

/* So many chunks are read ahead of what is being digested. */
#define AHEAD	4

/* A chunk that was asked for. */
struct ahead {
	uint64_t first;
	unsigned int n;
	int64_t cookie;		/* 0: none is under way */
	uint8_t *buffer;
};

struct nbd {
	struct blocks blocks;
	struct nbd_handle *handle;
	struct ahead ahead[AHEAD];
	uint64_t next;		/* first block that was not asked for */
};

/* What we need of it. */
#define LIBRARY "libnbd.so.0"
static struct {
	void *handle;
	typeof(nbd_create) *create;
	typeof(nbd_close) *close;
	typeof(nbd_connect_systemd_socket_activation) *connect;
	typeof(nbd_get_size) *get_size;
	typeof(nbd_get_error) *get_error;
	typeof(nbd_aio_pread) *aio_pread;
	typeof(nbd_aio_command_completed) *aio_command_completed;
	typeof(nbd_poll) *poll;
	typeof(nbd_pread) *pread;
} lib;

static int load(void **function, const char *name)
{
	*function = dlsym(lib.handle, name);
	return *function ? 0 : fail("%s has no %s: install a newer one",
				    LIBRARY, name);
}

#define LOAD(member, name) load((void **)&lib.member, #name)

static int load_library(void)
{
	if (lib.handle)
		return 0;
	lib.handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib.handle)
		return fail("cannot read images other than raw without libnbd (package libnbd0): %s",
			    dlerror());
	if (LOAD(create, nbd_create) ||
	    LOAD(close, nbd_close) ||
	    LOAD(connect, nbd_connect_systemd_socket_activation) ||
	    LOAD(get_size, nbd_get_size) ||
	    LOAD(get_error, nbd_get_error) ||
	    LOAD(aio_pread, nbd_aio_pread) ||
	    LOAD(aio_command_completed, nbd_aio_command_completed) ||
	    LOAD(poll, nbd_poll) ||
	    LOAD(pread, nbd_pread)) {
		dlclose(lib.handle);
		lib.handle = NULL;
		return -1;
	}
	return 0;
}

static struct nbd *to_nbd(struct blocks *blocks)
{
	return (struct nbd *)blocks;
}

static int fail_nbd(struct nbd *nbd, const char *what)
{
	return fail("cannot %s %s: %s", what, nbd->blocks.path,
		    lib.get_error());
}

static int ask(struct nbd *nbd, struct ahead *ahead)
{
	uint64_t left = nbd->blocks.count - nbd->next;

	ahead->first = nbd->next;
	ahead->n = left < BLOCKS_CHUNK ? (unsigned int)left : BLOCKS_CHUNK;
	if (!ahead->n)
		return 0;
	if (!ahead->buffer)
		ahead->buffer = need(malloc(BLOCKS_CHUNK * BLOCK_BYTES));
	ahead->cookie = lib.aio_pread(nbd->handle, ahead->buffer,
				      (size_t)ahead->n * BLOCK_BYTES,
				      ahead->first * BLOCK_BYTES,
				      NBD_NULL_COMPLETION, 0);
	if (ahead->cookie < 0) {
		ahead->cookie = 0;
		return fail_nbd(nbd, "read");
	}
	nbd->next += ahead->n;
	return 0;
}

static int wait_for(struct nbd *nbd, struct ahead *ahead)
{
	int done;

	while (ahead->cookie) {
		done = lib.aio_command_completed(nbd->handle,
						 (uint64_t)ahead->cookie);
		if (done)
			ahead->cookie = 0;
		if (done < 0 || (!done && lib.poll(nbd->handle, -1) < 0))
			return fail_nbd(nbd, "read");
	}
	return 0;
}

/* Nothing ahead is of use: it begins anew at @first. */
static int begin(struct nbd *nbd, uint64_t first)
{
	unsigned int i;

	for (i = 0; i < AHEAD; i++)
		if (wait_for(nbd, &nbd->ahead[i]))
			return -1;
	nbd->next = first;
	for (i = 0; i < AHEAD; i++)
		if (ask(nbd, &nbd->ahead[i]))
			return -1;
	return 0;
}

static struct ahead *find(struct nbd *nbd, uint64_t first, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < AHEAD; i++)
		if (nbd->ahead[i].n == n && nbd->ahead[i].first == first)
			return &nbd->ahead[i];
	return NULL;
}

static int nbd_digest(struct blocks *blocks, uint64_t first, unsigned int n,
		      uint64_t seed, uint64_t *digests)
{
	struct nbd *nbd = to_nbd(blocks);
	struct ahead *ahead = find(nbd, first, n);

	if (!ahead) {
		if (begin(nbd, first))
			return -1;
		ahead = find(nbd, first, n);
		if (!ahead)
			return fail("%s has no block %llu", blocks->path,
				    (unsigned long long)first + n - 1);
	}
	if (wait_for(nbd, ahead))
		return -1;
	blocks_digest(ahead->buffer, n, seed, digests);
	return ask(nbd, ahead);
}

static int nbd_read(struct blocks *blocks, uint64_t first, unsigned int n,
		    void *to)
{
	struct nbd *nbd = to_nbd(blocks);

	if (lib.pread(nbd->handle, to, (size_t)n * BLOCK_BYTES,
		      first * BLOCK_BYTES, 0))
		return fail_nbd(nbd, "read");
	return 0;
}

static void nbd_close_blocks(struct blocks *blocks)
{
	struct nbd *nbd = to_nbd(blocks);
	unsigned int i;

	/* This ends what is under way, and qemu-nbd. */
	lib.close(nbd->handle);
	for (i = 0; i < AHEAD; i++)
		free(nbd->ahead[i].buffer);
	free(nbd);
}

static const struct blocks_ops nbd_ops = {
	.digest = nbd_digest,
	.read = nbd_read,
	.close = nbd_close_blocks,
};

/* In what qemu-nbd reads options from, a comma is written twice. */
static char *image_option(const char *path, const char *format)
{
	size_t room = 2 * strlen(path) + 128, len;
	char *option = need(malloc(room));
	const char *at;

	/* force-share: a VM may have it open for writing. */
	len = (size_t)snprintf(option, room,
			       "driver=%s,force-share=on,file.driver=file,file.filename=",
			       format);
	for (at = path; *at; at++) {
		option[len++] = *at;
		if (*at == ',')
			option[len++] = ',';
	}
	option[len] = 0;
	return option;
}

struct blocks *blocks_open_nbd(const char *path, const char *format)
{
	char *argv[5] = { "qemu-nbd", "--read-only", "--image-opts" };
	struct nbd *nbd;
	int64_t bytes = -1;

	if (load_library())
		return NULL;
	nbd = need(calloc(1, sizeof(*nbd)));
	nbd->blocks.ops = &nbd_ops;
	nbd->blocks.path = path;
	nbd->handle = need(lib.create());
	argv[3] = image_option(path, format);
	if (!lib.connect(nbd->handle, argv))
		bytes = lib.get_size(nbd->handle);
	free(argv[3]);
	if (bytes < 0) {
		fail("qemu-nbd (package qemu-utils) cannot open %s as %s: %s",
		     path, format, lib.get_error());
		nbd_close_blocks(&nbd->blocks);
		return NULL;
	}
	nbd->blocks.count = (uint64_t)bytes / BLOCK_BYTES;
	return &nbd->blocks;
}
