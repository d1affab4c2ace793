/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Places where a test can hold the program still, or break a rule to see
 * that its test notices. MIGRATE_FAST_TEST=NAME[:MS][,NAME[:MS]]...
 * It is looked up once.
 *
 * SIGUSR1 ends the waiting. So does a failure, for instance of a connection,
 * and then nothing waits any more: what is tested has happened.
 *
 *	hash-send	wait between hashing pages and sending them
 *	round		wait after each round
 *	first-round	wait after the first one
 *	ready		(recv) wait before READY is said
 *	stopped		wait when the VM has just been stopped
 *	rest		wait when a harvest after that has found something
 *	device		wait before the device state is released
 *	load		(recv) wait before QEMU is given the device state
 *	prepared	(recv) wait before PREPARED is said
 *	commit		wait before COMMIT is promised
 *	promised	wait when it has been, and the guard still watches
 *	committed	(recv) wait after COMMIT was heard
 *	running		(recv) wait before RUNNING is said
 *	push		wait when the first pages have followed the VM
 *	half		wait when half of them have
 *	lazy		(recv) wait before a disk is read that nobody waits for
 *	pushed		wait when all of them have, before PUSHED is said
 *	complete	(recv) wait before COMPLETE is said
 *	verify		wait when the first digests have been sent
 *	bye		wait before BYE is said
 *	keep		wait before what must be known later is written down
 *	restore		wait after a failure, before QEMU is as it was
 *	answered	(resolve) wait before it is said that the answer was heard
 *	always-copy	with --compress=auto, copy pages whatever it costs
 *	memory-counts	let memory follow however little time it would take
 *	wrong-delta	leave one changed block out of each delta
 *	trust-proof	(recv) believe what is said of a page that is here
 *	no-prepage	push in ascending order, whatever is asked for
 *	lose-page:N	do not send page N in the first round
 *	lose-pushed:N	send zeroes for page N, if it follows the VM unasked
 *
 * Unset, as in real life, it costs a comparison.
 */
#ifndef HOOK_H
#define HOOK_H

#include <stdbool.h>
#include <stdint.h>

/* Waits as long as the environment says for @name. 0, or -1 after fail(). */
int hook(const char *name);
bool hook_set(const char *name);
/* Is that what shall happen to @page? */
bool hook_lose(const char *name, uint64_t page);

#endif /* HOOK_H */
