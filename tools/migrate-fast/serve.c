// SPDX-License-Identifier: GPL-2.0
/*
 * Destination, post-copy: the VM runs here, or is being loaded, and some of
 * its memory is absent. What the VM waits for is asked of the source; what
 * comes is filled in, until nothing is absent.
 *
 * The VM is ours whatever becomes of the connections: if they are lost it
 * waits where it needs what is absent, and we wait for the source to join
 * again.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "bits.h"
#include "capabilities.h"
#include "hook.h"
#include "line.h"
#include "ram.h"
#include "receiver.h"
#include "record.h"

int serve_ask(struct receiver *receiver, enum wire_type type, unsigned int ram,
	      uint64_t page)
{
	struct wire_frame frame = {
		.type = (uint16_t)type,
		.ram = (uint16_t)ram,
		.count = 1,
		.page = page,
	};

	/* Told again when the source joins. */
	if (!conn_open(&receiver->pull))
		return 0;
	return conn_send_frame(&receiver->pull, &frame, NULL);
}

static int want(void *arg, unsigned int ram, uint64_t page)
{
	struct receiver *receiver = arg;
	int ret = lazy_want(&receiver->lazy, ram, page);

	if (ret <= 0)
		return ret;
	return serve_ask(receiver, lazy_is_broken(&receiver->lazy, ram, page) ?
			 WIRE_MISS : WIRE_FAULT, ram, page);
}

void serve_init(struct receiver *receiver)
{
	receiver->linger = receiver->options->linger * NSEC_PER_SEC;
	demand_init(&receiver->demand, &receiver->vm, want, receiver);
}

int serve_track(struct receiver *receiver)
{
	int err = mf_start(receiver->vm.session);

	if (err)
		return fail("the module cannot track the VM's RAM: %s",
			    strerror(-err));
	receiver->tracked = true;
	return 0;
}

int serve_forget(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	struct mf_harvested sum = { 0 };
	unsigned int i;

	for (i = 0; receiver->tracked && i < vm->rams; i++) {
		if (ram_harvest(vm, &vm->ram[i], &sum))
			return -1;
		memset(vm->ram[i].mf.bitmap, 0, vm->ram[i].mf.bitmap_bytes);
	}
	return 0;
}

int serve_begin(struct receiver *receiver, uint64_t total)
{
	uint64_t promised;

	if (record_write(receiver, false))
		return -1;
	promised = lazy_begin(&receiver->lazy);
	if (demand_begin(&receiver->demand, total + promised)) {
		if (!receiver->demand.active)
			record_remove(receiver->session);
		return -1;
	}
	receiver->conn.urgent = true;
	return serve_forget(receiver);
}

static bool is_valid(const struct receiver *receiver,
		     const struct wire_frame *frame)
{
	const struct vm *vm = &receiver->vm;

	return frame->ram < vm->rams && frame->count &&
	       frame->page < vm->ram[frame->ram].mf.pages &&
	       frame->count <= vm->ram[frame->ram].mf.pages - frame->page;
}

int serve_frame(struct conn *conn, const struct wire_frame *frame,
		const uint8_t *payload)
{
	struct receiver *receiver = conn->arg;
	bool pull = conn == &receiver->pull;

	switch (frame->type) {
	case WIRE_PAGES:
	case WIRE_PACKED:
	case WIRE_ZERO:
		if (!is_valid(receiver, frame)) {
			conn->broken = true;
			return fail("%s sent a %s frame for pages that do not exist",
				    conn->peer, wire_name(frame->type));
		}
		if (frame->type == WIRE_ZERO)
			receiver->zeroes += frame->count;
		else
			receiver->pages += frame->count;
		lazy_forget(&receiver->lazy, frame->ram, frame->page,
			    frame->count);
		if (frame->type == WIRE_PACKED) {
			void *to = receiver->room;

			if (place_unpack(conn, frame, payload, to))
				return -1;
			payload = to;
		}
		return demand_fill(&receiver->demand, frame->ram, frame->page,
				   frame->count, frame->type == WIRE_ZERO ?
				   NULL : payload);
	case WIRE_COPY:
		return pull ? 1 : place_late_copies(receiver, frame, payload);
	case WIRE_PUSHED:
		if (pull)
			receiver->pulled = true;
		else
			receiver->pushed = true;
		return 0;
	case WIRE_DIGESTS:
		if (!receiver->complete)
			return 1;
		return place_compare(receiver, frame, payload);
	case WIRE_VERIFY:
		if (!receiver->complete)
			return 1;
		if (receiver->differs)
			return 0;
		receiver->doubted = false;
		return conn_send(conn, WIRE_VERIFIED, receiver->written, NULL,
				 0);
	default:
		return 1;
	}
}

