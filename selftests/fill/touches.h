/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All the ways to touch a page that may be absent. Each is given a page that
 * is filled with version 2 meanwhile, returns 0 if it got exactly that (or
 * changed exactly what it wanted of it), and else an error number.
 */
#ifndef FILL_TOUCHES_H
#define FILL_TOUCHES_H

#include <string.h>

#include "mf_fill.h"

/* The byte that writers of a part write, and where in the page. */
#define PART	1000
#define PART_BYTE 0xee

/* The page is what it was filled with. */
static inline int touch_right(const void *seen, size_t page)
{
	return mf_stamp_differs(seen, page, 2) < 0 ? 0 : MF_WRONG;
}

/* But for @bytes at @from, which are all @byte. */
static inline int touch_right_but(const void *seen, size_t page, size_t from,
				  size_t bytes, unsigned char byte)
{
	unsigned char want[MF_PAGE];

	mf_stamp(want, page, 1, 2);
	memset(want + from, byte, bytes);
	return memcmp(want, seen, MF_PAGE) ? MF_WRONG : 0;
}

/* A disk for O_DIRECT, opened by the test; holds 0x77 in all bytes. */
extern int touch_disk;
int touch_disk_open(void);
void touch_disk_close(void);

int load(struct mf_vm *vm, size_t page);
int store(struct mf_vm *vm, size_t page);
int atomic_add(struct mf_vm *vm, size_t page);
int own_mapping(struct mf_vm *vm, size_t page);
int private_mapping(struct mf_vm *vm, size_t page);
int private_store(struct mf_vm *vm, size_t page);
int map_populate(struct mf_vm *vm, size_t page);
int populate_read(struct mf_vm *vm, size_t page);
int populate_write(struct mf_vm *vm, size_t page);
int lock_memory(struct mf_vm *vm, size_t page);
int syscall_source(struct mf_vm *vm, size_t page);
int syscall_target(struct mf_vm *vm, size_t page);
int proc_mem(struct mf_vm *vm, size_t page);
int vm_readv(struct mf_vm *vm, size_t page);
int vm_writev(struct mf_vm *vm, size_t page);
int futex_wait(struct mf_vm *vm, size_t page);
int direct_from(struct mf_vm *vm, size_t page);
int direct_into(struct mf_vm *vm, size_t page);

int read_file(struct mf_vm *vm, size_t page);
int read_across(struct mf_vm *vm, size_t page);
int read_vector(struct mf_vm *vm, size_t page);
int write_part(struct mf_vm *vm, size_t page);
int write_page(struct mf_vm *vm, size_t page);
int write_from_same_file(struct mf_vm *vm, size_t page);
int splice_out(struct mf_vm *vm, size_t page);
int splice_in(struct mf_vm *vm, size_t page);
int send_file(struct mf_vm *vm, size_t page);
int copy_range(struct mf_vm *vm, size_t page);
int uring_read(struct mf_vm *vm, size_t page);
int uring_write(struct mf_vm *vm, size_t page);
int uring_into(struct mf_vm *vm, size_t page);

int guest_load(struct mf_vm *vm, size_t page);
int guest_store(struct mf_vm *vm, size_t page);
int guest_load_async(struct mf_vm *vm, size_t page);

/* The kernel's network device for guests transmits the page; receives into it. */
int vhost_from(struct mf_vm *vm, size_t page);
int vhost_into(struct mf_vm *vm, size_t page);

#endif
