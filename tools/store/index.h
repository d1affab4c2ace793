/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The index of one source: which blocks have a page of this digest?
 *
 * An LMDB file. It is made from its source and can be made again: what is not
 * whole is not used. And what it says is only where to look: whoever takes a
 * page compares its SHA-256.
 *
 * LMDB knows no checksums, and believes what it reads. So a seal lies beside
 * it: the XXH64 of the whole file, with the seed of the store. It is broken
 * before anything is written and made when all is on the disk, so that a crash
 * leaves an index without a seal, which is built anew.
 */
#ifndef INDEX_H
#define INDEX_H

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

struct sorter;

struct index {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi digests;	/* digest -> the blocks that have it */
	MDB_dbi blocks;		/* chunk -> digests of its BLOCKS_CHUNK blocks */
	MDB_cursor *cursor;	/* of who only reads: for index_find() */
	const char *path;
	bool writing;
	unsigned int pending;	/* changes since the last commit */
	uint64_t places;	/* that are in it: digests, and more for those met often */
};

enum index_state {
	INDEX_OK,
	INDEX_MISSING,
	INDEX_BROKEN,		/* not whole, or not what was written */
};

/*
 * Is the index at @path whole? It is read from begin to end. INDEX_BROKEN is
 * also what is being written just now.
 */
enum index_state index_check(const char *path, uint64_t seed);
/* The same at a glance: a seal is there, and the length is right. */
enum index_state index_glance(const char *path);

/* To read, after index_check(). 0, or -1 after fail(). */
int index_open(struct index *index, const char *path);
/*
 * To write: breaks the seal. If there is none, or @anew, it begins empty.
 * For a source of @blocks blocks.
 */
int index_change(struct index *index, const char *path, uint64_t blocks,
		 bool anew);
/* Writes what is changed, and seals it. Closes it in any case. */
int index_finish(struct index *index, uint64_t seed);
void index_close(struct index *index);
/* Removes it, and what belongs to it. */
void index_remove(const char *path);

/*
 * Block number @nth, from 0 on, that has @digest. 1 if there is one, 0 if
 * not, -1 after fail().
 */
int index_find(struct index *index, uint64_t digest, unsigned int nth,
	       uint64_t *block);
/* Calls @each with every digest, in ascending order, until it returns not 0. */
int index_each(struct index *index,
	       int (*each)(void *arg, uint64_t digest), void *arg);

/* Digests of the blocks of a chunk; NULL if none of them is known. */
const uint64_t *index_chunk(struct index *index, uint64_t chunk);
/* Until another one is put. 0, or -1 after fail(). */
int index_put_chunk(struct index *index, uint64_t chunk,
		    const uint64_t *digests);
/* Takes out and puts in what was sorted. 0, or -1 after fail(). */
int index_apply(struct index *index, struct sorter *drop, struct sorter *add);

#endif /* INDEX_H */
