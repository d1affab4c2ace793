/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads a file piece by piece while another thread is busy with the piece
 * before: so the whole takes as long as the slower of both.
 */
#ifndef READER_H
#define READER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What is read, or is to be. */
struct reader_piece {
	off_t at;
	size_t bytes;		/* 0: nothing */
	uint8_t *buffer;
	int err;		/* errno */
};

struct reader {
	int fd;
	struct reader_piece now;	/* the caller's */
	struct reader_piece next;	/* the thread's while .asked */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;		/* protects .asked and .end */
	pthread_cond_t changed;		/* of both */
	bool asked, end;
};

/*
 * All of that at once. 0, or errno. A file that shrinks meanwhile reads as
 * zeroes at its end.
 */
int reader_read(int fd, off_t at, size_t bytes, uint8_t *to);
/* For pieces of @fd, which stays the caller's, of up to @most bytes. */
void reader_begin(struct reader *reader, int fd, size_t most);
void reader_end(struct reader *reader);
/*
 * The bytes from @at on, valid until the next call. Then reads @next bytes from @next_at on, if any, without waiting:
 * most likely they are wanted next. NULL and errno if it cannot be read.
 */
const uint8_t *reader_get(struct reader *reader, off_t at, size_t bytes,
			  off_t next_at, size_t next);

#endif /* READER_H */
