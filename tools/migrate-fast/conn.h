/* SPDX-License-Identifier: GPL-2.0 */
/* A connection to the other end: frames both ways, signs of life. */
#ifndef CONN_H
#define CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lib/loop.h"
#include "wire.h"

struct conn {
	int sock;
	char peer[128];			/* for messages */
	struct watch watch;
	struct ticker ticker;
	uint64_t timeout;		/* ns without a sign of life */
	uint64_t last_rx, last_tx;
	uint64_t tx_bytes, rx_bytes;
	bool mid_frame;			/* a gather is half sent: no other frame */
	bool closed;			/* the peer has closed */
	bool expected;			/* ... and that is no failure */
	bool broken;			/* nothing sensible comes from it any more */
	bool paused;
	bool dead;			/* ... nor does anything get through */
	bool urgent;			/* others wait: few frames at a time */

	/* A whole frame. Returns 0, or -1 after fail(). */
	int (*frame)(struct conn *conn, const struct wire_frame *frame,
		     const uint8_t *payload);
	/* The socket takes more, or may do so. The same; may be NULL. */
	int (*writable)(struct conn *conn);
	void *arg;

	/* Receiving. */
	uint8_t header[WIRE_HEADER];
	size_t header_got;
	bool in_payload;
	struct wire_frame cur;
	uint8_t *buf;			/* payload; begins at a page */
	size_t room, got;		/* bytes of it */

	/* Sending control frames. */
	uint8_t *out;
	size_t out_len, out_done, out_size;
};

/*
 * Says a last word (FAIL, REFUSED), if the peer can be reached at all, and
 * closes. What the peer has under way is read and forgotten: closing over
 * unread bytes would reset the connection and destroy the word.
 */
void conn_farewell(struct conn *conn, enum wire_type type, const char *text);

/* What to do about a frame that may not come now: -1, after fail(). */
int conn_out_of_turn(struct conn *conn, const struct wire_frame *frame);

/* Connects. @to: see address.h. */
int conn_connect(struct conn *conn, const char *to, uint64_t timeout);
/* The same, but does not try for longer than @attempt ns. */
int conn_connect_within(struct conn *conn, const char *to, uint64_t attempt,
			uint64_t timeout);
/* Takes over a connected socket. */
void conn_init(struct conn *conn, int sock, const char *peer, uint64_t timeout);
/* PAGES frames may come, which are longer than others. Between two frames. */
void conn_take_pages(struct conn *conn);
void conn_close(struct conn *conn);
/*
 * Closes, and takes back what has not arrived yet: the kernel goes on to send
 * it for a while. The peer must not hear later what nobody waits for the answer
 * to any more.
 */
void conn_abort(struct conn *conn);
/*
 * Closes, if it is open, and makes ready for another connection; what was
 * counted stays.
 */
void conn_reset(struct conn *conn);
/* Gives the socket of @from, between two frames, to @to, which is reset. */
void conn_move(struct conn *to, struct conn *from);
bool conn_open(const struct conn *conn);
/*
 * Leaves the connection alone, or looks at it again. Nothing that the peer
 * says or does may disturb what must be done to the end: QEMU told to go on,
 * or to quit.
 */
void conn_pause(struct conn *conn, bool pause);
/* Queues a frame and sends what the socket takes. */
int conn_send(struct conn *conn, enum wire_type type, uint64_t page,
	      const void *payload, size_t length);
int conn_send_frame(struct conn *conn, const struct wire_frame *frame,
		    const void *payload);
/* Waits until all that was queued is handed to the socket. */
int conn_flush(struct conn *conn);
/* Waits until the socket takes more. For those who write to it themselves. */
int conn_wait_writable(struct conn *conn);
/* Somebody else has sent so much: counts and is a sign of life. */
void conn_sent(struct conn *conn, uint64_t bytes);
int conn_write_error(struct conn *conn, int err);

#endif /* CONN_H */
