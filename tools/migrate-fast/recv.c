// SPDX-License-Identifier: GPL-2.0
/* migrate-fast recv: its beginning, and its last word. */
#include <jansson.h>
#include <stdlib.h>

#include "../lib/say.h"
#include "keeping.h"
#include "receiver.h"

/* The last word. */
static void tell(const struct receiver *receiver, int status)
{
	static const char *const results[] = {
		[EXIT_MOVED] = "moved",
		[EXIT_FAILED] = "failed",
		[EXIT_UNKNOWN] = "unknown",
		[EXIT_SPLIT] = "split",
	};
	const char *error = status == EXIT_MOVED ? NULL : fail_text();

	if (error)
		note("%s: %s", results[status], error);
	if (!receiver->options->json)
		return;
	say_event(json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s*}",
			    "event", "result", "result", results[status],
			    "session", receiver->session,
			    "rounds", (json_int_t)receiver->rounds,
			    "pages", (json_int_t)receiver->pages,
			    "zero", (json_int_t)receiver->zeroes,
			    "device_state_bytes",
			    (json_int_t)receiver->devstate.len,
			    "error", error));
}

static int exit_status(const struct receiver *receiver)
{
	switch (receiver->stage) {
	case STAGE_PREPARED:
	case STAGE_LOST:
		return EXIT_UNKNOWN;
	case STAGE_RUNNING:
		return EXIT_SPLIT;
	default:
		return EXIT_FAILED;
	}
}

int cmd_recv(const struct options *options)
{
	static struct receiver receiver;
	int ret = EXIT_MOVED;
	bool kept;

	receiver.options = options;
	receiver.conn.sock = -1;
	receiver.vm.session = -1;
	receiver.vm.qmp.fd = -1;
	receiver.devstate.fd = -1;
	receiver.pull.sock = -1;
	receiver.room = need(aligned_alloc(MF_PAGE_SIZE, PLACE_ROOM));
	if (options->resume ? receive_again(&receiver) : receive(&receiver))
		ret = exit_status(&receiver);
	conn_close(&receiver.conn);
	conn_close(&receiver.pull);
	lazy_free(&receiver.lazy);
	demand_free(&receiver.demand);
	devstate_close(&receiver.devstate, &receiver.vm);
	kept = known_has_kept(&receiver.known, receiver.vm.name);
	known_close(&receiver.known);
	proof_end(&receiver.proof);
	if (ret == EXIT_MOVED && kept)
		keeping_forget(&receiver.vm, options->store);
	tell(&receiver, ret);
	vm_close(&receiver.vm);
	json_decref(receiver.hello);
	free(receiver.room);
	return ret;
}
