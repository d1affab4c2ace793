// SPDX-License-Identifier: GPL-2.0
/* What goes wrong, and telling so; see say.h. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "say.h"

static char failure[2048];
static bool has_failed;
static bool say_json;
static void (*say_before)(void);

/* Parts may come from the other side: nothing for the terminal. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

int fail(const char *format, ...)
{
	va_list args;

	if (has_failed)
		return -1;
	has_failed = true;
	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	make_printable(failure);
	return -1;
}

const char *fail_text(void)
{
	return has_failed ? failure : NULL;
}

char *fail_take(void)
{
	char *text = need(strdup(has_failed ? failure : "unknown failure"));

	has_failed = false;
	return text;
}

void say_set(bool json)
{
	say_json = json;
}

void say_hook(void (*before)(void))
{
	say_before = before;
}

void say_event(json_t *event)
{
	if (!event)
		return;
	json_dumpf(event, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
	putchar('\n');
	fflush(stdout);
	json_decref(event);
}

void note(const char *format, ...)
{
	char text[2304];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	make_printable(text);
	if (say_json) {
		say_event(json_pack("{s:s, s:s}", "event", "note", "text",
				    text));
		return;
	}
	if (say_before)
		say_before();
	fprintf(stderr, "migrate-fast: %s\n", text);
}

void *need(void *memory)
{
	if (memory)
		return memory;
	fprintf(stderr, "migrate-fast: out of memory\n");
	exit(1);
}
