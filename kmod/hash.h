/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MF_HASH_H
#define MF_HASH_H

struct migrate_fast_hash;
struct mf_session;

int mf_hash_init(void);
void mf_hash_exit(void);
int mf_session_hash(struct mf_session *session, struct migrate_fast_hash *arg);

#endif
