/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A session: what one open of /dev/migrate-fast holds.
 */
#ifndef MF_SESSION_H
#define MF_SESSION_H

#include <linux/atomic.h>
#include <linux/list.h>
#include <linux/migrate_fast.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/wait.h>

struct file;
struct mf_kvm;
struct mf_ram;
struct mf_track;

/**
 * struct mf_member - a RAM file in a session
 * @file: the mfram file; the reference keeps @ram alive
 * @ram: the same, looked up
 * @pages: length in pages when it was added
 * @bitmap: what user space maps (vmalloc_user()). User space writes to it at
 *	any time: only ever OR into it or use it as a filter
 * @track: not NULL while this session tracks the file; under session->lock
 * @faults: of tracks that have ended; under session->lock
 * @writes: likewise
 * @harvests: calls
 * @harvested: pages reported
 * @carried: of them, with a possible DMA writer
 * @hashed: pages digested
 * @sent_bytes: bytes of the file that sockets have taken
 *
 * Members are only ever added, so a member that was found stays valid while
 * the session's file is held: an ioctl needs no lock for that.
 */
struct mf_member {
	struct file *file;
	struct mf_ram *ram;
	u64 pages;
	unsigned long *bitmap;
	struct mf_track *track;
	u64 faults;
	u64 writes;
	atomic64_t harvests;
	atomic64_t harvested;
	atomic64_t carried;
	atomic64_t hashed;
	atomic64_t sent_bytes;
};

/**
 * struct mf_session - one open of the device
 * @lock: serialises ADD, START, STOP, HARVEST, PEEK and COUNTERS. Outermost
 *	of our locks: before the inode lock of a RAM file. mmap_lock is not held
 *	when it is taken, but PEEK faults with it held: if its caller's bitmap
 *	lies in an absent page, or with a userfaultfd, those who want the lock
 *	wait as well, and can be interrupted. So it is not taken by what brings
 *	pages (DEMAND, FILL, ABSENT, ABORT, read)
 * @read_lock: serialises read(2); before all other locks
 * @wanted: who waits for fault events
 * @greeted: the handshake was made
 * @kvm: the VM whose log is used, or NULL; under @lock
 * @listed: in status.c's list
 * @opener: process that has opened it
 * @comm: its name then
 * @count: files in @members; published with smp_store_release()
 * @members: the files
 */
struct mf_session {
	struct mutex lock;
	struct mutex read_lock;
	wait_queue_head_t wanted;
	bool greeted;
	struct mf_kvm *kvm;
	struct list_head listed;
	pid_t opener;
	char comm[TASK_COMM_LEN];
	unsigned int count;
	struct mf_member *members[MIGRATE_FAST_MAX_RAM];
};

struct mf_session *mf_session_new(void);
void mf_session_free(struct mf_session *session);

/* The member number @ram, or ERR_PTR(-ENOENT). */
struct mf_member *mf_session_member(struct mf_session *session, u32 ram);

/* The inode lock of the file, which keeps its length as it is, and what is absent. */
int mf_member_lock(struct mf_member *member);
void mf_member_unlock(struct mf_member *member);

/* Resolve "0 means to the end" and check a range against the file. */
int mf_member_range(const struct mf_member *member, u64 start, u64 *pages);

/* For PEEK and ABSENT: word number @word of a bitmap. */
typedef unsigned long mf_word_of(const void *from, u64 word);
int mf_words_to_user(mf_word_of *word_of, const void *from, u64 start, u64 bits,
		     u64 __user *to, u64 *set);

int mf_session_add(struct mf_session *session, struct migrate_fast_add *arg);
int mf_session_start(struct mf_session *session,
		     const struct migrate_fast_start *arg);
int mf_session_stop(struct mf_session *session,
		    const struct migrate_fast_start *arg);
int mf_session_harvest(struct mf_session *session,
		       struct migrate_fast_harvest *arg);
int mf_session_peek(struct mf_session *session, struct migrate_fast_peek *arg);
int mf_session_counters(struct mf_session *session,
			struct migrate_fast_counters *arg);
int mf_session_kvm(struct mf_session *session, struct migrate_fast_kvm *arg);
int mf_session_mmap(struct mf_session *session, struct vm_area_struct *vma);

#endif
