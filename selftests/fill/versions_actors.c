// SPDX-License-Identifier: GPL-2.0
/*
 * Who acts in the stress of versions. See versions.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest.h"
#include "mf_vhost.h"
#include "versions.h"

struct mf_guest versions_guest;
bool versions_has_guest;
pid_t versions_vm_pid;

void versions_error(struct stage *stage, const char *format, ...)
{
	va_list args;

	if (__atomic_fetch_add(&stage->errors, 1, __ATOMIC_SEQ_CST))
		return;
	va_start(args, format);
	vsnprintf(stage->error, sizeof(stage->error), format, args);
	va_end(args);
}

static size_t below(__u64 *random, size_t limit)
{
	return mf_random(random) % limit;
}

/* What a reader knew before it looked. */
struct look {
	const char *who;
	size_t page;
	__u32 turn;
	__u32 floor;
	__u32 exact;
};

static struct look look_at(const struct stage *stage, const char *who,
			   size_t page)
{
	return (struct look){
		.who = who, .page = page,
		.turn = get(stage->turn + page),
		.floor = get(stage->floor + page),
		.exact = get(stage->exact + page),
	};
}

/* Nobody made the page absent since. */
static bool is_calm(const struct stage *stage, const struct look *look)
{
	return !(look->turn & 1) && get(stage->turn + look->page) == look->turn;
}

/* The words were read one after the other. */
static void judge(struct stage *stage, const struct look *look,
		  const __u64 *words, size_t count)
{
	bool calm = is_calm(stage, look);
	__u32 last = 0, version;
	size_t i;

	for (i = 0; i < count; i++) {
		const char *wrong = NULL;

		if (!words[i] && look->page >= PUNCHED)
			continue;
		version = words[i] >> 32;
		if (words[i] != mf_stamp_word(look->page, i, version))
			wrong = words[i] ? "foreign" : "zero";
		else if (version < look->floor)
			wrong = "old";
		else if (version < last)
			wrong = "older than the word before";
		else if (last && version != last &&
			 version / FILLS == last / FILLS)
			wrong = "of another fill of the same round";
		else if (calm && version != look->exact)
			wrong = "not what it was";
		if (wrong) {
			versions_error(stage, "%s, page %zu, word %zu: %s (%llx, floor %x, last %x, exact %x%s)",
				       look->who, look->page, i, wrong,
				       words[i], look->floor, last, look->exact,
				       calm ? ", calm" : "");
			return;
		}
		last = version;
	}
}

static void load_words(const unsigned char *bytes, __u64 *words)
{
	const __u64 *from = (const void *)bytes;
	size_t i;

	for (i = 0; i < STAMPED; i++)
		words[i] = __atomic_load_n(from + i, __ATOMIC_SEQ_CST);
}

static int loads(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	__u64 words[STAMPED];
	struct look look = look_at(stage, "load", below(random, NEVER));

	load_words(mf_page(vm, look.page), words);
	judge(stage, &look, words, STAMPED);
	return 0;
}

static int other_process(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	static unsigned char *map;
	__u64 words[STAMPED];
	struct look look = look_at(stage, "other process",
				   below(random, NEVER));

	if (!map)
		map = mf_map(open(vm->path, O_RDWR | O_CLOEXEC),
			     PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	if (!map)
		return -errno;
	load_words(map + look.page * MF_PAGE, words);
	judge(stage, &look, words, STAMPED);
	return 0;
}

static int reads(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	__u64 words[STAMPED];
	struct look look = look_at(stage, "pread", below(random, NEVER));
	ssize_t n = pread(vm->fd, words, sizeof(words), look.page * MF_PAGE);

	if (n != sizeof(words))
		return n < 0 ? -errno : -ENODATA;
	judge(stage, &look, words, STAMPED);
	return 0;
}

static int vm_readv(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	__u64 words[STAMPED];
	struct look look = look_at(stage, "process_vm_readv",
				   below(random, NEVER));
	struct iovec to = { words, sizeof(words) };
	struct iovec from = { mf_page(vm, look.page), sizeof(words) };

	if (process_vm_readv(versions_vm_pid, &to, 1, &from, 1, 0) !=
	    sizeof(words))
		return -errno;
	judge(stage, &look, words, STAMPED);
	return 0;
}

/* What is being filled is no hole, whoever asks: nothing here is zero. */
static int hasher(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t i, first = below(random, PUNCHED - MF_HUGE);
	struct migrate_fast_digest digests[256];
	struct migrate_fast_hash hash = {
		.ram = vm->ram, .start = first, .pages = 1 + below(random, 256),
		.digests = (uintptr_t)digests, .max = ARRAY_SIZE(digests),
	};
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_HASH, &hash);

	if (rc)
		return rc == -ENODATA || rc == -EINTR ? 0 : rc;
	for (i = 0; i < hash.count; i++) {
		if (digests[i].flags)
			versions_error(stage, "hash, page %llu: flags %x",
				       digests[i].page, digests[i].flags);
	}
	return 0;
}

