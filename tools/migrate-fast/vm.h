/* SPDX-License-Identifier: GPL-2.0 */
/* A VM as seen through QMP: what it is, where its RAM lies, its state. */
#ifndef VM_H
#define VM_H

#include <stdbool.h>
#include <stdint.h>

#include "../lib/mf.h"
#include "qmp.h"

/* What became of QEMU's own migration, from its MIGRATION events. */
enum vm_migration {
	VM_MIGRATION_NONE,
	VM_MIGRATION_BUSY,
	VM_MIGRATION_COMPLETED,
	VM_MIGRATION_FAILED,
};

/* A memory backend of the VM. */
struct ram {
	char *id;		/* of the QEMU object; the same at both ends */
	char *type;		/* memory-backend-file as a rule */
	char *path;		/* NULL when the backend has no file */
	uint64_t bytes;
	bool share;
	int fd;
	uint64_t allocated;	/* bytes of the file that are not holes */
	struct mf_ram mf;
};

struct vm {
	struct qmp qmp;
	bool incoming;		/* the side we are: waits for a VM */
	bool handed_over;	/* the state does not matter any more */
	int major, minor, micro;
	char *name;		/* QEMU's -name, or NULL */
	char *machine;
	char *target;
	char *cpu;
	unsigned int cpus;
	char status[32];	/* running, paused, inmigrate ... */
	bool running;		/* as last asked, or heard since */
	bool resumed;		/* a RESUME event has come */
	bool powered_off;	/* a SHUTDOWN event has: by the guest's own will */
	struct ram *ram;
	unsigned int rams;
	json_t *caps_before;	/* capabilities to put back, or NULL */
	bool caps_untouched;	/* they are still so */
	uint64_t plugged;	/* bytes of memory that was plugged in */
	char busy[32];		/* status of a migration of QEMU's own */
	char *blocked;		/* why QEMU says that it cannot migrate */
	enum vm_migration migration;
	bool has_ignore_shared;
	int session;		/* of the module, or -1 */
	int without_kvm;	/* why KVM's log is not used: -errno, or 0 */
};

/* qmp_open() */
int vm_attach(struct vm *vm, const char *qmp_path, unsigned int ms);
/* Connects and asks for everything above; opens no file yet. */
int vm_open(struct vm *vm, const char *qmp_path, bool incoming);
void vm_close(struct vm *vm);

int vm_query_status(struct vm *vm);
/* The same, of a "query-status" that was started before. */
int vm_take_status(struct vm *vm, json_int_t id);

/*
 * Is it as QEMU has left it after it saved its state, by what was last asked?
 * A VM that has been run on since is "paused" when it is stopped again.
 */
bool vm_is_frozen(const struct vm *vm);

/*
 * Lets the VM run. QEMU may have to wait for locks of disk images that its
 * peer still holds: tries for some seconds. 0, or -1 after fail().
 */
int vm_cont(struct vm *vm);

/* Has QEMU closed its socket, and ended, as far as can be seen? */
bool vm_is_gone(const struct vm *vm);
/* Tells QEMU to quit. 0 when it has closed its socket, -1 after fail(). */
int vm_quit(struct vm *vm);
/* For loop_until(): a struct vm whose migration, or QEMU, has come to an end. */
bool vm_migration_is_over(void *vm);

/* What others may have changed since vm_open(). */
int vm_query_again(struct vm *vm);
/* Opens a session of the module and adds the RAM files. */
int vm_open_session(struct vm *vm, uint64_t features);
void vm_close_session(struct vm *vm);

/* Tells the network where the VM is; only starts it. */
json_int_t vm_announce(struct vm *vm);

/* Bytes of all RAM files. */
uint64_t vm_bytes(const struct vm *vm);
uint64_t vm_allocated(const struct vm *vm);

#endif /* VM_H */
