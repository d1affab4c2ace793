// SPDX-License-Identifier: GPL-2.0
/*
 * Gather send: user bytes and guest pages to a socket, in one call.
 *
 * Pages travel by reference: a page-cache reference is all that the socket
 * needs, nothing is pinned, mapped or copied. What has been sent is counted
 * in bytes of the gather, and everything else follows from that count, so a
 * send may end anywhere and go on there.
 */
#include <linux/bvec.h>
#include <linux/err.h>
#include <linux/in.h>
#include <linux/migrate_fast.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/socket.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <net/inet_connection_sock.h>
#include <net/sock.h>

#include "compat/sock.h"
#include "fill.h"
#include "ram.h"
#include "run.h"
#include "send.h"
#include "session.h"
#include "trace.h"

#define SEND_FLAGS (MIGRATE_FAST_SEND_DONTWAIT | MIGRATE_FAST_SEND_MORE)

/* Pages that are handed to the socket at once: a struct below of 8 KB. */
#define SEND_BATCH	192
/* User memory up to this length travels among the pages, as a copy. */
#define SEND_SMALL	512

/**
 * struct send_call - a MIGRATE_FAST_SEND under way
 * @session: finds the files
 * @sock: where to
 * @segments: the gather; nobody else can change it
 * @count: how many
 * @flags: MSG_* of each piece, but MSG_MORE
 * @more: MSG_MORE of the last piece
 * @by_ref: the socket may hold references to pages
 * @segment: where the next byte comes from: this one of @segments ...
 * @done: ... after so many bytes of it
 * @left: bytes of the gather from there on
 * @piece: bytes that the socket was given last
 * @nr_runs: entries of @runs
 * @nr_bvecs: entries of @bvecs
 * @room: of both, at most SEND_BATCH
 * @bvecs: the pages of the current piece, for the socket
 * @runs: the same, to be given back afterwards
 */
struct send_call {
	struct mf_session *session;
	struct socket *sock;
	const struct migrate_fast_segment *segments;
	unsigned int count;
	int flags;
	int more;
	bool by_ref;
	unsigned int segment;
	u64 done;
	u64 left;
	u64 piece;
	unsigned int nr_runs;
	unsigned int nr_bvecs;
	unsigned int room;
	struct mf_run *runs;
	struct bio_vec bvecs[];
};

/* With room for no more pages than the gather has: kmalloc() may clear it. */
static struct send_call *call_new(const struct migrate_fast_segment *segments,
				  unsigned int count)
{
	struct send_call *call;
	unsigned int i;
	u64 pages = 0;

	for (i = 0; i < count && pages < SEND_BATCH; i++)
		pages += DIV_ROUND_UP_ULL(segments[i].bytes, PAGE_SIZE) + 1;
	pages = min_t(u64, pages, SEND_BATCH);
	call = kmalloc(sizeof(*call) + pages * (sizeof(*call->bvecs) +
						sizeof(*call->runs)),
		       GFP_KERNEL);
	if (call) {
		call->room = pages;
		call->runs = (void *)&call->bvecs[pages];
	}
	return call;
}

/* Go on by @bytes, which are there. */
static void advance(struct send_call *call, u64 bytes, bool sent)
{
	call->left -= bytes;
	while (bytes) {
		const struct migrate_fast_segment *segment =
			&call->segments[call->segment];
		u64 step = min(bytes, segment->bytes - call->done);

		if (sent && segment->ram != MIGRATE_FAST_SEGMENT_USER) {
			struct mf_member *member =
				mf_session_member(call->session, segment->ram);

			atomic64_add(step, &member->sent_bytes);
		}
		bytes -= step;
		call->done += step;
		if (call->done == segment->bytes) {
			call->segment++;
			call->done = 0;
		}
	}
}

/* The last piece alone lets TCP send what does not fill a packet. */
static int piece_flags(const struct send_call *call)
{
	return call->flags | (call->piece < call->left ? MSG_MORE : call->more);
}

static void add_bvec(struct send_call *call, struct page *page,
		     unsigned int offset, unsigned int bytes)
{
	call->bvecs[call->nr_bvecs++] = (struct bio_vec){
		.bv_page = page, .bv_offset = offset, .bv_len = bytes,
	};
}

/* Add those bytes of a run that are in [@from, @to) of the file. */
static void add_run(struct send_call *call, const struct mf_run *run,
		    u64 from, u64 to)
{
	u64 pos = max(from, (u64)run->index << PAGE_SHIFT);

	to = min(to, (u64)(run->index + run->pages) << PAGE_SHIFT);
	if (run->folio) {
		/* The pages of a folio follow each other: one entry. */
		add_bvec(call, mf_run_page(run, 0), offset_in_page(pos),
			 to - pos);
		return;
	}
	while (pos < to) {
		unsigned int offset = offset_in_page(pos);
		unsigned int bytes = min_t(u64, PAGE_SIZE - offset, to - pos);

		add_bvec(call, ZERO_PAGE(0), offset, bytes);
		pos += bytes;
	}
}

/*
 * Collect bytes [@from, @to) of a file, as many as there is room for. Returns
 * how many, or an error if not even the first page can be had.
 */
