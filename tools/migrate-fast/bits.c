// SPDX-License-Identifier: GPL-2.0
/* Bitmaps of pages on the wire; see bits.h. */
#include <endian.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "bits.h"

/* Words looked at together: a header costs three. */
#define GRAIN	16
/* Words of one frame; MAX_QUEUED of conn.c holds many of them. */
#define MOST	(WIRE_MAX_BYTES / 8)

static bool is_clear(const uint64_t *map, uint64_t from, uint64_t end)
{
	uint64_t i;

	for (i = from; i < end; i++)
		if (map[i])
			return false;
	return true;
}

static uint64_t grain_end(uint64_t at, uint64_t words)
{
	return words - at > GRAIN ? at + GRAIN : words;
}

static int send_words(struct conn *conn, enum wire_type type, unsigned int ram,
		      const uint64_t *map, uint64_t from, uint64_t end,
		      uint64_t pages)
{
	static uint64_t words[MOST];
	struct wire_frame frame = {
		.type = (uint16_t)type,
		.ram = (uint16_t)ram,
		.length = (uint32_t)((end - from) * 8),
		.count = (uint32_t)((end * 64 > pages ? pages : end * 64) -
				    from * 64),
		.page = from * 64,
	};
	uint64_t i;

	for (i = from; i < end; i++)
		words[i - from] = htole64(map[i]);
	if (conn_send_frame(conn, &frame, words))
		return -1;
	return conn_flush(conn);
}

int bits_send(struct conn *conn, enum wire_type type, unsigned int ram,
	      const uint64_t *map, uint64_t pages)
{
	uint64_t words = bitmap_words(pages), at = 0, end;

	while (at < words) {
		end = grain_end(at, words);
		if (is_clear(map, at, end)) {
			at = end;
			continue;
		}
		while (end < words && end - at + GRAIN <= MOST &&
		       !is_clear(map, end, grain_end(end, words)))
			end = grain_end(end, words);
		if (send_words(conn, type, ram, map, at, end, pages))
			return -1;
		at = end;
	}
	return 0;
}

int bits_take(struct conn *conn, const struct wire_frame *frame,
	      const uint8_t *payload, uint64_t *map, uint64_t pages)
{
	uint64_t words = bitmap_words(frame->count), i, word;

	if (!frame->count || frame->page % 64 || frame->page >= pages ||
	    frame->count > pages - frame->page || frame->length != words * 8) {
		conn->broken = true;
		return fail("%s sent a %s frame for pages that do not exist",
			    conn->peer, wire_name(frame->type));
	}
	for (i = 0; i < words; i++) {
		memcpy(&word, payload + i * 8, 8);
		word = le64toh(word);
		/* No bit behind the last page. */
		if (i == words - 1 && frame->count % 64)
			word &= (1ULL << (frame->count % 64)) - 1;
		map[frame->page / 64 + i] |= word;
	}
	return 0;
}
