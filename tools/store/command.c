// SPDX-License-Identifier: GPL-2.0
/* migrate-fast store: the command line. */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/exits.h"
#include "../lib/say.h"
#include "../lib/size.h"
#include "command.h"
#include "kept.h"
#include "policy.h"

enum {
	OPT_STORE = 256, OPT_NAME, OPT_FORMAT, OPT_JSON, OPT_REBUILD, OPT_FOR,
	OPT_FOR_ALL, OPT_FOR_GROUP, OPT_OF, OPT_VM, OPT_CONF, OPT_KEPT_AGE,
	OPT_KEPT_SIZE,
};

#define STORE_OPTION \
	{ "store", OPT_STORE, "DIR", 0, \
	  "The store (default " STORE_DIR ")", 0 }
#define JSON_OPTION \
	{ "json", OPT_JSON, NULL, 0, "Tell it as JSON on standard output", 0 }
#define NAME_OPTION \
	{ "name", OPT_NAME, "NAME", 0, \
	  "What to call it (default: its file name, without what follows the last dot)", 0 }

#define FOR_OPTION \
	{ "for", OPT_FOR, "VM", 0, \
	  "The VM of this name (QEMU's -name) may take pages from it; for more VMs say it again", 0 }
#define FOR_GROUP_OPTION \
	{ "for-group", OPT_FOR_GROUP, "GROUP", 0, \
	  "The VMs of this group of store.conf may; for more groups say it again", 0 }
#define FOR_ALL_OPTION \
	{ "for-all", OPT_FOR_ALL, NULL, 0, \
	  "Every VM may. A guest can then find out, from how fast it moves, whether the source has a page that it guesses", 0 }

#define CONF_OPTION \
	{ "conf", OPT_CONF, "FILE", 0, \
	  "Who may share with whom (default " POLICY_FILE ")", 0 }

static const struct argp_option plain[] = {
	STORE_OPTION, JSON_OPTION, { 0 }
};

static const struct argp_option listing[] = {
	{ "vm", OPT_VM, "VM", 0,
	  "What may the VM of this name take pages from, and why?", 0 },
	CONF_OPTION, STORE_OPTION, JSON_OPTION, { 0 }
};

static const struct argp_option adding[] = {
	FOR_OPTION, FOR_GROUP_OPTION, FOR_ALL_OPTION,
	{ "of", OPT_OF, "VM", 0,
	  "It is the RAM file of the VM of this name: those that it shares with (store.conf) may take pages from it", 0 },
	NAME_OPTION,
	{ "format", OPT_FORMAT, "FORMAT", 0,
	  "raw, qcow2 or ram (default: ram in a file system of mfram, else raw)", 0 },
	CONF_OPTION, STORE_OPTION, JSON_OPTION, { 0 }
};

static const struct argp_option importing[] = {
	FOR_OPTION, FOR_GROUP_OPTION, FOR_ALL_OPTION, NAME_OPTION, CONF_OPTION,
	STORE_OPTION, JSON_OPTION, { 0 }
};

static const struct argp_option checking[] = {
	{ "rebuild", OPT_REBUILD, NULL, 0,
	  "Build the indexes anew that are not whole", 0 },
	STORE_OPTION, JSON_OPTION, { 0 }
};