static s64 collect_range(struct send_call *call, struct mf_ram *ram, u64 from,
			 u64 to)
{
	struct mf_run *runs = call->runs + call->nr_runs;
	/* Each page takes an entry at most, so no run has to be left over. */
	unsigned int room = call->room - call->nr_bvecs;
	pgoff_t start = from >> PAGE_SHIFT;
	pgoff_t end = min_t(u64, DIV_ROUND_UP_ULL(to, PAGE_SIZE), start + room);
	int i, nr;

	if (!call->nr_runs)
		mf_fill_give_way(ram);
	nr = mf_runs_get(ram, start, end, runs, room);
	if (nr < 0)
		return nr;
	call->nr_runs += nr;
	for (i = 0; i < nr; i++)
		add_run(call, &runs[i], from, to);
	end = runs[nr - 1].index + runs[nr - 1].pages;
	return min_t(u64, (u64)end << PAGE_SHIFT, to) - from;
}

/*
 * Collect user memory: a frame header as a rule. A sendmsg for each would cost
 * more than the page that follows. The copy lies where TCP has its copies of
 * such bytes, in memory of the task that is filled up and never written again.
 */
static s64 collect_user(struct send_call *call, u64 from, unsigned int bytes)
{
	struct page_frag *frag = &current->task_frag;
	struct bio_vec *last = NULL;
	unsigned int offset;
	struct page *page;

	if (!skb_page_frag_refill(bytes, frag, GFP_KERNEL))
		return -ENOMEM;
	page = frag->page;
	offset = frag->offset;
	/* Whoever is called from a fault of the copy goes on behind it. */
	frag->offset += bytes;
	/* It may be the task's last use of this page. */
	get_page(page);
	if (copy_from_user(page_address(page) + offset, u64_to_user_ptr(from),
			   bytes)) {
		put_page(page);
		return -EFAULT;
	}

	if (call->nr_bvecs)
		last = &call->bvecs[call->nr_bvecs - 1];
	if (last && last->bv_page == page && last->bv_offset +
					     last->bv_len == offset) {
		/* Its entry has a reference already. */
		put_page(page);
		last->bv_len += bytes;
	} else {
		call->runs[call->nr_runs++] = (struct mf_run){
			.folio = page_folio(page),
		};
		add_bvec(call, page, offset, bytes);
	}
	return bytes;
}

/* The next bytes go among the pages. */
static bool is_small(const struct migrate_fast_segment *s, u64 done)
{
	return s->ram != MIGRATE_FAST_SEGMENT_USER ||
	       s->bytes - done <= SEND_SMALL;
}

/*
 * Send pages, of as many segments as follow one another without much user
 * memory in between and as fit. Returns bytes, or an error if there are none.
 */
static int send_pages(struct send_call *call)
{
	unsigned int i, segment = call->segment;
	u64 done = call->done, bytes = 0;
	s64 ret;

	call->nr_runs = 0;
	call->nr_bvecs = 0;
	while (call->nr_bvecs < call->room && segment < call->count) {
		const struct migrate_fast_segment *s = &call->segments[segment];
		u64 from = s->offset + done, to = s->offset + s->bytes;
		struct mf_member *member;

		if (!is_small(s, done))
			break;
		if (s->ram == MIGRATE_FAST_SEGMENT_USER) {
			ret = collect_user(call, from, to - from);
		} else {
			member = mf_session_member(call->session, s->ram);
			ret = collect_range(call, member->ram, from, to);
		}
		if (ret < 0) {
			if (!bytes)
				return ret;
			break;
		}
		bytes += ret;
		done += ret;
		if (done == s->bytes) {
			segment++;
			done = 0;
		}
	}

	call->piece = bytes;
	ret = mf_sock_send_pages(call->sock, call->bvecs, call->nr_bvecs,
				 bytes, piece_flags(call), call->by_ref);
	for (i = 0; i < call->nr_runs; i++)
		mf_run_put(&call->runs[i]);
	return ret;
}

/* Send the rest of a segment of user memory. */
static int send_user(struct send_call *call)
{
	const struct migrate_fast_segment *s = &call->segments[call->segment];
	struct msghdr msg = {};

	call->piece = s->bytes - call->done;
	msg.msg_flags = piece_flags(call);
	iov_iter_ubuf(&msg.msg_iter, ITER_SOURCE,
		      u64_to_user_ptr(s->offset + call->done), call->piece);
	return sock_sendmsg(call->sock, &msg);
}

