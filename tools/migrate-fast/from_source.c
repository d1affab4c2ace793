// SPDX-License-Identifier: GPL-2.0
/* What the source says to the destination. */
#include <string.h>

#include "../lib/say.h"
#include "receiver.h"

static int on_copying(struct receiver *receiver,
		      const struct wire_frame *frame, const uint8_t *payload)
{
	struct conn *conn = &receiver->conn;

	if (receiver->load)
		return conn_out_of_turn(&receiver->conn, frame);
	switch (frame->type) {
	case WIRE_PAGES:
		return place_pages(receiver, frame, payload);
	case WIRE_ZERO:
		return place_zero(receiver, frame);
	case WIRE_PACKED:
		return place_packed(receiver, frame, payload);
	case WIRE_DELTA:
		return place_delta(receiver, frame, payload);
	case WIRE_SAME:
		return place_same(receiver, frame, payload);
	case WIRE_REFER:
		return place_references(receiver, frame, payload);
	case WIRE_COPY:
		return place_copies(receiver, frame, payload);
	case WIRE_ROUND:
		if (receiver->round_over)
			return conn_out_of_turn(&receiver->conn, frame);
		receiver->rounds++;
		receiver->round_over = true;
		receiver->round = frame->page;
		return 0;
	case WIRE_PREPARE:
		receiver->prepare = true;
		return 0;
	case WIRE_DEVICE:
		return devstate_keep(&receiver->devstate, payload,
				     frame->length);
	case WIRE_DIGEST:
		return place_digest(receiver, frame, payload);
	case WIRE_VERIFY:
		if (receiver->differs)
			return 0;
		receiver->verified = true;
		return conn_send(conn, WIRE_VERIFIED, 0, NULL, 0);
	case WIRE_STALE:
		if (!receiver->split)
			return conn_out_of_turn(&receiver->conn, frame);
		return demand_stale(&receiver->demand, conn, frame, payload);
	case WIRE_DEMAND:
		if (!receiver->split || receiver->demand.active ||
		    !conn_open(&receiver->pull))
			return conn_out_of_turn(&receiver->conn, frame);
		return serve_begin(receiver, frame->page);
	case WIRE_LOAD:
		if (!receiver->prepare ||
		    frame->page != receiver->devstate.len)
			return conn_out_of_turn(&receiver->conn, frame);
		/* Without DEMAND nobody would read what is promised. */
		if (!receiver->demand.active &&
		    lazy_has_promised(&receiver->lazy))
			return conn_out_of_turn(&receiver->conn, frame);
		if (receiver->verify && !receiver->verified &&
		    !receiver->demand.active)
			return fail("%s wants the VM loaded though its memory was not verified",
				    conn->peer);
		receiver->load = true;
		return 0;
	default:
		return conn_out_of_turn(&receiver->conn, frame);
	}
}

/* What the source says. What takes long is only noted down. */
int receiver_frame(struct conn *conn, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct receiver *receiver = conn->arg;
	int ret = 1;

	if (frame->type == WIRE_FAIL) {
		conn->broken = true;
		receiver->cancelled = true;
		return fail("%s says: %.*s", conn->peer, (int)frame->length,
			    (const char *)payload);
	}
	if (receiver->demand.active)
		ret = serve_frame(conn, frame, payload);
	if (ret <= 0)
		return ret;
	switch (receiver->stage) {
	case STAGE_GREETING:
		if (frame->type != WIRE_HELLO || receiver->hello)
			return conn_out_of_turn(&receiver->conn, frame);
		receiver->hello = hello_parse(payload, frame->length,
					      conn->peer);
		return receiver->hello ? 0 : -1;
	case STAGE_COPYING:
		return on_copying(receiver, frame, payload);
	case STAGE_PREPARED:
		if (frame->type != WIRE_COMMIT)
			return conn_out_of_turn(&receiver->conn, frame);
		receiver->commit = true;
		/* From here on it is needed. */
		receiver->pull.expected = false;
		/* Its end of the connection may close from here on. */
		conn->expected = true;
		return 0;
	case STAGE_RUNNING:
		/* Not before all of its memory is here. */
		if (frame->type != WIRE_BYE ||
		    (receiver->demand.active && !receiver->complete))
			return conn_out_of_turn(&receiver->conn, frame);
		receiver->bye = true;
		conn->expected = true;
		receiver->pull.expected = true;
		return 0;
	default:
		return conn_out_of_turn(&receiver->conn, frame);
	}
}
