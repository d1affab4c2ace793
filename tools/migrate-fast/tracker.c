// SPDX-License-Identifier: GPL-2.0
/* What tells us which pages the VM writes; see tracker.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/say.h"
#include "../lib/word.h"
#include "tracker.h"
#include "vm.h"

#define VM_FILE	"anon_inode:kvm-vm"

enum tracker tracker_find(const char *name)
{
	static const char *const names[] = {
		[TRACKER_AUTO] = "auto",
		[TRACKER_EVENTS] = "events",
		[TRACKER_KVM] = "kvm",
	};

	return word_find(names, TRACKERS, name);
}

/* The number that QEMU's file of the VM has there, or -errno. */
static int find_vm(pid_t pid)
{
	char path[64], target[sizeof(VM_FILE) + 1];
	struct dirent *entry;
	int fd = -ENOENT;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (fd < 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target,
				       sizeof(target));

		if (n == sizeof(VM_FILE) - 1 && !memcmp(target, VM_FILE, (size_t)n))
			fd = atoi(entry->d_name);
	}
	closedir(dir);
	return fd;
}

/* A descriptor of that file here, or -errno. */
static int take_vm(pid_t pid)
{
	int number = find_vm(pid), process, fd;

	if (number < 0)
		return number;
	process = (int)syscall(SYS_pidfd_open, pid, 0);
	if (process < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	if (fd < 0)
		fd = -errno;
	close(process);
	return fd;
}

static const char *why_not(int err)
{
	switch (-err) {
	case ENOENT:
		return "the process has no VM of KVM";
	case EOPNOTSUPP:
		return "the VM has a dirty ring, or this kernel lets no module switch the log on (it is later than Linux 6.12, or lacks kprobes)";
	case EBUSY:
		return "somebody else uses it";
	case ENOTTY:
		return "the module is older than this tool";
	default:
		return strerror(-err);
	}
}

int tracker_begin(struct vm *vm, enum tracker how, pid_t pid)
{
	struct migrate_fast_kvm kvm;
	int fd, err;

	if (how == TRACKER_EVENTS)
		return 0;
	fd = take_vm(pid ? pid : vm->qmp.peer);
	err = fd < 0 ? fd : mf_kvm(vm->session, fd, &kvm);
	if (fd >= 0)
		close(fd);
	if (!err && !kvm.slots)
		err = -EBUSY;
	vm->without_kvm = err;
	if (!err || how == TRACKER_AUTO)
		return 0;
	return fail("--source=kvm: KVM's dirty log cannot be used (process %d): %s. --pid names another process, --source=events does without",
		    pid ? pid : vm->qmp.peer, why_not(err));
}

/* What follows the state, if there is more to say. */
static const char *reason(const struct vm *vm,
			  const struct migrate_fast_kvm *kvm)
{
	if (kvm->state == MIGRATE_FAST_KVM_NONE ||
	    (kvm->state == MIGRATE_FAST_KVM_USED && !kvm->slots))
		return vm->without_kvm ? why_not(vm->without_kvm) : NULL;
	return NULL;
}

json_t *tracker_json(const struct vm *vm)
{
	static const char *const states[] = {
		[MIGRATE_FAST_KVM_NONE] = "events",
		[MIGRATE_FAST_KVM_USED] = "kvm",
		[MIGRATE_FAST_KVM_CONTENDED] = "events: QEMU has begun to use KVM's log",
		[MIGRATE_FAST_KVM_GONE] = "events: QEMU has ended",
		[MIGRATE_FAST_KVM_UNFIT] = "events: KVM has refused its log",
	};
	struct migrate_fast_kvm kvm;
	const char *why;
	json_t *used;

	if (vm->session < 0 || mf_kvm(vm->session, -1, &kvm) ||
	    kvm.state >= sizeof(states) / sizeof(states[0]))
		return NULL;
	why = reason(vm, &kvm);
	used = why ? json_sprintf("events: %s", why) :
		     json_string(states[kvm.state]);
	return json_pack("{s:o, s:I, s:I, s:I, s:I}", "used", used,
			 "slots", (json_int_t)kvm.slots,
			 "foreign", (json_int_t)kvm.foreign,
			 "clears", (json_int_t)kvm.clears,
			 "kept", (json_int_t)kvm.kept);
}
