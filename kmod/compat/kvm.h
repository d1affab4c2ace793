/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences of KVM between kernels. Nothing of KVM is linked: the module loads
 * without it.
 */
#ifndef MF_COMPAT_KVM_H
#define MF_COMPAT_KVM_H

#include <linux/kvm_host.h>
#include <linux/module.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
/* With guest_memfd there is a second kind of memory, and a second structure. */
#define mf_kvm_region kvm_userspace_memory_region2
#else
#define mf_kvm_region kvm_userspace_memory_region
#endif

/* Address spaces of the VM: the second one is that of system management mode. */
static inline int mf_kvm_spaces(struct kvm *kvm)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return kvm_arch_nr_memslot_as_ids(kvm);
#else
	return KVM_ADDRESS_SPACE_NUM;
#endif
}

/* Memory of the slot may be where no process maps it. */
static inline bool mf_kvm_private(const struct kvm_memory_slot *slot)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	return kvm_slot_can_be_private(slot);
#else
	return false;
#endif
}

/* Changes the flags of a slot. Context: kvm->slots_lock held. */
static inline int mf_kvm_set_flags(struct kvm *kvm,
				   const struct kvm_memory_slot *slot,
				   u32 flags)
{
	struct mf_kvm_region region = {
		.slot = (u32)slot->as_id << 16 | (u16)slot->id,
		.flags = flags,
		.guest_phys_addr = (u64)slot->base_gfn << PAGE_SHIFT,
		.memory_size = (u64)slot->npages << PAGE_SHIFT,
		.userspace_addr = slot->userspace_addr,
	};
	typeof(&__kvm_set_memory_region) set;
	int err;

	set = symbol_get(__kvm_set_memory_region);
	if (!set)
		return -EOPNOTSUPP;
	err = set(kvm, &region);
	symbol_put(__kvm_set_memory_region);
	return err;
}

#endif
