// SPDX-License-Identifier: GPL-2.0
/* Shows how far work on a source has come; see meter.h. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../lib/loop.h"
#include "../lib/say.h"
#include "../lib/size.h"
#include "blocks.h"
#include "meter.h"

#define BAR	24
#define TTY_NS	(200 * NSEC_PER_MSEC)
#define JSON_NS	NSEC_PER_SEC

void meter_start(struct meter *meter, const char *what, const char *name,
		 bool json)
{
	*meter = (struct meter){
		.what = what,
		.name = name,
		.json = json,
		.tty = !json && isatty(STDERR_FILENO),
		.started = now_ns(),
		.shown = now_ns(),
	};
}

static void draw(struct meter *meter, uint64_t done, uint64_t all)
{
	double part = all ? (double)done / (double)all : 1;
	double seconds = (double)(meter->shown - meter->started) / 1e9;
	double rate = seconds > 0 ? (double)done * BLOCK_BYTES / seconds : 0;
	char bar[BAR + 1];

	memset(bar, '-', BAR);
	memset(bar, '#', (size_t)(part * BAR));
	bar[BAR] = 0;
	/* Nobody knows how much comes out of a pipe. */
	if (all)
		fprintf(stderr, "\r\033[K%s %.24s [%s] %3.0f%%  %s/s",
			meter->what, meter->name, bar, part * 100,
			size_text(rate));
	else
		fprintf(stderr, "\r\033[K%s %.24s  %s  %s/s", meter->what,
			meter->name, size_text((double)done * BLOCK_BYTES),
			size_text(rate));
	if (all && part > 0.01)
		fprintf(stderr, "  ETA %.0f s", seconds * (1 - part) / part);
	fflush(stderr);
}

int meter_step(void *arg, uint64_t done, uint64_t all)
{
	struct meter *meter = arg;
	uint64_t now = now_ns();

	if (meter->tty && now - meter->shown >= TTY_NS) {
		meter->shown = now;
		draw(meter, done, all);
	}
	if (meter->json && now - meter->shown >= JSON_NS) {
		meter->shown = now;
		say_event(json_pack("{s:s, s:s, s:s, s:I, s:I}", "event",
				    "progress", "what", meter->what, "source",
				    meter->name, "done", (json_int_t)done,
				    "blocks", (json_int_t)all));
	}
	return loop_check();
}

double meter_end(struct meter *meter)
{
	if (meter->tty)
		fputs("\r\033[K", stderr);
	return (double)(now_ns() - meter->started) / 1e9;
}
