// SPDX-License-Identifier: GPL-2.0
/* A VM as seen through QMP; see vm.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/say.h"
#include "capabilities.h"
#include "problems.h"
#include "vm.h"

#define QUIT_MS		10000
/* For locks of disk images. */
#define CONT_TRIES	50
#define CONT_NS		(100 * NSEC_PER_MSEC)

/* A string property of a QOM object; NULL without fail() if it has none. */
static char *qom_string(struct vm *vm, const char *path, const char *property)
{
	json_t *reply, *args;
	const char *text;
	char *copy = NULL;

	args = json_pack("{s:s, s:s}", "path", path, "property", property);
	reply = qmp_try(&vm->qmp, "qom-get", args, QMP_MS);
	text = json_string_value(json_object_get(reply, "return"));
	if (text)
		copy = need(strdup(text));
	json_decref(reply);
	return copy;
}

static int query_machine(struct vm *vm)
{
	json_t *version = json_object_get(vm->qmp.greeting, "qemu");
	json_t *cpus, *target, *name;
	const char *path, *arch, *text;

	json_unpack(version, "{s:i, s:i, s:i}", "major", &vm->major, "minor",
		    &vm->minor, "micro", &vm->micro);
	vm->machine = qom_string(vm, "/machine", "type");
	target = qmp_call(&vm->qmp, "query-target", NULL, QMP_MS);
	if (!target)
		return -1;
	arch = json_string_value(json_object_get(target, "arch"));
	vm->target = need(strdup(arch ? arch : "?"));
	json_decref(target);
	name = qmp_call(&vm->qmp, "query-name", NULL, QMP_MS);
	if (!name)
		return -1;
	text = json_string_value(json_object_get(name, "name"));
	if (text)
		vm->name = need(strdup(text));
	json_decref(name);
	cpus = qmp_call(&vm->qmp, "query-cpus-fast", NULL, QMP_MS);
	if (!cpus)
		return -1;
	vm->cpus = (unsigned int)json_array_size(cpus);
	path = json_string_value(json_object_get(json_array_get(cpus, 0),
						 "qom-path"));
	if (path)
		vm->cpu = qom_string(vm, path, "type");
	json_decref(cpus);
	if (fail_text())
		return -1;
	if (!vm->machine)
		vm->machine = need(strdup("?"));
	if (!vm->cpu)
		vm->cpu = need(strdup("?"));
	return 0;
}

int vm_query_status(struct vm *vm)
{
	return vm_take_status(vm, qmp_start(&vm->qmp, "query-status", NULL));
}

int vm_take_status(struct vm *vm, json_int_t id)
{
	json_t *status = qmp_fetch(&vm->qmp, id, "query-status", QMP_MS);
	const char *text;

	if (!status)
		return -1;
	text = json_string_value(json_object_get(status, "status"));
	snprintf(vm->status, sizeof(vm->status), "%s", text ? text : "?");
	vm->running = json_is_true(json_object_get(status, "running"));
	if (!strcmp(vm->status, "shutdown"))
		vm->powered_off = true;
	json_decref(status);
	return 0;
}

static int query_ram(struct vm *vm)
{
	json_t *devs = qmp_call(&vm->qmp, "query-memdev", NULL, QMP_MS), *dev;
	char path[512];
	size_t i;

	if (!devs)
		return -1;
	vm->ram = need(calloc(json_array_size(devs) + 1, sizeof(*vm->ram)));
	json_array_foreach(devs, i, dev) {
		const char *id = json_string_value(json_object_get(dev, "id"));
		struct ram *ram = &vm->ram[vm->rams++];

		ram->fd = -1;
		ram->id = need(strdup(id ? id : "(without id)"));
		ram->bytes = (uint64_t)json_integer_value(
				json_object_get(dev, "size"));
		ram->share = json_is_true(json_object_get(dev, "share"));
		snprintf(path, sizeof(path), "/objects/%s", ram->id);
		ram->type = qom_string(vm, path, "type");
		ram->path = qom_string(vm, path, "mem-path");
	}
	json_decref(devs);
	return fail_text() ? -1 : 0;
}

