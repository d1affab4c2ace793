// SPDX-License-Identifier: GPL-2.0
/* Frames of pages on their way to the socket; see gather.h. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "gather.h"
#include "hook.h"
#include "line.h"

/* So much goes to the socket at a time; also the grain of the rate limit. */
#define FLUSH_BYTES	(1 << 20)
#define PACK_BYTES	(WIRE_PACK_PAGES * MF_PAGE_SIZE)
/* So many pages are read at a time, to say that they have not changed. */
#define SAME_PAGES	1024
/* Copies are no more than that; what is compressed needs room to be tried. */
#define PACKED_BYTES	(FLUSH_BYTES + 2 * WIRE_PACK_PAGES * MF_PAGE_SIZE)

_Static_assert(sizeof(((struct wire_copy *)0)->proof) == PROOF_BYTES,
	       "a proof");

void gather_init(struct gather *gather, struct vm *vm, struct conn *conn,
		 enum compress compress)
{
	memset(gather, 0, sizeof(*gather));
	gather->vm = vm;
	gather->conn = conn;
	pack_init(&gather->pack, compress);
	gather->packed = need(malloc(PACKED_BYTES));
}

void gather_free(struct gather *gather)
{
	pack_free(&gather->pack);
	delta_end(&gather->delta);
	proof_end(&gather->proof);
	free(gather->packed);
}

/* Does the batch go as copies? */
static bool copies(const struct gather *gather)
{
	return gather->pack.on || (gather->pack.cheap && gather->delta.on);
}

/*
 * While a batch is copied and compressed the line lives on what the socket
 * holds: that must not take long.
 */
static uint64_t batch(const struct gather *gather)
{
	return copies(gather) || gather->pack.small ? PACK_BYTES : FLUSH_BYTES;
}

static int add(struct gather *gather, enum wire_type type, unsigned int ram,
	       uint64_t page)
{
	struct wire_frame *last = NULL;
	uint32_t bytes;

	if (gather->nr_frames)
		last = &gather->frames[gather->nr_frames - 1];
	if (last && last->type == type && last->ram == ram &&
	    last->page + last->count == page &&
	    (type == WIRE_ZERO || last->count < WIRE_PACK_PAGES)) {
		last->count++;
	} else {
		if (gather->nr_frames == GATHER_FRAMES && gather_flush(gather))
			return -1;
		gather->copied[gather->nr_frames] = false;
		last = &gather->frames[gather->nr_frames++];
		*last = (struct wire_frame){
			.type = (uint16_t)type,
			.ram = (uint16_t)ram,
			.count = 1,
			.page = page,
		};
		gather->bytes += WIRE_HEADER;
	}
	bytes = type == WIRE_PAGES ? MF_PAGE_SIZE :
		type == WIRE_SAME ? PROOF_BYTES : 0;
	last->length += bytes;
	gather->bytes += bytes;
	return gather->bytes >= batch(gather) ? gather_flush(gather) : 0;
}

int gather_page(struct gather *gather, unsigned int ram, uint64_t page)
{
	return add(gather, WIRE_PAGES, ram, page);
}

int gather_same(struct gather *gather, unsigned int ram, uint64_t page)
{
	if (gather->nr_same == SAME_PAGES && gather_flush(gather))
		return -1;
	gather->nr_same++;
	return add(gather, WIRE_SAME, ram, page);
}

int gather_zero(struct gather *gather, unsigned int ram, uint64_t page)
{
	delta_forget(&gather->delta, ram, page, 1);
	return add(gather, WIRE_ZERO, ram, page);
}

/*
 * Room for another name, of @bytes, in a frame of that @type and @page, and the
 * frame for it. NULL after fail().
 */
static void *add_name(struct gather *gather, enum wire_type type,
		      unsigned int ram, uint64_t page, uint32_t bytes)
{
	struct wire_frame *last = NULL;
	void *name;

	if ((gather->names_bytes + bytes > GATHER_NAMES ||
	     gather->bytes >= FLUSH_BYTES) && gather_flush(gather))
		return NULL;
	if (gather->nr_frames)
		last = &gather->frames[gather->nr_frames - 1];
	if (!last || last->type != type || last->ram != ram ||
	    last->page != page || last->count == WIRE_MAX_REFERENCES) {
		if (gather->nr_frames == GATHER_FRAMES && gather_flush(gather))
			return NULL;
		last = &gather->frames[gather->nr_frames++];
		*last = (struct wire_frame){
			.type = (uint16_t)type,
			.ram = (uint16_t)ram,
			.page = page,
		};
		gather->bytes += WIRE_HEADER;
	}
	last->count++;
	last->length += bytes;
	gather->bytes += bytes;
	name = gather->names + gather->names_bytes;
	gather->names_bytes += bytes;
	return name;
}

