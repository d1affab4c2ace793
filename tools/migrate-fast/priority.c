// SPDX-License-Identifier: GPL-2.0
/* Which part of the processors send and recv get; see priority.h. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "../lib/say.h"
#include "priority.h"

int priority_take(const struct priority *priority)
{
	if (!priority->asked && getpriority(PRIO_PROCESS, 0))
		return 0;
	if (!setpriority(PRIO_PROCESS, 0, priority->asked ? priority->nice :
							    PRIORITY_NICE) ||
	    !priority->asked)
		return 0;
	return fail("--nice=%d: %s", priority->nice, strerror(errno));
}

int priority_first(void)
{
	int nice = getpriority(PRIO_PROCESS, 0);

	setpriority(PRIO_PROCESS, 0, PRIORITY_FIRST);
	return nice;
}

void priority_back(int nice)
{
	setpriority(PRIO_PROCESS, 0, nice);
}
