/* SPDX-License-Identifier: GPL-2.0 */
/* send --keep: the memory of a VM that goes is kept for when it comes back. */
#ifndef KEEPING_H
#define KEEPING_H

struct vm;

/* Before anything is begun: can it be kept? 0, or -1 after fail(). */
int keeping_plan(const struct vm *vm);
/* Its QEMU has ended. What fails is noted: the VM has moved all the same. */
void keeping_leave(const struct vm *vm, const char *dir);
/* The VM is here: what it has left is old. Likewise. */
void keeping_forget(const struct vm *vm, const char *dir);

#endif /* KEEPING_H */
