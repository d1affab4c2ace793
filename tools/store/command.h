/* SPDX-License-Identifier: GPL-2.0 */
/* What "migrate-fast store" was asked for. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdbool.h>

#include "store.h"

struct store_options {
	const char *dir;
	const char *name;
	const char *format;
	json_t *vms;		/* which may take pages, or NULL */
	json_t *groups;		/* likewise */
	const char *of;		/* add: whose memory it is */
	const char *conf;	/* NULL: the usual place */
	const char *vm;		/* list: what may this one take? */
	bool json;
	uint64_t kept_age;	/* gc: s */
	uint64_t kept_bytes;	/* gc */
	bool rebuild;		/* check: mend what is broken */
	char **args;		/* what the command works on */
	unsigned int nr_args;
};

/* Each returns an exit status. */
int store_cmd_add(const struct store_options *options);
int store_cmd_update(const struct store_options *options);
int store_cmd_remove(const struct store_options *options);
int store_cmd_list(const struct store_options *options);
int store_cmd_stat(const struct store_options *options);
int store_cmd_check(const struct store_options *options);
int store_cmd_gc(const struct store_options *options);
int store_cmd_export(const struct store_options *options);
int store_cmd_import(const struct store_options *options);

/* main(): migrate-fast store COMMAND ... */
int store_main(int argc, char **argv);

/*
 * The sources named on the command line, or all if none is; a NULL is last. To
 * be freed. NULL after fail() if there is none of that name.
 */
struct source **store_pick(const struct store *store,
			   const struct store_options *options);
/* Says what has failed, if anything has. The exit status. */
int store_exit(int ret);

#endif /* COMMAND_H */