/* Frames of the second connection. */
static int on_pull(struct conn *conn, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct receiver *receiver = conn->arg;
	int ret = 1;

	if (receiver->demand.active && frame->type != WIRE_DIGESTS &&
	    frame->type != WIRE_VERIFY)
		ret = serve_frame(conn, frame, payload);
	if (ret <= 0)
		return ret;
	return conn_out_of_turn(conn, frame);
}

int receiver_join(struct receiver *receiver, struct conn *from, bool pull)
{
	struct conn *conn = pull ? &receiver->pull : &receiver->conn;

	/* A new source is the only one. */
	if (!pull)
		conn_reset(&receiver->pull);
	conn_move(conn, from);
	conn->frame = pull ? on_pull : receiver_frame;
	conn_take_pages(conn);
	conn->arg = receiver;
	conn->urgent = true;
	conn->expected = pull && receiver->complete;
	if (conn_send(conn, WIRE_JOINED, 0, NULL, 0))
		return -1;
	if (!pull) {
		/* It compares anew. */
		receiver->differs = false;
		receiver->written = 0;
		receiver->joined = true;
		receiver->pushed = false;
		receiver->pulled = false;
		return 0;
	}
	line_hurry(conn->sock, true);
	receiver->lost = 0;
	/* There is nobody else to let in. */
	if (receiver->stage != STAGE_RUNNING)
		door_close(&receiver->door);
	return demand_repeat(&receiver->demand);
}

/* The guest has powered itself off: nobody wants what is absent. */
static bool has_ended(const struct receiver *receiver)
{
	return receiver->vm.qmp.gone && receiver->vm.powered_off;
}

static int count_lacking(struct receiver *receiver, uint64_t *lacking)
{
	if (!has_ended(receiver))
		return demand_lacking(&receiver->demand, lacking);
	demand_forget(&receiver->demand);
	lazy_end(&receiver->lazy);
	*lacking = 0;
	return 0;
}

static int tell_missing_of(struct receiver *receiver, unsigned int ram,
			   uint64_t *missing)
{
	uint64_t pages = receiver->vm.ram[ram].mf.pages, *map;
	int ret;

	map = need(bitmap_new(pages));
	memcpy(map, receiver->demand.lacks[ram], bitmap_words(pages) * 8);
	lazy_leave_out(&receiver->lazy, ram, map);
	*missing += bitmap_weight(map, bitmap_words(pages));
	ret = bits_send(&receiver->conn, WIRE_MISSING, ram, map, pages);
	free(map);
	return ret;
}

static int tell_missing(struct receiver *receiver)
{
	uint64_t lacking, missing = 0;
	unsigned int i;

	if (count_lacking(receiver, &lacking))
		return -1;
	for (i = 0; i < receiver->vm.rams; i++)
		if (tell_missing_of(receiver, i, &missing))
			return -1;
	return conn_send(&receiver->conn, WIRE_MISSES, missing, NULL, 0);
}

/*
 * Without a connection to QEMU (it has waited for a page since we came) its end
 * goes unnoticed, and would be told the source as success.
 */
static bool has_died_unseen(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	unsigned int i;

	for (i = 0; vm->qmp.fd < 0 && i < vm->rams; i++)
		if (!ram_is_mapped(vm->ram[i].fd, 0, receiver->since))
			vm->qmp.gone = true;
	return vm->qmp.fd < 0 && vm->qmp.gone;
}

/* The source has nothing more: is nothing absent? */
static int conclude(struct receiver *receiver)
{
	uint64_t lacking;
	json_t *json;
	char *text;
	int ret;

	receiver->pushed = false;
	receiver->pulled = false;
	if (count_lacking(receiver, &lacking))
		return -1;
	if (lacking) {
		note("%llu pages %s, and are asked for", (unsigned long long)
		     lacking, lazy_has_broken(&receiver->lazy) ?
		     "are not on the disk any more" : "have gone astray");
		return tell_missing(receiver);
	}
	/* The source will end its QEMU when it hears that: is all well here? */
	if (has_died_unseen(receiver))
		return 0;	/* serve() sees it */
	if (!has_ended(receiver) && receiver_confirm(receiver))
		return -1;
	if (!receiver->complete)
		note(has_ended(receiver) ?
		     "the VM has ended here: its guest has powered it off" :
		     "all of the VM's memory is here");
	if (hook("complete"))
		return -1;
	receiver->complete = true;
	/* The source may be quicker to close it than to say goodbye. */
	receiver->pull.expected = true;
	json = demand_json(&receiver->demand);
	json_object_set_new(json, "tracked", json_boolean(receiver->tracked));
	json_object_set_new(json, "ended", json_boolean(has_ended(receiver)));
	json_object_set_new(json, "doubted", json_boolean(receiver->doubted));
	json_object_set_new(json, "taken", known_json(&receiver->known));
	if (receiver->lazy.on)
		json_object_set_new(json, "lazy", lazy_json(&receiver->lazy));
	text = need(json_dumps(json, JSON_COMPACT));
	json_decref(json);
	ret = conn_send(&receiver->conn, WIRE_COMPLETE, 0, text, strlen(text));
	free(text);
	return ret;
}

