// SPDX-License-Identifier: GPL-2.0
/*
 * Who owns the VM. Never two, never none:
 *
 *	before COMMIT	the source; whatever fails, it lets the VM run on
 *	COMMIT said	the destination; the source does not run it again
 *			unless the destination says that it never will
 *			(REFUSED), or the operator does
 *	RUNNING heard	the destination; the source ends its QEMU, in
 *			post-copy when nothing is absent over there any more
 *
 * If no answer comes, the source stays paused with its memory intact, and
 * "migrate-fast resolve" asks again.
 */
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "hook.h"
#include "promise.h"
#include "resolve.h"
#include "sender.h"

#define CANCEL_MS	5000
#define ASK_EACH_NS	(500 * NSEC_PER_MSEC)

static bool is_answered(void *arg)
{
	struct sender *sender = arg;

	return sender->answered_running || sender->refused;
}

/* The VM runs over there. */
static void moved(struct sender *sender)
{
	struct stats *stats = &sender->stats;

	sender_part(sender, PART_COMMIT);
	stats->downtime_ms = sender->was_running ? ms_since(stats->stopped) : 0;
}

int commit_left_behind(struct sender *sender)
{
	const struct options *options = sender->options;
	char *cause = fail_take();

	sender->stats.result = RESULT_SPLIT;
	if (sender->differ.count || supply_is_doubted(sender))
		fail("the VM runs at %s, but not with the memory that it had here: %s. It stays paused here, memory intact. To go back to what it was when it was stopped, if its disks allow that: end the QEMU there, then migrate-fast resolve --qmp %s --word source",
		     options->to, cause, options->qmp);
	else if (sender->supply.complete)
		fail("the VM runs at %s with all of its memory, but the end of the move was not confirmed (%s). It stays paused here, memory intact. When you have seen it run there: migrate-fast resolve --qmp %s --word destination. If that host has died, so has the VM, and what it did there is lost",
		     options->to, cause, options->qmp);
	else
		fail("the VM runs at %s, but a part of its memory is still only here (%s). It stays paused here, memory intact. When the cause is mended: migrate-fast send --resume --qmp %s --to %s --session %s%s (and, if migrate-fast recv has ended there, first: migrate-fast recv --resume --qmp PATH --listen :PORT). If that host has died, so has the VM, and what it did there is lost",
		     options->to, cause, options->qmp, options->to,
		     sender->session, options->verify ? " --verify" : "");
	free(cause);
	return -1;
}

/* What is left here is an empty shell; to end it takes no time of the VM's. */
void commit_end(struct sender *sender)
{
	char *text;

	sender->stats.total_ms = ms_since(sender->stats.started);
	progress_phase(&sender->progress, "ending");

	/* It has moved, whatever becomes of the connection. */
	if (hook("bye"))
		free(fail_take());
	conn_pause(&sender->conn, true);
	conn_pause(&sender->supply.pull.conn, true);
	sender->stats.result = RESULT_MOVED;
	/* Of a send before this one, which was not answered. */
	promise_end(sender->session);
	if (conn_open(&sender->conn)) {
		sender->conn.expected = true;
		conn_send(&sender->conn, WIRE_BYE, 0, NULL, 0);
	}
	if (vm_quit(&sender->vm)) {
		text = fail_take();
		note("the VM has moved, but %s", text);
		free(text);
	}
}

static int unknown(struct sender *sender)
{
	const struct options *options = sender->options;
	char *cause = fail_take();

	sender->stats.result = RESULT_UNKNOWN;
	fail("state unknown: the VM was handed over, but %s has not confirmed that it runs there (%s). It stays paused here, memory intact. Ask with: migrate-fast resolve --qmp %s --to %s --session %s",
	     sender->conn.peer, cause, options->qmp, options->to,
	     sender->session);
	free(cause);
	return -1;
}

/*
 * The connection is lost, but perhaps not the network: asks for as long as
 * the destination may take to notice.
 */
static enum outcome ask(struct sender *sender)
{
	const struct options *options = sender->options;
	uint64_t end = now_ns() + options->timeout * NSEC_PER_MSEC;
	enum outcome outcome;

	progress_phase(&sender->progress, "asking");
	for (;;) {
		outcome = resolve_ask(options->to, sender->session, false,
				      options->timeout);
		if (outcome != OUTCOME_SILENT || now_ns() >= end)
			return outcome;
		free(fail_take());
		loop_sleep(ASK_EACH_NS);
	}
}

/*
 * COMMIT, and what becomes of it. Return: 0 the VM runs over there; -1 not, if
 * sender->committed was taken back, or else unknown.
 */
