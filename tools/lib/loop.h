/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The event loop: everything that waits, waits here, so that signs of life
 * are sent, lost peers noticed, progress drawn and signals heeded whatever
 * the program is busy with. One thread.
 */
#ifndef LOOP_H
#define LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define NSEC_PER_MSEC	1000000ULL
#define NSEC_PER_SEC	1000000000ULL

struct watch {
	int fd;
	short events;
	/* Returns 0, or -1 after fail(). May change .events or remove itself. */
	int (*ready)(struct watch *watch, short revents);
	void *arg;
	struct watch *next;
};

struct ticker {
	/* Called often, at least each 200 ms. Returns 0, or -1 after fail(). */
	int (*tick)(struct ticker *ticker, uint64_t now);
	void *arg;
	struct ticker *next;
};

/* CLOCK_MONOTONIC. */
uint64_t now_ns(void);
static inline double ms_since(uint64_t start)
{
	return (double)(now_ns() - start) / 1e6;
}

/* Installs the handlers of SIGINT, SIGTERM and SIGHUP; ignores SIGPIPE. */
void loop_signals(void);
/* From here on signals do not cancel (resuming, or past the commit). */
void loop_uncancellable(bool yes);
/* The signal that asked to end, or 0. */
int loop_signal(void);

void loop_add(struct watch *watch);
void loop_del(struct watch *watch);
/* Forgets all watches and tickers. */
void loop_reset(void);
void loop_add_ticker(struct ticker *ticker);
void loop_del_ticker(struct ticker *ticker);

/* Waits for events at most @ms and handles them. 0, or -1 after fail(). */
int loop_once(int ms);
/* Handles what is there; for those who compute for long. */
static inline int loop_check(void)
{
	return loop_once(0);
}

/*
 * Goes on until @done(@arg) or @ms have passed (0: no limit). Returns 0, -1
 * after fail(), 1 when time was up: the caller says what that means.
 */
int loop_until(bool (*done)(void *arg), void *arg, unsigned int ms);
int loop_sleep(uint64_t ns);

#endif /* LOOP_H */
