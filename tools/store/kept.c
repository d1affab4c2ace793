// SPDX-License-Identifier: GPL-2.0
/* What a VM leaves behind when it goes; see kept.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../lib/say.h"
#include "build.h"
#include "kept.h"

#define SUFFIX	".kept"

uint64_t kept_most(void)
{
	return (uint64_t)sysconf(_SC_PHYS_PAGES) *
	       (uint64_t)sysconf(_SC_PAGESIZE) / KEPT_SHARE;
}

static bool is_kept_of(const struct source *source, const char *vm)
{
	return source->kind == KIND_KEPT && source->of &&
	       !strcmp(source->of, vm);
}

static uint64_t bytes_of(const struct source *source)
{
	struct stat st;

	return stat(source->path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/* With its file. */
static void drop(struct store *store, struct source *source)
{
	unlink(source->path);
	store_remove(store, source);
}

static struct source *find_path(struct store *store, const char *path)
{
	size_t i;

	for (i = 0; i < store->nr_sources; i++)
		if (!strcmp(store->sources[i].path, path))
			return &store->sources[i];
	return NULL;
}

/* A name that is free: an operator may have given it to something else. */
static char *make_name(const struct store *store, const char *vm,
		       const char *id)
{
	char *name;
	unsigned int i;

	for (i = 0;; i++) {
		if (asprintf(&name, i ? "%s.%s" SUFFIX ".%u" : "%s.%s" SUFFIX,
			     vm, id, i) < 0)
			name = NULL;
		if (!store_find(store, need(name)))
			return name;
		free(name);
	}
}

int kept_leave(struct store *store, const char *vm, const char *id,
	       const char *path,
	       int (*step)(void *arg, uint64_t done, uint64_t all), void *arg)
{
	struct source source = { .kind = KIND_KEPT, .format = FORMAT_RAM };
	struct source *added;
	struct built built;
	char *kept;
	int ret;

	if (asprintf(&kept, "%s" SUFFIX, path) < 0)
		kept = NULL;
	added = find_path(store, need(kept));
	if (added)
		store_remove(store, added);
	if (rename(path, kept)) {
		ret = fail("cannot keep %s: %s", path, strerror(errno));
		free(kept);
		return ret;
	}
	source.path = kept;
	source.name = make_name(store, vm, id);
	source.vms = json_array();
	source.of = need(strdup(vm));
	added = store_add(store, &source);
	ret = build(store, added, true, step, arg, &built);
	if (ret)
		drop(store, added);
	return ret;
}

void kept_forget(struct store *store, const char *vm)
{
	size_t i = 0;

	while (i < store->nr_sources) {
		if (is_kept_of(&store->sources[i], vm))
			drop(store, &store->sources[i]);
		else
			i++;
	}
}

static struct source *oldest(struct store *store, uint64_t *bytes)
{
	struct source *found = NULL;
	size_t i;

	*bytes = 0;
	for (i = 0; i < store->nr_sources; i++) {
		struct source *source = &store->sources[i];

		if (source->kind != KIND_KEPT)
			continue;
		*bytes += bytes_of(source);
		if (!found || source->indexed < found->indexed)
			found = source;
	}
	return found;
}

uint64_t kept_trim(struct store *store, int64_t age, uint64_t bytes)
{
	int64_t now = time(NULL);
	uint64_t freed = 0, all;
	struct source *source;

	while ((source = oldest(store, &all)) &&
	       (all > bytes || now - source->indexed > age)) {
		note("%s is not kept any longer (%s)", source->name,
		     all > bytes ? "too much was kept" : "too old");
		freed += bytes_of(source);
		drop(store, source);
	}
	return freed;
}
