// SPDX-License-Identifier: GPL-2.0
/*
 * Post-copy at the source: memory that nobody has asked for yet, in the order
 * of prepage.h, as fast as it does not stand in the way of what is asked for.
 */
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "hook.h"
#include "line.h"
#include "push.h"
#include "sender.h"

/* Pages pushed together take about so long: a fault has to wait for them. */
#define PUSH_MS		3
#define PUSH_LEAST	8
#define PUSH_MOST	512
/* The push keeps the line busy for so long ahead, and at least so much. */
#define AHEAD_MS	5
#define AHEAD_BYTES	(64 * 1024)

/* Names it, if one that equals it is there. 1 if not. */
static int push_copy(struct sender *sender, unsigned int number,
		     const struct migrate_fast_digest *digest)
{
	struct pager *pager = &sender->pager;
	unsigned int from_ram;
	uint64_t from;

	if (!pages_twin(pager, digest, &from_ram, &from))
		return 1;
	sender->stats.supplied.copied++;
	return gather_copy(&pager->gather, number, digest->page, from_ram,
			   from);
}

static int push_page(struct sender *sender, unsigned int number,
		     const struct migrate_fast_digest *digest)
{
	struct pager *pager = &sender->pager;
	int ret = push_copy(sender, number, digest);

	if (ret <= 0)
		return ret;
	pages_record(pager, number, digest);
	pages_sent(pager, number, digest->page);
	return gather_page(&pager->gather, number, digest->page);
}

/* Sends @n neighbours; those that are zero, or equal others, by name. */
static int push_run(struct sender *sender, unsigned int number, uint64_t page,
		    uint64_t n)
{
	struct pager *pager = &sender->pager;
	struct ram *ram = &sender->vm.ram[number];
	uint64_t end = page + n, at = page;
	int64_t got, k;

	while (at < end) {
		got = mf_hash(sender->vm.session, &ram->mf,
			      MIGRATE_FAST_HASH_XXH64, at, end - at,
			      pager->seed, pager->digests, PUSH_MOST, &at);
		if (got < 0)
			return fail("cannot read %s: %s", ram->path,
				    strerror((int)-got));
		for (k = 0; k < got; k++) {
			const struct migrate_fast_digest *digest =
				&pager->digests[k];
			bool zero = digest->flags & MIGRATE_FAST_DIGEST_ZERO;

			/* While the last ones were sent it was pulled. */
			if (!bitmap_test(pager->pages[number].stale,
					 digest->page))
				continue;
			/* Before anything waits: a fault may want it too. */
			bitmap_clear(pager->pages[number].stale, digest->page);
			sender->stats.supplied.pushed++;
			zero = zero || hook_lose("lose-pushed", digest->page);
			sender->stats.supplied.zero += zero;
			if (zero ? gather_zero(&pager->gather, number,
					       digest->page) :
				   push_page(sender, number, digest))
				return -1;
		}
	}
	return 0;
}

/*
 * What lies in queues of the network delays the answers to faults: no more
 * of it than keeps the line busy.
 */
static int wait_for_room(struct sender *sender)
{
	struct conn *conn = &sender->conn;

	for (;;) {
		uint64_t ahead = line_in_flight(conn->sock);

		if (ahead <= AHEAD_BYTES ||
		    ahead <= line_window(conn->sock, AHEAD_MS))
			return loop_check();
		if (loop_once(2))
			return -1;
	}
}

static void tell_progress(struct sender *sender)
{
	const struct supplied *supplied = &sender->stats.supplied;
	uint64_t sent = supplied->pulled + supplied->pushed -
			sender->supply.before;

	if (sent <= sender->supply.lacking)
		progress_done(&sender->progress, sender->stats.total_pages -
			      (sender->supply.lacking - sent));
}

static uint64_t push_pages(const struct sender *sender)
{
	uint64_t n = line_rate(sender->conn.sock) * PUSH_MS / 1000 / MF_PAGE_SIZE;

	return n < PUSH_LEAST ? PUSH_LEAST : n > PUSH_MOST ? PUSH_MOST : n;
}

/* For tests: at the first pages, and half way. */
static int hold(struct sender *sender)
{
	const struct supplied *supplied = &sender->stats.supplied;
	struct supply *supply = &sender->supply;

	if (!supply->first) {
		supply->first = true;
		if (hook("push"))
			return -1;
	}
	if (supply->half || 2 * (supplied->pulled + supplied->pushed) <
	    supplied->stale)
		return 0;
	supply->half = true;
	return hook("half");
}

int push_all(struct sender *sender)
{
	struct supply *supply = &sender->supply;
	unsigned int ram;
	uint64_t page, n;

	while (!supply->complete) {
		n = prepage_next(&supply->prepage, push_pages(sender), &ram,
				 &page);
		if (!n)
			break;
		if (push_run(sender, ram, page, n) ||
		    gather_flush(&sender->pager.gather) ||
		    wait_for_room(sender))
			return -1;
		tell_progress(sender);
		if (hold(sender))
			return -1;
	}
	return 0;
}
