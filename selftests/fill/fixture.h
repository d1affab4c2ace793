/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ground on which absent pages are tested: a file of 4 MB in small and in
 * large pages, all of which hold version 1. What is filled is version 2, and
 * what nobody may ever see of an absent page is version 1 or zeroes.
 */
#ifndef FILL_FIXTURE_H
#define FILL_FIXTURE_H

#include <sys/mman.h>

#include "kselftest_harness.h"
#include "mf_fill.h"
#include "mf_fixture.h"

#define PAGES 1024UL

FIXTURE(fill)
{
	struct mf_vm vm;
};

MF_SMALL_AND_HUGE(fill);

FIXTURE_SETUP(fill)
{
	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	mf_stamp(self->vm.map, 0, PAGES, 1);
}

FIXTURE_TEARDOWN(fill)
{
	mf_vm_close_grouped(&self->vm);
}

/* The page as it is seen through the mapping. */
#define EXPECT_VERSION(_version, _page) \
	EXPECT_EQ(-1, mf_stamp_differs(mf_page(&self->vm, _page), _page, \
				       _version))

static inline bool is_zero(const unsigned char *page)
{
	return !page[0] && !memcmp(page, page + 1, MF_PAGE - 1);
}

#endif
