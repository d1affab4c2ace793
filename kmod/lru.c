// SPDX-License-Identifier: GPL-2.0
/*
 * Emptying the LRU batches of all CPUs.
 *
 * A page that was just faulted in or mlocked waits in a batch of its CPU, with
 * a reference, until the batch is full: on an idle CPU for ever. Until then it
 * looks like a page that a device uses. The function that does this for the
 * kernel is not there for modules, but releasing a batch of folios of one's
 * own drains those of the CPU on the way.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "compat/mm.h"
#include "lru.h"

/* How long to wait for CPUs that do not come to it. */
#define DRAIN_JIFFIES	(HZ / 4)

struct drain_all {
	atomic_t left;
	struct completion done;
};

struct drain {
	struct work_struct work;
	struct drain_all *all;
};

static void drain_this_cpu(struct work_struct *work)
{
	struct drain_all *all = container_of(work, struct drain, work)->all;
	struct page *page = alloc_page(GFP_NOWAIT | __GFP_NOWARN);
	struct folio_batch batch;

	/* Without it a page or two stay carried a little longer. */
	if (page) {
		folio_batch_init(&batch);
		folio_batch_add(&batch, page_folio(page));
		folio_batch_release(&batch);
	}
	if (atomic_dec_and_test(&all->left))
		complete(&all->done);
}

/**
 * mf_lru_drain - release the references that LRU batches hold
 *
 * Runs on all online CPUs at once and waits for them. Best effort: when memory
 * is short, nothing is done; a CPU that a real-time task has for itself is not
 * waited for, or only for a moment. Not left out: on a host with isolated CPUs
 * it is just them that the VM runs on, and their batches that hold its pages;
 * while the VM is stopped they are free.
 *
 * Context: may sleep.
 */
void mf_lru_drain(void)
{
	struct drain __percpu *drains = alloc_percpu(struct drain);
	struct drain_all all;
	int cpu;

	if (!drains)
		return;
	init_completion(&all.done);
	cpus_read_lock();
	atomic_set(&all.left, num_online_cpus());
	for_each_online_cpu(cpu) {
		struct drain *drain = per_cpu_ptr(drains, cpu);

		drain->all = &all;
		INIT_WORK(&drain->work, drain_this_cpu);
		queue_work_on(cpu, system_highpri_wq, &drain->work);
	}
	wait_for_completion_killable_timeout(&all.done, DRAIN_JIFFIES);
	/* What has not begun never does; what has will be over soon. */
	for_each_online_cpu(cpu)
		cancel_work_sync(&per_cpu_ptr(drains, cpu)->work);
	cpus_read_unlock();
	free_percpu(drains);
}
