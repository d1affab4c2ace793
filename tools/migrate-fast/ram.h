/* SPDX-License-Identifier: GPL-2.0 */
/* The RAM files of a VM: are they ours, are they the ones QEMU uses? */
#ifndef RAM_H
#define RAM_H

#include <stdbool.h>

struct ram;
struct vm;

/* Does any process map the file behind @fd? @first is looked at first. */
bool ram_is_mapped(int fd, int first);
/* Punches out whatever the file of @ram holds. */
int ram_clear(struct vm *vm, struct ram *ram);

#endif /* RAM_H */
