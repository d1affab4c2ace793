// SPDX-License-Identifier: GPL-2.0
/* A connection to the other end; see conn.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/migrate_fast.h>

#include "../lib/say.h"
#include "address.h"
#include "conn.h"

/* Queued control frames; a peer that lets more pile up does not read. */
#define MAX_QUEUED	(4 << 20)
/* Frames handled before others have their turn. */
#define RX_BUDGET	64
#define RX_URGENT	4
#define RX_NS		(50 * NSEC_PER_MSEC)
/* The peer has so long to hear the last word. */
#define FAREWELL_MS	3000

static void give_up(struct conn *conn)
{
	conn->broken = true;
	conn->dead = true;
	conn->watch.events = 0;
}

static int lost(struct conn *conn, const char *why)
{
	give_up(conn);
	return fail("connection to %s lost: %s. Is migrate-fast still running there, and does the network stand?",
		    conn->peer, why);
}

static int silent(struct conn *conn)
{
	give_up(conn);
	return fail("%s has given no sign of life for %.0f s: network cut, host down or migrate-fast stopped there (--timeout)",
		    conn->peer,
		    (double)(now_ns() - conn->last_rx) / NSEC_PER_SEC);
}

int conn_write_error(struct conn *conn, int err)
{
	/*
	 * TCP waits no longer than we do, and may be the first to notice. It
	 * then says why it heard nothing, if it knows.
	 */
	switch (err) {
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return silent(conn);
	default:
		return lost(conn, strerror(err));
	}
}

static int flush_some(struct conn *conn)
{
	while (conn->out_done < conn->out_len) {
		ssize_t n = send(conn->sock, conn->out + conn->out_done,
				 conn->out_len - conn->out_done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			conn->watch.events |= POLLOUT;
			return 0;
		}
		if (n < 0) {
			/*
			 * What the peer had to say before it closed (the
			 * reason) is worth more than "broken pipe".
			 */
			if (errno == EPIPE || errno == ECONNRESET) {
				int err = errno;

				conn->watch.events = POLLIN;
				while (!conn->closed &&
				       !conn->watch.ready(&conn->watch, POLLIN) &&
				       !conn->closed)
					;
				errno = err;
			}
			return conn_write_error(conn, errno);
		}
		conn->out_done += (size_t)n;
		conn_sent(conn, (uint64_t)n);
	}
	conn->out_done = 0;
	conn->out_len = 0;
	conn->watch.events &= ~POLLOUT;
	return 0;
}

void conn_sent(struct conn *conn, uint64_t bytes)
{
	conn->tx_bytes += bytes;
	conn->last_tx = now_ns();
}

/* The header is there: is it one, and where does its payload go? */
static int begin_frame(struct conn *conn)
{
	const char *wrong = wire_unpack(conn->header, &conn->cur);

	if (wrong) {
		conn->broken = true;
		return fail("%s sent garbage: %s", conn->peer, wrong);
	}
	conn->header_got = 0;
	conn->got = 0;
	if (conn->cur.length > conn->room) {
		conn->broken = true;
		return fail("%s sent a %s frame out of place", conn->peer,
			    wire_name(conn->cur.type));
	}
	conn->in_payload = true;
	return 0;
}

static int end_frame(struct conn *conn)
{
	conn->in_payload = false;
	if (conn->cur.type == WIRE_BEAT)
		return 0;
	return conn->frame(conn, &conn->cur, conn->buf);
}

/*
 * Reads the rest of a payload to its place and, in the same call, the next
 * header: a system call for a frame.
 */
static int receive(struct conn *conn)
{
	struct iovec iov[2];
	size_t left = 0;
	ssize_t n;
	int err;

	if (conn->in_payload) {
		left = conn->cur.length - conn->got;
		if (!left)
			return end_frame(conn) ? -1 : 1;
	}
	iov[0].iov_base = conn->buf + conn->got;
	iov[0].iov_len = left;
	iov[1].iov_base = conn->header + conn->header_got;
	iov[1].iov_len = WIRE_HEADER - conn->header_got;
	n = readv(conn->sock, left ? iov : iov + 1, left ? 2 : 1);
	if (n < 0) {
		err = errno;
		if (err == EINTR || err == EAGAIN)
			return 0;
		return conn_write_error(conn, err);
	}
	if (n == 0) {
		conn->closed = true;
		conn->watch.events = 0;
		if (conn->expected)
			return 0;
		return lost(conn, conn->header_got || conn->in_payload ?
			    "it was closed in the middle of a frame" :
			    "it was closed by the other side");
	}
	conn->last_rx = now_ns();
	conn->rx_bytes += (uint64_t)n;
	if ((size_t)n < left) {
		conn->got += (size_t)n;
		return 1;
	}
	if (left) {
		n -= (ssize_t)left;
		conn->got += left;
		if (end_frame(conn))
			return -1;
	}
	conn->header_got += (size_t)n;
	if (conn->header_got == WIRE_HEADER && begin_frame(conn))
		return -1;
	return 1;
}

