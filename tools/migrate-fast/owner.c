// SPDX-License-Identifier: GPL-2.0
/* The two ends of a VM that is loaded here: it is ours and runs, or is given up. */
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "hook.h"
#include "receiver.h"
#include "record.h"

#define GONE_MS		10000
/* The source is not kept waiting for a QEMU that waits for its memory. */
#define WAITS_MS	2000

int receiver_qemu_gone(struct receiver *receiver)
{
	return fail("the destination QEMU at %s has ended. Its own log (stderr) says why",
		    receiver->vm.qmp.path);
}

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
static void waits_for_memory(struct receiver *receiver)
{
	char *text = fail_take();

	receiver->unconfirmed = true;
	note("QEMU here waits for memory of the VM (%s)", text);
	free(text);
}

void receiver_own(struct receiver *receiver)
{
	if (!receiver->demand.active || !record_write(receiver, true))
		return;
	/* What there is says that the VM is the source's. */
	record_remove(receiver->session);
	note("recv --resume will not work: %s", fail_text());
	free(fail_take());
}

int receiver_attach(struct receiver *receiver, unsigned int ms)
{
	struct vm *vm = &receiver->vm;

	if (!vm_attach(vm, receiver->options->qmp, ms))
		return 0;
	/* Not half of a connection; and its end is not noticed, that is all. */
	qmp_close(&vm->qmp);
	vm->qmp.gone = false;
	return -1;
}

int receiver_confirm(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;

	if (!receiver->unconfirmed)
		return 0;
	if (vm->qmp.fd < 0 && receiver_attach(receiver, QMP_GREETING_MS))
		return -1;
	if (vm_query_status(vm) ||
	    (!vm->running && !vm->resumed && !vm->powered_off && vm_cont(vm)))
		return -1;
	receiver->unconfirmed = false;
	return 0;
}

/*
 * A VM that is to stay paused: QEMU says nothing that would tell us whether it
 * still has it. One that waits for absent memory cannot be asked.
 */
static int still_has_it(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;

	if (vm->qmp.gone)
		return receiver_qemu_gone(receiver);
	return receiver->demand.active ? 0 : vm_query_status(vm);
}

int receiver_run(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	json_t *reply, *error;
	json_int_t id, caps;

	conn_pause(&receiver->conn, true);
	/* Before the VM runs: whoever kills us later must not leave it on. */
	caps = capabilities_start_restoring(vm);
	if (receiver->run_it) {
		id = qmp_start(&vm->qmp, "cont", NULL);
		if (id < 0)
			return -1;
		reply = qmp_await(&vm->qmp, id, "cont",
				  receiver->demand.active ? WAITS_MS : QMP_MS);
		if (!reply && receiver->demand.active && !vm->qmp.gone)
			waits_for_memory(receiver);
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
	} else if (still_has_it(receiver)) {
		return -1;
	}
	/* It is ours: from here on nothing is a failure any more. */
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
	capabilities_end_restoring(vm, caps);
	conn_pause(&receiver->conn, false);
	return 0;
}
