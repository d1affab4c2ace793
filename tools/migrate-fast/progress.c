// SPDX-License-Identifier: GPL-2.0
/* Shows how a migration goes; see progress.h. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "progress.h"
#include "report.h"

#define BAR	24
#define DRAW_NS	(200 * NSEC_PER_MSEC)

static struct progress *shown;

static void wipe(void)
{
	if (shown && shown->line) {
		fputs("\r\033[K", stderr);
		shown->line = false;
	}
}

static void measure(struct progress *progress, uint64_t now)
{
	double seconds, rate;

	if (now - progress->rate_at < 500 * NSEC_PER_MSEC)
		return;
	seconds = (double)(now - progress->rate_at) / NSEC_PER_SEC;
	rate = (double)(*progress->wire - progress->rate_bytes) / seconds;
	progress->rate = progress->rate > 0 ?
			 progress->rate * 0.6 + rate * 0.4 : rate;
	progress->rate_at = now;
	progress->rate_bytes = *progress->wire;
}

/* Pages of the last round that the VM wrote, in bytes per second. */
static double dirty_rate(const struct round *round)
{
	return round->ms > 0 ? (double)round->left * 4096 / round->ms * 1000 : 0;
}

/* A line that wraps could not be drawn over. */
static int columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || !size.ws_col)
		return 80;
	return size.ws_col;
}

static void draw(struct progress *progress, uint64_t now)
{
	const struct stats *stats = progress->stats;
	/* The last round of those is under way. */
	const struct round *last = stats->nr_rounds > 1 ?
				   &stats->rounds[stats->nr_rounds - 2] : NULL;
	double elapsed = (double)(now - stats->started) / NSEC_PER_SEC;
	int filled = (int)(progress->percent / 100 * BAR);
	char bar[BAR + 1], dirty[80] = "", eta[32] = "", line[256];
	char slowed[24] = "";

	memset(bar, '-', BAR);
	memset(bar, '#', (size_t)filled);
	bar[BAR] = 0;
	if (last && !last->stopped)
		snprintf(dirty, sizeof(dirty), "  dirtied %s/s  downtime ~%.0f ms",
			 size_text(dirty_rate(last)), last->predicted_ms);
	if (last && last[1].throttle)
		snprintf(slowed, sizeof(slowed), "  slowed %u%%",
			 last[1].throttle);
	if (progress->percent >= 1 && progress->percent < 100)
		snprintf(eta, sizeof(eta), "  ETA %.0f s",
			 elapsed * (100 - progress->percent) /
			 progress->percent);
	snprintf(line, sizeof(line), "%s [%s] %3.0f%%  round %u  %s/s%s%s%s",
		 progress->phase, bar, progress->percent, stats->nr_rounds,
		 size_text(progress->rate), slowed, eta, dirty);
	fprintf(stderr, "\r\033[K%.*s", columns() - 1, line);
	fflush(stderr);
	progress->line = true;
}

static int tick(struct ticker *ticker, uint64_t now)
{
	struct progress *progress = ticker->arg;

	measure(progress, now);
	if (!progress->tty || now - progress->drawn < DRAW_NS)
		return 0;
	progress->drawn = now;
	draw(progress, now);
	return 0;
}

void progress_start(struct progress *progress, const struct stats *stats,
		    const uint64_t *wire, bool json)
{
	*progress = (struct progress){
		.stats = stats,
		.json = json,
		.tty = !json && isatty(STDERR_FILENO),
		.wire = wire,
		.rate_at = now_ns(),
		.phase = "copying",
		.ticker = { .tick = tick, .arg = progress },
	};
	shown = progress;
	say_hook(wipe);
	loop_add_ticker(&progress->ticker);
	if (json)
		say_event(json_pack("{s:s, s:s, s:s, s:I}", "event", "start",
				"session", stats->session, "mode", stats->mode,
				"pages", (json_int_t)stats->total_pages));
	else
		note("session %s", stats->session);
}

void progress_done(struct progress *progress, uint64_t pages)
{
	double percent = 100.0 * (double)pages /
			 (double)progress->stats->total_pages;

	/* 100 is when the VM runs over there. */
	if (percent > 99)
		percent = 99;
	if (percent > progress->percent)
		progress->percent = percent;
}

void progress_phase(struct progress *progress, const char *phase)
{
	progress->phase = phase;
	if (progress->json)
		say_event(json_pack("{s:s, s:s}", "event", "phase", "phase",
				phase));
}

void progress_round(struct progress *progress, const struct round *round)
{
	json_t *json;

	measure(progress, now_ns());
	if (progress->json) {
		json = report_round(round);
		json_object_set_new(json, "event", json_string("round"));
		json_object_set_new(json, "percent",
				    json_real(progress->percent));
		say_event(json);
		return;
	}
	wipe();
	fprintf(stderr, "round %2u%s: %llu pages: zero %llu, unchanged %llu, reference %llu, copy %llu, delta %llu, compressed %llu, raw %llu, postponed %llu; %s in %.0f ms",
		round->number, round->stopped ? " (stopped)" : "",
		(unsigned long long)round->dirty,
		(unsigned long long)round->pages.zero,
		(unsigned long long)round->pages.unchanged,
		(unsigned long long)round->pages.reference,
		(unsigned long long)round->pages.copy,
		(unsigned long long)round->pages.delta,
		(unsigned long long)round->pages.compressed,
		(unsigned long long)round->pages.raw,
		(unsigned long long)round->postponed,
		size_text((double)round->wire_bytes), round->ms);
	if (!round->stopped)
		fprintf(stderr, "; dirty again %llu (%s/s), downtime now ~%.0f ms, %.0f%%",
			(unsigned long long)round->left,
			size_text(dirty_rate(round)), round->predicted_ms,
			progress->percent);
	if (round->throttle)
		fprintf(stderr, "; slowed by %u%%", round->throttle);
	fputc('\n', stderr);
}

void progress_end(struct progress *progress)
{
	const struct stats *stats = progress->stats;
	json_t *json;

	if (!shown)
		return;
	if (stats->result == RESULT_MOVED)
		progress->percent = 100;
	if (progress->tty && stats->result == RESULT_MOVED) {
		draw(progress, now_ns());
		fputc('\n', stderr);
		progress->line = false;
	}
	wipe();
	loop_del_ticker(&progress->ticker);
	shown = NULL;
	if (progress->json) {
		json = report_json(stats);
		json_object_set_new(json, "event", json_string("result"));
		say_event(json);
	}
}
