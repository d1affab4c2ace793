// SPDX-License-Identifier: GPL-2.0
/*
 * The destination's half of the commit: a VM that is loaded and paused is
 * let run at the source's word, or given up for good. See commit.c.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"
#include "receiver.h"
#include "record.h"
#include "say.h"

#define GONE_MS	10000
/* The source is not kept waiting for a QEMU that waits for its memory. */
#define WAITS_MS 2000

static bool is_gone(void *arg)
{
	return vm_is_gone(arg);
}

int receiver_give_up(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	json_t *reply;

	conn_pause(&receiver->conn, true);
	conn_reset(&receiver->pull);
	/* It may be waiting for a page, and could not end. */
	if (receiver->demand.active) {
		demand_abort(&receiver->demand);
		record_remove(receiver->session);
	}
	reply = vm->qmp.gone ? NULL : qmp_try(&vm->qmp, "quit", NULL, QMP_MS);
	json_decref(reply);
	if (loop_until(is_gone, vm, GONE_MS))
		return -1;
	receiver->stage = STAGE_GONE;
	return 0;
}

/*
 * QEMU was told to run the VM and has not answered: it waits for a page that
 * is absent, and will run the VM when it has it. Whatever becomes of the
 * connection, the VM is ours.
 */
static void waits_for_memory(void)
{
	char *text = fail_take();

	note("QEMU here waits for memory of the VM (%s)", text);
	free(text);
}

int receiver_run(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	json_t *reply, *error;
	json_int_t id, caps;

	conn_pause(&receiver->conn, true);
	/* Before the VM runs: whoever kills us later must not leave it on. */
	caps = vm_start_restoring(vm);
	if (receiver->run_it) {
		id = qmp_start(&vm->qmp, "cont", NULL);
		if (id < 0)
			return -1;
		reply = qmp_await(&vm->qmp, id, "cont",
				  receiver->demand.active ? WAITS_MS : QMP_MS);
		if (!reply && receiver->demand.active && !vm->qmp.gone)
			waits_for_memory();
		else if (!reply) {
			receiver->stage = STAGE_LOST;
			return -1;
		}
		error = json_object_get(reply, "error");
		if (error) {
			fail("QEMU refuses to run it: %s",
			     json_string_value(json_object_get(error, "desc")));
			json_decref(reply);
			return -1;
		}
		json_decref(reply);
	}
	/* It runs: from here on nothing is a failure any more. */
	receiver->stage = STAGE_RUNNING;
	conn_pause(&receiver->conn, false);
	hook("running");
	if (conn_open(&receiver->conn))
		conn_send(&receiver->conn, WIRE_RUNNING, 0, NULL, 0);
	/* QEMU may wait for a page now and then: the rest can wait for it. */
	if (receiver->demand.active) {
		if (record_write(receiver, true))
			free(fail_take());
		if (receiver->run_it)
			vm_announce(vm);
		return 0;
	}
	conn_pause(&receiver->conn, true);
	if (receiver->run_it) {
		reply = qmp_await(&vm->qmp, vm_announce(vm), "announce-self",
				  QMP_MS);
		json_decref(reply);
	}
	vm_end_restoring(vm, caps);
	conn_pause(&receiver->conn, false);
	return 0;
}

static bool is_commit(void *arg)
{
	struct receiver *receiver = arg;

	return receiver->commit || receiver->vm.qmp.gone;
}

/* Heard, lost, or asked anew: then the source has given this one up. */
static bool is_bye(void *arg)
{
	struct awaiting *awaiting = arg;
	struct receiver *receiver = awaiting->receiver;
	struct pollfd fd = { .fd = awaiting->listener, .events = POLLIN };

	return receiver->bye || receiver->conn.closed ||
	       (now_ns() - awaiting->since > NSEC_PER_SEC &&
		poll(&fd, 1, 0) > 0);
}

/* Says that the VM will never run here, if that is true. */
static int refuse(struct receiver *receiver, const char *why)
{
	if (receiver_give_up(receiver))
		return -1;
	conn_farewell(&receiver->conn, WIRE_REFUSED, why);
	return 0;
}

/*
 * Loaded and paused. Nothing but the source's COMMIT lets the VM run, and
 * nothing but its word, or the operator's, ends it.
 */
int takeover(struct receiver *receiver, int listener)
{
	struct awaiting awaiting = { .receiver = receiver,
				     .listener = listener };
	char *cause;
	int ret;

	ret = loop_until(is_commit, receiver, 0);
	loop_uncancellable(true);
	if (!receiver->commit) {
		cause = ret ? fail_take() : NULL;
		if (!cause) {
			receiver_qemu_gone(receiver);
			cause = fail_take();
		}
		if (receiver->cancelled || loop_signal() ||
		    receiver->vm.qmp.gone) {
			ret = refuse(receiver, cause);
			fail("%s%s", cause, ret ?
			     ". Its QEMU here has not ended: end it by hand" :
			     ". The QEMU here has ended");
			free(cause);
			return -1;
		}
		note("%s. The VM is loaded and stays paused here: the source has not said that it may run. Waiting for \"migrate-fast resolve\" there (session %s)",
		     cause, receiver->session);
		free(cause);
		conn_close(&receiver->conn);
		conn_reset(&receiver->pull);
		ret = answer(receiver, listener);
		if (receiver->stage == STAGE_RUNNING && receiver->demand.active)
			return serve(receiver, listener);
		return ret;
	}
	if (receiver->demand.active && record_write(receiver, true)) {
		note("recv --resume will not work: %s", fail_text());
		free(fail_take());
	}
	/* Whatever becomes of the source now: the VM is ours. */
	if (hook("committed"))
		free(fail_take());
	if (receiver_run(receiver)) {
		cause = fail_take();
		/* Without an answer nobody knows whether it has run. */
		if (receiver->stage == STAGE_LOST) {
			conn_close(&receiver->conn);
			fail("the VM was told to run here, but: %s", cause);
			free(cause);
			return -1;
		}
		ret = refuse(receiver, cause);
		fail("the VM could not be started here: %s%s", cause, ret ?
		     ". Its QEMU here has not ended: end it by hand" : "");
		free(cause);
		return -1;
	}
	note("the VM runs here");
	if (receiver->demand.active)
		return serve(receiver, listener);
	awaiting.since = now_ns();
	ret = loop_until(is_bye, &awaiting,
			 (unsigned int)receiver->options->timeout);
	if (receiver->bye)
		return 0;
	if (fail_text())
		free(fail_take());
	note("the source has not heard that the VM runs here. Waiting for \"migrate-fast resolve\" there (session %s); an interrupt ends the waiting, not the VM",
	     receiver->session);
	conn_close(&receiver->conn);
	return answer(receiver, listener);
}
