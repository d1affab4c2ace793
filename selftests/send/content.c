// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_SEND: the peer receives exactly the bytes of the gather.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "pair.h"

#define PAGES 2048UL

FIXTURE(content)
{
	struct mf_vm vm;
	int pair[2];
	struct reader reader;
	struct migrate_fast_segment *segments;
	struct migrate_fast_send send;
	unsigned char *want;
	size_t bytes;
};

FIXTURE_VARIANT(content)
{
	const char *options;
	bool tcp;
};

FIXTURE_VARIANT_ADD(content, tcp)
{
	.options = "huge=never",
	.tcp = true,
};

FIXTURE_VARIANT_ADD(content, unix)
{
	.options = "huge=never",
};

FIXTURE_VARIANT_ADD(content, tcp_huge)
{
	.options = "huge=always",
	.tcp = true,
};

FIXTURE_VARIANT_ADD(content, unix_huge)
{
	.options = "huge=always",
};

FIXTURE_SETUP(content)
{
	size_t i;

	ASSERT_EQ(0, mf_vm_open_grouped(&self->vm, PAGES, variant->options));
	for (i = 0; i < PAGES * MF_PAGE / 8; i++)
		((__u64 *)self->vm.map)[i] = (i + 1) * 0x9e3779b97f4a7c15;
	ASSERT_EQ(0, make_pair(self->pair, variant->tcp));
	self->reader.slow = 0;
	self->segments = calloc(MIGRATE_FAST_MAX_SEGMENTS,
				sizeof(*self->segments));
	self->send = (struct migrate_fast_send){
		.sock = self->pair[0],
		.segments = (uintptr_t)self->segments,
	};
	self->want = malloc(2 * PAGES * MF_PAGE);
	self->bytes = 0;
}

FIXTURE_TEARDOWN(content)
{
	close(self->pair[0]);
	close(self->pair[1]);
	mf_vm_close_grouped(&self->vm);
}

static void add_user(struct _test_data_content *self, const void *data,
		     size_t bytes)
{
	self->segments[self->send.count++] = (struct migrate_fast_segment){
		.ram = MIGRATE_FAST_SEGMENT_USER,
		.offset = (uintptr_t)data, .bytes = bytes,
	};
	memcpy(self->want + self->bytes, data, bytes);
	self->bytes += bytes;
}

static void add_ram(struct _test_data_content *self, size_t offset, size_t bytes)
{
	self->segments[self->send.count++] = (struct migrate_fast_segment){
		.ram = self->vm.ram, .offset = offset, .bytes = bytes,
	};
	if (pread(self->vm.fd, self->want + self->bytes, bytes, offset) < 0)
		abort();
	self->bytes += bytes;
}

/* Send all, in as many calls as it takes, and compare. */
static const char *transfer(struct _test_data_content *self)
{
	int rc, calls = 0;

	if (reader_start(&self->reader, self->pair[1], self->bytes))
		return "no thread";
	while (self->send.skip < self->bytes) {
		rc = mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send);
		if (rc)
			return strerror(-rc);
		if (!self->send.sent)
			return "nothing sent, and no error";
		self->send.skip += self->send.sent;
		calls++;
	}
	pthread_join(self->reader.thread, NULL);
	if (self->send.skip != self->bytes)
		return "sent too much";
	if (self->reader.got != self->bytes)
		return "received too little";
	if (memcmp(self->reader.data, self->want, self->bytes))
		return "other bytes";
	return calls == 1 ? "" : "in several calls";
}

