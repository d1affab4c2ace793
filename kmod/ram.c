// SPDX-License-Identifier: GPL-2.0
/*
 * RAM files: regular files of mfram whose pages live in a shmem file.
 *
 * Every way to change a file that does not go through a mapping ends in a
 * function here that marks the pages afterwards: write(2) and its kin,
 * fallocate(2), truncate(2), and MADV_REMOVE, which calls .fallocate of the
 * shmem file.
 */
#include <linux/fs.h>
#include <linux/falloc.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat/fs.h"
#include "compat/mm.h"
#include "fill.h"
#include "map.h"
#include "ram.h"
#include "track.h"

/* The methods of the shmem files: shmem's, but for a few. Made once. */
static struct file_operations backing_fops;
static struct inode_operations backing_iops;
static DEFINE_MUTEX(backing_fops_lock);

static struct mf_ram *inode_ram(const struct inode *inode)
{
	return inode->i_private;
}

static struct mf_ram *file_ram(const struct file *file)
{
	return inode_ram(file_inode(file));
}

static struct inode *shmem_inode(const struct mf_ram *ram)
{
	return file_inode(ram->shmem);
}

/* The size lives in the shmem file; ours follows, under our inode lock. */
static void follow_size(struct inode *inode)
{
	i_size_write(inode, i_size_read(shmem_inode(inode_ram(inode))));
}

/*
 * A tracked file has bits for so many pages and no more. Called under our
 * inode lock, under which tracking begins and ends.
 */
static bool would_outgrow(struct mf_ram *ram, loff_t size)
{
	struct mf_track *track = rcu_dereference_protected(ram->track, true);

	return track && size > (loff_t)(track->pages << PAGE_SHIFT);
}

/* Methods of the shmem file, reached through mappings. */

/* MADV_REMOVE; nothing else finds this file. */
static long backing_fallocate(struct file *shmem, int mode, loff_t offset,
			      loff_t len)
{
	struct mf_ram *ram = shmem->private_data;
	struct mf_fill *fill = mf_fill_lock(ram);
	long err = ram->shmem_fops->fallocate(shmem, mode, offset, len);

	mf_track_write(ram, offset, offset + len);
	/* Whole pages always. */
	mf_fill_discard_unlock(fill, offset, err ? offset : offset + len);
	return err;
}

/*
 * Ours comes by here for each mapping; remap_file_pages(2) does so by itself,
 * for a new mapping in place of one of ours.
 */
static int backing_mmap(struct file *shmem, struct vm_area_struct *vma)
{
	struct mf_ram *ram = shmem->private_data;
	int err = mf_shmem_mmap(ram->shmem_fops, shmem, vma);

	if (!err)
		mf_map_adopt(vma);
	return err;
}

static int backing_release(struct inode *inode, struct file *shmem)
{
	struct mf_ram *ram = shmem->private_data;
	int err = 0;

	/*
	 * Somebody may still hold the path (O_PATH through map_files). With
	 * nothing mapped any more an ordinary shmem file does no harm, and
	 * must not lead into a module that may be gone.
	 */
	inode->i_fop = ram->shmem_fops;
	inode->i_op = ram->shmem_iops;
	if (ram->shmem_fops->release)
		err = ram->shmem_fops->release(inode, shmem);
	mf_fill_free(ram->fill);
	kfree(ram);
	return err;
}

/*
 * /proc/PID/map_files could open the shmem file anew, past our methods: what
 * is written there would be lost to tracking.
 */
static int backing_reopen(struct inode *inode, struct file *file)
{
	return -EACCES;
}

static const struct file_operations backing_reopen_fops = {
	.owner	= THIS_MODULE,
	.open	= backing_reopen,
};

/* Nor truncate it by that path. What we do to it ourselves does not ask. */
static int backing_permission(struct mf_idmap *idmap, struct inode *inode,
			      int mask)
{
	return -EACCES;
}

/* Made from the methods that shmem gives to @shmem. */
static void make_backing_ops(const struct file *shmem)
{
	const struct file_operations *shmem_fops = shmem->f_op;

	mutex_lock(&backing_fops_lock);
	if (!backing_fops.owner) {
		backing_fops = *shmem_fops;
		backing_fops.owner = THIS_MODULE;
		mf_forget_mmap(&backing_fops);
		backing_fops.mmap = backing_mmap;
		backing_fops.fallocate = backing_fallocate;
		backing_fops.release = backing_release;
		/* shmem's insists on its own methods; mremap comes by here. */
		backing_fops.get_unmapped_area = thp_get_unmapped_area;
		backing_iops = *file_inode(shmem)->i_op;
		backing_iops.permission = backing_permission;
	}
	mutex_unlock(&backing_fops_lock);
}

/* Methods of our file. */

