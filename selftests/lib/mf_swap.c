// SPDX-License-Identifier: GPL-2.0
/*
 * Swap pressure for one test only: swap on a compressed RAM disk, and a memory
 * control group whose memory is reclaimed on demand.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "mf_test.h"

#define CGROUPS "/sys/fs/cgroup"

static char device[32];
static char group[64];

/* The header that mkswap(8) writes: see union swap_header of the kernel. */
static int make_swap(size_t bytes)
{
	unsigned int page[1024] = {};
	int rc = 0, fd = open(device, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	page[256] = 1;				/* version */
	page[257] = bytes / MF_PAGE - 1;	/* last page */
	memcpy((char *)page + MF_PAGE - 10, "SWAPSPACE2", 10);
	if (pwrite(fd, page, sizeof(page), 0) != sizeof(page))
		rc = -errno;
	if (fsync(fd))
		rc = -errno;
	close(fd);
	return rc;
}

int mf_swap_on(size_t bytes)
{
	char path[64], size[32];
	long number;
	int rc;

	mf_modprobe("zram", "num_devices=0");
	/* Reading makes a new device, so that tests do not meet in one. */
	number = mf_read_number("/sys/class/zram-control/hot_add");
	if (number < 0)
		return number;
	snprintf(device, sizeof(device), "/dev/zram%ld", number);
	snprintf(path, sizeof(path), "/sys/block/zram%ld/disksize", number);
	snprintf(size, sizeof(size), "%zu", bytes);
	rc = mf_write_string(path, size);
	if (!rc)
		rc = make_swap(bytes);
	if (!rc && swapon(device, SWAP_FLAG_PREFER | 100))
		rc = -errno;
	if (rc)
		mf_swap_off();
	return rc;
}

void mf_swap_off(void)
{
	if (!device[0])
		return;
	swapoff(device);
	mf_write_string("/sys/class/zram-control/hot_remove",
			device + strlen("/dev/zram"));
	device[0] = '\0';
}

int mf_cgroup_enter(void)
{
	char path[128];
	int rc;

	/* Already so if another test was here before. */
	mf_write_string(CGROUPS "/cgroup.subtree_control", "+memory");
	snprintf(group, sizeof(group), CGROUPS "/mf-test-%d", getpid());
	if (mkdir(group, 0755) && errno != EEXIST)
		return -errno;
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	rc = mf_write_string(path, "0");
	if (rc)
		mf_cgroup_leave();
	return rc;
}

void mf_cgroup_leave(void)
{
	if (!group[0])
		return;
	mf_write_string(CGROUPS "/cgroup.procs", "0");
	rmdir(group);
	group[0] = '\0';
}

long mf_cgroup_stat(const char *field)
{
	size_t len = strlen(field);
	char line[256];
	long value = -ENOENT;
	FILE *file;

	snprintf(line, sizeof(line), "%s/memory.stat", group);
	file = fopen(line, "r");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, field, len) && line[len] == ' ')
			value = atol(line + len);
	}
	fclose(file);
	return value;
}

long mf_swap_out(void *addr, size_t bytes)
{
	char *page, *end = (char *)addr + bytes;
	char path[128];
	int attempt;
	long out = 0;

	snprintf(path, sizeof(path), "%s/memory.reclaim", group);
	/* Pages in a per-CPU batch or under writeback are skipped: again. */
	for (attempt = 0; attempt < 50; attempt++) {
		madvise(addr, bytes, MADV_PAGEOUT);
		/* Less than what was asked for is EAGAIN, and good enough. */
		mf_write_string(path, "64M");
		out = 0;
		for (page = addr; page < end; page += MF_PAGE)
			out += mf_resident(page) == 0;
		if (out == (long)(bytes / MF_PAGE))
			break;
		usleep(20000);
	}
	return out;
}
