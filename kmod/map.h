/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Mappings of RAM files.
 */
#ifndef MF_MAP_H
#define MF_MAP_H

struct file;
struct mf_ram;
struct vm_area_struct;

/* The RAM file that is mapped there, or NULL. Context: mmap_lock. */
struct mf_ram *mf_map_ram(const struct vm_area_struct *vma);
void mf_map_adopt(struct vm_area_struct *vma);
int mf_map_mmap(struct mf_ram *ram, struct vm_area_struct *vma);

#endif
