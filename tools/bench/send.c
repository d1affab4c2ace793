// SPDX-License-Identifier: GPL-2.0
/*
 * What sending a page costs: MIGRATE_FAST_SEND against write(2) from the
 * mapping, over TCP on the loopback device.
 *
 * The receiver is this very thread, and receives after each send, so that its
 * system calls are on nobody's account; it drops the bytes uncopied
 * (MSG_TRUNC). A chunk fits into the socket's buffers, so that a send never
 * waits. What remains of the receiver's work is that the loopback device
 * delivers packets within the sender's call: the network stack's receive path
 * and the acknowledgements. That is the same number of packets on both sides,
 * which is checked, and makes the ratio look worse than the sender's alone:
 * it is not taken off.
 *
 * The copy of write(2) is 4096 steps of rep movsb here, see bench.h.
 * "send.isolated" is a gather of single pages that do not follow one another,
 * "send.writev" the same from the mapping.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"

#define PAGES	2048
#define CHUNK	256		/* pages of one call: 1 MB */
#define BUFFER	(32 << 20)

static struct mf_vm vm;
static int out, in;

static void make_connection(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);
	int size = BUFFER;

	bench_check(!bind(listener, (void *)&addr, len), "bind");
	bench_check(!setsockopt(listener, SOL_SOCKET, SO_RCVBUFFORCE, &size,
				sizeof(size)), "SO_RCVBUFFORCE");
	bench_check(!listen(listener, 1), "listen");
	bench_check(!getsockname(listener, (void *)&addr, &len), "getsockname");
	out = socket(AF_INET, SOCK_STREAM, 0);
	bench_check(!setsockopt(out, SOL_SOCKET, SO_SNDBUFFORCE, &size,
				sizeof(size)), "SO_SNDBUFFORCE");
	bench_check(!connect(out, (void *)&addr, len), "connect");
	in = accept(listener, NULL, NULL);
	bench_check(in >= 0, "accept");
	close(listener);
}

static void drain(size_t bytes)
{
	static char nothing[1 << 20];

	while (bytes) {
		ssize_t n = recv(in, nothing, sizeof(nothing), MSG_TRUNC);

		bench_check(n > 0, "recv");
		bytes -= n;
	}
}

static __u64 packets(void)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	bench_check(!getsockopt(out, IPPROTO_TCP, TCP_INFO, &info, &len),
		    "TCP_INFO");
	return info.tcpi_segs_out;
}

static size_t send_run(size_t page)
{
	struct migrate_fast_segment segment = {
		.ram = vm.ram, .offset = page * MF_PAGE,
		.bytes = CHUNK * MF_PAGE,
	};
	struct migrate_fast_send arg = {
		.sock = out, .segments = (uintptr_t)&segment, .count = 1,
	};

	return mf_ioctl(vm.session, MIGRATE_FAST_SEND, &arg) ? 0 : arg.sent;
}

static size_t write_run(size_t page)
{
	return write(out, mf_page(&vm, page), CHUNK * MF_PAGE);
}

/* Page number @i of a chunk of pages that do not follow one another. */
static size_t isolated(size_t page, size_t i)
{
	return page / 2 + 2 * i;
}

static size_t send_isolated(size_t page)
{
	struct migrate_fast_segment segments[CHUNK];
	struct migrate_fast_send arg = {
		.sock = out, .segments = (uintptr_t)segments, .count = CHUNK,
	};
	size_t i;

	for (i = 0; i < CHUNK; i++)
		segments[i] = (struct migrate_fast_segment){
			.ram = vm.ram, .offset = isolated(page, i) * MF_PAGE,
			.bytes = MF_PAGE,
		};
	return mf_ioctl(vm.session, MIGRATE_FAST_SEND, &arg) ? 0 : arg.sent;
}

static size_t writev_isolated(size_t page)
{
	struct iovec iov[CHUNK];
	size_t i;

	for (i = 0; i < CHUNK; i++)
		iov[i] = (struct iovec){
			.iov_base = mf_page(&vm, isolated(page, i)),
			.iov_len = MF_PAGE,
		};
	return writev(out, iov, CHUNK);
}

static const struct way {
	const char *name;
	size_t (*send)(size_t page);
} ways[] = {
	{ "send.zerocopy", send_run },
	{ "send.write", write_run },
	{ "send.isolated", send_isolated },
	{ "send.writev", writev_isolated },
};

/* Alternating, so that what changes in the connection befalls all. */
static void one_sample(bool print)
{
	unsigned int i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		__u64 ticks = 0, before = packets(), start;
		char name[64];
		size_t page;

		for (page = 0; page < PAGES; page += CHUNK) {
			size_t sent;

			start = bench_now();
			sent = ways[i].send(page);
			ticks += bench_now() - start;
			bench_check(sent == CHUNK * MF_PAGE, ways[i].name);
			drain(sent);
		}
		if (!print)
			continue;
		bench_sample(ways[i].name, ticks, PAGES);
		snprintf(name, sizeof(name), "%s.packets", ways[i].name);
		bench_sample(name, packets() - before, PAGES);
	}
}

int main(void)
{
	__u64 state = 1, i;
	int n;

	bench_begin();
	bench_check(!mf_vm_open(&vm, PAGES, NULL), "open");
	for (i = 0; i < PAGES * MF_PAGE / 8; i++)
		((__u64 *)vm.map)[i] = mf_random(&state);
	make_connection();
	/* Some rounds for the congestion window to open. */
	for (n = -4; n < BENCH_SAMPLES; n++)
		one_sample(n >= 0);
	mf_vm_close(&vm);
	return 0;
}
