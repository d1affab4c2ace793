// SPDX-License-Identifier: GPL-2.0
/*
 * Reads ahead of who digests; see reader.h. The kernel's read-ahead only
 * brings the disk's bytes to its cache: to copy them from there takes as long
 * as XXH64 does.
 *
 * The thread takes no signals and calls nothing of ours that could fail(). If
 * there is none the caller reads by itself, in the same way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/say.h"
#include "reader.h"

/* So much the disk is asked for ahead of what is being read, in such parts. */
#define AHEAD		(16 << 20)
#define AHEAD_PART	(4 << 20)
/* Where the disk had to be waited for it will have to be further on. */
#define SLOW		(64 << 20)

int reader_read(int fd, off_t at, size_t bytes, uint8_t *to)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = pread(fd, to + done, bytes - done,
				  at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if (!n) {
			memset(to + done, 0, bytes - done);
			break;
		}
		done += (size_t)n;
	}
	return 0;
}

/* Is there nothing but a hole? Who cannot tell has data everywhere. */
static bool is_hole(struct reader *reader, off_t at, off_t end)
{
	if (at >= reader->hole) {
		reader->data = lseek(reader->fd, at, SEEK_DATA);
		if (reader->data < 0)
			reader->data = errno == ENXIO ? reader->end : at;
		reader->hole = lseek(reader->fd, reader->data, SEEK_HOLE);
		if (reader->hole < 0)
			reader->hole = reader->end;
	}
	return end <= reader->data;
}

static void ask_ahead(struct reader *reader, off_t at)
{
	if (reader->asked < at)
		reader->asked = at;
	while (reader->asked < at + AHEAD) {
		posix_fadvise(reader->fd, reader->asked, AHEAD_PART,
			      POSIX_FADV_WILLNEED);
		reader->asked += AHEAD_PART;
	}
}

/*
 * What is in the cache is there at once. To ask for it all the same would cost
 * a sixth of the time that it takes to copy it.
 */
static void read_piece(struct reader *reader, struct reader_piece *piece)
{
	struct iovec iov;
	ssize_t n;

	piece->err = 0;
	piece->hole = is_hole(reader, piece->at,
			      piece->at + (off_t)piece->bytes);
	if (piece->hole)
		return;
	iov = (struct iovec){ piece->buffer, piece->bytes };
	n = preadv2(reader->fd, &iov, 1, piece->at, RWF_NOWAIT);
	if (n < 0)
		n = 0;
	if ((size_t)n < piece->bytes)
		reader->slow = piece->at + SLOW;
	if (piece->at < reader->slow)
		ask_ahead(reader, piece->at);
	piece->err = reader_read(reader->fd, piece->at + n,
				 piece->bytes - (size_t)n, piece->buffer + n);
}

/* The piece to be read next; the lock is held. */
static struct reader_piece *take_next(struct reader *reader)
{
	struct reader_piece *piece = &reader->pieces
		[(reader->first + reader->ready) % READER_PIECES];
	off_t left = reader->end - reader->next;

	piece->at = reader->next;
	piece->bytes = left < (off_t)reader->room ? (size_t)left :
						    reader->room;
	if (!piece->buffer)
		piece->buffer = need(malloc(reader->room));
	reader->next += (off_t)piece->bytes;
	return piece;
}

/* The lock is held, and let go of meanwhile. */
static void read_next(struct reader *reader)
{
	struct reader_piece *piece = take_next(reader);

	reader->busy = true;
	pthread_mutex_unlock(&reader->lock);
	read_piece(reader, piece);
	pthread_mutex_lock(&reader->lock);
	reader->busy = false;
	reader->ready++;
}

static void *work(void *arg)
{
	struct reader *reader = arg;

	pthread_mutex_lock(&reader->lock);
	while (!reader->quit) {
		if (reader->halt || reader->ready == READER_PIECES ||
		    reader->next >= reader->end)
			pthread_cond_wait(&reader->changed, &reader->lock);
		else
			read_next(reader);
		pthread_cond_signal(&reader->changed);
	}
	pthread_mutex_unlock(&reader->lock);
	return NULL;
}

/* Signals are for the thread that heeds them. */
static void start(struct reader *reader)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	reader->running = !pthread_create(&reader->thread, NULL, work, reader);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void reader_begin(struct reader *reader, int fd, off_t end, size_t room)
{
	*reader = (struct reader){ .fd = fd, .end = end, .room = room };
	pthread_mutex_init(&reader->lock, NULL);
	pthread_cond_init(&reader->changed, NULL);
}

/* All that was read is of no use: go on at @at. The lock is held. */
static void seek(struct reader *reader, off_t at)
{
	reader->halt = true;
	while (reader->busy)
		pthread_cond_wait(&reader->changed, &reader->lock);
	reader->halt = false;
	reader->ready = 0;
	reader->next = at;
	reader->data = reader->hole = reader->asked = reader->slow = 0;
}

const struct reader_piece *reader_get(struct reader *reader, off_t at)
{
	struct reader_piece *piece;

	pthread_mutex_lock(&reader->lock);
	/* The last one goes back. */
	if (reader->ready) {
		reader->first = (reader->first + 1) % READER_PIECES;
		reader->ready--;
	}
	piece = &reader->pieces[reader->first];
	if (reader->ready || reader->busy ? piece->at != at :
					    reader->next != at)
		seek(reader, at);
	if (!reader->running)
		start(reader);
	if (!reader->running)
		read_next(reader);
	pthread_cond_signal(&reader->changed);
	while (!reader->ready)
		pthread_cond_wait(&reader->changed, &reader->lock);
	pthread_mutex_unlock(&reader->lock);
	return piece;
}

void reader_end(struct reader *reader)
{
	unsigned int i;

	if (reader->running) {
		pthread_mutex_lock(&reader->lock);
		reader->quit = true;
		pthread_cond_signal(&reader->changed);
		pthread_mutex_unlock(&reader->lock);
		pthread_join(reader->thread, NULL);
	}
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->changed);
	for (i = 0; i < READER_PIECES; i++)
		free(reader->pieces[i].buffer);
}
