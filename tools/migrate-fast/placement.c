// SPDX-License-Identifier: GPL-2.0
/*
 * Puts what comes over the wire into the VM's RAM. Every number in a frame is
 * checked against the RAM files before anything is touched.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/bitmap.h"
#include "receiver.h"
#include "say.h"
#include "verify.h"

/* Fewer zero pages than these are written, not punched: 2 MB pages stay. */
#define PUNCH_PAGES	512
#define ZERO_BYTES	(64 * 1024)

static int check_range(struct receiver *receiver,
		       const struct wire_frame *frame)
{
	struct vm *vm = &receiver->vm;

	if (receiver->stage == STAGE_COPYING && !receiver->load &&
	    frame->ram < vm->rams && frame->count &&
	    frame->page < vm->ram[frame->ram].mf.pages &&
	    frame->count <= vm->ram[frame->ram].mf.pages - frame->page)
		return 0;
	if (receiver->stage != STAGE_COPYING || receiver->load)
		return conn_out_of_turn(&receiver->conn, frame);
	receiver->conn.broken = true;
	return fail("%s sent a %s frame for pages that do not exist",
		    receiver->conn.peer, wire_name(frame->type));
}

/* Pages go from the socket straight to where the VM will find them. */
int place_payload(struct conn *conn, const struct wire_frame *frame,
		  void **dest)
{
	struct receiver *receiver = conn->arg;

	if (frame->type != WIRE_PAGES)
		return 0;
	/* In demand mode the VM's memory is filled, never written. */
	if (receiver->demand.active) {
		*dest = receiver->demand.landing[conn == &receiver->pull];
		return 0;
	}
	if (conn == &receiver->pull)
		return conn_out_of_turn(conn, frame);
	if (check_range(receiver, frame))
		return -1;
	receiver->pages += frame->count;
	lazy_forget(&receiver->lazy, frame->ram, frame->page, frame->count);
	*dest = receiver->map[frame->ram] + frame->page * MF_PAGE_SIZE;
	return 0;
}

int place_packed(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	if (check_range(receiver, frame))
		return -1;
	receiver->pages += frame->count;
	lazy_forget(&receiver->lazy, frame->ram, frame->page, frame->count);
	return place_unpack(&receiver->conn, frame, payload,
			    receiver->map[frame->ram] +
			    frame->page * MF_PAGE_SIZE);
}

int place_unpack(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload, void *to)
{
	if (!unpack_pages(payload, frame->length, to, frame->count))
		return 0;
	conn->broken = true;
	return fail("%s sent pages that cannot be decompressed", conn->peer);
}

/* May pages be named now, as many as the payload has room for? */
static bool is_naming(const struct receiver *receiver,
		      const struct wire_frame *frame, size_t size)
{
	return receiver->stage == STAGE_COPYING && !receiver->load &&
	       !receiver->demand.active && frame->ram < receiver->vm.rams &&
	       frame->count <= WIRE_MAX_REFERENCES &&
	       frame->length == frame->count * size;
}

/* Those that are not here stay as they are, until the source sends them whole. */
static int tell_missed(struct receiver *receiver,
		       const struct wire_frame *frame, const uint64_t *missed,
		       uint32_t count)
{
	struct wire_frame reply = {
		.type = WIRE_MISS,
		.ram = frame->ram,
		.count = count,
		.length = count * (uint32_t)sizeof(*missed),
	};

	return count ? conn_send_frame(&receiver->conn, &reply, missed) : 0;
}

/* Pages that may be in a source of pages: now, or when the VM runs here. */
int place_references(struct receiver *receiver, const struct wire_frame *frame,
		     const uint8_t *payload)
{
	const struct wire_reference *references = (const void *)payload;
	struct wire_reference now[WIRE_MAX_REFERENCES];
	uint64_t missed[WIRE_MAX_REFERENCES];
	uint8_t *to[WIRE_MAX_REFERENCES];
	bool found[WIRE_MAX_REFERENCES];
	uint32_t i, n = 0, lost = 0;

	if (!is_naming(receiver, frame, sizeof(*references)))
		return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; i < frame->count; i++) {
		uint64_t page = le64toh(references[i].page);

		if (page >= receiver->vm.ram[frame->ram].mf.pages)
			return conn_out_of_turn(&receiver->conn, frame);
		lazy_forget(&receiver->lazy, frame->ram, page, 1);
		if (lazy_promise(&receiver->lazy, frame->ram, page,
				 &references[i]))
			continue;
		to[n] = receiver->map[frame->ram] + page * MF_PAGE_SIZE;
		now[n++] = references[i];
	}
	if (n)
		known_find(&receiver->known, now, n, to, found);
	for (i = 0; i < n; i++)
		if (!found[i])
			missed[lost++] = now[i].page;
	return tell_missed(receiver, frame, missed, lost);
}

/*
 * Pages that others of this VM equal, which came before. A source that has
 * changed such a one since, or whose reference to it was missed, is found out
 * by the SHA-256.
 */
