// SPDX-License-Identifier: GPL-2.0
/*
 * The writers of the lossless stress. truncate(2) is not among them, since a
 * tracked file cannot grow again; nor are writes behind the back of the
 * filesystem, of which there are none.
 */
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest.h"
#include "lossless.h"
#include "mf_vhost.h"

struct mf_disk lossless_disk;
struct mf_guest lossless_guest;
bool lossless_has_guest;
pid_t lossless_vm_pid;

static size_t below(__u64 *random, size_t limit)
{
	return mf_random(random) % limit;
}

/* @pages pages somewhere in the window. */
static size_t pick(size_t window, size_t pages, __u64 *random)
{
	return window + below(random, WINDOW - pages + 1);
}

static void scribble(unsigned char *map, size_t window, __u64 *random)
{
	size_t i, n = 1 + below(random, 16);

	for (i = 0; i < n; i++) {
		size_t at = pick(window, 1, random) * MF_PAGE;

		at += 8 * below(random, MF_PAGE / 8);
		*(__u64 *)(map + at) = mf_random(random);
	}
}

static int stores(struct mf_vm *vm, size_t window, __u64 *random)
{
	scribble(vm->map, window, random);
	return 0;
}

static int store_runs(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t n = 1 + below(random, 20);

	memset(mf_page(vm, pick(window, n, random)), mf_random(random),
	       n * MF_PAGE);
	return 0;
}

/* Read, then write: the page is mapped by the time that it is written. */
static int load_then_store(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t i, page = pick(window, 8, random);

	for (i = 0; i < 8; i++) {
		__u64 *word = (void *)mf_page(vm, page + i);

		__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_SEQ_CST) +
				 mf_random(random), __ATOMIC_SEQ_CST);
	}
	return 0;
}

/* A mapping that is made, used in every way, and gone again. */
static int mapper(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t page = pick(window, 16, random), bytes = 16 * MF_PAGE;
	unsigned char *map, *moved;

	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd,
		   page * MF_PAGE);
	if (map == MAP_FAILED)
		return -errno;
	*(__u64 *)(map + below(random, 16) * MF_PAGE) = mf_random(random);
	mprotect(map, bytes, PROT_READ);
	mprotect(map, bytes, PROT_READ | PROT_WRITE);
	*(__u64 *)(map + below(random, 16) * MF_PAGE) = mf_random(random);
	moved = mremap(map, bytes, bytes, MREMAP_MAYMOVE);
	if (moved == MAP_FAILED)
		return -errno;
	*(__u64 *)(moved + below(random, 16) * MF_PAGE) = mf_random(random);
	madvise(moved, bytes, MADV_DONTNEED);
	*(__u64 *)(moved + below(random, 16) * MF_PAGE) = mf_random(random);
	munmap(moved, bytes);
	return 0;
}

/*
 * Behind a mapping that cannot write: there the kernel's walks over all
 * mappings of a file end (kmod/view.c).
 */
static int behind_a_view(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t page = pick(window, 16, random), bytes = 16 * MF_PAGE;
	bool private = below(random, 2);
	unsigned char *view, *map;
	int fd = open(vm->path, O_RDONLY), i;

	if (fd < 0)
		return -errno;
	view = mmap(NULL, bytes, PROT_READ, private ? MAP_PRIVATE : MAP_SHARED,
		    fd, page * MF_PAGE);
	close(fd);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->fd,
		   page * MF_PAGE);
	if (view == MAP_FAILED || map == MAP_FAILED)
		return -errno;
	for (i = 0; i < 16; i++)
		*(__u64 *)(map + i * MF_PAGE) = mf_random(random);
	usleep(below(random, 10000));
	for (i = 0; i < 16; i++)
		*(__u64 *)(map + i * MF_PAGE) = mf_random(random);
	munmap(view, bytes);
	for (i = 0; i < 16; i++)
		*(__u64 *)(map + i * MF_PAGE) = mf_random(random);
	munmap(map, bytes);
	return 0;
}

static int dontneed(struct mf_vm *vm, size_t window, __u64 *random)
{
	scribble(vm->map, window, random);
	madvise(mf_page(vm, window), WINDOW * MF_PAGE, MADV_DONTNEED);
	return 0;
}

