// SPDX-License-Identifier: GPL-2.0
/*
 * The destination's half of the commit: a VM that is loaded and paused is
 * let run at the source's word, or given up for good. See commit.c.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "hook.h"
#include "receiver.h"
#include "record.h"

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
		conn_abort(&receiver->conn);
		conn_reset(&receiver->pull);
		ret = answer(receiver, listener);
		if (receiver->stage == STAGE_RUNNING && receiver->demand.active)
			return serve(receiver, listener);
		return ret;
	}
	receiver_own(receiver);
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
	/* Else it may hear RUNNING after all, and have nothing to ask. */
	conn_abort(&receiver->conn);
	note("the source has not heard that the VM runs here. Waiting for \"migrate-fast resolve\" there (session %s); an interrupt ends the waiting, not the VM",
	     receiver->session);
	return answer(receiver, listener);
}
