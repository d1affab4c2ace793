// SPDX-License-Identifier: GPL-2.0
/* Touches of a page through a mapping. See touches.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "touches.h"

int load(struct mf_vm *vm, size_t page)
{
	return mf_touch_load(vm, page);
}

int store(struct mf_vm *vm, size_t page)
{
	mf_page(vm, page)[PART] = PART_BYTE;
	return touch_right_but(mf_page(vm, page), page, PART, 1, PART_BYTE);
}

int atomic_add(struct mf_vm *vm, size_t page)
{
	__u64 *word = (void *)mf_page(vm, page);

	if (__atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST) !=
	    mf_stamp_word(page, 0, 2))
		return MF_WRONG;
	__atomic_fetch_sub(word, 1, __ATOMIC_SEQ_CST);
	return touch_right(mf_page(vm, page), page);
}

int own_mapping(struct mf_vm *vm, size_t page)
{
	unsigned char *map = mmap(NULL, MF_PAGE, PROT_READ, MAP_SHARED,
				  open(vm->path, O_RDWR), page * MF_PAGE);

	return map == MAP_FAILED ? errno : touch_right(map, page);
}

int private_mapping(struct mf_vm *vm, size_t page)
{
	unsigned char *map = mmap(NULL, MF_PAGE, PROT_READ, MAP_PRIVATE,
				  vm->fd, page * MF_PAGE);

	return map == MAP_FAILED ? errno : touch_right(map, page);
}

/* Copy on write: of which the copy must be the page that was brought. */
int private_store(struct mf_vm *vm, size_t page)
{
	unsigned char *map = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE, vm->fd, page * MF_PAGE);

	if (map == MAP_FAILED)
		return errno;
	map[PART] = PART_BYTE;
	return touch_right_but(map, page, PART, 1, PART_BYTE) ?:
	       touch_right(mf_page(vm, page), page);
}

int map_populate(struct mf_vm *vm, size_t page)
{
	unsigned char *map = mmap(NULL, MF_PAGE, PROT_READ,
				  MAP_SHARED | MAP_POPULATE, vm->fd,
				  page * MF_PAGE);

	return map == MAP_FAILED ? errno : touch_right(map, page);
}

int populate_read(struct mf_vm *vm, size_t page)
{
	if (madvise(mf_page(vm, page), MF_PAGE, MADV_POPULATE_READ))
		return errno;
	return touch_right(mf_page(vm, page), page);
}

int populate_write(struct mf_vm *vm, size_t page)
{
	if (madvise(mf_page(vm, page), MF_PAGE, MADV_POPULATE_WRITE))
		return errno;
	return touch_right(mf_page(vm, page), page);
}

int lock_memory(struct mf_vm *vm, size_t page)
{
	if (mlock(mf_page(vm, page), MF_PAGE))
		return errno;
	return touch_right(mf_page(vm, page), page);
}

/* The kernel reads the page for a system call. */
int syscall_source(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	int pipes[2];

	if (pipe(pipes))
		return errno;
	if (write(pipes[1], mf_page(vm, page), MF_PAGE) != MF_PAGE)
		return errno;
	if (read(pipes[0], bytes, MF_PAGE) != MF_PAGE)
		return errno;
	return touch_right(bytes, page);
}

/* The kernel writes a part of the page for a system call. */
int syscall_target(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[8];
	int pipes[2];

	memset(bytes, PART_BYTE, sizeof(bytes));
	if (pipe(pipes) || write(pipes[1], bytes, sizeof(bytes)) < 0)
		return errno;
	if (read(pipes[0], mf_page(vm, page) + PART, sizeof(bytes)) < 0)
		return errno;
	return touch_right_but(mf_page(vm, page), page, PART, sizeof(bytes),
			       PART_BYTE);
}

/* As a debugger looks, and the kernel's core dump. */
int proc_mem(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	int fd = open("/proc/self/mem", O_RDWR);
	ssize_t n = pread(fd, bytes, MF_PAGE, (uintptr_t)mf_page(vm, page));

	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	return touch_right(bytes, page);
}

/* The pages of the process that has started this one. */
int vm_readv(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	struct iovec to = { bytes, MF_PAGE };
	struct iovec from = { mf_page(vm, page), MF_PAGE };
	ssize_t n = process_vm_readv(getppid(), &to, 1, &from, 1, 0);

	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	return touch_right(bytes, page);
}

int vm_writev(struct mf_vm *vm, size_t page)
{
	unsigned char byte = PART_BYTE;
	struct iovec from = { &byte, 1 };
	struct iovec to = { mf_page(vm, page) + PART, 1 };
	ssize_t n = process_vm_writev(getppid(), &from, 1, &to, 1, 0);

	if (n != 1)
		return n < 0 ? errno : ENODATA;
	return touch_right_but(mf_page(vm, page), page, PART, 1, PART_BYTE);
}

/* The kernel compares the word with page faults forbidden, and looks again. */
int futex_wait(struct mf_vm *vm, size_t page)
{
	__u32 *word = (void *)mf_page(vm, page), value = 0;

	/* The value of an old page would sleep, the right one differs. */
	if (!syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0))
		return MF_WRONG;
	if (errno != EAGAIN)
		return errno;
	return touch_right(mf_page(vm, page), page);
}

/* O_DIRECT: the disk's driver reads the page, or writes it. */

int touch_disk;
static long disk_number;

int touch_disk_open(void)
{
	unsigned char *bytes = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char path[64];
	int rc = 0;

	mf_modprobe("zram", "num_devices=0");
	disk_number = mf_read_number("/sys/class/zram-control/hot_add");
	if (disk_number < 0)
		return disk_number;
	snprintf(path, sizeof(path), "/sys/block/zram%ld/disksize", disk_number);
	rc = mf_write_string(path, "1048576");
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "/dev/zram%ld", disk_number);
	touch_disk = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (touch_disk < 0)
		return -errno;
	memset(bytes, 0x77, MF_PAGE);
	if (pwrite(touch_disk, bytes, MF_PAGE, 0) != MF_PAGE)
		rc = -errno;
	munmap(bytes, MF_PAGE);
	return rc;
}

void touch_disk_close(void)
{
	char number[16];

	close(touch_disk);
	snprintf(number, sizeof(number), "%ld", disk_number);
	mf_write_string("/sys/class/zram-control/hot_remove", number);
}

int direct_from(struct mf_vm *vm, size_t page)
{
	unsigned char *bytes = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pwrite(touch_disk, mf_page(vm, page), MF_PAGE, MF_PAGE) != MF_PAGE)
		return errno;
	if (pread(touch_disk, bytes, MF_PAGE, MF_PAGE) != MF_PAGE)
		return errno;
	return touch_right(bytes, page);
}

/* All of the page is overwritten, but only once it is there. */
int direct_into(struct mf_vm *vm, size_t page)
{
	if (pread(touch_disk, mf_page(vm, page), MF_PAGE, 0) != MF_PAGE)
		return errno;
	return touch_right_but(mf_page(vm, page), page, 0, MF_PAGE, 0x77);
}
