// SPDX-License-Identifier: GPL-2.0
/* migrate-fast status: what the module does here right now. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/migrate_fast.h>

#include "../lib/say.h"
#include "options.h"

#define SESSIONS	"/sys/kernel/debug/migrate-fast/sessions"

static int show(void)
{
	FILE *file = fopen(SESSIONS, "re");
	bool any = false;
	char line[4096];

	if (!file && errno == ENOENT && access(MIGRATE_FAST_DEVICE, F_OK))
		return fail("%s is missing: load the module (modprobe migrate_fast)",
			    MIGRATE_FAST_DEVICE);
	if (!file && errno == ENOENT)
		return fail("%s is missing: mount debugfs (mount -t debugfs none /sys/kernel/debug); if it is mounted, module and tool are of different releases",
			    SESSIONS);
	if (!file)
		return fail("cannot open %s: %s", SESSIONS, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		any = true;
		fputs(line, stdout);
	}
	fclose(file);
	if (!any)
		puts("no session: nothing is tracked, sent or served here");
	return 0;
}

int cmd_status(const struct options *options)
{
	(void)options;
	if (!show())
		return 0;
	fprintf(stderr, "migrate-fast: %s\n", fail_text());
	return EXIT_FAILED;
}
