/* SPDX-License-Identifier: GPL-2.0 */
/* The RAM files of a VM: are they ours, are they the ones QEMU uses? */
#ifndef RAM_H
#define RAM_H

#include <stdbool.h>
#include <stdint.h>

struct mf_harvested;

struct ram;
struct vm;

/*
 * Does any other process map the file behind @fd, one that was there at @since
 * (ram_now(); 0: whenever)? @first is looked at first.
 */
bool ram_is_mapped(int fd, int first, uint64_t since);
/* ms since the machine was started, asleep or not. */
uint64_t ram_now(void);
/*
 * mf_harvest() in parts, and the loop serves others between them: with much
 * memory the other end would miss our signs of life. Not from within the loop.
 */
int ram_harvest(struct vm *vm, struct ram *ram, struct mf_harvested *sum);
/* Punches out whatever the file of @ram holds. */
int ram_clear(struct vm *vm, struct ram *ram);

#endif /* RAM_H */
