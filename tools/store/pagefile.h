/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Pages on their way from one host's store to another's: a block that says
 * what it is, the pages, each once, and a block with their number and XXH64.
 * So it is a raw image too, of which any page can be read in place. What was
 * cut off, or is not what was written, is found.
 */
#ifndef PAGEFILE_H
#define PAGEFILE_H

#include <stdint.h>

#include "store.h"

struct pagefile;

/* @name is told in messages. NULL after fail(). */
struct pagefile *pagefile_create(int fd, const char *name);
/* Adds the pages of @source that were not added before. 0, or -1. */
int pagefile_export(struct pagefile *file, const struct store *store,
		    const struct source *source,
		    int (*step)(void *arg, uint64_t done, uint64_t all),
		    void *arg);
/* Writes the last block; *@pages are in it. Frees it in any case. */
int pagefile_finish(struct pagefile *file, uint64_t *pages);
void pagefile_free(struct pagefile *file);

/* Copies one from @fd (@name) to @to, and looks whether it is whole. */
int pagefile_import(int fd, const char *name, const char *to,
		    int (*step)(void *arg, uint64_t done, uint64_t all),
		    void *arg, uint64_t *pages);

#endif /* PAGEFILE_H */
