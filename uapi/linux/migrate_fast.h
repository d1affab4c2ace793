/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The contract between migrate_fast.ko and user space.
 *
 * Opening /dev/migrate-fast (root only, CAP_SYS_ADMIN) makes a *session*. A
 * session is given the RAM files of one VM (files of the filesystem mfram),
 * tracks which of their pages are written, digests pages and sends pages to
 * a socket. Closing the last descriptor, and unmapping the bitmaps, undoes
 * all of it; the VM never notices. Only what DEMAND has made absent stays so.
 *
 * Units: unless a field says "bytes", positions and lengths count pages of
 * MIGRATE_FAST_PAGE_SIZE bytes from the start of the RAM file.
 *
 * Rules that hold for every ioctl here:
 *  - The size of the structure is part of the ioctl number. A newer, longer
 *    structure is accepted by an older module when the part that it does not
 *    know is zero (else E2BIG); a shorter one is extended by zeroes. A
 *    structure shorter than its first published version is EINVAL.
 *  - Flags that the module does not know, and reserved fields that are not
 *    zero, are EINVAL.
 *  - Any ioctl but MIGRATE_FAST_HANDSHAKE fails with EPROTO until the
 *    handshake was made.
 *  - A number that the module does not know is ENOTTY: so a program finds out
 *    what an older one lacks, beside the handshake's features.
 *  - Outputs are written last. EFAULT on the way out leaves the effect of the
 *    call in place, as with read(2).
 *  - All may sleep. Long ones can be interrupted: they then return success
 *    with less done than asked for, or EINTR when nothing was done. So do
 *    short ones that wait for another call of the same session.
 *  - "To the end of the file" can be nothing: @start is the end then, the call
 *    succeeds, and so says @next where there is one.
 */
#ifndef _UAPI_LINUX_MIGRATE_FAST_H
#define _UAPI_LINUX_MIGRATE_FAST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MIGRATE_FAST_DEVICE	"/dev/migrate-fast"
#define MIGRATE_FAST_FSTYPE	"mfram"
/* f_type of statfs(2) on an mfram mount: "mfrm". */
#define MIGRATE_FAST_FSMAGIC	0x6d66726d

#define MIGRATE_FAST_PAGE_SIZE	4096
/* Version of this contract; grows only when an old program would break. */
#define MIGRATE_FAST_ABI	1
/* RAM files in one session. */
#define MIGRATE_FAST_MAX_RAM	64
/* Pages of one RAM file that can be in a session (16 TiB). */
#define MIGRATE_FAST_MAX_PAGES	(1ULL << 32)

/* What this module can do: bits of migrate_fast_handshake.features. */
#define MIGRATE_FAST_FEATURE_TRACK	(1ULL << 0) /* START, HARVEST, PEEK */
#define MIGRATE_FAST_FEATURE_HASH	(1ULL << 1) /* HASH */
#define MIGRATE_FAST_FEATURE_SEND	(1ULL << 2) /* SEND */
#define MIGRATE_FAST_FEATURE_FILL	(1ULL << 3) /* DEMAND, FILL, ABSENT, ABORT */
#define MIGRATE_FAST_FEATURE_KVM	(1ULL << 4) /* KVM, HARVEST_CLEAN */

/**
 * struct migrate_fast_handshake - MIGRATE_FAST_HANDSHAKE, always first
 * @abi: in: MIGRATE_FAST_ABI of the caller; out: that of the module
 * @reserved: 0
 * @features: in: features that the caller cannot do without; out: all that
 *	the module has
 *
 * May be repeated. Errors: EPROTONOSUPPORT when @abi differs or a feature is
 * missing (the outputs are filled in all the same, so that the caller can
 * say what is wrong).
 */
struct migrate_fast_handshake {
	__u32 abi;
	__u32 reserved;
	__u64 features;
};

