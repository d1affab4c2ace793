// SPDX-License-Identifier: GPL-2.0
/* The destination's side of a migration, until the VM is here. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "../store/sharing.h"
#include "address.h"
#include "capabilities.h"
#include "hook.h"
#include "ram.h"
#include "receiver.h"
#include "record.h"
#include "refer.h"
#include "survey.h"

/* A stranger has so long to say something sensible. */
#define GREETING_MS	5000
#define LOAD_MS		60000
#define FEATURES (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
		  MIGRATE_FAST_FEATURE_FILL | MIGRATE_FAST_FEATURE_KVM)

static bool has_hello(void *arg)
{
	return ((struct receiver *)arg)->hello;
}

static uint64_t meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib = 0, value;
	char line[128], key[64];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63[^:]: %" SCNu64, key, &value) == 2 &&
		    !strcmp(key, name))
			kib = value;
	if (file)
		fclose(file);
	return kib * 1024;
}

/* Better now than in the middle of it. */
static int check_memory(struct receiver *receiver)
{
	uint64_t need_bytes, have = vm_allocated(&receiver->vm), room;
	struct vm *vm = &receiver->vm;
	struct statfs fs;

	need_bytes = (uint64_t)json_integer_value(
			json_object_get(receiver->hello, "allocated"));
	if (receiver->options->no_memory_check || need_bytes <= have)
		return 0;
	need_bytes -= have;
	room = meminfo("MemAvailable") + meminfo("SwapFree");
	if (room && need_bytes > room)
		return fail("not enough memory here: the VM needs %s more, and %s are available (recv --no-memory-check tries it all the same)",
			    size_text((double)need_bytes),
			    size_text((double)room));
	if (vm->rams && !fstatfs(vm->ram[0].fd, &fs) && fs.f_blocks) {
		room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
		if (need_bytes > room)
			return fail("not enough memory in the file system of %s: the VM needs %s more, and %s are free. Give it more (mount -o remount,size=)",
				    vm->ram[0].path,
				    size_text((double)need_bytes),
				    size_text((double)room));
	}
	return 0;
}

/*
 * A recv that was killed before anything was loaded may have left pages
 * absent. No VM has seen them.
 */
static int reclaim(struct vm *vm, struct ram *ram)
{
	struct migrate_fast_absent absent;
	int err;

	err = mf_absent(vm->session, &ram->mf, 0, 0, NULL, &absent);
	if (!err && absent.state & MIGRATE_FAST_ABSENT_ABORTED)
		return fail("%s was given up (migrate-fast abort): start QEMU anew, with a new file",
			    ram->path);
	if (!err && absent.absent)
		err = mf_demand(vm->session, &ram->mf, 0, 0, NULL, NULL);
	if (!err && absent.absent)
		err = mf_fill(vm->session, &ram->mf, 0, ram->mf.pages, NULL,
			      NULL, NULL);
	if (err == -EBUSY)
		return fail("another migrate-fast recv serves %s: end it first",
			    ram->path);
	if (err)
		return fail("absent pages of %s cannot be filled: %s",
			    ram->path, strerror(-err));
	return 0;
}

static int clear_ram(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		if (reclaim(vm, &vm->ram[i]) || ram_clear(vm, &vm->ram[i]))
			return -1;
	return 0;
}

/* What is here already, as WELCOME announces it. */
static void describe_known(const struct known *known, json_t *welcome)
{
	char seed[17];

	if (!known->filter.nr_blocks)
		return;
	snprintf(seed, sizeof(seed), "%016" PRIx64, known->store.seed);
	json_object_set_new(welcome, "known", json_pack("{s:I, s:s}",
			"bytes", (json_int_t)(known->filter.nr_blocks *
					      FILTER_BLOCK), "seed", seed));
}

static int send_filter(struct conn *conn, const struct filter *filter)
{
	uint64_t all = filter->nr_blocks * FILTER_BLOCK, at, n;

	for (at = 0; at < all; at += n) {
		n = all - at < WIRE_MAX_BYTES ? all - at : WIRE_MAX_BYTES;
		if (conn_send(conn, WIRE_FILTER, at,
			      (const uint8_t *)filter->blocks + at, n) ||
		    conn_flush(conn))
			return -1;
	}
	return 0;
}