int gather_reference(struct gather *gather, unsigned int ram,
		     const struct migrate_fast_digest *digest)
{
	struct wire_reference *name = add_name(gather, WIRE_REFER, ram, 0,
					       sizeof(*name));

	if (!name)
		return -1;
	delta_forget(&gather->delta, ram, digest->page, 1);
	name->page = htole64(digest->page);
	name->xxh64 = htole64(digest->xxh64);
	memcpy(name->sha256, digest->sha256, sizeof(digest->sha256));
	return 0;
}

int gather_copy(struct gather *gather, unsigned int ram, uint64_t page,
		unsigned int from_ram, uint64_t from)
{
	uint8_t tag[PROOF_BYTES];
	struct wire_copy *name;

	if (pack_read(&gather->pack, gather->vm->ram[ram].fd, page, 1))
		return -1;
	/* Of the page as it is now, before others are read for a flush. */
	proof_make_twin(&gather->proof, gather->pack.pages, tag);
	name = add_name(gather, WIRE_COPY, ram, from_ram, sizeof(*name));
	if (!name)
		return -1;
	delta_forget(&gather->delta, ram, page, 1);
	name->page = htole64(page);
	name->from = htole64(from);
	memcpy(name->proof, tag, PROOF_BYTES);
	return 0;
}

/*
 * A PAGES frame goes as a copy, which is made at @to: of what has changed, or
 * compressed, where that is less. Returns its bytes; 0 if it goes without a
 * copy, -1 after fail().
 */
static int64_t copy(struct gather *gather, unsigned int number, uint8_t *to,
		    size_t room)
{
	struct wire_frame *frame = &gather->frames[number];
	struct delta *delta = &gather->delta;
	struct pack *pack = &gather->pack;
	size_t changes = 0, n = 0;

	if (pack_read(pack, gather->vm->ram[frame->ram].fd, frame->page,
		      frame->count))
		return -1;
	if (delta->on)
		changes = delta_make(delta, frame->ram, frame->page,
				     frame->count, pack->pages);
	pack_copied(pack, frame->count);
	if (changes) {
		frame->type = WIRE_DELTA;
		n = pack_bytes(pack, delta->payload, changes, frame->count, to,
			       room);
		return n ? (int64_t)n : fail("cannot compress what has changed");
	}
	if (pack->on)
		n = pack_bytes(pack, pack->pages, frame->length, frame->count,
			       to, room);
	if (n) {
		frame->type = WIRE_PACKED;
	} else if (delta->on) {
		gather->copied[number] = true;
		n = frame->length;
		memcpy(to, pack->pages, n);
	}
	return (int64_t)n;
}

/* What is whole until now becomes less. Returns as copy() does. */
static int64_t shrink(struct gather *gather, unsigned int number, uint8_t *to,
		      size_t room)
{
	struct wire_frame *frame = &gather->frames[number];
	int64_t n = copy(gather, number, to, room);

	if (n <= 0)
		return n;
	gather->bytes -= frame->length - (uint64_t)n;
	gather->saved += frame->length - (uint64_t)n;
	frame->length = (uint32_t)n;
	return n;
}

/*
 * The proofs of a SAME frame, at @to: of the pages as they are now. Returns
 * their bytes, or -1 after fail().
 */
static int64_t prove(struct gather *gather, const struct wire_frame *frame,
		     uint8_t *to)
{
	uint32_t i;

	if (pack_read(&gather->pack, gather->vm->ram[frame->ram].fd,
		      frame->page, frame->count))
		return -1;
	for (i = 0; i < frame->count; i++)
		proof_make(&gather->proof,
			   gather->pack.pages + i * MF_PAGE_SIZE,
			   to + i * PROOF_BYTES);
	return frame->length;
}

static uint64_t whole_pages(const struct gather *gather)
{
	uint64_t pages = 0;
	unsigned int i;

	for (i = 0; i < gather->nr_frames; i++)
		if (gather->frames[i].type == WIRE_PAGES)
			pages += gather->frames[i].count;
	return pages;
}

