// SPDX-License-Identifier: GPL-2.0
/*
 * KVM's own dirty log: which pages does the guest write right now?
 *
 * Without it a harvest makes each page that was written read-only in the VMM's
 * page table. KVM then has to forget the page, and the guest's next write of it
 * takes two faults, one of KVM and one of the page cache. With KVM's log a page
 * that the guest is writing is left as it is, and KVM alone is asked to notice
 * the next write, which takes it a tenth of that.
 *
 * Nothing depends on the log being right. A page that is left writable stays in
 * the set of pages that are (the dirty bits of track.c), all of which the next
 * harvest reports again. All that the log decides is whether it is left: who
 * reads too little there makes the guest slower, who reads too much is told a
 * page once too often. So slots may change, bits be taken by somebody else, or
 * lie about where a slot is, meanwhile.
 *
 * What has to be right is what we do to others. The log of a slot that we have
 * not switched on is not touched: who did reads it. And if the VMM begins to
 * use one that we have switched on, we are out of it from that moment on, for
 * good: a probe at the entry of its ioctls tells us. Bits that we had on their
 * way to be cleared then are put back.
 *
 * Lifetime: the session owns this. It holds the VM's file, which a VMM that dies
 * closes: so we hear of the end of its address space, and let go, see gone().
 *
 * Lock order: session->lock -> kvm->lock -> mmap_lock of the VMM, slots_lock and
 * srcu of KVM.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/migrate_fast.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/rculist.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "compat/kvm.h"
#include "kvm.h"
#include "map.h"
#include "session.h"
#include "vmm.h"

/* Parts of slots that are parts of RAM files, at most. */
#define MAX_PIECES	1024
/* Slots, by number, of both address spaces. */
#define SLOTS		(2 * KVM_MEM_SLOTS_NUM)
/* The arguments come first, then as much of a bitmap as there is room for. */
#define ROOM_BITMAP	64
#define WINDOW		((u64)(MF_VMM_BYTES - ROOM_BITMAP) / 8 * BITS_PER_LONG)

/* Pages of a slot that lie in a RAM file, one after the other. */
struct piece {
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
	struct piece *pieces;
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

static DEFINE_MUTEX(watch_lock);
static LIST_HEAD(watched);

/* Only the first reason counts. */
static void drop(struct mf_kvm *kvm, u32 why)
{
	cmpxchg(&kvm->state, MIGRATE_FAST_KVM_USED, why);
}

static bool is_used(const struct mf_kvm *kvm)
{
	return READ_ONCE(kvm->state) == MIGRATE_FAST_KVM_USED;
}

static unsigned int slot_bit(u32 slot)
{
	return (slot >> 16) * KVM_MEM_SLOTS_NUM + (u16)slot;
}

/* Of this slot's log we are the only user. */
static bool is_ours(const struct mf_kvm *kvm, u32 slot)
{
	unsigned int bit = slot_bit(slot);

	return bit < SLOTS && test_bit(bit, kvm->ours);
}

/* The VMM makes, or changes, a slot. Does it want the log of one of ours? */
static bool is_wanted(struct mf_kvm *kvm, u32 slot, u32 flags)
{
	unsigned int bit = slot_bit(slot);

	if (bit >= SLOTS)
		return false;
	if (!(flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		clear_bit(bit, kvm->wanted);
		return false;
	}
	set_bit(bit, kvm->wanted);
	smp_mb__after_atomic(); /* pairs with that in switch_on() */
	return is_ours(kvm, slot);
}

/*
 * The VMM calls ioctl @cmd of its VM with @arg. All of those that are about a
 * log begin with the number of the slot. One that cannot be read is taken for
 * ours.
 */
static bool is_contention(struct mf_kvm *kvm, unsigned int cmd,
			  void __user *arg)
{
	struct kvm_userspace_memory_region region;

	switch (cmd) {
	case KVM_GET_DIRTY_LOG:
	case KVM_CLEAR_DIRTY_LOG:
		return copy_from_user_nofault(&region.slot, arg,
					      sizeof(region.slot)) ||
		       is_ours(kvm, region.slot);
	case KVM_SET_USER_MEMORY_REGION:
#ifdef KVM_SET_USER_MEMORY_REGION2
	case KVM_SET_USER_MEMORY_REGION2:
#endif
		return copy_from_user_nofault(&region, arg,
				offsetofend(typeof(region), flags)) ||
		       is_wanted(kvm, region.slot, region.flags);
	default:
		return false;
	}
}

/* Context: preemption is off, and nothing may sleep. */
static int on_ioctl(struct kprobe *probe, struct pt_regs *regs)
{
	struct file *file = (void *)regs_get_kernel_argument(regs, 0);
	unsigned int cmd = regs_get_kernel_argument(regs, 1);
	void __user *arg = (void __user *)regs_get_kernel_argument(regs, 2);
	struct mf_kvm *kvm;

	/* Ours are the only ones of a thread of the kernel. */
	if (current->flags & PF_KTHREAD)
		return 0;
	rcu_read_lock();
	list_for_each_entry_rcu(kvm, &watched, watched) {
		if (kvm->kvm == file->private_data &&
		    is_contention(kvm, cmd, arg))
			drop(kvm, MIGRATE_FAST_KVM_CONTENDED);
	}
	rcu_read_unlock();
	return 0;
}

static struct kprobe probe = { .pre_handler = on_ioctl };

static int watch(struct mf_kvm *kvm)
{
	int err = 0;

	mutex_lock(&watch_lock);
	if (list_empty(&watched)) {
		probe.addr = (void *)kvm->file->f_op->unlocked_ioctl;
		probe.flags = 0;
		err = register_kprobe(&probe);
	}
	if (!err)
		list_add_rcu(&kvm->watched, &watched);
	mutex_unlock(&watch_lock);
	return err;
}

static void unwatch(struct mf_kvm *kvm)
{
	mutex_lock(&watch_lock);
	list_del_rcu(&kvm->watched);
	if (list_empty(&watched))
		unregister_kprobe(&probe);
	mutex_unlock(&watch_lock);
	synchronize_rcu();
}

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
			drop(kvm, MIGRATE_FAST_KVM_UNFIT);
		return;
	}
	kvm->clears++;
	if (!is_used(kvm))
		put_back(kvm, slot, word, words, bits);
}

