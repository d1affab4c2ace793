// SPDX-License-Identifier: GPL-2.0
/* migrate-fast check: is this host, is this VM ready? And if not, why? */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "../store/policy.h"
#include "options.h"
#include "problems.h"
#include "survey.h"
#include "throttle.h"
#include "vm.h"

#define FEATURES (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
		  MIGRATE_FAST_FEATURE_SEND | MIGRATE_FAST_FEATURE_FILL | \
		  MIGRATE_FAST_FEATURE_KVM)

/* Device memory that is worth a word. */
#define BLOCK_HINT	(1 << 20)

static void ok(const char *what, const char *detail)
{
	printf("ok       %s%s%s\n", what, *detail ? ": " : "", detail);
}

static void check_module(struct problems *problems)
{
	struct migrate_fast_handshake shake;
	char detail[80];
	int session;

	session = mf_open(FEATURES, &shake);
	if (session < 0) {
		problem_module(problems, session, &shake, FEATURES);
		return;
	}
	close(session);
	snprintf(detail, sizeof(detail), "ABI %u, features %#llx", shake.abi,
		 (unsigned long long)shake.features);
	ok("module", detail);
}

static void check_mount(struct problems *problems)
{
	char line[1024], type[64], where[512];
	FILE *mounts = fopen("/proc/self/mounts", "re");
	bool found = false;

	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %511s %63s", where, type) != 2 ||
		    strcmp(type, MIGRATE_FAST_FSTYPE))
			continue;
		ok("mount", where);
		found = true;
	}
	if (mounts)
		fclose(mounts);
	if (!found)
		problem(problems, "no file system of type %s is mounted: mkdir -p /run/migrate-fast && mount -t %s none /run/migrate-fast",
			MIGRATE_FAST_FSTYPE, MIGRATE_FAST_FSTYPE);
}

/* Without one nobody shares with anybody, which is no problem. */
static void check_sharing(const char *path, struct problems *problems)
{
	struct policy policy;
	char *text;
	int ret;

	ret = policy_read(&policy, path ? path : POLICY_FILE);
	if (!ret)
		ok("sharing", path ? path : POLICY_FILE);
	else if (ret > 0 && path)
		problem(problems, "cannot read %s: %s", path, strerror(ENOENT));
	policy_free(&policy);
	if (ret >= 0)
		return;
	text = fail_take();
	problem(problems, "%s", text);
	free(text);
}

/* Not in the way of a migration, but good to know before. */
static void hint_pins(void)
{
	struct utsname uts;
	int major = 0, minor = 0;

	if (uname(&uts) || sscanf(uts.release, "%d.%d", &major, &minor) != 2)
		return;
	if (major > 6 || (major == 6 && minor >= 12))
		printf("note     kernel %s: long-term pins of guest memory (VFIO devices, RDMA, io_uring registered buffers) fail with EFAULT on %s files; such devices cannot be used with this VM\n",
		       uts.release, MIGRATE_FAST_FSTYPE);
}

/* Devices that pin guest memory for as long as they live. */
static void hint_devices(struct vm *vm)
{
	static const char *const paths[] = {
		"/machine/peripheral", "/machine/peripheral-anon",
	};
	json_t *reply, *entry;
	const char *type;
	size_t i, k;

	for (i = 0; i < 2; i++) {
		reply = qmp_try(&vm->qmp, "qom-list",
				json_pack("{s:s}", "path", paths[i]), QMP_MS);
		json_array_foreach(json_object_get(reply, "return"), k, entry) {
			type = json_string_value(json_object_get(entry,
								 "type"));
			if (type && strstr(type, "vfio"))
				printf("note     device %s holds pages of the VM for writing all the time; a VM with it cannot be moved by migrate-fast\n",
				       type);
		}
		json_decref(reply);
	}
}

static bool is_ours(const struct vm *vm, const char *block)
{
	const char *name = strrchr(block, '/');
	unsigned int i;

	name = name ? name + 1 : block;
	for (i = 0; i < vm->rams; i++)
		if (!strcmp(vm->ram[i].id, name))
			return true;
	return false;
}

/* Memory of devices: QEMU moves it, while the VM stands still. */
static void hint_blocks(struct vm *vm)
{
	unsigned long long offset, used;
	char block[128];
	const char *at;
	json_t *reply;

	reply = qmp_try(&vm->qmp, "human-monitor-command",
			json_pack("{s:s}", "command-line", "info ramblock"),
			QMP_MS);
	at = json_string_value(json_object_get(reply, "return"));
	for (; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		/* Name, size of its pages ("4 KiB"), offset, used, ... */
		if (sscanf(at, " %127s %*s %*s %llx %llx", block, &offset,
			   &used) == 3 && used > BLOCK_HINT &&
		    !is_ours(vm, block))
			printf("note     %s of memory of \"%s\" is in no RAM file: it moves with the device state, while the VM stands still\n",
			       size_text((double)used), block);
	json_decref(reply);
}

/* Wanted by few, so not in the way. */
static void hint_throttle(struct vm *vm)
{
	struct throttle throttle = { 0 };
	char *text;

	if (!throttle_plan(&throttle, vm, 0)) {
		ok("throttle", "cpu.max of the vCPU threads can be set");
	} else {
		text = fail_take();
		printf("note     send --throttle is not possible: %s\n", text);
		free(text);
	}
	throttle_free(&throttle);
}

static void check_vm(const struct options *options, struct problems *problems)
{
	static struct vm vm;
	unsigned int before = problems->n, i;
	char detail[256];

	if (vm_open(&vm, options->qmp, false)) {
		char *text = fail_take();

		problem(problems, "%s", text);
		free(text);
		return;
	}
	snprintf(detail, sizeof(detail), "%d.%d.%d, %s", vm.major, vm.minor,
		 vm.micro, vm.machine);
	ok("QEMU", detail);
	vm.incoming = !strcmp(vm.status, "inmigrate");
	snprintf(detail, sizeof(detail), "%s%s", vm.status,
		 vm.incoming ? " (waits for a VM: a destination)" : "");
	ok("state", detail);
	if (vm.has_ignore_shared)
		ok("capability", "x-ignore-shared");
	survey(&vm, problems);
	for (i = 0; i < vm.rams && problems->n == before; i++) {
		snprintf(detail, sizeof(detail), "%s, %s in %s", vm.ram[i].id,
			 size_text((double)vm.ram[i].bytes), vm.ram[i].path);
		ok("RAM", detail);
	}
	hint_devices(&vm);
	hint_blocks(&vm);
	hint_throttle(&vm);
	vm_close(&vm);
}

int cmd_check(const struct options *options)
{
	struct problems problems = { 0 };
	unsigned int i;

	check_module(&problems);
	check_mount(&problems);
	check_sharing(options->conf, &problems);
	if (options->qmp)
		check_vm(options, &problems);
	hint_pins();
	for (i = 0; i < problems.n; i++)
		printf("PROBLEM  %s\n", problems.text[i]);
	if (problems.n)
		printf("%u problem%s\n", problems.n, problems.n > 1 ? "s" : "");
	else
		printf("ready%s\n", options->qmp ? "" :
		       " (give --qmp PATH to check a VM as well)");
	i = problems.n;
	problems_free(&problems);
	return i ? EXIT_FAILED : 0;
}
