// SPDX-License-Identifier: GPL-2.0
/*
 * A file that is tracked and served at once: what FILL brings is not written,
 * what the VM does with it is. And what is absent is neither hashed nor sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

static int store(struct mf_vm *vm, size_t page)
{
	mf_page(vm, page)[8] = 0xaa;
	return mf_page(vm, page)[7] == (__u8)(mf_stamp_word(page, 0, 2) >> 56) ?
	       0 : MF_WRONG;
}

static int write_byte(struct mf_vm *vm, size_t page)
{
	return pwrite(vm->fd, "x", 1, page * MF_PAGE) == 1 ? 0 : errno;
}

TEST_F(fill, fills_are_not_writes)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(512, mf_demand(&self->vm, 300, 512));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(10, mf_fill(&self->vm, 300, 10, 2));
	EXPECT_EQ(10, mf_fill_zero(&self->vm, 310, 10));
	EXPECT_EQ(492, mf_fill(&self->vm, 300, 512, 2));
	EXPECT_STREQ("", mf_peek(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	/* Nor is it to read them. */
	EXPECT_VERSION(2, 300);
	EXPECT_VERSION(2, 811);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(fill, writes_after_it_are_reported)
{
	int i;

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(512, mf_demand(&self->vm, 512, 512));
	EXPECT_EQ(512, mf_fill(&self->vm, 512, 512, 2));
	for (i = 0; i < 3; i++) {
		mf_page(&self->vm, 600)[i] = i;
		EXPECT_EQ(1, pwrite(self->vm.fd, "x", 1, 700 * MF_PAGE));
		EXPECT_STREQ("600,700", mf_harvest(&self->vm));
	}
	mf_page(&self->vm, 600)[9] = 1;
	EXPECT_EQ(0, mf_fill(&self->vm, 512, 512, 3));
	EXPECT_STREQ("600", mf_harvest(&self->vm));
}

/* The write waits for the page: not before it is there was it written. */
TEST_F(fill, writes_that_have_waited_are_reported)
{
	pid_t pids[2];

	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pids[0] = mf_touch_start(&self->vm, store, 520);
	pids[1] = mf_touch_start(&self->vm, write_byte, 530);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 2));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(64, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_EQ(0, mf_touch_end(pids[0]));
	EXPECT_EQ(0, mf_touch_end(pids[1]));
	EXPECT_STREQ("520,530", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

TEST_F(fill, start_and_harvest_wait_for_nobody)
{
	pid_t pid;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	pid = mf_touch_start(&self->vm, store, 520);
	ASSERT_EQ(0, mf_wait_waiting(&self->vm, 1));
	ASSERT_EQ(0, mf_start(self->vm.session));
	mf_page(&self->vm, 5)[0] = 1;
	EXPECT_STREQ("5", mf_harvest(&self->vm));
	EXPECT_EQ(1, mf_fill(&self->vm, 520, 1, 2));
	EXPECT_EQ(0, mf_touch_end(pid));
	EXPECT_STREQ("520", mf_harvest(&self->vm));
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_STREQ("512-519,521-575", mf_absent(&self->vm));
}

/* The page differs from what whoever follows the harvests has. */
TEST_F(fill, discarding_is_reported)
{
	ASSERT_EQ(0, mf_start(self->vm.session));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 520), 2 * MF_PAGE, MADV_REMOVE));
	EXPECT_STREQ("520-521", mf_harvest(&self->vm));
	EXPECT_EQ(62, mf_fill(&self->vm, 512, 64, 2));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_TRUE(is_zero(mf_page(&self->vm, 520)));
}

static long hash(struct mf_vm *vm, size_t start, size_t pages, __u64 *next)
{
	static struct migrate_fast_digest digests[PAGES];
	struct migrate_fast_hash arg = {
		.ram = vm->ram, .start = start, .pages = pages,
		.flags = MIGRATE_FAST_HASH_XXH64,
		.digests = (uintptr_t)digests, .max = PAGES,
	};
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_HASH, &arg);
	size_t i;

	if (rc)
		return rc;
	*next = arg.next;
	for (i = 0; i < arg.count; i++) {
		if (digests[i].page != start + i || digests[i].flags)
			return -EBADMSG;
	}
	return arg.count;
}

TEST_F(fill, absent_pages_are_not_hashed)
{
	__u64 next = 0;

	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(-ENODATA, hash(&self->vm, 512, 1, &next));
	EXPECT_EQ(-ENODATA, hash(&self->vm, 575, 100, &next));
	/* What comes before is done, and the next call tells. */
	EXPECT_EQ(12, hash(&self->vm, 500, 100, &next));
	EXPECT_EQ(512, next);
	EXPECT_EQ(100, hash(&self->vm, 576, 100, &next));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(13, hash(&self->vm, 500, 100, &next));
	EXPECT_EQ(513, next);
}

static long send_pages(struct mf_vm *vm, int sock, size_t page, size_t pages)
{
	struct migrate_fast_segment segment = {
		.ram = vm->ram, .offset = page * MF_PAGE,
		.bytes = pages * MF_PAGE,
	};
	struct migrate_fast_send arg = {
		.sock = sock, .segments = (uintptr_t)&segment, .count = 1,
		.flags = MIGRATE_FAST_SEND_DONTWAIT,
	};
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_SEND, &arg);

	return rc ? rc : (long)arg.sent;
}

TEST_F(fill, absent_pages_are_not_sent)
{
	unsigned char bytes[4 * MF_PAGE];
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(64, mf_demand(&self->vm, 512, 64));
	EXPECT_EQ(-ENODATA, send_pages(&self->vm, sock[0], 512, 1));
	EXPECT_EQ(-ENODATA, send_pages(&self->vm, sock[0], 575, 2));
	EXPECT_EQ(2 * MF_PAGE, send_pages(&self->vm, sock[0], 510, 4));
	EXPECT_EQ(1, mf_fill(&self->vm, 512, 1, 2));
	EXPECT_EQ(1 * MF_PAGE, send_pages(&self->vm, sock[0], 512, 4));
	EXPECT_EQ(3 * MF_PAGE, recv(sock[1], bytes, sizeof(bytes),
				    MSG_DONTWAIT));
	EXPECT_EQ(-1, mf_stamp_differs(bytes, 510, 1));
	EXPECT_EQ(-1, mf_stamp_differs(bytes + 2 * MF_PAGE, 512, 2));
}

TEST_HARNESS_MAIN
