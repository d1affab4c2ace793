// SPDX-License-Identifier: GPL-2.0
/* A source of pages; see source.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../lib/say.h"
#include "source.h"

static const char *const kinds[KINDS] = {
	[KIND_IMAGE] = "image",
	[KIND_RAM] = "ram",
	[KIND_KEPT] = "kept",
	[KIND_PAGES] = "pages",
};

const char *kind_name(enum kind kind)
{
	return kinds[kind];
}

static int64_t ns(struct timespec ts)
{
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.bytes = (uint64_t)st->st_size,
		.mtime = ns(st->st_mtim),
		.ctime = ns(st->st_ctim),
	};
}

int source_stamp(const char *path, struct stamp *stamp)
{
	struct stat st;

	if (stat(path, &st))
		return fail("cannot open %s: %s", path, strerror(errno));
	*stamp = stamp_of(&st);
	return 0;
}

enum source_state source_state(const struct source *source)
{
	const struct stamp *then = &source->stamp;
	struct stamp now;
	struct stat st;

	if (stat(source->path, &st))
		return SOURCE_GONE;
	now = stamp_of(&st);
	/* Another VM's, perhaps, and nobody has said that it may be shared. */
	if (source->of && then->ino &&
	    (now.dev != then->dev || now.ino != then->ino))
		return SOURCE_GONE;
	if (!source->indexed)
		return SOURCE_NEW;
	/* Who writes to a device may even be another host. */
	if (source->kind == KIND_RAM || S_ISBLK(st.st_mode))
		return SOURCE_UNTOLD;
	return now.dev == then->dev && now.ino == then->ino &&
	       now.bytes == then->bytes && now.mtime == then->mtime &&
	       now.ctime == then->ctime ? SOURCE_SAME : SOURCE_CHANGED;
}

json_t *source_json(const struct source *source)
{
	const struct stamp *stamp = &source->stamp;

	return json_pack("{s:s, s:s, s:s, s:s, s:O, s:O*, s:s*, s:I, s:I, s:I, s:I, s:[I,I,I,I,I]}",
			 "name", source->name,
			 "path", source->path,
			 "kind", kinds[source->kind],
			 "format", format_name(source->format),
			 "vms", source->vms,
			 "groups", source->groups,
			 "of", source->of,
			 "id", (json_int_t)source->id,
			 "blocks", (json_int_t)source->blocks,
			 "places", (json_int_t)source->places,
			 "indexed", (json_int_t)source->indexed,
			 "stamp", (json_int_t)stamp->dev,
			 (json_int_t)stamp->ino, (json_int_t)stamp->bytes,
			 (json_int_t)stamp->mtime, (json_int_t)stamp->ctime);
}

int source_parse(const json_t *json, struct source *source)
{
	json_int_t id, blocks, places, indexed, dev, ino, bytes, mtime, ctime;
	const char *name, *path, *kind, *format, *of = NULL;
	json_t *vms, *groups = NULL;
	unsigned int i;

	if (json_unpack((json_t *)json,
			"{s:s, s:s, s:s, s:s, s:o, s?o, s?s, s:I, s:I, s:I, s:I, s:[I,I,I,I,I]}",
			"name", &name, "path", &path, "kind", &kind,
			"format", &format, "vms", &vms, "groups", &groups,
			"of", &of, "id", &id, "blocks", &blocks, "places", &places,
			"indexed", &indexed, "stamp", &dev, &ino, &bytes, &mtime, &ctime))
		return -1;
	for (i = 0; i < KINDS && strcmp(kind, kinds[i]); i++)
		;
	*source = (struct source){
		.kind = i,
		.format = format_find(format),
		.id = (uint64_t)id,
		.blocks = (uint64_t)blocks,
		.places = (uint64_t)places,
		.indexed = indexed,
		.stamp = { (uint64_t)dev, (uint64_t)ino, (uint64_t)bytes,
			   mtime, ctime },
	};
	if (i == KINDS || source->format == FORMATS || !json_is_array(vms) ||
	    (groups && !json_is_array(groups)))
		return -1;
	source->vms = json_incref(vms);
	source->groups = json_incref(groups);
	source->of = of ? need(strdup(of)) : NULL;
	source->name = need(strdup(name));
	source->path = need(strdup(path));
	return 0;
}

void source_free(struct source *source)
{
	free(source->name);
	free(source->path);
	free(source->of);
	json_decref(source->vms);
	json_decref(source->groups);
	*source = (struct source){ 0 };
}
