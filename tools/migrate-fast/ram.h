/* SPDX-License-Identifier: GPL-2.0 */
/* The RAM files of a VM: are they ours, are they the ones QEMU uses? */
#ifndef RAM_H
#define RAM_H

#include <stdbool.h>

struct mf_harvested;

struct ram;
struct vm;

/* Does any process map the file behind @fd? @first is looked at first. */
bool ram_is_mapped(int fd, int first);
/*
 * mf_harvest() in parts, and the loop serves others between them: with much
 * memory the other end would miss our signs of life. Not from within the loop.
 */
int ram_harvest(struct vm *vm, struct ram *ram, struct mf_harvested *sum);
/* Punches out whatever the file of @ram holds. */
int ram_clear(struct vm *vm, struct ram *ram);

#endif /* RAM_H */
