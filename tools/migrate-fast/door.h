/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Destination: who connects while a VM is received or served. A source that
 * knows the session may JOIN; one that asks is answered; strangers are told
 * off, and disturb nobody.
 */
#ifndef DOOR_H
#define DOOR_H

#include <stdbool.h>

#include "conn.h"

#define DOOR_GUESTS	4

struct receiver;
struct door;

struct door_guest {
	struct door *door;
	struct conn conn;
	bool here;
	bool busy;
	uint64_t since;
	/* The loop calls us first: what fails here must not fail there. */
	int (*ready)(struct watch *watch, short revents);
	enum { DOOR_NONE, DOOR_PUSH, DOOR_PULL, DOOR_BYE } wish;
};

struct door {
	struct receiver *receiver;
	bool open;
	struct watch watch;
	struct ticker ticker;
	struct door_guest guests[DOOR_GUESTS];
};

void door_open(struct door *door, struct receiver *receiver, int listener);
void door_close(struct door *door);

#endif /* DOOR_H */
