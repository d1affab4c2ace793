// SPDX-License-Identifier: GPL-2.0
/*
 * The filesystem mfram: a directory tree of RAM files.
 *
 * Each mount has a private tmpfs mount behind it, which holds the pages of
 * its files: limits, huge pages, swap and memory accounting are those of
 * tmpfs, and so are the options that set them.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/migrate_fast.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/statfs.h>

#include "compat/fs.h"
#include "mfram.h"
#include "ram.h"

/**
 * struct mfram_options - mount options, and what a superblock keeps of them
 * @lock: of @size, which a remount replaces; innermost
 * @size: as for tmpfs, e.g. "4G" or "75%"
 * @huge: as for tmpfs: never, advise, always
 * @mode: of the root directory
 * @uid: of the root directory
 * @gid: of the root directory
 * @backing: the tmpfs mount
 */
struct mfram_options {
	spinlock_t lock;
	char *size;
	char *huge;
	umode_t mode;
	kuid_t uid;
	kgid_t gid;
	struct vfsmount *backing;
};

enum { OPT_SIZE, OPT_HUGE, OPT_MODE, OPT_UID, OPT_GID };

static const struct constant_table mfram_huge[] = {
	{ "never",	0 },
	{ "advise",	1 },
	{ "always",	2 },
	{}
};

static const struct fs_parameter_spec mfram_parameters[] = {
	fsparam_string("size",	OPT_SIZE),
	fsparam_enum("huge",	OPT_HUGE, mfram_huge),
	fsparam_u32oct("mode",	OPT_MODE),
	fsparam_u32("uid",	OPT_UID),
	fsparam_u32("gid",	OPT_GID),
	{}
};

static struct vfsmount *backing_of(const struct super_block *sb)
{
	return ((struct mfram_options *)sb->s_fs_info)->backing;
}

static void free_options(struct mfram_options *opts)
{
	if (!opts)
		return;
	if (!IS_ERR_OR_NULL(opts->backing))
		mntput(opts->backing);
	kfree(opts->size);
	kfree(opts->huge);
	kfree(opts);
}

/* Inodes and directories. */

static const struct inode_operations mfram_dir_iops;

static struct inode *new_inode_of(struct super_block *sb,
				  struct mf_idmap *idmap, struct inode *dir,
				  umode_t mode)
{
	struct inode *inode = new_inode(sb);

	if (!inode)
		return NULL;
	inode->i_ino = get_next_ino();
	inode_init_owner(idmap, inode, dir, mode);
	mf_inode_init_times(inode);
	if (S_ISDIR(mode)) {
		inode->i_op = &mfram_dir_iops;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);
	}
	return inode;
}

static int mfram_mknod(struct mf_idmap *idmap, struct inode *dir,
		       struct dentry *dentry, umode_t mode)
{
	struct inode *inode;
	int err;

	inode = new_inode_of(dir->i_sb, idmap, dir, mode);
	if (!inode)
		return -ENOMEM;
	if (S_ISREG(mode)) {
		err = mf_ram_attach(inode, backing_of(dir->i_sb),
				    dentry->d_name.name);
		if (err) {
			iput(inode);
			return err;
		}
	}
	/* Until it is unlinked: the directory lives in the dcache. */
	mf_d_persist(dentry, inode);
	mf_inode_touch(dir);
	return 0;
}

static int mfram_create(struct mf_idmap *idmap, struct inode *dir,
			struct dentry *dentry, umode_t mode, bool excl)
{
	return mfram_mknod(idmap, dir, dentry, mode | S_IFREG);
}

static mf_mkdir_ret mfram_mkdir(struct mf_idmap *idmap, struct inode *dir,
				struct dentry *dentry, umode_t mode)
{
	int err = mfram_mknod(idmap, dir, dentry, mode | S_IFDIR);

	if (!err)
		inc_nlink(dir);
	return MF_MKDIR_RET(err);
}

static int mfram_tmpfile(struct mf_idmap *idmap, struct inode *dir,
			 struct file *file, umode_t mode)
{
	struct inode *inode = new_inode_of(dir->i_sb, idmap, dir, mode);
	int err;

	if (!inode)
		return -ENOMEM;
	err = mf_ram_attach(inode, backing_of(dir->i_sb), "tmpfile");
	if (err) {
		iput(inode);
		return err;
	}
	d_tmpfile(file, inode);
	return finish_open_simple(file, 0);
}

