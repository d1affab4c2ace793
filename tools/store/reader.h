/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads a file from one end to the other, pieces ahead of who is busy with
 * them: so the whole takes as long as the slower of both.
 */
#ifndef READER_H
#define READER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "blocks.h"

/*
 * One is the caller's, the others are read or wait for that: as many as it
 * takes for none of the two threads to wait each time that the other wakes up.
 */
#define READER_PIECES	3
#define READER_PIECE	(4 * BLOCKS_CHUNK * BLOCK_BYTES)	/* bytes, at most */

struct reader_piece {
	off_t at;
	size_t bytes;		/* BLOCKS_CHUNK blocks or a multiple of that ... */
	uint8_t *buffer;	/* ... but at the end */
	bool hole;		/* nothing but zeroes, and none of them is here */
	int err;		/* errno, or 0 ... */
	off_t failed;		/* ... and where it was met */
};

struct reader {
	int fd;
	off_t end;
	struct reader_piece pieces[READER_PIECES];
	void *room;		/* the buffers of all pieces; NULL: not needed yet */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t changed;	/* of all that follows, which .lock protects */
	unsigned int first;	/* the oldest of .pieces ... */
	unsigned int ready;	/* ... from it on that are read */
	off_t next;		/* to be read */
	bool busy;		/* with the piece after those that are ready */
	bool halt, quit;	/* the thread is to begin no other one */
	/* Of whoever reads. */
	off_t data, hole;	/* there is nothing before data; data until hole */
	int direct;		/* the same file, past the cache; -1: cannot be */
	void *map;		/* the file, for mincore(2) alone */
};

/*
 * All of that at once. 0, or errno, and @failed is where it was met. A file that
 * shrinks meanwhile reads as zeroes at its end.
 */
int reader_read(int fd, off_t at, size_t bytes, uint8_t *to, off_t *failed);
/*
 * For bytes before @end of @fd, which stays the caller's: whole blocks. Nothing
 * is read yet.
 */
void reader_begin(struct reader *reader, int fd, off_t end);
void reader_end(struct reader *reader);
/*
 * The piece that holds what is at @at, before the end, a multiple of
 * BLOCKS_CHUNK blocks; valid until the next call. The cheap case is that it is
 * what follows.
 */
const struct reader_piece *reader_get(struct reader *reader, off_t at);

#endif /* READER_H */
