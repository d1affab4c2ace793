// SPDX-License-Identifier: GPL-2.0
/* send --keep; see keeping.h. */
#include <stdlib.h>
#include <unistd.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../store/kept.h"
#include "keeping.h"
#include "vm.h"

/* Somebody may be changing the store: not for long, mostly. */
#define TRIES	50
#define WAIT_NS	(200 * NSEC_PER_MSEC)

int keeping_plan(const struct vm *vm)
{
	unsigned int i;

	if (!vm->name)
		return fail("--keep needs a VM with a name, so that it is known whose pages they are: start QEMU with -name");
	for (i = 0; i < vm->rams; i++)
		if (access(vm->ram[i].path, F_OK))
			return fail("--keep needs RAM files that have a name; %s does not exist (mem-path is a folder, perhaps: name a file in it)",
				    vm->ram[i].path);
	return 0;
}

/* A failure is told, and is none of the migration's. */
static void tell(const char *what)
{
	char *cause = fail_take();

	note("%s: %s", what, cause);
	free(cause);
}

static int open_store(struct store *store, const char *dir)
{
	unsigned int i;

	for (i = 0; store_open(store, dir, true); i++) {
		if (i == TRIES)
			return -1;
		free(fail_take());
		if (loop_sleep(WAIT_NS))
			return -1;
	}
	return 0;
}

/* Nobody has to wait for it who could not. */
static int step(void *arg, uint64_t done, uint64_t all)
{
	(void)arg;
	(void)done;
	(void)all;
	return 0;
}

void keeping_leave(const struct vm *vm, const char *dir)
{
	struct store store;
	unsigned int i;

	if (keeping_plan(vm) || open_store(&store, dir)) {
		tell("the memory of the VM is not kept");
		return;
	}
	for (i = 0; i < vm->rams; i++)
		if (kept_leave(&store, vm->name, vm->ram[i].id,
			       vm->ram[i].path, step, NULL))
			tell("the memory of the VM is not kept");
	kept_trim(&store, KEPT_AGE, kept_most());
	if (store_save(&store))
		tell("the memory of the VM is not kept");
	store_close(&store);
}

void keeping_forget(const struct vm *vm, const char *dir)
{
	struct store store;

	if (!vm->name)
		return;
	if (open_store(&store, dir)) {
		tell("what the VM had left here takes memory still (migrate-fast store gc)");
		return;
	}
	kept_forget(&store, vm->name);
	if (store_save(&store))
		tell("what the VM had left here takes memory still (migrate-fast store gc)");
	store_close(&store);
}
