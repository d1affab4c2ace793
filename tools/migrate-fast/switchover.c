// SPDX-License-Identifier: GPL-2.0
/*
 * Stops the VM, sends what is left, has the device state loaded over there.
 *
 * The guest waits for all of this, so what does not depend on the VM standing
 * still is done before: the destination's connection to its QEMU, and ours.
 * QEMU saves its devices while the last pages travel. RAM is final when a
 * harvest that began after QEMU had completed reports nothing at all: no page
 * written by saving, none that a device may still be writing.
 *
 * What was foretold for that may be wrong: a line can become slow just then.
 * If the rest takes BOUND times as long as was allowed, the VM is let run
 * on here.
 *
 * If the memory follows the VM, the last pages are not sent, but marked, and
 * the destination is told: it must know what it lacks before the device state
 * is loaded.
 */
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "hook.h"
#include "scan.h"
#include "sender.h"
#include "survey.h"

/* QEMU needs milliseconds; a busy host perhaps seconds. */
#define SAVE_MS		30000
#define LOAD_MS		60000
#define BOUND		10
/* No prediction is exact to less, in ms. */
#define LEAST_MS	100

static bool is_ready(void *arg)
{
	return ((struct sender *)arg)->ready;
}

static bool is_prepared(void *arg)
{
	return ((struct sender *)arg)->prepared;
}

/*
 * Others may pause the VM, or let it run. What the destination was told is
 * what holds there; and QEMU, if it has to stop the VM itself for saving it,
 * would save one that runs as soon as it is loaded.
 */
static int check_unchanged(struct sender *sender)
{
	struct vm *vm = &sender->vm;

	if (vm->running == sender->was_running)
		return 0;
	if (vm_query_status(vm))
		return -1;
	return fail("the VM, %s when the migration began, is \"%s\" by now; over there it would be as before. It is left as it is",
		    sender->was_running ? "running" : "paused", vm->status);
}

/*
 * Stops the VM and has its devices saved: QEMU is told all at once. If "stop"
 * failed it would save a running VM, but then nothing of it is ever loaded.
 */
static int stop_vm(struct sender *sender)
{
	struct vm *vm = &sender->vm;
	json_int_t stop, status;
	json_t *reply;

	sender->part_at = now_ns();
	if (check_unchanged(sender))
		return -1;
	if (sender->was_running && guard_arm(&sender->guard))
		return -1;
	sender->stats.stopped = sender->was_running ? now_ns() : 0;
	sender->stopped = sender->was_running;
	vm->resumed = false;
	/* Also a paused VM: let run just now, it must not be saved running. */
	stop = qmp_start(&vm->qmp, "stop", NULL);
	/* A vCPU that waits for its next period could not stop before. */
	throttle_lift(&sender->throttle);
	status = qmp_start(&vm->qmp, "query-status", NULL);
	if (devstate_save(&sender->devstate, vm))
		return -1;
	reply = qmp_fetch(&vm->qmp, stop, "stop", QMP_MS);
	json_decref(reply);
	/* A disk error or a panic may have been quicker than we. */
	if (!reply || vm_take_status(vm, status))
		return -1;
	if (vm->resumed) {
		sender->stopped = true;
		sender->stats.stopped = now_ns();
		return fail("somebody has let the VM run just when it was to be stopped");
	}
	if (sender->was_running && strcmp(vm->status, "paused"))
		return fail("the VM is \"%s\" after it was stopped; it can be moved only when it is well",
			    vm->status);
	return 0;
}

static int send_rest(struct sender *sender, uint64_t dirty)
{
	struct round *round = sender_round(sender, true, dirty);

	if (scan_pages(&sender->pager, SCAN_LAST, round) ||
	    devstate_stream(&sender->devstate, &sender->conn) ||
	    sender_round_end(sender, round))
		return -1;
	progress_round(&sender->progress, round);
	return 0;
}

/* The VM is stopped, but its memory still changes. */
static int not_still(const struct sender *sender,
		     const struct mf_harvested *sum)
{
	unsigned long long ms = sender->options->timeout;

	if (sum->carried)
		return fail("%llu pages are still held by a device that may be writing to them, %llu ms after the VM was stopped",
			    (unsigned long long)sum->carried, ms);
	return fail("somebody still writes to the memory of the VM, %llu ms after it was stopped. Who else maps its file?",
		    ms);
}