/**
 * struct migrate_fast_add - MIGRATE_FAST_ADD, put a RAM file into the session
 * @fd: in: descriptor of an mfram file, open for reading and writing
 * @flags: 0
 * @ram: out: number of the file in this session, from 0 on; the other ioctls
 *	name the file by it
 * @reserved: 0
 * @pages: out: length of the file, rounded up to whole pages
 * @bitmap_offset: out: offset for mmap(2) of the session at which the harvest
 *	bitmap of this file begins
 * @bitmap_bytes: out: length of that bitmap in bytes, a multiple of the page
 *	size
 *
 * The bitmap has one bit for a page: page p is bit p % 64 of the __u64 number
 * p / 64. It is mapped MAP_SHARED, readable and writable. HARVEST sets bits
 * in it with an atomic OR and never clears one: user space clears what it has
 * dealt with (atomically, if another thread may harvest meanwhile), so that
 * no page is forgotten between two calls. The module never relies on what
 * user space writes there.
 *
 * The session holds the file until it is closed: the mount stays busy.
 * Errors of mmap(2): EINVAL not MAP_SHARED, or more than the bitmap; ENOENT
 * there is none at that offset.
 * Errors: EBADF @fd is not open; EMEDIUMTYPE not a file of mfram; EACCES not
 * open for reading and writing; EEXIST the file is in this session already;
 * ENOSPC MIGRATE_FAST_MAX_RAM files are in; EINVAL the file is empty; EFBIG
 * it has more than MIGRATE_FAST_MAX_PAGES; ENOMEM; EINTR.
 */
struct migrate_fast_add {
	__s32 fd;
	__u32 flags;
	__u32 ram;
	__u32 reserved;
	__u64 pages;
	__u64 bitmap_offset;
	__u64 bitmap_bytes;
};

/**
 * struct migrate_fast_start - MIGRATE_FAST_START and MIGRATE_FAST_STOP
 * @flags: 0
 * @reserved: 0
 *
 * START begins to track every file of the session that is not tracked yet:
 * when it returns, no page of them is writable in any page table without its
 * dirty bit. Copy the files after START, not before. While a file is tracked
 * it cannot grow (EBUSY to whoever tries). On kernels from 6.17 on its mappings
 * are as while pages are absent (see struct migrate_fast_demand) and not served
 * by userfaultfd(2), and of one that mprotect(2) makes writable all pages count
 * as written, once.
 *
 * STOP ends tracking and forgets the dirty bits. Stopping what is not
 * tracked is no error. Large (2 MB) mappings that were split come back by
 * and by (khugepaged) or, from a moment later on, with madvise(MADV_COLLAPSE).
 *
 * Errors of START: EBUSY another session tracks one of the files; ESTALE a
 * file has grown since ADD; EADDRINUSE (kernels from 6.17 on) a mapping of one
 * is under write protection by userfaultfd(2); ENOMEM; EINTR. On error no file
 * is tracked that was not tracked before. Errors of STOP: EINTR.
 */
struct migrate_fast_start {
	__u32 flags;
	__u32 reserved;
};

/* Bits of migrate_fast_harvest.flags. */
#define MIGRATE_FAST_HARVEST_CLEAN	(1U << 0) /* keep nothing writable */

/**
 * struct migrate_fast_harvest - MIGRATE_FAST_HARVEST, take the dirty pages
 * @ram: in: number of the file
 * @flags: in: MIGRATE_FAST_HARVEST_*
 * @start: in: first page, a multiple of 64
 * @pages: in: how many pages; 0: to the end of the file
 * @next: out: the page after the last one that was looked at. Less than
 *	@start + @pages only when a signal came: call again with @start =
 *	@next
 * @dirty: out: pages whose bits were set in the bitmap by this call
 * @carried: out: those of @dirty that somebody may still be writing by DMA
 *	(in-flight O_DIRECT and the like), or that are left writable because
 *	KVM's log is used and has them (see KVM; none with CLEAN). They are
 *	reported again by the next harvest by themselves. A harvest is final
 *	only if this is 0
 *
 * Reports each page that was written since the last harvest (or START), makes
 * those pages, and no others, write-protected in every process and in KVM,
 * and sets their bits in the file's bitmap. The contents of a page, read
 * after the call, include every write that was reported.
 *
 * Errors: ENOENT no such @ram; EINVAL @start not a multiple of 64 or the range
 * leaves the file; ENODATA the file is not tracked; EINTR.
 */
struct migrate_fast_harvest {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 next;
	__u64 dirty;
	__u64 carried;
};

/**
 * struct migrate_fast_peek - MIGRATE_FAST_PEEK, look without taking
 * @ram: in: number of the file
 * @flags: 0
 * @start: in: first page, a multiple of 64
 * @pages: in: how many pages; 0: to the end of the file
 * @bitmap: in: user address (8 byte aligned) of a bitmap for the range, bit 0
 *	is page @start; 0: only count. Bits after the last page of the range,
 *	up to the end of its last __u64, are cleared
 * @dirty: out: pages of the range that the next harvest would report
 *
 * Errors: as HARVEST; EINVAL @bitmap is misaligned; EFAULT.
 */
