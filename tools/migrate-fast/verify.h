/* SPDX-License-Identifier: GPL-2.0 */
/* Compares the RAM of both ends by SHA-256 of each page, in the kernel. */
#ifndef VERIFY_H
#define VERIFY_H

#include <stdint.h>

#include "vm.h"
#include "wire.h"

#define VERIFY_DIGEST	32

/*
 * SHA-256 of @count pages (at most WIRE_DIGEST_PAGES) from @page on into
 * @each, and that of all these digests into @sum. 0, or -1 after fail().
 */
int verify_digest(struct vm *vm, unsigned int ram, uint64_t page,
		  uint32_t count, uint8_t *each, uint8_t sum[VERIFY_DIGEST]);

#endif /* VERIFY_H */
