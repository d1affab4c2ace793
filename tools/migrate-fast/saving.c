// SPDX-License-Identifier: GPL-2.0
/* What need not travel; see saving.h. */
#include "saving.h"

/* Promises of a disk that it has not kept; see lazy.h. */
static uint64_t broken(const struct stats *stats)
{
	json_int_t promised = 0, kept = 0;

	json_unpack(stats->arrived, "{s:{s:I, s:I}}", "lazy", "promised",
		    &promised, "kept", &kept);
	return promised > kept ? (uint64_t)(promised - kept) : 0;
}

void saving_count(struct stats *stats, const struct gather *gather,
		  uint64_t rate)
{
	const struct classes *pages = &stats->pages;
	uint64_t copies = pages->copy + stats->supplied.copied;
	uint64_t bytes, spent;

	bytes = (pages->unchanged + pages->reference + copies) * MF_PAGE_SIZE +
		gather->saved;
	/* What was named in vain has travelled after all. */
	spent = pages->unchanged * PROOF_BYTES +
		pages->reference * sizeof(struct wire_reference) +
		copies * sizeof(struct wire_copy) +
		(stats->missed + stats->unchanged_missed + broken(stats)) *
		MF_PAGE_SIZE;
	stats->saved_bytes = bytes > spent ? bytes - spent : 0;
	stats->saved_ms = rate ? (double)stats->saved_bytes * 1000 /
				 (double)rate : 0;
}
