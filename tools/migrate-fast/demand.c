// SPDX-License-Identifier: GPL-2.0
/* RAM files with absent pages; see demand.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/bitmap.h"
#include "../lib/say.h"
#include "bits.h"
#include "demand.h"
#include "priority.h"

/* Faults taken from the module at a time. */
#define BATCH	64

void demand_init(struct demand *demand, struct vm *vm,
		 int (*want)(void *arg, unsigned int ram, uint64_t page),
		 void *arg)
{
	unsigned int i;

	demand->vm = vm;
	demand->want = want;
	demand->arg = arg;
	demand->lacks = need(calloc(vm->rams, sizeof(*demand->lacks)));
	for (i = 0; i < vm->rams; i++)
		demand->lacks[i] = need(bitmap_new(vm->ram[i].mf.pages));
}

void demand_free(struct demand *demand)
{
	unsigned int i;

	if (!demand->vm)
		return;
	if (demand->active)
		loop_del(&demand->watch);
	for (i = 0; i < demand->vm->rams; i++)
		free(demand->lacks[i]);
	free(demand->lacks);
	free(demand->waits);
	latency_free(&demand->latency);
}

int demand_stale(struct demand *demand, struct conn *conn,
		 const struct wire_frame *frame, const uint8_t *payload)
{
	if (frame->ram < demand->vm->rams)
		return bits_take(conn, frame, payload,
				 demand->lacks[frame->ram],
				 demand->vm->ram[frame->ram].mf.pages);
	conn->broken = true;
	return fail("%s sent a STALE frame for memory that does not exist",
		    conn->peer);
}

static unsigned int file_of(const struct vm *vm, uint32_t number)
{
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		if (vm->ram[i].mf.number == number)
			break;
	return i;
}

static int told(struct demand *demand, const struct migrate_fast_fault *fault)
{
	unsigned int ram = file_of(demand->vm, fault->ram);
	struct demand_wait *wait;

	if (ram == demand->vm->rams)
		return fail("the module tells of a fault in an unknown file");
	/* Filled while the event was on its way to us. */
	if (!bitmap_test(demand->lacks[ram], fault->page)) {
		latency_add(&demand->latency, now_ns() - fault->ns);
		return 0;
	}
	if (demand->nr_waits == demand->size) {
		demand->size = demand->size ? demand->size * 2 : 64;
		demand->waits = need(realloc(demand->waits, demand->size *
					     sizeof(*demand->waits)));
	}
	wait = &demand->waits[demand->nr_waits++];
	*wait = (struct demand_wait){
		.ram = ram,
		.page = fault->page,
		.ns = fault->ns,
	};
	return demand->want(demand->arg, wait->ram, wait->page);
}

static int on_faults(struct watch *watch, short revents)
{
	struct migrate_fast_fault faults[BATCH];
	struct demand *demand = watch->arg;
	int n, i, ret = 0;

	(void)revents;
	n = mf_faults(demand->vm->session, faults, BATCH);
	/* No file is served any more: nothing is absent. */
	if (n == -ENODATA)
		watch->events = 0;
	if (n == -ENODATA || n == -EAGAIN)
		return 0;
	if (n < 0)
		return fail("faults of the VM cannot be read: %s",
			    strerror(-n));
	/* All of them are ours to answer, even if asking for one fails. */
	for (i = 0; i < n; i++)
		ret |= told(demand, &faults[i]);
	return ret;
}

static void listen_to_faults(struct demand *demand)
{
	int session = demand->vm->session;

	demand->nice = priority_first();
	fcntl(session, F_SETFL, fcntl(session, F_GETFL) | O_NONBLOCK);
	demand->watch = (struct watch){
		.fd = session,
		.events = POLLIN,
		.ready = on_faults,
		.arg = demand,
	};
	loop_add(&demand->watch);
	demand->active = true;
}

int demand_begin(struct demand *demand, uint64_t total)
{
	struct vm *vm = demand->vm;
	uint64_t named = 0;
	unsigned int i;
	int err;

	for (i = 0; i < vm->rams; i++)
		named += bitmap_weight(demand->lacks[i],
				       bitmap_words(vm->ram[i].mf.pages));
	if (named != total)
		return fail("the source says that %llu pages are stale, but has named %llu",
			    (unsigned long long)total,
			    (unsigned long long)named);
	/* Before the first one: what fails half way has to be undone too. */
	listen_to_faults(demand);
	for (i = 0; i < vm->rams; i++) {
		err = mf_demand(vm->session, &vm->ram[i].mf, 0, 0,
				demand->lacks[i], NULL);
		if (err == -EAGAIN)
			return fail("somebody holds pages of %s by reference (a pipe, a device), so they cannot be made absent; send again",
				    vm->ram[i].path);
		if (err)
			return fail("the module cannot make pages of %s absent: %s",
				    vm->ram[i].path, strerror(-err));
	}
	return 0;
}

