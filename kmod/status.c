// SPDX-License-Identifier: GPL-2.0
/*
 * What sessions there are, for people: /sys/kernel/debug/migrate-fast/sessions.
 *
 * Lock order: status_lock -> session->lock, which is only tried: its holder may
 * wait for a page that never comes, and who reads this wants to know of that,
 * not to wait as well.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/migrate_fast.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "kvm.h"
#include "session.h"
#include "status.h"
#include "track.h"

/* Protects the list, and sessions in it from being freed. */
static DEFINE_MUTEX(status_lock);
static LIST_HEAD(sessions);
static struct dentry *folder;

void mf_status_add(struct mf_session *session)
{
	session->opener = task_tgid_nr(current);
	get_task_comm(session->comm, current);
	mutex_lock(&status_lock);
	list_add_tail(&session->listed, &sessions);
	mutex_unlock(&status_lock);
}

void mf_status_remove(struct mf_session *session)
{
	mutex_lock(&status_lock);
	list_del(&session->listed);
	mutex_unlock(&status_lock);
}

static void show_kvm(struct seq_file *out, struct mf_session *session)
{
	static const char *const states[] = {
		[MIGRATE_FAST_KVM_NONE] = "none",
		[MIGRATE_FAST_KVM_USED] = "used",
		[MIGRATE_FAST_KVM_CONTENDED] = "left to the VMM, which uses it",
		[MIGRATE_FAST_KVM_GONE] = "gone with the VMM",
		[MIGRATE_FAST_KVM_UNFIT] = "refused by KVM",
	};
	struct migrate_fast_kvm kvm = {};

	if (session->kvm)
		mf_kvm_tell(session->kvm, &kvm);
	seq_printf(out, "  KVM's log: %s; slots %u, foreign %u, clears %llu\n",
		   kvm.state < ARRAY_SIZE(states) ? states[kvm.state] : "?",
		   kvm.slots, kvm.foreign, kvm.clears);
}

static void show_member(struct seq_file *out, unsigned int number,
			struct mf_member *member)
{
	const struct mf_track *track = member->track;
	u64 faults = member->faults, writes = member->writes;

	if (track) {
		faults += atomic64_read(&track->faults);
		writes += atomic64_read(&track->writes);
	}
	seq_printf(out, "  file %u: ", number);
	seq_file_path(out, member->file, " \t\n\\");
	seq_printf(out, ": pages %llu, %s; faults %llu, writes %llu, harvests %lld, harvested %lld, carried %lld, kept %llu, hashed %lld, sent_bytes %lld\n",
		   member->pages, track ? "tracked" : "not tracked", faults,
		   writes, atomic64_read(&member->harvests),
		   atomic64_read(&member->harvested),
		   atomic64_read(&member->carried),
		   track ? track->kept_pages : 0,
		   atomic64_read(&member->hashed),
		   atomic64_read(&member->sent_bytes));
}

static void show_session(struct seq_file *out, struct mf_session *session)
{
	unsigned int i;

	seq_printf(out, "session of %s (%d)\n", session->comm, session->opener);
	if (!mutex_trylock(&session->lock)) {
		seq_puts(out, "  busy\n");
		return;
	}
	show_kvm(out, session);
	for (i = 0; i < session->count; i++)
		show_member(out, i, session->members[i]);
	mutex_unlock(&session->lock);
}

static int sessions_show(struct seq_file *out, void *unused)
{
	struct mf_session *session;
	int err = mutex_lock_interruptible(&status_lock);

	if (err)
		return err;
	list_for_each_entry(session, &sessions, listed)
		show_session(out, session);
	mutex_unlock(&status_lock);
	return 0;
}

DEFINE_SHOW_ATTRIBUTE(sessions);

/* Nothing depends on it: without debugfs it is not there. */
void mf_status_init(void)
{
	folder = debugfs_create_dir("migrate-fast", NULL);
	debugfs_create_file("sessions", 0400, folder, NULL, &sessions_fops);
}

void mf_status_exit(void)
{
	debugfs_remove(folder);
}
