/* SPDX-License-Identifier: GPL-2.0 */
/* Words that stand for numbers, as options and files have them. */
#ifndef WORD_H
#define WORD_H

#include <string.h>

/* The place of @text, which may be NULL, among @n words; @n if it is none of them. */
static inline unsigned int word_find(const char *const *words, unsigned int n,
				     const char *text)
{
	unsigned int i;

	for (i = 0; text && i < n; i++)
		if (!strcmp(words[i], text))
			return i;
	return n;
}

#endif /* WORD_H */
