// SPDX-License-Identifier: GPL-2.0
/* The RAM files of a VM; see ram.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
