// SPDX-License-Identifier: GPL-2.0
/*
 * Post-copy at the source; see supply.h.
 *
 * The VM here stands still, so its memory is what the destination lacks, and
 * stays so until the destination says that nothing is absent any more. What
 * was handed to a socket counts as sent; if a connection is lost it may not
 * have arrived, so the destination tells anew what it lacks.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "bits.h"
#include "hook.h"
#include "line.h"
#include "push.h"
#include "sender.h"

#define AGAIN_NS	(300 * NSEC_PER_MSEC)
/* Connections in turn that bring nothing, before it is given up. */
#define MOST_FRUITLESS	8
/* A new attempt finds a mended network sooner than an old one goes on. */
#define ATTEMPT_NS	(2 * NSEC_PER_SEC)

/* Frames of the second connection. */
static int on_pull(struct conn *conn, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct pull *pull = conn->arg;
	struct sender *sender = (struct sender *)
		((char *)pull - offsetof(struct sender, supply.pull));

	switch (frame->type) {
	case WIRE_JOINED:
		sender->supply.joined_pull = true;
		return 0;
	case WIRE_FAULT:
	case WIRE_MISS:
		return pull_fault(pull, frame);
	case WIRE_FAIL:
		conn->broken = true;
		return fail("%s says: %.*s", conn->peer, (int)frame->length,
			    (const char *)payload);
	default:
		return conn_out_of_turn(conn, frame);
	}
}

/* What it has taken from its sources by now. */
static void take_taken(struct stats *stats)
{
	json_t *taken = json_object_get(stats->arrived, "taken");

	if (!taken)
		return;
	json_decref(stats->taken);
	stats->taken = json_incref(taken);
	json_object_del(stats->arrived, "taken");
}

int supply_frame(struct sender *sender, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	struct supply *supply = &sender->supply;
	struct conn *conn = &sender->conn;
	json_error_t error;

	switch (frame->type) {
	case WIRE_JOINED:
		supply->joined_push = true;
		return 0;
	case WIRE_MISSING:
		if (!sender->committed || frame->ram >= sender->vm.rams)
			return conn_out_of_turn(conn, frame);
		return bits_take(conn, frame, payload,
				 sender->pager.pages[frame->ram].stale,
				 sender->vm.ram[frame->ram].mf.pages);
	case WIRE_MISSES:
		if (!sender->committed)
			return conn_out_of_turn(conn, frame);
		supply->misses = true;
		return 0;
	case WIRE_COMPLETE:
		if (!sender->committed)
			return conn_out_of_turn(conn, frame);
		supply->complete = true;
		json_decref(sender->stats.arrived);
		sender->stats.arrived = json_loadb((const char *)payload,
						   frame->length, 0, &error);
		take_taken(&sender->stats);
		return 0;
	default:
		return 1;
	}
}

static int join(struct sender *sender, struct conn *conn, const char *role)
{
	json_t *json = hello_describe(&sender->vm, sender->session);
	char *text;
	int ret;

	json_object_set_new(json, "role", json_string(role));
	text = need(json_dumps(json, JSON_COMPACT));
	json_decref(json);
	ret = conn_send(conn, WIRE_JOIN, 0, text, strlen(text));
	free(text);
	return ret;
}

static bool has_joined_pull(void *arg)
{
	return ((struct sender *)arg)->supply.joined_pull;
}

static bool has_joined_push(void *arg)
{
	struct supply *supply = &((struct sender *)arg)->supply;

	return supply->joined_push && supply->misses;
}

static void prepare(struct sender *sender)
{
	struct supply *supply = &sender->supply;
	struct vm *vm = &sender->vm;
	unsigned int i;

	if (!supply->rams)
		supply->rams = need(calloc(vm->rams, sizeof(*supply->rams)));
	for (i = 0; i < vm->rams; i++) {
		supply->rams[i].todo = sender->pager.pages[i].stale;
		supply->rams[i].hot = sender->pager.pages[i].before;
		supply->rams[i].pages = vm->ram[i].mf.pages;
	}
	prepage_init(&supply->prepage, supply->rams, vm->rams);
	supply->lacking = pages_lacking(&sender->pager);
	supply->before = sender->stats.supplied.pulled +
			 sender->stats.supplied.pushed;
}

/* What --timeout says, or less. */
static unsigned int patience_ms(const struct sender *sender)
{
	return (unsigned int)sender->options->timeout;
}