static int query_migrate(struct vm *vm)
{
	json_t *reply = qmp_call(&vm->qmp, "query-migrate", NULL, QMP_MS);
	const char *reason, *status;

	if (!reply)
		return -1;
	reason = json_string_value(json_array_get(
			json_object_get(reply, "blocked-reasons"), 0));
	free(vm->blocked);
	vm->blocked = reason ? need(strdup(reason)) : NULL;
	status = json_string_value(json_object_get(reply, "status"));
	snprintf(vm->busy, sizeof(vm->busy), "%s", status ? status : "none");
	json_decref(reply);
	return 0;
}

static int query_plugged(struct vm *vm)
{
	json_t *reply = qmp_call(&vm->qmp, "query-memory-size-summary", NULL,
				 QMP_MS);

	vm->plugged = (uint64_t)json_integer_value(
			json_object_get(reply, "plugged-memory"));
	json_decref(reply);
	return reply ? 0 : -1;
}

int vm_query_again(struct vm *vm)
{
	return query_migrate(vm) || query_plugged(vm) ? -1 : 0;
}

static void on_event(struct qmp *qmp, const char *name, const json_t *data)
{
	struct vm *vm = qmp->arg;
	const char *status;

	if (!strcmp(name, "RESUME")) {
		vm->running = true;
		vm->resumed = true;
		vm->powered_off = false;
	}
	if (!strcmp(name, "STOP"))
		vm->running = false;
	/* With -no-shutdown QEMU lives on, until somebody (libvirt) ends it. */
	if (!strcmp(name, "SHUTDOWN") &&
	    json_is_true(json_object_get(data, "guest")))
		vm->powered_off = true;
	if (strcmp(name, "MIGRATION"))
		return;
	status = json_string_value(json_object_get(data, "status"));
	if (!status)
		return;
	if (!strcmp(status, "completed"))
		vm->migration = VM_MIGRATION_COMPLETED;
	else if (!strcmp(status, "failed") || !strcmp(status, "cancelled"))
		vm->migration = VM_MIGRATION_FAILED;
	else
		vm->migration = VM_MIGRATION_BUSY;
}

int vm_attach(struct vm *vm, const char *qmp_path, unsigned int ms)
{
	vm->qmp = (struct qmp){ .event = on_event, .arg = vm };
	return qmp_open(&vm->qmp, qmp_path, ms);
}

int vm_open(struct vm *vm, const char *qmp_path, bool incoming)
{
	memset(vm, 0, sizeof(*vm));
	vm->incoming = incoming;
	vm->session = -1;
	if (vm_attach(vm, qmp_path, QMP_GREETING_MS) || query_machine(vm) ||
	    vm_query_status(vm) || query_ram(vm) || vm_query_again(vm) ||
	    capabilities_learn(vm))
		return -1;
	return 0;
}

json_int_t vm_announce(struct vm *vm)
{
	return qmp_start(&vm->qmp, "announce-self",
			 json_pack("{s:i, s:i, s:i, s:i}", "initial", 50,
				   "max", 550, "rounds", 5, "step", 100));
}

void vm_close_session(struct vm *vm)
{
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		mf_unmap(&vm->ram[i].mf);
	if (vm->session >= 0)
		close(vm->session);
	vm->session = -1;
}

void vm_close(struct vm *vm)
{
	unsigned int i;

	vm_close_session(vm);
	for (i = 0; i < vm->rams; i++) {
		if (vm->ram[i].fd >= 0)
			close(vm->ram[i].fd);
		free(vm->ram[i].id);
		free(vm->ram[i].type);
		free(vm->ram[i].path);
	}
	free(vm->ram);
	free(vm->name);
	free(vm->machine);
	free(vm->target);
	free(vm->cpu);
	free(vm->blocked);
	json_decref(vm->caps_before);
	qmp_close(&vm->qmp);
	memset(vm, 0, sizeof(*vm));
	vm->session = -1;
	vm->qmp.fd = -1;
}