static int writes(struct mf_vm *vm, size_t window, __u64 *random)
{
	__u64 data[700];
	size_t i;

	for (i = 0; i < 700; i++)
		data[i] = mf_random(random);
	if (pwrite(vm->fd, data, sizeof(data), pick(window, 3, random) *
		   MF_PAGE + below(random, MF_PAGE)) != sizeof(data))
		return -errno;
	return 0;
}

static int read_into(struct mf_vm *vm, size_t window, __u64 *random)
{
	static __thread int source = -1;
	__u64 data[2 * 512];
	size_t i;

	if (source < 0) {
		source = memfd_create("source", MFD_CLOEXEC);
		if (source < 0)
			return -errno;
	}
	for (i = 0; i < 2 * 512; i++)
		data[i] = mf_random(random);
	if (pwrite(source, data, sizeof(data), 0) != sizeof(data))
		return -errno;
	if (pread(source, mf_page(vm, pick(window, 3, random)) +
		  below(random, MF_PAGE), sizeof(data), 0) != sizeof(data))
		return -errno;
	return 0;
}

static int punch(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t at = pick(window, 4, random) * MF_PAGE + below(random, MF_PAGE);

	if (fallocate(vm->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
		      1 + below(random, 3 * MF_PAGE)))
		return -errno;
	return 0;
}

static int madvise_remove(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t n = 1 + below(random, 4);

	if (madvise(mf_page(vm, pick(window, n, random)), n * MF_PAGE,
		    MADV_REMOVE))
		return -errno;
	return 0;
}

/* New contents for the disk, that no earlier read has brought. */
static void turn_disk(__u64 *random)
{
	__atomic_store_n(&lossless_disk.seed, mf_random(random),
			 __ATOMIC_RELEASE);
}

static int direct_sync(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t n = 1 + below(random, 8);

	turn_disk(random);
	if (pread(lossless_disk.fd, mf_page(vm, pick(window, n, random)),
		  n * MF_PAGE, below(random, 4096) * MF_PAGE) < 0)
		return -errno;
	return 0;
}

static int direct_aio(struct mf_vm *vm, size_t window, __u64 *random)
{
	static __thread io_context_t context;
	struct iocb iocbs[8], *list[8];
	struct io_event events[8];
	int i, rc;

	if (!context) {
		rc = io_setup(8, &context);
		if (rc)
			return rc;
	}
	turn_disk(random);
	for (i = 0; i < 8; i++) {
		list[i] = iocbs + i;
		io_prep_pread(iocbs + i, lossless_disk.fd,
			      mf_page(vm, pick(window, 2, random)),
			      2 * MF_PAGE, below(random, 4096) * MF_PAGE);
	}
	rc = io_submit(context, 8, list);
	if (rc < 0)
		return rc;
	rc = io_getevents(context, rc, rc, events, NULL);
	return rc < 0 ? rc : 0;
}

static int direct_uring(struct mf_vm *vm, size_t window, __u64 *random)
{
	static __thread struct io_uring ring;
	static __thread bool ready;
	struct io_uring_cqe *cqe;
	int i, rc;

	if (!ready) {
		rc = io_uring_queue_init(8, &ring, 0);
		if (rc)
			return rc;
		ready = true;
	}
	turn_disk(random);
	for (i = 0; i < 4; i++)
		io_uring_prep_read(io_uring_get_sqe(&ring), lossless_disk.fd,
				   mf_page(vm, pick(window, 2, random)),
				   2 * MF_PAGE, below(random, 4096) * MF_PAGE);
	rc = io_uring_submit_and_wait(&ring, 4);
	if (rc < 0)
		return rc;
	for (i = 0; i < 4; i++) {
		rc = io_uring_wait_cqe(&ring, &cqe);
		if (rc)
			return rc;
		io_uring_cqe_seen(&ring, cqe);
	}
	return 0;
}

/* Swaps out some of the window, of which the others write the rest. */
static int swapper(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t n = 1 + below(random, 32);

	madvise(mf_page(vm, pick(window, n, random)), n * MF_PAGE,
		MADV_PAGEOUT);
	usleep(5000);
	return 0;
}

/*
 * Migration takes page table entries away and puts them back as they were,
 * writable ones too. With one node there is only compaction, which seldom
 * finds something to do; "numa=fake=2" on the kernel's command line helps.
 */
