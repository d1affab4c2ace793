/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The page store of a host: where pages may be had that a VM, coming here,
 * need not bring.
 *
 *	DIR/store.json	what the operator has named, and how it was found;
 *			replaced as a whole
 *	DIR/lock	held by who changes the store
 *	DIR/ID.index	see index.h; made from its source, and made again
 *	DIR/ID.pages	pages that came from another host
 *
 * Who reads takes no lock: what he finds is whole, or is not used.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

#define STORE_DIR "/var/lib/migrate-fast/store"

struct store {
	char *dir;
	int lock;		/* -1: only to read */
	uint64_t seed;		/* of all digests; no guest must know it */
	uint64_t next_id;
	struct source *sources;
	size_t nr_sources;
};

/*
 * To read: one that does not exist is empty. To change (@change): it is made,
 * and nobody else changes it meanwhile. 0, or -1 after fail().
 */
int store_open(struct store *store, const char *dir, bool change);
void store_close(struct store *store);
/* Writes store.json. 0, or -1 after fail(). */
int store_save(const struct store *store);

struct source *store_find(const struct store *store, const char *name);
/* Takes @source over, and gives it an id. */
struct source *store_add(struct store *store, struct source *source);
/* Forgets it, with its index. */
void store_remove(struct store *store, struct source *source);
/* Is the store being changed by somebody just now? */
bool store_busy(const struct store *store);

/* Is its index whole? All of it is read. */
bool store_is_whole(const struct store *store, const struct source *source);

/* Paths; to be freed. */
char *store_index(const struct store *store, const struct source *source);
char *store_pages(const struct store *store, const struct source *source);

#endif /* STORE_H */
