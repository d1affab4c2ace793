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
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "delta.h"
#include "receiver.h"
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

/*
 * Not through a mapping: there a page would be cleared, then written, and each
 * first touch of one is a fault.
 */
static int write_parts(struct receiver *receiver, unsigned int number,
		       uint64_t page, struct iovec *parts, int count)
{
	const struct ram *ram = &receiver->vm.ram[number];
	off_t at = (off_t)(page * MF_PAGE_SIZE);
	ssize_t n;

	while (count) {
		n = pwritev(ram->fd, parts, count, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 && (!n || errno == ENOSPC || errno == ENOMEM))
			return fail("no memory left for the VM's RAM here: the file system (mount option size=), the memory control group or the host is full");
		if (n < 0)
			return fail("cannot write to %s: %s", ram->path,
				    strerror(errno));
		at += n;
		for (; count && (size_t)n >= parts->iov_len; parts++, count--)
			n -= (ssize_t)parts->iov_len;
		if (count) {
			parts->iov_base = (uint8_t *)parts->iov_base + n;
			parts->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int write_pages(struct receiver *receiver, unsigned int number,
		       uint64_t page, uint64_t count, const void *from)
{
	struct iovec part = { (void *)from, count * MF_PAGE_SIZE };

	lazy_forget(&receiver->lazy, number, page, count);
	return write_parts(receiver, number, page, &part, 1);
}

/* @count times the same one. */
static int write_twins(struct receiver *receiver, unsigned int number,
		       uint64_t page, uint32_t count, const void *from)
{
	struct iovec parts[WIRE_MAX_REFERENCES];
	uint32_t i;

	lazy_forget(&receiver->lazy, number, page, count);
	for (i = 0; i < count; i++)
		parts[i] = (struct iovec){ (void *)from, MF_PAGE_SIZE };
	return write_parts(receiver, number, page, parts, (int)count);
}

/* Brings pages of the VM that are not absent to .room. */
static int read_pages(struct receiver *receiver, unsigned int number,
		      uint64_t page, uint64_t count)
{
	const struct ram *ram = &receiver->vm.ram[number];
	size_t bytes = count * MF_PAGE_SIZE;

	if (pread(ram->fd, receiver->room, bytes,
		  (off_t)(page * MF_PAGE_SIZE)) == (ssize_t)bytes)
		return 0;
	return fail("cannot read %s: %s", ram->path, strerror(errno));
}

int place_pages(struct receiver *receiver, const struct wire_frame *frame,
		const uint8_t *payload)
{
	if (check_range(receiver, frame))
		return -1;
	receiver->pages += frame->count;
	return write_pages(receiver, frame->ram, frame->page, frame->count,
			   payload);
}

int place_packed(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	if (check_range(receiver, frame) ||
	    place_unpack(&receiver->conn, frame, payload, receiver->room))
		return -1;
	return place_pages(receiver, frame, receiver->room);
}

int place_unpack(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload, void *to)
{
	if (!unpack_pages(payload, frame->length, to, frame->count))
		return 0;
	conn->broken = true;
	return fail("%s sent pages that cannot be decompressed", conn->peer);
}

/* Does a frame that names pages have room for as many as it says? */
static bool is_naming(const struct receiver *receiver,
		      const struct wire_frame *frame, size_t size)
{
	return frame->ram < receiver->vm.rams &&
	       frame->count <= WIRE_MAX_REFERENCES &&
	       frame->length == frame->count * size;
}

/* ... and may it, before the VM is loaded? */
static bool is_naming_now(const struct receiver *receiver,
			  const struct wire_frame *frame, size_t size)
{
	return receiver->stage == STAGE_COPYING && !receiver->load &&
	       !receiver->demand.active && is_naming(receiver, frame, size);
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

/*
 * What has changed in pages that are here. One that is not what the source
 * thinks stays as it is.
 */
int place_delta(struct receiver *receiver, const struct wire_frame *frame,
		const uint8_t *payload)
{
	static uint8_t changes[DELTA_BYTES];
	uint64_t missed[WIRE_PACK_PAGES], which;
	uint32_t i, n = 0;
	size_t length;

	/* From DEMAND on the VM writes them, or they are absent. */
	if (receiver->demand.active)
		return conn_out_of_turn(&receiver->conn, frame);
	if (check_range(receiver, frame) ||
	    read_pages(receiver, frame->ram, frame->page, frame->count))
		return -1;
	length = unpack_bytes(payload, frame->length, changes, sizeof(changes));
	if (delta_apply(&receiver->proof, changes, length, receiver->room,
			frame->count, &which)) {
		receiver->conn.broken = true;
		return fail("%s sent a DELTA frame that makes no sense",
			    receiver->conn.peer);
	}
	if (write_pages(receiver, frame->ram, frame->page, frame->count,
			receiver->room))
		return -1;
	for (i = 0; i < frame->count; i++)
		if (which >> i & 1)
			missed[n++] = htole64(frame->page + i);
	receiver->pages += frame->count - n;
	return tell_missed(receiver, frame, missed, n);
}

/* The source thinks that these are here: are they? */
int place_same(struct receiver *receiver, const struct wire_frame *frame,
	       const uint8_t *payload)
{
	uint64_t missed[WIRE_PACK_PAGES];
	uint32_t i, n = 0;

	/* From DEMAND on they may be absent, and reading waits for them. */
	if (receiver->demand.active ||
	    frame->length != frame->count * PROOF_BYTES)
		return conn_out_of_turn(&receiver->conn, frame);
	if (check_range(receiver, frame) ||
	    read_pages(receiver, frame->ram, frame->page, frame->count))
		return -1;
	for (i = 0; i < frame->count; i++)
		if (!proof_is(&receiver->proof,
			      receiver->room + i * MF_PAGE_SIZE,
			      payload + i * PROOF_BYTES))
			missed[n++] = htole64(frame->page + i);
	return tell_missed(receiver, frame, missed, n);
}

/* From the one at @at on: neighbours that were found, or one that was not. */
static uint32_t run_of(const struct wire_reference *references,
		       const bool *found, uint32_t count, uint32_t at)
{
	uint64_t first = le64toh(references[at].page);
	uint32_t n = 1;

	while (found[at] && at + n < count && found[at + n] &&
	       le64toh(references[at + n].page) == first + n)
		n++;
	return n;
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
	uint32_t i, len, n = 0, lost = 0;

	if (!is_naming_now(receiver, frame, sizeof(*references)))
		return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; i < frame->count; i++) {
		uint64_t page = le64toh(references[i].page);

		if (page >= receiver->vm.ram[frame->ram].mf.pages)
			return conn_out_of_turn(&receiver->conn, frame);
		lazy_forget(&receiver->lazy, frame->ram, page, 1);
		if (lazy_promise(&receiver->lazy, frame->ram, page,
				 &references[i]))
			continue;
		to[n] = receiver->room + n * MF_PAGE_SIZE;
		now[n++] = references[i];
	}
	if (n)
		known_find(&receiver->known, now, n, to, found);
	for (i = 0; i < n; i += len) {
		len = run_of(now, found, n, i);
		if (!found[i])
			missed[lost++] = now[i].page;
		else if (write_pages(receiver, frame->ram,
				     le64toh(now[i].page), len, to[i]))
			return -1;
	}
	return tell_missed(receiver, frame, missed, lost);
}

/* Are these two pages that exist? */
static bool is_copy(const struct receiver *receiver,
		    const struct wire_frame *frame,
		    const struct wire_copy *copy)
{
	const struct vm *vm = &receiver->vm;

	return le64toh(copy->page) < vm->ram[frame->ram].mf.pages &&
	       le64toh(copy->from) < vm->ram[frame->page].mf.pages;
}

/* Brings what is to be copied to .room. False if it is not known to be there. */
static bool recall_twin(struct receiver *receiver, const struct wire_copy *copy)
{
	const uint8_t *twin = proof_twin(&receiver->proof, copy->proof);

	if (twin)
		memcpy(receiver->room, twin, MF_PAGE_SIZE);
	return twin;
}

/* Likewise, from where it is said to be. False if it is something else. */
static bool read_twin(struct receiver *receiver, const struct wire_frame *frame,
		      const struct wire_copy *copy)
{
	if (!read_pages(receiver, (unsigned int)frame->page,
			le64toh(copy->from), 1))
		return proof_is_twin(&receiver->proof, receiver->room,
				     copy->proof);
	free(fail_take());
	return false;
}

/* From the first of @n copies on: neighbours that are of the same content. */
static uint32_t twins_in_a_row(const struct wire_copy *copies, uint32_t n)
{
	uint64_t first = le64toh(copies->page);
	uint32_t i;

	for (i = 1; i < n; i++)
		if (le64toh(copies[i].page) != first + i ||
		    memcmp(copies[i].proof, copies->proof, PROOF_BYTES))
			break;
	return i;
}

/*
 * Pages that others of this VM equal, which came before. A source that has
 * changed such a one since, or whose reference to it was missed, is found out
 * by the proof.
 */
int place_copies(struct receiver *receiver, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	const struct wire_copy *copies = (const void *)payload;
	uint64_t missed[WIRE_MAX_REFERENCES];
	uint32_t i, len, n = 0;

	if (!is_naming_now(receiver, frame, sizeof(*copies)) ||
	    frame->page >= receiver->vm.rams)
		return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; i < frame->count; i++)
		if (!is_copy(receiver, frame, &copies[i]))
			return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; i < frame->count; i += len) {
		uint64_t page = le64toh(copies[i].page);

		len = twins_in_a_row(copies + i, frame->count - i);
		if (recall_twin(receiver, &copies[i]) ||
		    read_twin(receiver, frame, &copies[i])) {
			if (write_twins(receiver, frame->ram, page, len,
					receiver->room))
				return -1;
			continue;
		}
		/* What another one is taken from may be right. */
		len = 1;
		lazy_forget(&receiver->lazy, frame->ram, page, 1);
		missed[n++] = copies[i].page;
	}
	return tell_missed(receiver, frame, missed, n);
}

/* Could reading it keep us waiting? The kernel may know of fewer. */
static bool is_absent(const struct receiver *receiver, unsigned int ram,
		      uint64_t page)
{
	return bitmap_test(receiver->demand.lacks[ram], page);
}

/* The VM may run here, and have written to what is copied from. */
int place_late_copies(struct receiver *receiver, const struct wire_frame *frame,
		      const uint8_t *payload)
{
	const struct wire_copy *copies = (const void *)payload;
	uint32_t i;
	int ret = 0;

	if (!is_naming(receiver, frame, sizeof(*copies)) ||
	    frame->page >= receiver->vm.rams)
		return conn_out_of_turn(&receiver->conn, frame);
	for (i = 0; !ret && i < frame->count; i++) {
		uint64_t page = le64toh(copies[i].page);

		if (!is_copy(receiver, frame, &copies[i]))
			return conn_out_of_turn(&receiver->conn, frame);
		lazy_forget(&receiver->lazy, frame->ram, page, 1);
		if (recall_twin(receiver, &copies[i]) ||
		    (!is_absent(receiver, (unsigned int)frame->page,
				le64toh(copies[i].from)) &&
		     read_twin(receiver, frame, &copies[i])))
			ret = demand_fill(&receiver->demand, frame->ram, page,
					  1, receiver->room);
		else
			ret = serve_ask(receiver, WIRE_MISS, frame->ram, page);
	}
	return ret;
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

		if (!memcmp(own, theirs, VERIFY_DIGEST))
			continue;
		if (!bitmap_test(ram->mf.bitmap, frame->page + i)) {
			wrong = true;
			continue;
		}
		memcpy(own, theirs, VERIFY_DIGEST);
		receiver->written++;
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