static int conn_ready(struct watch *watch, short revents)
{
	struct conn *conn = watch->arg;
	uint64_t end = now_ns() + RX_NS;
	int budget = conn->urgent ? RX_URGENT : RX_BUDGET, ret = 1;

	if ((revents & POLLOUT) && !conn->mid_frame && flush_some(conn))
		return -1;
	if ((revents & POLLOUT) && conn->writable && conn->writable(conn))
		return -1;
	if (!(revents & (POLLIN | POLLERR | POLLHUP)))
		return 0;
	/* Frames may take long to handle (digests): others want a turn. */
	while (ret > 0 && budget-- && !conn->closed && !conn->broken &&
	       now_ns() < end)
		ret = receive(conn);
	return ret < 0 ? -1 : 0;
}

static int conn_tick(struct ticker *ticker, uint64_t now)
{
	struct conn *conn = ticker->arg;

	if (conn->broken || conn->closed)
		return 0;
	if (now > conn->last_rx && now - conn->last_rx > conn->timeout)
		return silent(conn);
	if (now - conn->last_tx > NSEC_PER_SEC && !conn->mid_frame &&
	    !conn->out_len)
		return conn_send(conn, WIRE_BEAT, 0, NULL, 0);
	return 0;
}

static void set_room(struct conn *conn, size_t room)
{
	free(conn->buf);
	conn->buf = need(aligned_alloc(MIGRATE_FAST_PAGE_SIZE, room));
	conn->room = room;
}

void conn_take_pages(struct conn *conn)
{
	set_room(conn, WIRE_MAX_PAGES * MIGRATE_FAST_PAGE_SIZE);
}

void conn_init(struct conn *conn, int sock, const char *peer, uint64_t timeout)
{
	unsigned int ms = (unsigned int)(timeout / NSEC_PER_MSEC);
	int one = 1;

	conn->sock = sock;
	snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
	conn->timeout = timeout;
	conn->last_rx = now_ns();
	conn->last_tx = conn->last_rx;
	set_room(conn, WIRE_MAX_BYTES);
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
	conn->watch = (struct watch){
		.fd = sock,
		.events = POLLIN,
		.ready = conn_ready,
		.arg = conn,
	};
	conn->ticker = (struct ticker){ .tick = conn_tick, .arg = conn };
	loop_add(&conn->watch);
	loop_add_ticker(&conn->ticker);
}

void conn_pause(struct conn *conn, bool pause)
{
	if (conn->sock < 0 || conn->paused == pause)
		return;
	conn->paused = pause;
	if (pause) {
		loop_del(&conn->watch);
		loop_del_ticker(&conn->ticker);
		return;
	}
	conn->last_rx = now_ns();
	loop_add(&conn->watch);
	loop_add_ticker(&conn->ticker);
}

bool conn_open(const struct conn *conn)
{
	return conn->sock >= 0 && !conn->broken && !conn->closed;
}

void conn_close(struct conn *conn)
{
	if (conn->sock < 0)
		return;
	loop_del(&conn->watch);
	loop_del_ticker(&conn->ticker);
	close(conn->sock);
	conn->sock = -1;
	free(conn->buf);
	free(conn->out);
	conn->buf = NULL;
	conn->out = NULL;
	conn->out_len = 0;
	conn->out_done = 0;
	conn->out_size = 0;
}

void conn_abort(struct conn *conn)
{
	struct linger discard = { .l_onoff = 1 };

	if (conn->sock >= 0)
		setsockopt(conn->sock, SOL_SOCKET, SO_LINGER, &discard,
			   sizeof(discard));
	conn_close(conn);
}

void conn_reset(struct conn *conn)
{
	uint64_t tx = conn->tx_bytes, rx = conn->rx_bytes;

	conn_close(conn);
	*conn = (struct conn){ .sock = -1, .tx_bytes = tx, .rx_bytes = rx };
}

