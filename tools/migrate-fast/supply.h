/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source, post-copy: brings the VM that runs over there the memory that is
 * still here.
 */
#ifndef SUPPLY_H
#define SUPPLY_H

#include <stdbool.h>

#include "prepage.h"
#include "pull.h"

struct sender;

struct supply {
	struct pull pull;
	struct prepage prepage;
	struct prepage_ram *rams;
	uint64_t lacking;	/* pages, when the destination last told */
	uint64_t before;	/* pages pulled and pushed until then */
	/* What the destination has said. */
	bool joined_push, joined_pull;
	bool first, half;	/* so much has followed, and hooks were told */
	bool misses;		/* it has told what it lacks */
	bool complete;		/* nothing is absent there */
	bool given_up;		/* it will never need anything more */
};

/* Before the stop: makes the second connection. 0, or -1 after fail(). */
int supply_connect(struct sender *sender);
/* When RAM is final here: tells the destination what it lacks. */
int supply_stale(struct sender *sender);
/* A send before this one has compared, and has found a difference there. */
bool supply_is_doubted(const struct sender *sender);
/*
 * When the VM runs over there: until nothing is absent. Makes lost
 * connections anew for as long as --timeout. 0, or -1 after fail().
 */
int supply(struct sender *sender);
void supply_free(struct sender *sender);
/* A frame that belongs to post-copy. 1 if it does not. */
int supply_frame(struct sender *sender, const struct wire_frame *frame,
		 const uint8_t *payload);

/* resume.c: migrate-fast send --resume. 0 if nothing is absent any more. */
int resume_supply(struct sender *sender);

#endif /* SUPPLY_H */
