/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: a RAM file in a mount of its own, a session
 * that tracks it, and harvests as strings ("3,8-11") that a test compares.
 *
 * Functions return 0 (or something positive) or -errno, and say on stderr what
 * went wrong where a test would not.
 */
#ifndef MF_TEST_H
#define MF_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <linux/migrate_fast.h>

/* The C library of Debian 12 does not know it. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/*
 * Emulated hosts are slow, and on a busy machine stand still for seconds. What
 * has to happen has so many ms for it; a test that hangs is ended later.
 */
#define MF_PATIENCE_MS	20000
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 90

#define MF_PAGE		((size_t)MIGRATE_FAST_PAGE_SIZE)
/* Pages of a large (2 MB) page. */
#define MF_HUGE		512UL
/* Every test has its own mount here, in its own mount namespace. */
#define MF_MNT		"/mnt"

/**
 * struct mf_vm - one RAM file and the session that holds it
 * @session: the session, after the handshake
 * @fd: the RAM file, open for reading and writing
 * @ram: its number in the session
 * @pages: its length
 * @map: all of it, mapped shared and writable, 2 MB aligned
 * @bitmap: harvest bitmap as mapped
 * @bitmap_bytes: its length
 * @dirty: what the last harvest or peek said
 * @carried: what the last harvest said
 * @path: of the file
 */
struct mf_vm {
	int session;
	int fd;
	__u32 ram;
	size_t pages;
	unsigned char *map;
	__u64 *bitmap;
	size_t bitmap_bytes;
	__u64 dirty;
	__u64 carried;
	char path[64];
};

/* ioctl(2) that returns -errno. */
int mf_ioctl(int fd, unsigned long request, void *arg);

/* Open the device and greet; the session or -errno. */
int mf_session(void);
int mf_add(int session, int fd, struct migrate_fast_add *add);
int mf_start(int session);
int mf_stop(int session);

/* Mount an mfram of our own at MF_MNT, in a private mount namespace. */
int mf_mount(const char *options);
int mf_umount(void);
/* Create a RAM file of the mount; the descriptor or -errno. */
int mf_create(const char *path, size_t bytes);
/* Map shared at a 2 MB aligned address; NULL with errno set on failure. */
void *mf_map(int fd, size_t bytes, int prot);

/* Mount, create, map, open a session, add. Tracking is not started. */
int mf_vm_open(struct mf_vm *vm, size_t pages, const char *options);
void mf_vm_close(struct mf_vm *vm);
/* Leave the session, and open another one for the same file. */
void mf_vm_leave(struct mf_vm *vm);
int mf_vm_session(struct mf_vm *vm);
/* In a memory control group of its own, so that it can be swapped out. */
int mf_vm_open_grouped(struct mf_vm *vm, size_t pages, const char *options);
void mf_vm_close_grouped(struct mf_vm *vm);

static inline unsigned char *mf_page(const struct mf_vm *vm, size_t page)
{
	return vm->map + page * MF_PAGE;
}

/*
 * Harvest all, or a range, into a cleared bitmap, and list the pages. What the
 * call says beside must agree with the bitmap, else the string says so too.
 */
const char *mf_harvest(struct mf_vm *vm);
const char *mf_harvest_range(struct mf_vm *vm, __u64 start, __u64 pages);
/*
 * Harvest until nothing is carried any more, and list all that was reported: a
 * driver may tell that it is done a moment before it lets go of the pages.
 */
const char *mf_harvest_settled(struct mf_vm *vm);
const char *mf_peek(struct mf_vm *vm);
/* "0-511,600": the pages whose bits are set. In a buffer that is reused. */
const char *mf_list(const __u64 *bits, size_t pages);

static inline bool mf_bit(const __u64 *bits, size_t page)
{
	return bits[page / 64] >> (page % 64) & 1;
}

/* First page in which @map and the file's bytes differ, or -1. */
long mf_differs(const struct mf_vm *vm, const unsigned char *mirror);

/* kB of a field of smaps of the mapping that begins at @addr, or -errno. */
long mf_smaps(const void *addr, const char *field);
/* Is the page of the file in memory? Via mincore(2), so nothing is faulted. */
int mf_resident(const void *page);

/* The first number in a file like /sys/module/X/refcnt, or -errno. */
long mf_read_number(const char *path);
/* Users of the module. */
long mf_users(void);
/* The same, when there are @want; or what there are if there never are. */
long mf_users_settled(long want);
int mf_write_string(const char *path, const char *string);
int mf_modprobe(const char *module, const char *option);
/* Major times 1000 plus minor of the running kernel: 6012. */
int mf_kernel(void);

/* Exit status of a child: 0 when it went well. */
int mf_wait(pid_t pid);
/*
 * The same, until mf_ms() is @limit: then it is killed, and -ETIMEDOUT. Minus
 * the signal if it was ended by one.
 */
int mf_wait_until(pid_t pid, unsigned long long limit);
/*
 * Does a child end before mf_ms() is @limit? It is neither killed, which would
 * not help if it hangs in the kernel, nor taken leave of: that is mf_wait()'s.
 */
bool mf_ends_until(pid_t pid, unsigned long long limit);
unsigned int mf_environment(const char *name, unsigned int otherwise);
/* splitmix64: a stream of numbers from a seed, the same everywhere. */
__u64 mf_random(__u64 *state);
/* MF_SEED, else from the clock; printed, so that a failure can be repeated. */
__u64 mf_seed(void);
unsigned long long mf_ms(void);

/* Swap on a zram device. Call mf_swap_off() at the end. */
int mf_swap_on(size_t bytes);
void mf_swap_off(void);
/* A memory control group for this process; enter before memory is charged. */
int mf_cgroup_enter(void);
void mf_cgroup_leave(void);
/* A line of its memory.stat, in bytes. */
long mf_cgroup_stat(const char *field);
/* Swap out the group's pages; how many of these are out of memory now. */
long mf_swap_out(void *addr, size_t bytes);

#endif
