// SPDX-License-Identifier: GPL-2.0
/*
 * Slows a VM down by the cpu.max of its vCPU threads' control groups.
 *
 * Each vCPU thread has a limit of its own. One for all of them would not
 * reach a VM of which only one processor is busy. If a vCPU thread is alone
 * in its group already (libvirt makes "vcpu0" and so on), the group's cpu.max
 * is set, as a part of what it allowed before. Else a threaded child
 * "migrate-fast.TID" is made and the thread put into it; its weight is that
 * of the thread, so that nothing changes while it is not limited.
 *
 * A group has cpu.max if its parent has "cpu" in cgroup.subtree_control. If
 * it was not there, it is taken away again by the last who needs it: children
 * of a parent that lent it are named "migrate-fast+cpu.TID", by whichever
 * migration they were made, and whoever looks or changes holds a lock on the
 * parent. What is left behind when even our keeper was killed is recognized
 * by its name, and put right by the next one.
 *
 * What is to be undone is known before anything is done, and a process is
 * forked between: the keeper. It undoes everything when we let go of a
 * socket, in whatever way. So there is one way only to undo it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "cgroup.h"
#include "guard.h"
#include "throttle.h"

/* Taken away at first, in percent, as by QEMU. */
#define FIRST		20
/*
 * The guest stands still for a part of each period: as short as possible. But
 * the kernel gives no less than 1 ms of time, so above 90 % it is longer: 100
 * ms at 99 %.
 */
#define PERIOD_US	10000
#define LEAST_US	1000
#define MOST_PERIOD_US	1000000

#define PLAIN		"migrate-fast."
#define LENT		"migrate-fast+cpu."

#define TRIES		500
#define WAIT_NS		(20 * NSEC_PER_MSEC)
#define DONE		'.'

struct vcpu {
	pid_t tid;
	char *parent;		/* NULL: its group was its own */
	char *dir;		/* group whose cpu.max is set */
	bool lent;		/* "cpu" is not the parent's for good */
	char before[64];	/* cpu.max of a group of its own */
	double most;		/* part of a processor that it allows */
};

#define OWN_GROUP \
	"start QEMU in a group of its own: systemd-run --scope -p Delegate=yes -p CPUWeight=100 qemu-system-x86_64 ..."

static void set_before(struct vcpu *vcpu, const char *text)
{
	double quota, period;

	snprintf(vcpu->before, sizeof(vcpu->before), "%s", text);
	vcpu->most = 1;
	if (sscanf(text, "%lf %lf", &quota, &period) == 2 && quota < period)
		vcpu->most = quota / period;
}

/* Is this a group whose cpu.max we can set as we like? */
static bool is_own(struct vcpu *vcpu, const char *dir)
{
	char text[64];

	if (!cgroup_is_only(dir, vcpu->tid) ||
	    cgroup_read(dir, "cpu.max", text, sizeof(text)) || !*text)
		return false;
	set_before(vcpu, text);
	/* A burst must not be larger than the limit. */
	return cgroup_read(dir, "cpu.max.burst", text, sizeof(text)) ||
	       !strcmp(text, "0");
}

/* A child of ours that was left behind when the keeper was killed, too. */
static bool is_leftover(struct vcpu *vcpu, char *dir)
{
	char *name = strrchr(dir, '/') + 1, plain[64], lent[64];

	snprintf(plain, sizeof(plain), PLAIN "%d", vcpu->tid);
	snprintf(lent, sizeof(lent), LENT "%d", vcpu->tid);
	vcpu->lent = !strcmp(name, lent);
	if (!vcpu->lent && strcmp(name, plain))
		return false;
	vcpu->dir = need(strdup(dir));
	name[-1] = 0;
	vcpu->parent = need(strdup(dir));
	return true;
}

static int plan_child(struct vcpu *vcpu, const char *dir)
{
	char path[PATH_MAX];
	int lock;

	if (!cgroup_lists(dir, "cgroup.controllers", "cpu"))
		return fail("control group %s has no cpu controller: echo +cpu into cgroup.subtree_control of each group above it, or "
			    OWN_GROUP, dir);
	snprintf(path, sizeof(path), "%s/cgroup.threads", dir);
	if (access(dir, W_OK) || access(path, W_OK))
		return fail("control group %s: %s", dir, strerror(errno));
	lock = cgroup_lock(dir);
	vcpu->lent = !cgroup_lists(dir, "cgroup.subtree_control", "cpu") ||
		     cgroup_has_child(dir, LENT);
	close(lock);
	vcpu->parent = need(strdup(dir));
	if (asprintf(&vcpu->dir, "%s/%s%d", dir, vcpu->lent ? LENT : PLAIN,
		     vcpu->tid) < 0)
		vcpu->dir = NULL;
	need(vcpu->dir);
	return 0;
}

