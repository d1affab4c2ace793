// SPDX-License-Identifier: GPL-2.0
/* The event loop; see loop.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "loop.h"
#include "say.h"

#define MAX_WATCHES	16
#define TICK_MS		200

static struct watch *watches;
static struct ticker *tickers;
static volatile sig_atomic_t got_signal;
static bool uncancellable;
static sigset_t wait_mask;

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

static void on_signal(int sig)
{
	got_signal = sig;
}

/* Signals are blocked except inside ppoll(): none is missed between. */
void loop_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t block;
	unsigned int i;

	sigemptyset(&block);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		sigaction(signals[i], &action, NULL);
		sigaddset(&block, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &block, &wait_mask);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigdelset(&wait_mask, signals[i]);
	signal(SIGPIPE, SIG_IGN);
	/* Nobody would let the VM run on that waits for us. */
	signal(SIGTSTP, SIG_IGN);
	signal(SIGTTIN, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
}

void loop_uncancellable(bool yes)
{
	uncancellable = yes;
}

int loop_signal(void)
{
	return got_signal;
}

void loop_add(struct watch *watch)
{
	watch->next = watches;
	watches = watch;
}

void loop_del(struct watch *watch)
{
	struct watch **at;

	for (at = &watches; *at; at = &(*at)->next) {
		if (*at == watch) {
			*at = watch->next;
			return;
		}
	}
}

void loop_add_ticker(struct ticker *ticker)
{
	ticker->next = tickers;
	tickers = ticker;
}

void loop_del_ticker(struct ticker *ticker)
{
	struct ticker **at;

	for (at = &tickers; *at; at = &(*at)->next) {
		if (*at == ticker) {
			*at = ticker->next;
			return;
		}
	}
}

void loop_reset(void)
{
	watches = NULL;
	tickers = NULL;
}

static bool is_watched(const struct watch *watch)
{
	const struct watch *at;

	for (at = watches; at; at = at->next)
		if (at == watch)
			return true;
	return false;
}

static int run_tickers(void)
{
	static uint64_t last;
	struct ticker *ticker, *next;
	uint64_t now = now_ns();

	if (now - last < 20 * NSEC_PER_MSEC)
		return 0;
	last = now;
	for (ticker = tickers; ticker; ticker = next) {
		next = ticker->next;
		if (ticker->tick(ticker, now))
			return -1;
	}
	return 0;
}

int loop_once(int ms)
{
	struct pollfd fds[MAX_WATCHES];
	struct watch *who[MAX_WATCHES], *watch;
	struct timespec ts;
	int n = 0, ret, i;

	for (watch = watches; watch && n < MAX_WATCHES; watch = watch->next) {
		/* POLLHUP cannot be masked: leave out who wants nothing. */
		if (!watch->events)
			continue;
		fds[n].fd = watch->fd;
		fds[n].events = watch->events;
		fds[n].revents = 0;
		who[n++] = watch;
	}
	if (ms < 0 || ms > TICK_MS)
		ms = TICK_MS;
	ts.tv_sec = ms / 1000;
	ts.tv_nsec = (long)(ms % 1000) * 1000000;
	ret = ppoll(fds, (nfds_t)n, &ts, &wait_mask);
	if (ret < 0 && errno != EINTR)
		return fail("poll: %s", strerror(errno));
	if (got_signal && !uncancellable)
		return fail("cancelled by %s", strsignal(got_signal));
	for (i = 0; ret > 0 && i < n; i++) {
		/* A handler before may have removed this one. */
		if (!fds[i].revents || !is_watched(who[i]))
			continue;
		if (who[i]->ready(who[i], fds[i].revents))
			return -1;
	}
	return run_tickers();
}

int loop_until(bool (*done)(void *arg), void *arg, unsigned int ms)
{
	uint64_t end = now_ns() + (uint64_t)ms * NSEC_PER_MSEC;

	while (!done(arg)) {
		uint64_t now = now_ns();
		int wait = TICK_MS;

		if (ms && now >= end)
			return 1;
		if (ms && end - now < TICK_MS * NSEC_PER_MSEC)
			wait = (int)((end - now) / NSEC_PER_MSEC) + 1;
		if (loop_once(wait))
			return -1;
	}
	return 0;
}

int loop_sleep(uint64_t ns)
{
	uint64_t end = now_ns() + ns, now;

	for (;;) {
		now = now_ns();
		if (now >= end)
			return 0;
		/* Rounded down and then up: at least one poll, no spinning. */
		if (loop_once((int)((end - now) / NSEC_PER_MSEC) + 1))
			return -1;
	}
}
