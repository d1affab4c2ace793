// SPDX-License-Identifier: GPL-2.0
/*
 * Digests of pages: the zero test, XXH64 and SHA-256.
 *
 * XXH64 and SHA-256 are the kernel's own; here is how pages come to them, and
 * digests to user space, without a copy of a page and without an allocation
 * for each.
 */
#include <crypto/hash.h>
#include <crypto/sha2.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/highmem.h>
#include <linux/kmod.h>
#include <linux/migrate_fast.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xxhash.h>

#include "fill.h"
#include "hash.h"
#include "ram.h"
#include "run.h"
#include "session.h"
#include "trace.h"

#define HASH_DIGESTS (MIGRATE_FAST_HASH_XXH64 | MIGRATE_FAST_HASH_SHA256)
#define HASH_FLAGS (HASH_DIGESTS | MIGRATE_FAST_HASH_DIRTY)

/* Digests that are collected before they are copied to user space. */
#define HASH_BATCH	48
/* Words of the bitmap that are looked at between two looks for signals. */
#define HASH_SCAN	8192

/* Any number of calls may use it at the same time. */
static struct crypto_shash *hash_sha256;
static u8 hash_sha256_zero[SHA256_DIGEST_SIZE];

/**
 * struct hash_call - a MIGRATE_FAST_HASH under way; fits into one page
 * @ram: the file
 * @marks: of its absent pages, before any page of @digests was looked at
 * @next: the page after the last one that was looked at
 * @flags: what to compute
 * @seed: of XXH64
 * @zero_known: @zero_xxh64 has been computed
 * @zero_xxh64: XXH64 of a zero page with @seed
 * @to: where in user space the next digest goes
 * @count: digests that are there already
 * @free: the first free entry of @digests
 * @digests: the last digests, which wait to be copied
 * @runs: the pages that are being read
 */
struct hash_call {
	struct mf_ram *ram;
	unsigned long marks;
	u64 next;
	u32 flags;
	u64 seed;
	bool zero_known;
	u64 zero_xxh64;
	struct migrate_fast_digest __user *to;
	u64 count;
	struct migrate_fast_digest *free;
	struct migrate_fast_digest digests[HASH_BATCH];
	struct mf_run runs[HASH_BATCH];
};

static __always_inline u64 or4(const u64 *p)
{
	return p[0] | p[1] | p[2] | p[3];
}

static __always_inline u64 or32(const u64 *p)
{
	return or4(p) | or4(p + 4) | or4(p + 8) | or4(p + 12) |
	       or4(p + 16) | or4(p + 20) | or4(p + 24) | or4(p + 28);
}

static __always_inline u64 or128(const u64 *p)
{
	return or32(p) | or32(p + 32) | or32(p + 64) | or32(p + 96);
}

/*
 * A page that is not zero gives itself away in its first words as a rule, so
 * what counts is the price of one that is. An OR of 256 words for each branch
 * is 520 instructions; memchr_inv() needs 2600.
 */
static bool page_is_zero(const void *addr)
{
	const u64 *p = addr, *end = p + PAGE_SIZE / sizeof(*p);

	if (*p)
		return false;
	do {
		if (or128(p) | or128(p + 128))
			return false;
		p += 256;
	} while (p < end);
	return true;
}

static int sha256_page(const void *addr, u8 *digest)
{
	SHASH_DESC_ON_STACK(desc, hash_sha256);

	desc->tfm = hash_sha256;
	return crypto_shash_digest(desc, addr, PAGE_SIZE, digest);
}

/* The digests of a zero page, or a hole. */
static noinline void digest_zero(struct hash_call *call,
				 struct migrate_fast_digest *digest)
{
	if (call->flags & MIGRATE_FAST_HASH_XXH64) {
		if (!call->zero_known) {
			call->zero_xxh64 = xxh64(page_address(ZERO_PAGE(0)),
						 PAGE_SIZE, call->seed);
			call->zero_known = true;
		}
		digest->xxh64 = call->zero_xxh64;
	}
	if (call->flags & MIGRATE_FAST_HASH_SHA256)
		memcpy(digest->sha256, hash_sha256_zero, SHA256_DIGEST_SIZE);
}

static noinline int digest_data(struct hash_call *call, const void *addr,
				struct migrate_fast_digest *digest)
{
	int err = 0;

	if (call->flags & MIGRATE_FAST_HASH_XXH64)
		digest->xxh64 = xxh64(addr, PAGE_SIZE, call->seed);
	if (call->flags & MIGRATE_FAST_HASH_SHA256)
		err = sha256_page(addr, digest->sha256);
	return err;
}

/*
 * Fill in an entry of the buffer for page @i of a run. What is not asked for
 * has been zero from the beginning.
 */
