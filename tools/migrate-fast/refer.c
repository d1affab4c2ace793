// SPDX-License-Identifier: GPL-2.0
/* May the destination have a page already? See refer.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "refer.h"

int refer_begin(struct refer *refer, const json_t *welcome, const char *peer,
		uint64_t vm_bytes)
{
	json_t *known = json_object_get(welcome, "known");
	json_int_t bytes;
	const char *seed;
	char *end;

	if (!known)
		return 0;
	if (json_unpack(known, "{s:I, s:s}", "bytes", &bytes, "seed", &seed) ||
	    bytes < 0 || bytes % FILTER_BLOCK ||
	    (uint64_t)bytes > refer_budget(vm_bytes))
		return fail("%s announces a filter that makes no sense", peer);
	refer->seed = strtoull(seed, &end, 16);
	if (*end || end == seed)
		return fail("%s announces a filter without a seed", peer);
	filter_init(&refer->filter, (uint64_t)bytes);
	return 0;
}

void refer_free(struct refer *refer)
{
	filter_free(&refer->filter);
}

int refer_filter(struct refer *refer, struct conn *conn,
		 const struct wire_frame *frame, const uint8_t *payload)
{
	uint64_t all = refer->filter.nr_blocks * FILTER_BLOCK;

	if (frame->page != refer->got || !frame->length ||
	    frame->length > all - refer->got)
		return conn_out_of_turn(conn, frame);
	memcpy((uint8_t *)refer->filter.blocks + refer->got, payload,
	       frame->length);
	refer->got += frame->length;
	return 0;
}

bool refer_is_told(void *arg)
{
	struct refer *refer = arg;

	return refer->got == refer->filter.nr_blocks * FILTER_BLOCK;
}
