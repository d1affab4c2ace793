/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Frames of pages on their way to the socket: without copying the pages, or
 * as copies, compressed or as what has changed in them. And of what the
 * destination has, by name.
 */
#ifndef GATHER_H
#define GATHER_H

#include <stdint.h>

#include "proof.h"
#include "conn.h"
#include "delta.h"
#include "pack.h"
#include "rate.h"
#include "vm.h"

#define GATHER_FRAMES	(MIGRATE_FAST_MAX_SEGMENTS / 2)
#define GATHER_NAMES	(32 * WIRE_MAX_REFERENCES * \
			 sizeof(struct wire_reference))

struct gather {
	struct vm *vm;
	struct conn *conn;
	struct rate *rate;		/* NULL: full speed */
	struct migrate_fast_segment segments[MIGRATE_FAST_MAX_SEGMENTS];
	uint8_t headers[GATHER_FRAMES][WIRE_HEADER];
	struct wire_frame frames[GATHER_FRAMES];
	unsigned int nr_frames;
	bool copied[GATHER_FRAMES];	/* its pages are in .packed, as they are */
	struct pack pack;
	/* Off until somebody begins them. */
	struct proof proof;
	struct delta delta;
	uint8_t *packed;	/* payloads that are copies, one after the other */
	uint8_t names[GATHER_NAMES];	/* payloads of REFER and COPY, likewise */
	size_t names_bytes;
	unsigned int nr_same;	/* pages of SAME frames */
	bool full;		/* the last flush had to wait for the socket */
	uint64_t bytes;
	uint64_t saved;		/* by deltas and compression, in all */
};

void gather_init(struct gather *gather, struct vm *vm, struct conn *conn,
		 enum compress compress);
void gather_free(struct gather *gather);
/* Add one page; neighbours become one frame. 0, or -1 after fail(). */
int gather_page(struct gather *gather, unsigned int ram, uint64_t page);
int gather_zero(struct gather *gather, unsigned int ram, uint64_t page);
/* The destination may have the page that @digest tells of. */
int gather_reference(struct gather *gather, unsigned int ram,
		     const struct migrate_fast_digest *digest);
/* It should have it as page @from of file @from_ram. */
int gather_copy(struct gather *gather, unsigned int ram, uint64_t page,
		unsigned int from_ram, uint64_t from);
/* The destination should have the page as it is. */
int gather_same(struct gather *gather, unsigned int ram, uint64_t page);
/* Sends what was added. If that fails, what copies there are is not known. */
int gather_flush(struct gather *gather);
/* Forgets it. */
void gather_forget(struct gather *gather);

#endif /* GATHER_H */