int demand_again(struct demand *demand)
{
	struct vm *vm = demand->vm;
	uint64_t lacking;
	unsigned int i;
	int err;

	if (demand_lacking(demand, &lacking))
		return -1;
	listen_to_faults(demand);
	for (i = 0; i < vm->rams; i++) {
		err = mf_demand(vm->session, &vm->ram[i].mf, 0, 0, NULL, NULL);
		if (err == -EBUSY)
			return fail("another migrate-fast recv serves %s: end it first",
				    vm->ram[i].path);
		if (err == -ECANCELED)
			return fail("the VM was given up (migrate-fast abort)");
		if (err)
			return fail("the module does not let us serve %s: %s",
				    vm->ram[i].path, strerror(-err));
	}
	return 0;
}

/* Who waited for these goes on. */
static void answered(struct demand *demand, unsigned int ram, uint64_t page,
		     uint64_t count)
{
	uint64_t now = now_ns();
	size_t i = 0;

	while (i < demand->nr_waits) {
		struct demand_wait *wait = &demand->waits[i];

		if (wait->ram != ram || wait->page < page ||
		    wait->page - page >= count) {
			i++;
			continue;
		}
		latency_add(&demand->latency, now - wait->ns);
		*wait = demand->waits[--demand->nr_waits];
	}
}

/* The kernel has no server for a file that lacks nothing. */
static bool is_whole(struct demand *demand, unsigned int ram)
{
	struct migrate_fast_absent absent;

	return !mf_absent(demand->vm->session, &demand->vm->ram[ram].mf, 0, 0,
			  NULL, &absent) && !absent.absent;
}

int demand_fill(struct demand *demand, unsigned int ram, uint64_t page,
		uint64_t count, const void *from)
{
	struct ram *file = &demand->vm->ram[ram];
	uint64_t filled = 0, i;
	int err;

	err = mf_fill(demand->vm->session, &file->mf, page, count, from,
		      &filled, NULL);
	/* The VM has discarded the last ones, or they have come twice. */
	if (err == -EPERM && is_whole(demand, ram))
		err = 0;
	if (err) {
		demand->broken = true;
		return fail("pages of %s cannot be filled: %s%s", file->path,
			    strerror(-err), err == -ENOSPC || err == -ENOMEM ?
			    ". Make room (mount -o remount,size=), then: migrate-fast send --resume" :
			    "");
	}
	demand->filled += filled;
	for (i = page; i < page + count; i++)
		bitmap_clear(demand->lacks[ram], i);
	answered(demand, ram, page, count);
	return 0;
}

int demand_lacking(struct demand *demand, uint64_t *lacking)
{
	struct migrate_fast_absent absent;
	struct vm *vm = demand->vm;
	unsigned int i;
	int err;

	*lacking = 0;
	for (i = 0; i < vm->rams; i++) {
		err = mf_absent(vm->session, &vm->ram[i].mf, 0, 0,
				demand->lacks[i], &absent);
		if (err)
			return fail("the module does not say what is absent in %s: %s",
				    vm->ram[i].path, strerror(-err));
		*lacking += absent.absent;
	}
	if (!*lacking && demand->active)
		priority_back(demand->nice);
	return 0;
}

void demand_forget(struct demand *demand)
{
	unsigned int i;

	for (i = 0; i < demand->vm->rams; i++)
		memset(demand->lacks[i], 0, 8 *
		       bitmap_words(demand->vm->ram[i].mf.pages));
	demand->nr_waits = 0;
}

int demand_repeat(struct demand *demand)
{
	size_t i;

	for (i = 0; i < demand->nr_waits; i++)
		if (demand->want(demand->arg, demand->waits[i].ram,
				 demand->waits[i].page))
			return -1;
	return 0;
}

void demand_undo(struct demand *demand)
{
	struct vm *vm = demand->vm;
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		mf_fill(vm->session, &vm->ram[i].mf, 0, vm->ram[i].mf.pages,
			NULL, NULL, NULL);
}

void demand_abort(struct demand *demand)
{
	struct vm *vm = demand->vm;
	unsigned int i;

	/* There is nothing more to be told. */
	loop_del(&demand->watch);
	for (i = 0; i < vm->rams; i++)
		mf_abort(vm->session, &vm->ram[i].mf);
}

json_t *demand_json(struct demand *demand)
{
	struct migrate_fast_absent absent;
	uint64_t faults = 0, went_on = 0;
	struct vm *vm = demand->vm;
	unsigned int i;

	for (i = 0; i < vm->rams; i++) {
		if (mf_absent(vm->session, &vm->ram[i].mf, 0, 0, NULL,
			      &absent))
			continue;
		faults += absent.faults;
		went_on += absent.went_on;
	}
	return json_pack("{s:I, s:I, s:I, s:o}",
			 "faults", (json_int_t)faults,
			 "went_on", (json_int_t)went_on,
			 "filled", (json_int_t)demand->filled,
			 "fault_us", latency_json(&demand->latency));
}
