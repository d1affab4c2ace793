// SPDX-License-Identifier: GPL-2.0
/* The index of one source; see index.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "blocks.h"
#include "index.h"
#include "sorter.h"

/* Of a page that fills a disk nobody needs to know every place. */
#define PLACES		8
/* Changes in one transaction: LMDB holds their pages in memory. */
#define PENDING		8192
/* A file system with less than that is full. */
#define FULL		(1 << 20)
#define SEAL		"migrate-fast index 1 %" PRIu64 " %016" PRIx64 "\n"

/* Paths next to that of the index. */
static const char *beside(const char *path, const char *suffix)
{
	static char text[4096];

	snprintf(text, sizeof(text), "%s%s", path, suffix);
	return text;
}

/* LMDB makes EIO of a write that was cut short. */
static bool is_full(const char *path, int err)
{
	struct statvfs fs;

	return err == ENOSPC || (err == EIO && !statvfs(path, &fs) &&
				 fs.f_bavail * fs.f_frsize < FULL);
}

static int fail_index(const struct index *index, const char *what, int err)
{
	if (is_full(index->path, err))
		return fail("no space is left for %s: free some, or choose another folder (--store)",
			    index->path);
	return fail("cannot %s %s: %s", what, index->path, mdb_strerror(err));
}

/* Sums up the file. 0, or a positive errno. */
static int sum_up(const char *path, uint64_t seed, uint64_t *bytes,
		  uint64_t *sum)
{
	XXH64_state_t *state = need(XXH64_createState());
	size_t room = 1 << 20;
	void *buffer = need(malloc(room));
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	ssize_t n;

	XXH64_reset(state, seed);
	*bytes = 0;
	if (fd < 0)
		err = errno;
	while (!err) {
		n = read(fd, buffer, room);
		if (!n)
			break;
		if (n < 0 && errno != EINTR)
			err = errno;
		/* A large one takes seconds. */
		if (loop_check())
			err = EINTR;
		if (n > 0) {
			XXH64_update(state, buffer, (size_t)n);
			*bytes += (uint64_t)n;
		}
	}
	*sum = XXH64_digest(state);
	if (fd >= 0)
		close(fd);
	XXH64_freeState(state);
	free(buffer);
	return err;
}

/* The file has its new name, and all that came before, after a power cut. */
static int sync_folder(const char *path)
{
	char *folder = need(strdup(path)), *slash = strrchr(folder, '/');
	int fd, err = 0;

	if (slash)
		*slash = 0;
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		err = errno;
	if (fd >= 0)
		close(fd);
	free(folder);
	return err;
}

static int break_seal(const char *path)
{
	if (unlink(beside(path, ".seal")))
		return errno == ENOENT ? 0 : errno;
	return sync_folder(path);
}

static int make_seal(const char *path, uint64_t seed)
{
	char *name = need(strdup(beside(path, ".seal")));
	char *temporary = need(strdup(beside(path, ".seal.new")));
	uint64_t bytes, sum;
	FILE *file;
	int err;

	err = sum_up(path, seed, &bytes, &sum);
	file = err ? NULL : fopen(temporary, "we");
	if (!err && !file)
		err = errno;
	if (file && (fprintf(file, SEAL, bytes, sum) < 0 || fflush(file) ||
		     fsync(fileno(file))))
		err = errno;
	if (file && fclose(file) && !err)
		err = errno;
	if (!err && rename(temporary, name))
		err = errno;
	if (!err)
		err = sync_folder(path);
	free(name);
	free(temporary);
	return err;
}

/* What the seal says, if the length fits. */
static enum index_state read_seal(const char *path, uint64_t *bytes,
				  uint64_t *sum)
{
	enum index_state state = INDEX_BROKEN;
	struct stat st;
	FILE *file;

	if (stat(path, &st))
		return INDEX_MISSING;
	file = fopen(beside(path, ".seal"), "re");
	if (file && fscanf(file, SEAL, bytes, sum) == 2 &&
	    *bytes == (uint64_t)st.st_size)
		state = INDEX_OK;
	if (file)
		fclose(file);
	return state;
}

enum index_state index_glance(const char *path)
{
	uint64_t bytes, sum;

	return read_seal(path, &bytes, &sum);
}

