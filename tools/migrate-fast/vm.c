// SPDX-License-Identifier: GPL-2.0
/* A VM as seen through QMP; see vm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/say.h"
#include "ram.h"
#include "vm.h"

/*
 * Capabilities that matter, and what they have to be on either side. Others
 * are left alone. late-block-activate: the destination takes the locks of
 * the disk images at "cont", not at the end of loading, so that the source
 * can go on with them until then.
 */
static const struct {
	const char *name;
	bool source, destination;
} capabilities[] = {
	{ "x-ignore-shared", true, true },
	{ "events", true, true },
	{ "late-block-activate", false, true },
	{ "postcopy-ram", false, false },
	{ "background-snapshot", false, false },
	{ "multifd", false, false },
	{ "return-path", false, false },
	{ "pause-before-switchover", false, false },
	{ "switchover-ack", false, false },
	{ "zero-copy-send", false, false },
	{ "mapped-ram", false, false },
	{ "compress", false, false },
	{ "xbzrle", false, false },
	{ "x-colo", false, false },
	{ "block", false, false },
};

#define QUIT_MS		10000
/* For locks of disk images. */
#define CONT_TRIES	50
#define CONT_NS		(100 * NSEC_PER_MSEC)

#define NR_CAPABILITIES	(sizeof(capabilities) / sizeof(capabilities[0]))

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

static int query_capabilities(struct vm *vm, json_t **list)
{
	json_t *cap;
	size_t i;

	*list = qmp_call(&vm->qmp, "query-migrate-capabilities", NULL, QMP_MS);
	if (!*list)
		return -1;
	json_array_foreach(*list, i, cap) {
		const char *name = json_string_value(
				json_object_get(cap, "capability"));

		if (name && !strcmp(name, "x-ignore-shared"))
			vm->has_ignore_shared = true;
	}
	return 0;
}

int vm_attach(struct vm *vm, const char *qmp_path, unsigned int ms)
{
	vm->qmp = (struct qmp){ .event = on_event, .arg = vm };
	return qmp_open(&vm->qmp, qmp_path, ms);
}

int vm_open(struct vm *vm, const char *qmp_path, bool incoming)
{
	json_t *list;

	memset(vm, 0, sizeof(*vm));
	vm->incoming = incoming;
	vm->session = -1;
	if (vm_attach(vm, qmp_path, QMP_GREETING_MS) || query_machine(vm) ||
	    vm_query_status(vm) || query_ram(vm) || vm_query_again(vm) ||
	    query_capabilities(vm, &list))
		return -1;
	json_decref(list);
	return 0;
}

static bool wanted(const struct vm *vm, const char *name, bool *state)
{
	size_t i;

	for (i = 0; i < NR_CAPABILITIES; i++) {
		if (strcmp(capabilities[i].name, name))
			continue;
		*state = vm->incoming ? capabilities[i].destination :
					capabilities[i].source;
		return true;
	}
	return false;
}

/*
 * A send or recv that was killed has left it on, or the operator has set it:
 * nobody can tell. The safe state to leave behind is off.
 */
static bool put_off(json_t *before, const char *name)
{
	if (strcmp(name, "x-ignore-shared"))
		return false;
	json_array_append_new(before, json_pack("{s:s, s:b}",
			"capability", name, "state", 0));
	return true;
}

json_t *vm_plan_capabilities(struct vm *vm)
{
	json_t *list, *cap, *set = json_array(), *before = json_array();
	bool as_before = true;
	size_t i;

	if (query_capabilities(vm, &list)) {
		json_decref(set);
		json_decref(before);
		return NULL;
	}
	json_array_foreach(list, i, cap) {
		const char *name = json_string_value(
				json_object_get(cap, "capability"));
		bool is = json_is_true(json_object_get(cap, "state")), want;

		if (!name || !wanted(vm, name, &want))
			continue;
		if (is == want) {
			as_before &= !put_off(before, name);
			continue;
		}
		json_array_append_new(set, json_pack("{s:s, s:b}",
				"capability", name, "state", want));
		json_array_append(before, cap);
	}
	json_decref(list);
	if (!vm->has_ignore_shared) {
		json_decref(set);
		json_decref(before);
		fail("QEMU at %s has no capability x-ignore-shared: QEMU 7.2 or newer is needed",
		     vm->qmp.path);
		return NULL;
	}
	if (!vm->caps_before) {
		vm->caps_before = before;
		vm->caps_untouched = as_before;
	} else {
		json_decref(before);
	}
	return set;
}

int vm_set_capabilities(struct vm *vm, json_t *plan)
{
	if (!plan)
		return -1;
	vm->caps_untouched = false;
	return qmp_do(&vm->qmp, "migrate-set-capabilities",
		      json_pack("{s:o}", "capabilities", plan));
}

/*
 * x-ignore-shared must not stay on behind the operator's back: the next
 * ordinary migration of this VM would leave its RAM behind.
 */
json_int_t vm_start_restoring(struct vm *vm)
{
	json_t *before = vm->caps_before;

	vm->caps_before = NULL;
	if (!before || vm->caps_untouched || vm->qmp.gone) {
		json_decref(before);
		return 0;
	}
	return qmp_start(&vm->qmp, "migrate-set-capabilities",
			 json_pack("{s:o}", "capabilities", before));
}

int vm_end_restoring(struct vm *vm, json_int_t id)
{
	json_t *value;

	if (!id)
		return 0;
	value = qmp_fetch(&vm->qmp, id, "migrate-set-capabilities", QMP_MS);
	json_decref(value);
	return value ? 0 : -1;
}

int vm_restore_capabilities(struct vm *vm)
{
	return vm_end_restoring(vm, vm_start_restoring(vm));
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

static int need_none(struct vm *vm, int (*survey)(struct vm *vm,
						  struct problems *problems))
{
	struct problems problems = { 0 };
	unsigned int i;
	int ret = 0;

	if (survey(vm, &problems))
		return -1;
	for (i = 1; i < problems.n; i++)
		note("%s", problems.text[i]);
	if (problems.n)
		ret = fail("%s", problems.text[0]);
	problems_free(&problems);
	return ret;
}

int vm_need_ready(struct vm *vm)
{
	return need_none(vm, vm_survey);
}

int vm_need_same(struct vm *vm)
{
	return need_none(vm, vm_survey_again);
}

void problem(struct problems *problems, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	problems->text = need(realloc(problems->text, (problems->n + 1) *
				      sizeof(*problems->text)));
	problems->text[problems->n++] = need(text);
}

void problems_free(struct problems *problems)
{
	unsigned int i;

	for (i = 0; i < problems->n; i++)
		free(problems->text[i]);
	free(problems->text);
	problems->text = NULL;
	problems->n = 0;
}
