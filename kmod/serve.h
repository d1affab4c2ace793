/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A session that serves absent pages.
 */
#ifndef MF_SERVE_H
#define MF_SERVE_H

#include <linux/migrate_fast.h>
#include <linux/poll.h>

struct mf_fill;
struct mf_member;
struct mf_session;

/* In demand.c. */
int mf_session_demand(struct mf_session *session,
		      struct migrate_fast_demand *arg);

int mf_session_fill(struct mf_session *session, struct migrate_fast_fill *arg);
int mf_session_absent(struct mf_session *session,
		      struct migrate_fast_absent *arg);
int mf_session_abort(struct mf_session *session,
		     const struct migrate_fast_abort *arg);
ssize_t mf_session_read(struct mf_session *session, char __user *to,
			size_t bytes, bool nonblock);
__poll_t mf_session_poll(struct mf_session *session, struct file *file,
			 poll_table *table);

/* Who is the server. */
int mf_serve_take(struct mf_session *session, struct mf_fill *fill, u32 ram);
void mf_serve_done(struct mf_session *session, struct mf_fill *fill);
void mf_serve_leave(struct mf_session *session, struct mf_member *member);

#endif
