// SPDX-License-Identifier: GPL-2.0
/* Control groups (version 2); see cgroup.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "../lib/say.h"
#include "cgroup.h"

/* Where version 2 is mounted, and what part of it ("/": all of it). */
static int find_mount(char root[PATH_MAX], char where[PATH_MAX])
{
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *type;
	bool found = false;
	size_t size = 0;

	while (mounts && !found && getline(&line, &size, mounts) > 0) {
		type = strstr(line, " - ");
		found = type && !strncmp(type + 3, "cgroup2 ", 8) &&
			strlen(line) < PATH_MAX &&
			sscanf(line, "%*s %*s %*s %s %s", root, where) == 2;
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return found ? 0 : -1;
}

/* Its path below the root of version 2; says whether version 1 has "cpu". */
static int find_path(pid_t pid, pid_t tid, char path[PATH_MAX], bool *old)
{
	char name[64], *line = NULL, *list;
	FILE *file;
	bool found = false;
	size_t size = 0;

	snprintf(name, sizeof(name), "/proc/%d/task/%d/cgroup", pid, tid);
	file = fopen(name, "re");
	if (!file)
		return -errno;
	*old = false;
	/* NUMBER:CONTROLLERS:PATH; 0 and none is version 2. */
	while (getline(&line, &size, file) > 0) {
		line[strcspn(line, "\n")] = 0;
		list = strchr(line, ':');
		if (!list)
			continue;
		if (!strncmp(line, "0::", 3) && strlen(line) < PATH_MAX) {
			strcpy(path, line + 3);
			found = true;
		}
		if (!strncmp(list, ":cpu:", 5) || !strncmp(list, ":cpu,", 5) ||
		    strstr(list, ",cpu,") || strstr(list, ",cpu:"))
			*old = true;
	}
	free(line);
	fclose(file);
	return found ? 0 : -ENODATA;
}

char *cgroup_of(pid_t pid, pid_t tid)
{
	char path[PATH_MAX] = "", root[PATH_MAX], where[PATH_MAX], *dir;
	size_t len;
	bool old = false;
	int err;

	err = find_path(pid, tid, path, &old);
	if (err && err != -ENODATA) {
		fail("the control group of thread %d is not known: %s", tid,
		     strerror(-err));
		return NULL;
	}
	if (old) {
		fail("the cpu controller is one of cgroup version 1 here; boot with systemd.unified_cgroup_hierarchy=1, or without what mounts version 1");
		return NULL;
	}
	if (err || find_mount(root, where)) {
		fail("cgroup version 2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup");
		return NULL;
	}
	len = strcmp(root, "/") ? strlen(root) : 0;
	if (strncmp(path, root, len) || !strncmp(path, "/..", 3)) {
		fail("the control group %s of thread %d cannot be seen from here (%s is mounted)",
		     path, tid, root);
		return NULL;
	}
	if (asprintf(&dir, "%s%s", where,
		     strcmp(path + len, "/") ? path + len : "") < 0)
		dir = NULL;
	return need(dir);
}

static FILE *open_file(const char *dir, const char *file, const char *mode)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	return fopen(path, mode);
}

int cgroup_read(const char *dir, const char *file, char *text, size_t size)
{
	FILE *in = open_file(dir, file, "re");

	if (!in)
		return -errno;
	if (!fgets(text, (int)size, in))
		*text = 0;
	fclose(in);
	text[strcspn(text, "\n")] = 0;
	return 0;
}

int cgroup_write(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

bool cgroup_lists(const char *dir, const char *file, const char *word)
{
	char text[512], *save = NULL, *at;

	if (cgroup_read(dir, file, text, sizeof(text)))
		return false;
	for (at = strtok_r(text, " ", &save); at; at = strtok_r(NULL, " ", &save))
		if (!strcmp(at, word))
			return true;
	return false;
}

bool cgroup_is_only(const char *dir, pid_t tid)
{
	FILE *threads = open_file(dir, "cgroup.threads", "re");
	bool only = false;
	int first, second;

	if (threads) {
		only = fscanf(threads, "%d %d", &first, &second) == 1 &&
		       first == tid;
		fclose(threads);
	}
	return only;
}

bool cgroup_has_child(const char *dir, const char *prefix)
{
	DIR *folder = opendir(dir);
	struct dirent *entry;
	bool found = false;

	while (folder && !found && (entry = readdir(folder)))
		found = !strncmp(entry->d_name, prefix, strlen(prefix));
	if (folder)
		closedir(folder);
	return found;
}

int cgroup_move(const char *dir, pid_t tid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", tid);
	return cgroup_write(dir, "cgroup.threads", text);
}

void cgroup_move_all(const char *from, const char *to)
{
	FILE *threads = open_file(from, "cgroup.threads", "re");
	int tid;

	/* One that has ended meanwhile is not missed. */
	while (threads && fscanf(threads, "%d", &tid) == 1)
		cgroup_move(to, tid);
	if (threads)
		fclose(threads);
}

int cgroup_lock(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		flock(fd, LOCK_EX);
	return fd;
}
