// SPDX-License-Identifier: GPL-2.0
/* What the destination says to the source. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "sender.h"

static int differs(struct sender *sender, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct vm *vm = &sender->vm;

	if (!frame->count || frame->count > WIRE_DIGEST_PAGES ||
	    frame->length != frame->count * 32 || frame->ram >= vm->rams ||
	    frame->page >= vm->ram[frame->ram].mf.pages ||
	    frame->count > vm->ram[frame->ram].mf.pages - frame->page)
		return conn_out_of_turn(&sender->conn, frame);
	if (sender->differ.count)
		return 0;
	sender->differ = *frame;
	sender->differ_digests = need(malloc(frame->length));
	memcpy(sender->differ_digests, payload, frame->length);
	return 0;
}

/* The destination has not taken a page. 0, or -1: none was under way. */
static int miss(struct sender *sender, unsigned int ram, uint64_t page)
{
	struct pager *pager = &sender->pager;

	if (pages_miss(pager, ram, page))
		return -1;
	/* First: it may have travelled as a delta before, which it has. */
	if (bitmap_test(pager->pages[ram].same, page)) {
		sender->stats.unchanged_missed++;
		return 0;
	}
	if (delta_miss(&pager->gather.delta, ram, page))
		return 0;
	/* It was named: once is enough. */
	bitmap_set(pager->pages[ram].refused, page);
	sender->stats.missed++;
	return 0;
}

/* Until RAM is final: then nothing may be missing. */
static int misses(struct sender *sender, const struct wire_frame *frame,
		  const uint8_t *payload)
{
	struct vm *vm = &sender->vm;
	uint64_t page;
	uint32_t i;

	if (!sender->pager.pages || sender->stats.device_bytes ||
	    frame->ram >= vm->rams ||
	    frame->length != frame->count * sizeof(page))
		return conn_out_of_turn(&sender->conn, frame);
	for (i = 0; i < frame->count; i++) {
		memcpy(&page, payload + i * sizeof(page), sizeof(page));
		page = le64toh(page);
		if (page >= vm->ram[frame->ram].mf.pages ||
		    miss(sender, frame->ram, page))
			return conn_out_of_turn(&sender->conn, frame);
	}
	return 0;
}

static int prepared(struct sender *sender, const struct wire_frame *frame,
		    const uint8_t *payload)
{
	json_error_t error;

	if (!sender->stats.device_bytes)
		return conn_out_of_turn(&sender->conn, frame);
	sender->prepared = true;
	json_decref(sender->stats.taken);
	sender->stats.taken = json_loadb((const char *)payload, frame->length,
					 0, &error);
	return 0;
}

static int welcome(struct sender *sender, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct conn *conn = &sender->conn;

	if (sender->welcome)
		return conn_out_of_turn(conn, frame);
	sender->welcome = hello_parse(payload, frame->length, conn->peer);
	if (!sender->welcome)
		return -1;
	return refer_begin(&sender->refer, sender->welcome, conn->peer,
			   vm_bytes(&sender->vm));
}

/* What the destination says. Only notes it down: the main line is waiting. */
int sender_frame(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	struct sender *sender = conn->arg;
	int ret;

	ret = supply_frame(sender, frame, payload);
	if (ret <= 0)
		return ret;

	switch (frame->type) {
	case WIRE_WELCOME:
		return welcome(sender, frame, payload);
	case WIRE_FILTER:
		return refer_filter(&sender->refer, &sender->conn, frame,
				    payload);
	case WIRE_MISS:
		return misses(sender, frame, payload);
	case WIRE_ROUND_DONE:
		if (frame->page != sender->stats.nr_rounds)
			return conn_out_of_turn(&sender->conn, frame);
		sender->round_done = frame->page;
		return 0;
	case WIRE_READY:
		sender->ready = true;
		return 0;
	case WIRE_DIFFER:
		return differs(sender, frame, payload);
	case WIRE_VERIFIED:
		sender->verified = true;
		sender->stats.verify_written = frame->page;
		return 0;
	case WIRE_PREPARED:
		return prepared(sender, frame, payload);
	case WIRE_RUNNING:
		if (!sender->committed)
			return conn_out_of_turn(&sender->conn, frame);
		sender->answered_running = true;
		return 0;
	case WIRE_REFUSED:
		sender->refused = true;
		return fail("%s has given the VM up: %.*s", conn->peer,
			    (int)frame->length, (const char *)payload);
	case WIRE_FAIL:
		/* After COMMIT only RUNNING and REFUSED count. */
		conn->broken = true;
		sender->supply.given_up = true;
		return fail("%s says: %.*s", conn->peer, (int)frame->length,
			    (const char *)payload);
	default:
		return conn_out_of_turn(&sender->conn, frame);
	}
}
