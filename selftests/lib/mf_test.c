// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mf_test.h"


static int complain(const char *format, ...)
{
	int error = errno;
	va_list args;

	fputs("# ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	return -error;
}

int mf_ioctl(int fd, unsigned long request, void *arg)
{
	int rc = ioctl(fd, request, arg);

	return rc < 0 ? -errno : rc;
}

int mf_session(void)
{
	struct migrate_fast_handshake hello = { .abi = MIGRATE_FAST_ABI };
	int rc, fd = open(MIGRATE_FAST_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return complain(MIGRATE_FAST_DEVICE);
	rc = mf_ioctl(fd, MIGRATE_FAST_HANDSHAKE, &hello);
	if (rc) {
		complain("handshake");
		close(fd);
		return rc;
	}
	return fd;
}

int mf_add(int session, int fd, struct migrate_fast_add *add)
{
	*add = (struct migrate_fast_add){ .fd = fd };
	return mf_ioctl(session, MIGRATE_FAST_ADD, add);
}

int mf_start(int session)
{
	struct migrate_fast_start start = {};

	return mf_ioctl(session, MIGRATE_FAST_START, &start);
}

int mf_stop(int session)
{
	struct migrate_fast_start stop = {};

	return mf_ioctl(session, MIGRATE_FAST_STOP, &stop);
}

int mf_mount(const char *options)
{
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return complain("mount namespace");
	mkdir(MF_MNT, 0755);
	if (mount("none", MF_MNT, MIGRATE_FAST_FSTYPE, 0, options))
		return -errno;
	return 0;
}

int mf_umount(void)
{
	return umount2(MF_MNT, 0) ? -errno : 0;
}

int mf_create(const char *path, size_t bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return complain("%s", path);
	if (ftruncate(fd, bytes)) {
		int rc = complain("ftruncate %s", path);

		close(fd);
		return rc;
	}
	return fd;
}

void *mf_map(int fd, size_t bytes, int prot)
{
	const size_t huge = MF_HUGE * MF_PAGE;
	char *space, *start, *map, *end;

	/* Room for the alignment, of which only the file's part is kept. */
	space = mmap(NULL, bytes + huge, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (space == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)space + huge - 1) & ~(huge - 1));
	end = start + ((bytes + MF_PAGE - 1) & ~(MF_PAGE - 1));
	map = mmap(start, bytes, prot, MAP_SHARED | MAP_FIXED, fd, 0);
	if (map == MAP_FAILED) {
		int error = errno;

		munmap(space, bytes + huge);
		errno = error;
		return NULL;
	}
	if (start > space)
		munmap(space, start - space);
	munmap(end, space + bytes + huge - end);
	return map;
}

int mf_vm_session(struct mf_vm *vm)
{
	struct migrate_fast_add add;
	int rc;

	vm->session = mf_session();
	if (vm->session < 0)
		return vm->session;
	rc = mf_add(vm->session, vm->fd, &add);
	if (rc)
		return complain("add");
	vm->ram = add.ram;
	vm->bitmap_bytes = add.bitmap_bytes;
	vm->bitmap = mmap(NULL, add.bitmap_bytes, PROT_READ | PROT_WRITE,
			  MAP_SHARED, vm->session, add.bitmap_offset);
	if (vm->bitmap == MAP_FAILED)
		return complain("mmap of the bitmap");
	return 0;
}

void mf_vm_leave(struct mf_vm *vm)
{
	munmap(vm->bitmap, vm->bitmap_bytes);
	close(vm->session);
}

int mf_vm_open(struct mf_vm *vm, size_t pages, const char *options)
{
	int rc;

	*vm = (struct mf_vm){ .pages = pages };
	snprintf(vm->path, sizeof(vm->path), "%s/ram", MF_MNT);
	rc = mf_mount(options);
	if (rc)
		return fprintf(stderr, "# mount mfram: %s\n", strerror(-rc)), rc;
	vm->fd = mf_create(vm->path, pages * MF_PAGE);
	if (vm->fd < 0)
		return vm->fd;
	vm->map = mf_map(vm->fd, pages * MF_PAGE, PROT_READ | PROT_WRITE);
	if (!vm->map)
		return complain("mmap %s", vm->path);
	return mf_vm_session(vm);
}

void mf_vm_close(struct mf_vm *vm)
{
	if (vm->bitmap)
		munmap(vm->bitmap, vm->bitmap_bytes);
	if (vm->map)
		munmap(vm->map, vm->pages * MF_PAGE);
	if (vm->session > 0)
		close(vm->session);
	if (vm->fd > 0)
		close(vm->fd);
	*vm = (struct mf_vm){};
	umount2(MF_MNT, MNT_DETACH);
}

int mf_vm_open_grouped(struct mf_vm *vm, size_t pages, const char *options)
{
	int rc = mf_cgroup_enter();

	return rc ? rc : mf_vm_open(vm, pages, options);
}

void mf_vm_close_grouped(struct mf_vm *vm)
{
	mf_vm_close(vm);
	mf_swap_off();
	mf_cgroup_leave();
}

/* A test compares two lists in one expression, so there are a few buffers. */
static char *buffer(size_t *size)
{
	static char buffers[4][4096];
	static unsigned int next;

	*size = sizeof(buffers[0]);
	return buffers[next++ % 4];
}

const char *mf_list(const __u64 *bits, size_t pages)
{
	size_t page, from, len = 0, size;
	char *list = buffer(&size);

	list[0] = '\0';
	for (page = 0; page < pages; page++) {
		if (!mf_bit(bits, page))
			continue;
		for (from = page; page + 1 < pages && mf_bit(bits, page + 1);)
			page++;
		len += snprintf(list + len, size - len, from == page ? "%s%zu" :
				"%s%zu-%zu", len ? "," : "", from, page);
		if (len > size - 64) {
			strcpy(list + len, "...");
			break;
		}
	}
	return list;
}

static const char *failed(const char *what, int rc)
{
	size_t size;
	char *text = buffer(&size);

	snprintf(text, size, "%s: %s", what, strerrorname_np(-rc));
	return text;
}

static size_t count(const __u64 *bits, size_t pages)
{
	size_t page, n = 0;

	for (page = 0; page < pages; page++)
		n += mf_bit(bits, page);
	return n;
}

const char *mf_harvest_range(struct mf_vm *vm, __u64 start, __u64 pages)
{
	struct migrate_fast_harvest h = {
		.ram = vm->ram, .start = start, .pages = pages,
	};
	__u64 end = pages ? start + pages : vm->pages;
	char *text;
	size_t size;
	int rc;

	memset(vm->bitmap, 0, vm->bitmap_bytes);
	rc = mf_ioctl(vm->session, MIGRATE_FAST_HARVEST, &h);
	if (rc)
		return failed("harvest", rc);
	vm->dirty = h.dirty;
	vm->carried = h.carried;
	if (h.next == end && h.dirty == count(vm->bitmap, vm->pages) &&
	    h.carried <= h.dirty)
		return mf_list(vm->bitmap, vm->pages);
	text = buffer(&size);
	snprintf(text, size, "next %llu dirty %llu carried %llu but bits %.2000s",
		 h.next, h.dirty, h.carried, mf_list(vm->bitmap, vm->pages));
	return text;
}

const char *mf_harvest(struct mf_vm *vm)
{
	return mf_harvest_range(vm, 0, 0);
}

const char *mf_harvest_settled(struct mf_vm *vm)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;
	__u64 *sum = calloc(1, vm->bitmap_bytes);
	const char *list;
	bool again = false;
	size_t i;

	do {
		if (again)
			usleep(10000);
		again = true;
		list = mf_harvest(vm);
		for (i = 0; i < vm->bitmap_bytes / 8; i++)
			sum[i] |= vm->bitmap[i];
		/* An error in the middle of it must not look like an end. */
		if (strchr(list, ' '))
			goto out;
	} while (vm->carried && mf_ms() < limit);
	list = vm->carried ? "never settled" : mf_list(sum, vm->pages);
out:
	free(sum);
	return list;
}

