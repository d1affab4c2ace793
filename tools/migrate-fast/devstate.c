// SPDX-License-Identifier: GPL-2.0
/* The device state, on its way from QEMU to QEMU; see devstate.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/say.h"
#include "devstate.h"

#define NAME	"migrate-fast"
#define FRAME	(64 * 1024)

int devstate_keep(struct devstate *state, const void *bytes, uint64_t len)
{
	if (state->len + len > WIRE_MAX_DEVICE)
		return fail("more than %llu MiB of device state: some memory of the VM is not in its RAM files and would be moved while it stands still. \"migrate-fast check\" tells which",
			    WIRE_MAX_DEVICE >> 20);
	if (state->len + len > state->size) {
		state->size = (state->len + len) * 2;
		state->buf = need(realloc(state->buf, state->size));
	}
	memcpy(state->buf + state->len, bytes, len);
	state->len += len;
	return 0;
}

static int collect(struct watch *watch, short revents)
{
	static uint8_t bytes[256 * 1024];
	struct devstate *state = watch->arg;
	ssize_t n;

	(void)revents;
	n = recv(state->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		state->eof = true;
		watch->events = 0;
		return 0;
	}
	if (devstate_keep(state, bytes, (uint64_t)n))
		return -1;
	return state->stream ? devstate_stream(state, state->stream) : 0;
}

static int feed(struct watch *watch, short revents)
{
	struct devstate *state = watch->arg;
	ssize_t n;

	(void)revents;
	n = send(state->fd, state->buf + state->done, state->len - state->done,
		 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n < 0) {
		/* What QEMU thinks of it comes by QMP. */
		watch->events = 0;
		return 0;
	}
	state->done += (uint64_t)n;
	if (state->done == state->len) {
		shutdown(state->fd, SHUT_WR);
		watch->events = 0;
	}
	return 0;
}

int devstate_open(struct devstate *state, struct vm *vm)
{
	int pair[2], size = 4 << 20, err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fail("socketpair: %s", strerror(errno));
	/* Large enough that QEMU rarely has to wait for us. */
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	err = qmp_give_fd(&vm->qmp, NAME, pair[1]);
	close(pair[1]);
	if (err) {
		close(pair[0]);
		return -1;
	}
	state->fd = pair[0];
	state->given = true;
	return 0;
}

void devstate_close(struct devstate *state, struct vm *vm)
{
	if (state->fd >= 0) {
		loop_del(&state->watch);
		close(state->fd);
	}
	state->fd = -1;
	if (state->given && !state->running && !vm->qmp.gone) {
		json_t *reply = qmp_try(&vm->qmp, "closefd",
					json_pack("{s:s}", "fdname", NAME),
					QMP_MS);
		json_decref(reply);
	}
	state->given = false;
	free(state->buf);
	state->buf = NULL;
}

static void watch_with(struct devstate *state, short events,
		       int (*ready)(struct watch *, short))
{
	state->watch = (struct watch){
		.fd = state->fd,
		.events = events,
		.ready = ready,
		.arg = state,
	};
	loop_add(&state->watch);
}

int devstate_save(struct devstate *state, struct vm *vm)
{
	watch_with(state, POLLIN, collect);
	state->running = true;
	vm->migration = VM_MIGRATION_NONE;
	state->id = qmp_start(&vm->qmp, "migrate",
			      json_pack("{s:s}", "uri", "fd:" NAME));
	return state->id < 0 ? -1 : 0;
}

/* What query-migrate says went wrong, for the message. */
static int fail_migration(struct vm *vm, const char *what)
{
	json_t *reply = NULL;
	const char *desc;

	if (vm->qmp.gone)
		return fail("QEMU at %s has ended while it %s. Its own log (stderr) says why",
			    vm->qmp.path, what);
	reply = qmp_try(&vm->qmp, "query-migrate", NULL, QMP_MS);
	desc = json_string_value(json_object_get(
			json_object_get(reply, "return"), "error-desc"));
	fail("QEMU at %s failed while it %s: %s", vm->qmp.path, what,
	     desc ? desc : "no reason given; its own log (stderr) may say why");
	json_decref(reply);
	return -1;
}

struct saving {
	struct devstate *state;
	struct vm *vm;
};

static bool is_saved(void *arg)
{
	struct saving *saving = arg;

	return saving->vm->qmp.gone ||
	       saving->vm->migration == VM_MIGRATION_FAILED ||
	       (saving->state->eof &&
		saving->vm->migration == VM_MIGRATION_COMPLETED);
}

static int ended_well(struct vm *vm, int ret, unsigned int ms,
		      const char *what)
{
	if (ret < 0)
		return -1;
	if (ret > 0)
		return fail("QEMU at %s %s for %u ms without coming to an end",
			    vm->qmp.path, what, ms);
	if (vm->migration != VM_MIGRATION_COMPLETED)
		return fail_migration(vm, what);
	return 0;
}

int devstate_saved(struct devstate *state, struct vm *vm, unsigned int ms)
{
	struct saving saving = { .state = state, .vm = vm };
	json_t *reply;
	int ret;

	if (state->id > 0) {
		reply = qmp_fetch(&vm->qmp, state->id, "migrate", ms);
		if (!reply) {
			/* Refused: nothing has begun that could be cancelled. */
			state->running = vm->qmp.gone;
			return -1;
		}
		json_decref(reply);
		state->id = 0;
	}
	ret = loop_until(is_saved, &saving, ms);
	return ended_well(vm, ret, ms, "saved its device state");
}

/* As much as may be queued: this is called from the loop, and cannot wait. */
int devstate_stream(struct devstate *state, struct conn *conn)
{
	state->stream = conn;
	while (state->done < state->len && conn->out_len <= 8 * FRAME) {
		uint64_t n = state->len - state->done;

		if (n > FRAME)
			n = FRAME;
		if (conn_send(conn, WIRE_DEVICE, 0, state->buf + state->done,
			      n))
			return -1;
		state->done += n;
	}
	return 0;
}

int devstate_push(struct devstate *state, struct conn *conn)
{
	while (state->done < state->len)
		if (devstate_stream(state, conn) || conn_flush(conn))
			return -1;
	return 0;
}

int devstate_load(struct devstate *state, struct vm *vm, unsigned int ms)
{
	json_t *reply;
	int ret;

	watch_with(state, POLLOUT, feed);
	state->running = true;
	vm->migration = VM_MIGRATION_NONE;
	state->id = qmp_start(&vm->qmp, "migrate-incoming",
			      json_pack("{s:s}", "uri", "fd:" NAME));
	if (state->id < 0)
		return -1;
	ret = loop_until(vm_migration_is_over, vm, ms);
	if (ended_well(vm, ret, ms, "loaded the device state"))
		return -1;
	reply = qmp_fetch(&vm->qmp, state->id, "migrate-incoming", ms);
	json_decref(reply);
	return reply ? 0 : -1;
}
