// SPDX-License-Identifier: GPL-2.0
/* What the kernel knows of the line under a TCP connection, by its socket. */
#include <linux/pkt_sched.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "line.h"

/* Bytes in the socket that are not on the wire yet, when others are urgent. */
#define NOT_SENT	(128 * 1024)

/* All zero where there is none: a socket that has been closed, say. */
static struct tcp_info line_info(int sock)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len))
		return (struct tcp_info){ 0 };
	/* It has none yet. */
	if (info.tcpi_min_rtt == UINT32_MAX)
		info.tcpi_min_rtt = 0;
	return info;
}

double line_rtt_ms(int sock)
{
	/* The least of late: queues and busy hosts only add to it. */
	return line_info(sock).tcpi_min_rtt / 1000.0;
}

uint64_t line_rate(int sock)
{
	return line_info(sock).tcpi_delivery_rate;
}

static uint64_t window(const struct tcp_info *info, double ms)
{
	if (!info->tcpi_min_rtt)
		return 0;
	return (uint64_t)((double)info->tcpi_delivery_rate *
			  (ms / 1000 + info->tcpi_min_rtt / 1e6));
}

uint64_t line_window(int sock, double ms)
{
	struct tcp_info info = line_info(sock);

	return window(&info, ms);
}

uint64_t line_in_flight(int sock)
{
	int bytes = 0;

	return ioctl(sock, SIOCOUTQ, &bytes) || bytes < 0 ? 0 : (uint64_t)bytes;
}

struct line line_now(int sock)
{
	struct tcp_info info = line_info(sock);
	uint64_t flight = line_in_flight(sock), wire = window(&info, 0);

	return (struct line){
		.rate = info.tcpi_delivery_rate,
		.queued = flight > wire ? flight - wire : 0,
	};
}

void line_hurry(int sock, bool first)
{
	int bytes = NOT_SENT, priority = TC_PRIO_INTERACTIVE;

	setsockopt(sock, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes));
	if (first)
		setsockopt(sock, SOL_SOCKET, SO_PRIORITY, &priority,
			   sizeof(priority));
}