static int welcome(struct receiver *receiver)
{
	const char *session;
	json_t *reply;
	char *text;
	int ret;

	session = json_string_value(json_object_get(receiver->hello,
						    "session"));
	if (!hello_is_session(session))
		return fail("%s sent a greeting without a session",
			    receiver->conn.peer);
	strcpy(receiver->session, session);
	if (proof_begin(&receiver->proof, session))
		return -1;
	receiver->run_it = json_is_true(json_object_get(receiver->hello,
							"running"));
	receiver->verify = json_is_true(json_object_get(receiver->hello,
							"verify"));
	receiver->split = json_is_true(json_object_get(receiver->hello,
						       "split"));
	record_forget_others(receiver);
	if (hello_compare(&receiver->vm, receiver->hello,
			  receiver->conn.peer) ||
	    check_memory(receiver) || capabilities_set(&receiver->vm,
				capabilities_plan(&receiver->vm)) ||
	    clear_ram(receiver) ||
	    (receiver->split && receiver->verify && serve_track(receiver)))
		return -1;
	reply = hello_describe(&receiver->vm, receiver->session);
	describe_known(&receiver->known, reply);
	text = need(json_dumps(reply, JSON_COMPACT));
	json_decref(reply);
	receiver->stage = STAGE_COPYING;
	ret = conn_send(&receiver->conn, WIRE_WELCOME, 0, text, strlen(text));
	free(text);
	return ret || send_filter(&receiver->conn, &receiver->known.filter) ?
	       -1 : 0;
}

static bool is_acceptable(void *arg)
{
	struct awaiting *awaiting = arg;
	struct pollfd fd = { .fd = awaiting->listener, .events = POLLIN };

	return awaiting->receiver->vm.qmp.gone || poll(&fd, 1, 0) > 0;
}

static int wake_up(struct watch *watch, short revents)
{
	(void)watch;
	(void)revents;
	return 0;
}

/* Until somebody has come, or QEMU has ended. */
static int wait_for_peer(struct awaiting *awaiting)
{
	struct watch watch = {
		.fd = awaiting->listener,
		.events = POLLIN,
		.ready = wake_up,
	};
	int ret;

	loop_add(&watch);
	ret = loop_until(is_acceptable, awaiting, 0);
	loop_del(&watch);
	return ret;
}

/*
 * Waits for a source. Strangers who do not speak the protocol are told off
 * and forgotten: whoever scans ports must not end a migration.
 */
static int await(struct receiver *receiver, int listener)
{
	struct awaiting awaiting = { .receiver = receiver,
				     .listener = listener };
	struct conn *conn = &receiver->conn;
	char *text, peer[128];
	int sock, ret;

	while (!receiver->hello) {
		if (wait_for_peer(&awaiting))
			return -1;
		if (receiver->vm.qmp.gone)
			return receiver_qemu_gone(receiver);
		sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (sock < 0)
			continue;
		address_of_peer(sock, peer, sizeof(peer));
		conn_init(conn, sock, peer, receiver->options->timeout *
			  NSEC_PER_MSEC);
		conn_take_pages(conn);
		conn->frame = receiver_frame;
		conn->arg = receiver;
		ret = loop_until(has_hello, receiver, GREETING_MS);
		if (receiver->hello)
			return ret;
		if (loop_signal())
			return -1;
		if (ret > 0)
			fail("%s has said nothing sensible for %d s", peer,
			     GREETING_MS / 1000);
		text = fail_take();
		note("not a migration: %s; listening on", text);
		conn_farewell(conn, WIRE_FAIL, text);
		receiver->cancelled = false;
		memset(conn, 0, sizeof(*conn));
		conn->sock = -1;
		free(text);
	}
	return 0;
}

static bool is_prepare(void *arg)
{
	struct receiver *receiver = arg;

	return receiver->prepare || receiver->round_over ||
	       receiver->vm.qmp.gone;
}

static bool is_load(void *arg)
{
	struct receiver *receiver = arg;

	return receiver->load || receiver->round_over || receiver->vm.qmp.gone;
}

