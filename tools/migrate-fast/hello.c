// SPDX-License-Identifier: GPL-2.0
/* What the two ends tell each other of their VMs; see hello.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "hello.h"
#include "problems.h"
#include "version.h"
#include "wire.h"

void hello_session(char session[HELLO_SESSION])
{
	uint8_t bytes[16];
	size_t i;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		memset(bytes, 0, sizeof(bytes));
	for (i = 0; i < sizeof(bytes); i++)
		sprintf(session + 2 * i, "%02x", bytes[i]);
}

bool hello_is_session(const char *text)
{
	return text && strlen(text) == HELLO_SESSION - 1 &&
	       strspn(text, "0123456789abcdef") == HELLO_SESSION - 1;
}

json_t *hello_describe(const struct vm *vm, const char *session)
{
	json_t *ram = json_array();
	unsigned int i;

	for (i = 0; i < vm->rams; i++)
		json_array_append_new(ram, json_pack("{s:s, s:I}",
				"id", vm->ram[i].id,
				"bytes", (json_int_t)vm->ram[i].bytes));
	return json_pack("{s:i, s:s, s:s, s:[i,i,i], s:s, s:s, s:s, s:i, s:I, s:b, s:o}",
			 "protocol", WIRE_VERSION,
			 "version", MIGRATE_FAST_VERSION,
			 "session", session,
			 "qemu", vm->major, vm->minor, vm->micro,
			 "machine", vm->machine,
			 "target", vm->target,
			 "cpu", vm->cpu,
			 "cpus", (int)vm->cpus,
			 "allocated", (json_int_t)vm_allocated(vm),
			 "running", vm->running,
			 "ram", ram);
}

json_t *hello_parse(const void *payload, size_t length, const char *peer)
{
	json_error_t error;
	const char *version;
	json_t *hello;
	int protocol;

	hello = json_loadb(payload, length, JSON_REJECT_DUPLICATES, &error);
	if (!hello) {
		fail("%s sent garbage instead of a greeting: %s", peer,
		     error.text);
		return NULL;
	}
	if (json_unpack(hello, "{s:i, s:s}", "protocol", &protocol, "version",
			&version)) {
		fail("%s sent a greeting without a version", peer);
	} else if (protocol != WIRE_VERSION) {
		fail("%s speaks protocol %d (migrate-fast %.20s), this is %d (migrate-fast %s): install the same release on both hosts",
		     peer, protocol, version, WIRE_VERSION,
		     MIGRATE_FAST_VERSION);
	} else {
		return hello;
	}
	json_decref(hello);
	return NULL;
}

static void compare_text(struct problems *problems, const char *what,
			 const char *mine, const json_t *theirs,
			 const char *peer)
{
	const char *text = json_string_value(theirs);

	if (!text || strcmp(mine, text))
		problem(problems, "%s is %s here and %.100s at %s", what, mine,
			text ? text : "unknown", peer);
}

static const json_t *find_ram(const json_t *list, const char *id)
{
	json_t *entry;
	size_t i;

	json_array_foreach(list, i, entry) {
		const char *name = json_string_value(json_object_get(entry,
								     "id"));

		if (name && !strcmp(name, id))
			return entry;
	}
	return NULL;
}

/* Order matters: frames name RAM files by number. */
static void compare_ram(struct problems *problems, const struct vm *vm,
			const json_t *list, const char *peer)
{
	unsigned int i;

	if (json_array_size(list) != vm->rams)
		problem(problems, "there are %u RAM backends here and %zu at %s",
			vm->rams, json_array_size(list), peer);
	for (i = 0; i < vm->rams; i++) {
		const struct ram *ram = &vm->ram[i];
		const json_t *theirs = find_ram(list, ram->id);
		json_int_t bytes;

		if (!theirs) {
			problem(problems, "RAM backend \"%s\" does not exist at %s",
				ram->id, peer);
			continue;
		}
		bytes = json_integer_value(json_object_get(theirs, "bytes"));
		if ((uint64_t)bytes != ram->bytes)
			problem(problems, "RAM backend \"%s\" has %s here and %s at %s",
				ram->id, size_text((double)ram->bytes),
				size_text((double)bytes), peer);
		else if (theirs != json_array_get(list, i))
			problem(problems, "RAM backend \"%s\" stands at another place on the command line at %s",
				ram->id, peer);
	}
}

static int tell(struct problems *problems)
{
	char text[1500] = "";
	unsigned int i;
	size_t len = 0;

	if (!problems->n)
		return 0;
	for (i = 0; i < problems->n && len < sizeof(text) - 1; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s",
					i ? "; " : "", problems->text[i]);
	problems_free(problems);
	return fail("the two QEMUs do not fit: %s. Start the destination with the same command line as the source, plus -incoming defer",
		    text);
}

int hello_compare_ram(const struct vm *vm, const json_t *hello,
		      const char *peer)
{
	struct problems problems = { 0 };

	compare_ram(&problems, vm, json_object_get(hello, "ram"), peer);
	return tell(&problems);
}

int hello_compare(const struct vm *vm, const json_t *hello, const char *peer)
{
	json_t *cpus = json_object_get(hello, "cpus");
	struct problems problems = { 0 };

	compare_text(&problems, "architecture", vm->target,
		     json_object_get(hello, "target"), peer);
	compare_text(&problems, "machine type", vm->machine,
		     json_object_get(hello, "machine"), peer);
	compare_text(&problems, "CPU model", vm->cpu,
		     json_object_get(hello, "cpu"), peer);
	if (json_integer_value(cpus) != (json_int_t)vm->cpus)
		problem(&problems, "the VM has %u CPUs here and %" JSON_INTEGER_FORMAT " at %s",
			vm->cpus, json_integer_value(cpus), peer);
	compare_ram(&problems, vm, json_object_get(hello, "ram"), peer);
	return tell(&problems);
}

bool hello_is_older(const struct vm *vm, const json_t *hello)
{
	const int mine[] = { vm->major, vm->minor, vm->micro };
	json_t *list = json_object_get(hello, "qemu");
	size_t i;

	for (i = 0; i < 3; i++) {
		json_int_t theirs = json_integer_value(json_array_get(list, i));

		if (theirs != mine[i])
			return theirs < mine[i];
	}
	return false;
}
