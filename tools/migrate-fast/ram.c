// SPDX-License-Identifier: GPL-2.0
/* The RAM files of a VM; see ram.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "../lib/say.h"
#include "ram.h"
#include "vm.h"

/* Digests fetched at a time. */
#define BATCH	4096
/* Pages harvested in one go: 1 GiB. */
#define HARVEST	(1ULL << 18)

/*
 * /proc/PID/maps names the file by device and inode. That of an mfram
 * mapping is the file inside, which stat(2) does not tell: so map the file
 * and look at ourselves.
 */
static bool own_identity(int fd, char identity[64])
{
	unsigned long begin, end, inode, at;
	char *line = NULL, dev[32];
	bool found = false;
	size_t size = 0;
	void *map;
	FILE *maps;

	map = mmap(NULL, MF_PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return false;
	at = (unsigned long)map;
	maps = fopen("/proc/self/maps", "re");
	while (maps && !found && getline(&line, &size, maps) > 0) {
		if (sscanf(line, "%lx-%lx %*s %*s %31s %lu", &begin, &end, dev,
			   &inode) != 4 || at < begin || at >= end)
			continue;
		snprintf(identity, 64, " %s %lu ", dev, inode);
		found = true;
	}
	if (maps)
		fclose(maps);
	free(line);
	munmap(map, MF_PAGE_SIZE);
	return found;
}

static bool process_maps(const char *pid, const char *identity)
{
	char path[300], *line = NULL;
	bool found = false;
	size_t size = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	if (!maps)
		return false;
	while (!found && getline(&line, &size, maps) > 0) {
		line[strcspn(line, "\n")] = ' ';
		found = strstr(line, identity);
	}
	fclose(maps);
	free(line);
	return found;
}

uint64_t ram_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* It was there then, by the same clock, and is. */
static bool process_was_there(const char *pid, uint64_t then)
{
	char path[300], line[512], *at;
	unsigned long long ticks = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	stat = fopen(path, "re");
	if (!stat)
		return false;
	/* The name is in brackets, and may have some of its own. */
	at = fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
	if (at)
		sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		       &ticks);
	fclose(stat);
	return ticks && ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK) <= then;
}

bool ram_is_mapped(int fd, int first, uint64_t since)
{
	char identity[64], pid[16];
	struct dirent *entry;
	bool found = false;
	DIR *proc;

	/* Without /proc nothing can be said against it. */
	if (!own_identity(fd, identity))
		return true;
	snprintf(pid, sizeof(pid), "%d", first);
	if (first > 0 && !since && process_maps(pid, identity))
		return true;
	proc = opendir("/proc");
	if (!proc)
		return true;
	while (!found && (entry = readdir(proc)))
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    atoi(entry->d_name) != getpid() &&
		    process_maps(entry->d_name, identity))
			found = !since ||
				process_was_there(entry->d_name, since);
	closedir(proc);
	return found;
}

static void survey_ram(struct vm *vm, struct ram *ram,
		       struct problems *problems)
{
	bool file = ram->type && !strcmp(ram->type, "memory-backend-file");
	/* "pc.ram" and the like are QEMU's own names. */
	const char *id = strchr(ram->id, '.') ? "ram0" : ram->id;
	struct statfs fs;
	struct stat st;

