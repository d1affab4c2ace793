// SPDX-License-Identifier: GPL-2.0
/* Ways of copying memory; see mode.h. */
#include "../lib/word.h"
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

enum mode mode_find(const char *name)
{
	return word_find(names, MODES, name);
}