TEST_F(content, one_page)
{
	add_ram(self, 5 * MF_PAGE, MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, user_bytes_only)
{
	add_user(self, "just a header", 13);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, one_byte)
{
	add_ram(self, 12345, 1);
	EXPECT_STREQ("", transfer(self));
}

/* A frame as the tool makes them: header, runs, header, run. */
TEST_F(content, headers_and_runs)
{
	static char headers[100][33];
	size_t i;

	for (i = 0; i < 100; i++) {
		snprintf(headers[i], sizeof(headers[i]), "frame %zu", i);
		add_user(self, headers[i], sizeof(headers[i]));
		add_ram(self, i * 17 * MF_PAGE, (1 + i % 9) * MF_PAGE);
	}
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, odd_offsets)
{
	__u64 random = 99;
	size_t i, from;

	for (i = 0; i < 300; i++) {
		from = mf_random(&random) % (PAGES * MF_PAGE - 20000);
		if (i % 3)
			add_ram(self, from, 1 + mf_random(&random) % 20000);
		else
			add_user(self, self->vm.map + from,
				 1 + mf_random(&random) % 2000);
	}
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, same_page_many_times)
{
	size_t i;

	for (i = 0; i < 500; i++)
		add_ram(self, 7 * MF_PAGE, MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, all_segments)
{
	size_t i;

	for (i = 0; i < MIGRATE_FAST_MAX_SEGMENTS; i++)
		add_ram(self, i * MF_PAGE + i, 100);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, large_run)
{
	add_user(self, "header", 6);
	add_ram(self, 0, PAGES * MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, to_a_slow_reader)
{
	self->reader.slow = 1000;
	add_ram(self, 100, 200 * MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

/* Holes are zeroes on the wire and stay holes here. */
TEST_F(content, holes)
{
	struct stat before, after;

	ASSERT_EQ(0, madvise(mf_page(&self->vm, 512), 1024 * MF_PAGE,
			     MADV_REMOVE));
	add_user(self, "header", 6);
	add_ram(self, 510 * MF_PAGE + 50, 300 * MF_PAGE);
	add_ram(self, 1000 * MF_PAGE, 10);
	add_ram(self, 1530 * MF_PAGE, 10 * MF_PAGE);
	ASSERT_EQ(0, madvise(mf_page(&self->vm, 512), 1024 * MF_PAGE,
			     MADV_REMOVE));
	ASSERT_EQ(0, fstat(self->vm.fd, &before));
	EXPECT_STREQ("", transfer(self));
	ASSERT_EQ(0, fstat(self->vm.fd, &after));
	EXPECT_EQ(before.st_blocks, after.st_blocks);
}

TEST_F(content, a_file_of_nothing_but_holes)
{
	ASSERT_EQ(0, madvise(self->vm.map, PAGES * MF_PAGE, MADV_REMOVE));
	add_ram(self, 0, PAGES * MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, from_swap)
{
	ASSERT_EQ(0, mf_swap_on(64 << 20));
	add_ram(self, 0, 100 * MF_PAGE);
	EXPECT_EQ(100, mf_swap_out(self->vm.map, 100 * MF_PAGE));
	EXPECT_STREQ("", transfer(self));
}

TEST_F(content, two_files)
{
	int fd = mf_create(MF_MNT "/other", 100 * MF_PAGE);
	struct migrate_fast_add add;
	size_t i;

	for (i = 0; i < 100; i++) {
		char page[MF_PAGE];

		memset(page, i, MF_PAGE);
		ASSERT_EQ(MF_PAGE, pwrite(fd, page, MF_PAGE, i * MF_PAGE));
	}
	ASSERT_EQ(0, mf_add(self->vm.session, fd, &add));
	for (i = 0; i < 100; i++) {
		add_ram(self, i * MF_PAGE, MF_PAGE);
		add_ram(self, i * MF_PAGE, MF_PAGE);
		self->segments[self->send.count - 1].ram = add.ram;
		memset(self->want + self->bytes - MF_PAGE, i, MF_PAGE);
	}
	EXPECT_STREQ("", transfer(self));
}

/* MORE holds back a last small piece; what follows flushes it. */
TEST_F(content, more)
{
	add_user(self, "first", 5);
	self->send.flags = MIGRATE_FAST_SEND_MORE;
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send));
	EXPECT_EQ(5, self->send.sent);
	self->send.skip = 5;
	add_ram(self, 100, 50);
	self->send.flags = 0;
	EXPECT_STREQ("", transfer(self));
}

/* Without MORE nothing is held back, however small its last piece is. */
TEST_F(content, last_piece_is_not_held_back)
{
	unsigned long long start, took, least = ~0ULL;
	int i;

	for (i = 0; i < 5; i++) {
		start = mf_ms();

		self->send.count = 0;
		self->send.skip = 0;
		self->bytes = 0;
		add_user(self, "header", 6);
		add_ram(self, 0, 3 * MF_PAGE + 10);
		EXPECT_STREQ("", transfer(self));
		took = mf_ms() - start;
		least = took < least ? took : least;
	}
	/* A corked socket would wait for 200 ms, each time. */
	EXPECT_GT(190, least);
}

/* Pages that are written after the call: TCP may send the new bytes. */
TEST_F(content, page_changes_on_the_way)
{
	int i;

	add_ram(self, 0, 4 * MF_PAGE);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send));
	ASSERT_EQ(4 * MF_PAGE, self->send.sent);
	memset(self->vm.map, 0xcc, 4 * MF_PAGE);
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	pthread_join(self->reader.thread, NULL);
	ASSERT_EQ(self->bytes, self->reader.got);
	/* Old or new: nothing else. */
	for (i = 0; i < 4 * MF_PAGE; i++)
		ASSERT_TRUE(self->reader.data[i] == self->want[i] ||
			    self->reader.data[i] == 0xcc);
}

/* The file may be gone before its bytes are read. */
TEST_F(content, file_is_removed_on_the_way)
{
	add_ram(self, 0, 16 * MF_PAGE);
	ASSERT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_SEND, &self->send));
	ASSERT_EQ(16 * MF_PAGE, self->send.sent);
	ASSERT_EQ(0, ftruncate(self->vm.fd, 0));
	ASSERT_EQ(0, reader_start(&self->reader, self->pair[1], self->bytes));
	pthread_join(self->reader.thread, NULL);
	ASSERT_EQ(self->bytes, self->reader.got);
}

