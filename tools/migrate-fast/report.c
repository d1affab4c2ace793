// SPDX-License-Identifier: GPL-2.0
/* The result of a migration; see report.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../lib/say.h"
#include "../lib/size.h"
#include "report.h"

/* Milliseconds with three digits after the point are enough. */
static double tidy(double ms)
{
	return round(ms * 1000) / 1000;
}

static json_t *classes(const struct classes *pages)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "zero", (json_int_t)pages->zero,
			 "unchanged", (json_int_t)pages->unchanged,
			 "reference", (json_int_t)pages->reference,
			 "copy", (json_int_t)pages->copy,
			 "delta", (json_int_t)pages->delta,
			 "compressed", (json_int_t)pages->compressed,
			 "raw", (json_int_t)pages->raw);
}

/* How many pages were dirty so many ms after it had begun. */
static json_t *written(const struct curve *curve)
{
	json_t *points = json_array();
	unsigned int i;

	for (i = 0; i < CURVE_POINTS; i++) {
		const struct curve_point *point = &curve->points[i];

		if (curve_is_new(curve, i))
			json_array_append_new(points, json_pack("[f, I]",
					      tidy(point->ms),
					      (json_int_t)point->pages));
	}
	return points;
}

json_t *report_round(const struct round *round)
{
	json_t *json = classes(&round->pages);

	json_object_set_new(json, "round", json_integer(round->number));
	json_object_set_new(json, "stopped", json_boolean(round->stopped));
	json_object_set_new(json, "dirty",
			    json_integer((json_int_t)round->dirty));
	json_object_set_new(json, "postponed",
			    json_integer((json_int_t)round->postponed));
	json_object_set_new(json, "wire_bytes",
			    json_integer((json_int_t)round->wire_bytes));
	json_object_set_new(json, "ms", json_real(tidy(round->ms)));
	json_object_set_new(json, "dirty_after",
			    json_integer((json_int_t)round->left));
	json_object_set_new(json, "throttle", json_integer(round->throttle));
	if (round->stopped)
		return json;
	json_object_set_new(json, "written", written(&round->curve));
	json_object_set_new(json, "next_dirty_after",
			    json_integer((json_int_t)round->next_left));
	json_object_set_new(json, "predicted_downtime_ms",
			    json_real(tidy(round->predicted_ms)));
	return json;
}

static const char *result_name(enum result result)
{
	switch (result) {
	case RESULT_MOVED:
		return "moved";
	case RESULT_UNKNOWN:
		return "unknown";
	case RESULT_SPLIT:
		return "split";
	default:
		return "failed";
	}
}

static json_t *report_parts(const struct stats *stats)
{
	static const char *const names[PARTS] = {
		[PART_STOP] = "stop",
		[PART_RAM] = "ram",
		[PART_VERIFY] = "verify",
		[PART_LOAD] = "load",
		[PART_COMMIT] = "commit",
	};
	json_t *parts = json_object();
	unsigned int i;

	for (i = 0; i < PARTS; i++)
		json_object_set_new(parts, names[i],
				    json_real(tidy(stats->part_ms[i])));
	return parts;
}

/* The part of what was pushed after a fault that the guest went past. */
static double hit_rate(const struct supplied *supplied)
{
	return supplied->judged ?
	       (double)supplied->hits / (double)supplied->judged : 0;
}

/* How memory has followed the VM. */
static json_t *report_supplied(const struct stats *stats)
{
	const struct supplied *supplied = &stats->supplied;
	json_t *json;

	json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:i, s:f}",
			 "stale", (json_int_t)supplied->stale,
			 "pulled", (json_int_t)supplied->pulled,
			 "pushed", (json_int_t)supplied->pushed,
			 "zero", (json_int_t)supplied->zero,
			 "copied", (json_int_t)supplied->copied,
			 "prepaged", (json_int_t)supplied->prepaged,
			 "prepage_hit_rate", hit_rate(supplied),
			 "rejoined", (int)supplied->rejoined,
			 "ms", tidy(supplied->ms));
	if (stats->arrived)
		json_object_update(json, stats->arrived);
	return json;
}

static unsigned int most_throttled(const struct stats *stats)
{
	unsigned int most = 0, i;

	for (i = 0; i < stats->nr_rounds; i++)
		if (stats->rounds[i].throttle > most)
			most = stats->rounds[i].throttle;
	return most;
}

