/* SPDX-License-Identifier: GPL-2.0 */
/* What is in the way of a move, each a sentence that says what to do about it. */
#ifndef PROBLEMS_H
#define PROBLEMS_H

#include <stdint.h>

struct migrate_fast_handshake;

struct problems {
	char **text;
	unsigned int n;
};

void problem(struct problems *problems, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void problems_free(struct problems *problems);
/* What an error of mf_open() means to the operator. */
void problem_module(struct problems *problems, int err,
		    const struct migrate_fast_handshake *shake,
		    uint64_t features);

#endif /* PROBLEMS_H */
