/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Absent pages of a RAM file: who touches one waits until it is filled.
 */
#ifndef MF_FILL_H
#define MF_FILL_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "ram.h"

struct mf_session;

/* Wait queues of a file; a page has the one that its number hashes to. */
#define MF_FILL_QUEUE_BITS	6
#define MF_FILL_QUEUES		(1U << MF_FILL_QUEUE_BITS)

/**
 * struct mf_absent - which pages are absent
 * @rcu: freed when a longer one has taken its place
 * @pages: length in pages, at least up to the last absent one; a file can be
 *	longer, or have become shorter, and what lies behind is not absent
 * @bits: one bit for a page
 */
struct mf_absent {
	struct rcu_head rcu;
	u64 pages;
	unsigned long bits[];
};

/**
 * struct mf_want - an absent page that somebody wants
 * @list: in fill->untold or fill->told
 * @page: number of the page
 * @ns: CLOCK_MONOTONIC when it was first wanted
 * @flags: MIGRATE_FAST_FAULT_*
 */
struct mf_want {
	struct list_head list;
	u64 page;
	u64 ns;
	u32 flags;
};

/**
 * struct mf_fill - a RAM file that is, or was, in demand mode
 * @lock: whoever changes what is absent holds it, all the time from looking at
 *	a bit until the page is what the bit says
 * @absent: which pages are; bits are set and cleared under @lock and read
 *	under rcu_read_lock(). When the file has grown DEMAND exchanges it for a
 *	longer one with the same bits, before it sets any
 * @count: absent pages; under @lock, read by anybody
 * @marks: how often pages were made absent; counted when their bits are set and
 *	they are about to be taken away. Under @lock, read by anybody
 * @marking: so many DEMANDs are about to make pages absent; under @lock
 * @collapse: of the file; refused while @count or @marking
 * @settling: a DEMAND waits for who holds pages by reference; read by anybody
 * @aborted: they will not come; never reset
 * @wants: by page number; its spinlock protects all that follows
 * @untold: of @wants, those that the server has not read, oldest first
 * @told: those that it has read, oldest first
 * @server: who fills, or NULL; written under @lock as well
 * @ram: number of the file in the server's session
 * @waiting: length of @wants
 * @faults: pages that were ever wanted
 * @went_on: of them, those for which only kernel threads have waited
 * @queues: who waits
 *
 * Made by the first DEMAND, published in ram->fill, and freed with the RAM
 * file: who waits holds a reference of the shmem file.
 *
 * A bit is set *before* the page is taken away and cleared *after* its bytes
 * are in place, so a set bit says nothing of what the page cache holds, and
 * everybody who is about to give a page to a reader asks for the bit when
 * nothing can come in between: with the folio locked, or under
 * rcu_read_lock(), which DEMAND waits for before it takes pages away. Who can
 * do neither asks before it looks at pages, and finds that @marks was the same
 * before that and after it: asking afterwards alone is not enough, for what
 * was missing may have come since.
 *
 * Lock order: inode lock of ours -> freeze protection of the shmem file -> @lock
 * -> its inode lock -> folio lock; the spinlock of @wants is innermost but for wait queues.
 */
struct mf_fill {
	struct mutex lock;
	struct mf_absent __rcu *absent;
	u64 count;
	unsigned long marks;
	unsigned int marking;
	struct mf_collapse *collapse;
	bool settling;
	bool aborted;

	struct xarray wants;
	struct list_head untold;
	struct list_head told;
	struct mf_session *server;
	u32 ram;
	u64 waiting;
	u64 faults;
	u64 went_on;
	wait_queue_head_t queues[MF_FILL_QUEUES];
};

/* The fill of a file that was ever served, else NULL. */
static inline struct mf_fill *mf_fill_of(const struct mf_ram *ram)
{
	/* Pairs with mf_fill_make(). */
	return smp_load_acquire(&ram->fill);
}

/* The bits, for who holds the lock. */
static inline struct mf_absent *mf_fill_bits(struct mf_fill *fill)
{
	return rcu_dereference_protected(fill->absent,
					 lockdep_is_held(&fill->lock));
}

/* The fill of a file some of whose pages are absent, else NULL. */
static inline struct mf_fill *mf_fill_active(const struct mf_ram *ram)
{
	struct mf_fill *fill = mf_fill_of(ram);

	return unlikely(fill) && READ_ONCE(fill->count) ? fill : NULL;
}

/*
 * For who looks at pages: call it, then mf_fill_next(), look at none that is
 * absent, and in the end compare with mf_fill_marks_since().
 */
static inline unsigned long mf_fill_marks(const struct mf_ram *ram)
{
	struct mf_fill *fill = mf_fill_of(ram);

	/* Pairs with mark(): with the count come the bits. */
	return unlikely(fill) ? smp_load_acquire(&fill->marks) : 0;
}

/* Were pages made absent since? Then what was seen may be a hole for that. */
static inline bool mf_fill_marks_since(const struct mf_ram *ram,
				       unsigned long marks)
{
	/* The pages first. */
	smp_rmb();
	return unlikely(mf_fill_marks(ram) != marks);
}

/* First absent page in [@start, @end), or @end. */
pgoff_t mf_fill_next(const struct mf_ram *ram, pgoff_t start, pgoff_t end);

static inline bool mf_fill_absent(const struct mf_ram *ram, pgoff_t index)
{
	return unlikely(mf_fill_active(ram)) &&
	       mf_fill_next(ram, index, index + 1) == index;
}

/* Waiting. */
vm_fault_t mf_fill_fault(struct mf_ram *ram, struct vm_fault *vmf);
int mf_fill_wait(struct mf_ram *ram, pgoff_t start, pgoff_t end, bool write);

/*
 * For who reads pages by reference, before he takes the first one: who does so
 * again and again would have a DEMAND wait in vain.
 */
void mf_fill_give_way(const struct mf_ram *ram);

/* Discarding: see ram.c. */
struct mf_fill *mf_fill_lock(struct mf_ram *ram);
void mf_fill_discard_unlock(struct mf_fill *fill, loff_t from, loff_t to);

/* For demand.c and serve.c: all under fill->lock. */
struct mf_fill *mf_fill_make(struct mf_ram *ram);
int mf_fill_resize(struct mf_fill *fill, u64 pages);
void mf_fill_present(struct mf_fill *fill, u64 start, u64 end);
void mf_fill_abort(struct mf_fill *fill);
/* Under the spinlock of fill->wants. */
void mf_fill_wake_server(struct mf_fill *fill);

/* The RAM file goes. */
void mf_fill_free(struct mf_fill *fill);

#endif
