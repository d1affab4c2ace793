// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mf_actors.h"
#include "mf_test.h"

/* Emulated hosts are slow, and an actor may wait for a disk. */
#define PATIENCE_MS 30000

static void *work(void *arg)
{
	struct mf_actor *actor = arg;
	struct mf_actors *actors = actor->actors;

	/* On a small machine those who judge would hardly get a turn. */
	setpriority(PRIO_PROCESS, syscall(SYS_gettid), 19);
	while (!__atomic_load_n(actors->stop, __ATOMIC_ACQUIRE)) {
		if (actors->act(actors->arg, actor->number, &actor->random) < 0)
			break;
		usleep(mf_random(&actor->random) % actors->pause_us);
	}
	return NULL;
}

int mf_actors_begin(struct mf_actors *actors, __u64 *random)
{
	struct mf_actor *actor;
	unsigned int i;
	int rc;

	if (actors->count > MF_MAX_ACTORS)
		return -E2BIG;
	for (i = 0; i < actors->count; i++) {
		actor = actors->all + i;
		*actor = (struct mf_actor){
			.actors = actors, .number = i,
			.random = mf_random(random),
		};
		if (!actors->is_process(i))
			continue;
		fflush(stdout);
		actor->pid = fork();
		if (!actor->pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			work(actor);
			_exit(0);
		}
		if (actor->pid < 0)
			return -errno;
	}
	for (i = 0; i < actors->count; i++) {
		actor = actors->all + i;
		if (actors->is_process(i))
			continue;
		rc = pthread_create(&actor->thread, NULL, work, actor);
		if (rc)
			return -rc;
	}
	return 0;
}

int mf_actors_end(struct mf_actors *actors)
{
	unsigned long long limit = mf_ms() + PATIENCE_MS;
	unsigned int i;
	int rc = 0;

	__atomic_store_n(actors->stop, 1, __ATOMIC_RELEASE);
	for (i = 0; i < actors->count; i++) {
		struct mf_actor *actor = actors->all + i;

		if (actors->is_process(i))
			rc = mf_wait_until(actor->pid, limit) ?: rc;
		else
			pthread_join(actor->thread, NULL);
	}
	return rc;
}
