/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A second process that cleans up if send dies (SIGKILL, out of memory)
 * before COMMIT: lets a stopped VM run on, for nobody else would.
 */
#ifndef GUARD_H
#define GUARD_H

#include <sys/types.h>

#include "vm.h"

struct guard {
	int pipe;		/* its end tells that we have died */
};

/*
 * A process that outlives us, whatever becomes of us, and has nothing of ours
 * but one end, @fd, of a socket pair; we have the other. As fork(); -1 after
 * fail().
 */
pid_t guard_fork(int *fd);

/* Starts it, before the capabilities are set. 0, or -1 after fail(). */
int guard_start(struct guard *guard, struct vm *vm, const char *to,
		const char *session);
/* From here on the VM stands still because of us. */
int guard_arm(struct guard *guard);
/*
 * From here on the VM is none of its business: it runs again, or COMMIT is
 * about to be said. The guard heeds that even if we die at once. 0, or -1 after
 * fail(): then it is still on watch, and COMMIT must not be said.
 */
int guard_dismiss(struct guard *guard);

#endif /* GUARD_H */