/* Encryption in the kernel: the session's send works, without by-reference. */
TEST_F(content, kernel_tls)
{
	struct tls12_crypto_info_aes_gcm_128 key = {
		.info.version = TLS_1_3_VERSION,
		.info.cipher_type = TLS_CIPHER_AES_GCM_128,
	};

	if (!variant->tcp)
		return;
	mf_modprobe("tls", NULL);
	if (setsockopt(self->pair[0], SOL_TCP, TCP_ULP, "tls", sizeof("tls")))
		SKIP(return, "no kernel TLS here");
	ASSERT_EQ(0, setsockopt(self->pair[1], SOL_TCP, TCP_ULP, "tls",
				sizeof("tls")));
	ASSERT_EQ(0, setsockopt(self->pair[0], SOL_TLS, TLS_TX, &key,
				sizeof(key)));
	ASSERT_EQ(0, setsockopt(self->pair[1], SOL_TLS, TLS_RX, &key,
				sizeof(key)));
	add_user(self, "header", 6);
	add_ram(self, 1000, 30 * MF_PAGE);
	add_user(self, "middle", 6);
	add_ram(self, 500 * MF_PAGE, 3 * MF_PAGE);
	EXPECT_STREQ("", transfer(self));
}

/* A little traffic on each CPU: receivers free what they have read by and by. */
static void stir_network(void)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons(9),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int cpu, sock = socket(AF_INET, SOCK_DGRAM, 0);
	cpu_set_t set;

	for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		sched_setaffinity(0, sizeof(set), &set);
		sendto(sock, "x", 1, 0, (void *)&addr, sizeof(addr));
	}
	close(sock);
}

/* What was sent and read is nobody's any more: no page stays referenced. */
TEST_F(content, pages_come_free)
{
	unsigned long long limit;
	int i = 0;

	add_ram(self, 0, 64 * MF_PAGE);
	EXPECT_STREQ("", transfer(self));
	ASSERT_EQ(0, mf_start(self->vm.session));
	limit = mf_ms() + MF_PATIENCE_MS;
	do {
		if (i++)
			usleep(10000);
		stir_network();
		memset(self->vm.map, i, 64 * MF_PAGE);
		mf_harvest(&self->vm);
	} while (self->vm.carried && mf_ms() < limit);
	EXPECT_EQ(0, self->vm.carried);
}

TEST_HARNESS_MAIN
