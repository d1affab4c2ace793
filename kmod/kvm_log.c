// SPDX-License-Identifier: GPL-2.0
/*
 * What is in KVM's dirty log: it is copied, and then cleared by exactly that copy,
 * so that KVM notices the next write of those pages.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/sched.h>

#include "kvm_vm.h"

/* The arguments come first, then as much of a bitmap as there is room for. */
#define ROOM_BITMAP	64
#define WINDOW		((u64)(MF_VMM_BYTES - ROOM_BITMAP) / 8 * BITS_PER_LONG)

/* Slot number @slot as it is; NULL if it has gone, or has no log. */
static struct kvm_memory_slot *find_logged(struct mf_kvm *kvm, u32 slot)
{
	struct kvm_memory_slot *found;

	found = id_to_memslot(__kvm_memslots(kvm->kvm, slot >> 16), (u16)slot);
	return found && found->dirty_bitmap ? found : NULL;
}

/* The first word in [@word, @end) with a bit, or @end. */
static u64 first_word(const unsigned long *log, u64 word, u64 end)
{
	/* Eight at a time: nearly all of a big guest is clean. */
	for (; word + 8 <= end; word += 8) {
		if (READ_ONCE(log[word]) | READ_ONCE(log[word + 1]) |
		    READ_ONCE(log[word + 2]) | READ_ONCE(log[word + 3]) |
		    READ_ONCE(log[word + 4]) | READ_ONCE(log[word + 5]) |
		    READ_ONCE(log[word + 6]) | READ_ONCE(log[word + 7]))
			break;
	}
	while (word < end && !READ_ONCE(log[word]))
		word++;
	return word;
}

/* Words [@word, @end) of a log, without what is not of the pages [@first, @last). */
static void copy_words(const unsigned long *log, u64 first, u64 last, u64 word,
		       u64 end, unsigned long *to)
{
	u64 i;

	for (i = word; i < end; i++)
		to[i - word] = READ_ONCE(log[i]);
	if (word == first / BITS_PER_LONG)
		to[0] &= ~0UL << first % BITS_PER_LONG;
	if (last % BITS_PER_LONG && end > last / BITS_PER_LONG)
		to[last / BITS_PER_LONG - word] &=
			~(~0UL << last % BITS_PER_LONG);
}

/* Bits of the room that were cleared are set again: they are somebody else's. */
static void put_back(struct mf_kvm *kvm, u32 number, u64 word, u64 words,
		     const unsigned long *bits)
{
	int idx = srcu_read_lock(&kvm->kvm->srcu);
	struct kvm_memory_slot *slot = find_logged(kvm, number);
	u64 i;

	for (i = 0; slot && i < words; i++) {
		if (word + i < BITS_TO_LONGS(slot->npages) && bits[i])
			atomic_long_or(bits[i], (atomic_long_t *)
				       &slot->dirty_bitmap[word + i]);
	}
	srcu_read_unlock(&kvm->kvm->srcu, idx);
}

/*
 * KVM is to notice the next write of those pages of a slot whose bits lie in
 * the room. @word is the first of them, @npages the length of the slot.
 */
static void clear(struct mf_kvm *kvm, u32 slot, u64 npages, u64 word, u64 words,
		  unsigned long *bits)
{
	struct kvm_clear_dirty_log *args = kvm->vmm.room;
	u64 first = word * BITS_PER_LONG;
	int err;

	*args = (struct kvm_clear_dirty_log) {
		.slot = slot,
		.first_page = first,
		.num_pages = min_t(u64, words * BITS_PER_LONG, npages - first),
		.dirty_bitmap = (void __user *)(kvm->vmm.addr +
			((void *)bits - kvm->vmm.room)),
	};
	err = mf_vmm_ioctl(&kvm->vmm, kvm->file, KVM_CLEAR_DIRTY_LOG);
	if (err) {
		/* ENOENT, EINVAL: the slot has changed, and will be looked up. */
		if (err == -EFAULT)
			mf_kvm_drop(kvm, MIGRATE_FAST_KVM_UNFIT);
		return;
	}
	kvm->clears++;
	if (!mf_kvm_is_used(kvm))
		put_back(kvm, slot, word, words, bits);
}

/* Pages of the file whose bits are set in @bits, words from @word of the slot. */
static void make_hot(const struct mf_piece *piece, u64 word, u64 words,
		     const unsigned long *bits, unsigned long *hot)
{
	unsigned long bit;

	for_each_set_bit(bit, bits, words * BITS_PER_LONG)
		set_bit(piece->page + (word * BITS_PER_LONG + bit - piece->at),
			hot);
}

/*
 * What the log has of a part of a slot that is shorter than a window: into @hot,
 * which may be NULL. If @take is set KVM begins anew there.
 */
static void read_window(struct mf_kvm *kvm, const struct mf_piece *piece, u64 first,
			u64 last, bool take, unsigned long *hot)
{
	u64 word = first / BITS_PER_LONG;
	u64 end = DIV_ROUND_UP_ULL(last, BITS_PER_LONG);
	unsigned long *bits = kvm->vmm.room + ROOM_BITMAP;
	struct kvm_memory_slot *slot;
	u64 npages = 0;
	int idx;

	idx = srcu_read_lock(&kvm->kvm->srcu);
	slot = find_logged(kvm, piece->slot);
	if (slot && last <= slot->npages) {
		npages = slot->npages;
		word = first_word(slot->dirty_bitmap, word, end);
		if (word < end)
			copy_words(slot->dirty_bitmap, first, last, word, end,
				   bits);
	}
	srcu_read_unlock(&kvm->kvm->srcu, idx);
	if (!npages || word == end)
		return;
	if (hot)
		make_hot(piece, word, end - word, bits, hot);
	if (take)
		clear(kvm, piece->slot, npages, word, end - word, bits);
}

/**
 * mf_kvm_read - what the log has of a part of a file
 * @kvm: the VM, locked; if it is not used any more less is read
 * @piece: where that log is
 * @start: first page, of the file; what is not in @piece is left out
 * @end: the page after the last
 * @take: KVM begins anew there
 * @hot: one bit for each page of the file: set for those in the log; or NULL
 *
 * Context: may sleep.
 */
void mf_kvm_read(struct mf_kvm *kvm, const struct mf_piece *piece, u64 start,
		 u64 end, bool take, unsigned long *hot)
{
	u64 first, last, next;

	start = max(start, piece->page);
	end = min(end, piece->page + piece->count);
	if (start >= end)
		return;
	first = start - piece->page + piece->at;
	last = end - piece->page + piece->at;
	for (; first < last && mf_kvm_is_used(kvm); first = next) {
		/* In whole words: only the first can begin within one. */
		next = min(last, round_down(first, BITS_PER_LONG) + WINDOW);
		read_window(kvm, piece, first, next, take, hot);
		cond_resched();
	}
}
