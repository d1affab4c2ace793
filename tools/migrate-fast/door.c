// SPDX-License-Identifier: GPL-2.0
/* Who connects while a VM is received or served; see door.h. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/say.h"
#include "address.h"
#include "receiver.h"

/* A guest has so long to say what it wants. */
#define GUEST_NS	(5 * NSEC_PER_SEC)

static void leave(struct door_guest *guest)
{
	conn_close(&guest->conn);
	guest->here = false;
}

static bool knows_session(struct door_guest *guest, json_t *json)
{
	const char *session = json_string_value(json_object_get(json,
								"session"));

	return session && !strcmp(session,
				  guest->door->receiver->session);
}

static int on_join(struct door_guest *guest, json_t *json)
{
	struct receiver *receiver = guest->door->receiver;
	const char *role = json_string_value(json_object_get(json, "role"));

	if (!knows_session(guest, json))
		return fail("this is the migration of another VM (session)");
	if (hello_compare_ram(&receiver->vm, json, guest->conn.peer))
		return -1;
	if (role && !strcmp(role, "pull"))
		guest->wish = DOOR_PULL;
	else if (role && !strcmp(role, "push") &&
		 receiver->stage == STAGE_RUNNING)
		guest->wish = DOOR_PUSH;
	else
		return fail("it joins out of turn");
	return 0;
}

static int on_ask(struct door_guest *guest, json_t *json)
{
	struct receiver *receiver = guest->door->receiver;
	const char *state = "unknown";

	if (knows_session(guest, json) && receiver->stage == STAGE_RUNNING)
		state = receiver->complete ? "running" : "split";
	/* Who has heard that may end its QEMU without another word. */
	if (knows_session(guest, json) && receiver->complete)
		receiver_linger_less(receiver);
	return answer_send(&guest->conn, state);
}

static int on_frame(struct conn *conn, const struct wire_frame *frame,
		    const uint8_t *payload)
{
	struct door_guest *guest = conn->arg;
	json_t *json;
	int ret;

	if (frame->type == WIRE_BYE) {
		guest->wish = DOOR_BYE;
		return 0;
	}
	if (frame->type != WIRE_JOIN && frame->type != WIRE_ASK)
		return fail("a %s frame opens nothing here",
			    wire_name(frame->type));
	json = hello_parse(payload, frame->length, conn->peer);
	if (!json)
		return -1;
	ret = frame->type == WIRE_JOIN ? on_join(guest, json) :
					 on_ask(guest, json);
	json_decref(json);
	return ret;
}

static struct door_guest *guest_of(struct watch *watch)
{
	struct conn *conn = watch->arg;

	return conn->arg;
}

static int serve_guest(struct watch *watch, short revents)
{
	struct door_guest *guest = guest_of(watch);
	struct receiver *receiver = guest->door->receiver;
	bool failing = fail_text();
	char *text;
	int ret;

	/* From a write that has failed: what has the peer said? */
	if (guest->busy)
		return guest->ready(watch, revents);
	guest->busy = true;
	ret = guest->ready(watch, revents);
	if (ret && !failing) {
		text = fail_take();
		note("turned away: %s", text);
		if (!guest->conn.dead)
			conn_send(&guest->conn, WIRE_FAIL, 0, text,
				  strlen(text));
		free(text);
		if (fail_text())
			free(fail_take());
	}
	guest->busy = false;
	if (ret || guest->conn.closed || guest->wish == DOOR_BYE) {
		leave(guest);
		return 0;
	}
	if (guest->wish == DOOR_NONE)
		return 0;
	guest->here = false;
	return receiver_join(receiver, &guest->conn, guest->wish == DOOR_PULL);
}

static struct door_guest *free_place(struct door *door)
{
	struct door_guest *oldest = &door->guests[0];
	unsigned int i;

	for (i = 0; i < DOOR_GUESTS; i++) {
		struct door_guest *guest = &door->guests[i];

		if (!guest->here)
			return guest;
		if (guest->since < oldest->since)
			oldest = guest;
	}
	leave(oldest);
	return oldest;
}

static int knock(struct watch *watch, short revents)
{
	struct door *door = watch->arg;
	struct door_guest *guest;
	char peer[128];
	int sock;

	(void)revents;
	sock = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (sock < 0)
		return 0;
	guest = free_place(door);
	memset(guest, 0, sizeof(*guest));
	guest->door = door;
	guest->here = true;
	guest->since = now_ns();
	address_of_peer(sock, peer, sizeof(peer));
	conn_init(&guest->conn, sock, peer,
		  door->receiver->options->timeout * NSEC_PER_MSEC);
	guest->conn.frame = on_frame;
	guest->conn.arg = guest;
	/* Its signs of life are nobody's concern yet. */
	loop_del_ticker(&guest->conn.ticker);
	guest->ready = guest->conn.watch.ready;
	guest->conn.watch.ready = serve_guest;
	return 0;
}

static int tick(struct ticker *ticker, uint64_t now)
{
	struct door *door = ticker->arg;
	unsigned int i;

	for (i = 0; i < DOOR_GUESTS; i++)
		if (door->guests[i].here &&
		    now > door->guests[i].since + GUEST_NS)
			leave(&door->guests[i]);
	return 0;
}

void door_open(struct door *door, struct receiver *receiver, int listener)
{
	if (door->open)
		return;
	door->receiver = receiver;
	door->open = true;
	door->watch = (struct watch){
		.fd = listener,
		.events = POLLIN,
		.ready = knock,
		.arg = door,
	};
	door->ticker = (struct ticker){ .tick = tick, .arg = door };
	loop_add(&door->watch);
	loop_add_ticker(&door->ticker);
}

void door_close(struct door *door)
{
	unsigned int i;

	if (!door->open)
		return;
	loop_del(&door->watch);
	loop_del_ticker(&door->ticker);
	for (i = 0; i < DOOR_GUESTS; i++)
		if (door->guests[i].here)
			leave(&door->guests[i]);
	door->open = false;
}
