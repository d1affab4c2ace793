/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source: what tells us which pages the VM writes. The module's own events do
 * in any case; KVM's dirty log, if it can be had, makes them cheaper for the
 * guest.
 */
#ifndef TRACKER_H
#define TRACKER_H

#include <jansson.h>
#include <sys/types.h>

struct vm;

enum tracker {
	TRACKER_AUTO,	/* KVM's log if it can be had */
	TRACKER_EVENTS,
	TRACKER_KVM,	/* or fail */
	TRACKERS
};

/* TRACKERS if there is no such source. */
enum tracker tracker_find(const char *name);
/*
 * The session of @vm uses what @how says. @pid: QEMU's process; 0: that which
 * has made the QMP socket. 0, or -1 after fail().
 */
int tracker_begin(struct vm *vm, enum tracker how, pid_t pid);
/* What has become of it. */
json_t *tracker_json(const struct vm *vm);

#endif /* TRACKER_H */
