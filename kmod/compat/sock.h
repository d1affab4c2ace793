/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences of the sockets between kernels.
 */
#ifndef MF_COMPAT_SOCK_H
#define MF_COMPAT_SOCK_H

#include <linux/bvec.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/uio.h>
#include <linux/version.h>
#include <net/sock.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
/*
 * A unix socket looks at its send buffer only when a page needs a new packet,
 * which those that follow each other in memory never do: without end it would
 * take what nobody reads. sendmsg knows when to wait.
 */
static inline bool mf_unix_full(const struct sock *sk)
{
	return sk->sk_family == AF_UNIX &&
	       sk_wmem_alloc_get(sk) >= READ_ONCE(sk->sk_sndbuf);
}

static inline int mf_sendpage(struct socket *sock, const struct bio_vec *bvec,
			      int flags)
{
	struct msghdr msg = { .msg_flags = flags };

	if (!mf_unix_full(sock->sk))
		return kernel_sendpage(sock, bvec->bv_page, bvec->bv_offset,
				       bvec->bv_len, flags);
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, bvec, 1, bvec->bv_len);
	return sock_sendmsg(sock, &msg);
}

/*
 * The header of 6.1 has MSG_SPLICE_PAGES, but nothing there heeds it: pages
 * travel by reference with sendpage only. NOTLAST keeps TCP from pushing
 * after every single one.
 */
static inline int mf_sendpages(struct socket *sock,
			       const struct bio_vec *bvec, unsigned int nr,
			       int flags)
{
	int sent = 0, ret;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		int page_flags = flags;

		if (i + 1 < nr)
			page_flags |= MSG_MORE | MSG_SENDPAGE_NOTLAST;
		ret = mf_sendpage(sock, &bvec[i], page_flags);
		if (ret < 0)
			return sent ?: ret;
		sent += ret;
		if (ret < bvec[i].bv_len)
			break;
	}
	return sent;
}
#endif

/**
 * mf_sock_send_pages - send pages to a stream socket
 * @sock: TCP or unix
 * @bvec: the pages; an entry can cover several of one folio
 * @nr: entries
 * @bytes: in all of them together
 * @flags: MSG_*
 * @by_ref: let the socket keep references; else it copies
 *
 * Context: may sleep. Return: bytes taken, or what the socket says.
 */
static inline int mf_sock_send_pages(struct socket *sock,
				     const struct bio_vec *bvec,
				     unsigned int nr, size_t bytes, int flags,
				     bool by_ref)
{
	struct msghdr msg = { .msg_flags = flags };

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
	if (by_ref)
		msg.msg_flags |= MSG_SPLICE_PAGES;
#else
	if (by_ref)
		return mf_sendpages(sock, bvec, nr, flags);
#endif
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, bvec, nr, bytes);
	return sock_sendmsg(sock, &msg);
}

#endif