struct migrate_fast_peek {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 bitmap;
	__u64 dirty;
};

/* Bits of migrate_fast_hash.flags: what to compute, and of which pages. */
#define MIGRATE_FAST_HASH_XXH64		(1U << 0) /* fill in .xxh64 */
#define MIGRATE_FAST_HASH_SHA256	(1U << 1) /* fill in .sha256 */
#define MIGRATE_FAST_HASH_DIRTY		(1U << 2) /* only pages set in the bitmap */

/* Bits of migrate_fast_digest.flags. */
#define MIGRATE_FAST_DIGEST_ZERO	(1U << 0) /* all bytes are zero */
#define MIGRATE_FAST_DIGEST_ABSENT	(1U << 1) /* a hole; implies ZERO */

/**
 * struct migrate_fast_digest - what HASH says of one page
 * @page: number of the page in its file
 * @flags: MIGRATE_FAST_DIGEST_*; the zero test is always made
 * @reserved: 0
 * @xxh64: XXH64 of the 4096 bytes with the seed of the call; 0 unless asked
 *	for. Not cryptographic: a guest can forge it
 * @sha256: SHA-256 of the 4096 bytes; zeroes unless asked for
 *
 * With XXH64 or SHA256 asked for, the digests of zero pages and holes are
 * those of 4096 zero bytes, so that they can be compared like any other.
 */
struct migrate_fast_digest {
	__u64 page;
	__u32 flags;
	__u32 reserved;
	__u64 xxh64;
	__u8 sha256[32];
};

/**
 * struct migrate_fast_hash - MIGRATE_FAST_HASH, digests of pages
 * @ram: in: number of the file
 * @flags: in: MIGRATE_FAST_HASH_*; 0 tells just which pages are zero
 * @start: in: first page
 * @pages: in: how many pages; 0: to the end of the file
 * @seed: in: seed of XXH64; 0 unless MIGRATE_FAST_HASH_XXH64
 * @digests: in: user address (8 byte aligned) of an array of struct
 *	migrate_fast_digest
 * @max: in: entries in that array, at least 1
 * @count: out: entries filled, in ascending order of page
 * @next: out: the page after the last one that was looked at; less than the
 *	end of the range when the array is full or a signal came: call again
 *	with @start = @next
 *
 * No page is copied to user space and holes are not filled. A page that is
 * written meanwhile gives the digest of no moment in particular, but is
 * dirty afterwards. Swapped pages are read back. Waits for a DEMAND of the
 * file that waits for others, a second at most.
 *
 * Errors: ENOENT no such @ram; EINVAL the range leaves the file, @max is 0,
 * @digests misaligned, @seed without XXH64; EFAULT; EIO a page could not be
 * read from swap, or its memory is broken; ENODATA a page is absent (see
 * DEMAND); ENOMEM; EINTR.
 */
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

/* migrate_fast_segment.ram: the segment is memory of the caller. */
#define MIGRATE_FAST_SEGMENT_USER	0xffffffffU
/* Segments in one SEND, and bytes in all of them together. */
#define MIGRATE_FAST_MAX_SEGMENTS	1024
#define MIGRATE_FAST_MAX_SEND		(1ULL << 30)

/**
 * struct migrate_fast_segment - a piece of a gather send
 * @ram: number of the file, or MIGRATE_FAST_SEGMENT_USER
 * @reserved: 0
 * @offset: byte offset in the file (any, not only whole pages), or user
 *	address
 * @bytes: length in bytes, not 0; must not leave the file
 */
struct migrate_fast_segment {
	__u32 ram;
	__u32 reserved;
	__u64 offset;
	__u64 bytes;
};

/* Bits of migrate_fast_send.flags. */
#define MIGRATE_FAST_SEND_DONTWAIT	(1U << 0) /* never wait for the peer */
#define MIGRATE_FAST_SEND_MORE		(1U << 1) /* more follows at once */

