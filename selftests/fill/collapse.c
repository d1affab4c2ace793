// SPDX-License-Identifier: GPL-2.0
/*
 * madvise(MADV_COLLAPSE) makes a large page of small ones, zeroes of what is
 * missing between them, and maps it for its caller past the page fault. While
 * pages are absent nobody may be given such a mapping, however it was asked
 * for; afterwards it works as ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fixture.h"

#define BYTES	(PAGES * MF_PAGE)
/* The large page that is collapsed, and the pages of it that are absent. */
#define LARGE	MF_HUGE
#define FIRST	600UL
#define SOME	101UL
#define LAST	(PAGES - SOME)

/* A process that maps the file, and does what it is told. */
enum order {
	MAP_SHARED_NEW,		/* a mapping of its own: its address */
	MAP_PRIVATE_NEW,	/* likewise, private */
	MOVE,			/* move the mapping: its new address */
	SPLIT,			/* protect a part of it for a moment */
	LOOK,			/* at a page */
	COLLAPSE,		/* a large page: -errno */
	LOAD,			/* a page: 0 when it is version 2 */
	MAPPED_HUGE,		/* kB of the mapping */
	THP_DISABLED,		/* PR_GET_THP_DISABLE */
};

struct other {
	pid_t pid;
	int socket;
	unsigned char *map;
};

static int sockets[2];

/* A new mapping at another, aligned address. */
static unsigned char *map_new(struct mf_vm *vm, int flags)
{
	unsigned char *map = mf_map(vm->fd, BYTES, PROT_READ | PROT_WRITE);

	if (map && flags != MAP_SHARED)
		map = mmap(map, BYTES, PROT_READ | PROT_WRITE,
			   flags | MAP_FIXED, vm->fd, 0);
	return map;
}

static int collapse(unsigned char *map, size_t page)
{
	return madvise(map + page * MF_PAGE, MF_HUGE * MF_PAGE,
		       MADV_COLLAPSE) ? -errno : 0;
}

static long obey(struct mf_vm *vm, const size_t *order)
{
	unsigned char *to, bytes[MF_PAGE], *page = mf_page(vm, order[1]);

	switch (order[0]) {
	case MAP_SHARED_NEW:
		vm->map = map_new(vm, MAP_SHARED);
		return (long)vm->map;
	case MAP_PRIVATE_NEW:
		vm->map = map_new(vm, MAP_PRIVATE);
		return (long)vm->map;
	case MOVE:
		to = map_new(vm, MAP_SHARED);
		vm->map = mremap(vm->map, BYTES, BYTES,
				 MREMAP_MAYMOVE | MREMAP_FIXED, to);
		return (long)vm->map;
	case SPLIT:
		mprotect(page, MF_PAGE, PROT_READ);
		return mprotect(page, MF_PAGE, PROT_READ | PROT_WRITE);
	case LOOK:
		return *(volatile unsigned char *)page;
	case COLLAPSE:
		return collapse(vm->map, order[1]);
	case LOAD:
		memcpy(bytes, page, MF_PAGE);
		return mf_stamp_differs(bytes, order[1], 2) < 0 ? 0 : -MF_WRONG;
	case MAPPED_HUGE:
		return mf_smaps(vm->map, "ShmemPmdMapped");
	case THP_DISABLED:
		return prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
	}
	return -EINVAL;
}

static int obey_all(struct mf_vm *vm, size_t unused)
{
	size_t order[2];
	long answer;

	close(sockets[0]);
	while (recv(sockets[1], order, sizeof(order), 0) == sizeof(order)) {
		answer = obey(vm, order);
		if (send(sockets[1], &answer, sizeof(answer), 0) < 0)
			return 1;
	}
	return 0;
}

static int other_start(struct mf_vm *vm, struct other *other)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets))
		return -errno;
	other->pid = mf_touch_start(vm, obey_all, 0);
	close(sockets[1]);
	other->socket = sockets[0];
	other->map = vm->map;
	return other->pid < 0 ? -errno : 0;
}

static int other_end(struct other *other)
{
	close(other->socket);
	return mf_touch_end(other->pid);
}

static void tell(const struct other *other, enum order what, size_t page)
{
	size_t order[2] = { what, page };

	send(other->socket, order, sizeof(order), MSG_NOSIGNAL);
}

