/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MF_SEND_H
#define MF_SEND_H

struct migrate_fast_send;
struct mf_session;

int mf_session_send(struct mf_session *session, struct migrate_fast_send *arg);

#endif
