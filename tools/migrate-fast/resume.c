// SPDX-License-Identifier: GPL-2.0
/*
 * migrate-fast send --resume: a VM runs at the destination, and the send that
 * brought its memory has ended before all of it was there. The RAM files of
 * the QEMU here, which is paused, and what the destination tells it lacks are
 * all that is needed.
 */
#include <errno.h>
#include <string.h>

#include "../lib/say.h"
#include "report.h"
#include "sender.h"
#include "survey.h"

#define FEATURES (MIGRATE_FAST_FEATURE_HASH | MIGRATE_FAST_FEATURE_SEND)

/* A VM that has gone on here is another one than that over there. */
static int need_frozen(struct sender *sender)
{
	struct vm *vm = &sender->vm;

	if (vm_is_frozen(vm))
		return 0;
	sender->stats.result = vm->running ? RESULT_FAILED : RESULT_SPLIT;
	return fail("the VM at %s is \"%s\": its memory is not what the destination lacks. Only a VM that a migration has left paused can bring its memory",
		    vm->qmp.path, vm->status);
}

int resume_supply(struct sender *sender)
{
	const struct options *options = sender->options;
	struct vm *vm = &sender->vm;
	unsigned int i;

	/* Whatever fails: nothing that we have done has to be undone. */
	sender->committed = true;
	sender->split = true;
	sender->was_running = true;
	sender->stats.was_running = true;
	sender->stats.result = RESULT_SPLIT;
	if (vm_open(vm, options->qmp, false) || need_frozen(sender))
		return -1;
	vm->handed_over = true;
	if (survey_need_ready(vm) || vm_open_session(vm, FEATURES))
		return -1;
	for (i = 0; i < vm->rams; i++)
		sender->stats.total_pages += vm->ram[i].mf.pages;
	pages_init(&sender->pager, vm, &sender->conn, &sender->progress,
		   sender->options->compress);
	if (proof_begin(&sender->pager.gather.proof, sender->session))
		return -1;
	progress_start(&sender->progress, &sender->stats,
		       &sender->conn.tx_bytes, options->json);
	pull_init(&sender->supply.pull, &sender->pager,
		  &sender->supply.prepage, &sender->stats.supplied);
	sender->stats.supplied.used = true;
	if (supply(sender))
		return commit_left_behind(sender);
	commit_end(sender);
	return 0;
}
