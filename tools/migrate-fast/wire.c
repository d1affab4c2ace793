// SPDX-License-Identifier: GPL-2.0
/* Frame headers of the protocol; see wire.h. */
#include <endian.h>
#include <string.h>

#include <linux/migrate_fast.h>

#include "wire.h"

struct wire_raw {
	uint32_t magic;
	uint16_t type;
	uint16_t ram;
	uint32_t length;
	uint32_t count;
	uint64_t page;
} __attribute__((packed));

_Static_assert(sizeof(struct wire_raw) == WIRE_HEADER, "header");

static const char *const names[WIRE_TYPES] = {
	[WIRE_HELLO] = "HELLO",
	[WIRE_WELCOME] = "WELCOME",
	[WIRE_FAIL] = "FAIL",
	[WIRE_BEAT] = "BEAT",
	[WIRE_PAGES] = "PAGES",
	[WIRE_ZERO] = "ZERO",
	[WIRE_ROUND] = "ROUND",
	[WIRE_ROUND_DONE] = "ROUND_DONE",
	[WIRE_PREPARE] = "PREPARE",
	[WIRE_READY] = "READY",
	[WIRE_DEVICE] = "DEVICE",
	[WIRE_DIGEST] = "DIGEST",
	[WIRE_VERIFY] = "VERIFY",
	[WIRE_DIFFER] = "DIFFER",
	[WIRE_VERIFIED] = "VERIFIED",
	[WIRE_LOAD] = "LOAD",
	[WIRE_PREPARED] = "PREPARED",
	[WIRE_COMMIT] = "COMMIT",
	[WIRE_RUNNING] = "RUNNING",
	[WIRE_REFUSED] = "REFUSED",
	[WIRE_BYE] = "BYE",
	[WIRE_ASK] = "ASK",
	[WIRE_ANSWER] = "ANSWER",
	[WIRE_JOIN] = "JOIN",
	[WIRE_JOINED] = "JOINED",
	[WIRE_STALE] = "STALE",
	[WIRE_DEMAND] = "DEMAND",
	[WIRE_FAULT] = "FAULT",
	[WIRE_PUSHED] = "PUSHED",
	[WIRE_MISSING] = "MISSING",
	[WIRE_MISSES] = "MISSES",
	[WIRE_COMPLETE] = "COMPLETE",
	[WIRE_DIGESTS] = "DIGESTS",
	[WIRE_FILTER] = "FILTER",
	[WIRE_REFER] = "REFER",
	[WIRE_MISS] = "MISS",
	[WIRE_PACKED] = "PACKED",
	[WIRE_COPY] = "COPY",
	[WIRE_DELTA] = "DELTA",
	[WIRE_SAME] = "SAME",
};

/* Types that have a payload. */
#define BIT(type) (1ULL << (type))
#define PAYLOAD	(BIT(WIRE_HELLO) | BIT(WIRE_WELCOME) | BIT(WIRE_FAIL) | \
		 BIT(WIRE_PAGES) | BIT(WIRE_DEVICE) | BIT(WIRE_DIGEST) | \
		 BIT(WIRE_DIFFER) | BIT(WIRE_REFUSED) | BIT(WIRE_ASK) | \
		 BIT(WIRE_ANSWER) | BIT(WIRE_JOIN) | BIT(WIRE_STALE) | \
		 BIT(WIRE_MISSING) | BIT(WIRE_COMPLETE) | BIT(WIRE_DIGESTS) | \
		 BIT(WIRE_FILTER) | BIT(WIRE_REFER) | BIT(WIRE_MISS) | \
		 BIT(WIRE_PREPARED) | BIT(WIRE_PACKED) | BIT(WIRE_COPY) | \
		 BIT(WIRE_DELTA) | BIT(WIRE_SAME))

const char *wire_name(unsigned int type)
{
	return type < WIRE_TYPES && names[type] ? names[type] : "unknown";
}

void wire_pack(uint8_t header[WIRE_HEADER], const struct wire_frame *frame)
{
	struct wire_raw raw = {
		.magic = htole32(WIRE_MAGIC),
		.type = htole16(frame->type),
		.ram = htole16(frame->ram),
		.length = htole32(frame->length),
		.count = htole32(frame->count),
		.page = htole64(frame->page),
	};

	memcpy(header, &raw, sizeof(raw));
}

const char *wire_unpack(const uint8_t header[WIRE_HEADER],
			struct wire_frame *frame)
{
	struct wire_raw raw;

	memcpy(&raw, header, sizeof(raw));
	if (le32toh(raw.magic) != WIRE_MAGIC)
		return "this is not the migrate-fast protocol";
	frame->type = le16toh(raw.type);
	frame->ram = le16toh(raw.ram);
	frame->length = le32toh(raw.length);
	frame->count = le32toh(raw.count);
	frame->page = le64toh(raw.page);
	if (frame->type >= WIRE_TYPES || !names[frame->type])
		return "unknown type of frame";
	if (frame->type == WIRE_PAGES) {
		if (!frame->count || frame->count > WIRE_MAX_PAGES ||
		    frame->length != frame->count * MIGRATE_FAST_PAGE_SIZE)
			return "bad length of a PAGES frame";
	} else if ((frame->type == WIRE_PACKED || frame->type == WIRE_DELTA ||
		    frame->type == WIRE_SAME) &&
		   (!frame->count || frame->count > WIRE_PACK_PAGES)) {
		return "bad number of pages of a PACKED, DELTA or SAME frame";
	} else if (frame->length > WIRE_MAX_BYTES) {
		return "frame is too long";
	} else if (frame->length && !(PAYLOAD >> frame->type & 1)) {
		return "payload where none belongs";
	}
	return NULL;
}
