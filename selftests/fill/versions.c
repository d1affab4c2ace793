// SPDX-License-Identifier: GPL-2.0
/*
 * Versions: pages are made absent and filled anew, again and again, each time
 * with a new version that several threads bring at once, while readers of all
 * kinds look at them. From the moment that DEMAND returns nobody may see an
 * older version, a zero or a torn page; of the fills that compete one wins, for
 * good; and what the VM writes after it stays.
 *
 * MF_SECONDS (of each test), MF_REPEAT and MF_SEED in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "versions.h"

#include <sys/mman.h>

#define FILLERS 3
#define WORDS (PAGES / 64)

FIXTURE(versions)
{
	struct mf_vm vm;
	struct stage *stage;
	__u64 random;
	/* Pages that are absent between two rounds. */
	__u64 never;
	struct mf_actors actors;
	/* What happened, for the report. */
	__u64 rounds, pages, late;
};

FIXTURE_VARIANT(versions)
{
	const char *options;
	/* A round ends with nothing absent, so that the next begins it all. */
	bool in_turns;
};

FIXTURE_VARIANT_ADD(versions, small)
{
	.options = "huge=never",
};

FIXTURE_VARIANT_ADD(versions, huge)
{
	.options = "huge=always",
};

FIXTURE_VARIANT_ADD(versions, small_in_turns)
{
	.options = "huge=never", .in_turns = true,
};

FIXTURE_VARIANT_ADD(versions, huge_in_turns)
{
	.options = "huge=always", .in_turns = true,
};

FIXTURE_SETUP(versions)
{
	size_t page;
	int rc;

	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	rc = mf_guest_open(&versions_guest, self->vm.map, PAGES * MF_PAGE);
	versions_has_guest = !rc;
	if (rc) {
		TH_LOG("without a guest: %s", strerror(-rc));
		ASSERT_EQ(-ENODEV, rc);
	}
	versions_vm_pid = getpid();
	self->stage = mmap(NULL, sizeof(*self->stage), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->stage);
	self->random = mf_seed();
	mf_stamp(self->vm.map, 0, PAGES, 1);
	for (page = 0; page < PAGES; page++)
		self->stage->floor[page] = self->stage->exact[page] = 1;
	self->never = !variant->in_turns;
	ASSERT_EQ(self->never, mf_demand(&self->vm, NEVER, self->never));
	fcntl(self->vm.session, F_SETFL, O_RDWR | O_NONBLOCK);
}

FIXTURE_TEARDOWN(versions)
{
	if (versions_has_guest)
		mf_guest_close(&versions_guest);
	mf_vm_close_grouped(&self->vm);
}

/* Actors. */

static bool is_process(unsigned int number)
{
	return actors[number].process;
}

static int turn_of(void *arg, unsigned int number, __u64 *random)
{
	struct _test_data_versions *self = arg;
	const struct actor *actor = actors + number;
	int rc = actor->act(&self->vm, self->stage, random);

	if (rc < 0 && rc != -ENODEV)
		versions_error(self->stage, "%s ends: %s", actor->name,
			       strerror(-rc));
	if (rc >= 0)
		self->stage->rounds[number]++;
	return rc;
}

static int begin(struct _test_data_versions *self)
{
	self->actors = (struct mf_actors){
		.count = actors_count, .pause_us = 1000,
		.stop = &self->stage->stop, .arg = self,
		.is_process = is_process, .act = turn_of,
	};
	return mf_actors_begin(&self->actors, &self->random);
}

/* Fills. */

/* One of those that fill the pages of a round, each with bytes of its own. */
struct filler {
	struct mf_vm *vm;
	const __u64 *bits;
	__u32 version;
	__u64 random;
	/* Reads the faults and fills those first. */
	bool answers;
	long filled;		/* below PUNCHED */
	int error;
	unsigned char *bytes;
};

static void fill_some(struct filler *filler, size_t page, size_t pages)
{
	long rc;

	mf_stamp(filler->bytes, page, pages, filler->version);
	rc = mf_fill_from(filler->vm, page, pages, filler->bytes);
	if (rc < 0)
		filler->error = rc;
	else if (page < PUNCHED)
		filler->filled += rc;
}

static void answer(struct filler *filler)
{
	struct migrate_fast_fault faults[16];
	ssize_t i, n = read(filler->vm->session, faults, sizeof(faults));

	for (i = 0; i < n / (ssize_t)sizeof(*faults); i++) {
		/* An old one may be of a page of an earlier round. */
		if (mf_bit(filler->bits, faults[i].page))
			fill_some(filler, faults[i].page, 1);
	}
}

/* All pages of the round, in pieces, from somewhere on and around. */
static void *fills(void *arg)
{
	struct filler *filler = arg;
	size_t done, page, piece;

	page = mf_random(&filler->random) % 32 * 64;
	for (done = 0; done < PAGES && !filler->error; done += piece) {
		if (filler->answers)
			answer(filler);
		piece = 1 + mf_random(&filler->random) % 64;
		if (mf_random(&filler->random) % 8 == 0)
			piece = MF_HUGE;
		/* Pieces do not leave their large page, nor the file. */
		if (piece > MF_HUGE - page % MF_HUGE)
			piece = MF_HUGE - page % MF_HUGE;
		if (piece > PAGES - done)
			piece = PAGES - done;
		if (page + piece <= NEVER)
			fill_some(filler, page, piece);
		else if (page < NEVER)
			fill_some(filler, page, NEVER - page);
		page = (page + piece) % PAGES;
	}
	return NULL;
}