int vm_open_session(struct vm *vm, uint64_t features)
{
	struct migrate_fast_handshake shake;
	struct problems problems = { 0 };
	unsigned int i;
	int err;

	vm->session = mf_open(features, &shake);
	if (vm->session < 0) {
		problem_module(&problems, vm->session, &shake, features);
		fail("%s", problems.text[0]);
		problems_free(&problems);
		return -1;
	}
	for (i = 0; i < vm->rams; i++) {
		struct ram *ram = &vm->ram[i];

		err = mf_add(vm->session, ram->fd, &ram->mf);
		if (err)
			return fail("the module does not take %s: %s",
				    ram->path, strerror(-err));
		if (ram->mf.pages != ram->bytes / MF_PAGE_SIZE)
			return fail("%s has %llu pages, but its backend %s should have %llu: its file was changed under QEMU",
				    ram->path,
				    (unsigned long long)ram->mf.pages, ram->id,
				    (unsigned long long)(ram->bytes /
							 MF_PAGE_SIZE));
	}
	return 0;
}

int vm_cont(struct vm *vm)
{
	const char *desc;
	int tries, ret;
	json_t *reply;

	for (tries = 1; ; tries++) {
		reply = qmp_try(&vm->qmp, "cont", NULL, QMP_MS);
		if (!reply)
			return -1;
		desc = json_string_value(json_object_get(
				json_object_get(reply, "error"), "desc"));
		if (!desc || tries == CONT_TRIES)
			break;
		json_decref(reply);
		if (loop_sleep(CONT_NS))
			return -1;
	}
	if (desc)
		fail("QEMU refuses to run it: %s", desc);
	ret = desc ? -1 : 0;
	json_decref(reply);
	return ret;
}

bool vm_is_frozen(const struct vm *vm)
{
	return !vm->running && (!strcmp(vm->status, "postmigrate") ||
				!strcmp(vm->status, "finish-migrate"));
}

bool vm_is_gone(const struct vm *vm)
{
	char path[64], comm[32] = "", state = 0;
	FILE *stat;

	if (!vm->qmp.gone)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", vm->qmp.peer);
	stat = fopen(path, "re");
	if (!stat)
		return true;
	/* The socket may have been made by somebody else (libvirt). */
	if (fscanf(stat, "%*d (%31[^)]) %c", comm, &state) != 2)
		state = 0;
	fclose(stat);
	return strncmp(comm, "qemu", 4) || state == 'Z' || state == 'X';
}

static bool has_hung_up(void *arg)
{
	return ((struct vm *)arg)->qmp.gone;
}

int vm_quit(struct vm *vm)
{
	json_decref(vm->qmp.gone ? NULL :
		    qmp_try(&vm->qmp, "quit", NULL, QUIT_MS));
	/* It may have been quicker to end than to answer. */
	free(fail_text() ? fail_take() : NULL);
	if (loop_until(has_hung_up, vm, QUIT_MS))
		return fail("QEMU at %s has not ended; end it by hand, it must not run",
			    vm->qmp.path);
	return 0;
}

bool vm_migration_is_over(void *arg)
{
	struct vm *vm = arg;

	return vm->qmp.gone || vm->migration == VM_MIGRATION_COMPLETED ||
	       vm->migration == VM_MIGRATION_FAILED;
}

uint64_t vm_bytes(const struct vm *vm)
{
	uint64_t bytes = 0;
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		bytes += vm->ram[i].bytes;
	return bytes;
}

uint64_t vm_allocated(const struct vm *vm)
{
	uint64_t bytes = 0;
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		bytes += vm->ram[i].allocated;
	return bytes;
}
