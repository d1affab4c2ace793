/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Capabilities of QEMU's own migration that have to be so, or so, while we move
 * its VM, and what they were before.
 */
#ifndef CAPABILITIES_H
#define CAPABILITIES_H

#include <jansson.h>

struct vm;

/* Has QEMU got the one that all rests on? 0, or -1 after fail(). */
int capabilities_learn(struct vm *vm);
/*
 * The capabilities that have to be set for us; from here on it is known what
 * was before. NULL after fail().
 */
json_t *capabilities_plan(struct vm *vm);
/* Sets them; takes over the reference to @plan, which may be NULL: then -1. */
int capabilities_set(struct vm *vm, json_t *plan);
/* Puts back what was before. */
int capabilities_restore(struct vm *vm);
/* The same, in two halves: QEMU does it before what is started next. */
json_int_t capabilities_start_restoring(struct vm *vm);
int capabilities_end_restoring(struct vm *vm, json_int_t id);

#endif /* CAPABILITIES_H */