static long answer_of(const struct other *other)
{
	struct pollfd pollfd = { .fd = other->socket, .events = POLLIN };
	long answer;

	if (poll(&pollfd, 1, MF_PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	if (recv(other->socket, &answer, sizeof(answer), 0) != sizeof(answer))
		return -EPIPE;
	return answer;
}

static long ask(const struct other *other, enum order what, size_t page)
{
	tell(other, what, page);
	return answer_of(other);
}

static int collapse_from_outside(const struct other *other)
{
	struct iovec large = {
		other->map + LARGE * MF_PAGE, MF_HUGE * MF_PAGE,
	};
	int pidfd = syscall(SYS_pidfd_open, other->pid, 0), rc = 0;

	if (pidfd < 0)
		return -errno;
	if (syscall(SYS_process_madvise, pidfd, &large, 1, MADV_COLLAPSE, 0) < 0)
		rc = -errno;
	close(pidfd);
	return rc;
}

/* It loads an absent page: 0 when it waits for it, and then gets it. */
static long waits(struct mf_vm *vm, const struct other *other, size_t page)
{
	struct pollfd pollfd = { .fd = other->socket, .events = POLLIN };
	struct migrate_fast_fault fault = {};
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;

	tell(other, LOAD, page);
	while (!mf_fault(vm, &fault, 10)) {
		if (poll(&pollfd, 1, 0))
			return answer_of(other) ?: -ENODATA;
		if (mf_ms() > limit)
			return -ETIMEDOUT;
	}
	if (fault.page != page)
		return -EBADE;
	if (poll(&pollfd, 1, 30))
		return answer_of(other) ?: -ENODATA;
	if (mf_fill(vm, page, 1, 2) != 1)
		return -EIO;
	return answer_of(other);
}

/* Page tables to be made use of. */
static void look_around(const struct other *other, bool all)
{
	ask(other, LOOK, LARGE);
	if (!all)
		ask(other, LOOK, FIRST - 1);
	ask(other, LOOK, 0);
}

/* By and by, once nothing is absent: 0 when it is mapped as a large page. */
static long is_collapsed_again(const struct other *other)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;
	long rc;

	while ((rc = ask(other, COLLAPSE, LARGE))) {
		if (mf_ms() > limit)
			return rc;
		usleep(10000);
		/* Parts that were split meanwhile are merged when they can be. */
		ask(other, SPLIT, FIRST - 1);
	}
	rc = ask(other, MAPPED_HUGE, 0);
	return rc >= 2048 ? 0 : rc ?: -ENOENT;
}

/* How the other process came to its mapping. */
static const struct way {
	const char *name;
	int map;		/* by an order; -1: it was forked with it */
	bool late;		/* after pages became absent, not before */
	bool outside;		/* collapsed by us, not by itself */
	int change;		/* by an order, before it is collapsed */
} ways[] = {
	{ "forked before", -1 },
	{ "forked before, by us", -1, .outside = true },
	{ "forked after", -1, true },
	{ "forked after, by us", -1, true, true },
	{ "mapped before", MAP_SHARED_NEW },
	{ "mapped before, by us", MAP_SHARED_NEW, .outside = true },
	{ "mapped after", MAP_SHARED_NEW, true },
	{ "mapped after, by us", MAP_SHARED_NEW, true, true },
	{ "private, before", MAP_PRIVATE_NEW },
	{ "private, after", MAP_PRIVATE_NEW, true },
	{ "moved", MAP_SHARED_NEW, .change = MOVE },
	{ "split", MAP_SHARED_NEW, .change = SPLIT },
};

static long try_way(struct mf_vm *vm, const struct way *way, size_t first,
		    size_t pages)
{
	bool all = pages == MF_HUGE;
	struct other other;
	long rc;

	if (!way->late) {
		other_start(vm, &other);
		if (way->map >= 0)
			other.map = (void *)ask(&other, way->map, 0);
		look_around(&other, false);
	}
	rc = mf_demand(vm, first, pages);
	if (rc != pages)
		return rc ?: -ENOENT;
	if (way->late) {
		other_start(vm, &other);
		if (way->map >= 0)
			other.map = (void *)ask(&other, way->map, 0);
	}
	if (!all)
		look_around(&other, all);
	if (way->change)
		other.map = (void *)ask(&other, way->change, FIRST - 1) ?:
			    other.map;
	rc = way->outside ? collapse_from_outside(&other) :
			    ask(&other, COLLAPSE, LARGE);
	if (rc != -EINVAL)
		ksft_print_msg("%s: collapse: %ld\n", way->name, rc);
	rc = waits(vm, &other, first + 50);
	if (!rc)
		rc = collapse_from_outside(&other) != -EINVAL;
	if (!rc)
		rc = waits(vm, &other, first + pages - 1);
	mf_fill(vm, LARGE, MF_HUGE, 1);
	if (!rc)
		rc = is_collapsed_again(&other);
	other_end(&other);
	mf_stamp(mf_page(vm, LARGE), LARGE, MF_HUGE, 1);
	return rc;
}

TEST_F_TIMEOUT(fill, some_pages_absent, 120)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		EXPECT_EQ(0, try_way(&self->vm, ways + i, FIRST, SOME)) {
			TH_LOG("%s", ways[i].name);
		}
	}
}