enum index_state index_check(const char *path, uint64_t seed)
{
	uint64_t bytes, sum, sealed_bytes, sealed_sum;
	enum index_state state;

	state = read_seal(path, &sealed_bytes, &sealed_sum);
	if (state == INDEX_OK && (sum_up(path, seed, &bytes, &sum) ||
				  bytes != sealed_bytes || sum != sealed_sum))
		state = INDEX_BROKEN;
	return state;
}

static int open_tables(struct index *index, unsigned int flags)
{
	int err;

	err = mdb_dbi_open(index->txn, "digests", MDB_INTEGERKEY |
			   MDB_DUPSORT | MDB_DUPFIXED | MDB_INTEGERDUP | flags,
			   &index->digests);
	if (!err)
		err = mdb_dbi_open(index->txn, "blocks", MDB_INTEGERKEY |
				   flags, &index->blocks);
	return err;
}

static int open_index(struct index *index, const char *path, uint64_t bytes,
		      bool writing)
{
	/* The lock file belongs to it: an update may come while we read. */
	unsigned int flags = MDB_NOSUBDIR | MDB_NORDAHEAD;
	int err;

	*index = (struct index){ .path = path, .writing = writing };
	if (!writing)
		flags |= MDB_RDONLY;
	else
		flags |= MDB_NOSYNC;
	err = mdb_env_create(&index->env);
	if (!err)
		err = mdb_env_set_maxdbs(index->env, 2);
	if (!err && bytes)
		err = mdb_env_set_mapsize(index->env, bytes);
	if (!err)
		err = mdb_env_open(index->env, path, flags, 0600);
	if (!err)
		err = mdb_txn_begin(index->env, NULL, writing ? 0 : MDB_RDONLY,
				    &index->txn);
	if (!err)
		err = open_tables(index, writing ? MDB_CREATE : 0);
	if (err) {
		fail_index(index, "open", err);
		index_close(index);
		return -1;
	}
	return 0;
}

static int count_places(struct index *index)
{
	MDB_stat st;
	int err = mdb_stat(index->txn, index->digests, &st);

	if (err)
		return fail_index(index, "read", err);
	index->places = st.ms_entries;
	return 0;
}

int index_open(struct index *index, const char *path)
{
	int err;

	if (open_index(index, path, 0, false))
		return -1;
	err = mdb_cursor_open(index->txn, index->digests, &index->cursor);
	if (err)
		fail_index(index, "read", err);
	if (!err && !count_places(index))
		return 0;
	index_close(index);
	return -1;
}

int index_change(struct index *index, const char *path, uint64_t blocks,
		 bool anew)
{
	/* 34 bytes for a block are usual, twice that after many changes. */
	uint64_t bytes = blocks * 128 + (16 << 20);
	struct stat st;
	int err;

	*index = (struct index){ .path = path };
	err = break_seal(path);
	if (err)
		return fail_index(index, "change", err);
	if (anew)
		index_remove(path);
	else if (!stat(path, &st))
		bytes += (uint64_t)st.st_size;
	return open_index(index, path, (bytes + 0xfffff) & ~0xfffffULL, true);
}

void index_close(struct index *index)
{
	if (index->cursor)
		mdb_cursor_close(index->cursor);
	index->cursor = NULL;
	if (index->txn)
		mdb_txn_abort(index->txn);
	index->txn = NULL;
	if (index->env)
		mdb_env_close(index->env);
	index->env = NULL;
}

int index_finish(struct index *index, uint64_t seed)
{
	int err = mdb_txn_commit(index->txn);

	index->txn = NULL;
	if (!err)
		err = mdb_env_sync(index->env, 1);
	index_close(index);
	if (!err)
		err = make_seal(index->path, seed);
	return err ? fail_index(index, "write", err) : 0;
}

void index_remove(const char *path)
{
	break_seal(path);
	unlink(path);
	unlink(beside(path, "-lock"));
	unlink(beside(path, ".seal.new"));
}

/* LMDB keeps what a transaction has changed in memory until it ends. */
static int changed(struct index *index)
{
	int err;

	if (++index->pending < PENDING)
		return 0;
	index->pending = 0;
	err = mdb_txn_commit(index->txn);
	index->txn = NULL;
	if (!err)
		err = mdb_txn_begin(index->env, NULL, 0, &index->txn);
	return err;
}

