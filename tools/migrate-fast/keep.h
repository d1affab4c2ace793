/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What has to be known when we have died: files under KEEP_DIR, one for a
 * session and a purpose. A reboot takes them with it, as it does the VM.
 *
 * Each says which QEMU it is about ("qmp") and which session ("session").
 */
#ifndef KEEP_H
#define KEEP_H

#include <jansson.h>
#include <stdbool.h>

#define KEEP_DIR "/run/migrate-fast.d"

/*
 * Writes, or writes again, as one: @what, to which "session" and "qmp" are
 * added. Takes over the reference to @what. 0, or -1 after fail().
 */
int keep_write(const char *session, const char *purpose, const char *qmp,
	       json_t *what);
/* There need not be one. */
void keep_remove(const char *session, const char *purpose);
/* One that is about the QEMU at @qmp; NULL, without fail(), if there is none. */
json_t *keep_find(const char *qmp, const char *purpose);
/* The one of this session; NULL, without fail(), if there is none. */
json_t *keep_read(const char *session, const char *purpose);
/* Is there one of this session? */
bool keep_has(const char *session, const char *purpose);

#endif /* KEEP_H */
