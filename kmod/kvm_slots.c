// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's memory slots: which parts of RAM files they are, and whose logs we may
 * have. Slots change at any time; then all are listed anew.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kvm_vm.h"
#include "map.h"
#include "session.h"

static bool is_member(const struct mf_session *session,
		      const struct mf_ram *ram)
{
	unsigned int i;

	for (i = 0; i < session->count; i++) {
		if (session->members[i]->ram == ram)
			return true;
	}
	return false;
}

/*
 * The pieces of a slot, of which @slot is a copy. Returns how many there are;
 * they count only if the caller lets them. Context: mmap_lock of the VMM.
 */
static unsigned int add_pieces(struct mf_kvm *kvm, struct mf_session *session,
			       const struct kvm_memory_slot *slot)
{
	unsigned long begin = slot->userspace_addr, addr = begin;
	unsigned long end = begin + slot->npages * PAGE_SIZE;
	struct vm_area_struct *vma;
	unsigned int count = 0;

	while (addr < end && (vma = find_vma(kvm->mm, addr)) &&
	       vma->vm_start < end) {
		const struct mf_ram *ram = mf_map_ram(vma);
		unsigned long from = max(vma->vm_start, addr);
		unsigned long to = min(vma->vm_end, end);

		addr = to;
		if (!ram || !is_member(session, ram))
			continue;
		if (kvm->count + count == MF_KVM_PIECES) {
			mf_kvm_drop(kvm, MIGRATE_FAST_KVM_UNFIT);
			break;
		}
		kvm->pieces[kvm->count + count++] = (struct mf_piece) {
			.ram = ram,
			.slot = (u32)slot->as_id << 16 | (u16)slot->id,
			.at = (from - begin) >> PAGE_SHIFT,
			.page = vma->vm_pgoff +
				((from - vma->vm_start) >> PAGE_SHIFT),
			.count = (to - from) >> PAGE_SHIFT,
		};
	}
	return count;
}

/* May we have the log of this slot? Context: slots_lock. */
static bool switch_on(struct mf_kvm *kvm, const struct kvm_memory_slot *slot,
		      u32 number)
{
	unsigned int bit = mf_kvm_slot_bit(number);
	int err;

	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
		return test_bit(bit, kvm->ours);
	set_bit(bit, kvm->ours);
	smp_mb__after_atomic(); /* pairs with that in kvm_watch.c */
	if (test_bit(bit, kvm->wanted)) {
		clear_bit(bit, kvm->ours);
		return false;
	}
	err = mf_kvm_set_flags(kvm->kvm, slot,
			       slot->flags | KVM_MEM_LOG_DIRTY_PAGES);
	if (!err)
		return true;
	clear_bit(bit, kvm->ours);
	mf_kvm_drop(kvm, MIGRATE_FAST_KVM_UNFIT);
	return false;
}

static bool is_usable(const struct kvm_memory_slot *slot)
{
	return slot->npages && !mf_kvm_private(slot) &&
	       !(slot->flags & (KVM_MEM_READONLY | KVM_MEMSLOT_INVALID)) &&
	       slot->as_id < 2 && slot->id >= 0;
}

/* The slots there are. Context: slots_lock. */
static void list_slots(struct mf_kvm *kvm, int space, unsigned long *ids)
{
	struct kvm_memory_slot *slot;
	int bkt;

	bitmap_zero(ids, KVM_MEM_SLOTS_NUM);
	kvm_for_each_memslot(slot, bkt, __kvm_memslots(kvm->kvm, space)) {
		u32 number = (u32)space << 16 | (u16)slot->id;

		if (!is_usable(slot))
			continue;
		__set_bit(slot->id, ids);
		/* The VMM has made it anew, or has switched it off. */
		if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
			clear_bit(mf_kvm_slot_bit(number), kvm->ours);
	}
}

/*
 * All pieces of an address space. A slot whose flags are changed is replaced by
 * another one: so they are looked up one by one. Context: slots_lock.
 */