static const struct argp_option sweeping[] = {
	{ "kept-age", OPT_KEPT_AGE, "HOURS", 0,
	  "Memory of VMs that have gone (send --keep) is kept for so long (default 24)", 0 },
	{ "kept-size", OPT_KEPT_SIZE, "SIZE", 0,
	  "... and so much of it, the youngest: 10G (default: a quarter of the host's memory)", 0 },
	STORE_OPTION, JSON_OPTION, { 0 }
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct store_options *options = state->input;

	switch (key) {
	case OPT_STORE:
		options->dir = arg;
		break;
	case OPT_NAME:
		options->name = arg;
		break;
	case OPT_FORMAT:
		if (format_find(arg) == FORMATS)
			argp_error(state, "--format: \"%s\" is none of raw, qcow2, ram",
				   arg);
		options->format = arg;
		break;
	case OPT_FOR:
	case OPT_FOR_ALL:
		if (arg && !strcmp(arg, "*"))
			argp_error(state, "--for=\"*\": say --for-all");
		if (!options->vms)
			options->vms = json_array();
		json_array_append_new(options->vms,
				      json_string(arg ? arg : "*"));
		break;
	case OPT_FOR_GROUP:
		if (!group_is_name(arg))
			argp_error(state, "--for-group: \"%s\" is no name for a group",
				   arg);
		if (!options->groups)
			options->groups = json_array();
		json_array_append_new(options->groups, json_string(arg));
		break;
	case OPT_OF:
		options->of = arg;
		break;
	case OPT_VM:
		options->vm = arg;
		break;
	case OPT_CONF:
		options->conf = arg;
		break;
	case OPT_JSON:
		options->json = true;
		break;
	case OPT_KEPT_AGE:
		if (number_parse(arg, 0, 1000000, &options->kept_age))
			argp_error(state, "--kept-age: \"%s\" is no number of hours",
				   arg);
		options->kept_age *= 3600;
		break;
	case OPT_KEPT_SIZE:
		if (strcmp(arg, "0") && size_parse(arg, &options->kept_bytes))
			argp_error(state, "--kept-size: \"%s\" is no size; write 10G",
				   arg);
		if (!strcmp(arg, "0"))
			options->kept_bytes = 0;
		break;
	case OPT_REBUILD:
		options->rebuild = true;
		break;
	case ARGP_KEY_ARGS:
		options->args = state->argv + state->next;
		options->nr_args = (unsigned int)(state->argc - state->next);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct command {
	const char *name;
	int (*run)(const struct store_options *options);
	unsigned int least, most;	/* arguments */
	bool wants_vms;
	struct argp argp;
} commands[] = {
	{ "add", store_cmd_add, 1, ~0U, true, {
		.options = adding, .parser = parse, .args_doc = "FILE...",
		.doc = "Lets VMs that come here take pages from disk images, block devices, and RAM files of other VMs.\v"
		"Example:\n"
		"  migrate-fast store add --for-all /srv/images/debian12.raw\n"
		"  migrate-fast store add --for=db1 --for=db2 --format=qcow2 /srv/vm/db.img\n"
		"  migrate-fast store add --for-group=web /srv/images/web.raw\n"
		"  migrate-fast store add --of=web2 /run/migrate-fast/web2\n" } },
	{ "update", store_cmd_update, 0, ~0U, false, {
		.options = plain, .parser = parse, .args_doc = "[NAME...]",
		.doc = "Reads those sources again that have changed, and devices and the memory of VMs, which do not tell; of what is in the index only what differs is written." } },
	{ "remove", store_cmd_remove, 1, ~0U, false, {
		.options = plain, .parser = parse, .args_doc = "NAME...",
		.doc = "Forgets sources. The images stay." } },
	{ "list", store_cmd_list, 0, 0, false, {
		.options = listing, .parser = parse,
		.doc = "Tells what VMs that come here may take pages from." } },
	{ "stat", store_cmd_stat, 0, ~0U, false, {
		.options = plain, .parser = parse, .args_doc = "[NAME...]",
		.doc = "Tells of each source, and of all together, how many pages there are, and how many differ." } },
	{ "check", store_cmd_check, 0, ~0U, false, {
		.options = checking, .parser = parse, .args_doc = "[NAME...]",
		.doc = "Are the indexes whole, and the sources what was indexed? Reads all of both.\v"
		"Exit status: 0 all is well, 1 not." } },
	{ "gc", store_cmd_gc, 0, 0, false, {
		.options = sweeping, .parser = parse,
		.doc = "Removes what is of no use any more: indexes of images that are gone, memory that was kept for too long, and what a crash has left." } },
	{ "export", store_cmd_export, 1, ~0U, false, {
		.options = plain, .parser = parse,
		.args_doc = "FILE [NAME...]",
		.doc = "Writes every page of the sources once to a page file, for another host. FILE may be \"-\".\v"
		"Example:\n"
		"  migrate-fast store export - debian12 | ssh host2 migrate-fast store import --for-all --name=debian12 -\n" } },
	{ "import", store_cmd_import, 1, 1, true, {
		.options = importing, .parser = parse, .args_doc = "FILE",
		.doc = "Takes a page file into the store. FILE may be \"-\"; then it needs --name." } },
};

#define NR_COMMANDS	(sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fputs("Usage: migrate-fast store COMMAND [OPTION...] [ARGUMENT...]\n"
	      "The page store: where VMs that come to this host find pages that need not travel.\n"
	      "\n"
	      "  add       let them take pages from an image, or another VM\n"
	      "  update    read what has changed since\n"
	      "  remove    forget a source\n"
	      "  list      what is there?\n"
	      "  stat      how many pages?\n"
	      "  check     is all whole and as it was indexed?\n"
	      "  gc        remove what is of no use any more\n"
	      "  export    write pages to a file, for another host\n"
	      "  import    take such a file\n"
	      "\n"
	      "migrate-fast store COMMAND --help tells the options. See also migrate-fast(8).\n"
	      "Exit status: 0 done, 1 failed, 2 usage error.\n",
	      out);
}

