// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/migrate-fast: from ioctl numbers to functions, and structures of any
 * age between user space and here.
 */
#include <linux/capability.h>
#include <linux/compat.h>
#include <linux/fs.h>
#include <linux/migrate_fast.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "device.h"
#include "hash.h"
#include "send.h"
#include "serve.h"
#include "session.h"

#define FEATURES (MIGRATE_FAST_FEATURE_TRACK | MIGRATE_FAST_FEATURE_HASH | \
		  MIGRATE_FAST_FEATURE_SEND | MIGRATE_FAST_FEATURE_FILL | \
		  MIGRATE_FAST_FEATURE_KVM)

union device_arg {
	struct migrate_fast_handshake handshake;
	struct migrate_fast_add add;
	struct migrate_fast_start start;
	struct migrate_fast_harvest harvest;
	struct migrate_fast_peek peek;
	struct migrate_fast_hash hash;
	struct migrate_fast_send send;
	struct migrate_fast_counters counters;
	struct migrate_fast_demand demand;
	struct migrate_fast_fill fill;
	struct migrate_fast_absent absent;
	struct migrate_fast_abort abort;
	struct migrate_fast_kvm kvm;
};

static int device_handshake(struct mf_session *session,
			    struct migrate_fast_handshake *arg)
{
	bool fits = arg->abi == MIGRATE_FAST_ABI &&
		    !(arg->features & ~FEATURES);

	if (arg->reserved)
		return -EINVAL;
	arg->abi = MIGRATE_FAST_ABI;
	arg->features = FEATURES;
	if (!fits)
		return -EPROTONOSUPPORT;
	WRITE_ONCE(session->greeted, true);
	return 0;
}

static int device_counters(struct mf_session *session,
			   struct migrate_fast_counters *arg)
{
	/* All but the number of the file is output. */
	if (memchr_inv(&arg->flags, 0, sizeof(*arg) -
		       offsetof(struct migrate_fast_counters, flags)))
		return -EINVAL;
	return mf_session_counters(session, arg);
}

/* Size of the structure of a command as it is today, 0 if there is none. */
static size_t arg_size(unsigned int nr)
{
	static const size_t sizes[] = {
#define SIZE(cmd, field) \
	[_IOC_NR(cmd)] = sizeof(((union device_arg *)NULL)->field)
		SIZE(MIGRATE_FAST_HANDSHAKE, handshake),
		SIZE(MIGRATE_FAST_ADD, add),
		SIZE(MIGRATE_FAST_START, start),
		SIZE(MIGRATE_FAST_STOP, start),
		SIZE(MIGRATE_FAST_HARVEST, harvest),
		SIZE(MIGRATE_FAST_PEEK, peek),
		SIZE(MIGRATE_FAST_HASH, hash),
		SIZE(MIGRATE_FAST_SEND, send),
		SIZE(MIGRATE_FAST_COUNTERS, counters),
		SIZE(MIGRATE_FAST_DEMAND, demand),
		SIZE(MIGRATE_FAST_FILL, fill),
		SIZE(MIGRATE_FAST_ABSENT, absent),
		SIZE(MIGRATE_FAST_ABORT, abort),
		SIZE(MIGRATE_FAST_KVM, kvm),
#undef SIZE
	};

	return nr < ARRAY_SIZE(sizes) ? sizes[nr] : 0;
}

static int dispatch(struct mf_session *session, unsigned int nr,
		    union device_arg *arg)
{
	if (nr == _IOC_NR(MIGRATE_FAST_HANDSHAKE))
		return device_handshake(session, &arg->handshake);
	if (!READ_ONCE(session->greeted))
		return -EPROTO;

	switch (nr) {
	case _IOC_NR(MIGRATE_FAST_ADD):
		return mf_session_add(session, &arg->add);
	case _IOC_NR(MIGRATE_FAST_START):
		return mf_session_start(session, &arg->start);
	case _IOC_NR(MIGRATE_FAST_STOP):
		return mf_session_stop(session, &arg->start);
	case _IOC_NR(MIGRATE_FAST_HARVEST):
		return mf_session_harvest(session, &arg->harvest);
	case _IOC_NR(MIGRATE_FAST_PEEK):
		return mf_session_peek(session, &arg->peek);
	case _IOC_NR(MIGRATE_FAST_HASH):
		return mf_session_hash(session, &arg->hash);
	case _IOC_NR(MIGRATE_FAST_SEND):
		return mf_session_send(session, &arg->send);
	case _IOC_NR(MIGRATE_FAST_DEMAND):
		return mf_session_demand(session, &arg->demand);
	case _IOC_NR(MIGRATE_FAST_FILL):
		return mf_session_fill(session, &arg->fill);
	case _IOC_NR(MIGRATE_FAST_ABSENT):
		return mf_session_absent(session, &arg->absent);
	case _IOC_NR(MIGRATE_FAST_ABORT):
		return mf_session_abort(session, &arg->abort);
	case _IOC_NR(MIGRATE_FAST_KVM):
		return mf_session_kvm(session, &arg->kvm);
	default:
		return device_counters(session, &arg->counters);
	}
}

static long device_ioctl(struct file *file, unsigned int cmd,
			 unsigned long user_arg)
{
	void __user *user = (void __user *)user_arg;
	size_t theirs = _IOC_SIZE(cmd), ours = arg_size(_IOC_NR(cmd));
	union device_arg arg;
	int err;

	if (_IOC_TYPE(cmd) != MIGRATE_FAST_IOC_MAGIC ||
	    _IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE) || !ours)
		return -ENOTTY;
	/* Today's sizes are the first published ones. */
	if (theirs < ours)
		return -EINVAL;
	memset(&arg, 0, sizeof(arg));
	err = copy_struct_from_user(&arg, ours, user, theirs);
	if (err)
		return err;

	err = dispatch(file->private_data, _IOC_NR(cmd), &arg);
	/* A handshake that failed says what there is. */
	if (err && err != -EPROTONOSUPPORT)
		return err;
	if (copy_to_user(user, &arg, min(ours, theirs)))
		return -EFAULT;
	return err;
}

static int device_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	file->private_data = mf_session_new();
	return file->private_data ? 0 : -ENOMEM;
}

static int device_release(struct inode *inode, struct file *file)
{
	mf_session_free(file->private_data);
	return 0;
}

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	return mf_session_mmap(file->private_data, vma);
}

static ssize_t device_read(struct file *file, char __user *to, size_t bytes,
			   loff_t *pos)
{
	struct mf_session *session = file->private_data;

	if (!READ_ONCE(session->greeted))
		return -EPROTO;
	return mf_session_read(session, to, bytes, file->f_flags & O_NONBLOCK);
}

static __poll_t device_poll(struct file *file, poll_table *table)
{
	return mf_session_poll(file->private_data, file, table);
}

static const struct file_operations device_fops = {
	.owner		= THIS_MODULE,
	.read		= device_read,
	.poll		= device_poll,
	.open		= device_open,
	.release	= device_release,
	.unlocked_ioctl	= device_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= device_mmap,
	.llseek		= noop_llseek,
};

static struct miscdevice device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "migrate-fast",
	.fops	= &device_fops,
	.mode	= 0600,
};

int mf_device_init(void)
{
	return misc_register(&device);
}

void mf_device_exit(void)
{
	misc_deregister(&device);
}
