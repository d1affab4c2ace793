/* SPDX-License-Identifier: GPL-2.0 */
/* The result of a migration, for machines and for people. */
#ifndef REPORT_H
#define REPORT_H

#include <jansson.h>

#include "stats.h"

json_t *report_round(const struct round *round);
/* Everything; to be released by the caller. */
json_t *report_json(const struct stats *stats);
/* Writes it to a file. Returns 0, or -1 after note(). */
int report_write(const struct stats *stats, const char *path);
/* For people: why it failed, or, unless @json, the figures. */
void report_text(const struct stats *stats, bool json);

#endif /* REPORT_H */
