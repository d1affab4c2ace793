/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where pages may be had: something that holds blocks of 4096 bytes, numbered
 * from 0. A disk image (raw, or through qemu-nbd what QEMU can read), or a
 * RAM file.
 */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdint.h>

#define BLOCK_BYTES	4096
/* Blocks that are digested in one go, at most; see index.h for why 510. */
#define BLOCKS_CHUNK	510

struct blocks;

struct blocks_ops {
	/*
	 * Digests @n blocks, BLOCKS_CHUNK at most, from @first on: XXH64 with
	 * @seed, 0 for a block of zeroes. Meant to be called in ascending
	 * order. 0, or -1 after fail().
	 */
	int (*digest)(struct blocks *blocks, uint64_t first, unsigned int n,
		      uint64_t seed, uint64_t *digests);
	/* @n blocks from @first on will be read soon; may be NULL. */
	void (*ahead)(struct blocks *blocks, uint64_t first, unsigned int n);
	/* Reads them. 0, or -1 after fail(). */
	int (*read)(struct blocks *blocks, uint64_t first, unsigned int n,
		    void *to);
	void (*close)(struct blocks *blocks);
};

struct blocks {
	const struct blocks_ops *ops;
	const char *path;
	uint64_t count;		/* a rest that is no whole block does not count */
};

/* How the bytes are to be had. */
enum format {
	FORMAT_RAW,
	FORMAT_QCOW2,
	FORMAT_RAM,		/* a RAM file: digested in the kernel */
	FORMATS
};

/* The name of it, and back; FORMATS if there is none of that name. */
const char *format_name(enum format format);
enum format format_find(const char *name);

/* NULL after fail(). @path must stay. */
struct blocks *blocks_open(const char *path, enum format format);
void blocks_close(struct blocks *blocks);

/* For those who implement it. */
struct blocks *blocks_open_raw(const char *path);
struct blocks *blocks_open_nbd(const char *path, const char *format);
struct blocks *blocks_open_ram(const char *path);
/* Digests what lies in memory. */
void blocks_digest(const void *from, unsigned int n, uint64_t seed,
		   uint64_t *digests);

#endif /* BLOCKS_H */
