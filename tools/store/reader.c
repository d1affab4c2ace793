// SPDX-License-Identifier: GPL-2.0
/*
 * Reads ahead of who digests; see reader.h. The kernel's read-ahead only
 * brings the disk's bytes to its cache: to copy them from there takes as long
 * as XXH64 does.
 *
 * The thread touches nothing but .next, and that only while .asked is set,
 * which it clears at last. It takes no signals and calls nothing of ours.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../lib/say.h"
#include "reader.h"

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

static void read_piece(int fd, struct reader_piece *piece)
{
	piece->err = reader_read(fd, piece->at, piece->bytes, piece->buffer);
}

static void *work(void *arg)
{
	struct reader *reader = arg;

	pthread_mutex_lock(&reader->lock);
	while (!reader->end) {
		if (!reader->asked) {
			pthread_cond_wait(&reader->changed, &reader->lock);
			continue;
		}
		pthread_mutex_unlock(&reader->lock);
		read_piece(reader->fd, &reader->next);
		pthread_mutex_lock(&reader->lock);
		reader->asked = false;
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

void reader_begin(struct reader *reader, int fd, size_t most)
{
	*reader = (struct reader){ .fd = fd };
	reader->now.buffer = need(malloc(most));
	reader->next.buffer = need(malloc(most));
	pthread_mutex_init(&reader->lock, NULL);
	pthread_cond_init(&reader->changed, NULL);
}

/* Until .next is ours. */
static void wait_for_it(struct reader *reader)
{
	pthread_mutex_lock(&reader->lock);
	while (reader->asked)
		pthread_cond_wait(&reader->changed, &reader->lock);
	pthread_mutex_unlock(&reader->lock);
}

static void ask(struct reader *reader, off_t at, size_t bytes)
{
	reader->next.at = at;
	reader->next.bytes = bytes;
	if (!bytes)
		return;
	if (!reader->running)
		start(reader);
	/* Without a thread it is read when it is wanted. */
	if (!reader->running) {
		reader->next.bytes = 0;
		return;
	}
	pthread_mutex_lock(&reader->lock);
	reader->asked = true;
	pthread_cond_signal(&reader->changed);
	pthread_mutex_unlock(&reader->lock);
}

const uint8_t *reader_get(struct reader *reader, off_t at, size_t bytes,
			  off_t next_at, size_t next)
{
	struct reader_piece piece;

	wait_for_it(reader);
	if (reader->next.bytes == bytes && reader->next.at == at) {
		piece = reader->next;
		reader->next = reader->now;
		reader->now = piece;
	} else {
		reader->now.at = at;
		reader->now.bytes = bytes;
		read_piece(reader->fd, &reader->now);
	}
	ask(reader, next_at, next);
	errno = reader->now.err;
	return errno ? NULL : reader->now.buffer;
}

void reader_end(struct reader *reader)
{
	if (reader->running) {
		pthread_mutex_lock(&reader->lock);
		reader->end = true;
		pthread_cond_signal(&reader->changed);
		pthread_mutex_unlock(&reader->lock);
		pthread_join(reader->thread, NULL);
	}
	pthread_mutex_destroy(&reader->lock);
	pthread_cond_destroy(&reader->changed);
	free(reader->now.buffer);
	free(reader->next.buffer);
}
