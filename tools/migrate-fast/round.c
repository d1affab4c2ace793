// SPDX-License-Identifier: GPL-2.0
/* What the source measures: rounds of copying, and the parts of the downtime. */
#include <stdlib.h>

#include "../lib/say.h"
#include "sender.h"

struct round *sender_round(struct sender *sender, bool stopped, uint64_t dirty)
{
	struct stats *stats = &sender->stats;
	struct round *round;

	stats->rounds = need(realloc(stats->rounds, (stats->nr_rounds + 1) *
				     sizeof(*stats->rounds)));
	round = &stats->rounds[stats->nr_rounds++];
	*round = (struct round){
		.number = stats->nr_rounds,
		.stopped = stopped,
		.dirty = dirty,
		.throttle = stopped ? 0 : sender->throttle.percent,
	};
	sender->round_packed = sender->pager.gather.pack.packed;
	sender->round_delta = sender->pager.gather.delta.sent;
	sender->round_tx = sender->conn.tx_bytes;
	sender->round_at = now_ns();
	return round;
}

void sender_part(struct sender *sender, enum part part)
{
	sender->stats.part_ms[part] = ms_since(sender->part_at);
	sender->part_at = now_ns();
}

static bool is_round_done(void *arg)
{
	struct sender *sender = arg;

	return sender->round_done == sender->stats.nr_rounds;
}

int sender_round_end(struct sender *sender, struct round *round)
{
	struct stats *stats = &sender->stats;

	if (conn_send(&sender->conn, WIRE_ROUND, round->number, NULL, 0) ||
	    loop_until(is_round_done, sender, 0))
		return -1;
	if (sender->vm.qmp.gone)
		return fail("QEMU at %s has ended: was the guest shut down?",
			    sender->vm.qmp.path);
	round->wire_bytes = sender->conn.tx_bytes - sender->round_tx;
	round->ms = ms_since(sender->round_at);
	stats->pages.zero += round->pages.zero;
	stats->pages.unchanged += round->pages.unchanged;
	stats->pages.reference += round->pages.reference;
	stats->pages.copy += round->pages.copy;
	/* Until it went nobody knew. */
	round->pages.delta = sender->pager.gather.delta.sent -
			     sender->round_delta;
	round->pages.compressed = sender->pager.gather.pack.packed -
				  sender->round_packed - round->pages.delta;
	round->pages.raw -= round->pages.delta + round->pages.compressed;
	stats->pages.delta += round->pages.delta;
	stats->pages.compressed += round->pages.compressed;
	stats->pages.raw += round->pages.raw;
	stats->postponed += round->postponed;
	return 0;
}
