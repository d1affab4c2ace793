/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The protocol between migrate-fast send and migrate-fast recv, version 5.
 *
 * One TCP connection, made by the source; post-copy takes a second one. Both
 * directions carry frames: a header of 24 bytes, all little endian, and @length
 * bytes of payload.
 *
 *	offset	0  __u32 magic	 WIRE_MAGIC
 *		4  __u16 type	 enum wire_type
 *		6  __u16 ram	 number of the RAM file, in the order of HELLO
 *		8  __u32 length	 bytes of payload
 *		12 __u32 count	 pages, or 0
 *		16 __u64 page	 first page, or a number that the type defines
 *
 * Source				Destination
 *	HELLO json	 ----------->	compares with its own QEMU
 *			 <-----------	WELCOME json, its RAM is all zero
 *			 <-----------	FILTER ..., if WELCOME announces it
 *	PAGES, PACKED, ZERO ... ---->
 *	DELTA ...	 ----------->	what has changed in pages that came
 *	SAME ...	 ----------->	pages that have been written, but not changed
 *	REFER ...	 ----------->	pages that the filter lets pass
 *	COPY ...	 ----------->	pages that equal others of the VM
 *			 <-----------	MISS ...: those of all four that were not right
 *	ROUND n		 ----------->
 *			 <-----------	ROUND_DONE n: all before it is placed
 *	PREPARE		 ----------->	hands QEMU its end of the relay
 *			 <-----------	READY
 *	  ... more rounds ...
 *	(the VM stops; last rounds; DEVICE frames are withheld over there)
 *	DEVICE ...	 ----------->
 *	DIGEST ...	 ----------->	with --verify only; after the last ROUND
 *	VERIFY		 ----------->
 *			 <-----------	DIFFER (pages differ) or VERIFIED
 *	LOAD bytes	 ----------->	RAM is final: device state goes to QEMU
 *			 <-----------	PREPARED: loaded, paused
 *	COMMIT		 ----------->	from here on the VM is the destination's
 *			 <-----------	RUNNING, or REFUSED: it never will run
 *	BYE		 ----------->	the source has heard it
 *
 * With post-copy the last pages do not travel while the VM is stopped. Before
 * that the source makes the second connection, for faults:
 *
 *	JOIN json "pull" ----------->
 *			 <-----------	JOINED
 *
 * and instead of the last rounds the destination is told what it lacks:
 *
 *	STALE bitmap ...  ---------->
 *	DEMAND n	 ----------->	those n pages are absent from here on
 *	DEVICE, LOAD, ... COMMIT ... as above; QEMU's faults are served:
 *			 <-----------	FAULT page	 (second connection)
 *			 <-----------	MISS page	 likewise, if it was named
 *	PAGES or ZERO	 ----------->			 (second connection)
 *			 <-----------	RUNNING
 *	PAGES, PACKED, ZERO, COPY ... ->	the rest, and faults as before
 *	PUSHED		 ----------->	nothing more comes; on both connections
 *			 <-----------	COMPLETE json: nothing is absent
 *	DIGESTS ...	 ----------->	with --verify only
 *	VERIFY		 ----------->
 *			 <-----------	DIFFER or VERIFIED n: but for n that it wrote
 *	BYE		 ----------->
 *
 * When a connection is lost after COMMIT, the source makes both anew:
 *
 *	JOIN json "push" ----------->
 *			 <-----------	JOINED, MISSING bitmap ..., MISSES n
 *	JOIN json "pull" ----------->	as above; faults are told again
 *
 * FAIL text ends the session from either side before COMMIT, and post-copy
 * for good after it: the VM's QEMU has ended, or what came cannot be used.
 * BEAT is sent by whoever has sent nothing for a second. A later connection
 * may ASK json what became of a session, gets an ANSWER json and says BYE.
 *
 * Nobody is trusted: types, numbers, lengths and the order of frames are
 * checked, and a peer that gets one wrong is cut off.
 */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

