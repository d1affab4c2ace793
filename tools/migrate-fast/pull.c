// SPDX-License-Identifier: GPL-2.0
/* Answers to faults; see pull.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "hook.h"
#include "line.h"
#include "pull.h"

void pull_init(struct pull *pull, struct pager *pager, struct prepage *prepage,
	       struct supplied *supplied)
{
	memset(pull, 0, sizeof(*pull));
	pull->conn.sock = -1;
	pull->pager = pager;
	pull->prepage = prepage;
	pull->supplied = supplied;
	/* Each page is asked for once, until it is told missing. */
	pull->most = vm_bytes(pager->vm) / MF_PAGE_SIZE;
}

bool pull_idle(const struct pull *pull)
{
	return !pull->bytes && !pull->len;
}

/* One page of the queue becomes a header and, unless it is zero, the page. */
static int add(struct pull *pull, unsigned int number)
{
	const struct pull_page *want = &pull->queue[pull->first];
	struct vm *vm = pull->pager->vm;
	struct ram *ram = &vm->ram[want->ram];
	struct migrate_fast_digest digest;
	struct migrate_fast_segment *segment;
	struct wire_frame frame = {
		.type = WIRE_PAGES,
		.ram = (uint16_t)want->ram,
		.length = MF_PAGE_SIZE,
		.count = 1,
		.page = want->page,
	};
	uint64_t next;
	int64_t n;

	n = mf_hash(vm->session, &ram->mf, 0, want->page, 1, 0, &digest, 1,
		    &next);
	if (n < 0)
		return fail("cannot read %s: %s", ram->path,
			    strerror((int)-n));
	if (n == 1 && digest.flags & MIGRATE_FAST_DIGEST_ZERO) {
		frame.type = WIRE_ZERO;
		frame.length = 0;
		pull->supplied->zero++;
	} else {
		pages_sent(pull->pager, want->ram, want->page);
	}
	pull->supplied->pulled++;
	wire_pack(pull->headers[number], &frame);
	segment = &pull->segments[pull->nr_segments++];
	*segment = (struct migrate_fast_segment){
		.ram = MIGRATE_FAST_SEGMENT_USER,
		.offset = (uintptr_t)pull->headers[number],
		.bytes = WIRE_HEADER,
	};
	pull->bytes += WIRE_HEADER;
	if (frame.length) {
		segment = &pull->segments[pull->nr_segments++];
		*segment = (struct migrate_fast_segment){
			.ram = ram->mf.number,
			.offset = want->page * MF_PAGE_SIZE,
			.bytes = MF_PAGE_SIZE,
		};
		pull->bytes += MF_PAGE_SIZE;
	}
	pull->first++;
	pull->len--;
	return 0;
}

static int build(struct pull *pull)
{
	unsigned int i;

	pull->nr_segments = 0;
	pull->bytes = 0;
	pull->done = 0;
	for (i = 0; i < PULL_BATCH && pull->len; i++)
		if (add(pull, i))
			return -1;
	if (!pull->len)
		pull->first = 0;
	return 0;
}

/* Sends what the socket takes, and has the loop call again for the rest. */
static int pump(struct conn *conn)
{
	struct pull *pull = conn->arg;
	int64_t n;

	while (!pull_idle(pull)) {
		if (!pull->bytes) {
			/* What was said before comes first. */
			if (conn->out_len)
				return 0;
			if (build(pull))
				return -1;
			conn->mid_frame = true;
		}
		n = mf_send(pull->pager->vm->session, conn->sock,
			    pull->segments, pull->nr_segments, pull->done, 0);
		if (n == -EAGAIN) {
			conn->watch.events |= POLLOUT;
			return 0;
		}
		if (n < 0)
			return conn_write_error(conn, (int)-n);
		pull->done += (uint64_t)n;
		conn_sent(conn, (uint64_t)n);
		if (pull->done < pull->bytes)
			continue;
		pull->bytes = 0;
		conn->mid_frame = false;
		/* What was said meanwhile. */
		if (conn->out_len)
			conn->watch.events |= POLLOUT;
	}
	return 0;
}

static void enqueue(struct pull *pull, unsigned int ram, uint64_t page)
{
	size_t end = pull->first + pull->len;

	/* What was answered makes room. */
	if (end == pull->size && pull->first > pull->size / 2) {
		memmove(pull->queue, pull->queue + pull->first,
			pull->len * sizeof(*pull->queue));
		pull->first = 0;
		end = pull->len;
	}
	if (end == pull->size) {
		pull->size = pull->size ? pull->size * 2 : 256;
		pull->queue = need(realloc(pull->queue, pull->size *
					   sizeof(*pull->queue)));
	}
	pull->queue[end] = (struct pull_page){ .ram = ram, .page = page };
	pull->len++;
}

int pull_fault(struct pull *pull, const struct wire_frame *frame)
{
	struct vm *vm = pull->pager->vm;
	uint64_t *stale;

	if (frame->ram >= vm->rams || frame->count != 1 ||
	    frame->page >= vm->ram[frame->ram].mf.pages) {
		pull->conn.broken = true;
		return fail("%s wants a page that does not exist",
			    pull->conn.peer);
	}
	if (!hook_set("no-prepage"))
		prepage_fault(pull->prepage, frame->ram, frame->page);
	stale = pull->pager->pages[frame->ram].stale;
	/* We have named it, and the disk over there does not have it. */
	if (frame->type == WIRE_MISS && !bitmap_test(stale, frame->page)) {
		bitmap_set(stale, frame->page);
		pull->supplied->stale++;
	}
	/* It is on its way already, on either connection. */
	if (!bitmap_test(stale, frame->page))
		return 0;
	if (pull->len == pull->most)
		return conn_out_of_turn(&pull->conn, frame);
	bitmap_clear(stale, frame->page);
	enqueue(pull, frame->ram, frame->page);
	return pump(&pull->conn);
}

void pull_begin(struct pull *pull)
{
	pull->conn.writable = pump;
	line_hurry(pull->conn.sock, true);
}

void pull_end(struct pull *pull)
{
	conn_reset(&pull->conn);
	pull->first = 0;
	pull->len = 0;
	pull->bytes = 0;
	pull->done = 0;
}
