// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_SEND: exact progress when it ends early: a full socket, a
 * signal, a peer that goes away. Whoever goes on with @skip loses no byte and
 * sends none twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "pair.h"

#define PAGES 4096UL

FIXTURE(progress)
{
	struct mf_vm vm;
	int pair[2];
	struct reader reader;
	struct migrate_fast_segment segments[64];
	struct migrate_fast_send send;
	char header[16];
	size_t bytes;
};

FIXTURE_VARIANT(progress)
{
	bool tcp;
};

FIXTURE_VARIANT_ADD(progress, tcp)
{
	.tcp = true,
};

FIXTURE_VARIANT_ADD(progress, unix)
{
	.tcp = false,
};

FIXTURE_SETUP(progress)
{
	size_t i;

	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, "huge=never"));
	for (i = 0; i < PAGES * MF_PAGE / 4; i++)
		((__u32 *)self->vm.map)[i] = i;
	ASSERT_EQ(0, make_pair(self->pair, variant->tcp));
	self->reader.slow = 0;
	memcpy(self->header, "0123456789abcdef", 16);
	self->bytes = 0;
	/* Headers and runs at odd places, so that a wrong byte shows. */
	for (i = 0; i < 64; i++) {
		self->segments[i] = i & 1 ? (struct migrate_fast_segment){
			.ram = self->vm.ram, .offset = i * 60 * MF_PAGE + i,
			.bytes = 60 * MF_PAGE + i * 3,
		} : (struct migrate_fast_segment){
			.ram = MIGRATE_FAST_SEGMENT_USER,
			.offset = (uintptr_t)self->header, .bytes = 16,
		};
		self->bytes += self->segments[i].bytes;
	}
	self->send = (struct migrate_fast_send){
		.sock = self->pair[0],
		.segments = (uintptr_t)self->segments, .count = 64,
	};
}

FIXTURE_TEARDOWN(progress)
{
	close(self->pair[0]);
	close(self->pair[1]);
	mf_vm_close(&self->vm);
}

/* Is what was received the beginning of the gather? */
static bool prefix(struct _test_data_progress *self, const unsigned char *data,
		   size_t bytes)
{
	size_t i;

	for (i = 0; i < 64 && bytes; i++) {
		size_t n = self->segments[i].bytes;
		const void *from = i & 1 ?
			self->vm.map + self->segments[i].offset :
			(unsigned char *)self->header;

		n = n < bytes ? n : bytes;
		if (memcmp(data, from, n))
			return false;
		data += n;
		bytes -= n;
	}
	return !bytes;
}

static int once(struct _test_data_progress *self)
{
	int rc;

	self->send.sent = 0xdead;
	rc = mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send);
	if (!rc)
		self->send.skip += self->send.sent;
	return rc;
}

/* Send without waiting, in as many pieces as it takes. */
static const char *in_pieces(struct _test_data_progress *self, int *pieces)
{
	struct pollfd poll_out = { .fd = self->pair[0], .events = POLLOUT };
	int rc;

	*pieces = 0;
	while (self->send.skip < self->bytes) {
		rc = once(self);
		if (rc == -EAGAIN) {
			poll(&poll_out, 1, 5000);
			continue;
		}
		if (rc)
			return strerror(-rc);
		if (!self->send.sent)
			return "nothing sent, and no error";
		++*pieces;
	}
	return "";
}

TEST_F(progress, dontwait)
{
	int pieces;

	self->reader.slow = variant->tcp ? 100 : 0;
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	self->send.flags = MIGRATE_FAST_SEND_DONTWAIT;
	EXPECT_STREQ("", in_pieces(self, &pieces));
	EXPECT_LT(1, pieces);
	EXPECT_EQ(self->bytes, self->send.skip);
	pthread_join(self->reader.thread, NULL);
	EXPECT_EQ(self->bytes, self->reader.got);
	EXPECT_TRUE(prefix(self, self->reader.data, self->bytes));
}

TEST_F(progress, nonblocking_socket)
{
	int pieces;

	ASSERT_EQ(0, fcntl(self->pair[0], F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	EXPECT_STREQ("", in_pieces(self, &pieces));
	pthread_join(self->reader.thread, NULL);
	EXPECT_EQ(self->bytes, self->reader.got);
	EXPECT_TRUE(prefix(self, self->reader.data, self->bytes));
}

/* Nobody reads: it ends by itself, and says how far it got. */
TEST_F(progress, eagain_when_full)
{
	self->send.flags = MIGRATE_FAST_SEND_DONTWAIT;
	ASSERT_EQ(0, once(self));
	EXPECT_LT(0, self->send.sent);
	EXPECT_GT(self->bytes, self->send.sent);
	while (!once(self))
		ASSERT_LT(0, self->send.sent);
	EXPECT_EQ(-EAGAIN, once(self));
	/* All that was counted is there to be read, and no byte more. */
	ASSERT_EQ(0, shutdown(self->pair[0], SHUT_WR));
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	pthread_join(self->reader.thread, NULL);
	EXPECT_EQ(self->send.skip, self->reader.got);
	EXPECT_TRUE(prefix(self, self->reader.data, self->reader.got));
}

/* Resumed at every kind of place: within a header, a page, at a border. */
TEST_F(progress, skip)
{
	static const size_t skips[] = {
		0, 1, 15, 16, 17, 4096, 60 * 4096 + 16 + 3, 60 * 4096 + 20,
		1000000, 7654321,
	};
	size_t i, left;

	for (i = 0; i < ARRAY_SIZE(skips); i++) {
		unsigned char *all = malloc(self->bytes);

		left = self->bytes - skips[i];
		self->send.skip = skips[i];
		ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], left));
		ASSERT_EQ(0, once(self));
		EXPECT_EQ(left, self->send.sent);
		pthread_join(self->reader.thread, NULL);
		ASSERT_EQ(left, self->reader.got);
		/* The skipped part is known to be right: compare the rest. */
		for (size_t s = 0, at = 0; s < 64; s++) {
			memcpy(all + at, s & 1 ? self->vm.map +
			       self->segments[s].offset :
			       (unsigned char *)self->header,
			       self->segments[s].bytes);
			at += self->segments[s].bytes;
		}
		EXPECT_EQ(0, memcmp(all + skips[i], self->reader.data, left));
		free(all);
		free(self->reader.data);
	}
}

