/* SPDX-License-Identifier: GPL-2.0 */
#ifndef EXITS_H
#define EXITS_H

/* Exit status; the man page and --help tell them too. */
enum exit_status {
	EXIT_MOVED = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_UNKNOWN = 3,
	EXIT_STRANDED = 4,
	EXIT_SPLIT = 5,
};

#endif /* EXITS_H */