/* How do whole pages go? */
static void choose(struct gather *gather)
{
	struct line line = line_now(gather->conn->sock);
	const struct rate *rate = gather->rate;
	struct pack_batch batch = {
		.pages = whole_pages(gather),
		.queued = line.queued,
		.full = gather->full,
		.allowed = rate ? rate->bytes_per_s : 0,
		.early_ns = rate ? rate_early_ns(rate) : 0,
	};

	pack_learn_line(&gather->pack, line.rate);
	pack_begin(&gather->pack, &batch);
}

/* Chooses how the batch goes, and makes what does not come from the VM. */
static int prepare(struct gather *gather)
{
	uint8_t *at = gather->packed, *end = at + PACKED_BYTES;
	unsigned int i;
	int64_t n;

	choose(gather);
	for (i = 0; i < gather->nr_frames; i++) {
		const struct wire_frame *frame = &gather->frames[i];

		n = 0;
		if (frame->type == WIRE_SAME)
			n = prove(gather, frame, at);
		else if (frame->type != WIRE_PAGES)
			continue;
		else if (copies(gather))
			n = shrink(gather, i, at, (size_t)(end - at));
		else	/* What the destination gets is not known. */
			delta_forget(&gather->delta, frame->ram, frame->page,
				     frame->count);
		if (n < 0)
			return -1;
		at += n;
	}
	return 0;
}

static unsigned int build(struct gather *gather)
{
	struct migrate_fast_segment *segment = gather->segments;
	const uint8_t *name = gather->names;
	const uint8_t *packed = gather->packed;
	unsigned int i;

	for (i = 0; i < gather->nr_frames; i++) {
		const struct wire_frame *frame = &gather->frames[i];

		wire_pack(gather->headers[i], frame);
		*segment++ = (struct migrate_fast_segment){
			.ram = MIGRATE_FAST_SEGMENT_USER,
			.offset = (uintptr_t)gather->headers[i],
			.bytes = WIRE_HEADER,
		};
		if (!frame->length)
			continue;
		*segment = (struct migrate_fast_segment){
			.ram = MIGRATE_FAST_SEGMENT_USER,
			.bytes = frame->length,
		};
		if (frame->type == WIRE_REFER || frame->type == WIRE_COPY) {
			segment->offset = (uintptr_t)name;
			name += frame->length;
		} else if (frame->type != WIRE_PAGES || gather->copied[i]) {
			segment->offset = (uintptr_t)packed;
			packed += frame->length;
		} else {
			segment->ram = gather->vm->ram[frame->ram].mf.number;
			segment->offset = frame->page * MF_PAGE_SIZE;
		}
		segment++;
	}
	return (unsigned int)(segment - gather->segments);
}

void gather_forget(struct gather *gather)
{
	gather->nr_frames = 0;
	gather->names_bytes = 0;
	gather->nr_same = 0;
	gather->bytes = 0;
}

static int flush(struct gather *gather)
{
	uint64_t done = 0, full = 0, full_done = 0;
	struct conn *conn = gather->conn;
	unsigned int count;
	int64_t n;

	if (hook("hash-send") || prepare(gather))
		return -1;
	if (gather->rate && rate_wait(gather->rate, gather->bytes))
		return -1;
	/* Control frames first: they were said first. */
	if (conn_flush(conn))
		return -1;
	count = build(gather);
	conn->mid_frame = true;
	while (done < gather->bytes) {
		n = mf_send(gather->vm->session, conn->sock, gather->segments,
			    count, done, 0);
		if (n == -EAGAIN) {
			if (!full) {
				full = now_ns();
				full_done = done;
			}
			if (conn_wait_writable(conn))
				return -1;
			continue;
		}
		if (n < 0)
			return conn_write_error(conn, (int)-n);
		done += (uint64_t)n;
		conn_sent(conn, (uint64_t)n);
		if (loop_check())
			return -1;
	}
	conn->mid_frame = false;
	gather->full = full;
	if (full)
		pack_learn_full(&gather->pack, done - full_done,
				now_ns() - full);
	gather_forget(gather);
	return 0;
}

int gather_flush(struct gather *gather)
{
	int ret;

	if (!gather->nr_frames)
		return 0;
	ret = flush(gather);
	/* Who has got which copy? */
	if (ret)
		delta_end(&gather->delta);
	return ret;
}
