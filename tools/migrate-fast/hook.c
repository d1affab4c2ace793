// SPDX-License-Identifier: GPL-2.0
/* Places where a test can hold the program still; see hook.h. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "hook.h"

/* Looked up once: some ask for each page. */
static const char *get_list(void)
{
	static const char *list;

	if (!list)
		list = getenv("MIGRATE_FAST_TEST") ?: "";
	return list;
}

/* What follows NAME in the list, or NULL. */
static const char *find(const char *name)
{
	const char *list = get_list();
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

bool hook_lose(const char *name, uint64_t page)
{
	const char *rest = find(name);

	if (!rest || *rest != ':' || page != strtoull(rest + 1, NULL, 10))
		return false;
	note("test: page %llu is lost", (unsigned long long)page);
	return true;
}

static volatile sig_atomic_t released;

static void release(int sig)
{
	(void)sig;
	released = 1;
}

static bool is_released(void *arg)
{
	(void)arg;
	return released;
}

int hook(const char *name)
{
	const char *rest = find(name);
	static bool disturbed;
	int ret;

	if (!rest || *rest != ':' || disturbed)
		return 0;
	released = 0;
	signal(SIGUSR1, release);
	note("test: waiting at \"%s\"", name);
	ret = loop_until(is_released, NULL,
			 (unsigned int)strtoul(rest + 1, NULL, 10));
	disturbed = ret < 0;
	return disturbed ? -1 : 0;
}
