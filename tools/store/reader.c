// SPDX-License-Identifier: GPL-2.0
/*
 * Reads ahead of who digests; see reader.h. What the kernel has in its cache is
 * copied from there, the rest comes past it: an image fills no memory that the
 * VMs of this host have a use for, takes nothing from the cache that was there
 * before, and need not be copied. (A read with RWF_NOWAIT does not only tell
 * what is in the cache: it begins to fill it.)
 *
 * The thread takes no signals and calls nothing of ours that could fail(). If
 * there is none the caller reads by itself, in the same way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/say.h"
#include "reader.h"

#define PART	(BLOCKS_CHUNK * BLOCK_BYTES)
/* A page of the processor's: the disk is told of it at once. */
#define HUGE	(2UL << 20)
/* So much one piece may need, and all, wherever that begins. */
#define BUFFER	((READER_PIECE + HUGE - 1) / HUGE * HUGE)
#define ROOM	(READER_PIECES * BUFFER + HUGE)

int reader_read(int fd, off_t at, size_t bytes, uint8_t *to, off_t *failed)
{
	size_t done = 0;

	while (done < bytes) {
		ssize_t n = pread(fd, to + done, bytes - done,
				  at + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			*failed = at + (off_t)done;
			return errno;
		}
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

/* Who may only read the file is told that all of it is, which works as well. */
static bool is_cached(struct reader *reader, off_t at, size_t bytes)
{
	unsigned char in[PART / BLOCK_BYTES];
	size_t i, n = bytes / BLOCK_BYTES;

	if (reader->map == MAP_FAILED ||
	    mincore((char *)reader->map + at, bytes, in))
		return true;
	for (i = 0; i < n && in[i] & 1; i++)
		;
	return i == n;
}

/* How much there is to read at @at, in one go. */
static size_t part(struct reader *reader, off_t at)
{
	off_t left = reader->end - at;

	return left < PART ? (size_t)left : PART;
}

/*
 * Is the piece to be read past the cache? What the disk is asked for is worth
 * some parts at a time: less often waits one for the other. What is copied is
 * better used near to the processor.
 */
static bool measure_piece(struct reader *reader, struct reader_piece *piece)
{
	off_t at = piece->at;
	size_t bytes = part(reader, at);

	piece->bytes = bytes;
	piece->hole = is_hole(reader, at, at + (off_t)bytes);
	if (piece->hole || reader->direct < 0 || is_cached(reader, at, bytes))
		return false;
	while (piece->bytes < READER_PIECE) {
		at += (off_t)bytes;
		bytes = part(reader, at);
		if (!bytes || is_hole(reader, at, at + (off_t)bytes) ||
		    is_cached(reader, at, bytes))
			break;
		piece->bytes += bytes;
	}
	return true;
}

/*
 * What does not come past the cache, be it that the file system cannot do that
 * or that the disk has an error there, may come through it.
 */
static int read_piece(struct reader *reader, struct reader_piece *piece)
{
	bool direct = measure_piece(reader, piece);
	size_t done = 0;
	ssize_t n;

	if (piece->hole)
		return 0;
	if (direct) {
		n = pread(reader->direct, piece->buffer, piece->bytes,
			  piece->at);
		done = n < 0 ? 0 : (size_t)n;
	}
	return reader_read(reader->fd, piece->at + (off_t)done,
			   piece->bytes - done, piece->buffer + done,
			   &piece->failed);
}

/*
 * Not from malloc(), whose memory may be in small pages from what it was used
 * for before: the disk is told of each, and takes twice the time.
 */
static void make_room(struct reader *reader)
{
	uint8_t *at;
	int i;

	reader->room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(reader->room == MAP_FAILED ? NULL : reader->room);
	madvise(reader->room, ROOM, MADV_HUGEPAGE);
	at = (uint8_t *)(((uintptr_t)reader->room + HUGE - 1) & ~(HUGE - 1));
	for (i = 0; i < READER_PIECES; i++)
		reader->pieces[i].buffer = at + i * BUFFER;
}

/* The lock is held, and let go of meanwhile. */
static void read_next(struct reader *reader)
{
	struct reader_piece *piece = &reader->pieces
		[(reader->first + reader->ready) % READER_PIECES];

	piece->at = reader->next;
	reader->busy = true;
	pthread_mutex_unlock(&reader->lock);
	piece->err = read_piece(reader, piece);
	pthread_mutex_lock(&reader->lock);
	reader->busy = false;
	reader->next += (off_t)piece->bytes;
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
	char self[32];

	if (!reader->room) {
		/* The same file, whatever has its name now. */
		snprintf(self, sizeof(self), "/proc/self/fd/%d", reader->fd);
		reader->direct = open(self, O_RDONLY | O_CLOEXEC | O_DIRECT);
		reader->map = mmap(NULL, (size_t)reader->end, PROT_READ,
				   MAP_SHARED, reader->fd, 0);
		make_room(reader);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	reader->running = !pthread_create(&reader->thread, NULL, work, reader);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void reader_begin(struct reader *reader, int fd, off_t end)
{
	*reader = (struct reader){
		.fd = fd, .end = end, .direct = -1, .map = MAP_FAILED
	};
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
	reader->data = reader->hole = 0;
}

const struct reader_piece *reader_get(struct reader *reader, off_t at)
{
	struct reader_piece *piece;

	pthread_mutex_lock(&reader->lock);
	piece = &reader->pieces[reader->first];
	if (reader->ready) {
		if (at > piece->at && at < piece->at + (off_t)piece->bytes)
			goto out;
		/* The last one goes back. */
		reader->first = (reader->first + 1) % READER_PIECES;
		reader->ready--;
		piece = &reader->pieces[reader->first];
	}
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
out:
	pthread_mutex_unlock(&reader->lock);
	return piece;
}

void reader_end(struct reader *reader)
{
	if (reader->running) {
		pthread_mutex_lock(&reader->lock);
		reader->quit = true;
		pthread_cond_signal(&reader->changed);
		pthread_mutex_unlock(&reader->lock);
		pthread_join(reader->thread, NULL);
	}
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->changed);
	if (reader->room)
		munmap(reader->room, ROOM);
	if (reader->map != MAP_FAILED)
		munmap(reader->map, (size_t)reader->end);
	if (reader->direct >= 0)
		close(reader->direct);
}