static int connect_pull(struct sender *sender)
{
	struct pull *pull = &sender->supply.pull;
	uint64_t timeout = sender->options->timeout * NSEC_PER_MSEC;
	int ret;

	sender->supply.joined_pull = false;
	if (conn_connect(&pull->conn, sender->options->to, timeout))
		return -1;
	pull->conn.frame = on_pull;
	pull->conn.arg = pull;
	pull_begin(pull);
	if (join(sender, &pull->conn, "pull"))
		return -1;
	ret = loop_until(has_joined_pull, sender, patience_ms(sender));
	if (ret > 0)
		return fail("%s does not answer on a second connection",
			    pull->conn.peer);
	return ret;
}

int supply_connect(struct sender *sender)
{
	struct supply *supply = &sender->supply;

	pull_init(&supply->pull, &sender->pager, &supply->prepage,
		  &sender->stats.supplied);
	prepare(sender);
	return connect_pull(sender);
}

int supply_stale(struct sender *sender)
{
	struct supply *supply = &sender->supply;
	struct conn *conn = &sender->conn;
	uint64_t stale = pages_lacking(&sender->pager);
	unsigned int i;

	/* What is over there may be absent soon, or written by the VM. */
	delta_end(&sender->pager.gather.delta);
	for (i = 0; i < sender->vm.rams; i++)
		if (bits_send(conn, WIRE_STALE, i,
			      sender->pager.pages[i].stale,
			      sender->vm.ram[i].mf.pages))
			return -1;
	supply->lacking = stale;
	sender->stats.supplied.used = true;
	sender->stats.supplied.stale = stale;
	return conn_send(conn, WIRE_DEMAND, stale, NULL, 0);
}

static bool is_pulled(void *arg)
{
	return pull_idle(&((struct sender *)arg)->supply.pull);
}

static bool is_complete(void *arg)
{
	struct supply *supply = &((struct sender *)arg)->supply;

	return supply->complete || supply->misses;
}

/* With both connections: until the destination lacks nothing. */
static int bring(struct sender *sender)
{
	struct supply *supply = &sender->supply;

	while (!supply->complete) {
		/* Told again if something went astray, which nothing should. */
		supply->misses = false;
		if (push_all(sender) || loop_until(is_pulled, sender, 0) ||
		    hook("pushed") ||
		    conn_send(&sender->conn, WIRE_PUSHED, 0, NULL, 0) ||
		    conn_send(&supply->pull.conn, WIRE_PUSHED, 0, NULL, 0) ||
		    loop_until(is_complete, sender, 0))
			return -1;
		if (!supply->complete)
			prepare(sender);
	}
	return 0;
}

/*
 * The VM here has stood still all the time: then nothing was written. Whatever
 * was would be wrong over there, and must not go unnoticed.
 */
static int check_frozen(struct sender *sender)
{
	struct mf_harvested sum;

	if (sender->options->resume)
		return 0;
	if (pages_harvest(&sender->pager, &sum))
		return -1;
	if (!sum.dirty)
		return 0;
	sender->supply.given_up = true;
	return fail("%llu pages of the VM were written here after it was stopped, by somebody who is none of its devices: what runs over there may be damaged",
		    (unsigned long long)sum.dirty);
}

static bool connected(const struct sender *sender)
{
	return conn_open(&sender->conn) && conn_open(&sender->supply.pull.conn);
}

static void drop(struct sender *sender)
{
	struct gather *gather = &sender->pager.gather;
	unsigned int i;

	conn_reset(&sender->conn);
	pull_end(&sender->supply.pull);
	/* Gathered, but never sent. */
	gather_forget(gather);
	for (i = 0; i < sender->vm.rams; i++)
		memset(sender->pager.pages[i].stale, 0,
		       bitmap_words(sender->vm.ram[i].mf.pages) * 8);
}

static int rejoin(struct sender *sender)
{
	struct supply *supply = &sender->supply;
	struct conn *conn = &sender->conn;
	uint64_t timeout = sender->options->timeout * NSEC_PER_MSEC;
	int ret;

	drop(sender);
	supply->joined_push = false;
	supply->misses = false;
	if (conn_connect_within(conn, sender->options->to, ATTEMPT_NS, timeout))
		return -1;
	conn->frame = sender_frame;
	conn->arg = sender;
	if (join(sender, conn, "push"))
		return -1;
	ret = loop_until(has_joined_push, sender, patience_ms(sender));
	if (ret > 0)
		return fail("%s does not say which memory it lacks",
			    conn->peer);
	if (ret)
		return -1;
	prepare(sender);
	if (!sender->stats.supplied.stale)
		sender->stats.supplied.stale = supply->lacking;
	if (connect_pull(sender))
		return -1;
	sender->stats.supplied.rejoined++;
	return 0;
}