/*
 * Read up to the first absent page. What was read while pages became absent may
 * be zeroes, and is not returned.
 */
static ssize_t read_present(struct mf_ram *ram, struct iov_iter *to,
			    loff_t *pos)
{
	size_t all = iov_iter_count(to);
	pgoff_t first = *pos >> PAGE_SHIFT, stop;
	loff_t end = *pos + all, begin = *pos;
	unsigned long marks;
	ssize_t ret;

	marks = mf_fill_marks(ram);
	stop = mf_fill_next(ram, first, DIV_ROUND_UP_ULL(end, PAGE_SIZE));
	end = min_t(loff_t, end, (loff_t)stop << PAGE_SHIFT);
	if (end <= begin)
		return -EAGAIN;
	iov_iter_truncate(to, end - begin);
	ret = vfs_iter_read(ram->shmem, to, pos, 0);
	iov_iter_reexpand(to, all - max_t(ssize_t, ret, 0));
	if (ret <= 0 || !mf_fill_marks_since(ram, marks))
		return ret;
	iov_iter_revert(to, ret);
	*pos = begin;
	return -EAGAIN;
}

static ssize_t ram_read_iter(struct kiocb *iocb, struct iov_iter *to)
{
	struct mf_ram *ram = file_ram(iocb->ki_filp);
	ssize_t done = 0, ret = 0;

	file_accessed(iocb->ki_filp);
	while (iov_iter_count(to) &&
	       iocb->ki_pos < i_size_read(shmem_inode(ram))) {
		pgoff_t page = iocb->ki_pos >> PAGE_SHIFT;

		ret = mf_fill_wait(ram, page, page + 1, false);
		if (ret)
			break;
		ret = read_present(ram, to, &iocb->ki_pos);
		if (ret == -EAGAIN)
			continue;
		if (ret <= 0)
			break;
		done += ret;
	}
	return done ?: ret;
}

/*
 * Take the inode lock when none of the pages [@from, @to), in bytes, is
 * absent: who holds it keeps them from becoming so. @partial: only the first
 * and the last one matter, if they are not touched as a whole.
 */
static int lock_present(struct inode *inode, loff_t from, loff_t to,
			bool partial)
{
	struct mf_ram *ram = inode_ram(inode);
	pgoff_t first = from >> PAGE_SHIFT;
	pgoff_t end = DIV_ROUND_UP_ULL(to, PAGE_SIZE);
	bool head = !partial || offset_in_page(from);
	bool tail = !partial || offset_in_page(to);
	int err;

	for (;;) {
		inode_lock(inode);
		if (likely(!mf_fill_active(ram)) || to <= from)
			return 0;
		if (partial &&
		    !(head && mf_fill_absent(ram, first)) &&
		    !(tail && mf_fill_absent(ram, end - 1)))
			return 0;
		if (!partial && mf_fill_next(ram, first, end) == end)
			return 0;
		inode_unlock(inode);
		err = 0;
		if (partial && head)
			err = mf_fill_wait(ram, first, first + 1, true);
		if (partial && tail && !err)
			err = mf_fill_wait(ram, end - 1, end, true);
		if (!partial)
			err = mf_fill_wait(ram, first, end, true);
		if (err)
			return err;
	}
}

/*
 * The same for a write. Where one that appends begins is known only with the
 * lock held, and may be another place after having waited without it.
 */
static int lock_to_write(struct kiocb *iocb, const struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	bool append = iocb->ki_flags & IOCB_APPEND;
	loff_t pos = iocb->ki_pos;
	int err;

	for (;;) {
		if (append)
			pos = i_size_read(inode);
		err = lock_present(inode, pos, pos + iov_iter_count(from),
				   false);
		if (err || !append || i_size_read(inode) == pos)
			return err;
		inode_unlock(inode);
	}
}

/* Not by the VFS, which may take what the caller has to hold already. */
ssize_t mf_ram_write(struct mf_ram *ram, struct iov_iter *from, loff_t *pos)
{
	struct kiocb iocb;
	ssize_t ret;

	init_sync_kiocb(&iocb, ram->shmem);
	iocb.ki_pos = *pos;
	ret = ram->shmem_fops->write_iter(&iocb, from);
	if (ret > 0)
		*pos = iocb.ki_pos;
	return ret;
}

/*
 * When the bytes come is up to the owner of the memory that they are in: it can
 * be an absent page itself, or served by a userfaultfd or FUSE. To wait for
 * them with the inode lock held would keep everybody else from the file, those
 * who fill it and those who end tracking included. So only what can be read
 * without waiting is written.
 */
