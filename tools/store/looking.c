// SPDX-License-Identifier: GPL-2.0
/* migrate-fast store list, stat, check, export: what leaves the store alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../lib/size.h"
#include "build.h"
#include "command.h"
#include "index.h"
#include "meter.h"
#include "pagefile.h"
#include "sharing.h"

/* What the operator should know of a source in one word. */
static const char *state_of(const struct store *store,
			    const struct source *source, bool whole)
{
	switch (source_state(source)) {
	case SOURCE_GONE:
		return "gone";
	case SOURCE_NEW:
		return "not-indexed";
	case SOURCE_CHANGED:
		if (!whole)
			break;
		return "changed";
	case SOURCE_UNTOLD:
		if (!whole)
			break;
		return source->kind == KIND_RAM ? "running" : "device";
	case SOURCE_SAME:
		if (!whole)
			break;
		return "ready";
	}
	return store_busy(store) ? "busy" : "broken";
}

/* To list them: not all of it is read. */
static bool looks_whole(const struct store *store, const struct source *source)
{
	char *path = store_index(store, source);
	bool whole = index_glance(path) == INDEX_OK;

	free(path);
	return whole;
}

static double index_bytes(const struct store *store,
			  const struct source *source)
{
	char *path = store_index(store, source);
	struct stat st;
	double bytes = stat(path, &st) ? 0 : (double)st.st_size;

	free(path);
	return bytes;
}

static json_t *describe(const struct store *store, const struct source *source,
			const char *vm)
{
	json_t *json = source_json(source);
	enum sharing sharing;

	if (vm) {
		sharing = sharing_find(source, vm);
		json_object_set_new(json, "takes", json_boolean(sharing));
		json_object_set_new(json, "why",
				    json_string(sharing_text(sharing)));
	}
	json_object_set_new(json, "state",
			    json_string(state_of(store, source,
						 looks_whole(store, source))));
	json_object_set_new(json, "index_bytes",
			    json_integer((json_int_t)index_bytes(store,
								 source)));
	json_object_del(json, "stamp");
	json_object_del(json, "id");
	return json;
}

static void print_source(const struct store *store,
			 const struct source *source, const char *vm)
{
	char when[32] = "never";
	time_t indexed = source->indexed;

	if (indexed)
		strftime(when, sizeof(when), "%F %R", localtime(&indexed));
	printf("%-20s %-6s %-11s %10s %10s  %-16s  ", source->name,
	       kind_name(source->kind),
	       state_of(store, source, looks_whole(store, source)),
	       size_text((double)source->blocks * BLOCK_BYTES),
	       size_text(index_bytes(store, source)), when);
	if (vm)
		printf("%-22s  ", sharing_text(sharing_find(source, vm)));
	printf("%s\n", source->path);
}

static void print_standing(const char *vm)
{
	struct standing standing = policy_find(sharing_policy(), vm);

	printf("%s: %s%s, share = %s\n", vm, standing.group ? "group " :
	       standing.torn ? "two groups claim it" : "in no group",
	       standing.group ? standing.group->name : "",
	       share_name(standing.share));
}

int store_cmd_list(const struct store_options *options)
{
	json_t *list = json_array();
	struct store store;
	size_t i;

	if (options->vm)
		sharing_load(options->conf, options->vm);
	if (store_open(&store, options->dir, false))
		return store_exit(-1);
	if (!options->json && options->vm)
		print_standing(options->vm);
	if (!options->json && store.nr_sources)
		printf("%-20s %-6s %-11s %10s %10s  %-16s  %s%s\n", "NAME",
		       "KIND", "STATE", "SIZE", "INDEX", "READ",
		       options->vm ? "MAY IT?                 " : "", "PATH");
	for (i = 0; i < store.nr_sources; i++) {
		if (options->json)
			json_array_append_new(list,
					      describe(&store,
						       &store.sources[i],
						       options->vm));
		else
			print_source(&store, &store.sources[i], options->vm);
	}
	if (options->json)
		say_event(json_incref(list));
	else if (!store.nr_sources)
		printf("%s is empty: see migrate-fast store add --help\n",
		       options->dir);
	json_decref(list);
	store_close(&store);
	return 0;
}

