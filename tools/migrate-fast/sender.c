// SPDX-License-Identifier: GPL-2.0
/* migrate-fast send: the source's side, from the greeting to the report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "say.h"
#include "sender.h"

#define FEATURES (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
		  MIGRATE_FAST_FEATURE_SEND)
/* Device state of an ordinary VM. */
#define DEVICE_GUESS	(512 * 1024)

static uint64_t round_tx, round_at;

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
	round_tx = sender->conn.tx_bytes;
	round_at = now_ns();
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
	round->wire_bytes = sender->conn.tx_bytes - round_tx;
	round->ms = ms_since(round_at);
	stats->pages.zero += round->pages.zero;
	stats->pages.unchanged += round->pages.unchanged;
	stats->pages.raw += round->pages.raw;
	stats->postponed += round->postponed;
	return 0;
}

static int out_of_turn(struct sender *sender, const struct wire_frame *frame)
{
	sender->conn.broken = true;
	return fail("%s sent a %s frame out of turn", sender->conn.peer,
		    wire_name(frame->type));
}

static int differs(struct sender *sender, const struct wire_frame *frame,
		   const uint8_t *payload)
{
	struct vm *vm = &sender->vm;

	if (!frame->count || frame->count > WIRE_DIGEST_PAGES ||
	    frame->length != frame->count * 32 || frame->ram >= vm->rams ||
	    frame->page >= vm->ram[frame->ram].mf.pages ||
	    frame->count > vm->ram[frame->ram].mf.pages - frame->page)
		return out_of_turn(sender, frame);
	if (sender->differ.count)
		return 0;
	sender->differ = *frame;
	sender->differ_digests = need(malloc(frame->length));
	memcpy(sender->differ_digests, payload, frame->length);
	return 0;
}

/* What the destination says. Only notes it down: the main line is waiting. */
int sender_frame(struct conn *conn, const struct wire_frame *frame,
		 const uint8_t *payload)
{
	struct sender *sender = conn->arg;
	int ret;

	ret = supply_frame(sender, frame, payload);
	if (ret <= 0)
		return ret;

	switch (frame->type) {
	case WIRE_WELCOME:
		if (sender->welcome)
			return out_of_turn(sender, frame);
		sender->welcome = hello_parse(payload, frame->length,
					      conn->peer);
		return sender->welcome ? 0 : -1;
	case WIRE_ROUND_DONE:
		if (frame->page != sender->stats.nr_rounds)
			return out_of_turn(sender, frame);
		sender->round_done = frame->page;
		return 0;
	case WIRE_READY:
		sender->ready = true;
		return 0;
	case WIRE_DIFFER:
		return differs(sender, frame, payload);
	case WIRE_VERIFIED:
		sender->verified = true;
		return 0;
	case WIRE_PREPARED:
		if (!sender->stats.device_bytes)
			return out_of_turn(sender, frame);
		sender->prepared = true;
		return 0;
	case WIRE_RUNNING:
		if (!sender->committed)
			return out_of_turn(sender, frame);
		sender->answered_running = true;
		return 0;
	case WIRE_REFUSED:
		sender->refused = true;
		return fail("%s has given the VM up: %.*s", conn->peer,
			    (int)frame->length, (const char *)payload);
	case WIRE_FAIL:
		/* After COMMIT only RUNNING and REFUSED count. */
		conn->broken = true;
		sender->supply.given_up = true;
		return fail("%s says: %.*s", conn->peer, (int)frame->length,
			    (const char *)payload);
	default:
		return out_of_turn(sender, frame);
	}
}

static bool is_welcome(void *arg)
{
	return ((struct sender *)arg)->welcome;
}

static int greet(struct sender *sender)
{
	const struct options *options = sender->options;
	uint64_t timeout = options->timeout * NSEC_PER_MSEC;
	struct conn *conn = &sender->conn;
	json_t *hello;
	char *text;
	int err;

	if (conn_connect(conn, options->to, timeout))
		return -1;
	conn->frame = sender_frame;
	conn->arg = sender;
	hello = hello_describe(&sender->vm, sender->session);
	json_object_set_new(hello, "verify", json_boolean(options->verify));
	json_object_set_new(hello, "split",
			    json_boolean(mode_may_split(options->mode)));
	text = need(json_dumps(hello, JSON_COMPACT));
	json_decref(hello);
	err = conn_send(conn, WIRE_HELLO, 0, text, strlen(text));
	free(text);
	if (err || loop_until(is_welcome, sender, 0))
		return -1;
	/* Now, while nothing is queued; and not the time that the peer took. */
	sender->rtt_ms = conn_rtt_ms(conn);
	if (hello_is_older(&sender->vm, sender->welcome))
		note("the destination's QEMU is older than the one here; it may refuse the device state");
	return hello_compare(&sender->vm, sender->welcome, conn->peer);
}