static ssize_t write_once(struct kiocb *iocb, struct iov_iter *from)
{
	struct inode *inode = file_inode(iocb->ki_filp);
	struct mf_ram *ram = inode_ram(inode);
	loff_t pos, done;
	ssize_t ret;

	ret = lock_to_write(iocb, from);
	if (ret)
		return ret;
	ret = generic_write_checks(iocb, from);
	if (ret <= 0)
		goto unlock;
	pos = iocb->ki_pos;
	if (would_outgrow(ram, pos + ret)) {
		ret = -EBUSY;
		goto unlock;
	}
	ret = file_modified(iocb->ki_filp);
	if (ret)
		goto unlock;
	done = pos + iov_iter_count(from);
	file_start_write(ram->shmem);
	pagefault_disable();
	ret = mf_ram_write(ram, from, &iocb->ki_pos);
	pagefault_enable();
	file_end_write(ram->shmem);
	/*
	 * A short write may have touched the page after the last byte that it
	 * owns up to.
	 */
	if (ret < 0)
		mf_track_write(ram, pos, pos + 1);
	else
		mf_track_write(ram, pos, min(done, pos + ret + 1));
	follow_size(inode);
unlock:
	inode_unlock(inode);
	return ret;
}

/* Bytes are waited for in between; others may write meanwhile. */
static ssize_t ram_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	ssize_t done = 0, ret = 0;
	size_t next;

	while ((next = min_t(size_t, iov_iter_count(from), PAGE_SIZE))) {
		if (fault_in_iov_iter_readable(from, next) == next) {
			ret = -EFAULT;
			break;
		}
		ret = write_once(iocb, from);
		if (ret > 0)
			done += ret;
		else if (ret != -EFAULT)
			break;
		/* Others do not end a write to a file that has begun. */
		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			break;
		}
	}
	return done ?: ret;
}

static long ram_fallocate(struct file *file, int mode, loff_t offset,
			  loff_t len)
{
	struct inode *inode = file_inode(file);
	struct mf_ram *ram = inode_ram(inode);
	bool punch = mode & FALLOC_FL_PUNCH_HOLE;
	struct mf_fill *fill;
	long err;

	/* Zeroing part of an absent page would be undone by its fill. */
	err = lock_present(inode, offset, punch ? offset + len : offset, true);
	if (err)
		return err;
	err = -EBUSY;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && would_outgrow(ram, offset + len))
		goto unlock;
	err = file_modified(file);
	if (err)
		goto unlock;
	file_start_write(ram->shmem);
	fill = mf_fill_lock(ram);
	err = ram->shmem_fops->fallocate(ram->shmem, mode, offset, len);
	/* Plain allocation changes no byte: a hole reads as zeroes as well. */
	if (punch)
		mf_track_write(ram, offset, offset + len);
	mf_fill_discard_unlock(fill, offset,
			       punch && !err ? offset + len : offset);
	file_end_write(ram->shmem);
	follow_size(inode);
unlock:
	inode_unlock(inode);
	return err;
}

static loff_t ram_llseek(struct file *file, loff_t offset, int whence)
{
	struct inode *inode = file_inode(file);
	struct mf_ram *ram = inode_ram(inode);
	unsigned long marks = mf_fill_marks(ram);
	loff_t pos;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return generic_file_llseek(file, offset, whence);
	/* An absent page is no hole: all that is not known is data. */
	if (mf_fill_active(ram))
		return generic_file_llseek(file, offset, whence);
	/* The position of the shared shmem file means nothing. */
	pos = vfs_llseek(ram->shmem, offset, whence);
	/* What was made absent meanwhile looked like a hole. */
	if (mf_fill_active(ram) || mf_fill_marks_since(ram, marks))
		return generic_file_llseek(file, offset, whence);
	if (pos < 0)
		return pos;
	return vfs_setpos(file, pos, inode->i_sb->s_maxbytes);
}

static int ram_mmap(struct file *file, struct vm_area_struct *vma)
{
	file_accessed(file);
	return mf_map_mmap(file_ram(file), vma);
}

static const struct file_operations ram_fops = {
	.owner		= THIS_MODULE,
	.llseek		= ram_llseek,
	.read_iter	= ram_read_iter,
	.write_iter	= ram_write_iter,
	.fallocate	= ram_fallocate,
	.mmap		= ram_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.fsync		= noop_fsync,
	.splice_read	= mf_splice_read,
	.splice_write	= iter_file_splice_write,
};