static bool connected(const struct receiver *receiver)
{
	return conn_open(&receiver->conn) && conn_open(&receiver->pull);
}

static bool is_over(const struct receiver *receiver)
{
	return receiver->bye ||
	       (receiver->vm.qmp.gone && !receiver->vm.powered_off) ||
	       (receiver->lost &&
		(loop_signal() || now_ns() - receiver->lost >
		 receiver->linger));
}

static bool wants_attention(void *arg)
{
	struct receiver *receiver = arg;

	return receiver->joined ||
	       (receiver->pushed && receiver->pulled &&
		!receiver->lazy.left) ||
	       (loop_signal() && !receiver->insisted) ||
	       (has_ended(receiver) && !receiver->complete &&
		connected(receiver)) ||
	       is_over(receiver);
}

static void drop(struct receiver *receiver)
{
	char *text = fail_take();

	if (receiver->demand.broken)
		conn_farewell(&receiver->conn, WIRE_FAIL, text);
	receiver->demand.broken = false;
	if (!receiver->lost)
		note("%s. The VM %s; waiting for the source to connect again (session %s)",
		     text, receiver->complete ? "runs here" :
		     "runs here and waits only for what is absent",
		     receiver->session);
	free(text);
	conn_reset(&receiver->conn);
	conn_reset(&receiver->pull);
	receiver->lost = now_ns();
	if (fail_text())
		free(fail_take());
}

static int end(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;

	if (vm->qmp.gone && !vm->powered_off) {
		receiver->stage = STAGE_GONE;
		record_remove(receiver->session);
		fail("the VM's QEMU has ended here");
		conn_farewell(&receiver->conn, WIRE_FAIL, fail_text());
		return -1;
	}
	if (!receiver->bye && !receiver->complete && !has_ended(receiver))
		return fail("the source has not come back. The VM is here and waits where it needs what is absent: migrate-fast recv --resume --qmp %s --listen %s here, then migrate-fast send --resume there; or, to give the VM up: migrate-fast abort --qmp %s",
			    receiver->options->qmp, receiver->options->listen,
			    receiver->options->qmp);
	/* Whoever takes over tries that again. */
	if (!has_ended(receiver) && receiver_confirm(receiver)) {
		char *text = fail_take();

		fail("all of the VM's memory is here, but QEMU could not be told yet that it may run (%s). Try again: migrate-fast recv --resume --qmp %s --listen %s",
		     text, receiver->options->qmp, receiver->options->listen);
		free(text);
		return -1;
	}
	record_remove(receiver->session);
	if (capabilities_restore(vm))
		return -1;
	if (receiver->doubted)
		return fail("the VM runs here with memory that is not what it was at the source, where it is paused, intact; send there says what to do");
	if (!receiver->bye)
		note("the source has not said goodbye. If its QEMU still waits there, end it, at the source: migrate-fast resolve --qmp PATH --word destination");
	return 0;
}

/* An interrupt ends the waiting for a source, but not while one is there. */
static void insist(struct receiver *receiver)
{
	receiver->insisted = true;
	note(receiver->complete ?
	     "interrupted; this ends when the source has said goodbye, or is lost" :
	     "interrupted, but a part of the memory of the VM that runs here is still at the source: this goes on until it is here, or the source is lost");
}

/* Until there is something to do; meanwhile a disk is read. */
static int await(struct receiver *receiver)
{
	while (receiver->lazy.left && !wants_attention(receiver))
		if (loop_check() || lazy_step(&receiver->lazy))
			return -1;
	return loop_until(wants_attention, receiver, 0);
}

int serve(struct receiver *receiver, int listener)
{
	int ret;

	loop_uncancellable(true);
	door_open(&receiver->door, receiver, listener);
	/* It may close after BYE, and not before: else the source is lost. */
	receiver->conn.expected = false;
	if (!connected(receiver))
		receiver->lost = now_ns();
	for (;;) {
		ret = await(receiver);
		if (!ret && is_over(receiver))
			break;
		if (!ret && loop_signal() && !receiver->insisted) {
			insist(receiver);
			continue;
		}
		if (!ret && receiver->joined) {
			receiver->joined = false;
			ret = tell_missing(receiver);
		} else if (!ret) {
			ret = conclude(receiver);
		}
		if (ret)
			drop(receiver);
	}
	door_close(&receiver->door);
	return end(receiver);
}
