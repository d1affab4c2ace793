// SPDX-License-Identifier: GPL-2.0
/* migrate-fast store add, update, import: what changes indexes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/migrate_fast.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "build.h"
#include "command.h"
#include "meter.h"
#include "pagefile.h"
#include "sharing.h"

#define NAME_MAX_LENGTH	64
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"

static void tell(const struct store_options *options,
		 const struct source *source, const struct built *built,
		 double seconds)
{
	double bytes = (double)built->read * BLOCK_BYTES;

	if (options->json) {
		say_event(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:f}",
				    "event", "indexed", "source", source->name,
				    "blocks", (json_int_t)built->read,
				    "zero", (json_int_t)built->zero,
				    "changed", (json_int_t)built->changed,
				    "places", (json_int_t)source->places,
				    "seconds", seconds));
		return;
	}
	printf("%s: %s read in %.1f s (%s/s), %llu pages, %llu of them zero, %llu changed\n",
	       source->name, size_text(bytes), seconds,
	       size_text(seconds > 0 ? bytes / seconds : 0),
	       (unsigned long long)built->read,
	       (unsigned long long)built->zero,
	       (unsigned long long)built->changed);
}

/* Reads the source, and saves what is known of it then. */
static int index_source(struct store *store, struct source *source,
			const struct store_options *options)
{
	struct built built;
	struct meter meter;
	double seconds;
	int ret;

	meter_start(&meter, "indexing", source->name, options->json);
	ret = build(store, source, false, meter_step, &meter, &built);
	seconds = meter_end(&meter);
	if (store_save(store))
		return -1;
	if (ret)
		return -1;
	if (source_state(source) == SOURCE_CHANGED)
		note("%s was written while it was read: what differs by now will not be found (store update)",
		     source->path);
	tell(options, source, &built, seconds);
	return 0;
}

/* A name from that of the file, if the operator has given none. */
static char *make_name(const struct store_options *options, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name = need(strdup(options->name ? options->name :
				 slash ? slash + 1 : path));
	char *dot = strrchr(name, '.');

	if (!options->name && dot && dot != name)
		*dot = 0;
	return name;
}

static int check_name(const struct store *store, const char *name)
{
	const struct source *other = store_find(store, name);

	if (!*name || strlen(name) > NAME_MAX_LENGTH || *name == '-' ||
	    name[strspn(name, NAME_LETTERS)])
		return fail("\"%.80s\" is no name for a source: letters, digits and ._+- only, %d at most (--name)",
			    name, NAME_MAX_LENGTH);
	if (other)
		return fail("\"%s\" is in the store already, as %s: choose another name (--name), or see store update",
			    name, other->path);
	return 0;
}

/*
 * A guest can write what it likes to the begin of a raw disk, that of a qcow2
 * image with one of the host's files behind it too. So nobody guesses.
 */
static int choose_format(const struct store_options *options, const char *path,
			 enum format *format)
{
	struct statfs fs;
	char magic[4];
	ssize_t n = 0;
	int fd;

	if (options->format) {
		*format = format_find(options->format);
		return 0;
	}
	*format = FORMAT_RAW;
	if (!statfs(path, &fs) && fs.f_type == MIGRATE_FAST_FSMAGIC)
		*format = FORMAT_RAM;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		n = pread(fd, magic, sizeof(magic), 0);
		close(fd);
	}
	if (*format == FORMAT_RAW && n == sizeof(magic) &&
	    !memcmp(magic, "QFI\xfb", sizeof(magic)))
		return fail("%s begins like a qcow2 image: say whether it is one (--format=qcow2) or a raw disk on which somebody has written that (--format=raw)",
			    path);
	return 0;
}

/* Said of what store.conf does not say yet: it may come later. */
static void check_groups(const struct store_options *options)
{
	const char *name;
	json_t *entry;
	size_t i;

	if (!options->groups && !options->of)
		return;
	sharing_load(options->conf, options->of);
	json_array_foreach(options->groups, i, entry) {
		name = json_string_value(entry);
		if (!policy_group(sharing_policy(), name))
			note("there is no group \"%s\" in %s yet", name,
			     options->conf ? options->conf : POLICY_FILE);
	}
	if (options->of && !policy_find(sharing_policy(), options->of).share)
		note("VM \"%s\" shares with no other yet (%s)", options->of,
		     options->conf ? options->conf : POLICY_FILE);
}

