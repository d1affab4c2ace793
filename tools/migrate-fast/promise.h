/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Source: the promise not to let the VM run again by itself. It is made before
 * COMMIT is said, and kept until the destination has said what has become of
 * the VM, also if we die: who asks then ("migrate-fast resolve") has to know
 * whether the destination may run it. A VM that stands still does not tell:
 * before COMMIT it is stopped as well, and a send, or its guard, is about to
 * let it run on.
 */
#ifndef PROMISE_H
#define PROMISE_H

#include <jansson.h>
#include <stdbool.h>

/*
 * @ran: before it was stopped. @capabilities: QEMU's, to be put back, or NULL.
 * 0, or -1 after fail().
 */
int promise_make(const char *session, const char *qmp, bool ran,
		 json_t *capabilities);
/*
 * That of @session, or else (also if that is NULL) one for the QEMU at @qmp;
 * NULL, without fail(), if there is none.
 */
json_t *promise_find(const char *session, const char *qmp);
bool promise_made(const char *session);
void promise_end(const char *session);
/* All that were made for the QEMU at @qmp. */
void promise_end_all(const char *qmp);

#endif /* PROMISE_H */
