/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source, post-copy: answers the faults of the destination on a connection of
 * their own. Never waits: whoever is busy with the push is interrupted for
 * it, by the loop.
 */
#ifndef PULL_H
#define PULL_H

#include "conn.h"
#include "pages.h"
#include "prepage.h"
#include "stats.h"

/* Pages answered together. */
#define PULL_BATCH	16

struct pull_page {
	unsigned int ram;
	uint64_t page;
};

struct pull {
	struct conn conn;
	struct pager *pager;
	struct prepage *prepage;
	struct supplied *supplied;
	/* Pages that were asked for and are not on their way yet. */
	struct pull_page *queue;
	size_t first, len, size;
	size_t most;		/* more wait only for a peer that means harm */
	/* The answer that is under way. */
	struct migrate_fast_segment segments[2 * PULL_BATCH];
	uint8_t headers[PULL_BATCH][WIRE_HEADER];
	unsigned int nr_segments;
	uint64_t bytes, done;
};

void pull_init(struct pull *pull, struct pager *pager, struct prepage *prepage,
	       struct supplied *supplied);
/* The connection is made: faults may come. */
void pull_begin(struct pull *pull);
/* A FAULT, or MISS, frame. Returns 0, or -1 after fail(). */
int pull_fault(struct pull *pull, const struct wire_frame *frame);
/* Closes the connection and forgets what was asked for. */
void pull_end(struct pull *pull);
/* Is all that was asked for handed to the socket? */
bool pull_idle(const struct pull *pull);

#endif /* PULL_H */
