/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A connected pair of stream sockets, and a reader at the far end.
 */
#ifndef SEND_PAIR_H
#define SEND_PAIR_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mf_test.h"

/* Through the loopback: @pair[0] sends. 0 or -1 with errno. */
static inline int tcp_pair(int pair[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (void *)&addr, sizeof(addr)) ||
	    listen(listener, 1) ||
	    getsockname(listener, (void *)&addr, &len) ||
	    connect(pair[0], (void *)&addr, sizeof(addr)))
		return -1;
	pair[1] = accept(listener, NULL, NULL);
	close(listener);
	return pair[1] < 0 ? -1 : 0;
}

static inline int make_pair(int pair[2], bool tcp)
{
	return tcp ? tcp_pair(pair) : socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

/* Reads @want bytes, or to the end, in a thread of its own. */
struct reader {
	pthread_t thread;
	int sock;
	size_t want;
	size_t got;
	unsigned char *data;
	/* Microseconds between two small reads; 0: as fast as it can. */
	unsigned int slow;
};

static inline void *read_all(void *arg)
{
	struct reader *reader = arg;
	ssize_t n;

	while (reader->got < reader->want) {
		size_t most = reader->want - reader->got;

		if (reader->slow) {
			usleep(reader->slow);
			most = most < 7777 ? most : 7777;
		}
		n = recv(reader->sock, reader->data + reader->got, most, 0);
		if (n <= 0)
			break;
		reader->got += n;
	}
	return NULL;
}

static inline int reader_start(struct reader *reader, int sock, size_t want)
{
	reader->sock = sock;
	reader->want = want;
	reader->got = 0;
	reader->data = malloc(want + 1);
	return pthread_create(&reader->thread, NULL, read_all, reader);
}

#endif
