/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stress: threads and processes that each do something again and again, until
 * they are told to stop.
 */
#ifndef MF_ACTORS_H
#define MF_ACTORS_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>
#include <linux/types.h>

#define MF_MAX_ACTORS 24

struct mf_actors;

/**
 * struct mf_actor - one of them
 * @actors: all of them
 * @number: of this one
 * @random: its own numbers
 * @pid: of its process
 * @thread: or thread
 */
struct mf_actor {
	struct mf_actors *actors;
	unsigned int number;
	__u64 random;
	pid_t pid;
	pthread_t thread;
};

/**
 * struct mf_actors - all of them
 * @count: how many
 * @pause_us: each rests up to so long after a turn
 * @stop: they shall end; in memory that all processes share
 * @arg: for @act
 * @is_process: it acts in a process of its own, else in a thread of this one
 * @act: a turn. Negative: it was the last one
 * @all: for mf_actors_begin()
 */
struct mf_actors {
	unsigned int count;
	unsigned int pause_us;
	int *stop;
	void *arg;
	bool (*is_process)(unsigned int number);
	int (*act)(void *arg, unsigned int number, __u64 *random);
	struct mf_actor all[MF_MAX_ACTORS];
};

/* Processes first: they have no threads. 0 or -errno. */
int mf_actors_begin(struct mf_actors *actors, __u64 *random);
/* 0 when all have ended as they should. */
int mf_actors_end(struct mf_actors *actors);

#endif
