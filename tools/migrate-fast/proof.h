/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Is a page at the destination what it is at the source? Sixteen bytes tell,
 * under a key that both ends of a session have.
 *
 * They are Poly1305 (Bernstein, "The Poly1305-AES message-authentication
 * code", FSE 2005, theorem 3.3): of two pages that differ, whichever they are,
 * one key in 2^95 makes the same of both. So it holds against a guest that
 * knows all but the key, which no XXH does; and it costs less than a copy.
 *
 * The key stays the same for all pages. That gives it away to whoever reads the
 * connection; but who does that has the memory as well.
 *
 * A VM can have many equal pages in a row: Linux fills what it frees after it has
 * booted with one byte. So both ends remember one page, the last of those that
 * were copied: at the source it is compared, and over there a proof of it brings
 * its bytes, whatever they are taken from.
 */
#ifndef PROOF_H
#define PROOF_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "../lib/mf.h"

#define PROOF_BYTES	16
#define PROOF_KEY	32

struct proof {
	EVP_MAC_CTX *mac;	/* NULL: not begun */
	uint8_t key[PROOF_KEY];
	bool remembers;
	uint8_t tag[PROOF_BYTES];	/* of .page */
	uint8_t page[MF_PAGE_SIZE];
};

/* For the session of that name. 0, or -1 after fail(). To be ended once. */
int proof_begin(struct proof *proof, const char *session);
void proof_end(struct proof *proof);
/* Of the page at @page. If that cannot be done it is of no page. */
void proof_make(const struct proof *proof, const void *page,
		uint8_t tag[PROOF_BYTES]);
/* Likewise, and remembers the page. */
void proof_make_twin(struct proof *proof, const void *page,
		     uint8_t tag[PROOF_BYTES]);
/* The page of @tag, if it is the one that is remembered; or NULL. */
const uint8_t *proof_twin(const struct proof *proof,
			  const uint8_t tag[PROOF_BYTES]);
/* Is @tag of the page at @page? */
bool proof_is(const struct proof *proof, const void *page,
	      const uint8_t tag[PROOF_BYTES]);
/* Likewise, and if so remembers it. */
bool proof_is_twin(struct proof *proof, const void *page,
		   const uint8_t tag[PROOF_BYTES]);

#endif /* PROOF_H */
