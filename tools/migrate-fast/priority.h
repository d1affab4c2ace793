/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which part of the processors send and recv get where VMs leave too little.
 *
 * A move takes about as much work whenever it gets the processor. If it gets
 * little it takes longer, the VM writes more meanwhile, which has to be sent
 * again, and the host stays as busy as it is for longer. So it comes ahead of
 * ordinary processes; the line bounds what that takes from them.
 */
#ifndef PRIORITY_H
#define PRIORITY_H

#include <stdbool.h>

struct priority {
	bool asked;	/* by --nice */
	int nice;
};

#define PRIORITY_NICE	(-10)
#define PRIORITY_FIRST	(-20)

/*
 * Takes it; without --nice only if nobody has chosen another one for this
 * process, and it may. 0, or -1 after fail().
 */
int priority_take(const struct priority *priority);

/*
 * The VM waits for what we bring: its processors that have something to do
 * must not keep us from the page that another one, or a task, waits for.
 * Returns the niceness before, for priority_back().
 */
int priority_first(void);
void priority_back(int nice);

#endif /* PRIORITY_H */
