// SPDX-License-Identifier: GPL-2.0
/*
 * Faults on purpose, one each time that this is loaded: who looks for such must
 * find it. For emulated hosts with the debug kernel only; loading it fails, so
 * that it can be loaded again.
 */
#include <linux/hrtimer.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *fault = "";
module_param(fault, charp, 0);
MODULE_PARM_DESC(fault, "Which fault to commit");

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_SPINLOCK(spin);
static void *volatile kept;

/* KASAN */
static void use_after_free(void)
{
	volatile char *memory = kmalloc(64, GFP_KERNEL);

	kfree((void *)memory);
	memory[7] = 1;
}

/* kmemleak: the only pointer to it is overwritten. */
static void leak(void)
{
	kept = kmalloc(333, GFP_KERNEL);
	kept = NULL;
}

/* lockdep, though nobody waits here */
static void lock_order(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

/* DEBUG_ATOMIC_SLEEP */
static void sleep_in_atomic(void)
{
	spin_lock(&spin);
	kfree(kmalloc(64, GFP_KERNEL));
	spin_unlock(&spin);
}

/* UBSAN */
static void out_of_bounds(void)
{
	static volatile int room[4];
	volatile int at = 5;

	room[at] = 1;
}

/* DEBUG_LIST */
static void list_corruption(void)
{
	struct list_head list, one, two;

	INIT_LIST_HEAD(&list);
	list_add(&one, &list);
	one.prev = &two;
	list_add(&two, &one);
	list_del(&one);
}

static void no_work(struct work_struct *work)
{
}

/* DEBUG_OBJECTS_WORK, DEBUG_OBJECTS_FREE: it is still queued */
static void freed_while_active(void)
{
	struct delayed_work *work = kmalloc(sizeof(*work), GFP_KERNEL);

	if (!work)
		return;
	INIT_DELAYED_WORK(work, no_work);
	schedule_delayed_work(work, 100 * HZ);
	kfree(work);
}

static const struct {
	const char *name;
	void (*commit)(void);
} faults[] = {
	{ "use_after_free", use_after_free },
	{ "leak", leak },
	{ "lock_order", lock_order },
	{ "sleep_in_atomic", sleep_in_atomic },
	{ "out_of_bounds", out_of_bounds },
	{ "list_corruption", list_corruption },
	{ "freed_while_active", freed_while_active },
};

static int __init faults_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		if (!strcmp(faults[i].name, fault)) {
			faults[i].commit();
			return -EAGAIN;
		}
	}
	return -EINVAL;
}
module_init(faults_init);

MODULE_DESCRIPTION("Faults on purpose, for the tests of migrate_fast");
MODULE_LICENSE("GPL");