static int migrator(struct mf_vm *vm, size_t window, __u64 *random)
{
	size_t i, page = pick(window, 32, random);
	int nodes[32], status[32], node = mf_random(random) & 1;
	void *pages[32];

	if (access("/sys/devices/system/node/node1", F_OK)) {
		usleep(300000);
		mf_write_string("/proc/sys/vm/compact_memory", "1");
		return 0;
	}
	for (i = 0; i < 32; i++) {
		pages[i] = mf_page(vm, page + i);
		nodes[i] = node;
	}
	/* MPOL_MF_MOVE_ALL: though other processes map them. */
	syscall(SYS_move_pages, 0, 32UL, pages, nodes, status, 4);
	return 0;
}

static int collapser(struct mf_vm *vm, size_t window, __u64 *random)
{
	madvise(mf_page(vm, window & ~(MF_HUGE - 1)), MF_HUGE * MF_PAGE,
		MADV_COLLAPSE);
	usleep(20000);
	return 0;
}

static int guest(struct mf_vm *vm, size_t window, __u64 *random)
{
	if (!lossless_has_guest)
		return -ENODEV;
	return mf_guest_scatter(&lossless_guest, window * MF_PAGE,
				WINDOW * MF_PAGE, 1 + below(random, 30),
				mf_random(random));
}

/* A network device of the VM: the kernel's thread writes what comes in. */
static int vhost(struct mf_vm *vm, size_t window, __u64 *random)
{
	struct mf_vhost *device = mf_vhost_of_thread(vm->map, PAGES * MF_PAGE);
	__u64 data[180];
	int i, n, rc;

	if (!device)
		return -ENODEV;
	for (n = 1 + below(random, 8); n; n--) {
		for (i = 0; i < 180; i++)
			data[i] = mf_random(random);
		rc = mf_vhost_write(device, mf_page(vm, pick(window, 2, random)) +
				    below(random, MF_PAGE), data, sizeof(data));
		if (rc)
			return rc;
	}
	return 0;
}

/* A process that looks at the VM from outside: vhost-user, say. */
static unsigned char *own_mapping(struct mf_vm *vm)
{
	static unsigned char *map;

	if (!map)
		map = mf_map(open(vm->path, O_RDWR | O_CLOEXEC),
			     PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
	return map;
}

static int other_process(struct mf_vm *vm, size_t window, __u64 *random)
{
	unsigned char *map = own_mapping(vm);

	if (!map)
		return -errno;
	scribble(map, window, random);
	return 0;
}

static int inherited(struct mf_vm *vm, size_t window, __u64 *random)
{
	scribble(vm->map, window, random);
	return 0;
}

static int vm_writev(struct mf_vm *vm, size_t window, __u64 *random)
{
	__u64 data[600];
	struct iovec from = { data, sizeof(data) };
	struct iovec to = {
		mf_page(vm, pick(window, 3, random)) + below(random, MF_PAGE),
		sizeof(data),
	};
	size_t i;

	for (i = 0; i < 600; i++)
		data[i] = mf_random(random);
	if (process_vm_writev(lossless_vm_pid, &from, 1, &to, 1, 0) < 0)
		return -errno;
	return 0;
}

/* Children that write and are gone, with their page tables. */
static int forker(struct mf_vm *vm, size_t window, __u64 *random)
{
	pid_t pid;

	scribble(vm->map, window, random);
	pid = fork();
	if (!pid) {
		mf_random(random);
		scribble(vm->map, window, random);
		_exit(0);
	}
	if (pid < 0)
		return -errno;
	scribble(vm->map, window, random);
	waitpid(pid, NULL, 0);
	return 0;
}

const struct writer writers[] = {
	{ "stores", stores },
	{ "store runs", store_runs },
	{ "load then store", load_then_store },
	{ "mapper", mapper },
	{ "behind a view", behind_a_view },
	{ "dontneed", dontneed },
	{ "pwrite", writes },
	{ "read into", read_into },
	{ "punch", punch },
	{ "madvise remove", madvise_remove },
	{ "direct sync", direct_sync },
	{ "direct aio", direct_aio },
	{ "direct io_uring", direct_uring },
	{ "swapper", swapper },
	{ "migrator", migrator },
	{ "collapser", collapser },
	{ "guest", guest },
	{ "vhost", vhost },
	{ "other process", other_process, true },
	{ "inherited", inherited, true },
	{ "process_vm_writev", vm_writev, true },
	{ "forker", forker, true },
};
const unsigned int writers_count = ARRAY_SIZE(writers);