static int run(const struct command *command, int argc, char **argv)
{
	struct store_options options = {
		.dir = STORE_DIR,
		.kept_age = KEPT_AGE,
		.kept_bytes = kept_most(),
	};
	char name[48];
	int ret;

	snprintf(name, sizeof(name), "migrate-fast store %s", command->name);
	argv[0] = name;
	argp_parse(&command->argp, argc, argv, 0, NULL, &options);
	if (options.nr_args < command->least ||
	    options.nr_args > command->most) {
		fprintf(stderr, "%s: %s; see %s --help\n", name,
			options.nr_args < command->least ?
			"what shall it work on?" : "that is too much", name);
		return EXIT_USAGE;
	}
	if (options.name && options.nr_args > 1) {
		fprintf(stderr, "%s: --name is for one source only\n", name);
		return EXIT_USAGE;
	}
	if (command->wants_vms && !options.vms && !options.groups &&
	    !options.of) {
		fprintf(stderr, "%s: which VMs may take pages from it? --for=VM, --for-group=GROUP, or --for-all; see %s --help\n",
			name, name);
		return EXIT_USAGE;
	}
	if (!options.vms)
		options.vms = json_array();
	say_set(options.json);
	ret = command->run(&options);
	json_decref(options.vms);
	json_decref(options.groups);
	return ret;
}

int store_main(int argc, char **argv)
{
	size_t i;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	for (i = 0; argc > 1 && i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return run(&commands[i], argc - 1, argv + 1);
	if (argc > 1)
		fprintf(stderr, "migrate-fast store: \"%s\" is no command\n",
			argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}

struct source **store_pick(const struct store *store,
			   const struct store_options *options)
{
	size_t n = options->nr_args ? options->nr_args : store->nr_sources, i;
	struct source **picked = need(calloc(n + 1, sizeof(*picked)));

	for (i = 0; i < n; i++) {
		picked[i] = options->nr_args ?
			    store_find(store, options->args[i]) :
			    &store->sources[i];
		if (picked[i])
			continue;
		fail("there is no source \"%s\" in %s: see migrate-fast store list",
		     options->args[i], store->dir);
		free(picked);
		return NULL;
	}
	return picked;
}

int store_exit(int ret)
{
	if (!ret && !fail_text())
		return 0;
	if (fail_text())
		note("failed: %s", fail_text());
	return EXIT_FAILED;
}