/* Several fill the same pages. How many they brought, or -errno. */
static long compete(struct _test_data_versions *self, const __u64 *bits,
		    __u32 version)
{
	struct filler fillers[FILLERS];
	pthread_t threads[FILLERS];
	long filled = 0;
	int i, error = 0;

	for (i = 0; i < FILLERS; i++) {
		fillers[i] = (struct filler){
			.vm = &self->vm, .bits = bits, .version = version + i,
			.random = mf_random(&self->random), .answers = !i,
			.bytes = aligned_alloc(MF_PAGE, MF_HUGE * MF_PAGE),
		};
		pthread_create(threads + i, NULL, fills, fillers + i);
	}
	for (i = 0; i < FILLERS; i++) {
		pthread_join(threads[i], NULL);
		free(fillers[i].bytes);
		filled += fillers[i].filled;
		error = error ?: fillers[i].error;
	}
	return error ?: filled;
}

/* Some runs of pages, a few or many, small or large. */
static void choose(struct _test_data_versions *self, __u64 *bits)
{
	size_t runs = 1 + mf_random(&self->random) % 6;
	size_t most = mf_random(&self->random) % 3 ? 40 : MF_HUGE;

	memset(bits, 0, WORDS * 8);
	while (runs--) {
		size_t n = 1 + mf_random(&self->random) % most;
		size_t page = mf_random(&self->random) % (NEVER - n);

		if (most == MF_HUGE && mf_random(&self->random) & 1) {
			page = page / MF_HUGE * MF_HUGE;
			n = MF_HUGE;
		}
		for (; n--; page++) {
			if (page != NEVER)
				bits[page / 64] |= 1ULL << page % 64;
		}
	}
}

static void turn(struct stage *stage, size_t page)
{
	__atomic_add_fetch(stage->turn + page, 1, __ATOMIC_SEQ_CST);
}

/* The round is over: which version has won? 0: it is a hole. */
static __u32 winner(struct _test_data_versions *self, size_t page, __u32 base)
{
	__u64 word;
	__u32 version;

	if (pread(self->vm.fd, &word, 8, page * MF_PAGE) != 8)
		return -1;
	if (!word && page >= PUNCHED)
		return 0;
	version = word >> 32;
	if (version < base || version >= base + FILLERS)
		versions_error(self->stage, "page %zu has %llx after round %x",
			       page, word, base);
	return version;
}

static int act(struct _test_data_versions *self)
{
	__u32 base = ++self->rounds * FILLS;
	struct stage *stage = self->stage;
	__u64 bits[WORDS];
	size_t page, pages = 0;
	long rc;

	choose(self, bits);
	for (page = 0; page < PAGES; page++) {
		if (!mf_bit(bits, page))
			continue;
		turn(stage, page);
		self->pages++;
		pages += page < PUNCHED;
	}
	rc = mf_demand_bits(&self->vm, bits);
	if (rc < 0)
		return rc;
	for (page = 0; page < PAGES; page++) {
		if (mf_bit(bits, page))
			__atomic_store_n(stage->floor + page, base,
					 __ATOMIC_SEQ_CST);
	}
	rc = compete(self, bits, base);
	if (rc < 0)
		return rc;
	if (rc != pages)
		versions_error(stage, "round %x: %zu pages, %ld filled", base,
			       pages, rc);
	if (mf_absent_state(&self->vm).absent != self->never)
		versions_error(stage, "round %x leaves some absent", base);
	for (page = 0; page < PAGES; page++) {
		if (!mf_bit(bits, page))
			continue;
		__atomic_store_n(stage->exact + page, winner(self, page, base),
				 __ATOMIC_SEQ_CST);
		turn(stage, page);
	}
	/* Late fills change nothing, and give the readers some time. */
	rc = compete(self, bits, base + FILLERS);
	if (rc > 0)
		versions_error(stage, "round %x: %ld pages filled late", base,
			       rc);
	self->late++;
	return rc < 0 ? rc : 0;
}

TEST_F_TIMEOUT(versions, never_go_back, 3600)
{
	unsigned int repeat = mf_environment("MF_REPEAT", 1);
	unsigned int seconds = mf_environment("MF_SECONDS", 8);
	unsigned long long until = mf_ms() + seconds * repeat * 1000;
	unsigned int i;
	int rc = 0;

	ASSERT_EQ(0, begin(self));
	while (!rc && !self->stage->errors && mf_ms() < until)
		rc = act(self);
	EXPECT_EQ(0, rc);
	EXPECT_EQ(0, mf_actors_end(&self->actors));
	EXPECT_EQ(0, self->stage->errors) {
		TH_LOG("%s", self->stage->error);
	}
	printf("# %llu rounds, %llu pages, %llu faults\n# looks:",
	       self->rounds, self->pages, mf_absent_state(&self->vm).faults);
	for (i = 0; i < actors_count; i++)
		printf(" %s %llu%s", actors[i].name, self->stage->rounds[i],
		       i + 1 < actors_count ? "," : "\n");
	fflush(stdout);
	/* An actor that never acted has proved nothing. */
	for (i = 0; i < actors_count; i++) {
		if (!versions_has_guest && !strcmp(actors[i].name, "guest"))
			continue;
		EXPECT_LT(0, self->stage->rounds[i]) {
			TH_LOG("no look of %s", actors[i].name);
		}
	}
}

TEST_HARNESS_MAIN