void conn_move(struct conn *to, struct conn *from)
{
	uint64_t tx = from->tx_bytes, rx = from->rx_bytes;
	int sock = fcntl(from->sock, F_DUPFD_CLOEXEC, 0);
	char peer[128];

	strcpy(peer, from->peer);
	conn_reset(to);
	to->tx_bytes += tx;
	to->rx_bytes += rx;
	conn_init(to, sock, peer, from->timeout);
	/* A part of the next frame may have been read with the last one. */
	memcpy(to->header, from->header, sizeof(to->header));
	to->header_got = from->header_got;
	to->in_payload = from->in_payload;
	to->cur = from->cur;
	conn_close(from);
}

static void queue(struct conn *conn, const struct wire_frame *frame,
		  const void *payload)
{
	size_t total = WIRE_HEADER + (size_t)frame->length;

	if (conn->out_len + total > conn->out_size) {
		conn->out_size = (conn->out_len + total) * 2;
		conn->out = need(realloc(conn->out, conn->out_size));
	}
	wire_pack(conn->out + conn->out_len, frame);
	if (frame->length)
		memcpy(conn->out + conn->out_len + WIRE_HEADER, payload,
		       frame->length);
	conn->out_len += total;
}

int conn_out_of_turn(struct conn *conn, const struct wire_frame *frame)
{
	conn->broken = true;
	return fail("%s sent a %s frame out of turn", conn->peer,
		    wire_name(frame->type));
}

void conn_farewell(struct conn *conn, enum wire_type type, const char *text)
{
	uint64_t end = now_ns() + FAREWELL_MS * NSEC_PER_MSEC;
	struct wire_frame frame = { .type = (uint16_t)type };
	size_t len = strlen(text);
	struct pollfd fd;
	ssize_t n = 1;

	if (conn->sock >= 0 && !conn->dead && !conn->closed) {
		frame.length = (uint32_t)len;
		if (!conn->mid_frame) {
			queue(conn, &frame, text);
			send(conn->sock, conn->out + conn->out_done,
			     conn->out_len - conn->out_done,
			     MSG_NOSIGNAL | MSG_DONTWAIT);
		}
		shutdown(conn->sock, SHUT_WR);
		fd = (struct pollfd){ .fd = conn->sock, .events = POLLIN };
		while (n != 0 && now_ns() < end) {
			poll(&fd, 1, 100);
			n = recv(conn->sock, conn->buf, WIRE_MAX_BYTES,
				 MSG_DONTWAIT);
			if (n < 0 && errno != EAGAIN && errno != EINTR)
				break;
		}
	}
	conn_close(conn);
}

int conn_send_frame(struct conn *conn, const struct wire_frame *frame,
		    const void *payload)
{
	size_t total = WIRE_HEADER + (size_t)frame->length;

	if (conn->sock < 0 || conn->broken)
		return fail("no connection to %s", conn->peer);
	if (conn->out_len + total > MAX_QUEUED)
		return fail("%s does not read what it is sent", conn->peer);
	queue(conn, frame, payload);
	return conn->mid_frame ? 0 : flush_some(conn);
}

int conn_send(struct conn *conn, enum wire_type type, uint64_t page,
	      const void *payload, size_t length)
{
	struct wire_frame frame = {
		.type = (uint16_t)type,
		.length = (uint32_t)length,
		.page = page,
	};

	return conn_send_frame(conn, &frame, payload);
}

static bool is_flushed(void *arg)
{
	return ((struct conn *)arg)->out_len == 0;
}

int conn_flush(struct conn *conn)
{
	return loop_until(is_flushed, conn, 0) ? -1 : 0;
}

int conn_wait_writable(struct conn *conn)
{
	struct pollfd fd = { .fd = conn->sock, .events = POLLOUT };

	/*
	 * The loop would call flush_some() when the socket is writable, and
	 * return; so ask for the event, look, and go round.
	 */
	conn->watch.events |= POLLOUT;
	while (poll(&fd, 1, 0) == 0)
		if (loop_once(-1))
			return -1;
	if (!conn->out_len)
		conn->watch.events &= ~POLLOUT;
	/* Signs of life and signals are heeded even if it is always writable. */
	return loop_check();
}

int conn_connect(struct conn *conn, const char *to, uint64_t timeout)
{
	return conn_connect_within(conn, to, timeout, timeout);
}

int conn_connect_within(struct conn *conn, const char *to, uint64_t attempt,
			uint64_t timeout)
{
	int sock = address_connect(to, attempt < timeout ? attempt : timeout);

	conn->sock = -1;
	if (sock < 0)
		return -1;
	conn_init(conn, sock, to, timeout);
	return 0;
}
