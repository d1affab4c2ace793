/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Destination: pages of a VM that are here already, in the page store.
 *
 * The source is told what there may be, by a filter of XXH64, and sends, for a
 * page that passes it, a reference: XXH64 and SHA-256. A page that was found
 * by the one and is proved by the other is taken; else it is a miss, and the
 * source sends it whole.
 */
#ifndef KNOWN_H
#define KNOWN_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "../store/filter.h"
#include "../store/index.h"
#include "../store/store.h"
#include "wire.h"

/* A source of pages that is open. */
struct known_source {
	const struct source *source;
	char *path;		/* of its index */
	struct index index;
	struct blocks *blocks;
	uint64_t taken;		/* pages */
};

struct known {
	struct store store;
	struct known_source *sources;
	size_t nr_sources;
	struct filter filter;
	uint64_t missed;
	/* lookup.c */
	uint8_t *room;		/* for as many blocks as are read in one go */
	EVP_MD *sha256;
	EVP_MD_CTX *sum;
};

/*
 * Opens what VM @name (NULL: it has none) may take from (sharing.h), as long as filters of
 * @budget bytes in all can tell of it. What cannot be used is told, and left
 * out: no failure.
 */
void known_open(struct known *known, const char *dir, const char *name,
		uint64_t budget);
void known_close(struct known *known);

/* Goes on without it, and says why: fail() has been called. */
void known_leave_out(const struct source *source);
/*
 * lookup.c: finds up to WIRE_MAX_REFERENCES pages, proves that they are what
 * was asked for, and only then copies each to where @to says. Sets @found.
 */
void known_find(struct known *known, const struct wire_reference *references,
		uint32_t count, uint8_t *const *to, bool *found);
/* lookup.c: does it lie on a disk, if anywhere? Memory is nearer. */
bool known_on_disk(struct known *known, const struct wire_reference *reference);
/* Has VM @name left anything here when it went? */
bool known_has_kept(const struct known *known, const char *name);
/* Pages taken from each source, by its name. */
json_t *known_json(const struct known *known);

#endif /* KNOWN_H */
