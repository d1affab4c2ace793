// SPDX-License-Identifier: GPL-2.0
/*
 * migrate-fast resolve: ends the state "unknown". Asks the destination what
 * became of the session; only its word, or the operator's, decides.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "conn.h"
#include "hello.h"
#include "hook.h"
#include "options.h"
#include "promise.h"
#include "resolve.h"
#include "vm.h"

struct reply {
	bool come;
	enum outcome outcome;
};

static int on_answer(struct conn *conn, const struct wire_frame *frame,
		     const uint8_t *payload)
{
	struct reply *reply = conn->arg;
	const char *state;
	json_t *answer;

	if (frame->type != WIRE_ANSWER)
		return fail("%s does not answer questions about a session (%s); it serves another migration",
			    conn->peer, wire_name(frame->type));
	answer = hello_parse(payload, frame->length, conn->peer);
	if (!answer)
		return -1;
	state = json_string_value(json_object_get(answer, "state"));
	if (state && !strcmp(state, "running"))
		reply->outcome = OUTCOME_RUNNING;
	else if (state && !strcmp(state, "split"))
		reply->outcome = OUTCOME_SPLIT;
	else if (state && !strcmp(state, "gone"))
		reply->outcome = OUTCOME_GONE;
	else
		fail("%s knows nothing of this session", conn->peer);
	reply->come = true;
	json_decref(answer);
	return fail_text() ? -1 : 0;
}

static bool has_come(void *arg)
{
	return ((struct reply *)arg)->come;
}

enum outcome resolve_ask(const char *to, const char *session, bool back,
			 uint64_t timeout)
{
	struct reply reply = { .outcome = OUTCOME_SILENT };
	struct conn conn = { .sock = -1 };
	json_t *ask;
	char *text;

	if (fail_text())
		free(fail_take());
	if (conn_connect(&conn, to, timeout * NSEC_PER_MSEC))
		return OUTCOME_SILENT;
	conn.frame = on_answer;
	conn.arg = &reply;
	ask = json_pack("{s:i, s:s, s:s, s:s}", "protocol", WIRE_VERSION,
			"version", "", "session", session,
			"want", back ? "back" : "forward");
	text = need(json_dumps(ask, JSON_COMPACT));
	json_decref(ask);
	if (!conn_send(&conn, WIRE_ASK, 0, text, strlen(text)) &&
	    loop_until(has_come, &reply, (unsigned int)timeout) > 0)
		fail("%s does not answer", to);
	free(text);
	if (hook("answered"))
		free(fail_take());
	/* It may stop answering now. */
	if (reply.outcome != OUTCOME_SILENT)
		conn_send(&conn, WIRE_BYE, 0, NULL, 0);
	conn_close(&conn);
	/* It may have gone before it heard that: the answer counts. */
	if (reply.outcome != OUTCOME_SILENT && fail_text())
		free(fail_take());
	return reply.outcome;
}

/* That of this session, and those of any before it at the same socket. */
static void end_promises(const struct options *options, struct vm *vm)
{
	if (options->session)
		promise_end(options->session);
	promise_end_all(vm->qmp.path);
}

static int end_here(const struct options *options, struct vm *vm)
{
	end_promises(options, vm);
	if (vm_quit(vm))
		return -1;
	printf("The VM runs at the destination; its QEMU here has ended.\n");
	return EXIT_MOVED;
}

/* Left as they were set by the send that nobody answered. */
static void restore_capabilities(struct vm *vm, const json_t *promise)
{
	json_t *before = json_object_get(promise, "capabilities");

	vm->caps_before = before ? json_incref(before) :
			  json_pack("[{s:s, s:b}]", "capability",
				    "x-ignore-shared", "state", 0);
	capabilities_restore(vm);
}

/* The VM is the source's: it goes on as it was before it was stopped. */
static int run_here(const struct options *options, struct vm *vm,
		    const char *why)
{
	json_t *promise = promise_find(options->session, vm->qmp.path), *reply;
	bool ran = !json_is_false(json_object_get(promise, "ran"));

	if (ran && !vm->running && vm_cont(vm)) {
		json_decref(promise);
		return -1;
	}
	end_promises(options, vm);
	restore_capabilities(vm, promise);
	json_decref(promise);
	if (!ran && !vm->running) {
		printf("The VM stays here, paused, as it was%s.\n", why);
		return EXIT_FAILED;
	}
	/* It may have been seen elsewhere. */
	reply = qmp_await(&vm->qmp, vm_announce(vm), "announce-self", QMP_MS);
	json_decref(reply);
	free(fail_text() ? fail_take() : NULL);
	printf("The VM runs here%s.\n", why);
	return EXIT_FAILED;
}

static int runs_twice(void)
{
	return fail("THE VM RUNS AT BOTH HOSTS: somebody has resumed it here without asking. Stop one of them at once");
}

static int resolve(const struct options *options, struct vm *vm)
{
	enum outcome outcome;

	if (vm_open(vm, options->qmp, false))
		return -1;
	if (options->word && !strcmp(options->word, "source"))
		return run_here(options, vm, ", as you say");
	if (options->word && vm->running)
		return fail("the VM runs here: it cannot run at the destination as well. Nothing was changed");
	if (options->word)
		return end_here(options, vm);
	/*
	 * If it was not handed over, a send or its guard may let it run here
	 * at any moment. If it runs here, or has run on since and is paused
	 * again, it must not run there either: that would be an older one.
	 */
	outcome = resolve_ask(options->to, options->session,
			      options->back || !vm_is_frozen(vm) ||
			      !promise_made(options->session),
			      options->timeout);
	switch (outcome) {
	case OUTCOME_RUNNING:
		if (vm->running)
			return runs_twice();
		return end_here(options, vm);
	case OUTCOME_SPLIT:
		if (vm->running)
			return runs_twice();
		printf("The VM runs at the destination, but a part of its memory is still only here. Bring it: migrate-fast send --resume --qmp %s --to %s --session %s\n",
		       options->qmp, options->to, options->session);
		return EXIT_SPLIT;
	case OUTCOME_GONE:
		if (vm->running || vm_is_frozen(vm))
			return run_here(options, vm, "; the destination has given it up");
		printf("The destination has given it up. The VM stays here, paused: it had been run on, and somebody has stopped it since.\n");
		return EXIT_FAILED;
	default:
		return -1;
	}
}

int cmd_resolve(const struct options *options)
{
	static struct vm vm;
	int ret;

	vm.session = -1;
	vm.qmp.fd = -1;
	ret = resolve(options, &vm);
	if (ret < 0) {
		note("still unknown: %s. Look at the destination; if the VM runs there, and \"migrate-fast recv --resume\" there finds nothing to resume: migrate-fast resolve --qmp %s --word destination; if it does not and never will: --word source",
		     fail_text(), options->qmp);
		ret = EXIT_UNKNOWN;
	}
	vm_close(&vm);
	return ret;
}
