// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mf_fill.h"

/* Name of a process that is about to touch a page. */
#define TOUCHES "touches"

void mf_stamp(void *bytes, size_t page, size_t pages, __u64 version)
{
	__u64 *words = bytes;
	size_t i, n;

	for (i = 0; i < pages; i++) {
		for (n = 0; n < MF_PAGE / 8; n++)
			*words++ = mf_stamp_word(page + i, n, version);
	}
}

long mf_stamp_differs(const void *bytes, size_t page, __u64 version)
{
	unsigned char want[MF_PAGE];
	long i;

	mf_stamp(want, page, 1, version);
	if (!memcmp(want, bytes, MF_PAGE))
		return -1;
	for (i = 0; want[i] == ((const unsigned char *)bytes)[i]; i++)
		;
	return i;
}

long mf_demand_bits(struct mf_vm *vm, const __u64 *bits)
{
	struct migrate_fast_demand demand = {
		.ram = vm->ram, .bitmap = (uintptr_t)bits,
	};
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_DEMAND, &demand);

	return rc ? rc : (long)demand.absent;
}

long mf_demand(struct mf_vm *vm, size_t page, size_t pages)
{
	__u64 *bits = calloc((vm->pages + 63) / 64, 8);
	long rc;

	for (; pages; page++, pages--)
		bits[page / 64] |= 1ULL << page % 64;
	rc = mf_demand_bits(vm, bits);
	free(bits);
	return rc;
}

static long fill(struct mf_vm *vm, size_t page, size_t pages, const void *from,
		 __u32 flags)
{
	struct migrate_fast_fill arg = {
		.ram = vm->ram, .flags = flags,
		.start = page, .pages = pages, .from = (uintptr_t)from,
	};
	int rc = mf_ioctl(vm->session, MIGRATE_FAST_FILL, &arg);

	if (rc)
		return rc;
	return arg.next == page + pages ? (long)arg.filled : -EINTR;
}

long mf_fill_from(struct mf_vm *vm, size_t page, size_t pages, const void *from)
{
	return fill(vm, page, pages, from, 0);
}

long mf_fill_zero(struct mf_vm *vm, size_t page, size_t pages)
{
	return fill(vm, page, pages, NULL, MIGRATE_FAST_FILL_ZERO);
}

long mf_fill(struct mf_vm *vm, size_t page, size_t pages, __u64 version)
{
	void *bytes = aligned_alloc(MF_PAGE, pages * MF_PAGE);
	long rc;

	mf_stamp(bytes, page, pages, version);
	rc = mf_fill_from(vm, page, pages, bytes);
	free(bytes);
	return rc;
}

int mf_abort(struct mf_vm *vm)
{
	struct migrate_fast_abort arg = { .ram = vm->ram };

	return mf_ioctl(vm->session, MIGRATE_FAST_ABORT, &arg);
}

const char *mf_absent(struct mf_vm *vm)
{
	size_t words = (vm->pages + 63) / 64, i, n = 0;
	__u64 *bits = calloc(words, 8);
	struct migrate_fast_absent arg = {
		.ram = vm->ram, .bitmap = (uintptr_t)bits,
	};
	const char *list;
	int rc;

	memset(bits, 0xff, words * 8);
	rc = mf_ioctl(vm->session, MIGRATE_FAST_ABSENT, &arg);
	for (i = 0; i < words; i++)
		n += __builtin_popcountll(bits[i]);
	if (rc)
		list = strerrorname_np(-rc);
	else if (n != arg.absent)
		list = "absent and the bitmap disagree";
	else
		list = mf_list(bits, vm->pages);
	free(bits);
	return list;
}

struct migrate_fast_absent mf_absent_state(struct mf_vm *vm)
{
	struct migrate_fast_absent arg = { .ram = vm->ram };

	if (mf_ioctl(vm->session, MIGRATE_FAST_ABSENT, &arg))
		memset(&arg, 0xff, sizeof(arg));
	return arg;
}

int mf_fault(struct mf_vm *vm, struct migrate_fast_fault *fault, int ms)
{
	struct pollfd pollfd = { .fd = vm->session, .events = POLLIN };
	ssize_t n;
	int rc;

	rc = poll(&pollfd, 1, ms);
	if (rc <= 0)
		return rc < 0 ? -errno : 0;
	n = read(vm->session, fault, sizeof(*fault));
	if (n < 0)
		return -errno;
	return n == sizeof(*fault) ? 1 : -EIO;
}

int mf_wait_waiting(struct mf_vm *vm, unsigned int pages)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;

	while (mf_absent_state(vm).waiting != pages) {
		if (mf_ms() > limit)
			return -ETIMEDOUT;
		usleep(2000);
	}
	return 0;
}

/* All sessions that this process has open. */
static void close_sessions(void)
{
	char path[64], name[64];
	int fd;

	for (fd = 3; fd < 256; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
		name[n < 0 ? 0 : n] = '\0';
		if (!strcmp(name, MIGRATE_FAST_DEVICE))
			close(fd);
	}
}

pid_t mf_touch_start(struct mf_vm *vm, mf_touch touch, size_t page)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* The bitmap's mapping would keep the session as well. */
	if (vm->bitmap)
		munmap(vm->bitmap, vm->bitmap_bytes);
	close_sessions();
	prctl(PR_SET_NAME, TOUCHES);
	_exit(touch(vm, page));
}

/* It has come to the touch, and sleeps. Also true of who has ended. */
static bool sleeps(pid_t pid)
{
	char path[32], line[64] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f)
		return true;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	return strstr(line, "(" TOUCHES ") ") && !strstr(line, ") R ");
}

bool mf_touch_waits(pid_t pid)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;
	siginfo_t info = {};

	/* On a busy machine it may take its time to get there. */
	while (!sleeps(pid) && mf_ms() < limit)
		usleep(1000);
	/* And it may come out again. */
	usleep(30000);
	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid;
}

int mf_touch_end(pid_t pid)
{
	return mf_wait_until(pid, mf_ms() + MF_PATIENCE_MS);
}

int mf_touch_load(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];

	memcpy(bytes, mf_page(vm, page), MF_PAGE);
	return mf_stamp_differs(bytes, page, 2) < 0 ? 0 : MF_WRONG;
}
