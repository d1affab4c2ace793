/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages copied, and compressed (zstd), on their way, where that pays: the
 * source measures what it costs and what the line takes, and goes on with what
 * is faster.
 */
#ifndef PACK_H
#define PACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum compress {
	COMPRESS_AUTO,
	COMPRESS_ON,
	COMPRESS_OFF,
	COMPRESSES
};

/* What is being measured, until it is enough to tell something. */
struct pack_spent {
	uint64_t pages;
	uint64_t ns;
	uint64_t left;		/* bytes that they have become */
};

/* Pages that are to be sent next, and what is sent already. */
struct pack_batch {
	uint64_t pages;		/* that can be compressed */
	uint64_t queued;	/* bytes that wait for the line */
	bool full;		/* the socket took no more, of the last one */
	uint64_t allowed;	/* bytes per second that we may send; 0: no limit */
	uint64_t early_ns;	/* for so long nothing may be sent, by that limit */
};

struct pack {
	enum compress how;
	void *context;
	uint8_t *pages;		/* room for WIRE_PACK_PAGES, as they were read */
	/* Moving averages; 0: not known. */
	double copy_ns;		/* to read a page, and digest its blocks */
	double page_ns;		/* to do so and compress it */
	double line_ns;		/* for a page to be taken by the line */
	double full_ns;		/* ... as it is while the socket is full */
	double believed_ns;	/* ... as it was taken to be for this batch */
	double share;		/* of the bytes that compressing leaves */
	unsigned int full_left;	/* batches for which that counts */
	unsigned int left;	/* batches until it is tried again */
	unsigned int patience;	/* ... how many it was at the last time */
	bool on;		/* this batch is compressed */
	bool cheap;		/* ... or may be copied, for deltas later */
	bool small;		/* the next one may be: it should not be large */
	uint64_t began;		/* to read the last pages */
	struct pack_spent copying, packing;
	uint64_t took, took_ns;	/* what a full socket took, in what time */
	uint64_t packed;	/* pages that went compressed, deltas too */
};

/* COMPRESSES if there is no such word. */
enum compress compress_find(const char *name);

void pack_init(struct pack *pack, enum compress how);
void pack_free(struct pack *pack);

/* Another batch: shall it be compressed? */
bool pack_begin(struct pack *pack, const struct pack_batch *batch);
/* Reads @count pages of the RAM file @fd into .pages. 0, or -1 after fail(). */
int pack_read(struct pack *pack, int fd, uint64_t page, uint32_t count);
/* They are read, and digested. */
void pack_copied(struct pack *pack, uint32_t count);
/*
 * Compresses @length bytes, which @count pages are or have become, to @to,
 * where @room bytes are. The bytes that are left, or 0 if it is not worth it.
 */
size_t pack_bytes(struct pack *pack, const void *from, size_t length,
		  uint32_t count, void *to, size_t room);
/* The line carries so many bytes per second, as far as is known; 0: it is not. */
void pack_learn_line(struct pack *pack, uint64_t rate);
/*
 * The socket was full for @ns, and took @bytes in that time. That is what the
 * line carries, where the kernel may have seen only how fast it swallows a bit.
 */
void pack_learn_full(struct pack *pack, uint64_t bytes, uint64_t ns);
/* Destination. The bytes that @from has become at @to; 0: there is no room. */
size_t unpack_bytes(const void *from, size_t bytes, void *to, size_t room);
/* 0 if @from was exactly @count pages, which are at @to now. */
int unpack_pages(const void *from, size_t bytes, void *to, uint32_t count);

#endif /* PACK_H */