static int ram_resize(struct inode *inode, loff_t size)
{
	struct mf_ram *ram = inode_ram(inode);
	struct iattr attr = { .ia_valid = ATTR_SIZE, .ia_size = size };
	loff_t old = i_size_read(inode);
	struct mf_fill *fill;
	int err;

	if (would_outgrow(ram, size))
		return -EBUSY;
	/* Zeroing its tail would be undone by its fill. */
	if (offset_in_page(size) && mf_fill_absent(ram, size >> PAGE_SHIFT))
		return -EBUSY;
	fill = mf_fill_lock(ram);
	inode_lock_nested(shmem_inode(ram), I_MUTEX_NONDIR2);
	err = notify_change(mf_nop_idmap, ram->shmem->f_path.dentry, &attr,
			    NULL);
	inode_unlock(shmem_inode(ram));
	if (size < old)
		mf_track_write(ram, size, old);
	mf_fill_discard_unlock(fill, err ? LLONG_MAX : size, LLONG_MAX);
	follow_size(inode);
	return err;
}

static int ram_setattr(struct mf_idmap *idmap, struct dentry *dentry,
		       struct iattr *attr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(idmap, dentry, attr);

	if (!err && (attr->ia_valid & ATTR_SIZE))
		err = ram_resize(inode, attr->ia_size);
	if (!err)
		setattr_copy(idmap, inode, attr);
	return err;
}

static int ram_getattr(struct mf_idmap *idmap, const struct path *path,
		       struct kstat *stat, u32 mask, unsigned int flags)
{
	struct inode *inode = d_inode(path->dentry);
	struct kstat pages;
	int err;

	/* How much memory it takes is known to shmem. */
	err = vfs_getattr(&inode_ram(inode)->shmem->f_path, &pages,
			  STATX_BLOCKS, AT_STATX_SYNC_AS_STAT);
	if (err)
		return err;
	mf_fillattr(idmap, mask, inode, stat);
	stat->blocks = pages.blocks;
	stat->blksize = pages.blksize;
	return 0;
}

static const struct inode_operations ram_iops = {
	.setattr	= ram_setattr,
	.getattr	= ram_getattr,
};

struct mf_ram *mf_ram_from_file(struct file *file)
{
	return file->f_op == &ram_fops ? file_ram(file) : NULL;
}

struct folio *mf_ram_get_folio(struct mf_ram *ram, pgoff_t index)
{
	struct address_space *mapping = mf_ram_mapping(ram);
	struct folio *folio = mf_filemap_get(mapping, index);
	struct page *page;

	if (folio)
		return folio;
	/* Only what is in swap is read: a hole would be filled. */
	if (!xa_is_value(xa_load(&mapping->i_pages, index)))
		return mf_filemap_get(mapping, index);
	page = shmem_read_mapping_page_gfp(mapping, index,
					   mapping_gfp_mask(mapping));
	return IS_ERR(page) ? ERR_CAST(page) : page_folio(page);
}

/**
 * mf_ram_attach - give a new inode its RAM
 * @inode: a new regular file of mfram
 * @backing: the tmpfs mount that the pages are accounted to
 * @name: shown in /proc/PID/maps
 *
 * Context: may sleep. Return: 0, -ENOMEM, -ENOSPC.
 */
int mf_ram_attach(struct inode *inode, struct vfsmount *backing,
		  const char *name)
{
	struct mf_ram *ram = kzalloc(sizeof(*ram), GFP_KERNEL_ACCOUNT);
	struct file *shmem;

	if (!ram)
		return -ENOMEM;
	shmem = mf_shmem_file(backing, name);
	if (IS_ERR(shmem)) {
		kfree(ram);
		return PTR_ERR(shmem);
	}

	make_backing_ops(shmem);
	ram->shmem = shmem;
	mf_collapse_setup(&ram->collapse, shmem);
	ram->shmem_fops = shmem->f_op;
	ram->shmem_iops = file_inode(shmem)->i_op;
	shmem->private_data = ram;
	/* Each open shmem file holds the module, until after .release. */
	__module_get(THIS_MODULE);
	shmem->f_op = &backing_fops;
	/* Or write(2) beyond 2 GB is EFBIG. */
	shmem->f_flags |= O_LARGEFILE;
	file_inode(shmem)->i_fop = &backing_reopen_fops;
	file_inode(shmem)->i_op = &backing_iops;
	/*
	 * Who may do what with the file is decided at the inode of ours;
	 * security modules know nothing of the hidden one.
	 */
	file_inode(shmem)->i_flags |= S_PRIVATE;

	inode->i_private = ram;
	inode->i_op = &ram_iops;
	/*
	 * Not inode->i_mapping as well: the kernel takes a file whose mapping
	 * is shmem's for one of shmem, and its inode for a shmem_inode_info
	 * (fcntl(F_ADD_SEALS)).
	 */
	inode->i_fop = &ram_fops;
	return 0;
}

/**
 * mf_ram_detach - the inode goes; mappings may stay
 * @inode: being evicted
 */
void mf_ram_detach(struct inode *inode)
{
	struct mf_ram *ram = inode_ram(inode);

	if (!ram)
		return;
	inode->i_private = NULL;
	fput(ram->shmem);
}