/**
 * struct migrate_fast_send - MIGRATE_FAST_SEND, gather send to a socket
 * @sock: in: connected stream socket, TCP or unix
 * @flags: in: MIGRATE_FAST_SEND_*; a socket with O_NONBLOCK behaves as with
 *	DONTWAIT
 * @segments: in: user address (8 byte aligned) of an array of struct
 *	migrate_fast_segment
 * @count: in: entries in that array, 1 to MIGRATE_FAST_MAX_SEGMENTS
 * @reserved: 0
 * @skip: in: bytes of the gather that an earlier call has sent already: the
 *	sum of @sent so far
 * @sent: out: bytes that the socket has taken in this call
 *
 * Guest pages travel by reference (zero-copy) where the kernel can: the peer
 * receives what the page holds when the packet is built or *resent*, which
 * may be later than this call. That is right for pages that are tracked, and
 * for a stopped VM until the peer has acknowledged all. Holes are sent as
 * zeroes and not filled. What DEMAND takes while it is on its way goes as it
 * was, or as zeroes.
 *
 * Waits for a DEMAND of a file that waits for others, a second at most, with
 * DONTWAIT too: that is about the peer.
 *
 * Success with fewer bytes than asked for means: the socket is full
 * (DONTWAIT), a signal came, or an error came after some bytes; the next call
 * tells. @sent is exact in every case. Never raises SIGPIPE.
 *
 * Errors (only if nothing was sent): EBADF, ENOTSOCK; EOPNOTSUPP neither TCP
 * nor unix stream; ENOTCONN; EAGAIN; EPIPE, ECONNRESET and what else the
 * socket reports; ENOENT no such ram; EINVAL bad segment, @count or @skip;
 * EMSGSIZE more than MIGRATE_FAST_MAX_SEND; EFAULT; EIO and ENODATA as HASH;
 * ENOMEM; EINTR.
 */
struct migrate_fast_send {
	__s32 sock;
	__u32 flags;
	__u64 segments;
	__u32 count;
	__u32 reserved;
	__u64 skip;
	__u64 sent;
};

/**
 * struct migrate_fast_counters - MIGRATE_FAST_COUNTERS, what happened so far
 * @ram: in: number of the file
 * @flags: out: MIGRATE_FAST_COUNTERS_*
 * @faults: first writes of a page (or of a large folio) through a mapping
 * @writes: write(2), fallocate(2), truncate(2), MADV_REMOVE calls that marked
 *	pages
 * @harvests: harvest calls
 * @harvested: pages reported by them
 * @carried: of those, pages reported because of a possible DMA writer
 * @hashed: pages digested
 * @sent_bytes: bytes of the file that were handed to sockets
 *
 * Counted from ADD on; @faults and @writes only while the file is tracked.
 * Errors: ENOENT no such @ram; EINVAL an output is not 0; EINTR.
 */
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

/* migrate_fast_counters.flags: the file is tracked by this session. */
#define MIGRATE_FAST_COUNTERS_TRACKED	(1U << 0)

/**
 * struct migrate_fast_demand - MIGRATE_FAST_DEMAND, serve absent pages
 * @ram: in: number of the file
 * @flags: 0
 * @start: in: first page, a multiple of 64
 * @pages: in: how many pages; 0: to the end of the file
 * @bitmap: in: user address (8 byte aligned) of a bitmap for the range, bit 0
 *	is page @start: these pages become absent. 0: no page does. Bits after
 *	the last page of the range are ignored
 * @absent: out: pages of the whole file that are absent now
 *
 * Makes this session the *server* of the file, and the pages absent: what they
 * held is forgotten, their memory is freed, and they are taken from all page
 * tables. Whoever reads or writes an absent page through a mapping, by KVM, by
 * read(2), write(2) or for DMA, waits until it is filled (see FILL), killably;
 * nobody ever sees zeroes or old bytes instead. The server is told by fault
 * events (see struct migrate_fast_fault).
 *
 * It may be called while the VM runs; better stop the VM. A page that becomes
 * absent again just when KVM takes the answer to an asynchronous page fault
 * makes the virtual processor itself wait.
 *
 * What discards an absent page (fallocate(FALLOC_FL_PUNCH_HOLE), MADV_REMOVE,
 * truncate) makes it present, as a hole. Part of an absent page can only be
 * discarded after it was filled: fallocate(2) waits for that, truncate(2) to
 * the middle of an absent page is EBUSY.
 *
 * Absent pages stay so when the server closes its session, and readers go on
 * waiting. Another session then becomes the server with DEMAND (a @bitmap is
 * not needed); all faults that were not answered are told to it anew. When no
 * page is absent any more the file is as if it had never been served, and has
 * no server.
 *
 * HASH and SEND of an absent page fail with ENODATA.
 *
 * While pages are absent mappings of the file are VM_DONTEXPAND, whoever has
 * them: madvise(MADV_COLLAPSE), which would map zeroes without asking anybody,
 * is EINVAL, and so is MADV_DODUMP; mremap(2) to a greater length is EFAULT;
 * mlock(2) and munlock(2) change nothing (what was locked before stays so).
 * That ends a moment after the last page was filled or discarded. The first
 * DEMAND waits for collapses that are under way, and for core dumps that have
 * the file mapped.
 *
 * Who holds a page by reference, as a pipe does after vmsplice(2), or a device,
 * keeps what it held. If it is part of a large page that stays, DEMAND waits
 * until he has let go, for a second at most.
 *
 * Errors: ENOENT no such @ram; EINVAL @start not a multiple of 64, the range
 * leaves the file, @bitmap misaligned; EBUSY another session serves the file;
 * ESTALE the file has another length than at ADD; ECANCELED ABORT was called;
 * EFAULT (nothing was marked); EAGAIN a page is held by reference, see above;
 * ENOMEM; EIO a large page cannot be read from swap; EINTR. With these the
 * session may not be the server, and pages of the range not be absent yet: call
 * again.
 */
