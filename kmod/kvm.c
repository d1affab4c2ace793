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
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kvm.h"
#include "kvm_vm.h"

/* Of the VM, once. */
static void let_go(struct mf_kvm *kvm)
{
	mutex_lock(&kvm->lock);
	if (kvm->file) {
		if (mf_kvm_is_used(kvm))
			mf_kvm_switch_off(kvm);
		mf_kvm_unwatch(kvm);
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

	mf_kvm_drop(kvm, MIGRATE_FAST_KVM_GONE);
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
	kvm->pieces = kvcalloc(MF_KVM_PIECES, sizeof(*kvm->pieces),
			       GFP_KERNEL_ACCOUNT);
	kvm->ours = bitmap_zalloc(MF_KVM_SLOTS, GFP_KERNEL_ACCOUNT);
	kvm->wanted = bitmap_zalloc(MF_KVM_SLOTS, GFP_KERNEL_ACCOUNT);
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
	err = mf_kvm_watch(kvm);
	if (err)
		goto leave;
	err = notify(kvm);
	if (err)
		goto unwatch;
	mutex_lock(&kvm->lock);
	if (kvm->file)
		mf_kvm_enumerate(kvm, session);
	mutex_unlock(&kvm->lock);
	return kvm;
unwatch:
	mf_kvm_unwatch(kvm);
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
	if (kvm->file && mf_kvm_is_used(kvm) && mf_kvm_changed(kvm))
		mf_kvm_enumerate(kvm, session);
	for (i = 0; i < kvm->count; i++) {
		if (kvm->pieces[i].ram == ram)
			mf_kvm_read(kvm, &kvm->pieces[i], start, start + pages,
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
			mf_kvm_read(kvm, &kvm->pieces[i], start, start + pages,
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
