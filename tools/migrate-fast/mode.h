/* SPDX-License-Identifier: GPL-2.0 */
/* Ways of copying memory: which pages travel before the VM moves. */
#ifndef MODE_H
#define MODE_H

#include <stdbool.h>

enum mode {
	MODE_AUTO,		/* pre-copy; hybrid if that does not converge */
	MODE_PRECOPY,		/* all */
	MODE_POSTCOPY,		/* none */
	MODE_THREE_STAGE,	/* each once */
	MODE_HYBRID,		/* as many as rounds bring over */
	MODES
};

const char *mode_name(enum mode mode);
/* MODES if there is no such mode. */
enum mode mode_find(const char *name);
/* May the VM run over there before all of its memory is there? */
static inline bool mode_may_split(enum mode mode)
{
	return mode != MODE_PRECOPY;
}

#endif /* MODE_H */