static int hand_over(struct sender *sender)
{
	const struct options *options = sender->options;
	struct conn *conn = &sender->conn;
	int ret;

	sender->committed = true;
	ret = conn_send(conn, WIRE_COMMIT, 0, NULL, 0);
	if (!ret)
		ret = loop_until(is_answered, sender,
				 (unsigned int)options->timeout);
	if (sender->refused) {
		sender->committed = false;
		return -1;
	}
	if (sender->answered_running)
		return 0;
	if (ret > 0)
		fail("no answer for %llu ms",
		     (unsigned long long)options->timeout);
	conn_abort(conn);
	if (sender->split)
		pull_end(&sender->supply.pull);
	switch (ask(sender)) {
	case OUTCOME_RUNNING:
	case OUTCOME_SPLIT:
		free(fail_text() ? fail_take() : NULL);
		return 0;
	case OUTCOME_GONE:
		sender->committed = false;
		return fail("the destination has given the VM up");
	default:
		return unknown(sender);
	}
}

int commit(struct sender *sender)
{
	const struct options *options = sender->options;
	struct conn *conn = &sender->conn;
	int ret;

	progress_phase(&sender->progress, "committing");
	if (hook("commit") || loop_check())
		return -1;
	if (sender->vm.resumed)
		return fail("somebody has let the VM run here after it was stopped: what the destination has is not the VM any more");
	if (!conn_open(conn) || sender->refused)
		return fail("connection to %s lost before the commit",
			    conn->peer);
	if (promise_make(sender->session, options->qmp, sender->was_running,
			 sender->vm.caps_before))
		return -1;
	ret = hook("promised");
	if (!ret) {
		/* No signal, and no failure, from here on lets it run here. */
		loop_uncancellable(true);
		ret = guard_dismiss(&sender->guard);
		if (!ret)
			ret = hand_over(sender);
	}
	/* Known, either way: nobody has to be asked any more who may run it. */
	if (!ret || !sender->committed)
		promise_end(sender->session);
	if (ret)
		return ret;
	moved(sender);
	if (sender->split && supply(sender))
		return commit_left_behind(sender);
	commit_end(sender);
	return 0;
}

static int run_on(struct vm *vm)
{
	char *cause;

	if (!vm_cont(vm))
		return 0;
	cause = fail_take();
	fail("the VM could not be resumed at the source: %s. Look at QEMU there (QMP \"query-status\", \"cont\")",
	     cause);
	free(cause);
	return -1;
}

void resume(struct sender *sender)
{
	struct stats *stats = &sender->stats;
	struct vm *vm = &sender->vm;
	char *cause = fail_take(), *second;
	json_t *reply;

	loop_uncancellable(true);
	throttle_lift(&sender->throttle);
	conn_pause(&sender->conn, true);
	/* Nobody over there will need a page; nor may its end disturb us. */
	pull_end(&sender->supply.pull);
	stats->error = cause;
	stats->result = RESULT_FAILED;
	/* QEMU hangs in "migrate" as long as its socket is open. */
	devstate_close(&sender->devstate, vm);
	if (sender->devstate.running && !vm_migration_is_over(vm)) {
		reply = qmp_try(&vm->qmp, "migrate_cancel", NULL, QMP_MS);
		json_decref(reply);
		loop_until(vm_migration_is_over, vm, CANCEL_MS);
	}
	if (sender->stopped) {
		if (fail_text())
			free(fail_take());
		if (run_on(vm)) {
			stats->result = RESULT_STRANDED;
			second = fail_take();
			note("%s", second);
			free(second);
		} else {
			stats->downtime_ms = ms_since(stats->stopped);
		}
	} else if (vm->qmp.gone && sender->was_running) {
		stats->result = RESULT_STRANDED;
	} else if (sender->devstate.running) {
		note("the VM stays paused here; before it can be moved again QEMU needs QMP \"cont\", then \"stop\"");
	}
	hook("restore");
	capabilities_restore(vm);
	/* Not before: if we are killed here, it does what is left to do. */
	if (guard_dismiss(&sender->guard))
		free(fail_take());
	vm_close_session(vm);
	if (stats->device_bytes && sender->conn.dead)
		note("if the destination had loaded the VM already, it waits there, paused; to end it: migrate-fast resolve --back --qmp %s --to %s --session %s",
		     sender->options->qmp, sender->options->to,
		     sender->session);
	/* The guest first, the peer second: it waits for our word anyway. */
	conn_farewell(&sender->conn, WIRE_FAIL, cause);
	if (fail_text())
		free(fail_take());
}
