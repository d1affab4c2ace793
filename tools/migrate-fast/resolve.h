/* SPDX-License-Identifier: GPL-2.0 */
/* Asking the destination what became of a session. */
#ifndef RESOLVE_H
#define RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

enum outcome {
	OUTCOME_SILENT,		/* no answer, after fail() */
	OUTCOME_RUNNING,	/* the VM is the destination's */
	OUTCOME_SPLIT,		/* ... but needs memory that is here */
	OUTCOME_GONE,		/* it never will run there */
};

/*
 * Asks @to about @session. A destination that is loaded and waits is told to
 * run the VM, or, with @back, to give it up.
 */
enum outcome resolve_ask(const char *to, const char *session, bool back,
			 uint64_t timeout);

#endif /* RESOLVE_H */
