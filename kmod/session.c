// SPDX-License-Identifier: GPL-2.0
/*
 * Sessions: the RAM files of one VM, and what is done with them.
 */
#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "kvm.h"
#include "ram.h"
#include "serve.h"
#include "session.h"
#include "status.h"
#include "track.h"

/* The bitmap of file n is mapped at n times this. */
#define BITMAP_STRIDE_SHIFT	40

struct mf_session *mf_session_new(void)
{
	struct mf_session *session;

	session = kzalloc(sizeof(*session), GFP_KERNEL_ACCOUNT);
	if (!session)
		return NULL;
	mutex_init(&session->lock);
	mutex_init(&session->read_lock);
	init_waitqueue_head(&session->wanted);
	mf_status_add(session);
	return session;
}

static void member_stop(struct mf_member *member)
{
	if (!member->track)
		return;
	member->faults += atomic64_read(&member->track->faults);
	member->writes += atomic64_read(&member->track->writes);
	mf_track_stop(member->ram, file_inode(member->file), member->track);
	member->track = NULL;
}

static void member_free(struct mf_member *member)
{
	member_stop(member);
	/* Pages of it that are still mapped have references of their own. */
	vfree(member->bitmap);
	fput(member->file);
	kfree(member);
}

/**
 * mf_session_free - the last descriptor is closed
 * @session: nobody else uses it any more
 */
void mf_session_free(struct mf_session *session)
{
	unsigned int i;

	mf_status_remove(session);
	mf_kvm_detach(session->kvm);
	for (i = 0; i < session->count; i++) {
		mf_serve_leave(session, session->members[i]);
		member_free(session->members[i]);
	}
	kfree(session);
}

struct mf_member *mf_session_member(struct mf_session *session, u32 ram)
{
	/* Pairs with the release in mf_session_add(). */
	if (ram >= smp_load_acquire(&session->count))
		return ERR_PTR(-ENOENT);
	return session->members[ram];
}

int mf_member_lock(struct mf_member *member)
{
	return down_write_killable(&file_inode(member->file)->i_rwsem);
}

void mf_member_unlock(struct mf_member *member)
{
	inode_unlock(file_inode(member->file));
}

/**
 * mf_member_range - check a range of pages
 * @member: the file
 * @start: first page
 * @pages: in: how many, 0 for all to the end; out: how many
 *
 * Return: 0, or -EINVAL if the range leaves the file.
 */
int mf_member_range(const struct mf_member *member, u64 start, u64 *pages)
{
	if (start > member->pages || *pages > member->pages - start)
		return -EINVAL;
	if (!*pages)
		*pages = member->pages - start;
	return 0;
}

static struct mf_member *member_new(struct file *file)
{
	struct mf_ram *ram = mf_ram_from_file(file);
	struct mf_member *member;
	loff_t size;

	if (!ram)
		return ERR_PTR(-EMEDIUMTYPE);
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) !=
	    (FMODE_READ | FMODE_WRITE))
		return ERR_PTR(-EACCES);
	size = i_size_read(file_inode(file));
	if (!size)
		return ERR_PTR(-EINVAL);
	if (DIV_ROUND_UP_ULL(size, PAGE_SIZE) > MIGRATE_FAST_MAX_PAGES)
		return ERR_PTR(-EFBIG);

	member = kzalloc(sizeof(*member), GFP_KERNEL_ACCOUNT);
	if (!member)
		return ERR_PTR(-ENOMEM);
	member->pages = DIV_ROUND_UP_ULL(size, PAGE_SIZE);
	member->bitmap = vmalloc_user(PAGE_ALIGN(BITS_TO_LONGS(member->pages) *
						 sizeof(long)));
	if (!member->bitmap) {
		kfree(member);
		return ERR_PTR(-ENOMEM);
	}
	member->ram = ram;
	member->file = get_file(file);
	return member;
}

static int add_file(struct mf_session *session, struct file *file,
		    struct migrate_fast_add *arg)
{
	struct mf_member *member;
	unsigned int i;

	for (i = 0; i < session->count; i++) {
		if (file_inode(session->members[i]->file) == file_inode(file))
			return -EEXIST;
	}
	if (session->count == MIGRATE_FAST_MAX_RAM)
		return -ENOSPC;
	member = member_new(file);
	if (IS_ERR(member))
		return PTR_ERR(member);

	arg->ram = session->count;
	arg->pages = member->pages;
	arg->bitmap_offset = (u64)arg->ram << BITMAP_STRIDE_SHIFT;
	arg->bitmap_bytes = PAGE_ALIGN(BITS_TO_LONGS(member->pages) *
				       sizeof(long));
	session->members[arg->ram] = member;
	/* Ioctls that take no lock see the member when they see its number. */
	smp_store_release(&session->count, session->count + 1);
	return 0;
}

/* The ioctls; what they do and return is told in the uapi header. */

