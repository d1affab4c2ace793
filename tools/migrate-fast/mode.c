// SPDX-License-Identifier: GPL-2.0
/* Ways of copying memory; see mode.h. */
#include <stddef.h>
#include <string.h>

#include "mode.h"

static const char *const names[] = {
	[MODE_AUTO] = "auto",
	[MODE_PRECOPY] = "precopy",
	[MODE_POSTCOPY] = "postcopy",
	[MODE_THREE_STAGE] = "three-stage",
	[MODE_HYBRID] = "hybrid",
};

const char *mode_name(enum mode mode)
{
	return names[mode];
}

int mode_parse(const char *text, enum mode *mode)
{
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], text))
			continue;
		*mode = (enum mode)i;
		return 0;
	}
	return -1;
}
