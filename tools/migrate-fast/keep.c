// SPDX-License-Identifier: GPL-2.0
/* What has to be known when we have died; see keep.h. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "hook.h"
#include "keep.h"

#define PATH	160
#define TEMPORARY ".new"

static void path_of(const char *session, const char *purpose, char path[PATH])
{
	snprintf(path, PATH - sizeof(TEMPORARY), KEEP_DIR "/%s.%s", session,
		 purpose);
}

/*
 * One name for a socket, wherever we are started. The socket itself goes with
 * its QEMU: only the folder is looked at.
 */
static char *whole(const char *qmp)
{
	const char *slash = strrchr(qmp, '/'), *name = slash ? slash + 1 : qmp;
	char *folder, *real, *path;

	folder = slash == qmp ? strdup("/") :
		 slash ? strndup(qmp, (size_t)(slash - qmp)) : strdup(".");
	real = realpath(need(folder), NULL);
	if (asprintf(&path, "%s/%s", real ? real : folder, name) < 0)
		path = NULL;
	free(real);
	free(folder);
	return need(path);
}

/*
 * Only what is whole gets a name, so that who is killed before leaves nothing.
 * A file is replaced by way of @temporary; that goes with the file.
 */
static int name_file(int fd, const char *path, const char *temporary)
{
	char self[32];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (!linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
		return 0;
	if (errno != EEXIST)
		return -1;
	unlink(temporary);
	if (linkat(AT_FDCWD, self, AT_FDCWD, temporary, AT_SYMLINK_FOLLOW))
		return -1;
	return rename(temporary, path);
}

int keep_write(const char *session, const char *purpose, const char *qmp,
	       json_t *what)
{
	char path[PATH], temporary[PATH], *name = whole(qmp);
	int fd, ret;

	json_object_set_new(what, "session", json_string(session));
	json_object_set_new(what, "qmp", json_string(name));
	free(name);
	path_of(session, purpose, path);
	strcat(strcpy(temporary, path), TEMPORARY);
	mkdir(KEEP_DIR, 0700);
	fd = open(KEEP_DIR, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	ret = fd < 0 ? -1 : json_dumpfd(what, fd, JSON_INDENT(1));
	json_decref(what);
	if (!ret && hook("keep"))
		ret = -1;
	else if (ret || name_file(fd, path, temporary))
		ret = fail("cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

void keep_remove(const char *session, const char *purpose)
{
	char path[PATH];

	path_of(session, purpose, path);
	unlink(path);
	/* Somebody may have been killed while he wrote. */
	strcat(path, TEMPORARY);
	unlink(path);
}

json_t *keep_read(const char *session, const char *purpose)
{
	json_error_t error;
	char path[PATH];

	path_of(session, purpose, path);
	return json_load_file(path, 0, &error);
}

bool keep_has(const char *session, const char *purpose)
{
	char path[PATH];

	path_of(session, purpose, path);
	return !access(path, F_OK);
}

json_t *keep_find(const char *qmp, const char *purpose)
{
	char path[sizeof(KEEP_DIR) + NAME_MAX + 2], *want = whole(qmp);
	DIR *dir = opendir(KEEP_DIR);
	const char *name, *end;
	struct dirent *entry;
	json_t *found = NULL;
	json_error_t error;

	while (dir && !found && (entry = readdir(dir))) {
		end = strchr(entry->d_name, '.');
		if (!end || strcmp(end + 1, purpose))
			continue;
		snprintf(path, sizeof(path), KEEP_DIR "/%s", entry->d_name);
		found = json_load_file(path, 0, &error);
		name = json_string_value(json_object_get(found, "qmp"));
		if (found && (!name || strcmp(name, want))) {
			json_decref(found);
			found = NULL;
		}
	}
	if (dir)
		closedir(dir);
	free(want);
	return found;
}
