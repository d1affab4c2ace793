// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints tell what happens, and the kernel log stays silent.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

/* An instance of our own, so that nobody else's tracing is disturbed. */
#define INSTANCE "/sys/kernel/tracing/instances/mf-test"

FIXTURE(trace)
{
	struct mf_vm vm;
	char *text;
};

FIXTURE_SETUP(trace)
{
	self->text = calloc(1, 1 << 20);
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, "huge=never"));
	if (access("/sys/kernel/tracing/instances", F_OK))
		mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL);
	if (mkdir(INSTANCE, 0755) && errno != EEXIST)
		SKIP(return, "no tracing in this kernel");
	ASSERT_EQ(0, mf_write_string(INSTANCE "/events/migrate_fast/enable",
				     "1"));
}

FIXTURE_TEARDOWN(trace)
{
	mf_write_string(INSTANCE "/events/migrate_fast/enable", "0");
	rmdir(INSTANCE);
	mf_vm_close(&self->vm);
}

/* What has been traced; is it there? */
static bool traced(struct _test_data_trace *self, const char *event)
{
	int fd = open(INSTANCE "/trace", O_RDONLY);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, self->text + len, (1 << 20) - 1 - len)) > 0)
		len += n;
	close(fd);
	self->text[len] = '\0';
	return strstr(self->text, event);
}

TEST_F(trace, dirty_events)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 77)[0] = 1;
	EXPECT_EQ(2, pwrite(self->vm.fd, "xy", 2, 79 * MF_PAGE - 1));
	EXPECT_TRUE(traced(self, "migrate_fast_dirty:"));
	EXPECT_TRUE(traced(self, "index=77 nr=1\n"));
	EXPECT_TRUE(traced(self, "index=78 nr=2\n"));
}

TEST_F(trace, harvest)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(mf_page(&self->vm, 70), 1, 3 * MF_PAGE);
	EXPECT_STREQ("70-72", mf_harvest_range(&self->vm, 64, 32));
	EXPECT_TRUE(traced(self, "migrate_fast_harvest:"));
	EXPECT_TRUE(traced(self, "start=64 pages=32 dirty=3 carried=0"));
}

TEST_F(trace, hash)
{
	struct migrate_fast_digest digests[5];
	struct migrate_fast_hash hash = {
		.start = 10, .pages = 5, .max = 5,
		.digests = (uintptr_t)digests,
	};

	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, &hash));
	EXPECT_TRUE(traced(self, "migrate_fast_hash:"));
	EXPECT_TRUE(traced(self, "start=10 next=15 count=5"));
}

TEST_F(trace, send)
{
	struct migrate_fast_segment segment = { .bytes = 1000 };
	struct migrate_fast_send send = {
		.segments = (uintptr_t)&segment, .count = 1, .skip = 100,
	};
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	send.sock = pair[0];
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &send));
	EXPECT_TRUE(traced(self, "migrate_fast_send:"));
	EXPECT_TRUE(traced(self, "skip=100 sent=900"));
}

/* Errors of the caller are answers, not news. */
TEST_F(trace, kernel_log_is_silent)
{
	struct migrate_fast_harvest h = { .ram = 9 };
	int log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	char line[8192];
	ssize_t n;

	ASSERT_LE(0, log);
	lseek(log, 0, SEEK_END);
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(self->vm.map, 1, 100 * MF_PAGE);
	EXPECT_STREQ("0-99", mf_harvest(&self->vm));
	EXPECT_EQ(-ENOENT, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(-EINVAL, mf_mount("huge=sometimes"));
	ASSERT_EQ(0, mf_stop(self->vm.session));
	while ((n = read(log, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		EXPECT_EQ(NULL, strstr(line, "migrate_fast")) {
			TH_LOG("%s", line);
		}
	}
	close(log);
}

TEST_HARNESS_MAIN
