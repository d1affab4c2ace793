// SPDX-License-Identifier: GPL-2.0
/* migrate-fast store remove and gc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "command.h"
#include "kept.h"

int store_cmd_remove(const struct store_options *options)
{
	struct store store;
	struct source **picked;
	unsigned int i;
	int ret = -1;

	if (store_open(&store, options->dir, true))
		return store_exit(-1);
	/* All of them, or none. */
	picked = store_pick(&store, options);
	for (i = 0; picked && i < options->nr_args; i++) {
		struct source *source = store_find(&store, options->args[i]);

		/* It may be named twice. */
		if (source)
			store_remove(&store, source);
	}
	if (picked)
		ret = store_save(&store);
	free(picked);
	store_close(&store);
	return store_exit(ret);
}

/* Does this file of the folder belong to a source? */
static bool is_needed(const struct store *store, const char *name)
{
	char *end;
	uint64_t id;
	size_t i;

	if (!strcmp(name, "store.json") || !strcmp(name, "lock"))
		return true;
	id = strtoull(name, &end, 10);
	for (i = 0; end != name && i < store->nr_sources; i++)
		if (store->sources[i].id == id)
			return !strcmp(end, ".index") ||
			       !strcmp(end, ".index-lock") ||
			       !strcmp(end, ".index.seal") ||
			       !strcmp(end, ".pages");
	return false;
}

/* Only names that we give. */
static bool is_ours(const char *name)
{
	return !strcmp(name, "store.json.new") ||
	       (strspn(name, "0123456789") &&
		(strstr(name, ".index") || strstr(name, ".pages")));
}

static int sweep(const struct store *store, uint64_t *bytes)
{
	DIR *dir = opendir(store->dir);
	const struct dirent *entry;
	struct stat st;

	if (!dir)
		return fail("cannot read %s: %s", store->dir, strerror(errno));
	while ((entry = readdir(dir))) {
		if (!is_ours(entry->d_name) ||
		    is_needed(store, entry->d_name) ||
		    fstatat(dirfd(dir), entry->d_name, &st, 0) ||
		    unlinkat(dirfd(dir), entry->d_name, 0))
			continue;
		*bytes += (uint64_t)st.st_blocks * 512;
	}
	closedir(dir);
	return 0;
}

int store_cmd_gc(const struct store_options *options)
{
	uint64_t bytes = 0;
	struct store store;
	size_t i = 0, n = 0;
	int ret;

	if (store_open(&store, options->dir, true))
		return store_exit(-1);
	while (i < store.nr_sources) {
		struct source *source = &store.sources[i];

		if (source_state(source) != SOURCE_GONE) {
			i++;
			continue;
		}
		note("%s: %s is gone", source->name, source->path);
		/* Its files go with the others that belong to nobody. */
		source_free(source);
		memmove(source, source + 1, (store.nr_sources - i - 1) *
			sizeof(*source));
		store.nr_sources--;
		n++;
	}
	bytes = kept_trim(&store, (int64_t)options->kept_age,
			  options->kept_bytes);
	ret = store_save(&store);
	if (!ret)
		ret = sweep(&store, &bytes);
	if (!ret && options->json)
		say_event(json_pack("{s:I, s:I}", "sources", (json_int_t)n,
				    "bytes", (json_int_t)bytes));
	else if (!ret)
		printf("%zu sources forgotten, %s freed\n", n,
		       size_text((double)bytes));
	store_close(&store);
	return store_exit(ret);
}