/* Until the source has said so; meanwhile rounds come to an end. */
static int copy_until(struct receiver *receiver, bool (*done)(void *arg))
{
	do {
		if (loop_until(done, receiver, 0))
			return -1;
		if (receiver->vm.qmp.gone)
			return receiver_qemu_gone(receiver);
		if (!receiver->round_over)
			return 0;
		if (serve_forget(receiver))
			return -1;
		receiver->round_over = false;
	} while (!conn_send(&receiver->conn, WIRE_ROUND_DONE, receiver->round,
			    NULL, 0));
	return -1;
}

static int say_prepared(struct receiver *receiver)
{
	json_t *taken = known_json(&receiver->known);
	char *text = need(json_dumps(taken, JSON_COMPACT));
	int ret;

	json_decref(taken);
	ret = conn_send(&receiver->conn, WIRE_PREPARED, 0, text, strlen(text));
	free(text);
	return ret;
}

static int receive_vm(struct receiver *receiver, int listener)
{
	struct vm *vm = &receiver->vm;

	if (receiver->split) {
		serve_init(receiver);
		if (json_is_true(json_object_get(receiver->hello, "lazy")) &&
		    receiver->known.nr_sources)
			lazy_init(&receiver->lazy, &receiver->known,
				  &receiver->demand);
		door_open(&receiver->door, receiver, listener);
	}
	if (copy_until(receiver, is_prepare) ||
	    devstate_open(&receiver->devstate, vm) || hook("ready") ||
	    conn_send(&receiver->conn, WIRE_READY, 0, NULL, 0) ||
	    copy_until(receiver, is_load))
		return -1;
	receiver->stage = STAGE_LOADING;
	if (hook("load") || devstate_load(&receiver->devstate, vm, LOAD_MS))
		return -1;
	/* QEMU tells this before it tells that it has completed. */
	if (vm->resumed)
		return fail("the destination QEMU runs the VM after loading, though it was stopped at the source");
	if (hook("prepared") || loop_check())
		return -1;
	receiver->stage = STAGE_PREPARED;
	/* A source that gives up says why on the first connection only. */
	receiver->pull.expected = true;
	door_close(&receiver->door);
	return say_prepared(receiver);
}

/* A failure before PREPARED: tell the source, leave QEMU in a known state. */
static void undo(struct receiver *receiver)
{
	struct vm *vm = &receiver->vm;
	char *cause = fail_take();

	loop_uncancellable(true);
	door_close(&receiver->door);
	conn_farewell(&receiver->conn, WIRE_FAIL, cause);
	conn_reset(&receiver->pull);
	if (receiver->demand.active && receiver->stage < STAGE_LOADING)
		demand_undo(&receiver->demand);
	if (receiver->demand.active)
		record_remove(receiver->session);
	/* PREPARED, if that could not be said. */
	if (receiver->stage >= STAGE_LOADING) {
		devstate_close(&receiver->devstate, vm);
		if (receiver_give_up(receiver))
			note("the QEMU here holds half a VM and has not ended: end it by hand");
		else
			note("the QEMU here held half a VM and has ended; start a new one for another try");
	} else {
		devstate_close(&receiver->devstate, vm);
		capabilities_restore(vm);
	}
	if (fail_text())
		free(fail_take());
	fail("%s", cause);
	free(cause);
}

int receive(struct receiver *receiver)
{
	const struct options *options = receiver->options;
	struct vm *vm = &receiver->vm;
	int listener, ret = -1;

	if (vm_open(vm, options->qmp, true) || survey_need_ready(vm) ||
	    vm_open_session(vm, FEATURES))
		return -1;
	if (options->store) {
		sharing_load(options->conf, vm->name);
		known_open(&receiver->known, options->store, vm->name,
			   refer_budget(vm_bytes(vm)));
	}
	listener = address_listen(options->listen);
	if (listener < 0)
		return -1;
	note("waiting for a VM on %s", options->listen);
	if (await(receiver, listener) || welcome(receiver) ||
	    receive_vm(receiver, listener))
		undo(receiver);
	else
		ret = takeover(receiver, listener);
	close(listener);
	return ret;
}