static int plan_thread(struct vcpu *vcpu, pid_t pid)
{
	int policy = sched_getscheduler(vcpu->tid) & ~SCHED_RESET_ON_FORK, ret;
	char *dir = cgroup_of(pid, vcpu->tid);

	if (!dir)
		return -1;
	if (policy == SCHED_FIFO || policy == SCHED_RR ||
	    policy == SCHED_DEADLINE) {
		free(dir);
		return fail("vCPU thread %d has a real-time policy, which no cpu.max limits: chrt --other -p 0 %d",
			    vcpu->tid, vcpu->tid);
	}
	if (is_leftover(vcpu, dir)) {
		ret = 0;
	} else if (is_own(vcpu, dir)) {
		vcpu->dir = need(strdup(dir));
		ret = 0;
	} else {
		ret = plan_child(vcpu, dir);
	}
	if (vcpu->parent)
		set_before(vcpu, "max");
	free(dir);
	return ret;
}

int throttle_plan(struct throttle *throttle, struct vm *vm, unsigned int max)
{
	json_t *cpus, *cpu;
	char path[64];
	int ret = 0;
	size_t i;

	throttle->pipe = -1;
	cpus = qmp_call(&vm->qmp, "query-cpus-fast", NULL, QMP_MS);
	if (!cpus)
		return -1;
	throttle->vcpu = need(calloc(json_array_size(cpus) + 1,
				     sizeof(*throttle->vcpu)));
	json_array_foreach(cpus, i, cpu) {
		struct vcpu *vcpu = &throttle->vcpu[throttle->vcpus++];

		vcpu->tid = (pid_t)json_integer_value(
				json_object_get(cpu, "thread-id"));
		snprintf(path, sizeof(path), "/proc/%d/task/%d",
			 vm->qmp.peer, vcpu->tid);
		/* Numbers of another PID namespace mean nothing here. */
		if (access(path, F_OK))
			ret = fail("process %d, which has made %s, has no thread %d, as QEMU calls a vCPU: give QEMU a -qmp socket that it makes itself, in the PID namespace of migrate-fast",
				   vm->qmp.peer, vm->qmp.path, vcpu->tid);
		else
			ret = plan_thread(vcpu, vm->qmp.peer);
		if (ret)
			break;
	}
	json_decref(cpus);
	throttle->max = ret ? 0 : max;
	return ret;
}

static int set_limit(const struct vcpu *vcpu, unsigned int percent)
{
	double part = vcpu->most * (100 - percent) / 100;
	double period = PERIOD_US, quota = part * period;
	char text[64];

	if (quota < LEAST_US) {
		quota = LEAST_US;
		period = LEAST_US / part;
		if (period > MOST_PERIOD_US)
			period = MOST_PERIOD_US;
	}
	snprintf(text, sizeof(text), "%.0f %.0f", quota, period);
	return cgroup_write(vcpu->dir, "cpu.max",
			    percent ? text : vcpu->before);
}

/* Under the lock: is it gone, and with it what the parent had lent? */
static bool remove_child(const struct vcpu *vcpu)
{
	int lock = cgroup_lock(vcpu->parent);
	bool gone;

	gone = !rmdir(vcpu->dir) || errno == ENOENT;
	/* It may be in use by others now; then it stays. */
	if (gone && vcpu->lent && !cgroup_has_child(vcpu->parent, LENT))
		cgroup_write(vcpu->parent, "cgroup.subtree_control", "-cpu");
	if (lock >= 0)
		close(lock);
	return gone;
}

static int put_back(const struct vcpu *vcpu)
{
	int i;

	if (!vcpu->parent)
		return 0;
	for (i = 0; i < TRIES; i++) {
		/* Threads may have been born in it, or be about to end. */
		cgroup_move_all(vcpu->dir, vcpu->parent);
		if (remove_child(vcpu))
			return 0;
		loop_sleep(WAIT_NS);
	}
	return fail("control group %s could not be removed", vcpu->dir);
}

/* @slowed: limits were set. Else they may be others' by now. */
static int undo(const struct throttle *throttle, bool slowed)
{
	unsigned int i;
	int ret = 0;

	/* First what the guest feels. */
	for (i = 0; slowed && i < throttle->vcpus; i++)
		set_limit(&throttle->vcpu[i], 0);
	for (i = 0; i < throttle->vcpus; i++)
		if (put_back(&throttle->vcpu[i]))
			ret = -1;
	return ret;
}

