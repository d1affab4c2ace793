// SPDX-License-Identifier: GPL-2.0
/*
 * Memory policy (host-nodes= of QEMU). The kernel's shmem code looks for it at
 * the file of the mapping: it works if and only if that is the shmem file.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 128UL

FIXTURE(placement)
{
	int fd;
	unsigned char *map;
	unsigned long nodes;
};

FIXTURE_SETUP(placement)
{
	ASSERT_EQ(0, mf_mount(NULL));
	self->fd = mf_create(MF_MNT "/ram", PAGES * MF_PAGE);
	self->map = mf_map(self->fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, self->map);
	self->nodes = 1;
}

FIXTURE_TEARDOWN(placement)
{
	munmap(self->map, PAGES * MF_PAGE);
	close(self->fd);
	mf_umount();
}

static long bind_to(void *addr, size_t bytes, int mode, unsigned long nodes,
		    unsigned int flags)
{
	return syscall(SYS_mbind, addr, bytes, mode, &nodes, 64UL, flags) ?
	       -errno : 0;
}

static int policy_at(void *addr, unsigned long *nodes)
{
	int mode = -1;

	*nodes = 0;
	if (syscall(SYS_get_mempolicy, &mode, nodes, 64UL, addr, MPOL_F_ADDR))
		return -errno;
	return mode;
}

static int node_of(void *addr)
{
	int node = -1;

	if (syscall(SYS_get_mempolicy, &node, NULL, 0UL, addr,
		    MPOL_F_ADDR | MPOL_F_NODE))
		return -errno;
	return node;
}

TEST_F(placement, bind)
{
	unsigned long nodes;

	EXPECT_EQ(MPOL_DEFAULT, policy_at(self->map, &nodes));
	ASSERT_EQ(0, bind_to(self->map, PAGES * MF_PAGE, MPOL_BIND, 1,
			     MPOL_MF_STRICT | MPOL_MF_MOVE));
	EXPECT_EQ(MPOL_BIND, policy_at(self->map, &nodes));
	EXPECT_EQ(1, nodes);
	memset(self->map, 1, PAGES * MF_PAGE);
	EXPECT_EQ(0, node_of(self->map + 5 * MF_PAGE));
}

/* The policy belongs to the file: another process finds it. */
TEST_F(placement, belongs_to_the_file)
{
	unsigned char *other;
	unsigned long nodes;

	ASSERT_EQ(0, bind_to(self->map, 64 * MF_PAGE, MPOL_INTERLEAVE, 1, 0));
	other = mf_map(self->fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, other);
	EXPECT_EQ(MPOL_INTERLEAVE, policy_at(other, &nodes));
	EXPECT_EQ(MPOL_DEFAULT, policy_at(other + 64 * MF_PAGE, &nodes));
	munmap(other, PAGES * MF_PAGE);
}

TEST_F(placement, impossible_node)
{
	EXPECT_EQ(-EINVAL, bind_to(self->map, PAGES * MF_PAGE, MPOL_BIND,
				   1UL << 62, 0));
}

TEST_F(placement, other_node)
{
	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one NUMA node only (numa=fake=2 makes two)");
	ASSERT_EQ(0, bind_to(self->map, PAGES * MF_PAGE, MPOL_BIND, 2,
			     MPOL_MF_STRICT));
	memset(self->map, 1, PAGES * MF_PAGE);
	EXPECT_EQ(1, node_of(self->map));
	EXPECT_EQ(1, node_of(self->map + 100 * MF_PAGE));
	/* And back, with what is in them. */
	ASSERT_EQ(0, bind_to(self->map, PAGES * MF_PAGE, MPOL_BIND, 1,
			     MPOL_MF_STRICT | MPOL_MF_MOVE));
	EXPECT_EQ(0, node_of(self->map));
	EXPECT_EQ(1, self->map[100 * MF_PAGE]);
}

TEST_HARNESS_MAIN
