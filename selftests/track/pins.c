// SPDX-License-Identifier: GPL-2.0
/*
 * Long-term pins: someone may write the pages by DMA for as long as he likes.
 * Newer kernels refuse such pins on memory whose writes are to be noticed;
 * older ones allow some, and those pages are carried as long as the pin lasts.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#include <sys/mman.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef SOL_XDP
#define SOL_XDP 283
#endif

#define PAGES 256UL

FIXTURE(pins)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(pins)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(pins)
{
	mf_vm_close(&self->vm);
}

static bool carried(struct mf_vm *vm)
{
	mf_harvest(vm);
	return vm->carried >= 4 && mf_bit(vm->bitmap, 16) &&
	       mf_bit(vm->bitmap, 17) && mf_bit(vm->bitmap, 18) &&
	       mf_bit(vm->bitmap, 19);
}

/* io_uring allows registered buffers only in tmpfs proper, or not at all. */
TEST_F(pins, io_uring_registered_buffers)
{
	struct iovec iov = { mf_page(&self->vm, 16), 4 * MF_PAGE };
	struct io_uring ring;
	int rc;

	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	rc = io_uring_register_buffers(&ring, &iov, 1);
	if (mf_kernel() >= 6012)
		EXPECT_GT(0, rc);
	if (rc < 0) {
		TH_LOG("refused: %s", strerror(-rc));
		EXPECT_TRUE(rc == -EFAULT || rc == -EOPNOTSUPP);
	} else {
		EXPECT_TRUE(carried(&self->vm));
		EXPECT_TRUE(carried(&self->vm));
		io_uring_unregister_buffers(&ring);
	}
	io_uring_queue_exit(&ring);
	mf_harvest_settled(&self->vm);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

/* A packet socket's buffers stand for VFIO and RDMA: the same kind of pin. */
TEST_F(pins, packet_socket_buffers)
{
	struct xdp_umem_reg reg = {
		.addr = (uintptr_t)mf_page(&self->vm, 16),
		.len = 4 * MF_PAGE,
		.chunk_size = MF_PAGE,
	};
	int rc, sock = socket(AF_XDP, SOCK_RAW, 0);

	if (sock < 0)
		SKIP(return, "no AF_XDP sockets in this kernel");
	rc = setsockopt(sock, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg));
	if (mf_kernel() >= 6012) {
		EXPECT_EQ(-1, rc);
		EXPECT_EQ(EFAULT, errno);
	} else {
		ASSERT_EQ(0, rc);
		EXPECT_TRUE(carried(&self->vm));
		EXPECT_TRUE(carried(&self->vm));
		EXPECT_TRUE(carried(&self->vm));
	}
	close(sock);
	mf_harvest_settled(&self->vm);
	EXPECT_STREQ("", mf_harvest(&self->vm));
}

/* Pinned long before: START finds it, since no page table would tell. */
TEST_F(pins, packet_socket_buffers_before_start)
{
	struct xdp_umem_reg reg = {
		.addr = (uintptr_t)mf_page(&self->vm, 16),
		.len = 4 * MF_PAGE,
		.chunk_size = MF_PAGE,
	};
	int sock = socket(AF_XDP, SOCK_RAW, 0);

	if (sock < 0)
		SKIP(return, "no AF_XDP sockets in this kernel");
	if (mf_kernel() >= 6012)
		SKIP(return, "such pins are refused from 6.12 on");
	ASSERT_EQ(0, mf_stop(self->vm.session));
	ASSERT_EQ(0, setsockopt(sock, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)));
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_TRUE(carried(&self->vm));
	EXPECT_TRUE(carried(&self->vm));
	close(sock);
}

/* A pin for reading (a send, say) writes nothing; in doubt it is carried. */
TEST_F(pins, do_not_break_other_pages)
{
	memset(mf_page(&self->vm, 100), 2, 10 * MF_PAGE);
	EXPECT_STREQ("100-109", mf_harvest(&self->vm));
	EXPECT_EQ(0, self->vm.carried);
}

TEST_HARNESS_MAIN
