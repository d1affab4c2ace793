// SPDX-License-Identifier: GPL-2.0
/*
 * The rules that hold for every ioctl: the handshake comes first, structures
 * grow at their end, nothing unknown is ignored, bad memory is EFAULT.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

FIXTURE(every)
{
	struct mf_vm vm;
	/* Big enough for any structure and more. */
	unsigned char arg[512];
	/* What HASH and SEND point to. */
	struct migrate_fast_digest digest;
	struct migrate_fast_segment segment;
	char byte;
};

FIXTURE_VARIANT(every)
{
	unsigned long request;
	size_t size;
	bool has_flags;
	size_t flags;
	/* Offset of a reserved __u32, 0 if there is none. */
	size_t reserved;
	/* The caller sees what it wrote, so bad memory is found only there. */
	bool has_outputs;
};

FIXTURE_VARIANT_ADD(every, handshake)
{
	.request = MIGRATE_FAST_HANDSHAKE,
	.size = sizeof(struct migrate_fast_handshake),
	.reserved = offsetof(struct migrate_fast_handshake, reserved),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, add)
{
	.request = MIGRATE_FAST_ADD,
	.size = sizeof(struct migrate_fast_add),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_add, flags),
	.reserved = offsetof(struct migrate_fast_add, reserved),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, start)
{
	.request = MIGRATE_FAST_START,
	.size = sizeof(struct migrate_fast_start),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_start, flags),
	.reserved = offsetof(struct migrate_fast_start, reserved),
};

FIXTURE_VARIANT_ADD(every, stop)
{
	.request = MIGRATE_FAST_STOP,
	.size = sizeof(struct migrate_fast_start),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_start, flags),
	.reserved = offsetof(struct migrate_fast_start, reserved),
};

FIXTURE_VARIANT_ADD(every, harvest)
{
	.request = MIGRATE_FAST_HARVEST,
	.size = sizeof(struct migrate_fast_harvest),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_harvest, flags),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, peek)
{
	.request = MIGRATE_FAST_PEEK,
	.size = sizeof(struct migrate_fast_peek),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_peek, flags),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, hash)
{
	.request = MIGRATE_FAST_HASH,
	.size = sizeof(struct migrate_fast_hash),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_hash, flags),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, send)
{
	.request = MIGRATE_FAST_SEND,
	.size = sizeof(struct migrate_fast_send),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_send, flags),
	.reserved = offsetof(struct migrate_fast_send, reserved),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, counters)
{
	.request = MIGRATE_FAST_COUNTERS,
	.size = sizeof(struct migrate_fast_counters),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, demand)
{
	.request = MIGRATE_FAST_DEMAND,
	.size = sizeof(struct migrate_fast_demand),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_demand, flags),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, fill)
{
	.request = MIGRATE_FAST_FILL,
	.size = sizeof(struct migrate_fast_fill),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_fill, flags),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, absent)
{
	.request = MIGRATE_FAST_ABSENT,
	.size = sizeof(struct migrate_fast_absent),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_absent, flags),
	.reserved = offsetof(struct migrate_fast_absent, reserved),
	.has_outputs = true,
};

FIXTURE_VARIANT_ADD(every, abort)
{
	.request = MIGRATE_FAST_ABORT,
	.size = sizeof(struct migrate_fast_abort),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_abort, flags),
};

FIXTURE_VARIANT_ADD(every, kvm)
{
	.request = MIGRATE_FAST_KVM,
	.size = sizeof(struct migrate_fast_kvm),
	.has_flags = true,
	.flags = offsetof(struct migrate_fast_kvm, flags),
	.reserved = offsetof(struct migrate_fast_kvm, reserved),
	.has_outputs = true,
};

/* Arguments with which the call succeeds. */
static void prepare(struct _test_data_every *self, unsigned long request)
{
	int sock[2], fd;

	memset(self->arg, 0, sizeof(self->arg));
	switch (request) {
	case MIGRATE_FAST_HANDSHAKE: {
		struct migrate_fast_handshake *hello = (void *)self->arg;

		hello->abi = MIGRATE_FAST_ABI;
		break;
	}
	case MIGRATE_FAST_ADD: {
		struct migrate_fast_add *add = (void *)self->arg;
		char path[64];
		static int n;

		snprintf(path, sizeof(path), MF_MNT "/another%d", n++);
		fd = mf_create(path, MF_PAGE);
		add->fd = fd;
		break;
	}
	case MIGRATE_FAST_KVM: {
		struct migrate_fast_kvm *kvm = (void *)self->arg;

		kvm->fd = -1;
		break;
	}
	case MIGRATE_FAST_HASH: {
		struct migrate_fast_hash *hash = (void *)self->arg;

		hash->pages = 1;
		hash->digests = (uintptr_t)&self->digest;
		hash->max = 1;
		break;
	}
	case MIGRATE_FAST_FILL: {
		struct migrate_fast_fill *fill = (void *)self->arg;
		__u64 bits[2] = { 1 };
		struct migrate_fast_demand demand = {
			.bitmap = (uintptr_t)bits,
		};

		mf_ioctl(self->vm.session, MIGRATE_FAST_DEMAND, &demand);
		fill->flags = MIGRATE_FAST_FILL_ZERO;
		fill->pages = 1;
		break;
	}
	case MIGRATE_FAST_SEND: {
		struct migrate_fast_send *send = (void *)self->arg;

		socketpair(AF_UNIX, SOCK_STREAM, 0, sock);
		self->segment = (struct migrate_fast_segment){
			.ram = MIGRATE_FAST_SEGMENT_USER,
			.offset = (uintptr_t)&self->byte,
			.bytes = 1,
		};
		send->sock = sock[0];
		send->segments = (uintptr_t)&self->segment;
		send->count = 1;
		break;
	}
	}
}

