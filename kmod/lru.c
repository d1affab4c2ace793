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
#include <linux/cpu.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pagevec.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>

#include "lru.h"

static void drain_this_cpu(struct work_struct *work)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct folio_batch batch;

	/* Without it a page or two stay carried a little longer. */
	if (!page)
		return;
	folio_batch_init(&batch);
	folio_batch_add(&batch, page_folio(page));
	folio_batch_release(&batch);
}

/**
 * mf_lru_drain - release the references that LRU batches hold
 *
 * Runs on all online CPUs at once and waits for them. Best effort: when memory
 * is short, nothing is done.
 *
 * Context: may sleep.
 */
void mf_lru_drain(void)
{
	struct work_struct __percpu *works = alloc_percpu(struct work_struct);
	int cpu;

	if (!works)
		return;
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		INIT_WORK(per_cpu_ptr(works, cpu), drain_this_cpu);
		queue_work_on(cpu, system_highpri_wq, per_cpu_ptr(works, cpu));
	}
	for_each_online_cpu(cpu)
		flush_work(per_cpu_ptr(works, cpu));
	cpus_read_unlock();
	free_percpu(works);
}
