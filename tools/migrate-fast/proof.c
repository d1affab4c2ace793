// SPDX-License-Identifier: GPL-2.0
/* Is a page at the destination what it is at the source? See proof.h. */
#include <stdio.h>
#include <string.h>

#include "../lib/mf.h"
#include "../lib/say.h"
#include "proof.h"
#include "hook.h"

_Static_assert(PROOF_KEY == 32, "a SHA-256");

static bool begin(struct proof *proof, const char *session)
{
	EVP_MAC *poly = EVP_MAC_fetch(NULL, "POLY1305", NULL);
	char text[64];
	int len;

	/* A session's name is random, and no guest is told. */
	len = snprintf(text, sizeof(text), "proof %s", session);
	if (poly)
		proof->mac = EVP_MAC_CTX_new(poly);
	EVP_MAC_free(poly);
	return proof->mac && len < (int)sizeof(text) &&
	       EVP_Digest(text, (size_t)len, proof->key, NULL, EVP_sha256(),
			  NULL);
}

int proof_begin(struct proof *proof, const char *session)
{
	*proof = (struct proof){ 0 };
	if (begin(proof, session))
		return 0;
	proof_end(proof);
	return fail("libcrypto cannot do Poly1305 and SHA-256 here: its default provider must be active (openssl list -providers)");
}

void proof_end(struct proof *proof)
{
	EVP_MAC_CTX_free(proof->mac);
	proof->mac = NULL;
}

static bool make(const struct proof *proof, const void *page,
		 uint8_t tag[PROOF_BYTES])
{
	size_t len;

	return EVP_MAC_init(proof->mac, proof->key, PROOF_KEY, NULL) &&
	       EVP_MAC_update(proof->mac, page, MF_PAGE_SIZE) &&
	       EVP_MAC_final(proof->mac, tag, &len, PROOF_BYTES);
}

void proof_make(const struct proof *proof, const void *page,
		uint8_t tag[PROOF_BYTES])
{
	if (!make(proof, page, tag))
		memset(tag, 0, PROOF_BYTES);
}

static void remember(struct proof *proof, const void *page,
		     const uint8_t tag[PROOF_BYTES])
{
	memcpy(proof->page, page, MF_PAGE_SIZE);
	memcpy(proof->tag, tag, PROOF_BYTES);
	proof->remembers = true;
}

void proof_make_twin(struct proof *proof, const void *page,
		     uint8_t tag[PROOF_BYTES])
{
	if (!proof->remembers || memcmp(proof->page, page, MF_PAGE_SIZE)) {
		proof_make(proof, page, tag);
		remember(proof, page, tag);
	}
	memcpy(tag, proof->tag, PROOF_BYTES);
}

const uint8_t *proof_twin(const struct proof *proof,
			  const uint8_t tag[PROOF_BYTES])
{
	if (proof->remembers && !memcmp(proof->tag, tag, PROOF_BYTES))
		return proof->page;
	return NULL;
}

bool proof_is(const struct proof *proof, const void *page,
	      const uint8_t tag[PROOF_BYTES])
{
	uint8_t own[PROOF_BYTES];

	return (make(proof, page, own) && !memcmp(own, tag, PROOF_BYTES)) ||
	       hook_set("trust-proof");
}

bool proof_is_twin(struct proof *proof, const void *page,
		   const uint8_t tag[PROOF_BYTES])
{
	bool is = proof_is(proof, page, tag);

	if (is)
		remember(proof, page, tag);
	return is;
}