/* Pages of one source. */
struct counted {
	uint64_t blocks;
	uint64_t zero;
	uint64_t differ;	/* digests */
};

static int count_one(void *arg, uint64_t digest)
{
	(void)digest;
	++*(uint64_t *)arg;
	return 0;
}

static int count(const struct store *store, const struct source *source,
		 struct counted *counted)
{
	char *path = store_index(store, source);
	const uint64_t *digests;
	struct index index;
	uint64_t chunk;
	unsigned int i;
	int ret = -1;

	*counted = (struct counted){ .blocks = source->blocks };
	if (index_check(path, store->seed) != INDEX_OK)
		fail("the index of %s is %s: migrate-fast store update",
		     source->name, store_busy(store) ? "being written" :
						       "not whole");
	else
		ret = index_open(&index, path);
	if (!ret) {
		for (chunk = 0; chunk * BLOCKS_CHUNK < source->blocks;
		     chunk++) {
			digests = index_chunk(&index, chunk);
			for (i = 0; i < BLOCKS_CHUNK; i++)
				counted->zero += (!digests || !digests[i]) &&
					chunk * BLOCKS_CHUNK + i <
					source->blocks;
		}
		ret = index_each(&index, count_one, &counted->differ);
		index_close(&index);
	}
	free(path);
	return ret;
}

static void print_counted(const struct store_options *options,
			  const char *name, const struct counted *counted)
{
	if (options->json)
		say_event(json_pack("{s:s, s:I, s:I, s:I}", "source", name,
				    "blocks", (json_int_t)counted->blocks,
				    "zero", (json_int_t)counted->zero,
				    "differ", (json_int_t)counted->differ));
	else
		printf("%-20s %12llu %12llu %12llu\n", name,
		       (unsigned long long)counted->blocks,
		       (unsigned long long)counted->zero,
		       (unsigned long long)counted->differ);
}

int store_cmd_stat(const struct store_options *options)
{
	struct counted counted, sum = { 0 };
	struct source **picked, **at;
	struct store store;
	int ret = 0;

	if (store_open(&store, options->dir, false))
		return store_exit(-1);
	picked = store_pick(&store, options);
	if (picked && !options->json)
		printf("%-20s %12s %12s %12s\n", "NAME", "PAGES", "ZERO",
		       "DIFFER");
	for (at = picked; !ret && at && *at; at++) {
		ret = count(&store, *at, &counted);
		if (ret)
			break;
		print_counted(options, (*at)->name, &counted);
		sum.blocks += counted.blocks;
		sum.zero += counted.zero;
		sum.differ += counted.differ;
	}
	if (picked && !ret && at - picked > 1)
		print_counted(options, "(all)", &sum);
	free(picked);
	store_close(&store);
	return store_exit(picked ? ret : -1);
}

/* Digests the source again, and compares. */
static int verify(const struct store *store, const struct source *source,
		  struct meter *meter, uint64_t *differ)
{
	char *path = store_index(store, source);
	uint64_t digests[BLOCKS_CHUNK], first, i;
	struct blocks *blocks = NULL;
	const uint64_t *known;
	struct index index;
	uint64_t n;
	int ret;

	ret = index_open(&index, path);
	free(path);
	if (ret)
		return -1;
	blocks = blocks_open(source->path, source->format);
	if (!blocks)
		ret = -1;
	for (first = 0; !ret && first < blocks->count; first += n) {
		n = blocks->count - first;
		if (n > BLOCKS_CHUNK)
			n = BLOCKS_CHUNK;
		ret = blocks->ops->digest(blocks, first, (unsigned int)n,
					  store->seed, digests);
		known = index_chunk(&index, first / BLOCKS_CHUNK);
		for (i = 0; !ret && i < n; i++)
			*differ += digests[i] != (known ? known[i] : 0);
		if (!ret)
			ret = meter_step(meter, first + n, blocks->count);
	}
	blocks_close(blocks);
	index_close(&index);
	return ret;
}

