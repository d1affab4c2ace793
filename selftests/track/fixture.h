/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ground on which writers are tested: a tracked file of 4 MB, in small and
 * in large pages, with its pages there or still holes. Every test must give
 * the same answer on each.
 */
#ifndef TRACK_FIXTURE_H
#define TRACK_FIXTURE_H

#include <sys/mman.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 1024UL

FIXTURE(track)
{
	struct mf_vm vm;
};

FIXTURE_VARIANT(track)
{
	const char *options;
	bool filled;
};

FIXTURE_VARIANT_ADD(track, small)
{
	.options = "huge=never",
	.filled = true,
};

FIXTURE_VARIANT_ADD(track, small_holes)
{
	.options = "huge=never",
};

FIXTURE_VARIANT_ADD(track, huge)
{
	.options = "huge=always",
	.filled = true,
};

FIXTURE_VARIANT_ADD(track, huge_holes)
{
	.options = "huge=always",
};

FIXTURE_SETUP(track)
{
	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	if (variant->filled)
		memset(self->vm.map, 0x55, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(track)
{
	mf_vm_close_grouped(&self->vm);
}

#endif
