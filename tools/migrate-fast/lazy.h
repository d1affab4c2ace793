/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Destination, send --lazy: pages that a disk image here has are not read
 * before the VM runs here. They are promised: absent from DEMAND on, read when
 * the VM wants them, and else in the order of prepage.h, after Gustafsson. A
 * promise that the disk does not keep is the source's to keep: it has the page
 * until nothing is absent any more.
 */
#ifndef LAZY_H
#define LAZY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "demand.h"
#include "known.h"
#include "prepage.h"

struct lazy {
	bool on;		/* the source has announced it */
	struct known *known;
	struct demand *demand;
	/* Of each RAM file: what is promised, and what was and is not kept. */
	uint64_t **promised, **broken;
	struct wire_reference **references;	/* by number of the page */
	struct prepage prepage;
	struct prepage_ram *rams;
	uint8_t *landing;
	bool begun;
	bool first;		/* the first hook was told */
	uint64_t left;		/* pages promised, from lazy_begin() on */
	uint64_t all, kept;
};

void lazy_init(struct lazy *lazy, struct known *known, struct demand *demand);
void lazy_free(struct lazy *lazy);
/* Before DEMAND: takes the promise, if a disk image may keep it. */
bool lazy_promise(struct lazy *lazy, unsigned int ram, uint64_t page,
		  const struct wire_reference *reference);
/* Something else was said of these pages since. */
void lazy_forget(struct lazy *lazy, unsigned int ram, uint64_t page,
		 uint64_t count);
/*
 * What the source has named stale is no longer promised; what is promised
 * becomes lacking, as if it had named that too. Returns how many pages.
 */
uint64_t lazy_begin(struct lazy *lazy);
/*
 * The VM waits for this page. 0 if it has it now, 1 if only the source can
 * bring it, -1 after fail().
 */
int lazy_want(struct lazy *lazy, unsigned int ram, uint64_t page);
/* Was it promised in vain? Then the source thinks that it is here. */
bool lazy_is_broken(const struct lazy *lazy, unsigned int ram, uint64_t page);
/* Reads a few pages. 0, or -1 after fail(). */
int lazy_step(struct lazy *lazy);
/*
 * The source is about to be told what is missing: takes out of @map, of file
 * @ram, what is promised still. For the rest no promise was made, from now on.
 */
void lazy_leave_out(struct lazy *lazy, unsigned int ram, uint64_t *map);
bool lazy_has_broken(const struct lazy *lazy);
/* Is anything promised? */
bool lazy_has_promised(const struct lazy *lazy);
/* Nobody needs the rest any more. */
void lazy_end(struct lazy *lazy);
json_t *lazy_json(const struct lazy *lazy);

#endif /* LAZY_H */
