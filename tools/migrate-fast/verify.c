// SPDX-License-Identifier: GPL-2.0
/*
 * Compares the RAM of both ends by SHA-256 of each page, in the kernel.
 *
 * The source sends, for each 1024 pages, the SHA-256 of their 1024 digests.
 * The destination does the same sum meanwhile, and answers with its single
 * digests where it differs, so that the source can name the pages.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "hook.h"
#include "sender.h"
#include "verify.h"

int verify_digest(struct vm *vm, unsigned int ram, uint64_t page,
		  uint32_t count, uint8_t *each, uint8_t sum[VERIFY_DIGEST])
{
	static struct migrate_fast_digest digests[WIRE_DIGEST_PAGES];
	uint64_t end = page + count, first = page;
	unsigned int len = VERIFY_DIGEST;
	int64_t n, i;

	while (page < end) {
		n = mf_hash(vm->session, &vm->ram[ram].mf,
			    MIGRATE_FAST_HASH_SHA256, page, end - page, 0,
			    digests, WIRE_DIGEST_PAGES, &page);
		if (n < 0)
			return fail("cannot read %s: %s", vm->ram[ram].path,
				    strerror((int)-n));
		for (i = 0; i < n; i++)
			memcpy(each + (digests[i].page - first) *
			       VERIFY_DIGEST, digests[i].sha256,
			       VERIFY_DIGEST);
	}
	if (!EVP_Digest(each, (size_t)count * VERIFY_DIGEST, sum, &len,
			EVP_sha256(), NULL))
		return fail("libcrypto cannot do SHA-256");
	return 0;
}

/* Which pages are they? */
static int name_pages(struct sender *sender)
{
	const struct wire_frame *differ = &sender->differ;
	uint8_t each[WIRE_DIGEST_PAGES * VERIFY_DIGEST], sum[VERIFY_DIGEST];
	unsigned int named = 0;
	char list[256] = "";
	uint32_t i, n = 0;
	size_t len = 0;

	if (verify_digest(&sender->vm, differ->ram, differ->page,
			  differ->count, each, sum))
		return -1;
	for (i = 0; i < differ->count; i++) {
		if (!memcmp(each + i * VERIFY_DIGEST, sender->differ_digests +
			    i * VERIFY_DIGEST, VERIFY_DIGEST))
			continue;
		n++;
		if (named++ < 8)
			len += (size_t)snprintf(list + len, sizeof(list) - len,
						" %llu",
						(unsigned long long)
						(differ->page + i));
	}
	return fail("verification: %u pages of RAM backend \"%s\" differ at the destination:%s%s. This is a bug of migrate-fast or bad hardware; please report it",
		    n, sender->vm.ram[differ->ram].id, list,
		    named > 8 ? " ..." : "");
}

static bool is_compared(void *arg)
{
	struct sender *sender = arg;

	return sender->verified || sender->differ.count;
}

/*
 * Sends the digests of all pages: before the VM is loaded over there one for
 * many pages, @after each page its own, since the VM has written some.
 */
static int send_digests(struct sender *sender, bool after)
{
	uint8_t each[WIRE_DIGEST_PAGES * VERIFY_DIGEST], sum[VERIFY_DIGEST];
	struct vm *vm = &sender->vm;
	struct wire_frame frame;
	uint64_t page;
	unsigned int i;

	progress_phase(&sender->progress, "verifying");
	for (i = 0; i < vm->rams; i++) {
		for (page = 0; page < vm->ram[i].mf.pages;
		     page += WIRE_DIGEST_PAGES) {
			uint64_t n = vm->ram[i].mf.pages - page;

			if (n > WIRE_DIGEST_PAGES)
				n = WIRE_DIGEST_PAGES;
			frame = (struct wire_frame){
				.type = after ? WIRE_DIGESTS : WIRE_DIGEST,
				.ram = (uint16_t)i,
				.length = VERIFY_DIGEST *
					  (after ? (uint32_t)n : 1),
				.count = (uint32_t)n,
				.page = page,
			};
			if (verify_digest(vm, i, page, frame.count, each, sum) ||
			    conn_send_frame(&sender->conn, &frame,
					    after ? each : sum) ||
			    (after && conn_flush(&sender->conn)) ||
			    loop_check())
				return -1;
			if (sender->differ.count)
				return name_pages(sender);
			if (!i && !page && hook("verify"))
				return -1;
		}
	}
	if (conn_send(&sender->conn, WIRE_VERIFY, 0, NULL, 0) ||
	    loop_until(is_compared, sender, 0))
		return -1;
	if (sender->differ.count)
		return name_pages(sender);
	sender->stats.verified = true;
	return 0;
}

int verify_source(struct sender *sender)
{
	return send_digests(sender, false);
}

int verify_after(struct sender *sender)
{
	int ret = send_digests(sender, true);

	/* To connect again would not mend it. */
	if (ret && sender->differ.count)
		sender->supply.given_up = true;
	return ret;
}
