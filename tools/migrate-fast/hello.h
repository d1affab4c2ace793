/* SPDX-License-Identifier: GPL-2.0 */
/* What the two ends tell each other of their VMs before anything is copied. */
#ifndef HELLO_H
#define HELLO_H

#include <jansson.h>

#include "vm.h"

#define HELLO_SESSION	33	/* 32 hex digits and NUL */

/* A random name for a session. */
void hello_session(char session[HELLO_SESSION]);
/* Is it one? Names of files are made of it. */
bool hello_is_session(const char *text);
/* Describes @vm; more can be added to the object. */
json_t *hello_describe(const struct vm *vm, const char *session);
/* Parses a payload that nobody vouches for. NULL after fail(). */
json_t *hello_parse(const void *payload, size_t length, const char *peer);
/*
 * Can the VM that @hello describes move between there and @vm? 0, or -1
 * after fail() with all that does not fit.
 */
int hello_compare(const struct vm *vm, const json_t *hello, const char *peer);

/* The same of the RAM files only. */
int hello_compare_ram(const struct vm *vm, const json_t *hello,
		      const char *peer);

/* Is the QEMU that @hello describes older than that of @vm? */
bool hello_is_older(const struct vm *vm, const json_t *hello);

#endif /* HELLO_H */