const char *mf_peek(struct mf_vm *vm)
{
	__u64 *bits = calloc((vm->pages + 63) / 64, 8);
	struct migrate_fast_peek peek = {
		.ram = vm->ram, .bitmap = (uintptr_t)bits,
	};
	const char *list;
	int rc;

	rc = mf_ioctl(vm->session, MIGRATE_FAST_PEEK, &peek);
	vm->dirty = peek.dirty;
	if (rc)
		list = failed("peek", rc);
	else if (peek.dirty != count(bits, vm->pages))
		list = "peek: dirty and the bitmap disagree";
	else
		list = mf_list(bits, vm->pages);
	free(bits);
	return list;
}

long mf_differs(const struct mf_vm *vm, const unsigned char *mirror)
{
	unsigned char page[MF_PAGE];
	size_t i;

	for (i = 0; i < vm->pages; i++) {
		if (pread(vm->fd, page, MF_PAGE, i * MF_PAGE) != MF_PAGE)
			return complain("pread of page %zu", i), i;
		if (memcmp(page, mirror + i * MF_PAGE, MF_PAGE))
			return i;
	}
	return -1;
}

long mf_smaps(const void *addr, const char *field)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	size_t len = strlen(field);
	unsigned long start, end;
	bool here = false;
	char line[512];
	long kb = -ENOENT;

	if (!smaps)
		return -errno;
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
			here = start == (unsigned long)addr;
		} else if (here && !strncmp(line, field, len) &&
			   line[len] == ':') {
			kb = atol(line + len + 1);
			break;
		}
	}
	fclose(smaps);
	return kb;
}

