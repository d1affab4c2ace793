/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A VM whose dirty log is used: for kvm.c and its parts, kvm_watch.c (does the
 * VMM use it, too?), kvm_slots.c (where is the log of what?) and kvm_log.c (what
 * is in it?).
 */
#ifndef MF_KVM_VM_H
#define MF_KVM_VM_H

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/list.h>
#include <linux/migrate_fast.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/workqueue.h>

#include "compat/kvm.h"
#include "vmm.h"

struct mf_ram;
struct mf_session;

/* Parts of slots that are parts of RAM files, at most. */
#define MF_KVM_PIECES	1024
/* Slots, by number, of both address spaces. */
#define MF_KVM_SLOTS	(2 * KVM_MEM_SLOTS_NUM)

/* Pages of a slot that lie in a RAM file, one after the other. */
struct mf_piece {
	const struct mf_ram *ram;
	u32 slot;		/* as in KVM's ioctls */
	u64 at;			/* first page, in the slot */
	u64 page;		/* ... in the file */
	u64 count;
	bool fresh;		/* its log has just been switched on */
};

/**
 * struct mf_kvm - a VM whose log we read
 * @lock: protects all that follows, but what is read by the probe
 * @file: of the VM; NULL when the VMM has gone
 * @kvm: the same; valid while there is @file
 * @mm: the address space of its process; we keep the structure
 * @vmm: a thread of ours there
 * @generations: of the slots when @pieces was made
 * @pieces: those whose log we have switched on
 * @count: of them
 * @ours: slots whose log we have switched on, or are about to
 * @wanted: slots whose log the VMM has switched on, or is about to, since we
 *	know of that. A slot that both want is the VMM's: each sets its own bit
 *	first, and then looks at the other's
 * @slots: how many
 * @foreign: slots of RAM files whose log somebody else has switched on
 * @clears: times that the log was cleared
 * @state: MIGRATE_FAST_KVM_*; set by the probe, too
 * @watched: in the list of what the probe knows
 * @notifier: of the end of the address space
 * @gone: lets go of the VM then
 */
struct mf_kvm {
	struct mutex lock;
	struct file *file;
	struct kvm *kvm;
	struct mm_struct *mm;
	struct mf_vmm vmm;
	u64 generations[2];
	struct mf_piece *pieces;
	unsigned int count;
	unsigned long *ours;
	unsigned long *wanted;
	unsigned int slots;
	unsigned int foreign;
	u64 clears;
	u32 state;
	struct list_head watched;
	struct mmu_notifier notifier;
	struct work_struct gone;
};

/* Only the first reason counts. */
static inline void mf_kvm_drop(struct mf_kvm *kvm, u32 why)
{
	cmpxchg(&kvm->state, MIGRATE_FAST_KVM_USED, why);
}

static inline bool mf_kvm_is_used(const struct mf_kvm *kvm)
{
	return READ_ONCE(kvm->state) == MIGRATE_FAST_KVM_USED;
}

static inline unsigned int mf_kvm_slot_bit(u32 slot)
{
	return (slot >> 16) * KVM_MEM_SLOTS_NUM + (u16)slot;
}

/* Of this slot's log we are the only user. */
static inline bool mf_kvm_is_ours(const struct mf_kvm *kvm, u32 slot)
{
	unsigned int bit = mf_kvm_slot_bit(slot);

	return bit < MF_KVM_SLOTS && test_bit(bit, kvm->ours);
}

/* kvm_watch.c */
int mf_kvm_watch(struct mf_kvm *kvm);
void mf_kvm_unwatch(struct mf_kvm *kvm);

/* kvm_log.c */
void mf_kvm_read(struct mf_kvm *kvm, const struct mf_piece *piece, u64 start,
		 u64 end, bool take, unsigned long *hot);

/* kvm_slots.c */
bool mf_kvm_changed(struct mf_kvm *kvm);
void mf_kvm_enumerate(struct mf_kvm *kvm, struct mf_session *session);
void mf_kvm_switch_off(struct mf_kvm *kvm);

#endif