static int digest_page(struct hash_call *call, const struct mf_run *run,
		       unsigned long i, struct migrate_fast_digest *digest)
{
	u32 flags = MIGRATE_FAST_DIGEST_ZERO;
	int err = 0;

	digest->page = run->index + i;
	if (run->folio) {
		void *addr = kmap_local_page(mf_run_page(run, i));

		if (!page_is_zero(addr)) {
			flags = 0;
			if (call->flags & HASH_DIGESTS)
				err = digest_data(call, addr, digest);
		}
		kunmap_local(addr);
	} else {
		flags |= MIGRATE_FAST_DIGEST_ABSENT;
	}
	digest->flags = flags;
	if (flags && call->flags & HASH_DIGESTS)
		digest_zero(call, digest);
	return err;
}

/*
 * Forget what has been collected, if a page of it may have become absent
 * meanwhile: in a large folio such a page is zeroed in its place, and this may
 * be the digest of the zeroes.
 */
static bool forget_absent(struct hash_call *call)
{
	if (!mf_fill_marks_since(call->ram, call->marks))
		return false;
	call->marks = mf_fill_marks(call->ram);
	if (call->free != call->digests)
		call->next = call->digests->page;
	call->free = call->digests;
	return true;
}

/*
 * Bring to user space what has been collected. -EAGAIN: it was not worth it,
 * go on at call->next, with pages that are looked up anew.
 */
