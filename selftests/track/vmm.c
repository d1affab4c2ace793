// SPDX-License-Identifier: GPL-2.0
/*
 * The VMM whose KVM's log is used is another process, and is killed: the session
 * goes on without it, has lost nothing, and keeps nothing of it.
 */
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kvm.h"

/* VMMs that are killed at a random moment of a harvest, and stores in one go. */
#define KILLED	50
#define STORES	64

/* A process with a guest, and a pipe from and to it. */
struct vmm {
	pid_t pid;
	int fd;			/* of its VM, here */
	int from, to;
};

/* Runs in the process: the guest stores to page 9 for each byte of the pipe. */
static void be_vmm(struct mf_vm *vm, int to, int from)
{
	struct mf_guest guest;
	int word[2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	word[0] = enter(vm, &guest);
	word[1] = guest.vm;
	while (write(to, word, sizeof(word)) == sizeof(word) &&
	       read(from, word, 1) == 1)
		word[0] = mf_guest_store(&guest, 9 * MF_PAGE, 1);
	_exit(1);
}

/* ... or all over the memory, until it is killed. */
static void be_busy_vmm(struct mf_vm *vm, int to)
{
	struct mf_guest guest;
	__u32 seed = getpid();
	int word[2];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	word[0] = enter(vm, &guest);
	word[1] = guest.vm;
	if (write(to, word, sizeof(word)) != sizeof(word))
		_exit(1);
	while (!word[0])
		word[0] = mf_guest_scatter(&guest, 0, PAGES * MF_PAGE, STORES,
					   seed++);
	_exit(1);
}

static int hear(struct vmm *vmm)
{
	int word[2];

	if (read(vmm->from, word, sizeof(word)) != sizeof(word))
		return -EIO;
	if (!word[0] && vmm->fd < 0)
		vmm->fd = syscall(SYS_pidfd_getfd,
				  syscall(SYS_pidfd_open, vmm->pid, 0),
				  word[1], 0);
	return word[0];
}

/* 0, or what is wrong; -ENODEV without KVM. */
static int begin(struct vmm *vmm, struct mf_vm *vm, bool busy)
{
	int from[2], to[2];

	if (pipe(from) || pipe(to))
		return -errno;
	*vmm = (struct vmm) { .fd = -1, .from = from[0], .to = to[1] };
	vmm->pid = fork();
	if (!vmm->pid && busy)
		be_busy_vmm(vm, from[1]);
	if (!vmm->pid)
		be_vmm(vm, from[1], to[0]);
	close(from[1]);
	close(to[0]);
	return hear(vmm);
}

static int store(struct vmm *vmm)
{
	return write(vmm->to, "x", 1) == 1 ? hear(vmm) : -EIO;
}

static void end(struct vmm *vmm)
{
	kill(vmm->pid, SIGKILL);
	mf_wait(vmm->pid);
	close(vmm->from);
	close(vmm->to);
}

/* The state that the session comes to. */
static __u32 settle(struct mf_vm *vm)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;

	while (tell(vm).state != MIGRATE_FAST_KVM_GONE && mf_ms() < limit)
		usleep(1000);
	return tell(vm).state;
}

#define BEGIN(_vmm, _busy) do {						\
	int _rc = begin(_vmm, &self->vm, _busy);			\
									\
	if (_rc) {							\
		end(_vmm);						\
		if (_rc == -ENODEV)					\
			SKIP(return, "no KVM on this host");		\
		ASSERT_EQ(0, _rc);					\
	}								\
	ASSERT_LE(0, (_vmm)->fd);					\
} while (0)

#define ATTACH_TO(_vmm, _kvm) do {					\
	int _attached = attach(&self->vm, (_vmm)->fd, _kvm);		\
									\
	if (_attached)							\
		end(_vmm);						\
	MF_SKIP_WITHOUT_KVM_LOG(_attached);				\
	ASSERT_EQ(0, _attached);					\
} while (0)

TEST_F(track, vmm_dies)
{
	struct migrate_fast_kvm kvm;
	long users = mf_users();
	struct vmm vmm;

	BEGIN(&vmm, false);
	ATTACH_TO(&vmm, &kvm);
	EXPECT_EQ(MIGRATE_FAST_KVM_USED, kvm.state);
	EXPECT_EQ(1, kvm.slots);
	close(vmm.fd);
	ASSERT_EQ(0, store(&vmm));
	EXPECT_STREQ("9", mf_harvest(&self->vm));
	EXPECT_EQ(1, self->vm.carried);
	end(&vmm);
	EXPECT_EQ(MIGRATE_FAST_KVM_GONE, settle(&self->vm));
	EXPECT_STREQ("9", mf_harvest(&self->vm));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	mf_page(&self->vm, 10)[0] = 1;
	EXPECT_STREQ("10", mf_harvest(&self->vm));
	EXPECT_EQ(users, mf_users_settled(users));
}

struct killer {
	pid_t pid;
	unsigned int us;
};

static void *kill_it(void *arg)
{
	struct killer *killer = arg;

	usleep(killer->us);
	kill(killer->pid, SIGKILL);
	return NULL;
}

/* What was reported is copied, as a migration does. False after an error. */
static bool follow(struct mf_vm *vm, unsigned char *mirror)
{
	size_t page;

	if (strchr(mf_harvest(vm), ' '))
		return false;
	for (page = 0; page < PAGES; page++) {
		if (mf_bit(vm->bitmap, page))
			memcpy(mirror + page * MF_PAGE, mf_page(vm, page),
			       MF_PAGE);
	}
	return true;
}

/* A session has one VM in its life. */
static int start_anew(struct mf_vm *vm, unsigned char *mirror)
{
	int rc;

	mf_vm_leave(vm);
	rc = mf_vm_session(vm);
	if (!rc)
		rc = mf_start(vm->session);
	memcpy(mirror, vm->map, PAGES * MF_PAGE);
	return rc;
}

TEST_F(track, vmm_dies_in_a_harvest)
{
	unsigned char *mirror = malloc(PAGES * MF_PAGE);
	unsigned int harvests = 0;
	struct migrate_fast_kvm kvm;
	long users = mf_users();
	__u64 random = mf_seed();
	struct killer killer;
	pthread_t thread;
	struct vmm vmm;
	int i;

	ASSERT_NE(NULL, mirror);
	for (i = 0; i < KILLED; i++) {
		ASSERT_EQ(0, start_anew(&self->vm, mirror));
		BEGIN(&vmm, true);
		ATTACH_TO(&vmm, &kvm);
		ASSERT_EQ(MIGRATE_FAST_KVM_USED, kvm.state);
		close(vmm.fd);
		killer = (struct killer) { vmm.pid, mf_random(&random) % 8000 };
		ASSERT_EQ(0, pthread_create(&thread, NULL, kill_it, &killer));
		do {
			ASSERT_TRUE(follow(&self->vm, mirror));
			harvests++;
		} while (tell(&self->vm).state == MIGRATE_FAST_KVM_USED);
		pthread_join(thread, NULL);
		end(&vmm);
		ASSERT_EQ(MIGRATE_FAST_KVM_GONE, settle(&self->vm));
		ASSERT_TRUE(follow(&self->vm, mirror));
		ASSERT_EQ(-1, mf_differs(&self->vm, mirror));
	}
	TH_LOG("%u harvests", harvests);
	EXPECT_EQ(users, mf_users_settled(users));
	free(mirror);
}

TEST_HARNESS_MAIN
