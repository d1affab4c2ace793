/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mappings of RAM files.
 */
#ifndef MF_MAP_H
#define MF_MAP_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rbtree.h>

struct mf_ram;

/*
 * Each mapping of a file. Context: i_mmap_rwsem held. (What a walk over the
 * interval tree would use is not exported.)
 */
#define mf_for_each_mapping(vma, node, mapping)				\
	for (node = rb_first_cached(&(mapping)->i_mmap);		\
	     node && (vma = rb_entry(node, struct vm_area_struct,	\
				     shared.rb), true);			\
	     node = rb_next(node))

void mf_map_adopt(struct vm_area_struct *vma);
int mf_map_mmap(struct mf_ram *ram, struct vm_area_struct *vma);

#endif
