// SPDX-License-Identifier: GPL-2.0
/* migrate-fast send: the source's side, from the greeting to the report. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "keeping.h"
#include "line.h"
#include "report.h"
#include "saving.h"
#include "sender.h"
#include "survey.h"
#include "tracker.h"

#define FEATURES (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
		  MIGRATE_FAST_FEATURE_SEND | MIGRATE_FAST_FEATURE_KVM)
/* Device state of an ordinary VM. */
#define DEVICE_GUESS	(512 * 1024)

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
			    json_boolean(mode_may_split(options->mode) &&
					 !options->no_postcopy));
	json_object_set_new(hello, "lazy", json_boolean(options->lazy));
	text = need(json_dumps(hello, JSON_COMPACT));
	json_decref(hello);
	err = conn_send(conn, WIRE_HELLO, 0, text, strlen(text));
	free(text);
	if (err || loop_until(is_welcome, sender, 0))
		return -1;
	/* Now, while nothing is queued; and not the time that the peer took. */
	sender->rtt_ms = line_rtt_ms(conn->sock);
	if (hello_is_older(&sender->vm, sender->welcome))
		note("the destination's QEMU is older than the one here; it may refuse the device state");
	if (hello_compare(&sender->vm, sender->welcome, conn->peer))
		return -1;
	/* What it can tell saves more than the time that it takes. */
	return loop_until(refer_is_told, &sender->refer, 0);
}

/* From here on nobody else migrates this VM, or throttles it. */
static int track(struct vm *vm)
{
	int err = mf_start(vm->session);

	if (err == -EBUSY)
		return fail("another migration of this VM is under way here: its RAM is tracked already");
	if (err == -EADDRINUSE)
		return fail("a process has the VM's RAM write-protected by userfaultfd(2), as QEMU does for a background snapshot: end that first");
	if (err)
		return fail("the module cannot track the VM's RAM: %s",
			    strerror(-err));
	return 0;
}

/*
 * Whoever kills us must find the guard, which puts capabilities back. They are
 * set when all is copied: what QEMU would save by itself before, for whoever
 * asks for it, must have its memory.
 */
static int plan_capabilities(struct sender *sender)
{
	sender->capabilities = capabilities_plan(&sender->vm);
	if (!sender->capabilities)
		return -1;
	return guard_start(&sender->guard, &sender->vm, sender->options->to,
			   sender->session);
}

static int migrate(struct sender *sender)
{
	struct gather *gather = &sender->pager.gather;
	const struct options *options = sender->options;
	struct vm *vm = &sender->vm;
	struct mf_harvested written;
	unsigned int i;
	int ret;

	if (vm_open(vm, options->qmp, false) || survey_need_ready(vm) ||
	    vm_open_session(vm, FEATURES))
		return -1;
	if (options->keep && keeping_plan(vm))
		return -1;
	if (options->throttle && throttle_plan(&sender->throttle, vm,
					       (unsigned int)options->throttle))
		return -1;
	sender->was_running = vm->running;
	sender->stats.was_running = vm->running;
	for (i = 0; i < vm->rams; i++)
		sender->stats.total_pages += vm->ram[i].mf.pages;
	/*
	 * First: whoever migrates this VM already has set what QEMU must not
	 * lose; and with much memory it takes seconds, for which nobody over
	 * there need wait.
	 */
	if (track(vm) || tracker_begin(vm, options->source, (pid_t)options->pid) ||
	    greet(sender) || plan_capabilities(sender))
		return -1;
	pages_init(&sender->pager, vm, &sender->conn, &sender->progress,
		   sender->options->compress);
	if (sender->refer.filter.nr_blocks) {
		sender->pager.refer = &sender->refer;
		sender->pager.seed = sender->refer.seed;
		sender->pager.lazy = options->lazy;
	}
	if (proof_begin(&gather->proof, sender->session))
		return -1;
	if (options->compress != COMPRESS_OFF)
		delta_begin(&gather->delta, vm, &gather->proof);
	if (options->max_bandwidth) {
		rate_set(&sender->rate, options->max_bandwidth);
		gather->rate = &sender->rate;
	}
	progress_start(&sender->progress, &sender->stats,
		       &sender->conn.tx_bytes, options->json);
	if (throttle_start(&sender->throttle))
		return -1;
	/* What was written until now is copied in any case. */
	if (pages_harvest(&sender->pager, &written))
		return -1;
	ret = precopy(sender);
	/* While there is a session, and a VM. */
	sender->stats.source = tracker_json(vm);
	if (ret || switchover(sender))
		return -1;
	return commit(sender);
}

static int finish(struct sender *sender)
{
	const struct options *options = sender->options;
	struct stats *stats = &sender->stats;

	stats->wire_bytes = sender->conn.tx_bytes +
			    sender->supply.pull.conn.tx_bytes;
	stats->back_bytes = sender->conn.rx_bytes +
			    sender->supply.pull.conn.rx_bytes;
	stats->delta_missed = sender->pager.gather.delta.missed;
	if (sender->pager.vm) {
		saving_count(stats, &sender->pager.gather,
			     line_rate(sender->conn.sock));
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
	if (sender.stats.result != RESULT_MOVED)
		sender.stats.total_ms = ms_since(sender.stats.started);
	if (options->keep && sender.stats.result == RESULT_MOVED) {
		vm_close_session(&sender.vm);
		keeping_leave(&sender.vm, options->store);
	}
	ret = finish(&sender);
	conn_close(&sender.conn);
	supply_free(&sender);
	throttle_free(&sender.throttle);
	if (sender.pager.vm)
		pages_free(&sender.pager);
	devstate_close(&sender.devstate, &sender.vm);
	json_decref(sender.capabilities);
	vm_close(&sender.vm);
	json_decref(sender.welcome);
	free(sender.differ_digests);
	free(sender.stats.rounds);
	free(sender.stats.error);
	json_decref(sender.stats.arrived);
	json_decref(sender.stats.taken);
	json_decref(sender.stats.source);
	refer_free(&sender.refer);
	return ret;
}
