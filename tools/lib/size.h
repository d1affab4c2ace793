/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers with units, as people write and read them. */
#ifndef SIZE_H
#define SIZE_H

#include <stdint.h>

/* "100M", "1.5G", "50Mbit" (bits): bytes. Returns 0, or -1 without fail(). */
int size_parse(const char *text, uint64_t *bytes);
/* An unsigned number from @min to @max. Returns 0, or -1 without fail(). */
int number_parse(const char *text, uint64_t min, uint64_t max,
		 uint64_t *number);
/* "1.2 GiB" in one of a few static buffers. */
const char *size_text(double bytes);

#endif /* SIZE_H */
