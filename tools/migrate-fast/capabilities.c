// SPDX-License-Identifier: GPL-2.0
/* QEMU's capabilities; see capabilities.h. */
#include <string.h>

#include "../lib/say.h"
#include "capabilities.h"
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

#define NR_CAPABILITIES	(sizeof(capabilities) / sizeof(capabilities[0]))

static int query(struct vm *vm, json_t **list)
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

int capabilities_learn(struct vm *vm)
{
	json_t *list;

	if (query(vm, &list))
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

json_t *capabilities_plan(struct vm *vm)
{
	json_t *list, *cap, *set = json_array(), *before = json_array();
	bool as_before = true;
	size_t i;

	if (query(vm, &list)) {
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

int capabilities_set(struct vm *vm, json_t *plan)
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
json_int_t capabilities_start_restoring(struct vm *vm)
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

int capabilities_end_restoring(struct vm *vm, json_int_t id)
{
	json_t *value;

	if (!id)
		return 0;
	value = qmp_fetch(&vm->qmp, id, "migrate-set-capabilities", QMP_MS);
	json_decref(value);
	return value ? 0 : -1;
}

int capabilities_restore(struct vm *vm)
{
	return capabilities_end_restoring(vm, capabilities_start_restoring(vm));
}
