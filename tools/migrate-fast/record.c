// SPDX-License-Identifier: GPL-2.0
/* What a recv has to know that takes over from another; see record.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../lib/say.h"
#include "keep.h"
#include "ram.h"
#include "receiver.h"
#include "record.h"

#define PURPOSE	"json"

void record_remove(const char *session)
{
	keep_remove(session, PURPOSE);
}

json_t *record_find(const char *qmp)
{
	json_t *record = keep_find(qmp, PURPOSE);

	if (!record)
		fail("no memory of the VM at %s is absent, as far as is known here: there is nothing to resume, or to give up",
		     qmp);
	return record;
}

void record_forget_others(const struct receiver *receiver)
{
	const char *session;
	json_t *other;

	while ((other = keep_find(receiver->options->qmp, PURPOSE))) {
		session = json_string_value(json_object_get(other, "session"));
		if (session && strcmp(session, receiver->session))
			record_remove(session);
		else
			session = NULL;
		json_decref(other);
		if (!session)
			break;
	}
}

int record_write(const struct receiver *receiver, bool committed)
{
	const struct vm *vm = &receiver->vm;
	json_t *ram = json_array();
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		json_array_append_new(ram, json_pack("{s:s, s:s, s:I}",
				"id", vm->ram[i].id, "path", vm->ram[i].path,
				"bytes", (json_int_t)vm->ram[i].bytes));
	return keep_write(receiver->session, PURPOSE, receiver->options->qmp,
			  json_pack("{s:b, s:I, s:b, s:o, s:O*}",
				    "committed", committed,
				    "since", (json_int_t)ram_now(),
				    "start", receiver->run_it &&
				    (receiver->stage != STAGE_RUNNING ||
				     receiver->unconfirmed), "ram", ram,
				    "capabilities", vm->caps_before));
}

static int open_ram(struct ram *ram, const json_t *entry, uint64_t since)
{
	const char *id = json_string_value(json_object_get(entry, "id"));
	const char *path = json_string_value(json_object_get(entry, "path"));
	struct statfs fs;

	ram->fd = -1;
	if (!id || !path)
		return fail("a file in %s is damaged", KEEP_DIR);
	ram->id = need(strdup(id));
	ram->path = need(strdup(path));
	ram->bytes = (uint64_t)json_integer_value(json_object_get(entry,
								  "bytes"));
	ram->fd = open(path, O_RDWR | O_CLOEXEC);
	if (ram->fd < 0) {
		int ret = errno == ENOENT ? RECORD_ENDED : -1;

		fail("cannot open %s: %s", path, strerror(errno));
		return ret;
	}
	if (fstatfs(ram->fd, &fs) || fs.f_type != MIGRATE_FAST_FSMAGIC)
		return fail("%s is not on a file system of type %s", path,
			    MIGRATE_FAST_FSTYPE);
	if (ram_is_mapped(ram->fd, 0, since))
		return 0;
	fail("the VM has ended: no process maps %s that did when it came here. If QEMU was started anew, there is nothing that it could go on with",
	     path);
	return RECORD_ENDED;
}

uint64_t record_since(const json_t *record)
{
	return (uint64_t)json_integer_value(json_object_get(record, "since"));
}

int record_open(const json_t *record, struct vm *vm)
{
	json_t *list = json_object_get(record, "ram"), *entry;
	int ret = 0;
	size_t i;

	vm->ram = need(calloc(json_array_size(list) + 1, sizeof(*vm->ram)));
	json_array_foreach(list, i, entry) {
		vm->rams++;
		ret = open_ram(&vm->ram[i], entry, record_since(record));
		if (ret)
			break;
	}
	return ret;
}