static int add(struct store *store, const char *file,
	       const struct store_options *options)
{
	struct source source = { 0 }, *added;
	char *path = realpath(file, NULL);

	if (!path)
		return fail("cannot open %s: %s", file, strerror(errno));
	source.path = path;
	source.vms = json_incref(options->vms);
	source.groups = json_incref(options->groups);
	source.of = options->of ? need(strdup(options->of)) : NULL;
	source.name = make_name(options, path);
	if (check_name(store, source.name) ||
	    choose_format(options, path, &source.format)) {
		source_free(&source);
		return -1;
	}
	if (source.of && source.format != FORMAT_RAM) {
		source_free(&source);
		return fail("%s is no RAM file: --for, --for-group or --for-all, not --of",
			    file);
	}
	source.kind = source.format == FORMAT_RAM ? KIND_RAM : KIND_IMAGE;
	added = store_add(store, &source);
	if (!index_source(store, added, options))
		return 0;
	store_remove(store, added);
	store_save(store);
	return -1;
}

int store_cmd_add(const struct store_options *options)
{
	struct store store;
	unsigned int i;
	int ret = 0;

	check_groups(options);
	if (store_open(&store, options->dir, true))
		return store_exit(-1);
	for (i = 0; !ret && i < options->nr_args; i++)
		ret = add(&store, options->args[i], options);
	store_close(&store);
	return store_exit(ret);
}

static int update(struct store *store, struct source *source,
		  const struct store_options *options)
{
	switch (source_state(source)) {
	case SOURCE_GONE:
		note("%s is gone: %s is of no use (store gc, store remove)",
		     source->path, source->name);
		return 0;
	case SOURCE_SAME:
		if (!store_is_whole(store, source))
			break;
		if (!options->json)
			printf("%s: not changed\n", source->name);
		return 0;
	default:
		break;
	}
	return index_source(store, source, options);
}

int store_cmd_update(const struct store_options *options)
{
	struct source **picked, **at;
	struct store store;
	int ret = 0;

	if (store_open(&store, options->dir, true))
		return store_exit(-1);
	picked = store_pick(&store, options);
	for (at = picked; !ret && at && *at; at++)
		ret = update(&store, *at, options);
	free(picked);
	store_close(&store);
	return store_exit(picked ? ret : -1);
}

static int import(struct store *store, int fd, const char *file,
		  const struct store_options *options)
{
	struct source source = { 0 }, *added;
	struct meter meter;
	uint64_t pages;
	int ret;

	source.name = make_name(options, file);
	source.path = need(strdup(file));
	if (check_name(store, source.name)) {
		source_free(&source);
		return -1;
	}
	source.kind = KIND_PAGES;
	source.vms = json_incref(options->vms);
	source.groups = json_incref(options->groups);
	added = store_add(store, &source);
	free(added->path);
	added->path = store_pages(store, added);
	meter_start(&meter, "copying", added->name, options->json);
	ret = pagefile_import(fd, file, added->path, meter_step, &meter,
			      &pages);
	meter_end(&meter);
	if (!ret)
		ret = index_source(store, added, options);
	if (ret) {
		store_remove(store, added);
		store_save(store);
	}
	return ret;
}

int store_cmd_import(const struct store_options *options)
{
	const char *file = options->args[0];
	bool pipe = !strcmp(file, "-");
	struct store store;
	int fd, ret;

	if (pipe && !options->name) {
		fail("pages from standard input need a name (--name)");
		return store_exit(-1);
	}
	fd = pipe ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		fail("cannot open %s: %s", file, strerror(errno));
		return store_exit(-1);
	}
	check_groups(options);
	if (store_open(&store, options->dir, true))
		return store_exit(-1);
	ret = import(&store, fd, pipe ? "standard input" : file, options);
	store_close(&store);
	return store_exit(ret);
}
