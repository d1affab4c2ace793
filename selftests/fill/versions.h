/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress of versions: what its server and its readers share.
 */
#ifndef FILL_VERSIONS_H
#define FILL_VERSIONS_H

#include "mf_actors.h"
#include "mf_fill.h"
#include "mf_guest.h"

/* Zones of the file: read only; written too; and punched too. */
#define WRITTEN	(2 * MF_HUGE)
#define PUNCHED	(3 * MF_HUGE)
#define PAGES	(4 * MF_HUGE)
/*
 * Absent all the time, so that the file always has a server, unless pages are
 * absent in turns. Nobody reads it.
 */
#define NEVER	(PAGES - 1)

/* Words of a page that are stamped; those behind are for writers. */
#define STAMPED	448
/* Versions that compete in one round: round = version / FILLS. */
#define FILLS	8

/**
 * struct stage - in memory that all processes share
 * @stop: all shall end
 * @turn: per page: odd while it is being made absent and filled
 * @floor: per page: no reader that begins now may see an older version
 * @exact: per page: while @turn is even, the version that it has
 * @rounds: per actor, what it has done
 * @errors: found so far
 * @error: the first of them
 */
struct stage {
	int stop;
	__u32 turn[PAGES];
	__u32 floor[PAGES];
	__u32 exact[PAGES];
	__u64 rounds[MF_MAX_ACTORS];
	__u64 errors;
	char error[200];
};

/**
 * struct actor - one that looks at pages, or disturbs those that do
 * @name: of its kind
 * @act: once. Negative: it cannot work here
 * @process: runs in a process of its own, else in a thread of the VM's
 */
struct actor {
	const char *name;
	int (*act)(struct mf_vm *vm, struct stage *stage, __u64 *random);
	bool process;
};

extern const struct actor actors[];
extern const unsigned int actors_count;

extern struct mf_guest versions_guest;
extern bool versions_has_guest;
extern pid_t versions_vm_pid;

__attribute__((format(printf, 2, 3)))
void versions_error(struct stage *stage, const char *format, ...);

static inline __u32 get(const __u32 *number)
{
	return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

#endif
