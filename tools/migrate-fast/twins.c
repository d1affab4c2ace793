// SPDX-License-Identifier: GPL-2.0
/* Equal pages of the VM; see twins.h. */
#include <stdlib.h>

#include "../lib/say.h"
#include "twins.h"

/* Slots that a digest may take, one after the other. */
#define WAYS	4

void twins_init(struct twins *twins, uint64_t pages)
{
	uint64_t slots = WAYS;

	while (slots < pages && slots < UINT32_MAX)
		slots *= 2;
	twins->mask = slots - 1;
	twins->slots = need(calloc(slots, sizeof(*twins->slots)));
}

void twins_free(struct twins *twins)
{
	free(twins->slots);
	twins->slots = NULL;
}

static uint32_t *slot(const struct twins *twins, uint64_t xxh64,
		      unsigned int way)
{
	return &twins->slots[(xxh64 + way) & twins->mask];
}

void twins_add(struct twins *twins, uint64_t xxh64, uint64_t page)
{
	unsigned int way;

	/* A VM of 16 TiB and more does without the rest. */
	if (page >= UINT32_MAX)
		return;
	/* The latest are the likeliest: who has no room left makes it. */
	for (way = 0; way < WAYS - 1 && *slot(twins, xxh64, way); way++)
		if (*slot(twins, xxh64, way) == page + 1)
			return;
	*slot(twins, xxh64, way) = (uint32_t)page + 1;
}

bool twins_find(const struct twins *twins, uint64_t xxh64,
		bool (*is_it)(void *arg, uint64_t page), void *arg)
{
	unsigned int way;

	for (way = 0; way < WAYS; way++) {
		uint32_t page = *slot(twins, xxh64, way);

		if (page && is_it(arg, page - 1))
			return true;
	}
	return false;
}
