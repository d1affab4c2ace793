// SPDX-License-Identifier: GPL-2.0
/* HOST:PORT, and sockets that lead there. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "address.h"

/* Splits HOST:PORT, [V6]:PORT or :PORT. */
static int split(const char *where, char **host, char **port)
{
	const char *colon = strrchr(where, ':');
	const char *begin = where, *end = colon;

	if (!colon || !colon[1])
		return fail("\"%s\" is no address: write HOST:PORT, or [V6ADDRESS]:PORT",
			    where);
	if (*begin == '[') {
		begin++;
		if (end <= begin || *--end != ']')
			return fail("\"%s\" is no address: write [V6ADDRESS]:PORT",
				    where);
	}
	*host = end > begin ? need(strndup(begin, (size_t)(end - begin))) : NULL;
	*port = need(strdup(colon + 1));
	return 0;
}

int address_check(const char *where, bool passive)
{
	char *host = NULL, *port = NULL;

	if (split(where, &host, &port))
		return -1;
	free(port);
	if (!host && !passive)
		return fail("\"%s\" names no host: write HOST:PORT", where);
	free(host);
	return 0;
}

static int look_up(const char *where, bool passive, struct addrinfo **list)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = passive ? AI_PASSIVE : 0,
	};
	char *host = NULL, *port = NULL;
	int err;

	if (address_check(where, passive) || split(where, &host, &port))
		return -1;
	err = getaddrinfo(host, port, &hints, list);
	free(host);
	free(port);
	if (err)
		return fail("\"%s\": %s", where, gai_strerror(err));
	return 0;
}

struct connecting {
	struct watch watch;
	bool done;
};

static int on_connected(struct watch *watch, short revents)
{
	struct connecting *connecting = watch->arg;

	(void)revents;
	connecting->done = true;
	watch->events = 0;
	return 0;
}

static bool is_connected(void *arg)
{
	return ((struct connecting *)arg)->done;
}

/* 0, or an errno: ECANCELED after fail(). Other connections are served. */
static int await_connect(int sock, uint64_t timeout)
{
	struct connecting connecting = {
		.watch = {
			.fd = sock,
			.events = POLLOUT,
			.ready = on_connected,
			.arg = &connecting,
		},
	};
	socklen_t len = sizeof(int);
	int ret, err = 0;

	loop_add(&connecting.watch);
	ret = loop_until(is_connected, &connecting,
			 (unsigned int)(timeout / NSEC_PER_MSEC));
	loop_del(&connecting.watch);
	if (ret)
		return ret < 0 ? ECANCELED : ETIMEDOUT;
	getsockopt(sock, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

/* Returns a socket, or -1 and errno. */
static int connect_one(const struct addrinfo *ai, uint64_t timeout)
{
	int sock, err;

	sock = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC |
		      SOCK_NONBLOCK, ai->ai_protocol);
	if (sock < 0)
		return -1;
	if (connect(sock, ai->ai_addr, ai->ai_addrlen) == 0)
		return sock;
	err = errno == EINPROGRESS ? await_connect(sock, timeout) : errno;
	if (!err)
		return sock;
	close(sock);
	errno = err;
	return -1;
}

/*
 * Where @to was found, the first time. A name is not looked up again: that
 * cannot be interrupted, nobody is served meanwhile, and with a network that is
 * cut it takes long. Besides, it may lead to another host, which knows nothing.
 */
static struct found {
	char *to;
	struct sockaddr_storage addr;
	struct addrinfo info;
} found;

static void remember(const char *to, const struct addrinfo *ai)
{
	if (ai->ai_addrlen > sizeof(found.addr))
		return;
	free(found.to);
	found.to = need(strdup(to));
	memcpy(&found.addr, ai->ai_addr, ai->ai_addrlen);
	found.info = *ai;
	found.info.ai_addr = (struct sockaddr *)&found.addr;
	found.info.ai_next = NULL;
}

static int connect_any(const char *to, const struct addrinfo *ai,
		       uint64_t timeout)
{
	int sock = -1, err = 0;

	for (; ai && sock < 0 && err != ECANCELED; ai = ai->ai_next) {
		sock = connect_one(ai, timeout);
		err = errno;
		if (sock >= 0 && ai != &found.info)
			remember(to, ai);
	}
	errno = err;
	return sock;
}

int address_connect(const char *to, uint64_t timeout)
{
	struct addrinfo *list;
	int sock, err;

	if (found.to && !strcmp(found.to, to)) {
		sock = connect_any(to, &found.info, timeout);
		err = errno;
	} else {
		if (look_up(to, false, &list))
			return -1;
		sock = connect_any(to, list, timeout);
		err = errno;
		freeaddrinfo(list);
	}
	if (sock < 0)
		return fail("cannot connect to %s: %s. Does \"migrate-fast recv\" listen there?",
			    to, strerror(err));
	return sock;
}

void address_of_peer(int sock, char *name, size_t size)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	char host[64], port[16];

	if (getpeername(sock, (struct sockaddr *)&addr, &len) ||
	    getnameinfo((struct sockaddr *)&addr, len, host, sizeof(host),
			port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(name, size, "the source");
	else
		snprintf(name, size, "%s port %s", host, port);
}

static int listen_one(const struct addrinfo *ai)
{
	int sock, one = 1, zero = 0, err;

	sock = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
		      ai->ai_protocol);
	if (sock < 0)
		return -1;
	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(sock, IPPROTO_IPV6, IPV6_V6ONLY, &zero,
			   sizeof(zero));
	if (bind(sock, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(sock, 4) == 0)
		return sock;
	err = errno;
	close(sock);
	errno = err;
	return -1;
}

int address_listen(const char *at)
{
	static const int families[] = { AF_INET6, AF_INET };
	struct addrinfo *list, *ai;
	int sock = -1;
	size_t i;

	if (look_up(at, true, &list))
		return -1;
	/* IPv6 first: its wildcard takes both. */
	for (i = 0; i < 2; i++)
		for (ai = list; ai && sock < 0; ai = ai->ai_next)
			if (ai->ai_family == families[i])
				sock = listen_one(ai);
	freeaddrinfo(list);
	if (sock < 0)
		return fail("cannot listen on %s: %s", at, strerror(errno));
	return sock;
}
