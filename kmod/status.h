/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What sessions there are, for people: /sys/kernel/debug/migrate-fast/sessions.
 */
#ifndef MF_STATUS_H
#define MF_STATUS_H

struct mf_session;

void mf_status_init(void);
void mf_status_exit(void);
void mf_status_add(struct mf_session *session);
void mf_status_remove(struct mf_session *session);

#endif