int place_copies(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	const struct wire_copy *copies = (const void *)payload;
	const struct vm *vm = &receiver->vm;
	uint64_t missed[WIRE_MAX_REFERENCES];
	uint32_t i, n = 0;

	if (!is_naming(receiver, frame, sizeof(*copies)) ||
	    frame->page >= vm->rams)
		return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; i < frame->count; i++) {
		uint64_t page = le64toh(copies[i].page);
		uint64_t from = le64toh(copies[i].from);
		uint8_t *twin;

		if (page >= vm->ram[frame->ram].mf.pages ||
		    from >= vm->ram[frame->page].mf.pages)
			return conn_out_of_turn(&receiver->conn, frame);
		lazy_forget(&receiver->lazy, frame->ram, page, 1);
		twin = receiver->map[frame->page] + from * MF_PAGE_SIZE;
		if (known_is_it(&receiver->known, twin, copies[i].sha256))
			memmove(receiver->map[frame->ram] +
				page * MF_PAGE_SIZE, twin, MF_PAGE_SIZE);
		else
			missed[n++] = copies[i].page;
	}
	return tell_missed(receiver, frame, missed, n);
}

int place_zero(struct receiver *receiver, const struct wire_frame *frame)
{
	static const char zeroes[ZERO_BYTES];
	struct ram *ram;
	off_t at, end;

	if (check_range(receiver, frame))
		return -1;
	receiver->zeroes += frame->count;
	lazy_forget(&receiver->lazy, frame->ram, frame->page, frame->count);
	ram = &receiver->vm.ram[frame->ram];
	at = (off_t)(frame->page * MF_PAGE_SIZE);
	end = at + (off_t)frame->count * MF_PAGE_SIZE;
	if (frame->count >= PUNCH_PAGES) {
		if (fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE |
			      FALLOC_FL_KEEP_SIZE, at, end - at))
			return fail("cannot clear pages of %s: %s", ram->path,
				    strerror(errno));
		return 0;
	}
	while (at < end) {
		size_t len = end - at > ZERO_BYTES ? ZERO_BYTES :
						     (size_t)(end - at);
		ssize_t n = pwrite(ram->fd, zeroes, len, at);

		if (n < 0 && errno != EINTR)
			return fail("cannot clear pages of %s: %s", ram->path,
				    strerror(errno));
		if (n > 0)
			at += n;
	}
	return 0;
}

int place_digest(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	static uint8_t each[WIRE_DIGEST_PAGES * VERIFY_DIGEST];
	uint8_t sum[VERIFY_DIGEST];
	struct wire_frame reply;

	if (frame->length != VERIFY_DIGEST || frame->count > WIRE_DIGEST_PAGES) {
		receiver->conn.broken = true;
		return fail("%s sent a bad DIGEST frame",
			    receiver->conn.peer);
	}
	if (check_range(receiver, frame) ||
	    verify_digest(&receiver->vm, frame->ram, frame->page, frame->count,
			  each, sum))
		return -1;
	if (!memcmp(sum, payload, VERIFY_DIGEST) || receiver->differs)
		return 0;
	receiver->differs = true;
	reply = *frame;
	reply.type = WIRE_DIFFER;
	reply.length = frame->count * VERIFY_DIGEST;
	return conn_send_frame(&receiver->conn, &reply, each);
}

int place_compare(struct receiver *receiver, const struct wire_frame *frame,
		  const uint8_t *payload)
{
	static uint8_t each[WIRE_DIGEST_PAGES * VERIFY_DIGEST];
	uint8_t sum[VERIFY_DIGEST];
	struct vm *vm = &receiver->vm;
	struct wire_frame reply = *frame;
	struct mf_harvested harvested;
	bool wrong = false;
	struct ram *ram;
	uint32_t i;
	int err;

	if (frame->ram >= vm->rams || frame->count > WIRE_DIGEST_PAGES ||
	    frame->length != frame->count * VERIFY_DIGEST ||
	    frame->page >= vm->ram[frame->ram].mf.pages ||
	    frame->count > vm->ram[frame->ram].mf.pages - frame->page) {
		receiver->conn.broken = true;
		return fail("%s sent a bad DIGESTS frame",
			    receiver->conn.peer);
	}
	if (!receiver->tracked)
		return fail("what the VM has written here is not known: nothing can be verified");
	ram = &vm->ram[frame->ram];
	if (verify_digest(vm, frame->ram, frame->page, frame->count, each, sum))
		return -1;
	if (!memcmp(each, payload, frame->length) || receiver->differs)
		return 0;
	/* Written before it was digested: then this harvest, or one before. */
	err = mf_harvest(vm->session, &ram->mf, &harvested);
	if (err)
		return fail("harvest of %s: %s", ram->path, strerror(-err));
	for (i = 0; i < frame->count; i++) {
		uint8_t *own = each + i * VERIFY_DIGEST;
		const uint8_t *theirs = payload + i * VERIFY_DIGEST;

		if (bitmap_test(ram->mf.bitmap, frame->page + i))
			memcpy(own, theirs, VERIFY_DIGEST);
		else if (memcmp(own, theirs, VERIFY_DIGEST))
			wrong = true;
	}
	if (!wrong)
		return 0;
	receiver->differs = true;
	receiver->doubted = true;
	/* It will leave without a goodbye. */
	receiver_linger_less(receiver);
	reply.type = WIRE_DIFFER;
	return conn_send_frame(&receiver->conn, &reply, each);
}
