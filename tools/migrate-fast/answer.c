// SPDX-License-Identifier: GPL-2.0
/*
 * Tells who asks later what became of a session: the source that has lost the
 * connection between COMMIT and RUNNING. Only who knows the session's name,
 * which is random, is answered.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "receiver.h"

#define ASK_MS	5000

struct asking {
	struct receiver *receiver;
	struct conn conn;
	bool asked, known, back, heard;
};

static int on_ask(struct conn *conn, const struct wire_frame *frame,
		  const uint8_t *payload)
{
	struct asking *asking = conn->arg;
	const char *session, *want;
	json_t *ask;

	if (frame->type == WIRE_BYE && asking->asked) {
		asking->heard = true;
		return 0;
	}
	if (frame->type != WIRE_ASK)
		return fail("a stranger sent a %s frame",
			    wire_name(frame->type));
	ask = hello_parse(payload, frame->length, conn->peer);
	if (!ask)
		return -1;
	session = json_string_value(json_object_get(ask, "session"));
	want = json_string_value(json_object_get(ask, "want"));
	asking->known = session && !strcmp(session, asking->receiver->session);
	asking->back = want && !strcmp(want, "back");
	asking->asked = true;
	json_decref(ask);
	return 0;
}

static bool is_asked(void *arg)
{
	struct asking *asking = arg;

	return asking->asked || asking->conn.closed;
}

static bool is_heard(void *arg)
{
	struct asking *asking = arg;

	return asking->heard || asking->conn.closed;
}

int answer_send(struct conn *conn, const char *state)
{
	json_t *reply = json_pack("{s:i, s:s, s:s}", "protocol", WIRE_VERSION,
				  "version", "", "state", state);
	char *text = need(json_dumps(reply, JSON_COMPACT));
	int ret;

	json_decref(reply);
	ret = conn_send(conn, WIRE_ANSWER, 0, text, strlen(text));
	free(text);
	note("asked by the source, answered: %s", state);
	return ret;
}

/*
 * Decides, if that is still open, and says what has become of it. True when
 * nobody else has to be answered here: the source has heard it (who asked may
 * have gone meanwhile), or the VM runs and lacks memory. Who brings that is let
 * in elsewhere; so is who asks then.
 */
static bool decide(struct asking *asking)
{
	struct receiver *receiver = asking->receiver;
	const char *state = "unknown";
	int ret;

	conn_pause(&asking->conn, true);
	if (fail_text())
		free(fail_take());
	if (asking->known && receiver->stage == STAGE_PREPARED) {
		if (!asking->back)
			receiver_own(receiver);
		ret = asking->back ? receiver_give_up(receiver) :
				     receiver_run(receiver);
		/* Not started, for whatever reason: then never. */
		if (ret && receiver->stage == STAGE_PREPARED)
			receiver_give_up(receiver);
	}
	conn_pause(&asking->conn, false);
	if (fail_text())
		free(fail_take());
	if (asking->known && receiver->stage == STAGE_RUNNING)
		state = receiver->demand.active && !receiver->complete ?
			"split" : "running";
	else if (asking->known && receiver->stage == STAGE_GONE)
		state = "gone";
	ret = answer_send(&asking->conn, state);
	asking->conn.expected = true;
	if (!ret)
		loop_until(is_heard, asking, ASK_MS);
	return (asking->heard && strcmp(state, "unknown")) ||
	       (receiver->stage == STAGE_RUNNING && receiver->demand.active);
}

int answer(struct receiver *receiver, int listener)
{
	uint64_t end = now_ns() + receiver->options->linger * NSEC_PER_SEC;
	struct asking asking;
	bool done = false;
	int sock;

	while (!done && !loop_signal() && now_ns() < end) {
		struct pollfd fd = { .fd = listener, .events = POLLIN };

		if (loop_once(-1) && fail_text())
			free(fail_take());
		if (poll(&fd, 1, 0) <= 0)
			continue;
		sock = accept(listener, NULL, NULL);
		if (sock < 0)
			continue;
		memset(&asking, 0, sizeof(asking));
		asking.receiver = receiver;
		conn_init(&asking.conn, sock, "who asks", ASK_MS *
			  NSEC_PER_MSEC);
		asking.conn.frame = on_ask;
		asking.conn.arg = &asking;
		loop_until(is_asked, &asking, ASK_MS);
		if (asking.asked)
			done = decide(&asking);
		conn_close(&asking.conn);
		if (fail_text())
			free(fail_take());
	}
	switch (receiver->stage) {
	case STAGE_RUNNING:
		return 0;
	case STAGE_GONE:
		return fail("the VM was given back to the source");
	default:
		/* It may be told to run by hand. */
		if (!receiver->vm.qmp.gone &&
		    capabilities_restore(&receiver->vm))
			free(fail_take());
		return fail(receiver->demand.active ?
			    "nobody has asked; the VM stays loaded and paused in this QEMU, and a part of its memory is still at the source. Quit this one, and let it run there" :
			    "nobody has asked; the VM stays loaded and paused in this QEMU. If it runs at the source, quit this one; if the source has ended, let it run with QMP \"cont\"");
	}
}