int mf_session_add(struct mf_session *session, struct migrate_fast_add *arg)
{
	struct file *file;
	int err;

	if (arg->flags || arg->reserved)
		return -EINVAL;
	file = fget(arg->fd);
	if (!file)
		return -EBADF;
	err = mutex_lock_interruptible(&session->lock);
	if (!err) {
		err = add_file(session, file, arg);
		mutex_unlock(&session->lock);
	}
	fput(file);
	return err;
}

static int start_all(struct mf_session *session)
{
	DECLARE_BITMAP(started, MIGRATE_FAST_MAX_RAM) = {};
	unsigned int i;
	int err;

	for (i = 0; i < session->count; i++) {
		struct mf_member *member = session->members[i];

		if (member->track)
			continue;
		err = mf_track_start(member->ram, file_inode(member->file),
				     member->pages, &member->track);
		if (err)
			goto undo;
		__set_bit(i, started);
	}
	return 0;
undo:
	for_each_set_bit(i, started, session->count)
		member_stop(session->members[i]);
	return err;
}

int mf_session_start(struct mf_session *session,
		     const struct migrate_fast_start *arg)
{
	int err;

	if (arg->flags || arg->reserved)
		return -EINVAL;
	err = mutex_lock_interruptible(&session->lock);
	if (err)
		return err;
	err = start_all(session);
	mutex_unlock(&session->lock);
	return err;
}

int mf_session_stop(struct mf_session *session,
		    const struct migrate_fast_start *arg)
{
	unsigned int i;
	int err;

	if (arg->flags || arg->reserved)
		return -EINVAL;
	err = mutex_lock_interruptible(&session->lock);
	if (err)
		return err;
	for (i = 0; i < session->count; i++)
		member_stop(session->members[i]);
	mutex_unlock(&session->lock);
	return 0;
}

/*
 * Find the member and check the range of HARVEST and PEEK. On success the
 * session is locked and the member tracked.
 */
static struct mf_member *lock_tracked(struct mf_session *session, u32 ram,
				      u64 start, u64 *pages)
{
	struct mf_member *member = mf_session_member(session, ram);
	int err;

	if (IS_ERR(member))
		return member;
	if (start % BITS_PER_LONG)
		return ERR_PTR(-EINVAL);
	err = mf_member_range(member, start, pages);
	if (err)
		return ERR_PTR(err);
	err = mutex_lock_interruptible(&session->lock);
	if (err)
		return ERR_PTR(err);
	if (!member->track) {
		mutex_unlock(&session->lock);
		return ERR_PTR(-ENODATA);
	}
	return member;
}

enum ask {
	KVM_TAKE,	/* what is hot, and begin anew */
	KVM_LOOK,	/* what is hot */
	KVM_FORGET,	/* nothing is, and begin anew */
};

/* Without memory for the answer nothing is hot, which is always right. */
static void ask_kvm(struct mf_session *session, struct mf_member *member,
		    u64 start, u64 pages, enum ask ask)
{
	struct mf_track *track = member->track;

	if (!track->hot && mf_track_heat(track))
		return;
	/* What was hot when somebody looked is so until it is taken. */
	if (ask != KVM_TAKE)
		bitmap_clear(track->hot, start, pages);
	if (ask == KVM_LOOK)
		mf_kvm_look(session->kvm, member->ram, start, pages,
			    track->hot);
	else
		mf_kvm_take(session->kvm, session, member->ram, start, pages,
			    ask == KVM_TAKE ? track->hot : NULL);
}

int mf_session_harvest(struct mf_session *session,
		       struct migrate_fast_harvest *arg)
{
	struct mf_harvest harvest;
	struct mf_member *member;
	u64 pages = arg->pages;
	int err;

	if (arg->flags & ~MIGRATE_FAST_HARVEST_CLEAN)
		return -EINVAL;
	member = lock_tracked(session, arg->ram, arg->start, &pages);
	if (IS_ERR(member))
		return PTR_ERR(member);

	if (session->kvm)
		ask_kvm(session, member, arg->start, pages,
			arg->flags & MIGRATE_FAST_HARVEST_CLEAN ? KVM_FORGET :
								  KVM_TAKE);
	harvest.bitmap = member->bitmap;
	err = mf_track_harvest(member->ram, member->track, arg->start, pages,
			       &harvest);
	mutex_unlock(&session->lock);
	if (err)
		return err;

	arg->next = harvest.next;
	arg->dirty = harvest.dirty;
	arg->carried = harvest.carried;
	atomic64_inc(&member->harvests);
	atomic64_add(harvest.dirty, &member->harvested);
	atomic64_add(harvest.carried, &member->carried);
	return 0;
}

/**
 * mf_words_to_user - bring part of a bitmap to user space
 * @word_of: a word of the bitmap
 * @from: what it is told
 * @start: first bit, a multiple of 64
 * @bits: how many; those behind, in the last word, are cleared
 * @to: where to, or NULL: only count
 * @set: the bits that are set are added to it
 *
 * Context: may fault. Return: 0, -EFAULT, -EINTR.
 */