static int flush(struct hash_call *call)
{
	size_t bytes = (void *)call->free - (void *)call->digests;
	const u64 *from = (const u64 *)call->digests;
	u64 __user *to = (u64 __user *)call->to;

	BUILD_BUG_ON(sizeof(*call) > PAGE_SIZE);
	BUILD_BUG_ON(sizeof(*call->free) != 7 * sizeof(u64));

	if (unlikely(forget_absent(call)))
		return -EAGAIN;
	/* As many instructions as copy_to_user() has before it begins. */
	if (!user_access_begin(to, bytes))
		return -EFAULT;
	for (; from != (const u64 *)call->free; from += 7, to += 7) {
		unsafe_put_user(from[0], to, fault);
		unsafe_put_user(from[1], to + 1, fault);
		unsafe_put_user(from[2], to + 2, fault);
		unsafe_put_user(from[3], to + 3, fault);
		unsafe_put_user(from[4], to + 4, fault);
		unsafe_put_user(from[5], to + 5, fault);
		unsafe_put_user(from[6], to + 6, fault);
	}
	user_access_end();

	call->count += call->free - call->digests;
	call->to += call->free - call->digests;
	call->free = call->digests;
	cond_resched();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

/*
 * Digest a run. Returns 1 if a signal came, which is looked for once in
 * HASH_BATCH pages: a call makes progress even if one is pending from the
 * beginning. -EAGAIN as flush().
 */
static int hash_run(struct hash_call *call, const struct mf_run *run)
{
	unsigned long i;
	int err = 0;

	for (i = 0; i < run->pages; i++) {
		if (call->free == call->digests + HASH_BATCH) {
			err = flush(call);
			if (unlikely(err))
				return err;
			if (signal_pending(current)) {
				err = 1;
				break;
			}
		}
		err = digest_page(call, run, i, call->free);
		if (err)
			break;
		call->free++;
	}
	call->next = run->index + i;
	return err;
}

/* Digest the pages of a range that has one at least; as hash_run(). */
static int hash_range(struct hash_call *call, u64 end)
{
	struct mf_run *run = call->runs;
	int nr, err = 0;

	mf_fill_give_way(call->ram);
	nr = mf_runs_get(call->ram, call->next, end, run, HASH_BATCH);
	if (nr < 0)
		return nr;
	for (; nr; nr--, run++) {
		if (likely(!err))
			err = hash_run(call, run);
		mf_run_put(run);
	}
	return err;
}

/*
 * The next run of set bits in [@pos, @end). Returns its first page; *@stop is
 * the page after its last one. When there is none in the next HASH_SCAN words
 * both are the page where the search ended. User space may write to the
 * bitmap at the same time: each word is read once, what comes out of it is
 * always within the range.
 */
static u64 next_dirty(const unsigned long *bitmap, u64 pos, u64 end,
		      u64 *stop)
{
	u64 word = pos / BITS_PER_LONG;
	u64 limit = min_t(u64, word + HASH_SCAN,
			  DIV_ROUND_UP_ULL(end, BITS_PER_LONG));
	unsigned int shift = pos % BITS_PER_LONG;
	unsigned long bits = READ_ONCE(bitmap[word]) >> shift << shift;

	while (!bits && ++word < limit)
		bits = READ_ONCE(bitmap[word]);
	if (!bits) {
		*stop = min(limit * BITS_PER_LONG, end);
		return *stop;
	}

	shift = __ffs(bits);
	pos = word * BITS_PER_LONG + shift;
	bits = ~(bits >> shift);
	if (bits && __ffs(bits) + shift < BITS_PER_LONG) {
		*stop = pos + __ffs(bits);
	} else {
		/* The run reaches the next word: as far as these are full. */
		while (++word < limit && READ_ONCE(bitmap[word]) == ~0UL)
			;
		*stop = word * BITS_PER_LONG;
	}
	*stop = min(*stop, end);
	return min(pos, end);
}

/* Collect and flush, up to @end, but the last that have been collected. */
static int hash_some(struct hash_call *call, struct mf_member *member,
		     u64 end, u64 max)
{
	int err = 0;

	while (call->next < end && !err) {
		u64 room = max - call->count - (call->free - call->digests);
		u64 stop = end;

		if (!room)
			break;
		if (call->flags & MIGRATE_FAST_HASH_DIRTY)
			call->next = next_dirty(member->bitmap, call->next,
						end, &stop);
		stop = call->next + min(stop - call->next, room);
		if (call->next < stop)
			err = hash_range(call, stop);
		else if (signal_pending(current))
			err = 1;
		cond_resched();
	}
	return err;
}

/* All of it. Progress first; the next call, from there on, tells the error. */
static int hash_pages(struct hash_call *call, struct mf_member *member,
		      u64 end, u64 max)
{
	u64 start = call->next;
	int err;

	do {
		err = hash_some(call, member, end, max);
		if (err > 0 || (err && err != -EFAULT && err != -EAGAIN &&
				call->next > start))
			err = 0;
		if (!err)
			err = flush(call);
	} while (err == -EAGAIN && !signal_pending(current));
	if (err == -EAGAIN)
		err = call->next > start ? 0 : -EINTR;
	return err;
}

/**
 * mf_session_hash - MIGRATE_FAST_HASH
 * @session: the session
 * @arg: what to digest, and where to; its outputs are set on success
 *
 * No lock is held: the member stays, and pages are read as they are.
 *
 * Context: process, may sleep. Return: 0, or what is told at struct
 * migrate_fast_hash; -EIO also for memory that the hardware has lost.
 */
int mf_session_hash(struct mf_session *session, struct migrate_fast_hash *arg)
{
	u64 pages = arg->pages;
	struct mf_member *member;
	struct hash_call *call;
	int err;

	if (arg->flags & ~HASH_FLAGS || !arg->max ||
	    !IS_ALIGNED(arg->digests, sizeof(u64)) ||
	    (arg->seed && !(arg->flags & MIGRATE_FAST_HASH_XXH64)))
		return -EINVAL;
	member = mf_session_member(session, arg->ram);
	if (IS_ERR(member))
		return PTR_ERR(member);
	err = mf_member_range(member, arg->start, &pages);
	if (err)
		return err;

	call = kzalloc(sizeof(*call), GFP_KERNEL);
	if (!call)
		return -ENOMEM;
	call->ram = member->ram;
	call->marks = mf_fill_marks(call->ram);
	call->next = arg->start;
	call->flags = arg->flags;
	call->seed = arg->seed;
	call->to = u64_to_user_ptr(arg->digests);
	call->free = call->digests;

	err = hash_pages(call, member, arg->start + pages, arg->max);
	if (!err) {
		atomic64_add(call->count, &member->hashed);
		arg->count = call->count;
		arg->next = call->next;
	}
	trace_migrate_fast_hash(file_inode(member->file)->i_ino, arg->start,
				call->next, call->count, arg->flags, err);
	kfree(call);
	return err;
}

/**
 * mf_hash_init - get hold of the kernel's SHA-256
 *
 * Allocated once, so that no call has to wait for modprobe. Context: module
 * load. Return: 0 or why not.
 */
int mf_hash_init(void)
{
	int err;

	/*
	 * With a generic sha256 in the kernel image nobody would look for the
	 * ones that use the processor's own instructions.
	 */
	request_module("crypto-sha256");
	hash_sha256 = crypto_alloc_shash("sha256", 0, 0);
	if (IS_ERR(hash_sha256)) {
		err = PTR_ERR(hash_sha256);
		goto out;
	}
	err = sha256_page(page_address(ZERO_PAGE(0)), hash_sha256_zero);
	if (err)
		crypto_free_shash(hash_sha256);
out:
	if (err)
		pr_err("migrate_fast: no sha256 (%d)\n", err);
	return err;
}

/**
 * mf_hash_exit - let go of it
 */
void mf_hash_exit(void)
{
	crypto_free_shash(hash_sha256);
}

/* Any of its implementations; they are modules in many kernels. */
MODULE_SOFTDEP("pre: sha256");
