// SPDX-License-Identifier: GPL-2.0
/*
 * A second process that lets a stopped VM run on; see guard.h.
 *
 * It holds nothing but one end of a socket pair: with us die our connection,
 * our session and our QMP client, so that the destination gives up, tracking
 * ends, QEMU's migration fails, and QMP is free for the guard. It puts back
 * QEMU's capabilities and, if it was armed, lets the VM run, and then asks a
 * destination that has loaded it to give it up. It must be dismissed before
 * COMMIT is said.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "guard.h"
#include "promise.h"
#include "resolve.h"

#define ARM	'a'
#define DISMISS	'd'
/* QEMU needs a moment to see that nobody reads its device state. */
#define TRIES	100
#define GREETING_MS	3000
#define ASK_MS	10000
#define WAIT_NS	(100 * NSEC_PER_MSEC)

/* 0 if nothing is left to do. */
static int clean_up(const char *path, json_t *caps, bool armed)
{
	struct vm vm = { .session = -1, .caps_before = json_incref(caps) };
	json_t *reply;
	int ret = -1;

	if (!qmp_open(&vm.qmp, path, GREETING_MS)) {
		ret = 0;
		if (armed) {
			reply = qmp_try(&vm.qmp, "cont", NULL, QMP_MS);
			ret = json_object_get(reply, "return") ? 0 : -1;
			json_decref(reply);
		}
		if (!ret)
			ret = capabilities_restore(&vm);
		/* Then nothing was put back. */
		if (vm.qmp.gone)
			ret = -1;
	}
	json_decref(vm.caps_before);
	qmp_close(&vm.qmp);
	return ret;
}

/* True if a VM that was stopped runs again. */
static bool watch_over(int fd, const char *path, json_t *caps,
		       const char *session)
{
	bool armed = false;
	ssize_t n;
	char word;
	int i;

	for (;;) {
		n = read(fd, &word, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		if (word == DISMISS)
			_exit(0);
		armed = true;
	}
	/* COMMIT was not said, and will not be. */
	promise_end(session);
	for (i = 0; i < TRIES; i++) {
		if (!clean_up(path, caps, armed))
			return armed;
		free(fail_text() ? fail_take() : NULL);
		loop_sleep(WAIT_NS);
	}
	return false;
}

/* Everything but @fd is the parent's; the loop would serve it. */
static void forget_all(int fd)
{
	int null, i;

	loop_reset();
	loop_uncancellable(true);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	setsid();
	/* Who waits for the end of our output must not wait for the guard. */
	null = open("/dev/null", O_RDWR);
	for (i = 0; null >= 0 && i < 3; i++)
		dup2(null, i);
	prctl(PR_SET_NAME, "mf-guard");
	close_range(3, (unsigned int)fd - 1, 0);
	close_range((unsigned int)fd + 1, ~0U, 0);
}

pid_t guard_fork(int *fd)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fail("socketpair: %s", strerror(errno));
	pid = fork();
	*fd = pair[pid ? 0 : 1];
	if (!pid)
		forget_all(*fd);
	else
		close(pair[1]);
	if (pid < 0) {
		close(*fd);
		return fail("fork: %s", strerror(errno));
	}
	return pid;
}

int guard_start(struct guard *guard, struct vm *vm, const char *to,
		const char *session)
{
	pid_t pid;
	int fd;

	pid = guard_fork(&fd);
	if (pid < 0)
		return -1;
	if (!pid) {
		if (watch_over(fd, vm->qmp.path, vm->caps_before, session))
			/* It may hold the VM, loaded, and wait. */
			resolve_ask(to, session, true, ASK_MS);
		_exit(0);
	}
	guard->pipe = fd;
	return 0;
}

int guard_arm(struct guard *guard)
{
	char word = ARM;

	if (send(guard->pipe, &word, 1, MSG_NOSIGNAL) == 1)
		return 0;
	return fail("the guard process has died");
}

int guard_dismiss(struct guard *guard)
{
	char word = DISMISS;

	if (guard->pipe < 0)
		return 0;
	/*
	 * It reads this before it can see that we have gone. If it has died
	 * nobody has to be told.
	 */
	if (send(guard->pipe, &word, 1, MSG_NOSIGNAL) != 1 && errno != EPIPE)
		return fail("the guard process cannot be dismissed: %s",
			    strerror(errno));
	close(guard->pipe);
	guard->pipe = -1;
	return 0;
}