static int migrate(struct sender *sender)
{
	const struct options *options = sender->options;
	struct vm *vm = &sender->vm;
	unsigned int i;
	int err;

	if (vm_open(vm, options->qmp, false) || vm_need_ready(vm) ||
	    vm_open_session(vm, FEATURES))
		return -1;
	if (options->throttle && throttle_plan(&sender->throttle, vm,
					       (unsigned int)options->throttle))
		return -1;
	sender->was_running = vm->running;
	sender->stats.was_running = vm->running;
	for (i = 0; i < vm->rams; i++)
		sender->stats.total_pages += vm->ram[i].mf.pages;
	if (greet(sender) || vm_set_capabilities(vm) ||
	    guard_start(&sender->guard, vm, options->to, sender->session))
		return -1;
	pages_init(&sender->pager, vm, &sender->conn, &sender->progress);
	if (options->max_bandwidth) {
		rate_set(&sender->rate, options->max_bandwidth);
		sender->pager.gather.rate = &sender->rate;
	}
	progress_start(&sender->progress, &sender->stats,
		       &sender->conn.tx_bytes, options->json);
	err = mf_start(vm->session);
	if (err == -EBUSY)
		return fail("another migration of this VM is under way here: its RAM is tracked already");
	if (err)
		return fail("the module cannot track the VM's RAM: %s",
			    strerror(-err));
	/* Now nobody else migrates this VM, or throttles it. */
	if (throttle_start(&sender->throttle))
		return -1;
	if (precopy(sender) || switchover(sender))
		return -1;
	return commit(sender);
}

static int finish(struct sender *sender)
{
	const struct options *options = sender->options;
	struct stats *stats = &sender->stats;

	stats->total_ms = ms_since(stats->started);
	stats->wire_bytes = sender->conn.tx_bytes +
			    sender->supply.pull.conn.tx_bytes;
	stats->back_bytes = sender->conn.rx_bytes +
			    sender->supply.pull.conn.rx_bytes;
	if (sender->pager.vm) {
		stats->sent_twice = pages_sent_twice(&sender->pager);
		stats->sent_more = sender->pager.more;
	}
	if (options->json && !sender->progress.stats)
		progress_start(&sender->progress, stats,
			       &sender->conn.tx_bytes, true);
	if (options->report)
		report_write(stats, options->report);
	if (!options->json)
		progress_end(&sender->progress);
	report_text(stats, options->json);
	/* With --json, its last line. */
	if (options->json)
		progress_end(&sender->progress);
	switch (stats->result) {
	case RESULT_MOVED:
		return EXIT_MOVED;
	case RESULT_UNKNOWN:
		return EXIT_UNKNOWN;
	case RESULT_STRANDED:
		return EXIT_STRANDED;
	case RESULT_SPLIT:
		return EXIT_SPLIT;
	default:
		return EXIT_FAILED;
	}
}

int cmd_send(const struct options *options)
{
	static struct sender sender;
	int ret;

	sender.options = options;
	sender.conn.sock = -1;
	sender.vm.session = -1;
	sender.vm.qmp.fd = -1;
	sender.devstate.fd = -1;
	sender.guard.pipe = -1;
	sender.throttle.pipe = -1;
	sender.device_guess = DEVICE_GUESS;
	sender.supply.pull.conn.sock = -1;
	sender.stats.mode = options->resume ? "resume" :
			    mode_name(options->mode);
	sender.stats.started = now_ns();
	if (options->resume)
		strcpy(sender.session, options->session);
	else
		hello_session(sender.session);
	strcpy(sender.stats.session, sender.session);
	if (options->resume ? resume_supply(&sender) : migrate(&sender)) {
		if (sender.committed)
			sender.stats.error = fail_take();
		else
			resume(&sender);
	}
	throttle_end(&sender.throttle);
	ret = finish(&sender);
	conn_close(&sender.conn);
	supply_free(&sender);
	throttle_free(&sender.throttle);
	if (sender.pager.vm)
		pages_free(&sender.pager);
	devstate_close(&sender.devstate, &sender.vm);
	vm_close(&sender.vm);
	json_decref(sender.welcome);
	free(sender.differ_digests);
	free(sender.stats.rounds);
	free(sender.stats.error);
	json_decref(sender.stats.arrived);
	return ret;
}
