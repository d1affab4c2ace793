// SPDX-License-Identifier: GPL-2.0
/*
 * Lossless: all kinds of writers at once, harvests all the while, and a mirror
 * that is copied from what the harvests report and nothing else.
 *
 * All write in a window of the file that moves on after a while. What is left
 * behind must then be identical in the mirror, so that a loss is found even if
 * the page is written again later. From time to time tracking is stopped and
 * started under the writers, which tests START.
 *
 * MF_SECONDS (of each test), MF_REPEAT and MF_SEED in the environment.
 */
#include <errno.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "lossless.h"

#include <sys/mman.h>

#define CALM_MS		120	/* a window's time */
#define RESTART_EVERY	6	/* windows */

FIXTURE(lossless)
{
	struct mf_vm vm;
	struct stage *stage;
	unsigned char *mirror;
	__u64 random;
	struct mf_actors actors;
	/* What happened, for the report. */
	__u64 harvests, reported, carried, windows, starts;
	long lost;
};

FIXTURE_VARIANT(lossless)
{
	const char *options;
	bool kvm;		/* harvest with the help of KVM's log */
};

FIXTURE_VARIANT_ADD(lossless, small)
{
	.options = "huge=never",
};

FIXTURE_VARIANT_ADD(lossless, huge)
{
	.options = "huge=always",
};

FIXTURE_VARIANT_ADD(lossless, small_kvm)
{
	.options = "huge=never",
	.kvm = true,
};

FIXTURE_VARIANT_ADD(lossless, huge_kvm)
{
	.options = "huge=always",
	.kvm = true,
};

static int use_kvm(struct mf_vm *vm)
{
	struct migrate_fast_kvm kvm = { .fd = lossless_guest.vm };
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_KVM, &kvm);

	if (!rc && (kvm.state != MIGRATE_FAST_KVM_USED || kvm.slots != 1))
		rc = -EBUSY;
	return rc;
}

FIXTURE_SETUP(lossless)
{
	int rc;

	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	ASSERT_EQ(0, mf_disk_open(&lossless_disk, 64 << 20));
	lossless_disk.delay_us = 8000;
	rc = mf_guest_open(&lossless_guest, self->vm.map, PAGES * MF_PAGE);
	lossless_has_guest = !rc;
	if (rc) {
		TH_LOG("without a guest: %s", strerror(-rc));
		ASSERT_EQ(-ENODEV, rc);
	}
	lossless_vm_pid = getpid();
	self->stage = mmap(NULL, sizeof(*self->stage), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->stage);
	self->mirror = malloc(PAGES * MF_PAGE);
	ASSERT_NE(NULL, self->mirror);
	self->random = mf_seed();
	memset(self->vm.map, 0x55, PAGES * MF_PAGE);
}

FIXTURE_TEARDOWN(lossless)
{
	if (lossless_has_guest)
		mf_guest_close(&lossless_guest);
	mf_disk_close(&lossless_disk);
	mf_vm_close_grouped(&self->vm);
}

static bool is_process(unsigned int number)
{
	return writers[number].process;
}

static int turn_of(void *arg, unsigned int number, __u64 *random)
{
	/* One that cannot work here goes on saying where it is. */
	static bool gone[MF_MAX_ACTORS];
	struct _test_data_lossless *self = arg;
	struct stage *stage = self->stage;
	const struct writer *writer = writers + number;
	__u64 epoch;
	int rc;

	/* The epoch first: the window is then of it or of a later one. */
	epoch = __atomic_load_n(&stage->epoch, __ATOMIC_SEQ_CST);
	__atomic_store_n(stage->seen + number, epoch, __ATOMIC_SEQ_CST);
	if (gone[number])
		return 0;
	rc = writer->write(&self->vm, __atomic_load_n(&stage->window,
						      __ATOMIC_SEQ_CST), random);
	if (rc < 0) {
		fprintf(stderr, "# writer %s ends: %s\n", writer->name,
			strerror(-rc));
		gone[number] = true;
	} else {
		stage->rounds[number]++;
	}
	return 0;
}

static int begin(struct _test_data_lossless *self)
{
	/* Pauses, so that many pages are clean when they are written. */
	self->actors = (struct mf_actors){
		.count = writers_count, .pause_us = 3000,
		.stop = &self->stage->stop, .arg = self,
		.is_process = is_process, .act = turn_of,
	};
	return mf_actors_begin(&self->actors, &self->random);
}

static int copy_page(struct _test_data_lossless *self, size_t page)
{
	ssize_t n = pread(self->vm.fd, self->mirror + page * MF_PAGE, MF_PAGE,
			  page * MF_PAGE);

	return n == MF_PAGE ? 0 : -EIO;
}

/* Harvest a range and copy what it reported. Returns the carried, or -errno. */
static long harvest(struct _test_data_lossless *self, size_t start, size_t pages)
{
	struct migrate_fast_harvest h = {
		.ram = self->vm.ram, .start = start, .pages = pages,
		/* Now and then as if all had stopped; without KVM the same. */
		.flags = mf_random(&self->random) % 8 ? 0 :
			 MIGRATE_FAST_HARVEST_CLEAN,
	};
	int rc = mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h);
	size_t word, page;

	if (rc)
		return rc;
	for (word = 0; word < PAGES / 64; word++) {
		__u64 bits = __atomic_exchange_n(self->vm.bitmap + word, 0,
						 __ATOMIC_SEQ_CST);

		for (; bits; bits &= bits - 1) {
			page = word * 64 + __builtin_ctzll(bits);
			if (copy_page(self, page))
				return -EIO;
		}
	}
	self->harvests++;
	self->reported += h.dirty;
	self->carried += h.carried;
	return h.carried;
}

