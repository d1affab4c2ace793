/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All mappings of a file, of whatever process.
 */
#ifndef MF_MAPPINGS_H
#define MF_MAPPINGS_H

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/rbtree.h>

/*
 * Each @vma of the file of @mapping. Context: i_mmap_rwsem held. (What a walk
 * over the interval tree would use is not exported.)
 */
#define mf_for_each_mapping(vma, node, mapping)				\
	for (node = rb_first_cached(&(mapping)->i_mmap);		\
	     node && (vma = rb_entry(node, struct vm_area_struct,	\
				     shared.rb), true);			\
	     node = rb_next(node))

#endif
