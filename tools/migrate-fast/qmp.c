// SPDX-License-Identifier: GPL-2.0
/* QMP, QEMU's control socket; see qmp.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../lib/say.h"
#include "qmp.h"

#define MAX_MESSAGE	(16 << 20)
#define RETRY_NS	(20 * NSEC_PER_MSEC)

static int message(struct qmp *qmp, const char *line, size_t len)
{
	json_error_t error;
	json_t *msg, *data;
	const char *event;

	msg = json_loadb(line, len, 0, &error);
	if (!msg)
		return fail("%s does not speak QMP: %s. Is it a QMP socket?",
			    qmp->path, error.text);
	data = json_object_get(msg, "QMP");
	event = json_string_value(json_object_get(msg, "event"));
	if (data) {
		qmp->greeting = json_incref(json_object_get(data, "version"));
	} else if (event) {
		if (qmp->event)
			qmp->event(qmp, event, json_object_get(msg, "data"));
	} else {
		json_array_append(qmp->replies, msg);
	}
	json_decref(msg);
	return 0;
}

static int messages(struct qmp *qmp)
{
	size_t start = 0;
	char *nl;

	while ((nl = memchr(qmp->in + start, '\n', qmp->in_len - start))) {
		size_t len = (size_t)(nl - qmp->in) - start;

		if (len > 1 && message(qmp, qmp->in + start, len))
			return -1;
		start += len + 1;
	}
	qmp->in_len -= start;
	memmove(qmp->in, qmp->in + start, qmp->in_len);
	return 0;
}

static int qmp_ready(struct watch *watch, short revents)
{
	struct qmp *qmp = watch->arg;
	ssize_t n;

	(void)revents;
	if (qmp->in_size - qmp->in_len < 4096) {
		if (qmp->in_size > MAX_MESSAGE)
			return fail("%s: message without an end", qmp->path);
		qmp->in_size = qmp->in_size * 2 + 16384;
		qmp->in = need(realloc(qmp->in, qmp->in_size));
	}
	n = recv(qmp->fd, qmp->in + qmp->in_len, qmp->in_size - qmp->in_len,
		 MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		qmp->gone = true;
		qmp->watch.events = 0;
		return 0;
	}
	qmp->in_len += (size_t)n;
	return messages(qmp);
}

struct wanted {
	struct qmp *qmp;
	json_int_t id;
	json_t *reply;
};

static bool has_reply(void *arg)
{
	struct wanted *wanted = arg;
	json_t *reply;
	size_t i;

	json_array_foreach(wanted->qmp->replies, i, reply) {
		json_t *id = json_object_get(reply, "id");

		if (!id || json_integer_value(id) != wanted->id)
			continue;
		wanted->reply = json_incref(reply);
		json_array_remove(wanted->qmp->replies, i);
		return true;
	}
	return wanted->qmp->gone;
}

static bool has_greeting(void *arg)
{
	struct qmp *qmp = arg;

	return qmp->greeting || qmp->gone;
}

static int send_all(struct qmp *qmp, const char *text, size_t len, int fd)
{
	union {
		struct cmsghdr hdr;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)text, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.hdr), &fd, sizeof(int));
	}
	while (iov.iov_len) {
		ssize_t n = sendmsg(qmp->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			qmp->gone = true;
			return fail("QEMU at %s: %s", qmp->path,
				    strerror(errno));
		}
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

static json_int_t start(struct qmp *qmp, const char *command, json_t *args,
			int fd)
{
	json_int_t id = ++qmp->last_id;
	json_t *msg;
	char *text;
	int err;

	msg = json_pack("{s:s, s:I}", "execute", command, "id", id);
	if (args)
		json_object_set_new(msg, "arguments", args);
	text = need(json_dumps(msg, JSON_COMPACT));
	json_decref(msg);
	if (qmp->gone)
		err = fail("QEMU at %s has gone away", qmp->path);
	else
		err = send_all(qmp, text, strlen(text), fd);
	free(text);
	return err ? -1 : id;
}

json_int_t qmp_start(struct qmp *qmp, const char *command, json_t *args)
{
	return start(qmp, command, args, -1);
}

json_t *qmp_await(struct qmp *qmp, json_int_t id, const char *command,
		  unsigned int ms)
{
	struct wanted wanted = { .qmp = qmp, .id = id };
	int ret;

	if (id < 0)
		return NULL;
	ret = loop_until(has_reply, &wanted, ms);
	if (wanted.reply)
		return wanted.reply;
	if (ret > 0)
		fail("QEMU at %s has not answered \"%s\" for %u ms", qmp->path,
		     command, ms);
	else if (!ret)
		fail("QEMU at %s has gone away during \"%s\"", qmp->path,
		     command);
	return NULL;
}

static json_t *value_of(struct qmp *qmp, const char *command, json_t *reply)
{
	json_t *error, *value;

	if (!reply)
		return NULL;
	error = json_object_get(reply, "error");
	value = json_incref(json_object_get(reply, "return"));
	if (error || !value) {
		const char *desc = json_string_value(json_object_get(error,
								     "desc"));

		fail("QEMU at %s refuses \"%s\": %s", qmp->path, command,
		     desc ? desc : "no reason given");
		json_decref(value);
		value = NULL;
	}
	json_decref(reply);
	return value;
}

json_t *qmp_fetch(struct qmp *qmp, json_int_t id, const char *command,
		  unsigned int ms)
{
	return value_of(qmp, command, qmp_await(qmp, id, command, ms));
}

json_t *qmp_try(struct qmp *qmp, const char *command, json_t *args,
		unsigned int ms)
{
	return qmp_await(qmp, qmp_start(qmp, command, args), command, ms);
}

json_t *qmp_call(struct qmp *qmp, const char *command, json_t *args,
		 unsigned int ms)
{
	return value_of(qmp, command, qmp_try(qmp, command, args, ms));
}

int qmp_do(struct qmp *qmp, const char *command, json_t *args)
{
	json_t *value = qmp_call(qmp, command, args, QMP_MS);

	json_decref(value);
	return value ? 0 : -1;
}

int qmp_give_fd(struct qmp *qmp, const char *name, int fd)
{
	json_t *value, *args = json_pack("{s:s}", "fdname", name);

	value = qmp_fetch(qmp, start(qmp, "getfd", args, fd), "getfd", QMP_MS);
	json_decref(value);
	return value ? 0 : -1;
}

/*
 * QEMU lets one client wait beside the one that it serves: for a third one
 * connect(2) would wait, deaf to everything. 0 or -errno.
 */
