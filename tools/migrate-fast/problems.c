// SPDX-License-Identifier: GPL-2.0
/* What is in the way; see problems.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/mf.h"
#include "../lib/say.h"
#include "problems.h"

void problem(struct problems *problems, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	problems->text = need(realloc(problems->text, (problems->n + 1) *
				      sizeof(*problems->text)));
	problems->text[problems->n++] = need(text);
}

void problems_free(struct problems *problems)
{
	unsigned int i;

	for (i = 0; i < problems->n; i++)
		free(problems->text[i]);
	free(problems->text);
	problems->text = NULL;
	problems->n = 0;
}

void problem_module(struct problems *problems, int err,
		    const struct migrate_fast_handshake *shake,
		    uint64_t features)
{
	switch (-err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		problem(problems, "%s is missing: load the module (modprobe migrate_fast); if there is none for this kernel: dkms status, make dkms",
			MIGRATE_FAST_DEVICE);
		break;
	case EACCES:
	case EPERM:
		problem(problems, "no permission for %s: run as root (CAP_SYS_ADMIN)",
			MIGRATE_FAST_DEVICE);
		break;
	case EPROTONOSUPPORT:
		if (shake->abi != MIGRATE_FAST_ABI)
			problem(problems, "module and tool do not fit: the module speaks ABI %u, this tool %u; install both from one release",
				shake->abi, MIGRATE_FAST_ABI);
		else
			problem(problems, "the module lacks features %#" PRIx64 " that this tool needs: install both from one release, then reload it (rmmod migrate_fast; modprobe migrate_fast)",
				(uint64_t)(features & ~shake->features));
		break;
	default:
		problem(problems, "cannot open %s: %s", MIGRATE_FAST_DEVICE,
			strerror(-err));
	}
}