/* A mapping that is made for the purpose, shared or private. */
static int mapper(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t i, first = below(random, NEVER - 16);
	__u64 words[STAMPED];
	unsigned char *map;

	map = mmap(NULL, 16 * MF_PAGE, PROT_READ,
		   mf_random(random) & 1 ? MAP_SHARED : MAP_PRIVATE, vm->fd,
		   first * MF_PAGE);
	if (map == MAP_FAILED)
		return -errno;
	for (i = 0; i < 16; i += 1 + below(random, 5)) {
		struct look look = look_at(stage, "mapper", first + i);

		load_words(map + i * MF_PAGE, words);
		judge(stage, &look, words, STAMPED);
	}
	munmap(map, 16 * MF_PAGE);
	return 0;
}

static int guest(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	struct look look = look_at(stage, "guest", below(random, PUNCHED));
	size_t word = below(random, STAMPED);
	__u32 version;
	int rc;

	if (!versions_has_guest)
		return -ENODEV;
	rc = mf_guest_load(&versions_guest, look.page * MF_PAGE + word * 8 + 4,
			   &version);
	if (rc)
		return rc;
	if (version < look.floor ||
	    (is_calm(stage, &look) && version != look.exact))
		versions_error(stage, "guest, page %zu: %x, floor %x, exact %x",
			       look.page, version, look.floor, look.exact);
	return 0;
}

/* What was written stays, as long as nobody makes the page absent. */
static void kept(struct stage *stage, const struct look *look, __u64 wrote,
		 __u64 seen)
{
	if (is_calm(stage, look) && wrote != seen)
		versions_error(stage, "%s, page %zu: wrote %llx, found %llx",
			       look->who, look->page, wrote, seen);
}

static int writer(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	struct look look = look_at(stage, "writer", WRITTEN +
				   below(random, PUNCHED - WRITTEN));
	__u64 *word = (__u64 *)mf_page(vm, look.page) + STAMPED;
	__u64 value = mf_random(random);

	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
	if (mf_random(random) & 1)
		usleep(below(random, 3000));
	kept(stage, &look, value, __atomic_load_n(word, __ATOMIC_SEQ_CST));
	return 0;
}

static int pwriter(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	struct look look = look_at(stage, "pwrite", WRITTEN +
				   below(random, PUNCHED - WRITTEN));
	size_t at = look.page * MF_PAGE + (STAMPED + 8) * 8;
	__u64 value = mf_random(random);
	__u64 *word = (void *)(vm->map + at);

	if (pwrite(vm->fd, &value, 8, at) != 8)
		return -errno;
	if (mf_random(random) & 1)
		usleep(below(random, 3000));
	kept(stage, &look, value, __atomic_load_n(word, __ATOMIC_SEQ_CST));
	return 0;
}

static int transmitter(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	__u64 words[MF_PAGE / 8];
	struct look look = look_at(stage, "vhost", below(random, NEVER));
	struct mf_vhost *vhost = mf_vhost_of_thread(vm->map,
						    PAGES * MF_PAGE);
	int rc;

	if (!vhost)
		return -ENODEV;
	rc = mf_vhost_read(vhost, mf_page(vm, look.page), MF_PAGE, words);
	if (!rc)
		judge(stage, &look, words, STAMPED);
	return rc;
}