static const struct inode_operations mfram_dir_iops = {
	.lookup		= simple_lookup,
	.create		= mfram_create,
	.link		= simple_link,
	.unlink		= simple_unlink,
	.mkdir		= mfram_mkdir,
	.rmdir		= simple_rmdir,
	.rename		= simple_rename,
	.tmpfile	= mfram_tmpfile,
};

/* The superblock. */

static void mfram_evict_inode(struct inode *inode)
{
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	mf_ram_detach(inode);
}

static int mfram_statfs(struct dentry *dentry, struct kstatfs *stat)
{
	struct vfsmount *backing = backing_of(dentry->d_sb);
	struct path path = { .mnt = backing, .dentry = backing->mnt_root };
	int err = vfs_statfs(&path, stat);

	stat->f_type = MIGRATE_FAST_FSMAGIC;
	return err;
}

static int mfram_show_options(struct seq_file *seq, struct dentry *root)
{
	struct mfram_options *opts = root->d_sb->s_fs_info;

	spin_lock(&opts->lock);
	if (opts->size)
		seq_show_option(seq, "size", opts->size);
	spin_unlock(&opts->lock);
	if (opts->huge)
		seq_show_option(seq, "huge", opts->huge);
	seq_printf(seq, ",mode=%03o", opts->mode);
	if (!uid_eq(opts->uid, GLOBAL_ROOT_UID))
		seq_printf(seq, ",uid=%u",
			   from_kuid_munged(&init_user_ns, opts->uid));
	if (!gid_eq(opts->gid, GLOBAL_ROOT_GID))
		seq_printf(seq, ",gid=%u",
			   from_kgid_munged(&init_user_ns, opts->gid));
	return 0;
}

static const struct super_operations mfram_sops = {
	.statfs		= mfram_statfs,
	.drop_inode	= mf_drop_inode,
	.evict_inode	= mfram_evict_inode,
	.show_options	= mfram_show_options,
};

/* Mounting. */

static int set_backing_option(struct fs_context *fc, struct fs_context *tmpfs,
			      const char *key, const char *value)
{
	int err = mf_parse_fs_string(tmpfs, key, value);

	if (err)
		errorf(fc, "mfram: bad value for %s: '%s'", key, value);
	return err;
}

static struct vfsmount *mount_backing(struct fs_context *fc,
				      const struct mfram_options *opts)
{
	struct file_system_type *type = get_fs_type("tmpfs");
	struct fs_context *tmpfs;
	struct vfsmount *mnt;
	int err;

	if (!type)
		return ERR_PTR(-ENODEV);
	/* Internal: security modules do not look for its paths. */
	tmpfs = fs_context_for_mount(type, SB_KERNMOUNT);
	/* What get_fs_type() took. */
	module_put(type->owner);
	if (IS_ERR(tmpfs))
		return ERR_CAST(tmpfs);
	/* An internal tmpfs has no limit unless it is given one. */
	err = set_backing_option(fc, tmpfs, "size",
				 opts->size ? opts->size : "50%");
	if (!err && opts->huge)
		err = set_backing_option(fc, tmpfs, "huge", opts->huge);
	mnt = err ? ERR_PTR(err) : fc_mount(tmpfs);
	put_fs_context(tmpfs);
	return mnt;
}

/* As "mount -o remount,size=" does for a tmpfs. */
static int resize_backing(struct fs_context *fc, struct vfsmount *backing,
			  const char *size)
{
	struct fs_context *tmpfs;
	int err;

	tmpfs = mf_context_to_reconfigure(backing->mnt_root);
	if (IS_ERR(tmpfs))
		return PTR_ERR(tmpfs);
	err = set_backing_option(fc, tmpfs, "size", size);
	if (!err) {
		/* After ours, as when it was mounted. */
		down_write(&backing->mnt_sb->s_umount);
		err = tmpfs->ops->reconfigure(tmpfs);
		up_write(&backing->mnt_sb->s_umount);
		if (err)
			errorf(fc, "mfram: size '%s' is less than what is used, or there was no limit",
			       size);
	}
	put_fs_context(tmpfs);
	return err;
}