static int copy_rest(struct sender *sender)
{
	struct mf_harvested sum;
	bool saved = false;
	uint64_t end = 0;

	for (;;) {
		if (pages_harvest(&sender->pager, &sum))
			return -1;
		if (!sum.dirty && saved)
			return 0;
		/* Whoever goes on writing must not keep us from all else. */
		if (hook("rest") || loop_check())
			return -1;
		if (sum.dirty && sender->split)
			pages_stale(&sender->pager, true);
		else if (sum.dirty && send_rest(sender, sum.dirty))
			return -1;
		if (!saved) {
			if (devstate_saved(&sender->devstate, &sender->vm,
					   SAVE_MS))
				return -1;
			saved = true;
			end = now_ns() + sender->options->timeout *
			      NSEC_PER_MSEC;
		} else if (now_ns() > end) {
			return not_still(sender, &sum);
		} else if (sum.carried && loop_sleep(NSEC_PER_MSEC)) {
			return -1;
		}
	}
}

static int check_bound(struct ticker *ticker, uint64_t now)
{
	struct sender *sender = ticker->arg;

	if (now < sender->bound_at)
		return 0;
	return fail("the VM has stood still for %.0f ms, and the rest is not sent yet: the line has become much slower. Try again when it is better, or allow more (--downtime-limit, --force-switchover)",
		    ms_since(sender->stats.stopped));
}

/* What has to be there before the VM can be loaded. */
static int send_all(struct sender *sender)
{
	const struct options *options = sender->options;
	uint64_t allowed = options->downtime_limit;
	int ret;

	if (allowed < options->max_downtime)
		allowed = options->max_downtime;
	if (allowed < LEAST_MS)
		allowed = LEAST_MS;
	sender->bound_at = now_ns() + BOUND * allowed * NSEC_PER_MSEC;
	sender->bound = (struct ticker){ .tick = check_bound, .arg = sender };
	if (sender->stopped && !options->force_switchover)
		loop_add_ticker(&sender->bound);
	ret = copy_rest(sender) ||
	      (sender->split && supply_stale(sender)) ||
	      devstate_push(&sender->devstate, &sender->conn) ? -1 : 0;
	loop_del_ticker(&sender->bound);
	return ret;
}

int switchover_prepare(struct sender *sender)
{
	return conn_send(&sender->conn, WIRE_PREPARE, 0, NULL, 0) ||
	       devstate_open(&sender->devstate, &sender->vm) ? -1 : 0;
}

static int set_capabilities(struct sender *sender)
{
	json_t *plan = sender->capabilities;

	sender->capabilities = NULL;
	return capabilities_set(&sender->vm, plan) || hook("capable") ?
	       -1 : 0;
}

int switchover(struct sender *sender)
{
	struct conn *conn = &sender->conn;
	int ret;

	progress_phase(&sender->progress, "preparing");
	if (loop_until(is_ready, sender, 0) ||
	    (sender->split && supply_connect(sender)) ||
	    survey_need_same(&sender->vm) || set_capabilities(sender))
		return -1;
	sender->stats.copy_ms = ms_since(sender->stats.started);
	progress_phase(&sender->progress, "stopping");
	sender->pager.gather.rate = NULL;
	if (stop_vm(sender))
		return -1;
	sender_part(sender, PART_STOP);
	progress_phase(&sender->progress, "stopped");
	if (hook("stopped") || send_all(sender))
		return -1;
	sender->stats.device_bytes = sender->devstate.len;
	sender_part(sender, PART_RAM);
	/* What follows is compared when it is there. */
	if (sender->options->verify && !sender->split && verify_source(sender))
		return -1;
	sender_part(sender, PART_VERIFY);
	progress_phase(&sender->progress, "loading");
	if (hook("device") ||
	    conn_send(conn, WIRE_LOAD, sender->devstate.len, NULL, 0))
		return -1;
	ret = loop_until(is_prepared, sender, LOAD_MS);
	sender_part(sender, PART_LOAD);
	if (ret > 0)
		return fail("%s has not loaded the device state for %d s",
			    conn->peer, LOAD_MS / 1000);
	return ret;
}
