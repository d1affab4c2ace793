// SPDX-License-Identifier: GPL-2.0
/*
 * migrate_fast: fast live migration of virtual machines.
 */
#include <linux/build_bug.h>
#include <linux/migrate_fast.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "collapse.h"
#include "device.h"
#include "hash.h"
#include "mfram.h"
#include "status.h"

static int __init mf_init(void)
{
	int err;

	/* Bitmaps are shared with user space as arrays of __u64. */
	BUILD_BUG_ON(PAGE_SIZE != MIGRATE_FAST_PAGE_SIZE);
	BUILD_BUG_ON(BITS_PER_LONG != 64);

	err = mf_hash_init();
	if (err)
		return err;
	err = mf_collapse_init();
	if (err)
		goto exit_hash;
	err = mf_mfram_init();
	if (err)
		goto exit_collapse;
	err = mf_device_init();
	if (err)
		goto exit_mfram;
	mf_status_init();
	return 0;

exit_mfram:
	mf_mfram_exit();
exit_collapse:
	mf_collapse_exit();
exit_hash:
	mf_hash_exit();
	return err;
}

static void __exit mf_exit(void)
{
	mf_status_exit();
	mf_device_exit();
	mf_mfram_exit();
	mf_collapse_exit();
	mf_hash_exit();
}

module_init(mf_init);
module_exit(mf_exit);

MODULE_DESCRIPTION("Live migration of virtual machines: dirty tracking, page digests, zero-copy send");
MODULE_AUTHOR("The migrate-fast authors");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