/* Nothing to collapse, at first: then one page is filled. */
TEST_F_TIMEOUT(fill, all_pages_absent, 120)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		EXPECT_EQ(0, try_way(&self->vm, ways + i, LARGE, MF_HUGE)) {
			TH_LOG("%s", ways[i].name);
		}
	}
}

/* What was collapsed before is taken apart. */
TEST_F(fill, collapsed_before)
{
	struct other other;

	ASSERT_EQ(0, other_start(&self->vm, &other));
	EXPECT_EQ(0, is_collapsed_again(&other));
	ASSERT_EQ(SOME, mf_demand(&self->vm, FIRST, SOME));
	EXPECT_EQ(0, waits(&self->vm, &other, FIRST));
	EXPECT_EQ(-EINVAL, ask(&other, COLLAPSE, LARGE));
	EXPECT_EQ(0, waits(&self->vm, &other, FIRST + 1));
	EXPECT_EQ(0, other_end(&other));
}

/* Many mappings of each page, all to be taken from it before it is copied. */
#define SPREAD 16

static int spread(unsigned char **maps)
{
	int i, rc = 0;

	for (i = 0; i < SPREAD && !rc; i++)
		rc = madvise(maps[i] + LARGE * MF_PAGE, MF_HUGE * MF_PAGE,
			     MADV_POPULATE_READ);
	return rc;
}

/* Small pages, none of them absent, and collapsing is allowed. */
static int take_apart(struct mf_vm *vm, const struct other *other)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;
	int rc;

	mf_stamp(mf_page(vm, LARGE), LARGE, MF_HUGE, 1);
	rc = mf_demand(vm, LARGE, 1);
	if (rc == 1)
		rc = mf_fill(vm, LARGE, 1, 1);
	if (rc != 1)
		return rc ?: -ENODATA;
	/* That of another large page tells when. */
	while ((rc = ask(other, COLLAPSE, 0)) && mf_ms() < limit)
		usleep(5000);
	return rc;
}

/*
 * One that is under way while pages become absent, to the last of which it has
 * not come yet.
 */
TEST_F_TIMEOUT(fill, collapse_under_way, 1200)
{
	unsigned int repeat = mf_environment("MF_REPEAT", 1) * 16, late = 0, i;
	unsigned long long begin, ms = 0;
	unsigned char *maps[SPREAD];
	__u64 random = mf_seed();
	struct other other;

	for (i = 0; i < SPREAD; i++) {
		maps[i] = map_new(&self->vm, MAP_SHARED);
		ASSERT_NE(NULL, maps[i]);
	}
	ASSERT_EQ(0, other_start(&self->vm, &other));
	for (i = 0; i <= repeat; i++) {
		ASSERT_EQ(0, take_apart(&self->vm, &other));
		ASSERT_EQ(0, spread(maps));
		look_around(&other, false);
		begin = mf_ms();
		tell(&other, COLLAPSE, LARGE);
		/* The first tells how long it takes. */
		if (!i) {
			answer_of(&other);
			ms = mf_ms() - begin + 1;
			continue;
		}
		usleep(mf_random(&random) % (ms * 1000));
		ASSERT_EQ(SOME, mf_demand(&self->vm, LAST, SOME));
		late += answer_of(&other) == 0;
		ASSERT_EQ(0, waits(&self->vm, &other, LAST + i % SOME));
		EXPECT_EQ(SOME - 1, mf_fill(&self->vm, LARGE, MF_HUGE, 2));
		EXPECT_VERSION(2, LAST);
		EXPECT_VERSION(1, LAST - 1);
	}
	EXPECT_EQ(0, other_end(&other));
	ksft_print_msg("%u of %u made a large page, in up to %llu ms\n", late,
		       repeat, ms);
	fflush(stdout);
}