struct migrate_fast_demand {
	__u32 ram;
	__u32 flags;
	__u64 start;
	__u64 pages;
	__u64 bitmap;
	__u64 absent;
};

/* Bits of migrate_fast_fault.flags. */
#define MIGRATE_FAST_FAULT_WRITE	(1U << 0) /* somebody wants to write it */
#define MIGRATE_FAST_FAULT_GOES_ON	(1U << 1) /* no process waits in it */
#define MIGRATE_FAST_FAULT_AGAIN	(1U << 2) /* an earlier server was told */

/**
 * struct migrate_fast_fault - read(2) from the session: a page is wanted
 * @ram: number of the file in this session
 * @flags: MIGRATE_FAST_FAULT_*
 * @page: number of the page in its file
 * @ns: CLOCK_MONOTONIC when it was first wanted
 *
 * read(2) returns as many events as there are and fit, oldest first, and
 * waits for the first one unless O_NONBLOCK is set (EAGAIN). poll(2) reports
 * POLLIN when there are some. Each absent page is told once to a server,
 * however many wait for it. GOES_ON: so far nobody waits in the page fault but
 * the kernel's own threads: vhost's, or KVM asked without waiting (asynchronous
 * page fault), so that the guest can run another task if it knows how to, or
 * will ask again and wait. An event that was read may be of a page that has
 * been filled since.
 *
 * Errors: EINVAL the buffer is shorter than one event; ENODATA this session
 * serves no file; EPROTO before the handshake; EAGAIN; EFAULT; EINTR.
 */
struct migrate_fast_fault {
	__u32 ram;
	__u32 flags;
	__u64 page;
	__u64 ns;
};

/* Bits of migrate_fast_fill.flags. */
#define MIGRATE_FAST_FILL_ZERO	(1U << 0) /* the pages are zero; @from is 0 */

/**
 * struct migrate_fast_fill - MIGRATE_FAST_FILL, bring absent pages
 * @ram: in: number of the file
 * @flags: in: MIGRATE_FAST_FILL_*
 * @start: in: first page
 * @pages: in: how many pages, not 0
 * @from: in: user address of their bytes, page aligned
 * @next: out: the page after the last one that was dealt with; less than
 *	@start + @pages when a signal or an error came after some: call again
 *	with the rest, and outputs of 0
 * @filled: out: pages of them that were absent and are present now
 * @absent: out: pages of the whole file that are still absent
 *
 * A page appears with all its bytes at once, and who waits for it goes on.
 * Pages that are not absent are left alone: what the guest wrote is never
 * overwritten, however late a fill comes. To fill is not to write: a file
 * that is tracked does not report it. 512 pages at a time, from a multiple
 * of 512 on, become one large folio where the mount's huge= says so. Of the
 * last page of a file that ends within it only the bytes up to there count:
 * to fill changes no size.
 *
 * Only the server may call it, from any number of threads; when nothing is
 * absent any more anybody may, to no effect.
 * Errors: ENOENT no such @ram; EINVAL the range is empty or leaves the file,
 * @from misaligned, or not 0 with ZERO, an output is not 0; EPERM this session
 * does not serve the file, or nobody ever has; ECANCELED ABORT was called;
 * EFAULT; ENOSPC the mount is full; ENOMEM; EINTR.
 */
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

/* Bits of migrate_fast_absent.state: how the file is served. */
#define MIGRATE_FAST_ABSENT_SERVED	(1U << 0) /* a session is its server */
#define MIGRATE_FAST_ABSENT_ABORTED	(1U << 1) /* ABORT was called */