/* Send until all is sent or something is in the way. Returns the latter. */
static int send_all(struct send_call *call)
{
	while (call->left) {
		int ret;

		if (is_small(&call->segments[call->segment], call->done))
			ret = send_pages(call);
		else
			ret = send_user(call);
		if (ret < 0)
			return ret;
		/* No stream socket says so; but do not spin if one does. */
		if (!ret)
			return -EAGAIN;
		advance(call, ret, true);
		/* It is full: do not collect pages to be told once more. */
		if (ret < call->piece && call->flags & MSG_DONTWAIT)
			return -EAGAIN;
		if (signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* Check the segments; *@bytes is what they are together. */
static int check_segments(struct mf_session *session,
			  const struct migrate_fast_segment *segments,
			  unsigned int count, u64 *bytes)
{
	unsigned int i;

	*bytes = 0;
	for (i = 0; i < count; i++) {
		const struct migrate_fast_segment *s = &segments[i];
		struct mf_member *member;
		u64 end;

		if (s->reserved || !s->bytes ||
		    check_add_overflow(s->offset, s->bytes, &end))
			return -EINVAL;
		if (s->ram == MIGRATE_FAST_SEGMENT_USER) {
			if (s->bytes <= MIGRATE_FAST_MAX_SEND &&
			    !access_ok(u64_to_user_ptr(s->offset), s->bytes))
				return -EFAULT;
		} else {
			member = mf_session_member(session, s->ram);
			if (IS_ERR(member))
				return PTR_ERR(member);
			if (end > member->pages << PAGE_SHIFT)
				return -EINVAL;
		}
		/* Too much is too much: later segments cannot make it less. */
		if (s->bytes > MIGRATE_FAST_MAX_SEND - *bytes)
			return -EMSGSIZE;
		*bytes += s->bytes;
	}
	return 0;
}

static bool is_tcp(const struct sock *sk)
{
	return (sk->sk_family == AF_INET || sk->sk_family == AF_INET6) &&
	       sk->sk_protocol == IPPROTO_TCP;
}

static int check_socket(struct socket *sock)
{
	struct sock *sk = sock->sk;

	if (!sk || sock->type != SOCK_STREAM ||
	    (sk->sk_family != AF_UNIX && !is_tcp(sk)))
		return -EOPNOTSUPP;
	/* It would say EPIPE, which is for a connection that is gone. */
	if (is_tcp(sk) && sock->state == SS_UNCONNECTED)
		return -ENOTCONN;
	return 0;
}

/*
 * TLS in the kernel (or another layer on top of TCP) makes new bytes out of
 * those of the page: nothing is won by a reference, and what it makes of a
 * page that changes meanwhile would be its business alone.
 */
static bool takes_references(struct sock *sk)
{
	return !is_tcp(sk) || !READ_ONCE(inet_csk(sk)->icsk_ulp_ops);
}

static int send_segments(struct mf_session *session, struct socket *sock,
			 const struct migrate_fast_segment *segments,
			 struct migrate_fast_send *arg)
{
	struct send_call *call;
	u64 bytes;
	int err;

	err = check_segments(session, segments, arg->count, &bytes);
	if (err)
		return err;
	if (arg->skip > bytes)
		return -EINVAL;

	call = call_new(segments, arg->count);
	if (!call)
		return -ENOMEM;
	call->session = session;
	call->sock = sock;
	call->segments = segments;
	call->count = arg->count;
	call->flags = MSG_NOSIGNAL;
	if (arg->flags & MIGRATE_FAST_SEND_DONTWAIT ||
	    sock->file->f_flags & O_NONBLOCK)
		call->flags |= MSG_DONTWAIT;
	call->more = arg->flags & MIGRATE_FAST_SEND_MORE ? MSG_MORE : 0;
	call->by_ref = takes_references(sock->sk);
	call->segment = 0;
	call->done = 0;
	call->left = bytes;
	advance(call, arg->skip, false);

	err = send_all(call);
	/* Nobody restarts this call: the caller does, with the right skip. */
	if (err == -ERESTARTSYS)
		err = -EINTR;
	arg->sent = bytes - arg->skip - call->left;
	trace_migrate_fast_send(arg->count, bytes, arg->skip, arg->sent,
				arg->flags, err);
	kfree(call);
	return arg->sent ? 0 : err;
}

/**
 * mf_session_send - MIGRATE_FAST_SEND
 * @session: the session
 * @arg: what to send, and where to; its output is set on success
 *
 * All of the arguments are checked before the first byte is sent. Nothing is
 * left to do when arg->skip is the whole gather: that is success with nothing
 * sent, so that a loop need not know where it ends. No lock of ours is held;
 * if several threads send to one socket, their bytes mix as with write(2).
 *
 * Context: process, may sleep. Return: 0, or what is told at struct
 * migrate_fast_send; -EIO also for memory that the hardware has lost.
 */
int mf_session_send(struct mf_session *session, struct migrate_fast_send *arg)
{
	struct migrate_fast_segment *segments;
	struct socket *sock;
	int err;

	if (arg->flags & ~SEND_FLAGS || arg->reserved || !arg->count ||
	    arg->count > MIGRATE_FAST_MAX_SEGMENTS ||
	    !IS_ALIGNED(arg->segments, sizeof(u64)))
		return -EINVAL;
	sock = sockfd_lookup(arg->sock, &err);
	if (!sock)
		return err;
	err = check_socket(sock);
	if (err)
		goto put;
	segments = vmemdup_user(u64_to_user_ptr(arg->segments),
				arg->count * sizeof(*segments));
	if (IS_ERR(segments)) {
		err = PTR_ERR(segments);
		goto put;
	}
	err = send_segments(session, sock, segments, arg);
	kvfree(segments);
put:
	sockfd_put(sock);
	return err;
}
