/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface as it was when it was first used, without the comments. Programs
 * that were built with it must work with every later module: never change this.
 */
#ifndef _UAPI_LINUX_MIGRATE_FAST_H
#define _UAPI_LINUX_MIGRATE_FAST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MIGRATE_FAST_DEVICE	"/dev/migrate-fast"
#define MIGRATE_FAST_FSTYPE	"mfram"

#define MIGRATE_FAST_FSMAGIC	0x6d66726d

#define MIGRATE_FAST_PAGE_SIZE	4096

#define MIGRATE_FAST_ABI	1

#define MIGRATE_FAST_MAX_RAM	64

#define MIGRATE_FAST_MAX_PAGES	(1ULL << 32)

#define MIGRATE_FAST_FEATURE_TRACK	(1ULL << 0)
#define MIGRATE_FAST_FEATURE_HASH	(1ULL << 1)
#define MIGRATE_FAST_FEATURE_SEND	(1ULL << 2)
#define MIGRATE_FAST_FEATURE_FILL	(1ULL << 3)

struct migrate_fast_handshake {
	__u32 abi;
	__u32 reserved;
	__u64 features;
};

struct migrate_fast_add {
	__s32 fd;
	__u32 flags;
	__u32 ram;
	__u32 reserved;
	__u64 pages;
	__u64 bitmap_offset;
	__u64 bitmap_bytes;
};

struct migrate_fast_start {
	__u32 flags;
	__u32 reserved;
};

struct migrate_fast_harvest {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 next;
	__u64 dirty;
	__u64 carried;
};

struct migrate_fast_peek {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 bitmap;
	__u64 dirty;
};

#define MIGRATE_FAST_HASH_XXH64		(1U << 0)
#define MIGRATE_FAST_HASH_SHA256	(1U << 1)
#define MIGRATE_FAST_HASH_DIRTY		(1U << 2)

#define MIGRATE_FAST_DIGEST_ZERO	(1U << 0)
#define MIGRATE_FAST_DIGEST_ABSENT	(1U << 1)

struct migrate_fast_digest {
	__u64 page;
	__u32 flags;
	__u32 reserved;
	__u64 xxh64;
	__u8 sha256[32];
};

struct migrate_fast_hash {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 seed;
	__u64 digests;
	__u64 max;
	__u64 count;
	__u64 next;
};

#define MIGRATE_FAST_SEGMENT_USER	0xffffffffU

#define MIGRATE_FAST_MAX_SEGMENTS	1024
#define MIGRATE_FAST_MAX_SEND		(1ULL << 30)

struct migrate_fast_segment {
	__u32 ram;
	__u32 reserved;
	__u64 offset;
	__u64 bytes;
};

#define MIGRATE_FAST_SEND_DONTWAIT	(1U << 0)
#define MIGRATE_FAST_SEND_MORE		(1U << 1)

struct migrate_fast_send {
	__s32 sock;
	__u32 flags;
	__u64 segments;
	__u32 count;
	__u32 reserved;
	__u64 skip;
	__u64 sent;
};

struct migrate_fast_counters {
	__u32 ram;
	__u32 flags;
	__u64 faults;
	__u64 writes;
	__u64 harvests;
	__u64 harvested;
	__u64 carried;
	__u64 hashed;
	__u64 sent_bytes;
};

#define MIGRATE_FAST_COUNTERS_TRACKED	(1U << 0)

struct migrate_fast_demand {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 bitmap;
	__u64 absent;
};

#define MIGRATE_FAST_FAULT_WRITE	(1U << 0)
#define MIGRATE_FAST_FAULT_GOES_ON	(1U << 1)
#define MIGRATE_FAST_FAULT_AGAIN	(1U << 2)

struct migrate_fast_fault {
	__u32 ram;
	__u32 flags;
	__u64 page;
	__u64 ns;
};

#define MIGRATE_FAST_FILL_ZERO	(1U << 0)

struct migrate_fast_fill {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 from;
	__u64 next;
	__u64 filled;
	__u64 absent;
};

#define MIGRATE_FAST_ABSENT_SERVED	(1U << 0)
#define MIGRATE_FAST_ABSENT_ABORTED	(1U << 1)

struct migrate_fast_absent {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 bitmap;
	__u64 absent;
	__u64 waiting;
	__u64 faults;
	__u64 went_on;
	__u32 state;
	__u32 reserved;
};

struct migrate_fast_abort {
	__u32 ram;
	__u32 flags;
};

#define MIGRATE_FAST_IOC_MAGIC	0xe6
#define MIGRATE_FAST_HANDSHAKE \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x00, struct migrate_fast_handshake)
#define MIGRATE_FAST_ADD \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x01, struct migrate_fast_add)
#define MIGRATE_FAST_START \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x02, struct migrate_fast_start)
#define MIGRATE_FAST_STOP \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x03, struct migrate_fast_start)
#define MIGRATE_FAST_HARVEST \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x04, struct migrate_fast_harvest)
#define MIGRATE_FAST_PEEK \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x05, struct migrate_fast_peek)
#define MIGRATE_FAST_HASH \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x06, struct migrate_fast_hash)
#define MIGRATE_FAST_SEND \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x07, struct migrate_fast_send)
#define MIGRATE_FAST_COUNTERS \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x08, struct migrate_fast_counters)
#define MIGRATE_FAST_DEMAND \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x09, struct migrate_fast_demand)
#define MIGRATE_FAST_FILL \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x0a, struct migrate_fast_fill)
#define MIGRATE_FAST_ABSENT \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x0b, struct migrate_fast_absent)
#define MIGRATE_FAST_ABORT \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x0c, struct migrate_fast_abort)

#endif