int mf_resident(const void *page)
{
	unsigned char bit;

	if (mincore((void *)page, MF_PAGE, &bit))
		return -errno;
	return bit & 1;
}

long mf_read_number(const char *path)
{
	FILE *file = fopen(path, "r");
	long number;

	if (!file)
		return -errno;
	if (fscanf(file, "%ld", &number) != 1)
		number = -EINVAL;
	fclose(file);
	return number;
}

long mf_users(void)
{
	return mf_read_number("/sys/module/migrate_fast/refcnt");
}

long mf_users_settled(long want)
{
	unsigned long long limit = mf_ms() + MF_PATIENCE_MS;

	/* The last references are dropped by delayed work. */
	while (mf_users() != want && mf_ms() < limit)
		usleep(20000);
	return mf_users();
}

int mf_write_string(const char *path, const char *string)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, string, strlen(string)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int mf_modprobe(const char *module, const char *option)
{
	pid_t pid = fork();

	if (!pid) {
		execlp("modprobe", "modprobe", "-q", module, option, NULL);
		_exit(127);
	}
	return mf_wait(pid);
}

int mf_kernel(void)
{
	struct utsname name;
	int major, minor;

	uname(&name);
	if (sscanf(name.release, "%d.%d", &major, &minor) != 2)
		return 0;
	return major * 1000 + minor;
}

int mf_wait(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

int mf_wait_until(pid_t pid, unsigned long long limit)
{
	int status;
	pid_t rc;

	while (!(rc = waitpid(pid, &status, WNOHANG))) {
		if (mf_ms() > limit) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return -ETIMEDOUT;
		}
		usleep(1000);
	}
	if (rc < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool mf_ends_until(pid_t pid, unsigned long long limit)
{
	siginfo_t info = {};

	while (!waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
	       !info.si_pid) {
		if (mf_ms() > limit)
			return false;
		usleep(1000);
	}
	return info.si_pid == pid;
}

unsigned int mf_environment(const char *name, unsigned int otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoul(value, NULL, 0) : otherwise;
}

__u64 mf_random(__u64 *state)
{
	__u64 z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

__u64 mf_seed(void)
{
	const char *value = getenv("MF_SEED");
	struct timespec now;
	__u64 seed;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = value ? strtoull(value, NULL, 0) :
		       now.tv_sec * 1000000000ULL + now.tv_nsec;
	printf("# MF_SEED=%llu\n", seed);
	fflush(stdout);
	return seed;
}

unsigned long long mf_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}