static void list_pieces(struct mf_kvm *kvm, struct mf_session *session,
			int space, const unsigned long *ids)
{
	struct kvm_memory_slot *slot;
	unsigned long id;

	for_each_set_bit(id, ids, KVM_MEM_SLOTS_NUM) {
		u32 number = (u32)space << 16 | id;
		struct kvm_memory_slot copy;
		unsigned int count, i;
		bool had;

		slot = id_to_memslot(__kvm_memslots(kvm->kvm, space), id);
		if (!slot || !mf_kvm_is_used(kvm))
			continue;
		copy = *slot;
		mmap_read_lock(kvm->mm);
		count = add_pieces(kvm, session, &copy);
		mmap_read_unlock(kvm->mm);
		if (!count)
			continue;
		had = mf_kvm_is_ours(kvm, number);
		if (!switch_on(kvm, &copy, number)) {
			kvm->foreign++;
			continue;
		}
		for (i = 0; i < count; i++)
			kvm->pieces[kvm->count + i].fresh = !had;
		kvm->count += count;
		kvm->slots++;
	}
}

/**
 * mf_kvm_changed - are the slots others than when they were listed?
 * @kvm: the VM, locked
 */
bool mf_kvm_changed(struct mf_kvm *kvm)
{
	bool changed = false;
	int space, idx;

	idx = srcu_read_lock(&kvm->kvm->srcu);
	for (space = 0; space < mf_kvm_spaces(kvm->kvm); space++)
		changed |= kvm->generations[space] !=
			   __kvm_memslots(kvm->kvm, space)->generation;
	srcu_read_unlock(&kvm->kvm->srcu, idx);
	return changed;
}

/*
 * A log that has just been switched on may begin with all bits set (KVM calls
 * that "initially set"), and then notices nothing before they are cleared. What
 * was written before is in the dirty bits.
 */
static void begin_anew(struct mf_kvm *kvm)
{
	unsigned int i;

	for (i = 0; i < kvm->count; i++) {
		struct mf_piece *piece = &kvm->pieces[i];

		if (piece->fresh)
			mf_kvm_read(kvm, piece, piece->page,
				    piece->page + piece->count, true, NULL);
		piece->fresh = false;
	}
}

/**
 * mf_kvm_enumerate - find out which slots there are, and switch on their logs
 * @kvm: the VM, locked
 * @session: whose RAM files are looked for in them, locked
 *
 * Context: may sleep.
 */
void mf_kvm_enumerate(struct mf_kvm *kvm, struct mf_session *session)
{
	unsigned long *ids = bitmap_alloc(KVM_MEM_SLOTS_NUM, GFP_KERNEL);
	int space;

	if (!ids || !mmget_not_zero(kvm->mm)) {
		kfree(ids);
		return;
	}
	kvm->count = 0;
	kvm->slots = 0;
	kvm->foreign = 0;
	mutex_lock(&kvm->kvm->slots_lock);
	for (space = 0; space < mf_kvm_spaces(kvm->kvm); space++) {
		list_slots(kvm, space, ids);
		list_pieces(kvm, session, space, ids);
	}
	for (space = 0; space < mf_kvm_spaces(kvm->kvm); space++)
		kvm->generations[space] =
			__kvm_memslots(kvm->kvm, space)->generation;
	mutex_unlock(&kvm->kvm->slots_lock);
	bitmap_free(ids);
	begin_anew(kvm);
	mmput(kvm->mm);
}

/**
 * mf_kvm_switch_off - what we have switched on is switched off
 * @kvm: the VM, locked; it is left as it was found
 *
 * Context: may sleep.
 */
void mf_kvm_switch_off(struct mf_kvm *kvm)
{
	unsigned long bit;

	mutex_lock(&kvm->kvm->slots_lock);
	for_each_set_bit(bit, kvm->ours, MF_KVM_SLOTS) {
		struct kvm_memory_slot *slot, copy;

		slot = id_to_memslot(__kvm_memslots(kvm->kvm,
						    bit / KVM_MEM_SLOTS_NUM),
				     bit % KVM_MEM_SLOTS_NUM);
		/* The VMM wants it from now on. */
		if (!mf_kvm_is_used(kvm))
			break;
		if (!slot || !is_usable(slot) ||
		    !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
			continue;
		copy = *slot;
		mf_kvm_set_flags(kvm->kvm, &copy,
				 copy.flags & ~KVM_MEM_LOG_DIRTY_PAGES);
	}
	mutex_unlock(&kvm->kvm->slots_lock);
}
