/* SPDX-License-Identifier: GPL-2.0 */
/* HOST:PORT, and sockets that lead there. */
#ifndef ADDRESS_H
#define ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Is it written as it should be? @passive: to listen, so the host may be left
 * out. 0, or -1 after fail().
 */
int address_check(const char *where, bool passive);
/*
 * Resolves @to, HOST:PORT or [V6]:PORT, and tries each of its addresses for
 * @timeout ns, in the loop. Returns a socket that does not block, or -1 after
 * fail().
 */
int address_connect(const char *to, uint64_t timeout);
/* Binds a listening socket to [ADDR]:PORT. Returns it, or -1 after fail(). */
int address_listen(const char *at);
/* Who is at the other end, as numbers. */
void address_of_peer(int sock, char *name, size_t size);

#endif /* ADDRESS_H */
