/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Destination, post-copy: what a recv has to know that takes over from one
 * that was killed. QEMU cannot be asked: it may be waiting for an absent
 * page.
 */
#ifndef RECORD_H
#define RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct receiver;
struct vm;

/* Writes, or writes again. @committed: the source has handed the VM over. */
int record_write(const struct receiver *receiver, bool committed);
void record_remove(const char *session);
/*
 * Removes those of other QEMUs that had the same socket, and have died with
 * what they lacked.
 */
void record_forget_others(const struct receiver *receiver);
/* The one of the QEMU at @qmp; NULL after fail() if there is none. */
json_t *record_find(const char *qmp);
/* When the VM was known to be there, by ram_now(). */
uint64_t record_since(const json_t *record);
/*
 * Opens the RAM files that it names, if the QEMU is still there that had them
 * then: another one, of the same command line, has nothing of the VM. 0, or -1
 * after fail(); RECORD_ENDED, after fail() too, if its VM has ended.
 */
#define RECORD_ENDED 1
int record_open(const json_t *record, struct vm *vm);

#endif /* RECORD_H */
