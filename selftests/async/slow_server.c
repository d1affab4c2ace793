// SPDX-License-Identifier: GPL-2.0
/*
 * A server as slow as a network: takes pages away from a guest that runs, and
 * brings each back so much after it was wanted.
 *
 *   slow_server RAM_FILE DELAY_MS
 *
 * The pages are those that the guest's "workload writer" has written, which
 * must be stopped meanwhile: they are found by their contents. Prints "ready N"
 * with their number; at the end of standard input brings the rest at once and
 * prints "faults N went_on N filled N left N": what was filled one by one, and
 * what nobody had asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "mf_fill.h"
#include "../vm/guest/pattern.h"

/* By what "workload writer" writes, and nobody else. */
static bool is_workload(const __u64 *p)
{
	const uint64_t *words = (const void *)p;

	return !(words[0] >> 32 || words[1] >> 32) &&
	       right(words, words[0], (uint32_t)words[1]);
}

static __u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static int open_file(struct mf_vm *vm, const char *path)
{
	struct migrate_fast_add add;
	struct stat stat;
	int rc;

	vm->fd = open(path, O_RDWR | O_CLOEXEC);
	if (vm->fd < 0 || fstat(vm->fd, &stat))
		return -errno;
	vm->pages = stat.st_size / MF_PAGE;
	vm->map = mmap(NULL, stat.st_size, PROT_READ, MAP_SHARED, vm->fd, 0);
	if (vm->map == MAP_FAILED)
		return -errno;
	vm->session = mf_session();
	if (vm->session < 0)
		return vm->session;
	rc = mf_add(vm->session, vm->fd, &add);
	vm->ram = add.ram;
	return rc;
}

/* Remember the pages, and take them away. How many, or -errno. */
static long take(struct mf_vm *vm, unsigned char **saved)
{
	__u64 *bits = calloc((vm->pages + 63) / 64, 8);
	size_t page;
	long rc;

	for (page = 0; page < vm->pages; page++) {
		/* Not a hole, which looking at would fill. */
		if (lseek(vm->fd, page * MF_PAGE, SEEK_DATA) != page * MF_PAGE ||
		    !is_workload((void *)mf_page(vm, page)))
			continue;
		saved[page] = aligned_alloc(MF_PAGE, MF_PAGE);
		memcpy(saved[page], mf_page(vm, page), MF_PAGE);
		bits[page / 64] |= 1ULL << page % 64;
	}
	rc = mf_demand_bits(vm, bits);
	free(bits);
	return rc;
}

/* The faults of which the answer is on its way, oldest first. */
static struct migrate_fast_fault queue[1 << 16];
static size_t head, tail;

static long serve(struct mf_vm *vm, unsigned char **saved, __u64 delay)
{
	struct pollfd polls[] = {
		{ .fd = vm->session, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	long filled = 0;

	while (1) {
		struct timespec timeout, *wait = NULL;

		if (head != tail) {
			__u64 due = queue[head].ns + delay, time = now();

			if (due <= time) {
				size_t page = queue[head++].page;
				long rc = mf_fill_from(vm, page, 1, saved[page]);

				if (rc < 0)
					return rc;
				filled += rc;
				continue;
			}
			timeout.tv_sec = (due - time) / 1000000000;
			timeout.tv_nsec = (due - time) % 1000000000;
			wait = &timeout;
		}
		if (ppoll(polls, 2, wait, NULL) < 0)
			return -errno;
		if (polls[1].revents)
			return filled;
		if (polls[0].revents) {
			ssize_t n = read(vm->session, queue + tail, 64 *
					 sizeof(*queue));

			if (n < 0)
				return -errno;
			tail += n / sizeof(*queue);
		}
	}
}

int main(int argc, char **argv)
{
	struct migrate_fast_absent state;
	unsigned char **saved;
	long rc, filled, left = 0;
	struct mf_vm vm = {};
	size_t page;

	if (argc != 3)
		return 2;
	rc = open_file(&vm, argv[1]);
	if (rc < 0)
		return fprintf(stderr, "%s: %s\n", argv[1], strerror(-rc)), 1;
	saved = calloc(vm.pages, sizeof(*saved));
	rc = take(&vm, saved);
	if (rc < 0)
		return fprintf(stderr, "demand: %s\n", strerror(-rc)), 1;
	printf("ready %ld\n", rc);
	fflush(stdout);
	filled = serve(&vm, saved, strtoull(argv[2], NULL, 0) * 1000000);
	if (filled < 0)
		fprintf(stderr, "serve: %s\n", strerror(-filled));
	for (page = 0; page < vm.pages; page++) {
		if (saved[page])
			left += mf_fill_from(&vm, page, 1, saved[page]);
	}
	state = mf_absent_state(&vm);
	printf("faults %llu went_on %llu filled %ld left %ld\n", state.faults,
	       state.went_on, filled, left);
	return filled < 0 || state.absent;
}
