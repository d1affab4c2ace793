/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A session that uses the dirty log of a small guest's KVM.
 */
#ifndef TRACK_KVM_H
#define TRACK_KVM_H

#include <errno.h>

#include "fixture.h"
#include "mf_guest.h"

/* 0, -ENODEV without KVM, or -errno. */
static inline int enter(struct mf_vm *vm, struct mf_guest *guest)
{
	return mf_guest_open(guest, vm->map, PAGES * MF_PAGE);
}

static inline int attach(struct mf_vm *vm, int fd, struct migrate_fast_kvm *kvm)
{
	*kvm = (struct migrate_fast_kvm) { .fd = fd };
	return mf_ioctl(vm->session, MIGRATE_FAST_KVM, kvm);
}

static inline struct migrate_fast_kvm tell(struct mf_vm *vm)
{
	struct migrate_fast_kvm kvm;

	if (attach(vm, -1, &kvm))
		kvm.state = -1;
	return kvm;
}

/* Goes on with a guest, or skips the test. */
#define ENTER_ONLY(_guest) do {						\
	int _rc = enter(&self->vm, _guest);				\
									\
	if (_rc == -ENODEV)						\
		SKIP(return, "no KVM on this host");			\
	ASSERT_EQ(0, _rc);						\
} while (0)

/* Or skips it where that cannot be. */
#define ATTACH(_fd, _kvm) do {						\
	int _err = attach(&self->vm, _fd, _kvm);			\
									\
	MF_SKIP_WITHOUT_KVM_LOG(_err);					\
	ASSERT_EQ(0, _err);						\
} while (0)

/* Goes on with a guest, its log in use. */
#define ENTER(_guest, _kvm) do {					\
	ENTER_ONLY(_guest);						\
	ATTACH((_guest)->vm, _kvm);					\
	ASSERT_EQ(MIGRATE_FAST_KVM_USED, (_kvm)->state);		\
} while (0)

#endif
