// SPDX-License-Identifier: GPL-2.0
/*
 * Does the VMM use a dirty log that we have switched on? A probe at the entry of
 * its ioctls tells, before KVM hears of it.
 */
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#include "kvm_vm.h"

static DEFINE_MUTEX(watch_lock);
static LIST_HEAD(watched);

/* The VMM makes, or changes, a slot. Does it want the log of one of ours? */
static bool is_wanted(struct mf_kvm *kvm, u32 slot, u32 flags)
{
	unsigned int bit = mf_kvm_slot_bit(slot);

	if (bit >= MF_KVM_SLOTS)
		return false;
	if (!(flags & KVM_MEM_LOG_DIRTY_PAGES)) {
		clear_bit(bit, kvm->wanted);
		return false;
	}
	set_bit(bit, kvm->wanted);
	smp_mb__after_atomic(); /* pairs with that in kvm_slots.c */
	return mf_kvm_is_ours(kvm, slot);
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
		       mf_kvm_is_ours(kvm, region.slot);
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
			mf_kvm_drop(kvm, MIGRATE_FAST_KVM_CONTENDED);
	}
	rcu_read_unlock();
	return 0;
}

static struct kprobe probe = { .pre_handler = on_ioctl };

/**
 * mf_kvm_watch - hear of it when the VMM begins to use a log of ours
 * @kvm: the VM; from now on its state can become MIGRATE_FAST_KVM_CONTENDED
 *
 * Context: may sleep. Return: 0, or what register_kprobe() says.
 */
int mf_kvm_watch(struct mf_kvm *kvm)
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

/**
 * mf_kvm_unwatch - no more
 * @kvm: the VM
 *
 * Context: may sleep. When it returns the probe does not look at it any more.
 */
void mf_kvm_unwatch(struct mf_kvm *kvm)
{
	mutex_lock(&watch_lock);
	list_del_rcu(&kvm->watched);
	if (list_empty(&watched))
		unregister_kprobe(&probe);
	mutex_unlock(&watch_lock);
	synchronize_rcu();
}