json_t *report_json(const struct stats *stats)
{
	json_t *json, *pages, *rounds = json_array();
	unsigned int i;

	for (i = 0; i < stats->nr_rounds; i++)
		json_array_append_new(rounds, report_round(&stats->rounds[i]));
	pages = classes(&stats->pages);
	json_object_set_new(pages, "total",
			    json_integer((json_int_t)stats->total_pages));
	json = json_pack("{s:s, s:s, s:s, s:b, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:o, s:o}",
			 "result", result_name(stats->result),
			 "mode", stats->mode,
			 "session", stats->session,
			 "verified", stats->verified,
			 "total_ms", tidy(stats->total_ms),
			 "downtime_ms", tidy(stats->downtime_ms),
			 "verify_ms", tidy(stats->part_ms[PART_VERIFY]),
			 "wire_bytes", (json_int_t)stats->wire_bytes,
			 "back_bytes", (json_int_t)stats->back_bytes,
			 "device_state_bytes", (json_int_t)stats->device_bytes,
			 "postponed", (json_int_t)stats->postponed,
			 "pages", pages,
			 "rounds", rounds);
	if (!json)
		return NULL;
	json_object_set_new(json, "copy_ms", json_real(tidy(stats->copy_ms)));
	json_object_set_new(json, "throttle",
			    json_integer(most_throttled(stats)));
	json_object_set_new(json, "missed",
			    json_integer((json_int_t)stats->missed));
	json_object_set_new(json, "unchanged_missed",
			    json_integer((json_int_t)stats->unchanged_missed));
	json_object_set_new(json, "delta_missed",
			    json_integer((json_int_t)stats->delta_missed));
	if (stats->source)
		json_object_set(json, "source", stats->source);
	if (stats->taken)
		json_object_set(json, "taken", stats->taken);
	json_object_set_new(json, "saved", json_pack("{s:I, s:f}",
			"bytes", (json_int_t)stats->saved_bytes,
			"ms", tidy(stats->saved_ms)));
	json_object_set_new(json, "working_set",
			    json_integer((json_int_t)stats->working_set));
	json_object_set_new(json, "sent_twice",
			    json_integer((json_int_t)stats->sent_twice));
	json_object_set_new(json, "sent_more",
			    json_integer((json_int_t)stats->sent_more));
	if (stats->supplied.used)
		json_object_set_new(json, "postcopy", report_supplied(stats));
	if (stats->supplied.used && stats->verified) {
		json_object_set_new(json, "verify_after_ms",
				    json_real(tidy(stats->verify_after_ms)));
		json_object_set_new(json, "verify_written", json_integer(
				    (json_int_t)stats->verify_written));
	}
	if (json && stats->stopped)
		json_object_set_new(json, "downtime_parts_ms",
				    report_parts(stats));
	if (json && stats->result == RESULT_STRANDED)
		json_object_set_new(json, "source_runs", json_false());
	if (json && stats->error)
		json_object_set_new(json, "error", json_string(stats->error));
	return json;
}

int report_write(const struct stats *stats, const char *path)
{
	json_t *json = report_json(stats);
	int ret = 0;

	if (!json || json_dump_file(json, path, JSON_INDENT(2) |
				    JSON_REAL_PRECISION(12))) {
		note("cannot write the report to %s: %s", path,
		     strerror(errno));
		ret = -1;
	}
	json_decref(json);
	return ret;
}

static json_int_t number(const json_t *json, const char *name)
{
	return json_integer_value(json_object_get(json, name));
}

static void print_supplied(const struct stats *stats)
{
	const struct supplied *supplied = &stats->supplied;
	const json_t *us = json_object_get(stats->arrived, "fault_us");
	const json_t *lazy = json_object_get(stats->arrived, "lazy");

	printf("  followed        %llu pages in %.2f s: %llu pulled, %llu pushed (%llu of them after faults nearby, %.0f%% of those rightly); %llu were zero, %llu equal to others\n",
	       (unsigned long long)(supplied->pulled + supplied->pushed),
	       supplied->ms / 1000, (unsigned long long)supplied->pulled,
	       (unsigned long long)supplied->pushed,
	       (unsigned long long)supplied->prepaged, 100 * hit_rate(supplied),
	       (unsigned long long)supplied->zero,
	       (unsigned long long)supplied->copied);
	printf("  faults          %lld, %lld of them while the guest could go on; waited %.1f ms (half of them), %.1f (95%%), %.1f (99%%), %.1f at most\n",
	       (long long)number(stats->arrived, "faults"),
	       (long long)number(stats->arrived, "went_on"),
	       (double)number(us, "p50") / 1000,
	       (double)number(us, "p95") / 1000,
	       (double)number(us, "p99") / 1000,
	       (double)number(us, "max") / 1000);
	if (lazy)
		printf("  read lazily     %lld pages, of %lld that its disks were thought to have\n",
		       (long long)number(lazy, "kept"),
		       (long long)number(lazy, "promised"));
	printf("  sent twice      %llu pages; more often %llu\n",
	       (unsigned long long)stats->sent_twice,
	       (unsigned long long)stats->sent_more);
}

