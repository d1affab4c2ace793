/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source: may the destination have a page already? It has told so by a filter
 * (known.h); a page that passes goes as a reference, and whole if that misses.
 */
#ifndef REFER_H
#define REFER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "../store/filter.h"
#include "conn.h"

struct refer {
	struct filter filter;
	uint64_t got;		/* bytes of it */
	uint64_t seed;		/* of XXH64 */
};

/*
 * What WELCOME says of the filter; for a VM of @vm_bytes. 0, or -1 after
 * fail() if that makes no sense.
 */
int refer_begin(struct refer *refer, const json_t *welcome, const char *peer,
		uint64_t vm_bytes);
void refer_free(struct refer *refer);
/* A FILTER frame. 0, or -1 after fail(). */
int refer_filter(struct refer *refer, struct conn *conn,
		 const struct wire_frame *frame, const uint8_t *payload);
/* For loop_until(): is all of it here? */
bool refer_is_told(void *refer);

/* Is it worth to ask for a page with this XXH64? */
static inline bool refer_perhaps(const struct refer *refer, uint64_t xxh64)
{
	return refer->filter.nr_blocks && filter_has(&refer->filter, xxh64);
}

/*
 * Bytes that a filter for a VM of so many bytes may have. More would cost more
 * than it could save: an eighth of a page, at most, for each that is known.
 */
static inline uint64_t refer_budget(uint64_t vm_bytes)
{
	return vm_bytes / 32 + FILTER_BLOCK;
}

#endif /* REFER_H */
