// SPDX-License-Identifier: GPL-2.0
/*
 * A thread in the address space of a VMM, for ioctls that ask for that.
 *
 * What it passes to them lies in memory of ours that is mapped there, read-only
 * for the VMM, for good. The VMM can unmap it: then the ioctl fails. It can put
 * something else there: then it is its own VM that gets wrong arguments, which
 * it could have given itself.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/vmalloc.h>

#include "compat/mm.h"
#include "vmm.h"

/* What the thread is to do. */
struct vmm_call {
	struct kthread_work work;
	struct mf_vmm *vmm;
	long (*call)(struct vmm_call *call);
	struct file *file;
	unsigned int cmd;
	long ret;
};

static int room_mmap(struct file *file, struct vm_area_struct *vma)
{
	/* The file is open for reading only, and so is the mapping, for good. */
	mf_vma_set_flags(vma, VM_DONTCOPY, VM_DONTCOPY);
	return remap_vmalloc_range(vma, file->private_data, 0);
}

static int room_release(struct inode *inode, struct file *file)
{
	vfree(file->private_data);
	return 0;
}

static const struct file_operations room_fops = {
	.owner = THIS_MODULE,
	.mmap = room_mmap,
	.release = room_release,
};

static void vmm_work(struct kthread_work *work)
{
	struct vmm_call *call = container_of(work, struct vmm_call, work);
	struct mm_struct *mm = call->vmm->mm;

	if (!mmget_not_zero(mm)) {
		call->ret = -ESRCH;
		return;
	}
	kthread_use_mm(mm);
	call->ret = call->call(call);
	kthread_unuse_mm(mm);
	/* If the process has died meanwhile it is us who takes its memory away. */
	mmput(mm);
}

/* Not interruptible: what the thread does is short, and has our arguments. */
static long vmm_call(struct mf_vmm *vmm, struct vmm_call *call)
{
	call->vmm = vmm;
	kthread_init_work(&call->work, vmm_work);
	/* Who waits for it does so with its own niceness. */
	set_user_nice(vmm->worker->task, task_nice(current));
	kthread_queue_work(vmm->worker, &call->work);
	kthread_flush_work(&call->work);
	return call->ret;
}

static long map_room(struct vmm_call *call)
{
	return vm_mmap(call->vmm->mapped, 0, MF_VMM_BYTES, PROT_READ,
		       MAP_SHARED, 0);
}

static long unmap_room(struct vmm_call *call)
{
	struct mf_vmm *vmm = call->vmm;
	struct vm_area_struct *vma;
	bool ours;

	mmap_read_lock(vmm->mm);
	vma = find_vma(vmm->mm, vmm->addr);
	ours = vma && vma->vm_start == vmm->addr &&
	       vma->vm_file == vmm->mapped;
	mmap_read_unlock(vmm->mm);
	return ours ? vm_munmap(vmm->addr, MF_VMM_BYTES) : 0;
}

static long do_ioctl(struct vmm_call *call)
{
	return call->file->f_op->unlocked_ioctl(call->file, call->cmd,
						call->vmm->addr);
}

/**
 * mf_vmm_ioctl - an ioctl from within the VMM
 * @vmm: where
 * @file: of which file
 * @cmd: which; its argument is @vmm->room
 *
 * Context: may sleep. Return: what the ioctl does, -ESRCH if the VMM has gone.
 */
int mf_vmm_ioctl(struct mf_vmm *vmm, struct file *file, unsigned int cmd)
{
	struct vmm_call call = { .call = do_ioctl, .file = file, .cmd = cmd };

	return vmm_call(vmm, &call);
}

static int make_room(struct mf_vmm *vmm)
{
	vmm->room = vmalloc_user(MF_VMM_BYTES);
	if (!vmm->room)
		return -ENOMEM;
	vmm->mapped = anon_inode_getfile("[migrate-fast]", &room_fops,
					 vmm->room, O_RDONLY);
	if (!IS_ERR(vmm->mapped))
		return 0;
	vfree(vmm->room);
	return PTR_ERR(vmm->mapped);
}

/**
 * mf_vmm_enter - put a thread of ours into an address space
 * @vmm: to be filled in
 * @mm: the address space; somebody keeps the structure during the call
 *
 * Context: may sleep. Return: 0, -ENOMEM, -ESRCH the process has gone, -EINTR.
 */
int mf_vmm_enter(struct mf_vmm *vmm, struct mm_struct *mm)
{
	struct vmm_call call = { .call = map_room };
	int err = make_room(vmm);
	long addr;

	if (err)
		return err;
	vmm->worker = kthread_create_worker(0, "migrate-fast");
	if (IS_ERR(vmm->worker)) {
		err = PTR_ERR(vmm->worker);
		goto free;
	}
	vmm->mm = mm;
	mmgrab(mm);
	addr = vmm_call(vmm, &call);
	if (!IS_ERR_VALUE(addr)) {
		vmm->addr = addr;
		return 0;
	}
	err = addr;
	mmdrop(mm);
	kthread_destroy_worker(vmm->worker);
free:
	fput(vmm->mapped);
	return err;
}

/**
 * mf_vmm_leave - take it away again
 * @vmm: from mf_vmm_enter()
 *
 * Context: may sleep.
 */
void mf_vmm_leave(struct mf_vmm *vmm)
{
	struct vmm_call call = { .call = unmap_room };

	vmm_call(vmm, &call);
	kthread_destroy_worker(vmm->worker);
	mmdrop(vmm->mm);
	fput(vmm->mapped);
}