#define WIRE_MAGIC	0x3172464dU	/* "MFr1" */
#define WIRE_VERSION	6
#define WIRE_HEADER	24
/* Pages of one PAGES frame; of one ZERO frame any number is right. */
#define WIRE_MAX_PAGES	1024
/* Payload of every frame but PAGES. */
#define WIRE_MAX_BYTES	(256 * 1024)
/* Device state that either side is willing to hold in memory. */
#define WIRE_MAX_DEVICE	(256ULL << 20)
/* Pages that one DIGEST stands for. */
#define WIRE_DIGEST_PAGES 1024
/* Pages that one STALE or MISSING stands for, at most. */
#define WIRE_BITMAP_PAGES (WIRE_MAX_BYTES * 8)

/* Pages of one PACKED, DELTA or SAME frame. */
#define WIRE_PACK_PAGES	64
/* Pages of one REFER or COPY: each may cost the destination a disk access. */
#define WIRE_MAX_REFERENCES 128

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME,
	WIRE_FAIL,
	WIRE_BEAT,
	WIRE_PAGES,
	WIRE_ZERO,
	WIRE_ROUND,		/* page: number of the round */
	WIRE_ROUND_DONE,	/* page: number of the round */
	WIRE_PREPARE,
	WIRE_READY,
	WIRE_DEVICE,
	WIRE_DIGEST,		/* payload: SHA-256 of the pages' SHA-256 */
	WIRE_VERIFY,
	WIRE_DIFFER,		/* payload: SHA-256 of each page here */
	WIRE_VERIFIED,
	WIRE_LOAD,		/* page: bytes of device state in all */
	WIRE_PREPARED,		/* payload: json, what came from where */
	WIRE_COMMIT,
	WIRE_RUNNING,
	WIRE_REFUSED,		/* payload: text */
	WIRE_BYE,
	WIRE_ASK,
	WIRE_ANSWER,
	WIRE_JOIN,
	WIRE_JOINED,
	WIRE_STALE,		/* payload: bitmap of @count pages from @page */
	WIRE_DEMAND,		/* page: pages that are stale in all */
	WIRE_FAULT,		/* count: 1 */
	WIRE_PUSHED,
	WIRE_MISSING,		/* payload: as STALE */
	WIRE_MISSES,		/* page: pages that are missing in all */
	WIRE_COMPLETE,
	WIRE_DIGESTS,		/* payload: SHA-256 of each page */
	WIRE_FILTER,		/* payload: bytes of it from byte @page on */
	WIRE_REFER,		/* payload: @count of struct wire_reference */
	WIRE_MISS,		/* payload: @count numbers of pages, __le64; or as FAULT */
	WIRE_PACKED,		/* payload: @count pages, zstd */
	WIRE_COPY,		/* payload: @count of struct wire_copy; page: RAM of .from */
	WIRE_DELTA,		/* payload: of @count pages, see delta.h; zstd */
	WIRE_SAME,		/* payload: proofs of @count pages, see proof.h */
	WIRE_TYPES
};

struct wire_frame {
	uint16_t type;
	uint16_t ram;
	uint32_t length;
	uint32_t count;
	uint64_t page;
};

/* A page that the destination may have: which, and of what content. */
struct wire_reference {
	uint64_t page;
	uint64_t xxh64;		/* with the seed of WELCOME */
	uint8_t sha256[32];
} __attribute__((packed));

/* A page that another one of the VM equals: which, that one, of what content. */
struct wire_copy {
	uint64_t page;
	uint64_t from;
	uint8_t proof[16];	/* proof.h */
} __attribute__((packed));

void wire_pack(uint8_t header[WIRE_HEADER], const struct wire_frame *frame);
/*
 * NULL, or what is wrong with the header. Checks what does not depend on the
 * session: magic, type, length.
 */
const char *wire_unpack(const uint8_t header[WIRE_HEADER],
			struct wire_frame *frame);
const char *wire_name(unsigned int type);

#endif /* WIRE_H */