/* Pages of the file whose bits are set in @bits, words from @word of the slot. */
static void make_hot(const struct piece *piece, u64 word, u64 words,
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
static void read_window(struct mf_kvm *kvm, const struct piece *piece, u64 first,
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

/* The same of the pages [@start, @end) of the file, as far as they are in @piece. */
static void read_piece(struct mf_kvm *kvm, const struct piece *piece, u64 start,
		       u64 end, bool take, unsigned long *hot)
{
	u64 first, last, next;

	start = max(start, piece->page);
	end = min(end, piece->page + piece->count);
	if (start >= end)
		return;
	first = start - piece->page + piece->at;
	last = end - piece->page + piece->at;
	for (; first < last && is_used(kvm); first = next) {
		/* In whole words: only the first can begin within one. */
		next = min(last, round_down(first, BITS_PER_LONG) + WINDOW);
		read_window(kvm, piece, first, next, take, hot);
		cond_resched();
	}
}

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
		if (kvm->count + count == MAX_PIECES) {
			drop(kvm, MIGRATE_FAST_KVM_UNFIT);
			break;
		}
		kvm->pieces[kvm->count + count++] = (struct piece) {
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
	unsigned int bit = slot_bit(number);
	int err;

	if (slot->flags & KVM_MEM_LOG_DIRTY_PAGES)
		return test_bit(bit, kvm->ours);
	set_bit(bit, kvm->ours);
	smp_mb__after_atomic(); /* pairs with that in is_wanted() */
	if (test_bit(bit, kvm->wanted)) {
		clear_bit(bit, kvm->ours);
		return false;
	}
	err = mf_kvm_set_flags(kvm->kvm, slot,
			       slot->flags | KVM_MEM_LOG_DIRTY_PAGES);
	if (!err)
		return true;
	clear_bit(bit, kvm->ours);
	drop(kvm, MIGRATE_FAST_KVM_UNFIT);
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
			clear_bit(slot_bit(number), kvm->ours);
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
		if (!slot || !is_used(kvm))
			continue;
		copy = *slot;
		mmap_read_lock(kvm->mm);
		count = add_pieces(kvm, session, &copy);
		mmap_read_unlock(kvm->mm);
		if (!count)
			continue;
		had = is_ours(kvm, number);
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

static bool has_changed(struct mf_kvm *kvm)
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
		struct piece *piece = &kvm->pieces[i];

		if (piece->fresh)
			read_piece(kvm, piece, piece->page,
				   piece->page + piece->count, true, NULL);
		piece->fresh = false;
	}
}

/* Finds out which slots there are, and switches on their logs. */
static void enumerate(struct mf_kvm *kvm, struct mf_session *session)
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

/* The VM is left as it was found: what we have switched on is switched off. */
static void switch_off(struct mf_kvm *kvm)
{
	unsigned long bit;

	mutex_lock(&kvm->kvm->slots_lock);
	for_each_set_bit(bit, kvm->ours, SLOTS) {
		struct kvm_memory_slot *slot, copy;

		slot = id_to_memslot(__kvm_memslots(kvm->kvm,
						    bit / KVM_MEM_SLOTS_NUM),
				     bit % KVM_MEM_SLOTS_NUM);
		/* The VMM wants it from now on. */
		if (!is_used(kvm))
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

/* Of the VM, once. */
static void let_go(struct mf_kvm *kvm)
{
	mutex_lock(&kvm->lock);
	if (kvm->file) {
		if (is_used(kvm))
			switch_off(kvm);
		unwatch(kvm);
		mf_vmm_leave(&kvm->vmm);
		fput(kvm->file);
		kvm->file = NULL;
		kvm->count = 0;
		kvm->slots = 0;
		kvm->foreign = 0;
	}
	mutex_unlock(&kvm->lock);
}

static void gone(struct work_struct *work)
{
	struct mf_kvm *kvm = container_of(work, struct mf_kvm, gone);

	let_go(kvm);
}

/* The address space ends. Its last user may be our thread: nothing waits here. */
static void on_release(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	struct mf_kvm *kvm = container_of(notifier, struct mf_kvm, notifier);

	drop(kvm, MIGRATE_FAST_KVM_GONE);
	schedule_work(&kvm->gone);
}

static const struct mmu_notifier_ops notifier_ops = {
	.release = on_release,
};

/* The file is a VM of KVM. No name is looked up: one that we have is printed. */
static bool is_vm(const struct file *file)
{
	char name[64];

	if (!file->f_op->unlocked_ioctl)
		return false;
	snprintf(name, sizeof(name), "%ps", file->f_op->unlocked_ioctl);
	return !strcmp(name, "kvm_vm_ioctl [kvm]") ||
	       !strcmp(name, "kvm_vm_ioctl");
}

static void kvm_free(struct mf_kvm *kvm)
{
	bitmap_free(kvm->ours);
	bitmap_free(kvm->wanted);
	kvfree(kvm->pieces);
	kfree(kvm);
}

static struct mf_kvm *kvm_alloc(struct file *file)
{
	struct mf_kvm *kvm = kzalloc(sizeof(*kvm), GFP_KERNEL_ACCOUNT);

	if (!kvm)
		return NULL;
	kvm->pieces = kvcalloc(MAX_PIECES, sizeof(*kvm->pieces),
			       GFP_KERNEL_ACCOUNT);
	kvm->ours = bitmap_zalloc(SLOTS, GFP_KERNEL_ACCOUNT);
	kvm->wanted = bitmap_zalloc(SLOTS, GFP_KERNEL_ACCOUNT);
	if (!kvm->pieces || !kvm->ours || !kvm->wanted) {
		kvm_free(kvm);
		return NULL;
	}
	mutex_init(&kvm->lock);
	INIT_WORK(&kvm->gone, gone);
	kvm->kvm = file->private_data;
	kvm->mm = kvm->kvm->mm;
	kvm->notifier.ops = &notifier_ops;
	kvm->state = MIGRATE_FAST_KVM_USED;
	return kvm;
}

/* Who has an address space that lives can be told when it ends. */
static int notify(struct mf_kvm *kvm)
{
	int err = -ESRCH;

	if (mmget_not_zero(kvm->mm)) {
		err = mmu_notifier_register(&kvm->notifier, kvm->mm);
		mmput(kvm->mm);
	}
	return err;
}

/**
 * mf_kvm_attach - use the dirty log of a VM
 * @session: the session, locked; its RAM files are looked for in the VM's slots
 * @file: the VM
 *
 * Context: may sleep. Return: to be ended by mf_kvm_detach(). ERR_PTR:
 * -EMEDIUMTYPE no VM of KVM; -EOPNOTSUPP it has a dirty ring; -ESRCH its process
 * has gone; -ENOMEM, -EINTR, and what register_kprobe() says.
 */
struct mf_kvm *mf_kvm_attach(struct mf_session *session, struct file *file)
{
	struct mf_kvm *kvm;
	int err;

	if (!is_vm(file))
		return ERR_PTR(-EMEDIUMTYPE);
	kvm = kvm_alloc(file);
	if (!kvm)
		return ERR_PTR(-ENOMEM);
	if (kvm->kvm->dirty_ring_size) {
		err = -EOPNOTSUPP;
		goto free;
	}
	err = mf_vmm_enter(&kvm->vmm, kvm->mm);
	if (err)
		goto free;
	mmgrab(kvm->mm);
	kvm->file = get_file(file);
	err = watch(kvm);
	if (err)
		goto leave;
	err = notify(kvm);
	if (err)
		goto unwatch;
	mutex_lock(&kvm->lock);
	if (kvm->file)
		enumerate(kvm, session);
	mutex_unlock(&kvm->lock);
	return kvm;
unwatch:
	unwatch(kvm);
leave:
	mf_vmm_leave(&kvm->vmm);
	fput(kvm->file);
	mmdrop(kvm->mm);
free:
	kvm_free(kvm);
	return ERR_PTR(err);
}

/**
 * mf_kvm_detach - leave the VM as it was found
 * @kvm: from mf_kvm_attach(), or NULL
 *
 * Context: may sleep.
 */
void mf_kvm_detach(struct mf_kvm *kvm)
{
	if (!kvm)
		return;
	let_go(kvm);
	/* Calls on_release() if that was not called yet. */
	mmu_notifier_unregister(&kvm->notifier, kvm->mm);
	cancel_work_sync(&kvm->gone);
	mmdrop(kvm->mm);
	kvm_free(kvm);
}

/**
 * mf_kvm_take - which pages has the guest written since the last time?
 * @kvm: the VM, or NULL
 * @session: the session, locked
 * @ram: a file of it
 * @start: first page
 * @pages: how many
 * @hot: one bit for each page of the file: set for those in the log; or NULL
 *
 * The log of that range begins anew. Context: may sleep.
 */
void mf_kvm_take(struct mf_kvm *kvm, struct mf_session *session,
		 const struct mf_ram *ram, u64 start, u64 pages,
		 unsigned long *hot)
{
	unsigned int i;

	if (!kvm)
		return;
	mutex_lock(&kvm->lock);
	if (kvm->file && is_used(kvm) && has_changed(kvm))
		enumerate(kvm, session);
	for (i = 0; i < kvm->count; i++) {
		if (kvm->pieces[i].ram == ram)
			read_piece(kvm, &kvm->pieces[i], start, start + pages,
				   true, hot);
	}
	mutex_unlock(&kvm->lock);
}

/**
 * mf_kvm_look - likewise, and the log goes on
 * @kvm: the VM, or NULL
 * @ram: a file
 * @start: first page
 * @pages: how many
 * @hot: one bit for each page of the file: set for those in the log
 */
void mf_kvm_look(struct mf_kvm *kvm, const struct mf_ram *ram, u64 start,
		 u64 pages, unsigned long *hot)
{
	unsigned int i;

	if (!kvm)
		return;
	mutex_lock(&kvm->lock);
	for (i = 0; i < kvm->count; i++) {
		if (kvm->pieces[i].ram == ram)
			read_piece(kvm, &kvm->pieces[i], start, start + pages,
				   false, hot);
	}
	mutex_unlock(&kvm->lock);
}

/**
 * mf_kvm_tell - what has become of it
 * @kvm: the VM
 * @arg: its outputs are set
 */
void mf_kvm_tell(struct mf_kvm *kvm, struct migrate_fast_kvm *arg)
{
	mutex_lock(&kvm->lock);
	arg->state = READ_ONCE(kvm->state);
	arg->slots = kvm->slots;
	arg->foreign = kvm->foreign;
	arg->clears = kvm->clears;
	mutex_unlock(&kvm->lock);
}
