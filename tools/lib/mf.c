// SPDX-License-Identifier: GPL-2.0
/* One function for an ioctl of /dev/migrate-fast; see mf.h. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mf.h"

static int mf_ioctl(int session, unsigned long request, void *arg)
{
	int ret;

	do {
		ret = ioctl(session, request, arg);
	} while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

int mf_open(uint64_t features, struct migrate_fast_handshake *shake)
{
	int session, err;

	memset(shake, 0, sizeof(*shake));
	session = open(MIGRATE_FAST_DEVICE, O_RDWR | O_CLOEXEC);
	if (session < 0)
		return -errno;
	shake->abi = MIGRATE_FAST_ABI;
	shake->features = features;
	err = mf_ioctl(session, MIGRATE_FAST_HANDSHAKE, shake);
	if (err) {
		close(session);
		return err;
	}
	return session;
}

int mf_add(int session, int fd, struct mf_ram *ram)
{
	struct migrate_fast_add add = { .fd = fd };
	void *map;
	int err;

	err = mf_ioctl(session, MIGRATE_FAST_ADD, &add);
	if (err)
		return err;
	map = mmap(NULL, add.bitmap_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		   session, (off_t)add.bitmap_offset);
	if (map == MAP_FAILED)
		return -errno;
	/* The session shall end with us, not with a child that we leave. */
	madvise(map, add.bitmap_bytes, MADV_DONTFORK);
	ram->number = add.ram;
	ram->pages = add.pages;
	ram->bitmap = map;
	ram->bitmap_bytes = add.bitmap_bytes;
	return 0;
}

void mf_unmap(struct mf_ram *ram)
{
	if (ram->bitmap)
		munmap(ram->bitmap, ram->bitmap_bytes);
	ram->bitmap = NULL;
}

int mf_start(int session)
{
	struct migrate_fast_start start = { 0 };

	return mf_ioctl(session, MIGRATE_FAST_START, &start);
}

int mf_stop(int session)
{
	struct migrate_fast_start stop = { 0 };

	return mf_ioctl(session, MIGRATE_FAST_STOP, &stop);
}

int mf_harvest(int session, struct mf_ram *ram, struct mf_harvested *sum)
{
	*sum = (struct mf_harvested){ 0 };
	return mf_harvest_part(session, ram, 0, ram->pages, 0, sum);
}

int mf_harvest_part(int session, struct mf_ram *ram, uint64_t start,
		    uint64_t pages, uint32_t flags, struct mf_harvested *sum)
{
	uint64_t end = start + pages;

	while (start < end) {
		struct migrate_fast_harvest harvest = {
			.ram = ram->number,
			.flags = flags,
			.start = start,
			.pages = end - start,
		};
		int err;

		err = mf_ioctl(session, MIGRATE_FAST_HARVEST, &harvest);
		if (err)
			return err;
		sum->dirty += harvest.dirty;
		sum->carried += harvest.carried;
		start = harvest.next;
	}
	return 0;
}

int mf_kvm(int session, int fd, struct migrate_fast_kvm *kvm)
{
	int err;

	do {
		*kvm = (struct migrate_fast_kvm){ .fd = fd };
		err = mf_ioctl(session, MIGRATE_FAST_KVM, kvm);
	} while (err == -EINTR);
	return err;
}

int mf_peek(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	    uint64_t *bitmap, uint64_t *dirty)
{
	struct migrate_fast_peek peek = {
		.ram = ram->number,
		.start = start,
		.pages = pages,
		.bitmap = (uintptr_t)bitmap,
	};
	int err;

	err = mf_ioctl(session, MIGRATE_FAST_PEEK, &peek);
	if (!err)
		*dirty = peek.dirty;
	return err;
}

int64_t mf_hash(int session, struct mf_ram *ram, uint32_t flags,
		uint64_t start, uint64_t pages, uint64_t seed,
		struct migrate_fast_digest *digests, uint64_t max,
		uint64_t *next)
{
	struct migrate_fast_hash hash = {
		.ram = ram->number,
		.flags = flags,
		.start = start,
		.pages = pages,
		.seed = seed,
		.digests = (uintptr_t)digests,
		.max = max,
	};
	int err;

	err = mf_ioctl(session, MIGRATE_FAST_HASH, &hash);
	if (err)
		return err;
	*next = hash.next;
	return (int64_t)hash.count;
}

int64_t mf_send(int session, int sock, struct migrate_fast_segment *segments,
		uint32_t count, uint64_t skip, uint32_t flags)
{
	struct migrate_fast_send send = {
		.sock = sock,
		.flags = flags | MIGRATE_FAST_SEND_DONTWAIT,
		.segments = (uintptr_t)segments,
		.count = count,
		.skip = skip,
	};
	int err;

	err = mf_ioctl(session, MIGRATE_FAST_SEND, &send);
	return err ? err : (int64_t)send.sent;
}

int mf_counters(int session, struct mf_ram *ram,
		struct migrate_fast_counters *counters)
{
	memset(counters, 0, sizeof(*counters));
	counters->ram = ram->number;
	return mf_ioctl(session, MIGRATE_FAST_COUNTERS, counters);
}

int mf_demand(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	      const uint64_t *bitmap, uint64_t *absent)
{
	struct migrate_fast_demand demand = {
		.ram = ram->number,
		.start = start,
		.pages = pages,
		.bitmap = (uintptr_t)bitmap,
	};
	int err;

	err = mf_ioctl(session, MIGRATE_FAST_DEMAND, &demand);
	if (!err && absent)
		*absent = demand.absent;
	return err;
}

int mf_fill(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	    const void *from, uint64_t *filled, uint64_t *absent)
{
	uint64_t end = start + pages;

	if (filled)
		*filled = 0;
	do {
		struct migrate_fast_fill fill = {
			.ram = ram->number,
			.flags = from ? 0 : MIGRATE_FAST_FILL_ZERO,
			.start = start,
			.pages = end - start,
			.from = (uintptr_t)from,
		};
		int err;

		err = mf_ioctl(session, MIGRATE_FAST_FILL, &fill);
		if (err)
			return err;
		if (filled)
			*filled += fill.filled;
		if (absent)
			*absent = fill.absent;
		if (from)
			from = (const char *)from +
			       (fill.next - start) * MF_PAGE_SIZE;
		start = fill.next;
	} while (start < end);
	return 0;
}

int mf_absent(int session, struct mf_ram *ram, uint64_t start, uint64_t pages,
	      uint64_t *bitmap, struct migrate_fast_absent *absent)
{
	memset(absent, 0, sizeof(*absent));
	absent->ram = ram->number;
	absent->start = start;
	absent->pages = pages;
	absent->bitmap = (uintptr_t)bitmap;
	return mf_ioctl(session, MIGRATE_FAST_ABSENT, absent);
}

int mf_abort(int session, struct mf_ram *ram)
{
	struct migrate_fast_abort arg = { .ram = ram->number };

	return mf_ioctl(session, MIGRATE_FAST_ABORT, &arg);
}

int mf_faults(int session, struct migrate_fast_fault *faults, size_t max)
{
	ssize_t n;

	do {
		n = read(session, faults, max * sizeof(*faults));
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (int)(n / (ssize_t)sizeof(*faults));
}