	if (!file || !ram->path) {
		problem(problems, "RAM backend \"%s\" is a %s, which would not move: start QEMU with -object memory-backend-file,id=%s,size=...,mem-path=/run/migrate-fast/NAME,share=on (and -machine memory-backend=%s if it is the main memory)",
			ram->id, ram->type ? ram->type : "backend of unknown type",
			id, id);
		return;
	}
	if (!ram->share)
		problem(problems, "RAM backend \"%s\" is not shared: add share=on to it",
			ram->id);
	if (ram->bytes % MF_PAGE_SIZE)
		problem(problems, "RAM backend \"%s\" is no multiple of %d bytes long",
			ram->id, MF_PAGE_SIZE);
	ram->fd = open(ram->path, O_RDWR | O_CLOEXEC);
	if (ram->fd < 0 && errno == EISDIR) {
		problem(problems, "RAM backend \"%s\": mem-path=%s is a directory, so that its file has no name: write mem-path=%s/NAME",
			ram->id, ram->path, ram->path);
		return;
	}
	if (ram->fd < 0) {
		problem(problems, "RAM backend \"%s\": cannot open %s: %s (run as root, in the file system that QEMU sees)",
			ram->id, ram->path, strerror(errno));
		return;
	}
	if (fstatfs(ram->fd, &fs) || fs.f_type != MIGRATE_FAST_FSMAGIC) {
		problem(problems, "RAM backend \"%s\": %s is not on a file system of type %s: mount -t %s none /run/migrate-fast, and start QEMU with mem-path= there",
			ram->id, ram->path, MIGRATE_FAST_FSTYPE,
			MIGRATE_FAST_FSTYPE);
		return;
	}
	if (!fstat(ram->fd, &st)) {
		ram->allocated = (uint64_t)st.st_blocks * 512;
		if ((uint64_t)st.st_size != ram->bytes)
			problem(problems, "RAM backend \"%s\" has %" PRIu64 " bytes, but %s has %lld: the file was changed under QEMU",
				ram->id, ram->bytes, ram->path,
				(long long)st.st_size);
	}
	if (!ram_is_mapped(ram->fd, vm->qmp.peer, 0))
		problem(problems, "RAM backend \"%s\": no process maps %s; QEMU uses another file of this name (was it removed and made anew?). Restart the VM",
			ram->id, ram->path);
}

/* The right states to start from, on either side. */
static void survey_state(struct vm *vm, struct problems *problems)
{
	if (vm->incoming) {
		if (strcmp(vm->status, "inmigrate"))
			problem(problems, "QEMU at %s does not wait for a VM (it is \"%s\"): start it with -incoming defer",
				vm->qmp.path, vm->status);
	} else if (strcmp(vm->status, "running") &&
		   strcmp(vm->status, "paused")) {
		problem(problems, "the VM at %s is \"%s\": only a running or paused one can be moved",
			vm->qmp.path, vm->status);
	}
}

static void survey_migration(struct vm *vm, struct problems *problems)
{
	static const char *const idle[] = {
		"none", "completed", "failed", "cancelled",
	};
	bool busy = true;
	unsigned int i;

	for (i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
		busy = busy && strcmp(vm->busy, idle[i]);
	if (busy)
		problem(problems, "QEMU at %s is migrating already (\"%s\"): let it end, or cancel it (QMP migrate_cancel)",
			vm->qmp.path, vm->busy);
	if (vm->blocked)
		problem(problems, "QEMU says that this VM cannot be migrated: %s",
			vm->blocked);
}

int vm_survey_again(struct vm *vm, struct problems *problems)
{
	uint64_t plugged = vm->plugged;

	if (vm_query_again(vm))
		return -1;
	survey_migration(vm, problems);
	if (vm->plugged != plugged)
		problem(problems, "%llu MiB of memory are plugged into the VM, where there were %llu when its migration began: start the destination's QEMU with what it has by now, and migrate again",
			(unsigned long long)vm->plugged >> 20,
			(unsigned long long)plugged >> 20);
	return 0;
}

int vm_survey(struct vm *vm, struct problems *problems)
{
	unsigned int i, j;

	if (!vm->handed_over)
		survey_state(vm, problems);
	if (!vm->has_ignore_shared)
		problem(problems, "QEMU %d.%d.%d has no capability x-ignore-shared: QEMU 7.2 or newer is needed",
			vm->major, vm->minor, vm->micro);
	survey_migration(vm, problems);
	if (!vm->rams)
		problem(problems, "the VM has no RAM backend: use -object memory-backend-file and -machine memory-backend=");
	if (vm->rams > MIGRATE_FAST_MAX_RAM)
		problem(problems, "the VM has %u RAM backends; %d can be moved",
			vm->rams, MIGRATE_FAST_MAX_RAM);
	for (i = 0; i < vm->rams; i++) {
		struct ram *ram = &vm->ram[i];

		survey_ram(vm, ram, problems);
		for (j = 0; j < i; j++)
			if (ram->path && vm->ram[j].path &&
			    !strcmp(ram->path, vm->ram[j].path))
				problem(problems, "RAM backends \"%s\" and \"%s\" use one file, %s: give each its own",
					vm->ram[j].id, ram->id, ram->path);
	}
	return fail_text() ? -1 : 0;
}

static int punch(struct ram *ram, uint64_t page, uint64_t pages)
{
	if (fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)(page * MF_PAGE_SIZE),
		      (off_t)(pages * MF_PAGE_SIZE)))
		return fail("cannot clear %s: %s", ram->path, strerror(errno));
	return 0;
}