int index_find(struct index *index, uint64_t digest, unsigned int nth,
	       uint64_t *block)
{
	MDB_val key = { sizeof(digest), &digest }, data;
	MDB_cursor *cursor = index->cursor;
	int err = 0;

	if (!cursor)
		err = mdb_cursor_open(index->txn, index->digests, &cursor);
	if (err)
		return fail_index(index, "read", err);
	err = mdb_cursor_get(cursor, &key, &data, MDB_SET);
	while (!err && nth--)
		err = mdb_cursor_get(cursor, &key, &data, MDB_NEXT_DUP);
	if (!err)
		memcpy(block, data.mv_data, sizeof(*block));
	if (!index->cursor)
		mdb_cursor_close(cursor);
	if (err && err != MDB_NOTFOUND)
		return fail_index(index, "read", err);
	return !err;
}

int index_each(struct index *index, int (*each)(void *arg, uint64_t digest),
	       void *arg)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	uint64_t digest;
	int err, ret = 0;

	err = mdb_cursor_open(index->txn, index->digests, &cursor);
	if (err)
		return fail_index(index, "read", err);
	while (!ret) {
		err = mdb_cursor_get(cursor, &key, &data, MDB_NEXT_NODUP);
		if (err)
			break;
		memcpy(&digest, key.mv_data, sizeof(digest));
		ret = each(arg, digest);
	}
	mdb_cursor_close(cursor);
	if (err && err != MDB_NOTFOUND)
		return fail_index(index, "read", err);
	return ret;
}

const uint64_t *index_chunk(struct index *index, uint64_t chunk)
{
	MDB_val key = { sizeof(chunk), &chunk }, data;

	if (mdb_get(index->txn, index->blocks, &key, &data) ||
	    data.mv_size != BLOCKS_CHUNK * sizeof(uint64_t))
		return NULL;
	return data.mv_data;
}

int index_put_chunk(struct index *index, uint64_t chunk,
		    const uint64_t *digests)
{
	MDB_val key = { sizeof(chunk), &chunk };
	MDB_val data = { BLOCKS_CHUNK * sizeof(*digests), (void *)digests };
	int err;

	err = mdb_put(index->txn, index->blocks, &key, &data, 0);
	if (!err)
		err = changed(index);
	return err ? fail_index(index, "write", err) : 0;
}

static int drop_one(struct index *index, const struct place *place)
{
	uint64_t digest = place->digest, block = place->block;
	MDB_val key = { sizeof(digest), &digest };
	MDB_val data = { sizeof(block), &block };
	int err;

	err = mdb_del(index->txn, index->digests, &key, &data);
	return err == MDB_NOTFOUND ? 0 : err;
}

static int add_one(struct index *index, const struct place *place,
		   unsigned int flags)
{
	uint64_t digest = place->digest, block = place->block;
	MDB_val key = { sizeof(digest), &digest };
	MDB_val data = { sizeof(block), &block };
	int err;

	err = mdb_put(index->txn, index->digests, &key, &data, flags);
	return err == MDB_KEYEXIST ? 0 : err;
}

/* How many places of this digest are there already? */
static unsigned int places(struct index *index, uint64_t digest)
{
	unsigned int n = 0;
	uint64_t block;

	while (n < PLACES && index_find(index, digest, n, &block) > 0)
		n++;
	return n;
}

int index_apply(struct index *index, struct sorter *drop, struct sorter *add)
{
	const struct place *place;
	unsigned int same = 0;
	uint64_t last = 0;
	bool empty;
	int err;

	while ((place = sorter_next(drop))) {
		err = drop_one(index, place);
		if (!err)
			err = changed(index);
		if (err)
			return fail_index(index, "write", err);
	}
	if (count_places(index))
		return -1;
	/* What comes in order, to the end, fills its pages. */
	empty = !index->places;
	while ((place = sorter_next(add))) {
		bool again = same && place->digest == last;

		if (!again) {
			same = empty ? 0 : places(index, place->digest);
			last = place->digest;
		}
		if (same++ >= PLACES)
			continue;
		err = add_one(index, place, !empty ? MDB_NODUPDATA :
			      again ? MDB_APPENDDUP : MDB_APPEND);
		if (!err)
			err = changed(index);
		if (err)
			return fail_index(index, "write", err);
	}
	return count_places(index);
}
