/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences of the VFS between kernels.
 */
#ifndef MF_COMPAT_FS_H
#define MF_COMPAT_FS_H

#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/splice.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
#define mf_idmap		mnt_idmap
#define mf_nop_idmap		(&nop_mnt_idmap)
#else
#define mf_idmap		user_namespace
#define mf_nop_idmap		(&init_user_ns)
#endif

static inline void mf_fillattr(struct mf_idmap *idmap, u32 mask,
			       struct inode *inode, struct kstat *stat)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	generic_fillattr(idmap, mask, inode, stat);
#else
	generic_fillattr(idmap, inode, stat);
#endif
}

/*
 * New inode: all three times are now. (Both ways to set them are those of 6.6
 * and 6.7; 6.1.y has got the one for ctime.)
 */
static inline void mf_inode_init_times(struct inode *inode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	simple_inode_init_ts(inode);
#else
	inode->i_atime = inode->i_mtime = current_time(inode);
	inode_set_ctime_to_ts(inode, inode->i_mtime);
#endif
}

/* A directory was changed. */
static inline void mf_inode_touch(struct inode *inode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	inode_set_mtime_to_ts(inode, inode_set_ctime_current(inode));
#else
	inode->i_mtime = inode_set_ctime_current(inode);
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define mf_splice_read		copy_splice_read
#else
#define mf_splice_read		generic_file_splice_read
#endif

/* What comes after 6.12, and is so in 7.2; it was not looked for in between. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
#define mf_drop_inode		inode_just_drop
#define mf_kill_super		kill_anon_super
/* mkdir may return another dentry than it was given. */
#define mf_mkdir_ret		struct dentry *
#define MF_MKDIR_RET(err)	ERR_PTR(err)
#else
#define mf_drop_inode		generic_delete_inode
#define mf_kill_super		kill_litter_super
#define mf_mkdir_ret		int
#define MF_MKDIR_RET(err)	(err)
#endif

/* @dentry is that of @inode, and stays until it is unlinked. */
static inline void mf_d_persist(struct dentry *dentry, struct inode *inode)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	d_make_persistent(dentry, inode);
#else
	d_instantiate(dentry, inode);
	dget(dentry);
#endif
}

/* What changes the options of a mount; to be ended by put_fs_context(). */
static inline struct fs_context *mf_context_to_reconfigure(struct dentry *root)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	struct super_block *sb = root->d_sb;
	struct fs_context *fc = fs_context_for_mount(sb->s_type, SB_KERNMOUNT);

	if (IS_ERR(fc))
		return fc;
	/* What is not exported any more would have done this at once. */
	atomic_inc(&sb->s_active);
	fc->root = dget(root);
	fc->purpose = FS_CONTEXT_FOR_RECONFIGURE;
	return fc;
#else
	return fs_context_for_reconfigure(root, 0, 0);
#endif
}

static inline int mf_parse_fs_string(struct fs_context *fc, const char *key,
				     const char *value)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	return vfs_parse_fs_string(fc, key, value);
#else
	return vfs_parse_fs_string(fc, key, value, strlen(value));
#endif
}

#endif