/*
 * A file may hold what an earlier VM has left. What is zero stays: it may
 * have been allocated ahead (prealloc=on, mem-lock=on).
 */
int ram_harvest(struct vm *vm, struct ram *ram, struct mf_harvested *sum)
{
	/* Nobody is hot who does not run, and what is left is to be final. */
	uint32_t flags = vm->running ? 0 : MIGRATE_FAST_HARVEST_CLEAN;
	uint64_t start, n;
	int err;

	for (start = 0; start < ram->mf.pages; start += n) {
		n = ram->mf.pages - start;
		if (n > HARVEST)
			n = HARVEST;
		err = mf_harvest_part(vm->session, &ram->mf, start, n,
				      flags, sum);
		if (err)
			return fail("harvest of %s: %s", ram->path,
				    strerror(-err));
		if (start + n < ram->mf.pages && loop_check())
			return -1;
	}
	return 0;
}

int ram_clear(struct vm *vm, struct ram *ram)
{
	struct migrate_fast_digest *digests;
	uint64_t page = 0, first = 0, run = 0;
	int ret = 0;

	if (lseek(ram->fd, 0, SEEK_DATA) < 0 && errno == ENXIO)
		return 0;
	digests = need(calloc(BATCH, sizeof(*digests)));
	while (!ret && page < ram->mf.pages) {
		int64_t n = mf_hash(vm->session, &ram->mf, 0, page, 0, 0,
				    digests, BATCH, &page), i;

		if (n < 0) {
			ret = fail("cannot read %s: %s", ram->path,
				   strerror((int)-n));
			break;
		}
		for (i = 0; i < n && !ret; i++) {
			if (digests[i].flags & MIGRATE_FAST_DIGEST_ZERO)
				continue;
			if (run && digests[i].page == first + run) {
				run++;
				continue;
			}
			if (run)
				ret = punch(ram, first, run);
			first = digests[i].page;
			run = 1;
		}
		if (!ret)
			ret = loop_check();
	}
	if (!ret && run)
		ret = punch(ram, first, run);
	free(digests);
	return ret;
}

void problem_module(struct problems *problems, int err,
		    const struct migrate_fast_handshake *shake,
		    uint64_t features)
{
	switch (-err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		problem(problems, "%s is missing: load the module (modprobe migrate_fast); if there is none for this kernel: dkms status, make dkms",
			MIGRATE_FAST_DEVICE);
		break;
	case EACCES:
	case EPERM:
		problem(problems, "no permission for %s: run as root (CAP_SYS_ADMIN)",
			MIGRATE_FAST_DEVICE);
		break;
	case EPROTONOSUPPORT:
		if (shake->abi != MIGRATE_FAST_ABI)
			problem(problems, "module and tool do not fit: the module speaks ABI %u, this tool %u; install both from one release",
				shake->abi, MIGRATE_FAST_ABI);
		else
			problem(problems, "the module lacks features %#" PRIx64 " that this tool needs: install both from one release, then reload it (rmmod migrate_fast; modprobe migrate_fast)",
				(uint64_t)(features & ~shake->features));
		break;
	default:
		problem(problems, "cannot open %s: %s", MIGRATE_FAST_DEVICE,
			strerror(-err));
	}
}
