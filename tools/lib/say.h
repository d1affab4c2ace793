/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What goes wrong, and telling so.
 *
 * A function that cannot do its work calls fail() and returns -1. The first
 * failure is the cause and is kept; what fails while cleaning up after it is
 * only noted. Every text says what is wrong, where, and what to do.
 */
#ifndef SAY_H
#define SAY_H

#include <jansson.h>
#include <stdbool.h>

/* Keeps the text if it is the first; always returns -1. */
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* NULL if nothing has failed. */
const char *fail_text(void);
/*
 * The text, to be freed by the caller, and a clean slate: what fails from
 * here on is a failure of its own.
 */
char *fail_take(void);

/* One line for the operator, on stderr or, with --json, as an event. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A line of JSON on stdout; steals @event. */
void say_event(json_t *event);
/* Where note() goes. */
void say_set(bool json);
/* Called before and after a line is written over a progress bar. */
void say_hook(void (*before)(void));

/* Allocation that ends the program when there is none: 24 bytes or so. */
void *need(void *memory);

#endif /* SAY_H */
