// SPDX-License-Identifier: GPL-2.0
/*
 * migrate-fast recv --resume: takes over from a recv that has ended while
 * memory of the VM was absent.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/say.h"
#include "address.h"
#include "capabilities.h"
#include "keep.h"
#include "receiver.h"
#include "record.h"

#define FEATURES (MIGRATE_FAST_FEATURE_FILL | MIGRATE_FAST_FEATURE_HASH)

/* QEMU may be waiting for an absent page: then it does not answer yet. */
#define WAITS_MS	3000

static bool reach_qemu(struct receiver *receiver)
{
	if (!receiver_attach(receiver, WAITS_MS))
		return true;
	free(fail_take());
	return false;
}

/*
 * What the recv before us has left to do: QEMU is told to run the VM, and
 * capabilities are put back.
 */
static int finish_run(struct receiver *receiver, const json_t *record,
		      bool reached)
{
	struct vm *vm = &receiver->vm;

	if (reached)
		vm->caps_before = json_incref(json_object_get(record,
							      "capabilities"));
	if (!json_is_true(json_object_get(record, "start"))) {
		receiver->stage = STAGE_RUNNING;
		/* It may be about to wait for a page: we do not. */
		capabilities_start_restoring(vm);
		return 0;
	}
	/* It waits for a page: only who serves it can end that. */
	if (!reached) {
		note("QEMU at %s does not answer, and may have to be told yet that it may run the VM: that is done when its memory is here",
		     receiver->options->qmp);
		receiver->stage = STAGE_RUNNING;
		receiver->unconfirmed = true;
		return 0;
	}
	receiver->stage = STAGE_PREPARED;
	receiver->run_it = true;
	return receiver_run(receiver);
}

/* It answers now, with all of its memory there. */
static void restore_capabilities(struct receiver *receiver,
				 const json_t *record)
{
	json_t *before = json_object_get(record, "capabilities");
	struct vm *vm = &receiver->vm;
	char *text;

	if (!before)
		return;
	if (vm->qmp.fd >= 0 || reach_qemu(receiver)) {
		vm->caps_before = json_incref(before);
		if (!capabilities_restore(vm))
			return;
	}
	text = fail_take();
	note("x-ignore-shared was left on in QEMU here: turn it off before QEMU migrates the VM by itself (%s)",
	     text);
	free(text);
}

static int serve_again(struct receiver *receiver, const json_t *record)
{
	const struct options *options = receiver->options;
	const char *session = json_string_value(json_object_get(record,
								"session"));
	uint64_t lacking;
	int listener, ret;
	bool reached;

	if (!hello_is_session(session))
		return fail("a file in %s is damaged", KEEP_DIR);
	strcpy(receiver->session, session);
	if (proof_begin(&receiver->proof, session))
		return -1;
	if (!json_is_true(json_object_get(record, "committed")))
		return fail("the source has not handed the VM over to this QEMU; it is the source's. To end what was loaded here: migrate-fast abort --qmp %s",
			    options->qmp);
	if (record_open(record, &receiver->vm) ||
	    vm_open_session(&receiver->vm, FEATURES))
		return -1;
	receiver->since = record_since(record);
	serve_init(receiver);
	if (demand_again(&receiver->demand) ||
	    demand_lacking(&receiver->demand, &lacking))
		return -1;
	/* Perhaps the source has not heard that, perhaps it has ended. */
	if (!lacking) {
		note("all of the VM's memory is here");
		receiver->complete = true;
		receiver_linger_less(receiver);
	}
	reached = reach_qemu(receiver);
	if (finish_run(receiver, record, reached))
		return -1;
	listener = address_listen(options->listen);
	if (listener < 0)
		return -1;
	note("waiting for the source on %s (session %s)", options->listen,
	     session);
	ret = serve(receiver, listener);
	close(listener);
	if (!ret && !reached)
		restore_capabilities(receiver, record);
	return ret;
}

int receive_again(struct receiver *receiver)
{
	json_t *record = record_find(receiver->options->qmp);
	int ret;

	if (!record)
		return -1;
	ret = serve_again(receiver, record);
	json_decref(record);
	return ret;
}