/* Tracking begins anew, and with it a full copy. */
static int restart(struct _test_data_lossless *self)
{
	size_t page;
	int rc;

	rc = mf_stop(self->vm.session);
	if (!rc)
		rc = mf_start(self->vm.session);
	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	for (page = 0; page < PAGES && !rc; page++)
		rc = copy_page(self, page);
	self->starts++;
	return rc;
}

/* Harvest a range until no driver writes there any more. */
static int settle(struct _test_data_lossless *self, size_t start, size_t pages)
{
	int tries;
	long rc;

	for (tries = 0; tries < 500; tries++) {
		rc = harvest(self, start, pages);
		if (rc <= 0)
			return rc;
		usleep(5000);
	}
	return -ETIMEDOUT;
}

/* Pages of a range in which mirror and file differ. */
static long compare(struct _test_data_lossless *self, size_t start, size_t pages)
{
	unsigned char bytes[MF_PAGE];
	size_t page;
	long lost = 0;

	for (page = start; page < start + pages; page++) {
		if (pread(self->vm.fd, bytes, MF_PAGE, page * MF_PAGE) !=
		    MF_PAGE)
			return -EIO;
		if (!memcmp(bytes, self->mirror + page * MF_PAGE, MF_PAGE))
			continue;
		if (!lost++)
			fprintf(stderr, "# first lost page: %zu\n", page);
	}
	return lost;
}

/* Move the window, and wait until all that began in the old one is over. */
static int move_window(struct _test_data_lossless *self)
{
	struct stage *stage = self->stage;
	unsigned long long limit = mf_ms() + 60000;
	unsigned int i;
	size_t next;
	__u64 epoch;

	do {
		next = mf_random(&self->random) % (PAGES / WINDOW) * WINDOW;
	} while (next == stage->window);
	__atomic_store_n(&stage->window, next, __ATOMIC_SEQ_CST);
	epoch = __atomic_add_fetch(&stage->epoch, 1, __ATOMIC_SEQ_CST);
	for (i = 0; i < writers_count; i++) {
		while (__atomic_load_n(stage->seen + i, __ATOMIC_SEQ_CST) < epoch) {
			if (mf_ms() > limit) {
				fprintf(stderr, "# writer %s is stuck\n",
					writers[i].name);
				if (!strcmp(writers[i].name, "guest"))
					mf_guest_stop(&lossless_guest,
						      self->actors.all[i].thread);
				return -ETIMEDOUT;
			}
			usleep(500);
		}
	}
	self->windows++;
	return 0;
}

/* The time of one window. */
static int act(struct _test_data_lossless *self)
{
	unsigned long long until = mf_ms() + CALM_MS;
	size_t window = self->stage->window;
	long rc;

	do {
		/* All, or just a part of where the writers are. */
		if (mf_random(&self->random) & 1)
			rc = harvest(self, 0, 0);
		else
			rc = harvest(self, window + 64 *
				     (mf_random(&self->random) % 6), 100);
		if (rc < 0)
			return rc;
		usleep(mf_random(&self->random) % 4000);
	} while (mf_ms() < until);
	rc = move_window(self);
	if (!rc)
		rc = settle(self, window, WINDOW);
	if (!rc)
		rc = compare(self, window, WINDOW);
	if (rc > 0)
		self->lost += rc;
	return rc;
}

static int stress(struct _test_data_lossless *self, unsigned int seconds)
{
	unsigned long long until = mf_ms() + seconds * 1000;
	int rc;

	rc = restart(self);
	while (!rc && mf_ms() < until) {
		if (self->windows % RESTART_EVERY == RESTART_EVERY - 1)
			rc = restart(self);
		if (!rc)
			rc = act(self);
	}
	return rc;
}

static void report(struct _test_data_lossless *self)
{
	struct migrate_fast_kvm kvm = { .fd = -1 };
	unsigned int i;

	printf("# %llu windows, %llu starts, %llu harvests, %llu pages reported, %llu carried\n",
	       self->windows, self->starts, self->harvests, self->reported,
	       self->carried);
	if (!mf_ioctl(self->vm.session, MIGRATE_FAST_KVM, &kvm))
		printf("# KVM: state %u, %u slots, %llu clears, %llu pages kept\n",
		       kvm.state, kvm.slots, kvm.clears, kvm.kept);
	printf("# rounds:");
	for (i = 0; i < writers_count; i++)
		printf(" %s %llu%s", writers[i].name, self->stage->rounds[i],
		       i + 1 < writers_count ? "," : "\n");
	fflush(stdout);
}

TEST_F_TIMEOUT(lossless, everything_at_once, 3600)
{
	unsigned int repeat = mf_environment("MF_REPEAT", 1);
	unsigned int seconds = mf_environment("MF_SECONDS", 8);
	unsigned int i;

	if (variant->kvm && lossless_has_guest) {
		int rc = use_kvm(&self->vm);

		MF_SKIP_WITHOUT_KVM_LOG(rc);
		ASSERT_EQ(0, rc);
	}
	ASSERT_EQ(0, begin(self));
	EXPECT_LE(0, stress(self, seconds * repeat));
	EXPECT_EQ(0, self->lost);
	EXPECT_EQ(0, mf_actors_end(&self->actors));
	EXPECT_EQ(0, settle(self, 0, PAGES));
	EXPECT_EQ(0, compare(self, 0, PAGES));
	report(self);
	/* A writer that never wrote has proved nothing. */
	for (i = 0; i < writers_count; i++) {
		if (!lossless_has_guest && !strcmp(writers[i].name, "guest"))
			continue;
		EXPECT_LT(0, self->stage->rounds[i]) {
			TH_LOG("no round of %s", writers[i].name);
		}
	}
}

TEST_HARNESS_MAIN