static int reach(struct qmp *qmp, const struct sockaddr_un *addr, uint64_t end)
{
	int flags = fcntl(qmp->fd, F_GETFL);

	if (flags < 0 || fcntl(qmp->fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	while (connect(qmp->fd, (const struct sockaddr *)addr,
		       sizeof(*addr))) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || now_ns() >= end)
			return -errno;
		if (loop_sleep(RETRY_NS))
			return -ECANCELED;
	}
	return fcntl(qmp->fd, F_SETFL, flags) ? -errno : 0;
}

static int in_use(const char *path)
{
	return fail("QEMU does not answer on %s: a QMP socket serves one client at a time, and this one seems to be in use (by libvirt, a monitor shell, another migrate-fast). Give QEMU a second -qmp socket, or end that client",
		    path);
}

int qmp_open(struct qmp *qmp, const char *path, unsigned int ms)
{
	uint64_t end = now_ns() + ms * NSEC_PER_MSEC;
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int ret, err;

	qmp->fd = -1;
	qmp->path = need(strdup(path));
	qmp->replies = need(json_array());
	if (strlen(path) >= sizeof(addr.sun_path))
		return fail("%s: path is too long for a socket", path);
	strcpy(addr.sun_path, path);
	qmp->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (qmp->fd < 0)
		return fail("socket: %s", strerror(errno));
	err = reach(qmp, &addr, end);
	if (err == -EAGAIN)
		return in_use(path);
	if (err == -ECANCELED)
		return -1;
	if (err)
		return fail("cannot connect to QEMU at %s: %s. Does QEMU run, with -qmp unix:%s,server=on,wait=off ?",
			    path, strerror(-err), path);
	if (!getsockopt(qmp->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		qmp->peer = cred.pid;
	qmp->watch = (struct watch){
		.fd = qmp->fd,
		.events = POLLIN,
		.ready = qmp_ready,
		.arg = qmp,
	};
	loop_add(&qmp->watch);
	ret = loop_until(has_greeting, qmp, ms);
	if (ret < 0)
		return -1;
	if (!qmp->greeting)
		return in_use(path);
	return qmp_do(qmp, "qmp_capabilities", NULL);
}

void qmp_close(struct qmp *qmp)
{
	if (qmp->fd >= 0) {
		loop_del(&qmp->watch);
		close(qmp->fd);
	}
	qmp->fd = -1;
	qmp->gone = true;
	json_decref(qmp->greeting);
	json_decref(qmp->replies);
	qmp->greeting = NULL;
	qmp->replies = NULL;
	free(qmp->in);
	free(qmp->path);
	qmp->in = NULL;
	qmp->path = NULL;
}
