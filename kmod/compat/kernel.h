/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which kernels this is for: those that the tests run on. Between them the
 * memory management differs in ways that no compiler notices (what counts as a
 * mapping, who may collapse one), so that others are refused and not guessed.
 */
#ifndef MF_COMPAT_KERNEL_H
#define MF_COMPAT_KERNEL_H

#include <linux/version.h>

#define MF_KERNEL_IS(major, minor) \
	(LINUX_VERSION_CODE >= KERNEL_VERSION(major, minor, 0) && \
	 LINUX_VERSION_CODE < KERNEL_VERSION(major, (minor) + 1, 0))

#if !MF_KERNEL_IS(6, 1) && !MF_KERNEL_IS(6, 12) && !defined(MF_UNTESTED_KERNEL)
#error "for Linux 6.1.y and 6.12.y only: for others go through kmod/compat/, run the tests with KCFLAGS=-DMF_UNTESTED_KERNEL, and add them to compat/kernel.h and dkms.conf"
#endif

#endif