/**
 * struct migrate_fast_absent - MIGRATE_FAST_ABSENT, what is absent
 * @ram: in: number of the file
 * @flags: 0
 * @start: in: first page, a multiple of 64
 * @pages: in: how many pages; 0: to the end of the file
 * @bitmap: in: user address (8 byte aligned) of a bitmap for the range, bit 0
 *	is page @start; 0: only count
 * @absent: out: pages of the range that are absent
 * @waiting: out: faults of the whole file that have not been answered
 * @faults: out: faults so far: pages that were wanted while absent
 * @went_on: out: of them, those for which nobody but the kernel's own threads
 *	has waited: a guest that knows asynchronous page faults went on with
 *	other work meanwhile, the processor of another was halted. vhost's
 *	thread keeps no processor of a guest waiting
 * @state: out: MIGRATE_FAST_ABSENT_*
 * @reserved: 0
 *
 * Any session may ask. What becomes present or absent during the call may be
 * told as it was before or after. @faults and @went_on count from the first
 * DEMAND on and are kept until the file goes.
 * Errors: ENOENT no such @ram; EINVAL @start not a multiple of 64, the range
 * leaves the file, @bitmap misaligned, an output is not 0; EFAULT; EINTR.
 */
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

/**
 * struct migrate_fast_abort - MIGRATE_FAST_ABORT, absent pages will not come
 * @ram: in: number of the file
 * @flags: 0
 *
 * Who waits for an absent page, or touches one later, gets SIGBUS (EIO from
 * read(2) and write(2)); a virtual processor as if the memory were broken
 * (BUS_MCEERR_AR), or KVM_RUN fails with EFAULT. For good: the VM is lost with
 * what it lacks, but its processes can end. Any session may do it. No error
 * when nothing is absent.
 * Errors: ENOENT no such @ram; EINVAL; EINTR.
 */
struct migrate_fast_abort {
	__u32 ram;
	__u32 flags;
};

/* migrate_fast_kvm.state: is KVM's log used, and if not, why? */
#define MIGRATE_FAST_KVM_NONE		0 /* no VM was named */
#define MIGRATE_FAST_KVM_USED		1
#define MIGRATE_FAST_KVM_CONTENDED	2 /* the VMM has begun to read it */
#define MIGRATE_FAST_KVM_GONE		3 /* the VMM has ended */
#define MIGRATE_FAST_KVM_UNFIT		4 /* KVM has refused, or there is too much */

/**
 * struct migrate_fast_kvm - MIGRATE_FAST_KVM, use the dirty log of a VM
 * @fd: in: descriptor of the VM, as of KVM_CREATE_VM; -1: only tell
 * @flags: 0
 * @state: out: MIGRATE_FAST_KVM_*
 * @slots: out: memory slots whose log is used
 * @foreign: out: memory slots that have pages of RAM files of the session, but
 *	whose log somebody else has switched on: that is left alone
 * @reserved: 0
 * @clears: out: times that a part of the log was taken
 * @kept: out: pages that were left writable by harvests, in all, of files that
 *	are tracked
 *
 * From then on a harvest leaves pages writable that the guest is writing
 * according to KVM's log, and has KVM notice the next write of them, which costs
 * the guest far less. All pages that are writable are reported by the next
 * harvest: so one that was left and not written since is reported once too
 * often, and PEEK tells it only if KVM's log has it. That is the only
 * difference, whatever the log holds; and when it cannot be used any more
 * (@state tells) there is none.
 *
 * To be called after ADD; the logs are switched on at once, and off when the
 * session ends. If the VMM itself begins to use one of them (by
 * KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG, or by switching it on) they are not
 * touched any more, for good. Slots that come and go are followed. The VM is not
 * kept: when its process ends the session lets go of it.
 *
 * One VM for a session. Errors: EBADF @fd is not open; EMEDIUMTYPE not a VM of
 * KVM; EEXIST the session has one; EOPNOTSUPP the VM has a dirty ring, or this
 * kernel no KVM or no kprobes; ESRCH its process has ended; EINVAL an output is
 * not 0; ENOMEM; EINTR.
 */
struct migrate_fast_kvm {
	__s32 fd;
	__u32 flags;
	__u32 state;
	__u32 slots;
	__u32 foreign;
	__u32 reserved;
	__u64 clears;
	__u64 kept;
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

#define MIGRATE_FAST_KVM \
	_IOWR(MIGRATE_FAST_IOC_MAGIC, 0x0d, struct migrate_fast_kvm)

#endif /* _UAPI_LINUX_MIGRATE_FAST_H */
