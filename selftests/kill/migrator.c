// SPDX-License-Identifier: GPL-2.0
/*
 * The migrator is killed at a random moment, again and again. The VM must not
 * notice, the next migrator must find everything as the first did, and nothing
 * may be left behind: no reference, no memory.
 *
 * MF_REPEAT (20) and MF_SEED in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 2048UL

/* What the VM's writer thread shares with the judge. */
struct writer {
	pthread_t thread;
	struct mf_vm *vm;
	bool stop;
	__u64 rounds;
	__u64 errors;
};

FIXTURE(kill)
{
	struct mf_vm vm;
	struct writer writer;
	__u64 random;
	long refcnt;
};

FIXTURE_VARIANT(kill)
{
	const char *options;
	/* What the migrator is at when it is killed. */
	void (*migrate)(struct mf_vm *vm, int session, __u32 ram);
};

static void harvest(struct mf_vm *vm, int session, __u32 ram)
{
	struct migrate_fast_harvest h = { .ram = ram };

	mf_ioctl(session, MIGRATE_FAST_HARVEST, &h);
}

static void restart(struct mf_vm *vm, int session, __u32 ram)
{
	mf_stop(session);
	mf_start(session);
}

static void hash(struct mf_vm *vm, int session, __u32 ram)
{
	static struct migrate_fast_digest digests[PAGES];
	struct migrate_fast_hash arg = {
		.ram = ram,
		.flags = MIGRATE_FAST_HASH_XXH64 | MIGRATE_FAST_HASH_SHA256,
		.digests = (uintptr_t)digests, .max = PAGES,
	};

	mf_ioctl(session, MIGRATE_FAST_HASH, &arg);
}

/* What send_all() sends to. */
static int peer;

/*
 * A peer that reads slowly, so that sends often wait. Begun before there is a
 * session, since a child that inherits one keeps it alive.
 */
static int start_peer(void)
{
	char bytes[4096];
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(pair[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (read(pair[1], bytes, sizeof(bytes)) > 0)
			usleep(100);
		_exit(0);
	}
	close(pair[1]);
	peer = pair[0];
	return 0;
}

static void send_all(struct mf_vm *vm, int session, __u32 ram)
{
	struct migrate_fast_segment segment = {
		.ram = ram, .bytes = PAGES * MF_PAGE,
	};
	struct migrate_fast_send arg = {
		.segments = (uintptr_t)&segment, .count = 1, .sock = peer,
	};

	mf_ioctl(session, MIGRATE_FAST_SEND, &arg);
}

FIXTURE_VARIANT_ADD(kill, harvest)
{
	.options = "huge=never", .migrate = harvest,
};

FIXTURE_VARIANT_ADD(kill, harvest_huge)
{
	.options = "huge=always", .migrate = harvest,
};

FIXTURE_VARIANT_ADD(kill, start_stop)
{
	.options = "huge=always", .migrate = restart,
};

FIXTURE_VARIANT_ADD(kill, hash)
{
	.options = "huge=never", .migrate = hash,
};

FIXTURE_VARIANT_ADD(kill, send)
{
	.options = "huge=never", .migrate = send_all,
};

/* Counts in every page; a count that jumps is a lost or a foreign write. */
static void *write_pages(void *arg)
{
	struct writer *writer = arg;
	__u64 expected = 0;
	size_t page;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_ACQUIRE)) {
		for (page = 0; page < PAGES; page += 7) {
			__u64 *word = (void *)mf_page(writer->vm, page);

			if (*word != expected)
				writer->errors++;
			*word = expected + 1;
		}
		expected++;
		writer->rounds++;
		usleep(1000);
	}
	return NULL;
}

FIXTURE_SETUP(kill)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, variant->options));
	memset(self->vm.map, 0, PAGES * MF_PAGE);
	/* This session is not needed: each migrator has its own. */
	munmap(self->vm.bitmap, self->vm.bitmap_bytes);
	self->vm.bitmap = NULL;
	close(self->vm.session);
	self->vm.session = -1;
	self->random = mf_seed();
	self->writer = (struct writer){ .vm = &self->vm };
	ASSERT_EQ(0, pthread_create(&self->writer.thread, NULL, write_pages,
				    &self->writer));
	self->refcnt = mf_users();
}

static void stop_writer(struct writer *writer)
{
	if (__atomic_exchange_n(&writer->stop, true, __ATOMIC_SEQ_CST))
		return;
	pthread_join(writer->thread, NULL);
}

FIXTURE_TEARDOWN(kill)
{
	stop_writer(&self->writer);
	mf_vm_close(&self->vm);
}

static int migrator(struct mf_vm *vm,
		    void (*migrate)(struct mf_vm *vm, int session, __u32 ram))
{
	struct migrate_fast_add add;
	int session, fd;

	if (start_peer())
		return 1;
	session = mf_session();
	fd = open(vm->path, O_RDWR | O_CLOEXEC);
	if (session < 0 || fd < 0 || mf_add(session, fd, &add))
		return 1;
	if (mf_start(session))
		return 2;
	while (1)
		migrate(vm, session, add.ram);
}

/* A migrator that is not killed does its work as if it was the first. */
static const char *works(struct _test_data_kill *self)
{
	struct mf_vm vm = self->vm;
	struct migrate_fast_add add;
	const char *list;
	int rc;

	vm.session = mf_session();
	if (vm.session < 0)
		return "no session";
	rc = mf_add(vm.session, vm.fd, &add);
	if (!rc)
		rc = mf_start(vm.session);
	if (rc) {
		close(vm.session);
		return strerror(-rc);
	}
	vm.ram = add.ram;
	vm.bitmap_bytes = add.bitmap_bytes;
	vm.bitmap = mmap(NULL, add.bitmap_bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vm.session, add.bitmap_offset);
	/*
	 * A page that the VM's own writer leaves alone. That other pages are
	 * not reported cannot be asked for: the VM's faults in the large page
	 * of it may look like DMA.
	 */
	mf_page(&vm, 1)[9]++;
	mf_harvest(&vm);
	list = mf_bit(vm.bitmap, 1) ? "" : mf_list(vm.bitmap, 64);
	munmap(vm.bitmap, vm.bitmap_bytes);
	close(vm.session);
	return list;
}

TEST_F_TIMEOUT(kill, at_random_moments, 600)
{
	unsigned int repeat = mf_environment("MF_REPEAT", 20);
	unsigned int i;
	size_t page;
	int status;
	pid_t pid;

	for (i = 0; i < repeat; i++) {
		pid = fork();
		if (!pid)
			_exit(migrator(&self->vm, variant->migrate));
		/* Before START, in the middle of it, or long after. */
		usleep(mf_random(&self->random) % 100000);
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
		ASSERT_STREQ("", works(self));
	}
	stop_writer(&self->writer);
	EXPECT_EQ(0, self->writer.errors);
	EXPECT_LT(0, self->writer.rounds);
	for (page = 0; page < PAGES; page += 7)
		ASSERT_EQ(self->writer.rounds,
			  *(__u64 *)mf_page(&self->vm, page));
	EXPECT_EQ(self->refcnt, mf_users_settled(self->refcnt));
	TH_LOG("%u kills, %llu rounds of the VM", repeat, self->writer.rounds);
}

TEST_HARNESS_MAIN