/* Undoes everything when the other end of @fd has been let go of. */
static void keep(const struct throttle *throttle, int fd)
{
	bool slowed = false;
	char word = DONE;
	ssize_t n;

	do {
		n = read(fd, &word, 1);
		slowed |= n > 0;
	} while (n > 0 || (n < 0 && errno == EINTR));
	word = DONE;
	if (undo(throttle, slowed))
		send(fd, fail_text(), strlen(fail_text()), MSG_NOSIGNAL);
	else
		send(fd, &word, 1, MSG_NOSIGNAL);
	_exit(0);
}

static int make_child(const struct vcpu *vcpu)
{
	int lock, err = 0;

	if (!vcpu->parent)
		return 0;
	lock = cgroup_lock(vcpu->parent);
	if (mkdir(vcpu->dir, 0755) && errno != EEXIST)
		err = -errno;
	if (!err)
		err = cgroup_write(vcpu->dir, "cgroup.type", "threaded");
	if (!err && vcpu->lent)
		err = cgroup_write(vcpu->parent, "cgroup.subtree_control",
				   "+cpu");
	if (lock >= 0)
		close(lock);
	if (err == -EOPNOTSUPP)
		return fail("control group %s cannot have threads of QEMU in groups of their own, because it has other children with processes, or controllers that know processes only: "
			    OWN_GROUP, vcpu->parent);
	if (!err)
		err = set_limit(vcpu, 0);
	if (!err)
		err = cgroup_move(vcpu->dir, vcpu->tid);
	if (err)
		return fail("a control group for vCPU thread %d cannot be made in %s: %s",
			    vcpu->tid, vcpu->parent, strerror(-err));
	return 0;
}

int throttle_start(struct throttle *throttle)
{
	unsigned int i;
	pid_t pid;
	int fd;

	if (!throttle->max)
		return 0;
	pid = guard_fork(&fd);
	if (pid < 0)
		return -1;
	if (!pid)
		keep(throttle, fd);
	throttle->pipe = fd;
	for (i = 0; i < throttle->vcpus; i++)
		if (make_child(&throttle->vcpu[i]))
			return -1;
	return 0;
}

/*
 * What the VM writes is in proportion to what is left to it, so half of that
 * is taken each time: 20, 60, 80, 90, 95, 98, 99. Steps of 10 would need more
 * rounds at a speed that does not help, and then divide by ten at once, from
 * 90 to 99. How fast it writes is no better measure: in a round that is long
 * enough to write everything twice, it is only known to be too fast.
 */
static unsigned int next_level(const struct throttle *throttle)
{
	unsigned int percent = throttle->percent + (101 - throttle->percent) / 2;

	if (!throttle->percent)
		percent = FIRST;
	return percent < throttle->max ? percent : throttle->max;
}

int throttle_raise(struct throttle *throttle)
{
	unsigned int percent = next_level(throttle), i;
	char word = 0;
	int err;

	if (send(throttle->pipe, &word, 1, MSG_NOSIGNAL) != 1)
		return fail("the process that would let the VM run freely again has died");
	throttle->percent = percent;
	for (i = 0; i < throttle->vcpus; i++) {
		err = set_limit(&throttle->vcpu[i], percent);
		/* A vCPU may have been unplugged. */
		if (err && cgroup_is_only(throttle->vcpu[i].dir,
					  throttle->vcpu[i].tid))
			return fail("%s/cpu.max cannot be set: %s",
				    throttle->vcpu[i].dir, strerror(-err));
	}
	note("rounds do not pay: the VM's processors are slowed by %u%%",
	     percent);
	return 0;
}

void throttle_lift(struct throttle *throttle)
{
	unsigned int i;

	if (throttle->percent && !throttle->lifted)
		for (i = 0; i < throttle->vcpus; i++)
			set_limit(&throttle->vcpu[i], 0);
	throttle->lifted = true;
}

void throttle_end(struct throttle *throttle)
{
	char text[512];
	ssize_t n;

	if (throttle->pipe < 0)
		return;
	shutdown(throttle->pipe, SHUT_WR);
	do {
		n = read(throttle->pipe, text, sizeof(text) - 1);
	} while (n < 0 && errno == EINTR);
	close(throttle->pipe);
	throttle->pipe = -1;
	/* Without a word it has been killed. */
	if (n > 1)
		text[n] = 0;
	else if (n <= 0 && undo(throttle, throttle->percent))
		snprintf(text, sizeof(text), "%s", fail_text());
	else
		return;
	note("%s; remove it by hand", text);
}

void throttle_free(struct throttle *throttle)
{
	unsigned int i;

	for (i = 0; i < throttle->vcpus; i++) {
		free(throttle->vcpu[i].parent);
		free(throttle->vcpu[i].dir);
	}
	free(throttle->vcpu);
	throttle->vcpu = NULL;
	throttle->vcpus = 0;
}
