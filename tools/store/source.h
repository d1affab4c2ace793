/* SPDX-License-Identifier: GPL-2.0 */
/* A source of pages, as the store knows it: an image, a RAM file, a page file. */
#ifndef SOURCE_H
#define SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blocks.h"

enum kind {
	KIND_IMAGE,		/* named by the operator */
	KIND_RAM,		/* of another VM of this host */
	KIND_KEPT,		/* what a VM has left here */
	KIND_PAGES,		/* came from another host (store import) */
	KINDS
};

/* By which a file is known again, and known not to have been written. */
struct stamp {
	uint64_t dev, ino, bytes;
	int64_t mtime, ctime;	/* ns */
};

struct source {
	char *name;
	char *path;
	enum kind kind;
	enum format format;
	uint64_t id;		/* names its index; never used again */
	struct stamp stamp;	/* of before it was last read */
	uint64_t blocks;
	uint64_t places;	/* in its index */
	int64_t indexed;	/* when; s since 1970; 0: never */
	json_t *vms;		/* VMs it was named for; "*": all */
	json_t *groups;		/* groups it was named for, or NULL */
	char *of;		/* memory of this VM; NULL: nobody has said */
};

enum source_state {
	SOURCE_SAME,		/* as it was indexed, as far as the file tells */
	SOURCE_CHANGED,
	SOURCE_UNTOLD,		/* a device or memory: written without a trace */
	SOURCE_GONE,		/* or another file has its name, and it matters */
	SOURCE_NEW,		/* was never indexed */
};

const char *kind_name(enum kind kind);

/* Looks at the file. */
enum source_state source_state(const struct source *source);
/* 0, or -1 after fail(). */
int source_stamp(const char *path, struct stamp *stamp);

json_t *source_json(const struct source *source);
/* -1 without fail() if that is no source. */
int source_parse(const json_t *json, struct source *source);
void source_free(struct source *source);

#endif /* SOURCE_H */
