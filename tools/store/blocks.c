// SPDX-License-Identifier: GPL-2.0
/* Where pages may be had; see blocks.h. */
#include <xxhash.h>

#include "../lib/word.h"
#include "blocks.h"

static const char *const names[FORMATS] = {
	[FORMAT_RAW] = "raw",
	[FORMAT_QCOW2] = "qcow2",
	[FORMAT_RAM] = "ram",
};

const char *format_name(enum format format)
{
	return names[format];
}

enum format format_find(const char *name)
{
	return word_find(names, FORMATS, name);
}

struct blocks *blocks_open(const char *path, enum format format)
{
	switch (format) {
	case FORMAT_RAM:
		return blocks_open_ram(path);
	case FORMAT_RAW:
		return blocks_open_raw(path);
	default:
		return blocks_open_nbd(path, format_name(format));
	}
}

void blocks_close(struct blocks *blocks)
{
	if (blocks)
		blocks->ops->close(blocks);
}

static int is_zero(const uint64_t *words)
{
	uint64_t any = 0;
	unsigned int i;

	/* Most blocks that are not zero differ soon. */
	if (words[0] | words[1] | words[2] | words[3])
		return 0;
	for (i = 4; i < BLOCK_BYTES / 8; i++)
		any |= words[i];
	return !any;
}

void blocks_digest(const void *from, unsigned int n, uint64_t seed,
		   uint64_t *digests)
{
	const uint8_t *at = from;
	unsigned int i;

	for (i = 0; i < n; i++, at += BLOCK_BYTES)
		digests[i] = is_zero((const void *)at) ? 0 :
			     XXH64(at, BLOCK_BYTES, seed);
}