/* Other memory of those who map the file is none of our business. */
TEST_F(fill, only_of_this_file)
{
	size_t bytes = 2 * MF_HUGE * MF_PAGE;
	unsigned char *anon, *large;
	struct other other;
	int tries = 100, rc;

	ASSERT_EQ(0, other_start(&self->vm, &other));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	ASSERT_EQ(SOME, mf_demand(&self->vm, FIRST, SOME));
	EXPECT_EQ(1, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_EQ(0, ask(&other, THP_DISABLED, 0));
	/* Nor does what the process says of itself matter. */
	EXPECT_EQ(0, prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_EQ(-EINVAL, collapse(self->vm.map, LARGE));
	EXPECT_EQ(0, madvise(self->vm.map, BYTES, MADV_HUGEPAGE));
	EXPECT_EQ(-EINVAL, collapse(self->vm.map, LARGE));
	EXPECT_EQ(0, madvise(self->vm.map, BYTES, MADV_NOHUGEPAGE));
	EXPECT_EQ(0, madvise(self->vm.map, BYTES, MADV_HUGEPAGE));
	EXPECT_EQ(-EINVAL, collapse(self->vm.map, LARGE));

	anon = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, anon);
	large = (void *)(((uintptr_t)anon | (bytes / 2 - 1)) + 1);
	memset(anon, 1, bytes);
	do {
		rc = madvise(large, bytes / 2, MADV_COLLAPSE) ? -errno : 0;
	} while (rc && tries--);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(SOME, mf_fill(&self->vm, LARGE, MF_HUGE, 2));
	EXPECT_EQ(0, prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_EQ(0, other_end(&other));
}

/* What a mapping cannot do meanwhile, it can do afterwards. */
TEST_F(fill, mappings_are_as_before)
{
	struct mf_vm *vm = &self->vm;
	unsigned char *map = map_new(vm, MAP_SHARED);
	unsigned char *locked = map_new(vm, MAP_SHARED);
	unsigned long long limit;

	ASSERT_EQ(0, munmap(map + BYTES / 2, BYTES / 2));
	ASSERT_EQ(0, mlock(locked, BYTES));
	ASSERT_EQ(SOME, mf_demand(vm, FIRST, SOME));
	EXPECT_EQ(MAP_FAILED, mremap(map, BYTES / 2, BYTES, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(SOME, mf_fill(vm, LARGE, MF_HUGE, 2));
	limit = mf_ms() + MF_PATIENCE_MS;
	while (mremap(map, BYTES / 2, BYTES, MREMAP_MAYMOVE) == MAP_FAILED &&
	       mf_ms() < limit)
		usleep(5000);
	EXPECT_GT(limit, mf_ms());
	EXPECT_LT(0, mf_smaps(locked, "Locked"));
	EXPECT_EQ(0, munlock(locked, BYTES));
	EXPECT_EQ(0, mf_smaps(locked, "Locked"));
}

/* Whatever makes the last absent page present gives the large pages back. */
TEST_F(fill, given_back)
{
	struct mf_vm *vm = &self->vm;
	struct other other;
	int i;

	ASSERT_EQ(0, other_start(vm, &other));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(SOME, mf_demand(vm, FIRST, SOME));
		EXPECT_EQ(-EINVAL, ask(&other, COLLAPSE, LARGE));
		EXPECT_EQ(SOME - 1, mf_fill(vm, FIRST, SOME - 1, 2));
		EXPECT_EQ(-EINVAL, ask(&other, COLLAPSE, LARGE));
		switch (i) {
		case 0:
			EXPECT_EQ(1, mf_fill_zero(vm, FIRST, SOME));
			break;
		case 1:
			EXPECT_EQ(0, fallocate(vm->fd, FALLOC_FL_PUNCH_HOLE |
					       FALLOC_FL_KEEP_SIZE,
					       FIRST * MF_PAGE, SOME * MF_PAGE));
			break;
		case 2:
			EXPECT_EQ(0, madvise(mf_page(vm, FIRST), SOME * MF_PAGE,
					     MADV_REMOVE));
			break;
		default:
			EXPECT_EQ(0, ftruncate(vm->fd, LARGE * MF_PAGE));
			EXPECT_EQ(0, ftruncate(vm->fd, BYTES));
			break;
		}
		mf_stamp(mf_page(vm, LARGE), LARGE, MF_HUGE, 1);
		EXPECT_EQ(0, is_collapsed_again(&other));
	}
	EXPECT_EQ(0, other_end(&other));
}

/* Not when the server goes: pages stay absent. */
TEST_F(fill, not_given_back_too_soon)
{
	struct mf_vm *vm = &self->vm;
	struct migrate_fast_add add;
	struct other other;

	ASSERT_EQ(0, other_start(vm, &other));
	ASSERT_EQ(SOME, mf_demand(vm, FIRST, SOME));
	munmap(vm->bitmap, vm->bitmap_bytes);
	close(vm->session);
	vm->bitmap = NULL;
	usleep(100000);
	EXPECT_EQ(-EINVAL, ask(&other, COLLAPSE, LARGE));
	vm->session = mf_session();
	ASSERT_EQ(0, mf_add(vm->session, vm->fd, &add));
	ASSERT_EQ(SOME, mf_demand_bits(vm, NULL));
	EXPECT_EQ(0, waits(vm, &other, FIRST));
	EXPECT_EQ(-EINVAL, ask(&other, COLLAPSE, LARGE));
	EXPECT_EQ(SOME - 1, mf_fill(vm, LARGE, MF_HUGE, 2));
	EXPECT_EQ(0, is_collapsed_again(&other));
	EXPECT_EQ(0, other_end(&other));
}

TEST_HARNESS_MAIN