/* Until both connections stand, or --timeout has passed. */
static int connect_again(struct sender *sender)
{
	uint64_t end = now_ns() + sender->options->timeout * NSEC_PER_MSEC;

	for (;;) {
		if (!rejoin(sender))
			return 0;
		if (loop_signal() || sender->supply.given_up ||
		    now_ns() >= end)
			return -1;
		free(fail_take());
		/* The peer may need a moment to see that all is lost. */
		if (loop_sleep(AGAIN_NS))
			return -1;
	}
}

/* The guest has powered itself off over there. */
static bool has_ended(const struct sender *sender)
{
	return json_is_true(json_object_get(sender->stats.arrived, "ended"));
}

bool supply_is_doubted(const struct sender *sender)
{
	return json_is_true(json_object_get(sender->stats.arrived, "doubted"));
}

static int verify(struct sender *sender)
{
	uint64_t began = now_ns();
	int ret;

	if (supply_is_doubted(sender) &&
	    (has_ended(sender) || !sender->options->verify)) {
		sender->supply.given_up = true;
		return fail("a send before this one has found pages that differ; %s",
			    has_ended(sender) ?
			    "and the VM has ended there since" :
			    "send --resume --verify compares them again");
	}
	if (!sender->options->verify || has_ended(sender))
		return 0;
	if (!json_is_true(json_object_get(sender->stats.arrived, "tracked"))) {
		note("not verified: what the VM has written over there is not known (recv was started anew, or send without --verify)");
		return 0;
	}
	ret = verify_after(sender);
	sender->stats.verify_after_ms = ms_since(began);
	return ret;
}

static void count(struct sender *sender, uint64_t began)
{
	struct supplied *supplied = &sender->stats.supplied;
	struct prepage *prepage = &sender->supply.prepage;

	supplied->prepaged += prepage->pushed;
	supplied->judged += prepage->judged;
	supplied->hits += prepage->hits;
	supplied->ms = ms_since(began);
	prepage->pushed = 0;
	prepage->judged = 0;
	prepage->hits = 0;
}

/* Pages on the way so far, and connections that led to an end. */
static uint64_t progress(const struct sender *sender)
{
	const struct supplied *supplied = &sender->stats.supplied;

	return supplied->pulled + supplied->pushed + sender->supply.complete;
}

int supply(struct sender *sender)
{
	const struct options *options = sender->options;
	uint64_t began = now_ns(), before = progress(sender), now;
	unsigned int fruitless = 0;
	char *text;
	int ret;

	progress_phase(&sender->progress, "supplying");
	if (options->max_bandwidth) {
		rate_set(&sender->rate, options->max_bandwidth);
		sender->pager.gather.rate = &sender->rate;
	}
	/* An interrupt leaves the VM where it is: see commit_left_behind(). */
	loop_uncancellable(false);
	for (;;) {
		ret = connected(sender) ? 0 : connect_again(sender);
		if (ret)
			break;
		line_hurry(sender->conn.sock, false);
		ret = bring(sender);
		count(sender, began);
		if (!ret)
			ret = check_frozen(sender) || verify(sender) ? -1 : 0;
		if (!ret || loop_signal() || sender->supply.given_up)
			break;
		now = progress(sender);
		fruitless = now == before ? fruitless + 1 : 0;
		before = now;
		/* It is not the network. */
		if (fruitless == MOST_FRUITLESS)
			break;
		text = fail_take();
		note("%s; connecting again", text);
		free(text);
		drop(sender);
		ret = fruitless ? loop_sleep(AGAIN_NS) : 0;
		if (ret)
			break;
	}
	loop_uncancellable(true);
	if (!ret && has_ended(sender))
		note("the VM has moved, and has ended over there: its guest has powered it off");
	return ret;
}

void supply_free(struct sender *sender)
{
	conn_close(&sender->supply.pull.conn);
	free(sender->supply.pull.queue);
	free(sender->supply.rams);
}