/* 1 if something is not as it should be, after saying so. */
static int check(const struct store *store, struct source *source,
		 const struct store_options *options)
{
	bool whole = store_is_whole(store, source);
	const char *state = state_of(store, source, whole);
	uint64_t differ = 0;
	struct meter meter;
	char *cause;
	int ret;

	if (!whole || source_state(source) == SOURCE_GONE) {
		note("%s: %s", source->name, !strcmp(state, "gone") ?
		     "its file is gone (store remove, store gc)" :
		     !strcmp(state, "busy") ? "is being changed just now" :
		     "the index is not whole (store update, or store check --rebuild)");
		return 1;
	}
	meter_start(&meter, "checking", source->name, options->json);
	ret = verify(store, source, &meter, &differ);
	meter_end(&meter);
	if (ret) {
		cause = fail_take();
		note("%s: %s", source->name, cause);
		free(cause);
	} else if (differ && source->kind != KIND_RAM) {
		note("%s: %llu of its %llu pages are not what was indexed (store update)",
		     source->name, (unsigned long long)differ,
		     (unsigned long long)source->blocks);
	} else if (!options->json) {
		printf("%s: the index is whole, %llu pages differ\n",
		       source->name, (unsigned long long)differ);
	}
	return ret || (differ && source->kind != KIND_RAM);
}

static int rebuild(const struct store_options *options)
{
	struct source **picked, **at;
	struct store store;
	int ret = 0;

	if (store_open(&store, options->dir, true))
		return -1;
	picked = store_pick(&store, options);
	for (at = picked; !ret && at && *at; at++) {
		struct built built;
		struct meter meter;

		if (store_is_whole(&store, *at) ||
		    source_state(*at) == SOURCE_GONE)
			continue;
		meter_start(&meter, "rebuilding", (*at)->name, options->json);
		ret = build(&store, *at, true, meter_step, &meter, &built);
		meter_end(&meter);
		if (!ret && !options->json)
			printf("%s: rebuilt\n", (*at)->name);
		if (store_save(&store))
			ret = -1;
	}
	free(picked);
	store_close(&store);
	return picked ? ret : -1;
}

int store_cmd_check(const struct store_options *options)
{
	struct source **picked, **at;
	struct store store;
	int bad = 0;

	if ((options->rebuild && rebuild(options)) ||
	    store_open(&store, options->dir, false))
		return store_exit(-1);
	picked = store_pick(&store, options);
	for (at = picked; at && *at && !loop_signal(); at++)
		bad |= check(&store, *at, options);
	free(picked);
	store_close(&store);
	return store_exit(picked ? bad : -1);
}

int store_cmd_export(const struct store_options *options)
{
	const char *name = options->args[0];
	struct store_options rest = *options;
	bool pipe = !strcmp(name, "-");
	struct source **picked, **at;
	struct pagefile *file;
	struct store store;
	uint64_t pages = 0;
	int fd, ret = 0;

	rest.args++;
	rest.nr_args--;
	if (store_open(&store, options->dir, false))
		return store_exit(-1);
	picked = store_pick(&store, &rest);
	if (!picked)
		goto out;
	/* What stands there is not destroyed. */
	fd = pipe ? STDOUT_FILENO : open(name, O_WRONLY | O_CREAT | O_EXCL |
					 O_CLOEXEC, 0600);
	if (fd < 0) {
		fail("cannot create %s: %s", name, strerror(errno));
		goto out;
	}
	file = pagefile_create(fd, pipe ? "standard output" : name);
	for (at = picked; !ret && *at; at++) {
		struct meter meter;

		meter_start(&meter, "exporting", (*at)->name, options->json);
		ret = pagefile_export(file, &store, *at, meter_step, &meter);
		meter_end(&meter);
	}
	if (ret)
		pagefile_free(file);
	else
		ret = pagefile_finish(file, &pages);
	if (!pipe && close(fd) && !ret)
		ret = fail("cannot write to %s: %s", name, strerror(errno));
	if (ret && !pipe)
		unlink(name);
	if (!ret && !pipe && !options->json)
		printf("%s: %llu pages, %s\n", name,
		       (unsigned long long)pages,
		       size_text((double)pages * BLOCK_BYTES));
out:
	free(picked);
	store_close(&store);
	return store_exit(picked ? ret : -1);
}
