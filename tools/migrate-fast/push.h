/* SPDX-License-Identifier: GPL-2.0 */
/* Post-copy at the source: memory that nobody has asked for yet. */
#ifndef PUSH_H
#define PUSH_H

struct sender;

/*
 * Sends what is stale on the first connection, until nothing is left to send
 * or the destination has all. 0, or -1 after fail().
 */
int push_all(struct sender *sender);

#endif /* PUSH_H */
