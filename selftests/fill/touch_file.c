// SPDX-License-Identifier: GPL-2.0
/* Touches of a page through a descriptor, and by a guest. See touches.h. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mf_guest.h"
#include "touches.h"

static int right_but(struct mf_vm *vm, size_t page, size_t from, size_t bytes)
{
	unsigned char seen[MF_PAGE];

	if (pread(vm->fd, seen, MF_PAGE, page * MF_PAGE) != MF_PAGE)
		return errno;
	return touch_right_but(seen, page, from, bytes, PART_BYTE);
}

int read_file(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	int fd = open(vm->path, O_RDONLY);
	ssize_t n;

	if (fd < 0 || lseek(fd, page * MF_PAGE, SEEK_SET) < 0)
		return errno;
	n = read(fd, bytes, MF_PAGE);
	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	return touch_right(bytes, page);
}

/* Begins in the page before, which is there: what comes first is no error. */
int read_across(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[2 * MF_PAGE];
	size_t got = 0;
	ssize_t n;

	while (got < 2 * MF_PAGE) {
		n = pread(vm->fd, bytes + got, 2 * MF_PAGE - got,
			  (page - 1) * MF_PAGE + got);
		if (n <= 0)
			return n < 0 ? errno : ENODATA;
		got += n;
	}
	return mf_stamp_differs(bytes, page - 1, 1) < 0 ?
	       touch_right(bytes + MF_PAGE, page) : MF_WRONG;
}

int read_vector(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	struct iovec iov[] = { { bytes, 100 }, { bytes + 100, MF_PAGE - 100 } };
	ssize_t n = preadv(vm->fd, iov, 2, page * MF_PAGE);

	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	return touch_right(bytes, page);
}

int write_part(struct mf_vm *vm, size_t page)
{
	unsigned char byte = PART_BYTE;

	if (pwrite(vm->fd, &byte, 1, page * MF_PAGE + PART) != 1)
		return errno;
	return right_but(vm, page, PART, 1);
}

/* All of the page is overwritten, but only once it is there. */
int write_page(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];

	memset(bytes, PART_BYTE, MF_PAGE);
	if (pwrite(vm->fd, bytes, MF_PAGE, page * MF_PAGE) != MF_PAGE)
		return errno;
	return right_but(vm, page, 0, MF_PAGE);
}

/* Who writes to the file waits for a page of it, which nobody can fill then. */
int write_from_same_file(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];

	if (pwrite(vm->fd, mf_page(vm, page), MF_PAGE, 0) != MF_PAGE)
		return errno;
	if (pread(vm->fd, bytes, MF_PAGE, 0) != MF_PAGE)
		return errno;
	/* As it was, for whoever looks at the rest of the file. */
	if (touch_right(bytes, page))
		return MF_WRONG;
	mf_stamp(bytes, 0, 1, 1);
	return pwrite(vm->fd, bytes, MF_PAGE, 0) == MF_PAGE ? 0 : errno;
}

int splice_out(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	loff_t at = page * MF_PAGE;
	int pipes[2];
	ssize_t n;

	if (pipe(pipes))
		return errno;
	n = splice(vm->fd, &at, pipes[1], NULL, MF_PAGE, 0);
	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	if (read(pipes[0], bytes, MF_PAGE) != MF_PAGE)
		return errno;
	return touch_right(bytes, page);
}

int splice_in(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[8];
	loff_t at = page * MF_PAGE + PART;
	int pipes[2];

	memset(bytes, PART_BYTE, sizeof(bytes));
	if (pipe(pipes) || write(pipes[1], bytes, sizeof(bytes)) < 0)
		return errno;
	if (splice(pipes[0], NULL, vm->fd, &at, sizeof(bytes), 0) < 0)
		return errno;
	return right_but(vm, page, PART, sizeof(bytes));
}

int send_file(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	off_t at = page * MF_PAGE;
	int sock[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock))
		return errno;
	n = sendfile(sock[0], vm->fd, &at, MF_PAGE);
	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	if (recv(sock[1], bytes, MF_PAGE, MSG_WAITALL) != MF_PAGE)
		return errno;
	return touch_right(bytes, page);
}

int copy_range(struct mf_vm *vm, size_t page)
{
	loff_t in = page * MF_PAGE, out = 0;
	unsigned char bytes[MF_PAGE];
	int to = open(MF_MNT "/copy", O_RDWR | O_CREAT, 0600);
	ssize_t n;

	if (to < 0)
		return errno;
	n = copy_file_range(vm->fd, &in, to, &out, MF_PAGE, 0);
	if (n != MF_PAGE)
		return n < 0 ? errno : ENODATA;
	if (pread(to, bytes, MF_PAGE, 0) != MF_PAGE)
		return errno;
	return touch_right(bytes, page);
}

/* One request of io_uring; its result as from read(2). */
static int uring(bool write, int fd, void *bytes, size_t count, __u64 at)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	int rc = io_uring_queue_init(2, &ring, 0);

	if (rc)
		return -rc;
	sqe = io_uring_get_sqe(&ring);
	if (write)
		io_uring_prep_write(sqe, fd, bytes, count, at);
	else
		io_uring_prep_read(sqe, fd, bytes, count, at);
	io_uring_submit(&ring);
	rc = io_uring_wait_cqe(&ring, &cqe);
	if (rc)
		return -rc;
	if (cqe->res < 0)
		return -cqe->res;
	return cqe->res == count ? 0 : ENODATA;
}

int uring_read(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];

	return uring(false, vm->fd, bytes, MF_PAGE, page * MF_PAGE) ?:
	       touch_right(bytes, page);
}

int uring_write(struct mf_vm *vm, size_t page)
{
	unsigned char byte = PART_BYTE;

	return uring(true, vm->fd, &byte, 1, page * MF_PAGE + PART) ?:
	       right_but(vm, page, PART, 1);
}

/* The page is the buffer; what is read is the page before it. */
int uring_into(struct mf_vm *vm, size_t page)
{
	return uring(false, vm->fd, mf_page(vm, page), MF_PAGE,
		     (page - 1) * MF_PAGE) ?:
	       mf_stamp_differs(mf_page(vm, page), page - 1, 1) < 0 ? 0 :
	       MF_WRONG;
}

/* KVM. */

static int guest_touch(struct mf_vm *vm, size_t page, bool write, bool irqchip)
{
	struct mf_guest guest;
	__u32 value = 0;
	int rc = irqchip ? mf_guest_open_irqchip(&guest, vm->map,
						 vm->pages * MF_PAGE) :
			   mf_guest_open(&guest, vm->map, vm->pages * MF_PAGE);

	if (rc)
		return -rc;
	if (write)
		rc = mf_guest_store(&guest, page * MF_PAGE + PART,
				    PART_BYTE * 0x01010101U);
	else
		rc = mf_guest_load(&guest, page * MF_PAGE, &value);
	if (rc)
		return -rc;
	if (write)
		return right_but(vm, page, PART, 4);
	return value == (__u32)mf_stamp_word(page, 0, 2) ? 0 : MF_WRONG;
}

int guest_load(struct mf_vm *vm, size_t page)
{
	return guest_touch(vm, page, false, false);
}

int guest_store(struct mf_vm *vm, size_t page)
{
	return guest_touch(vm, page, true, false);
}

/* With an interrupt controller in the kernel KVM asks without waiting. */
int guest_load_async(struct mf_vm *vm, size_t page)
{
	return guest_touch(vm, page, false, true);
}
