// SPDX-License-Identifier: GPL-2.0
/*
 * A file of mfram and one of tmpfs are given the same random operations: the
 * answers, the errors, the contents, size and allocation must be the same.
 *
 * MF_SEED and MF_SECONDS in the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define LONGEST	(64 * MF_PAGE)
#define TWIN	"/tmp"

FIXTURE(fuzz)
{
	int fds[2];
	unsigned char *maps[2];
	unsigned char *data;
	unsigned char *back[2];
};

FIXTURE_SETUP(fuzz)
{
	int i;

	ASSERT_EQ(0, mf_mount("huge=never"));
	ASSERT_EQ(0, mount("none", TWIN, "tmpfs", 0, "huge=never"));
	self->fds[0] = mf_create(MF_MNT "/ram", 10 * MF_PAGE);
	self->fds[1] = mf_create(TWIN "/ram", 10 * MF_PAGE);
	self->data = malloc(LONGEST);
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, self->fds[i]);
		self->maps[i] = mf_map(self->fds[i], LONGEST,
				       PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, self->maps[i]);
		self->back[i] = malloc(LONGEST);
	}
}

FIXTURE_TEARDOWN(fuzz)
{
	umount2(TWIN, MNT_DETACH);
	umount2(MF_MNT, MNT_DETACH);
}

struct operation {
	unsigned int kind;
	size_t from, bytes;
	unsigned char value;
};

/* What the call returned; or -errno. */
static long perform(struct _test_data_fuzz *self, int i, struct operation *op)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_INSERT_RANGE,
	};
	int fd = self->fds[i];
	unsigned char *map = self->maps[i];
	struct stat st;
	long rc;

	switch (op->kind) {
	case 0:
		rc = pwrite(fd, self->data, op->bytes, op->from);
		break;
	case 1:
		rc = pread(fd, self->back[i], op->bytes, op->from);
		break;
	case 2:
		rc = ftruncate(fd, op->from);
		break;
	case 3:
		rc = fallocate(fd, modes[op->value % ARRAY_SIZE(modes)],
			       op->from, op->bytes);
		break;
	case 4:
		rc = lseek(fd, op->from, SEEK_HOLE);
		break;
	case 5:
		rc = lseek(fd, op->from, SEEK_DATA);
		break;
	case 6:
		rc = madvise(map + (op->from & ~(MF_PAGE - 1)), op->bytes,
			     MADV_REMOVE);
		break;
	case 7:
		/* Stores, to where the file is. */
		rc = fstat(fd, &st);
		if (!rc && op->from + op->bytes <= st.st_size)
			memset(map + op->from, op->value, op->bytes);
		break;
	case 8:
		rc = madvise(map, LONGEST, MADV_DONTNEED);
		break;
	case 9:
		rc = lseek(fd, op->from, SEEK_SET);
		rc = write(fd, self->data, op->bytes % 5000);
		break;
	case 10:
		rc = read(fd, self->back[i], op->bytes);
		break;
	default:
		rc = msync(map, MF_PAGE, MS_SYNC);
		break;
	}
	return rc < 0 ? -errno : rc;
}

/* The same file, twice? */
static const char *differ(struct _test_data_fuzz *self)
{
	struct stat st[2];
	ssize_t n[2];
	int i;

	for (i = 0; i < 2; i++) {
		fstat(self->fds[i], st + i);
		n[i] = pread(self->fds[i], self->back[i], LONGEST, 0);
	}
	if (st[0].st_size != st[1].st_size)
		return "size";
	if (st[0].st_blocks != st[1].st_blocks)
		return "blocks";
	if (n[0] != n[1] || n[0] < 0)
		return "read";
	if (memcmp(self->back[0], self->back[1], n[0]))
		return "contents";
	return "";
}

TEST_F_TIMEOUT(fuzz, like_tmpfs, 600)
{
	unsigned long long until = mf_ms() +
		1000 * mf_environment("MF_SECONDS", 10);
	__u64 random = mf_seed();
	struct operation op;
	unsigned long n, i;
	long rc[2];

	for (n = 0; mf_ms() < until; n++) {
		op.kind = mf_random(&random) % 12;
		op.from = mf_random(&random) % LONGEST;
		op.bytes = mf_random(&random) % 3 ?
			   mf_random(&random) % (3 * MF_PAGE) :
			   mf_random(&random) % LONGEST;
		if (op.from + op.bytes > LONGEST)
			op.bytes = LONGEST - op.from;
		op.value = mf_random(&random);
		for (i = 0; i < op.bytes; i += 8)
			*(__u64 *)(self->data + (i & ~7UL)) = mf_random(&random);
		for (i = 0; i < 2; i++)
			rc[i] = perform(self, i, &op);
		EXPECT_EQ(rc[1], rc[0]);
		EXPECT_STREQ("", differ(self));
		if (!_metadata->passed) {
			TH_LOG("operation %lu: kind %u from %zu bytes %zu value %u",
			       n, op.kind, op.from, op.bytes, op.value);
			break;
		}
	}
	TH_LOG("%lu operations", n);
}

TEST_HARNESS_MAIN
