// SPDX-License-Identifier: GPL-2.0
/* Can this VM be moved? See survey.h. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "../lib/say.h"
#include "problems.h"
#include "ram.h"
#include "survey.h"
#include "vm.h"

static void survey_ram(struct vm *vm, struct ram *ram,
		       struct problems *problems)
{
	bool file = ram->type && !strcmp(ram->type, "memory-backend-file");
	/* "pc.ram" and the like are QEMU's own names. */
	const char *id = strchr(ram->id, '.') ? "ram0" : ram->id;
	struct statfs fs;
	struct stat st;

	if (!file || !ram->path) {
		problem(problems, "RAM backend \"%s\" is a %s, which would not move: start QEMU with -object memory-backend-file,id=%s,size=...,mem-path=/run/migrate-fast/NAME,share=on (and -machine memory-backend=%s if it is the main memory)",
			ram->id, ram->type ? ram->type : "backend of unknown type",
			id, id);
		return;
	}
	if (!ram->share)
		problem(problems, "RAM backend \"%s\" is not shared: add share=on to it",
			ram->id);
	if (ram->bytes % MF_PAGE_SIZE)
		problem(problems, "RAM backend \"%s\" is no multiple of %d bytes long",
			ram->id, MF_PAGE_SIZE);
	ram->fd = open(ram->path, O_RDWR | O_CLOEXEC);
	if (ram->fd < 0 && errno == EISDIR) {
		problem(problems, "RAM backend \"%s\": mem-path=%s is a directory, so that its file has no name: write mem-path=%s/NAME",
			ram->id, ram->path, ram->path);
		return;
	}
	if (ram->fd < 0) {
		problem(problems, "RAM backend \"%s\": cannot open %s: %s (run as root, in the file system that QEMU sees)",
			ram->id, ram->path, strerror(errno));
		return;
	}
	if (fstatfs(ram->fd, &fs) || fs.f_type != MIGRATE_FAST_FSMAGIC) {
		problem(problems, "RAM backend \"%s\": %s is not on a file system of type %s: mount -t %s none /run/migrate-fast, and start QEMU with mem-path= there",
			ram->id, ram->path, MIGRATE_FAST_FSTYPE,
			MIGRATE_FAST_FSTYPE);
		return;
	}
	if (!fstat(ram->fd, &st)) {
		ram->allocated = (uint64_t)st.st_blocks * 512;
		if ((uint64_t)st.st_size != ram->bytes)
			problem(problems, "RAM backend \"%s\" has %" PRIu64 " bytes, but %s has %lld: the file was changed under QEMU",
				ram->id, ram->bytes, ram->path,
				(long long)st.st_size);
	}
	if (!ram_is_mapped(ram->fd, vm->qmp.peer, 0))
		problem(problems, "RAM backend \"%s\": no process maps %s; QEMU uses another file of this name (was it removed and made anew?). Restart the VM",
			ram->id, ram->path);
}

/* The right states to start from, on either side. */
static void survey_state(struct vm *vm, struct problems *problems)
{
	if (vm->incoming) {
		if (strcmp(vm->status, "inmigrate"))
			problem(problems, "QEMU at %s does not wait for a VM (it is \"%s\"): start it with -incoming defer",
				vm->qmp.path, vm->status);
	} else if (strcmp(vm->status, "running") &&
		   strcmp(vm->status, "paused")) {
		problem(problems, "the VM at %s is \"%s\": only a running or paused one can be moved",
			vm->qmp.path, vm->status);
	}
}

static void survey_migration(struct vm *vm, struct problems *problems)
{
	static const char *const idle[] = {
		"none", "completed", "failed", "cancelled",
	};
	bool busy = true;
	unsigned int i;

	for (i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
		busy = busy && strcmp(vm->busy, idle[i]);
	if (busy)
		problem(problems, "QEMU at %s is migrating already (\"%s\"): let it end, or cancel it (QMP migrate_cancel)",
			vm->qmp.path, vm->busy);
	if (vm->blocked)
		problem(problems, "QEMU says that this VM cannot be migrated: %s",
			vm->blocked);
}

int survey_again(struct vm *vm, struct problems *problems)
{
	uint64_t plugged = vm->plugged;

	if (vm_query_again(vm))
		return -1;
	survey_migration(vm, problems);
	if (vm->plugged != plugged)
		problem(problems, "%llu MiB of memory are plugged into the VM, where there were %llu when its migration began: start the destination's QEMU with what it has by now, and migrate again",
			(unsigned long long)vm->plugged >> 20,
			(unsigned long long)plugged >> 20);
	return 0;
}

int survey(struct vm *vm, struct problems *problems)
{
	unsigned int i, j;

	if (!vm->handed_over)
		survey_state(vm, problems);
	if (!vm->has_ignore_shared)
		problem(problems, "QEMU %d.%d.%d has no capability x-ignore-shared: QEMU 7.2 or newer is needed",
			vm->major, vm->minor, vm->micro);
	survey_migration(vm, problems);
	if (!vm->rams)
		problem(problems, "the VM has no RAM backend: use -object memory-backend-file and -machine memory-backend=");
	if (vm->rams > MIGRATE_FAST_MAX_RAM)
		problem(problems, "the VM has %u RAM backends; %d can be moved",
			vm->rams, MIGRATE_FAST_MAX_RAM);
	for (i = 0; i < vm->rams; i++) {
		struct ram *ram = &vm->ram[i];

		survey_ram(vm, ram, problems);
		for (j = 0; j < i; j++)
			if (ram->path && vm->ram[j].path &&
			    !strcmp(ram->path, vm->ram[j].path))
				problem(problems, "RAM backends \"%s\" and \"%s\" use one file, %s: give each its own",
					vm->ram[j].id, ram->id, ram->path);
	}
	return fail_text() ? -1 : 0;
}

static int need_none(struct vm *vm, int (*look)(struct vm *vm,
						struct problems *problems))
{
	struct problems problems = { 0 };
	unsigned int i;
	int ret = 0;

	if (look(vm, &problems))
		return -1;
	for (i = 1; i < problems.n; i++)
		note("%s", problems.text[i]);
	if (problems.n)
		ret = fail("%s", problems.text[0]);
	problems_free(&problems);
	return ret;
}

int survey_need_ready(struct vm *vm)
{
	return need_none(vm, survey);
}

int survey_need_same(struct vm *vm)
{
	return need_none(vm, survey_again);
}