static int receiver(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	struct look look = look_at(stage, "vhost writer", WRITTEN +
				   below(random, PUNCHED - WRITTEN));
	__u64 *word = (__u64 *)mf_page(vm, look.page) + STAMPED + 16;
	struct mf_vhost *vhost = mf_vhost_of_thread(vm->map,
						    PAGES * MF_PAGE);
	__u64 value = mf_random(random);
	int rc;

	if (!vhost)
		return -ENODEV;
	rc = mf_vhost_write(vhost, word, &value, sizeof(value));
	if (!rc)
		kept(stage, &look, value,
		     __atomic_load_n(word, __ATOMIC_SEQ_CST));
	return rc;
}

static int puncher(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t n = 1 + below(random, 16);
	size_t page = PUNCHED + below(random, NEVER - PUNCHED - n);
	int rc;

	if (mf_random(random) & 1)
		rc = madvise(mf_page(vm, page), n * MF_PAGE, MADV_REMOVE);
	else
		rc = fallocate(vm->fd, FALLOC_FL_PUNCH_HOLE |
			       FALLOC_FL_KEEP_SIZE, page * MF_PAGE, n * MF_PAGE);
	usleep(3000);
	return rc ? -errno : 0;
}

static int dontneed(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t n = 1 + below(random, MF_HUGE);

	madvise(mf_page(vm, below(random, PAGES - n)), n * MF_PAGE,
		MADV_DONTNEED);
	usleep(2000);
	return 0;
}

static int swapper(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t n = 1 + below(random, 64);

	madvise(mf_page(vm, below(random, PAGES - n)), n * MF_PAGE,
		MADV_PAGEOUT);
	usleep(5000);
	return 0;
}

/*
 * Large pages, with zeroes in the place of what is absent, and if the kernel
 * had its way at once in the page table of those who look.
 */
static int collapser(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	madvise(mf_page(vm, below(random, PAGES / MF_HUGE) * MF_HUGE),
		MF_HUGE * MF_PAGE, MADV_COLLAPSE);
	usleep(5000);
	return 0;
}

/* From a process that has no mapping of its own, for the VM. */
static int outsider(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	static int pidfd = -1;
	size_t large = below(random, PAGES / MF_HUGE);
	struct iovec range = {
		mf_page(vm, large * MF_HUGE), MF_HUGE * MF_PAGE,
	};

	if (pidfd < 0) {
		pidfd = syscall(SYS_pidfd_open, versions_vm_pid, 0);
		munmap(vm->map, PAGES * MF_PAGE);
	}
	if (pidfd < 0)
		return -errno;
	syscall(SYS_process_madvise, pidfd, &range, 1, MADV_COLLAPSE, 0);
	usleep(5000);
	return 0;
}

/* One that looks at what it has just asked for. */
static int large_reader(struct mf_vm *vm, struct stage *stage, __u64 *random)
{
	size_t large = below(random, PAGES / MF_HUGE) * MF_HUGE, i;
	__u64 words[STAMPED];

	madvise(mf_page(vm, large), MF_HUGE * MF_PAGE, MADV_COLLAPSE);
	for (i = 0; i < 4; i++) {
		struct look look = look_at(stage, "large reader",
					   large + below(random, MF_HUGE - 1));

		load_words(mf_page(vm, look.page), words);
		judge(stage, &look, words, STAMPED);
	}
	return 0;
}

const struct actor actors[] = {
	{ "load", loads },
	{ "load", loads },
	{ "hasher", hasher },
	{ "mapper", mapper },
	{ "guest", guest },
	{ "writer", writer },
	{ "vhost", transmitter },
	{ "vhost writer", receiver },
	{ "puncher", puncher },
	{ "dontneed", dontneed },
	{ "swapper", swapper },
	{ "other process", other_process, true },
	{ "pread", reads, true },
	{ "process_vm_readv", vm_readv, true },
	{ "pwrite", pwriter, true },
	{ "collapser", collapser },
	{ "outsider", outsider, true },
	{ "large reader", large_reader, true },
};
const unsigned int actors_count = ARRAY_SIZE(actors);