static int mfram_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct mfram_options *opts = sb->s_fs_info;
	struct inode *root;

	sb->s_magic = MIGRATE_FAST_FSMAGIC;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_time_gran = 1;
	sb->s_op = &mfram_sops;

	opts->backing = mount_backing(fc, opts);
	if (IS_ERR(opts->backing))
		return PTR_ERR(opts->backing);

	root = new_inode_of(sb, mf_nop_idmap, NULL, S_IFDIR | opts->mode);
	if (!root)
		return -ENOMEM;
	root->i_uid = opts->uid;
	root->i_gid = opts->gid;
	sb->s_root = d_make_root(root);
	return sb->s_root ? 0 : -ENOMEM;
}

static int mfram_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, mfram_fill_super);
}

static int mfram_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct mfram_options *opts = fc->s_fs_info;
	struct fs_parse_result result;
	int opt = fs_parse(fc, mfram_parameters, param, &result);

	if (opt < 0)
		return opt;

	switch (opt) {
	case OPT_SIZE:
		swap(opts->size, param->string);
		break;
	case OPT_HUGE:
		swap(opts->huge, param->string);
		break;
	case OPT_MODE:
		opts->mode = result.uint_32 & 07777;
		break;
	case OPT_UID:
		opts->uid = make_kuid(current_user_ns(), result.uint_32);
		if (!uid_valid(opts->uid))
			return invalf(fc, "mfram: no such uid");
		break;
	case OPT_GID:
		opts->gid = make_kgid(current_user_ns(), result.uint_32);
		if (!gid_valid(opts->gid))
			return invalf(fc, "mfram: no such gid");
		break;
	}
	return 0;
}

/*
 * A host may get more guests, or a VM that waits for its memory find no room.
 * mount(8) repeats all options: those that stay as they are do no harm.
 */
static int mfram_reconfigure(struct fs_context *fc)
{
	struct mfram_options *opts = fc->root->d_sb->s_fs_info;
	struct mfram_options *new = fc->s_fs_info;
	int err;

	if (new->mode != opts->mode || !uid_eq(new->uid, opts->uid) ||
	    !gid_eq(new->gid, opts->gid) ||
	    (new->huge && strcmp(new->huge, opts->huge ?: "never")))
		return invalf(fc, "mfram: only the size can be changed while mounted");
	if (!new->size)
		return 0;
	err = resize_backing(fc, opts->backing, new->size);
	if (err)
		return err;
	spin_lock(&opts->lock);
	swap(opts->size, new->size);
	spin_unlock(&opts->lock);
	return 0;
}

static void mfram_free_fc(struct fs_context *fc)
{
	/* A superblock that was made of it has taken it over. */
	free_options(fc->s_fs_info);
}

static const struct fs_context_operations mfram_context_ops = {
	.parse_param	= mfram_parse_param,
	.get_tree	= mfram_get_tree,
	.reconfigure	= mfram_reconfigure,
	.free		= mfram_free_fc,
};

static int mfram_init_fs_context(struct fs_context *fc)
{
	struct mfram_options *opts = kzalloc(sizeof(*opts), GFP_KERNEL), *old;

	if (!opts)
		return -ENOMEM;
	spin_lock_init(&opts->lock);
	if (fc->purpose == FS_CONTEXT_FOR_RECONFIGURE) {
		old = fc->root->d_sb->s_fs_info;
		opts->mode = old->mode;
		opts->uid = old->uid;
		opts->gid = old->gid;
	} else {
		/* RAM of guests is nobody else's business. */
		opts->mode = 0700;
		opts->uid = GLOBAL_ROOT_UID;
		opts->gid = GLOBAL_ROOT_GID;
	}
	fc->s_fs_info = opts;
	fc->ops = &mfram_context_ops;
	return 0;
}

static void mfram_kill_sb(struct super_block *sb)
{
	struct mfram_options *opts = sb->s_fs_info;

	mf_kill_super(sb);
	/* Mappings that are left keep the backing mount by themselves. */
	free_options(opts);
}

static struct file_system_type mfram_type = {
	.owner		 = THIS_MODULE,
	.name		 = MIGRATE_FAST_FSTYPE,
	.init_fs_context = mfram_init_fs_context,
	.parameters	 = mfram_parameters,
	.kill_sb	 = mfram_kill_sb,
};
MODULE_ALIAS_FS(MIGRATE_FAST_FSTYPE);

int mf_mfram_init(void)
{
	return register_filesystem(&mfram_type);
}

void mf_mfram_exit(void)
{
	unregister_filesystem(&mfram_type);
}