static void ignore(int signal)
{
}

struct nuisance {
	pthread_t victim;
	bool stop;
};

static void *interrupt(void *arg)
{
	struct nuisance *nuisance = arg;

	while (!__atomic_load_n(&nuisance->stop, __ATOMIC_ACQUIRE)) {
		usleep(5000);
		pthread_kill(nuisance->victim, SIGUSR1);
	}
	return NULL;
}

/* Signals cut it anywhere; no byte is lost or doubled by that. */
TEST_F(progress, signals)
{
	struct sigaction action = { .sa_handler = ignore };
	struct nuisance nuisance = { .victim = pthread_self() };
	int rc, cuts = 0;
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	self->reader.slow = 300;
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	ASSERT_EQ(0, pthread_create(&thread, NULL, interrupt, &nuisance));
	while (self->send.skip < self->bytes) {
		rc = once(self);
		if (rc == -EINTR) {
			cuts++;
			continue;
		}
		ASSERT_EQ(0, rc);
		ASSERT_LT(0, self->send.sent);
		cuts += self->send.skip < self->bytes;
	}
	__atomic_store_n(&nuisance.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	pthread_join(self->reader.thread, NULL);
	EXPECT_LT(0, cuts);
	EXPECT_EQ(self->bytes, self->reader.got);
	EXPECT_TRUE(prefix(self, self->reader.data, self->bytes));
}

/* Waits for room with nothing sent, until a signal comes. */
static void interrupted(struct __test_metadata *_metadata,
			struct _test_data_progress *self, int flags)
{
	struct sigaction action = { .sa_handler = ignore, .sa_flags = flags };
	int rc;

	sigaction(SIGALRM, &action, NULL);
	/* The peer's window may grow meanwhile, but not for ever. */
	do {
		/* Again and again: the first may come before we wait. */
		ualarm(200000, 200000);
		rc = once(self);
		ASSERT_TRUE(rc || self->send.sent);
		ASSERT_GT(self->bytes, self->send.skip);
	} while (!rc);
	ualarm(0, 0);
	EXPECT_EQ(-EINTR, rc);
}

/* Nothing sent and a signal: EINTR, never a restart code of the kernel. */
TEST_F(progress, signal_before_the_first_byte)
{
	interrupted(_metadata, self, 0);
}

/* With SA_RESTART as well: a call with outputs is not simply repeated. */
TEST_F(progress, signal_with_restart)
{
	interrupted(_metadata, self, SA_RESTART);
}

/* The peer goes away in the middle. SIGPIPE would kill this test. */
TEST_F(progress, peer_closes)
{
	int rc = 0;

	self->send.flags = MIGRATE_FAST_SEND_DONTWAIT;
	ASSERT_EQ(0, once(self));
	close(self->pair[1]);
	self->pair[1] = -1;
	usleep(50000);
	self->send.flags = 0;
	while (!rc && self->send.skip < self->bytes) {
		rc = once(self);
		ASSERT_TRUE(rc || self->send.sent);
	}
	EXPECT_TRUE(rc == -EPIPE || rc == -ECONNRESET);
	EXPECT_EQ(-EPIPE, once(self));
}

static void *close_soon(void *arg)
{
	int *sock = arg;
	struct linger hard = { .l_onoff = 1 };

	usleep(200000);
	setsockopt(*sock, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(*sock);
	return NULL;
}

/* A reset while the call waits: progress first, the error in the next call. */
TEST_F(progress, reset_while_waiting)
{
	pthread_t thread;
	int rc;

	ASSERT_EQ(0, pthread_create(&thread, NULL, close_soon, &self->pair[1]));
	rc = once(self);
	pthread_join(thread, NULL);
	self->pair[1] = -1;
	if (!rc) {
		EXPECT_LT(0, self->send.sent);
		EXPECT_GT(self->bytes, self->send.sent);
		rc = once(self);
	}
	EXPECT_TRUE(rc == -EPIPE || rc == -ECONNRESET);
	EXPECT_EQ(-EPIPE, once(self));
}

TEST_F(progress, own_end_is_shut_down)
{
	ASSERT_EQ(0, shutdown(self->pair[0], SHUT_WR));
	EXPECT_EQ(-EPIPE, once(self));
}

TEST_HARNESS_MAIN
