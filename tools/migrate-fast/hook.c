// SPDX-License-Identifier: GPL-2.0
/* Places where a test can hold the program still; see hook.h. */
#include <stdlib.h>
#include <string.h>

#include "hook.h"
#include "loop.h"
#include "say.h"

/* What follows NAME in the list, or NULL. */
static const char *find(const char *name)
{
	const char *list = getenv("MIGRATE_FAST_TEST");
	size_t len = strlen(name);

	while (list && *list) {
		if (!strncmp(list, name, len) &&
		    (!list[len] || strchr(":,", list[len])))
			return list + len;
		list = strchr(list, ',');
		if (list)
			list++;
	}
	return NULL;
}

bool hook_set(const char *name)
{
	return find(name);
}

int hook(const char *name)
{
	const char *rest = find(name);

	if (!rest || *rest != ':')
		return 0;
	note("test: waiting at \"%s\"", name);
	return loop_sleep(strtoull(rest + 1, NULL, 10) * NSEC_PER_MSEC);
}
