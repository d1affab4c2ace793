// SPDX-License-Identifier: GPL-2.0
/* What /sys/kernel/debug/migrate-fast/sessions tells. */
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define DEBUGFS	"/sys/kernel/debug"

/* All of it; "" if it cannot be read. */
static const char *sessions(void)
{
	static char text[65536];
	FILE *file = fopen(DEBUGFS "/migrate-fast/sessions", "r");
	size_t n = 0;

	if (file) {
		n = fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	text[n] = '\0';
	return text;
}

FIXTURE(status)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(status)
{
	if (access(DEBUGFS "/migrate-fast", F_OK))
		ASSERT_EQ(0, mount("none", DEBUGFS, "debugfs", 0, NULL));
	ASSERT_EQ(0, mf_vm_open(&self->vm, 64, NULL));
}

FIXTURE_TEARDOWN(status)
{
	mf_vm_close(&self->vm);
}

TEST_F(status, tells_of_a_session)
{
	char opener[64];

	snprintf(opener, sizeof(opener), "(%d)\n", getpid());
	EXPECT_TRUE(strstr(sessions(), opener));
	EXPECT_TRUE(strstr(sessions(), "session of status "));
	EXPECT_TRUE(strstr(sessions(), "KVM's log: none;"));
	EXPECT_TRUE(strstr(sessions(), strrchr(self->vm.path, '/')));
	EXPECT_TRUE(strstr(sessions(), "pages 64, not tracked;"));
	ASSERT_EQ(0, mf_start(self->vm.session));
	self->vm.map[0] = 1;
	mf_harvest(&self->vm);
	EXPECT_TRUE(strstr(sessions(), "pages 64, tracked; faults 1, writes 0, harvests 1, harvested 1, "));
	mf_vm_close(&self->vm);
	EXPECT_FALSE(strstr(sessions(), opener));
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, NULL));
	EXPECT_TRUE(strstr(sessions(), opener));
	EXPECT_TRUE(strstr(sessions(), "pages 128, not tracked;"));
}

TEST_HARNESS_MAIN