/* What need not travel, and where it was. */
static void print_taken(const struct stats *stats)
{
	const char *name;
	json_t *pages;

	printf("  known there    ");
	json_object_foreach(stats->taken, name, pages)
		printf(" %s %lld,", name,
		       (long long)json_integer_value(pages));
	printf(" missed %llu\n", (unsigned long long)stats->missed);
}

static void print_saved(const struct stats *stats)
{
	printf("  saved           %s", size_text((double)stats->saved_bytes));
	if (stats->saved_ms > 0)
		printf(", which this line carries in %.1f s",
		       stats->saved_ms / 1000);
	puts("");
}

/* Of the time before the stop, and of the downtime. */
static void print_stages(const struct stats *stats)
{
	const double *ms = stats->part_ms;

	printf("  stages          copied for %.2f s; stopping %.0f ms, last pages %.0f ms, device state %.0f ms, commit %.0f ms\n",
	       stats->copy_ms / 1000, ms[PART_STOP], ms[PART_RAM],
	       ms[PART_LOAD], ms[PART_COMMIT]);
}

void report_text(const struct stats *stats, bool json)
{
	const struct classes *pages = &stats->pages;

	switch (stats->result) {
	case RESULT_UNKNOWN:
	case RESULT_SPLIT:
		note("%s", stats->error);
		return;
	case RESULT_STRANDED:
		note("failed: %s. THE VM DOES NOT RUN at the source either",
		     stats->error);
		return;
	case RESULT_FAILED:
		note("failed: %s", stats->error);
		if (stats->was_running)
			note("the VM runs on at the source");
		return;
	case RESULT_MOVED:
		break;
	}
	if (json)
		return;
	printf("The VM has moved: %.2f s in all, downtime %.0f ms%s.\n",
	       stats->total_ms / 1000, stats->downtime_ms,
	       stats->verified ? ", memory verified page by page" : "");
	print_stages(stats);
	if (stats->verified && stats->supplied.used)
		printf("  verification    %.0f ms, while the VM ran: all but %llu pages that it has written since\n",
		       stats->verify_after_ms,
		       (unsigned long long)stats->verify_written);
	else if (stats->verified)
		printf("  verification    %.0f ms of the downtime\n",
		       stats->part_ms[PART_VERIFY]);
	printf("  memory          %s, %llu pages, %u rounds\n",
	       size_text((double)stats->total_pages * 4096),
	       (unsigned long long)stats->total_pages, stats->nr_rounds);
	printf("  pages           zero %llu, unchanged %llu, reference %llu, copy %llu, delta %llu, compressed %llu, raw %llu, postponed %llu\n",
	       (unsigned long long)pages->zero,
	       (unsigned long long)pages->unchanged,
	       (unsigned long long)pages->reference,
	       (unsigned long long)pages->copy,
	       (unsigned long long)pages->delta,
	       (unsigned long long)pages->compressed,
	       (unsigned long long)pages->raw,
	       (unsigned long long)stats->postponed);
	if (stats->pages.reference)
		print_taken(stats);
	if (stats->working_set)
		printf("  working set     %llu pages were written in both of the last rounds\n",
		       (unsigned long long)stats->working_set);
	if (most_throttled(stats))
		printf("  slowed          by up to %u%% (--throttle)\n",
		       most_throttled(stats));
	if (stats->supplied.used)
		print_supplied(stats);
	if (stats->saved_bytes)
		print_saved(stats);
	printf("  on the wire     %s, of it device state %s\n",
	       size_text((double)stats->wire_bytes),
	       size_text((double)stats->device_bytes));
}