static unsigned long resize(unsigned long request, size_t size)
{
	return (request & ~((unsigned long)_IOC_SIZEMASK << _IOC_SIZESHIFT)) |
	       size << _IOC_SIZESHIFT;
}

FIXTURE_SETUP(every)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, NULL));
	ASSERT_EQ(0, mf_start(self->vm.session));
	prepare(self, variant->request);
}

FIXTURE_TEARDOWN(every)
{
	mf_vm_close(&self->vm);
}

TEST_F(every, succeeds_when_all_is_right)
{
	EXPECT_EQ(0, mf_ioctl(self->vm.session, variant->request, self->arg));
}

TEST_F(every, needs_the_handshake_first)
{
	int fd = open(MIGRATE_FAST_DEVICE, O_RDWR);

	ASSERT_LE(0, fd);
	EXPECT_EQ(variant->request == MIGRATE_FAST_HANDSHAKE ? 0 : -EPROTO,
		  mf_ioctl(fd, variant->request, self->arg));
}

TEST_F(every, longer_and_zero_is_accepted)
{
	unsigned long request = resize(variant->request, variant->size + 8);

	EXPECT_EQ(0, mf_ioctl(self->vm.session, request, self->arg));
	prepare(self, variant->request);
	request = resize(variant->request, variant->size + 200);
	EXPECT_EQ(0, mf_ioctl(self->vm.session, request, self->arg));
}

TEST_F(every, longer_and_not_zero_is_e2big)
{
	unsigned long request = resize(variant->request, variant->size + 8);

	self->arg[variant->size + 7] = 1;
	EXPECT_EQ(-E2BIG, mf_ioctl(self->vm.session, request, self->arg));
}

TEST_F(every, shorter_than_the_first_version_is_refused)
{
	unsigned long request = resize(variant->request, variant->size - 4);

	EXPECT_EQ(-EINVAL, mf_ioctl(self->vm.session, request, self->arg));
	request = resize(variant->request, 0);
	EXPECT_EQ(-EINVAL, mf_ioctl(self->vm.session, request, self->arg));
}

TEST_F(every, unknown_flags_are_refused)
{
	int bit;

	if (!variant->has_flags)
		return;
	for (bit = 8; bit < 32; bit++) {
		*(__u32 *)(self->arg + variant->flags) |= 1U << bit;
		EXPECT_EQ(-EINVAL, mf_ioctl(self->vm.session, variant->request,
					    self->arg)) {
			TH_LOG("bit %d", bit);
		}
		*(__u32 *)(self->arg + variant->flags) &= ~(1U << bit);
	}
}

TEST_F(every, reserved_is_zero)
{
	if (!variant->reserved)
		return;
	*(__u32 *)(self->arg + variant->reserved) = 0x80000000;
	EXPECT_EQ(-EINVAL, mf_ioctl(self->vm.session, variant->request,
				    self->arg));
}

TEST_F(every, bad_memory_is_efault)
{
	void *hole = mmap(NULL, MF_PAGE, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT_EQ(-EFAULT, mf_ioctl(self->vm.session, variant->request, NULL));
	EXPECT_EQ(-EFAULT, mf_ioctl(self->vm.session, variant->request, hole));
	EXPECT_EQ(-EFAULT, mf_ioctl(self->vm.session, variant->request,
				    (void *)-4096UL));
}

/* As with read(2): the call has worked, only the answer got lost. */
TEST_F(every, read_only_memory_is_efault_on_the_way_out)
{
	void *page = mmap(NULL, MF_PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!variant->has_outputs)
		return;
	ASSERT_NE(MAP_FAILED, page);
	memcpy(page, self->arg, sizeof(self->arg));
	ASSERT_EQ(0, mprotect(page, MF_PAGE, PROT_READ));
	EXPECT_EQ(-EFAULT, mf_ioctl(self->vm.session, variant->request, page));
}

TEST_HARNESS_MAIN
