/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a VM leaves behind when it goes: its RAM file, for when it comes back.
 * A source of the store for that VM, and those that it shares with. It takes
 * memory, so it is bounded in age and size, and goes when the VM is here again.
 */
#ifndef KEPT_H
#define KEPT_H

#include <stdint.h>

#include "store.h"

/* Seconds, and the part of the host's memory, that all together may have. */
#define KEPT_AGE	(24 * 3600)
#define KEPT_SHARE	4

/* A quarter of the host's memory. */
uint64_t kept_most(void);

/*
 * The RAM file at @path, of the VM @vm, is of no use to QEMU any more: it gets
 * another name, and is indexed; what the VM left before is forgotten. @id names
 * it among the RAM files of the VM. 0, or -1 after fail(): then it is as it was.
 */
int kept_leave(struct store *store, const char *vm, const char *id,
	       const char *path,
	       int (*step)(void *arg, uint64_t done, uint64_t all), void *arg);
/* The VM is here again, or was given up: what it left is old. */
void kept_forget(struct store *store, const char *vm);
/*
 * Removes what is older than @age seconds, then the oldest, until no more than
 * @bytes are left. Returns the bytes that were freed.
 */
uint64_t kept_trim(struct store *store, int64_t age, uint64_t bytes);

#endif /* KEPT_H */
