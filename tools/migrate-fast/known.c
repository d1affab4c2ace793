// SPDX-License-Identifier: GPL-2.0
/* Sources of pages that are here already; see known.h. */
#include <stdlib.h>
#include <string.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../lib/size.h"
#include "../store/build.h"
#include "../store/sharing.h"
#include "known.h"

/* Another source goes without it. */
static void left_out(const struct source *source, const char *why)
{
	note("%s is left out: %s", source->name, why);
}

void known_leave_out(const struct source *source)
{
	char *cause = fail_take();

	left_out(source, cause);
	free(cause);
}

static bool is_usable(const struct known *known, const struct source *source,
		      const char *index)
{
	switch (source_state(source)) {
	case SOURCE_GONE:
		left_out(source, "its file is gone");
		return false;
	case SOURCE_NEW:
		left_out(source, "it was never read to its end (migrate-fast store update)");
		return false;
	case SOURCE_CHANGED:
		note("%s was written since it was read: pages that have changed are not found in it (migrate-fast store update)",
		     source->name);
		break;
	case SOURCE_UNTOLD:
	case SOURCE_SAME:
		break;
	}
	if (index_check(index, known->store.seed) == INDEX_OK)
		return true;
	left_out(source, store_busy(&known->store) ?
		 "it is being read just now" :
		 "its index is not whole (migrate-fast store update)");
	return false;
}

static int open_source(struct known *known, const struct source *source)
{
	struct known_source *open = &known->sources[known->nr_sources];

	*open = (struct known_source){ .source = source };
	open->path = store_index(&known->store, source);
	if (!is_usable(known, source, open->path)) {
		free(open->path);
		return -1;
	}
	open->blocks = blocks_open(source->path, source->format);
	if (!open->blocks || index_open(&open->index, open->path)) {
		known_leave_out(source);
		blocks_close(open->blocks);
		free(open->path);
		return -1;
	}
	known->nr_sources++;
	return 0;
}

static void close_source(struct known_source *open)
{
	index_close(&open->index);
	blocks_close(open->blocks);
	free(open->path);
}

static int add_digest(void *arg, uint64_t digest)
{
	filter_add(arg, digest);
	return 0;
}

/* One that cannot be read to its end is not in it, or only in part. */
static void fill_filter(struct known *known, uint64_t places)
{
	size_t i;

	filter_init(&known->filter, filter_bytes(places));
	for (i = 0; i < known->nr_sources; i++)
		if (index_each(&known->sources[i].index, add_digest,
			       &known->filter))
			known_leave_out(known->sources[i].source);
}

static bool is_running(const struct source *source, const char *name)
{
	return source->kind == KIND_RAM && sharing_find(source, name) &&
	       source_state(source) != SOURCE_GONE;
}

static bool has_running(const char *dir, const char *name)
{
	struct store store;
	bool found = false;
	size_t i;

	if (store_open(&store, dir, false)) {
		free(fail_take());
		return false;
	}
	for (i = 0; i < store.nr_sources; i++)
		found |= is_running(&store.sources[i], name);
	store_close(&store);
	return found;
}

static int step(void *arg, uint64_t done, uint64_t all)
{
	(void)arg;
	(void)done;
	(void)all;
	return loop_check();
}

/* VMs that run have changed since: what they hold now is read now. */
static void refresh(const char *dir, const char *name)
{
	struct store store;
	struct built built;
	size_t i;

	if (!has_running(dir, name))
		return;
	if (store_open(&store, dir, true)) {
		/* Who changes it reads them, perhaps; if not, more is missed. */
		free(fail_take());
		return;
	}
	for (i = 0; i < store.nr_sources; i++) {
		struct source *source = &store.sources[i];

		if (is_running(source, name) &&
		    build(&store, source, false, step, NULL, &built))
			known_leave_out(source);
	}
	if (store_save(&store))
		free(fail_take());
	store_close(&store);
}

/* What is its own (@own), or what is not. @places are in the filter already. */
static void add_kind(struct known *known, enum kind kind, bool own,
		     const char *name, uint64_t budget, uint64_t *places)
{
	enum sharing sharing;
	uint64_t more;
	size_t i;

	for (i = 0; i < known->store.nr_sources; i++) {
		const struct source *source = &known->store.sources[i];

		sharing = sharing_find(source, name);
		if (source->kind != kind || !sharing ||
		    own != (sharing == SHARING_PAST) ||
		    open_source(known, source))
			continue;
		more = known->sources[known->nr_sources - 1].index.places;
		if (filter_bytes(*places + more) > budget) {
			left_out(source, "to tell of so many pages costs more than it could save for this VM");
			close_source(&known->sources[--known->nr_sources]);
			continue;
		}
		*places += more;
	}
}

void known_open(struct known *known, const char *dir, const char *name,
		uint64_t budget)
{
	/* Its own comes first, then what is likely to have most, and is memory. */
	static const enum kind order[KINDS] = {
		KIND_KEPT, KIND_RAM, KIND_IMAGE, KIND_PAGES,
	};
	uint64_t places = 0;
	char *cause;
	size_t i;

	memset(known, 0, sizeof(*known));
	refresh(dir, name);
	if (store_open(&known->store, dir, false)) {
		cause = fail_take();
		note("the page store is not used: %s", cause);
		free(cause);
		return;
	}
	known->sources = need(calloc(known->store.nr_sources + 1,
				     sizeof(*known->sources)));
	for (i = 0; i < 2 * KINDS; i++)
		add_kind(known, order[i % KINDS], i < KINDS, name, budget,
			 &places);
	fill_filter(known, places);
}

void known_close(struct known *known)
{
	size_t i;

	for (i = 0; i < known->nr_sources; i++)
		close_source(&known->sources[i]);
	free(known->sources);
	filter_free(&known->filter);
	free(known->room);
	EVP_MD_CTX_free(known->sum);
	EVP_MD_free(known->sha256);
	if (known->store.dir)
		store_close(&known->store);
	memset(known, 0, sizeof(*known));
}

bool known_has_kept(const struct known *known, const char *name)
{
	const struct source *source;
	size_t i;

	for (i = 0; i < known->nr_sources; i++) {
		source = known->sources[i].source;
		if (source->kind == KIND_KEPT &&
		    sharing_find(source, name) == SHARING_PAST)
			return true;
	}
	return false;
}

json_t *known_json(const struct known *known)
{
	json_t *json = json_object();
	size_t i;

	for (i = 0; i < known->nr_sources; i++)
		json_object_set_new(json, known->sources[i].source->name,
				    json_integer((json_int_t)
						 known->sources[i].taken));
	return json;
}
