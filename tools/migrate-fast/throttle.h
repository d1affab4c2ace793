/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Slows a VM down that writes faster than the line carries (--throttle): the
 * last resort of those who must stay in pre-copy.
 */
#ifndef THROTTLE_H
#define THROTTLE_H

#include <stdbool.h>

#include "vm.h"

struct vcpu;

struct throttle {
	struct vcpu *vcpu;	/* one for each thread that runs the guest */
	unsigned int vcpus;
	unsigned int max;	/* percent; 0: never */
	unsigned int percent;	/* of its time is taken away now */
	bool lifted;		/* for good */
	int pipe;		/* its end tells that we are done, or have died */
};

/*
 * Finds out how that can be done for this VM; changes nothing. 0, or -1 after
 * fail(). No need to call it if nobody wants to throttle.
 */
int throttle_plan(struct throttle *throttle, struct vm *vm, unsigned int max);
/*
 * Prepares all of it; the VM is not slowed yet. From here on a process waits
 * that puts everything back, however we end. Nothing without a plan.
 */
int throttle_start(struct throttle *throttle);
/* Takes away more. 0, or -1 after fail(). */
int throttle_raise(struct throttle *throttle);
/* The VM runs freely, at once and for good; quick. */
void throttle_lift(struct throttle *throttle);
/* Waits until everything is as it was. */
void throttle_end(struct throttle *throttle);
/* Releases the plan. */
void throttle_free(struct throttle *throttle);

#endif /* THROTTLE_H */
