/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest virtual machine: one processor in 32-bit protected mode without
 * paging, and a program that stores to guest memory and halts.
 */
#ifndef MF_GUEST_H
#define MF_GUEST_H

#include <pthread.h>

#include "mf_test.h"

/* Where the guest sees the RAM file: 2 MB aligned, like real guest memory. */
#define MF_GUEST_RAM 0x40000000U

/* The guest's programs: labels in assembly. */
extern const char mf_guest_code[], mf_guest_code_load[];
extern const char mf_guest_code_load_out[];
extern const char mf_guest_code_scatter[], mf_guest_code_end[];

struct mf_guest {
	int kvm;
	int vm;
	int vcpu;
	struct kvm_run *run;
	size_t run_bytes;
	void *code;
	bool irqchip;
	volatile bool stop;
};

/* -ENODEV when there is no KVM here. */
int mf_guest_open(struct mf_guest *guest, void *ram, size_t bytes);
/*
 * Likewise, with an interrupt controller in the kernel and interrupts on, so
 * that KVM does not wait in page faults but halts the processor meanwhile.
 * Such a guest can only load.
 */
int mf_guest_open_irqchip(struct mf_guest *guest, void *ram, size_t bytes);
void mf_guest_close(struct mf_guest *guest);
/*
 * For a guest that does not come to its end: tells where it is, and the thread
 * that runs it goes on with -EINTR.
 */
void mf_guest_stop(struct mf_guest *guest, pthread_t thread);
/* The guest stores @value at a byte offset of the RAM. */
int mf_guest_store(struct mf_guest *guest, size_t offset, __u32 value);
/* The guest loads from a byte offset of the RAM. */
int mf_guest_load(struct mf_guest *guest, size_t offset, __u32 *value);
/* @count stores in pseudo-random words of @bytes, a power of two, at @offset. */
int mf_guest_scatter(struct mf_guest *guest, size_t offset, size_t bytes,
		     __u32 count, __u32 seed);
/* The same, with @between instructions between one store and the next. */
int mf_guest_work(struct mf_guest *guest, size_t offset, size_t bytes,
		  __u32 count, __u32 seed, __u32 between);

/*
 * Skips a test by what MIGRATE_FAST_KVM returns where KVM's log cannot be used.
 * That it can be where it shall migrate/source makes sure.
 */
#define MF_SKIP_WITHOUT_KVM_LOG(_err) do {				\
	if ((_err) == -EOPNOTSUPP)					\
		SKIP(return, "no use of KVM's log on this kernel");	\
} while (0)

#endif
