// SPDX-License-Identifier: GPL-2.0
/* Numbers with units; see size.h. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "size.h"

int size_parse(const char *text, uint64_t *bytes)
{
	static const char units[] = "kmgt";
	const char *unit;
	double value, factor = 1;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	value = strtod(text, &end);
	if (errno)
		return -1;
	if (*end) {
		unit = strchr(units, tolower((unsigned char)*end));
		if (unit) {
			int power = (int)(unit - units) + 1;
			double base = 1024;

			end++;
			/* Lines are rated in powers of ten. */
			if (!strncasecmp(end, "bit", 3))
				base = 1000;
			while (power--)
				factor *= base;
		}
		if (!strcasecmp(end, "bit"))
			factor /= 8;
		else if (*end && strcasecmp(end, "b") && strcasecmp(end, "ib"))
			return -1;
	}
	value *= factor;
	if (value < 1 || value > 1e18)
		return -1;
	*bytes = (uint64_t)value;
	return 0;
}

int number_parse(const char *text, uint64_t min, uint64_t max,
		 uint64_t *number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -1;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return errno || *end || *number < min || *number > max ? -1 : 0;
}

const char *size_text(double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	static char texts[8][24];
	static unsigned int turn;
	char *text = texts[turn++ % 8];
	unsigned int unit = 0;

	while (bytes >= 1024 && unit < 4) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, sizeof(texts[0]), unit && bytes < 100 ? "%.1f %s" :
		 "%.0f %s", bytes, units[unit]);
	return text;
}