int mf_words_to_user(mf_word_of *word_of, const void *from, u64 start, u64 bits,
		     u64 __user *to, u64 *set)
{
	unsigned long buffer[64];
	u64 word = start / BITS_PER_LONG;
	u64 end = DIV_ROUND_UP_ULL(start + bits, BITS_PER_LONG);
	unsigned int left = (start + bits) % BITS_PER_LONG;

	while (word < end) {
		unsigned int i, nr = min_t(u64, end - word, ARRAY_SIZE(buffer));

		for (i = 0; i < nr; i++) {
			buffer[i] = word_of(from, word + i);
			if (left && word + i == end - 1)
				buffer[i] &= GENMASK(left - 1, 0);
			*set += hweight_long(buffer[i]);
		}
		if (to && copy_to_user(to, buffer, nr * sizeof(long)))
			return -EFAULT;
		if (to)
			to += nr;
		word += nr;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static unsigned long peek_word(const void *track, u64 word)
{
	return mf_track_peek(track, word);
}

int mf_session_peek(struct mf_session *session, struct migrate_fast_peek *arg)
{
	struct mf_member *member;
	u64 pages = arg->pages, dirty = 0;
	int err;

	if (arg->flags || !IS_ALIGNED(arg->bitmap, sizeof(u64)))
		return -EINVAL;
	member = lock_tracked(session, arg->ram, arg->start, &pages);
	if (IS_ERR(member))
		return PTR_ERR(member);
	if (session->kvm)
		ask_kvm(session, member, arg->start, pages, KVM_LOOK);
	err = mf_words_to_user(peek_word, member->track, arg->start, pages,
			       u64_to_user_ptr(arg->bitmap), &dirty);
	mutex_unlock(&session->lock);
	if (!err)
		arg->dirty = dirty;
	return err;
}

static int attach(struct mf_session *session, int fd)
{
	struct file *file;
	struct mf_kvm *kvm;

	if (session->kvm)
		return -EEXIST;
	file = fget(fd);
	if (!file)
		return -EBADF;
	kvm = mf_kvm_attach(session, file);
	fput(file);
	if (IS_ERR(kvm))
		return PTR_ERR(kvm);
	session->kvm = kvm;
	return 0;
}

int mf_session_kvm(struct mf_session *session, struct migrate_fast_kvm *arg)
{
	unsigned int i;
	int err;

	if (arg->flags || arg->state || arg->slots || arg->foreign ||
	    arg->reserved || arg->clears || arg->kept || arg->fd < -1)
		return -EINVAL;
	err = mutex_lock_interruptible(&session->lock);
	if (err)
		return err;
	if (arg->fd >= 0)
		err = attach(session, arg->fd);
	if (!err && session->kvm)
		mf_kvm_tell(session->kvm, arg);
	for (i = 0; i < session->count; i++) {
		struct mf_track *track = session->members[i]->track;

		arg->kept += track ? track->kept_pages : 0;
	}
	mutex_unlock(&session->lock);
	return err;
}

int mf_session_counters(struct mf_session *session,
			struct migrate_fast_counters *arg)
{
	struct mf_member *member = mf_session_member(session, arg->ram);
	u32 ram = arg->ram;
	int err;

	if (IS_ERR(member))
		return PTR_ERR(member);
	err = mutex_lock_interruptible(&session->lock);
	if (err)
		return err;
	*arg = (struct migrate_fast_counters) {
		.ram = ram,
		.flags = member->track ? MIGRATE_FAST_COUNTERS_TRACKED : 0,
		.faults = member->faults,
		.writes = member->writes,
		.harvests = atomic64_read(&member->harvests),
		.harvested = atomic64_read(&member->harvested),
		.carried = atomic64_read(&member->carried),
		.hashed = atomic64_read(&member->hashed),
		.sent_bytes = atomic64_read(&member->sent_bytes),
	};
	if (member->track) {
		arg->faults += atomic64_read(&member->track->faults);
		arg->writes += atomic64_read(&member->track->writes);
	}
	mutex_unlock(&session->lock);
	return 0;
}

/**
 * mf_session_mmap - map the harvest bitmap of a file
 * @session: the session
 * @vma: its offset names the file
 *
 * Return: 0; -EINVAL not shared, or longer than the bitmap; -ENOENT.
 */
int mf_session_mmap(struct mf_session *session, struct vm_area_struct *vma)
{
	u64 shift = BITMAP_STRIDE_SHIFT - PAGE_SHIFT;
	u64 ram = (u64)vma->vm_pgoff >> shift;
	u64 offset = (u64)vma->vm_pgoff & ((1ULL << shift) - 1);
	struct mf_member *member;

	/* A private copy would never see a harvest. */
	if (!(vma->vm_flags & VM_SHARED) || ram > U32_MAX)
		return -EINVAL;
	member = mf_session_member(session, ram);
	if (IS_ERR(member))
		return PTR_ERR(member);
	/* Checks the length against the allocation. */
	return remap_vmalloc_range(vma, member->bitmap, offset);
}
