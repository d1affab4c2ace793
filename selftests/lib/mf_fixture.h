/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fixtures of many programs have in common.
 */
#ifndef MF_FIXTURE_H
#define MF_FIXTURE_H

/* Each test twice: with the RAM file in small and in large pages. */
#define MF_SMALL_AND_HUGE(_fixture) \
	FIXTURE_VARIANT(_fixture) \
	{ \
		const char *options; \
	}; \
	FIXTURE_VARIANT_ADD(_fixture, small) \
	{ \
		.options = "huge=never", \
	}; \
	FIXTURE_VARIANT_ADD(_fixture, huge) \
	{ \
		.options = "huge=always", \
	}

#endif
