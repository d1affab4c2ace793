/* SPDX-License-Identifier: GPL-2.0 */
/* Control groups (version 2): where a thread is, reading and writing files. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Folder of the group of a thread of process @pid, or NULL after fail(). */
char *cgroup_of(pid_t pid, pid_t tid);
/* First line of a file of a group. 0, or a negative errno. */
int cgroup_read(const char *dir, const char *file, char *text, size_t size);
/* 0, or a negative errno. */
int cgroup_write(const char *dir, const char *file, const char *text);
/* Is that one of the words in the first line of a file? */
bool cgroup_lists(const char *dir, const char *file, const char *word);
/* Is that thread in the group, and no other? */
bool cgroup_is_only(const char *dir, pid_t tid);
/* Has the group a child whose name begins so? */
bool cgroup_has_child(const char *dir, const char *prefix);
int cgroup_move(const char *dir, pid_t tid);
/* Moves all threads of one group to another; later ones may come again. */
void cgroup_move_all(const char *from, const char *to);
/*
 * One at a time for what belongs together; a descriptor to be closed, or
 * negative.
 */
int cgroup_lock(const char *dir);

#endif /* CGROUP_H */
