/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KVM's own dirty log: which pages does the guest write right now?
 */
#ifndef MF_KVM_H
#define MF_KVM_H

#include <linux/types.h>

struct file;
struct mf_kvm;
struct mf_ram;
struct mf_session;
struct migrate_fast_kvm;

#ifdef MF_KVM
struct mf_kvm *mf_kvm_attach(struct mf_session *session, struct file *file);
void mf_kvm_detach(struct mf_kvm *kvm);
void mf_kvm_take(struct mf_kvm *kvm, struct mf_session *session,
		 const struct mf_ram *ram, u64 start, u64 pages,
		 unsigned long *hot);
void mf_kvm_look(struct mf_kvm *kvm, const struct mf_ram *ram, u64 start,
		 u64 pages, unsigned long *hot);
void mf_kvm_tell(struct mf_kvm *kvm, struct migrate_fast_kvm *arg);
#else
#include <linux/err.h>
static inline struct mf_kvm *mf_kvm_attach(struct mf_session *session,
					   struct file *file)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static inline void mf_kvm_detach(struct mf_kvm *kvm)
{
}

static inline void mf_kvm_take(struct mf_kvm *kvm, struct mf_session *session,
			       const struct mf_ram *ram, u64 start, u64 pages,
			       unsigned long *hot)
{
}

static inline void mf_kvm_look(struct mf_kvm *kvm, const struct mf_ram *ram,
			       u64 start, u64 pages, unsigned long *hot)
{
}

static inline void mf_kvm_tell(struct mf_kvm *kvm, struct migrate_fast_kvm *arg)
{
}
#endif

#endif
