// SPDX-License-Identifier: GPL-2.0
/* The page store of a host; see store.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "index.h"
#include "store.h"

#define VERSION	1

static char *path_of(const struct store *store, const char *name)
{
	char *path = NULL;

	if (asprintf(&path, "%s/%s", store->dir, name) < 0)
		path = NULL;
	return need(path);
}

char *store_index(const struct store *store, const struct source *source)
{
	char name[48];

	snprintf(name, sizeof(name), "%" PRIu64 ".index", source->id);
	return path_of(store, name);
}

char *store_pages(const struct store *store, const struct source *source)
{
	char name[48];

	snprintf(name, sizeof(name), "%" PRIu64 ".pages", source->id);
	return path_of(store, name);
}

bool store_is_whole(const struct store *store, const struct source *source)
{
	char *path = store_index(store, source);
	bool whole = index_check(path, store->seed) == INDEX_OK;

	free(path);
	return whole;
}

/* The folder, and those above it. */
static int make_folder(char *dir)
{
	char *slash;

	for (slash = strchr(dir + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(dir, 0755);
		*slash = '/';
	}
	/* Its digests tell what VMs hold, to who knows the seed. */
	return mkdir(dir, 0700) && errno != EEXIST ? -1 : 0;
}

static int take_lock(struct store *store)
{
	char *path = path_of(store, "lock"), owner[32] = "";
	ssize_t n;

	store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock < 0) {
		fail("cannot open %s: %s", path, strerror(errno));
		free(path);
		return -1;
	}
	free(path);
	if (flock(store->lock, LOCK_EX | LOCK_NB)) {
		n = pread(store->lock, owner, sizeof(owner) - 1, 0);
		owner[n > 0 ? n : 0] = 0;
		owner[strspn(owner, "0123456789")] = 0;
		return fail("another migrate-fast store%s%s changes %s: try again when it has ended",
			    *owner ? ", process " : "", owner, store->dir);
	}
	snprintf(owner, sizeof(owner), "%d\n", (int)getpid());
	if (ftruncate(store->lock, 0) ||
	    pwrite(store->lock, owner, strlen(owner), 0) < 0)
		return fail("cannot write to the lock in %s: %s", store->dir,
			    strerror(errno));
	return 0;
}

bool store_busy(const struct store *store)
{
	char *path = path_of(store, "lock");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool busy = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB);

	if (fd >= 0)
		close(fd);
	free(path);
	return busy;
}

static int parse_sources(struct store *store, const json_t *list)
{
	size_t i;

	store->sources = need(calloc(json_array_size(list) + 1,
				     sizeof(*store->sources)));
	for (i = 0; i < json_array_size(list); i++) {
		if (source_parse(json_array_get(list, i), &store->sources[i]))
			return -1;
		store->nr_sources++;
	}
	return 0;
}

static int parse(struct store *store, const json_t *json)
{
	json_int_t version, next;
	const char *seed;
	json_t *list;
	char *end;

	if (json_unpack((json_t *)json, "{s:I}", "version", &version))
		goto damaged;
	if (version != VERSION)
		return fail("the store in %s is of version %lld, this migrate-fast knows %d: install the newer release, or choose another folder (--store)",
			    store->dir, (long long)version, VERSION);
	if (json_unpack((json_t *)json, "{s:s, s:I, s:o}", "seed", &seed,
			"next", &next, "sources", &list))
		goto damaged;
	errno = 0;
	store->seed = strtoull(seed, &end, 16);
	store->next_id = (uint64_t)next;
	if (!errno && !*end && *seed && json_is_array(list) &&
	    !parse_sources(store, list))
		return 0;
damaged:
	return fail("%s/store.json is damaged: remove that folder, and add what was in it anew",
		    store->dir);
}

static int load(struct store *store)
{
	char *path = path_of(store, "store.json");
	json_error_t error;
	json_t *json;
	int ret;

	if (access(path, F_OK) && errno == ENOENT) {
		free(path);
		return 1;
	}
	json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!json && access(path, R_OK))
		ret = fail("cannot read %s: %s", path, strerror(errno));
	else if (!json)
		ret = fail("%s is damaged (%s): remove that folder, and add what was in it anew",
			   path, error.text);
	else
		ret = parse(store, json);
	json_decref(json);
	free(path);
	return ret;
}

int store_open(struct store *store, const char *dir, bool change)
{
	int ret;

	*store = (struct store){ .dir = need(strdup(dir)), .lock = -1 };
	if (change && make_folder(store->dir)) {
		fail("cannot make %s: %s", dir, strerror(errno));
		goto failed;
	}
	if (change && take_lock(store))
		goto failed;
	ret = load(store);
	if (ret < 0)
		goto failed;
	if (ret && getrandom(&store->seed, sizeof(store->seed), 0) !=
	    sizeof(store->seed)) {
		fail("no random numbers: %s", strerror(errno));
		goto failed;
	}
	if (ret && change && store_save(store))
		goto failed;
	return 0;
failed:
	store_close(store);
	return -1;
}

void store_close(struct store *store)
{
	size_t i;

	for (i = 0; i < store->nr_sources; i++)
		source_free(&store->sources[i]);
	free(store->sources);
	free(store->dir);
	if (store->lock >= 0)
		close(store->lock);
	*store = (struct store){ .lock = -1 };
}

static int replace(const struct store *store, const char *text)
{
	char *path = path_of(store, "store.json");
	char *temporary = path_of(store, "store.json.new");
	FILE *file = NULL;
	int fd, ret = -1;

	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0)
		file = fdopen(fd, "w");
	if (file && fputs(text, file) >= 0 && !fflush(file) && !fsync(fd) &&
	    !rename(temporary, path))
		ret = 0;
	else
		fail("cannot write %s: %s", temporary, strerror(errno));
	if (file)
		fclose(file);
	fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(temporary);
	free(path);
	return ret;
}

int store_save(const struct store *store)
{
	json_t *list = json_array(), *json;
	char seed[17], *text;
	size_t i;
	int ret;

	for (i = 0; i < store->nr_sources; i++)
		json_array_append_new(list, source_json(&store->sources[i]));
	snprintf(seed, sizeof(seed), "%016" PRIx64, store->seed);
	json = json_pack("{s:i, s:s, s:I, s:o}", "version", VERSION,
			 "seed", seed, "next", (json_int_t)store->next_id,
			 "sources", list);
	text = need(json_dumps(json, JSON_INDENT(2)));
	json_decref(json);
	ret = replace(store, text);
	free(text);
	return ret;
}

struct source *store_find(const struct store *store, const char *name)
{
	size_t i;

	for (i = 0; i < store->nr_sources; i++)
		if (!strcmp(store->sources[i].name, name))
			return &store->sources[i];
	return NULL;
}

struct source *store_add(struct store *store, struct source *source)
{
	struct source *added;

	store->sources = need(realloc(store->sources,
				      (store->nr_sources + 1) *
				      sizeof(*store->sources)));
	added = &store->sources[store->nr_sources++];
	*added = *source;
	added->id = ++store->next_id;
	*source = (struct source){ 0 };
	return added;
}

void store_remove(struct store *store, struct source *source)
{
	struct source *end = store->sources + store->nr_sources;
	char *index = store_index(store, source);
	char *pages = store_pages(store, source);

	index_remove(index);
	unlink(pages);
	free(index);
	free(pages);
	source_free(source);
	memmove(source, source + 1, (size_t)(end - source - 1) *
		sizeof(*source));
	store->nr_sources--;
}
