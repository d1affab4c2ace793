// SPDX-License-Identifier: GPL-2.0
/*
 * Who may share with whom: what the operator has written is taken at its word,
 * and where it has none, or none that is understood, nobody shares.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "../../tools/lib/say.h"
#include "../../tools/store/sharing.h"

#define MUTATIONS	3000

/* Each VM of it stands for one way to share. */
static const char good[] =
	"# who shares\n"
	"[group a]\n"
	"vms = a-*, x1\n"
	"share = group\n"
	"\n"
	"  [group b]\n"
	"\tvms = b-[0-9]*\n"
	"\tvms = bb-?\n"
	"\tshare=group\n"
	"[group h]\n"
	"share: host\n"
	"vms = h-*\n"
	"[group i]\n"
	"vms = i-*\n"
	"[others]\n"
	"share = host\n";

FIXTURE(sharing)
{
	char path[64];
};

static void write_file(const char *path, const void *text, size_t length)
{
	FILE *file = fopen(path, "w");

	if (!file || fwrite(text, 1, length, file) != length || fclose(file))
		abort();
}

FIXTURE_SETUP(sharing)
{
	int fd;

	strcpy(self->path, "/tmp/sharing.XXXXXX");
	fd = mkstemp(self->path);
	ASSERT_LE(0, fd);
	close(fd);
}

FIXTURE_TEARDOWN(sharing)
{
	sharing_unload();
	unlink(self->path);
}

static void load(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
	sharing_load(path, NULL);
}

/* May @vm take from memory of @owner? */
static enum sharing memory(const char *owner, const char *vm)
{
	struct source source = { .kind = KIND_KEPT, .format = FORMAT_RAM,
				 .of = (char *)owner };

	return sharing_find(&source, vm);
}

/* From an image, or a RAM file, that was named for one of these? */
static enum sharing named(enum format format, const char *for_vm,
			  const char *for_group, const char *vm)
{
	struct source source = {
		.kind = format == FORMAT_RAM ? KIND_RAM : KIND_IMAGE,
		.format = format,
		.vms = for_vm ? json_pack("[s]", for_vm) : json_array(),
		.groups = for_group ? json_pack("[s]", for_group) : NULL,
	};
	enum sharing found = sharing_find(&source, vm);

	source_free(&source);
	return found;
}

TEST_F(sharing, nobody_without_a_word)
{
	sharing_unload();
	EXPECT_EQ(SHARING_PAST, memory("a-1", "a-1"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", "a-2"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", NULL));
	EXPECT_EQ(SHARING_NAMED, named(FORMAT_RAW, "a-1", NULL, "a-1"));
	EXPECT_EQ(SHARING_NAMED_ALL, named(FORMAT_RAW, "*", NULL, "a-1"));
	EXPECT_EQ(SHARING_NAMED_ALL, named(FORMAT_RAW, "*", NULL, NULL));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "a-1", NULL, "a-2"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "a-1", NULL, NULL));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "a", "a-1"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, NULL, "a-1"));
}

TEST_F(sharing, memory)
{
	load(self->path, good);
	EXPECT_EQ(SHARING_PAST, memory("a-1", "a-1"));
	EXPECT_EQ(SHARING_GROUP, memory("a-1", "a-2"));
	EXPECT_EQ(SHARING_GROUP, memory("x1", "a-2"));
	EXPECT_EQ(SHARING_GROUP, memory("b-1", "bb-2"));
	EXPECT_EQ(SHARING_GROUP, memory("h-1", "h-2"));
	EXPECT_EQ(SHARING_HOST, memory("h-1", "other"));
	EXPECT_EQ(SHARING_HOST, memory("other", "h-1"));
	EXPECT_EQ(SHARING_HOST, memory("other", "another"));
	/* Across tenants, either way; who shares with all takes from no tenant. */
	EXPECT_EQ(SHARING_NONE, memory("a-1", "b-1"));
	EXPECT_EQ(SHARING_NONE, memory("b-1", "a-1"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", "h-1"));
	EXPECT_EQ(SHARING_NONE, memory("h-1", "a-1"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", "other"));
	/* A group that does not say share does not. */
	EXPECT_EQ(SHARING_NONE, memory("i-1", "i-2"));
	EXPECT_EQ(SHARING_PAST, memory("i-1", "i-1"));
	/* Names that only look like it. */
	EXPECT_EQ(SHARING_NONE, memory("a-1", "a"));
	EXPECT_EQ(SHARING_NONE, memory("b-1", "b-x"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", ""));
	EXPECT_EQ(SHARING_NONE, memory("other", NULL));
}

TEST_F(sharing, images)
{
	load(self->path, good);
	EXPECT_EQ(SHARING_NAMED, named(FORMAT_RAW, "b-1", NULL, "b-1"));
	EXPECT_EQ(SHARING_NAMED_GROUP, named(FORMAT_RAW, NULL, "b", "b-1"));
	EXPECT_EQ(SHARING_NAMED_GROUP, named(FORMAT_RAW, NULL, "i", "i-1"));
	EXPECT_EQ(SHARING_NAMED_ALL, named(FORMAT_RAM, "*", NULL, "i-1"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "a", "b-1"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "a", "h-1"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "none", "h-1"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "b-1", NULL, "b-2"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "b-1", NULL, "h-1"));
	EXPECT_EQ(SHARING_HOST, named(FORMAT_RAW, "h-2", NULL, "h-1"));
	EXPECT_EQ(SHARING_HOST, named(FORMAT_RAW, "h-1", "h", "other"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "h-1", "a", "other"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, NULL, "h-1"));
	/* Nobody has said whose memory that is. */
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAM, "h-2", NULL, "h-1"));
}

TEST_F(sharing, named_like_a_list)
{
	load(self->path, good);
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "a", "a"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "b-1", NULL, "*"));
	EXPECT_EQ(SHARING_NONE, memory("a-1", "*"));
	EXPECT_EQ(SHARING_NONE, memory("b-1", "b-[0-9]*"));
}

TEST_F(sharing, torn_between_two_groups)
{
	load(self->path,
	     "[group a]\nvms = a*\nshare = host\n"
	     "[group b]\nvms = *b\nshare = host\n");
	EXPECT_TRUE(policy_find(sharing_policy(), "ab").torn);
	EXPECT_EQ(SHARING_NONE, memory("a1", "ab"));
	EXPECT_EQ(SHARING_NONE, memory("ab", "a1"));
	EXPECT_EQ(SHARING_NONE, memory("1b", "ab"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, NULL, "a", "ab"));
	EXPECT_EQ(SHARING_NONE, named(FORMAT_RAW, "a1", NULL, "ab"));
	EXPECT_EQ(SHARING_PAST, memory("ab", "ab"));
	EXPECT_EQ(SHARING_HOST, memory("a1", "1b"));
}

/* The line that is told; 0: it is none. */
static unsigned int line_of(const char *path, const char *text, size_t length)
{
	struct policy policy;
	unsigned int line = 0;
	char *cause;
	int ret;

	write_file(path, text, length);
	ret = policy_read(&policy, path);
	if (policy.nr_groups && ret)
		abort();
	policy_free(&policy);
	if (!ret)
		return 0;
	cause = fail_take();
	if (strncmp(cause, path, strlen(path)) ||
	    sscanf(cause + strlen(path), ":%u: ", &line) != 1)
		line = ~0U;
	free(cause);
	return line;
}

TEST_F(sharing, bad_lines)
{
	static const struct {
		unsigned int line;
		const char *text;
	} cases[] = {
		{ 1, "share = host\n" },
		{ 1, "nonsense\n" },
		{ 1, "[group a\nvms = a\n" },
		{ 2, "[group]\nvms = a\n" },
		{ 2, "[group ]\nvms = a\n" },
		{ 2, "[group a b]\nvms = a\n" },
		{ 2, "[group ../a]\nvms = a\n" },
		{ 2, "[Group a]\nvms = a\n" },
		{ 2, "[tenants]\nvms = a\n" },
		{ 2, "[group aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nvms = a\n" },
		{ 2, "[group a]\nvm = a\n" },
		{ 2, "[group a]\nVMS = a\n" },
		{ 2, "[group a]\nvms =\n" },
		{ 2, "[group a]\nvms = ,\n" },
		{ 2, "[group a]\nshare = host\n" },
		{ 3, "[group a]\nvms = a\nshare =\n" },
		{ 3, "[group a]\nvms = a\nshare = hosts\n" },
		{ 3, "[group a]\nvms = a\nshare = Host\n" },
		{ 3, "[group a]\nvms = a\nshare = group host\n" },
		{ 3, "[group a]\nvms = a\nshare = group # host\n" },
		{ 4, "[group a]\nvms = a\nshare = group\nshare = host\n" },
		{ 4, "[group a]\nvms = a\nshare = host\nshare = host\n" },
		{ 2, "[group a]\nvms = a # b c\n" },
		{ 2, "[group a]\nvms = \"a\"\n" },
		{ 1, "[group a] vms = a\n" },
		{ 3, "# a\n\n[group a] # all of them\nvms = a\n" },
		{ 6, "[group a]\nvms = a\n[others]\nshare = own\n[group a]\nvms = b\n" },
		{ 4, "[group a]\nvms = a\n[group  a]\nvms = b\n" },
		{ 4, "[group a]\nvms = a\n[group b]\nvms = a\n" },
		{ 4, "[group a]\nvms = tenant-a*\n[group ab]\nvms = tenant-ab-*\n" },
		{ 4, "[group ab]\nvms = tenant-ab-*\n[group a]\nvms = tenant-a*\n" },
		{ 4, "[group a]\nvms = *\n[group b]\nvms = b c d\n" },
		{ 2, "[others]\nvms = a\n" },
		{ 2, "[others]\nshare = group\n" },
		{ 3, "[others]\nshare = own\nshare = host\n" },
		{ 3, "[group a]\nvms = a\nnonsense\nshare = hosts\n" },
		{ 3, "[group a]\nvms = a\nshare = hosts\nnonsense\n" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT_EQ(cases[i].line, line_of(self->path, cases[i].text,
						 strlen(cases[i].text))) {
			TH_LOG("case %zu", i);
		}
}

TEST_F(sharing, long_lines_and_zero_bytes)
{
	char text[1024];

	/* What the library would take for a line of its own. */
	snprintf(text, sizeof(text), "[group a]\nvms = a\n#%*s\n", 500, "share = host");
	EXPECT_EQ(3, line_of(self->path, text, strlen(text)));
	snprintf(text, sizeof(text), "[group a]\nvms = %0300d\n", 1);
	EXPECT_EQ(2, line_of(self->path, text, strlen(text)));
	memcpy(text, "[group a]\nvms = a\nshare = own\0\n", 31);
	EXPECT_EQ(3, line_of(self->path, text, 31));
	EXPECT_EQ(0, line_of(self->path, "[group a]\r\nvms = a\r\nshare = own\r\n", 33));
	EXPECT_EQ(0, line_of(self->path, "[group a]\nvms = a\nshare = own", 29));
	EXPECT_EQ(0, line_of(self->path, "", 0));
}

TEST_F(sharing, bad_files)
{
	struct policy policy;

	EXPECT_EQ(1, policy_read(&policy, "/nonexistent"));
	EXPECT_EQ(NULL, fail_text());
	EXPECT_EQ(-1, policy_read(&policy, "/dev/zero"));
	free(fail_take());
	EXPECT_EQ(-1, policy_read(&policy, "/tmp"));
	free(fail_take());
	load(self->path, good);
	EXPECT_EQ(SHARING_GROUP, memory("a-1", "a-2"));
	ASSERT_EQ(0, chmod(self->path, 0620));
	sharing_load(self->path, NULL);
	EXPECT_EQ(SHARING_NONE, memory("a-1", "a-2"));
	ASSERT_EQ(0, chmod(self->path, 0602));
	sharing_load(self->path, NULL);
	EXPECT_EQ(SHARING_NONE, memory("a-1", "a-2"));
	ASSERT_EQ(0, chmod(self->path, 0644));
	if (!geteuid()) {
		ASSERT_EQ(0, chown(self->path, 1000, 0));
		sharing_load(self->path, NULL);
		EXPECT_EQ(SHARING_NONE, memory("a-1", "a-2"));
		ASSERT_EQ(0, chown(self->path, 0, 0));
	}
	sharing_load(self->path, NULL);
	EXPECT_EQ(SHARING_GROUP, memory("a-1", "a-2"));
	sharing_load("/nonexistent", NULL);
	EXPECT_EQ(SHARING_NONE, memory("a-1", "a-2"));
	EXPECT_EQ(NULL, fail_text());
}

static const char apart[] =
	"[group a]\n"
	"vms = a-*\n"
	"share = group\n"
	"[group b]\n"
	"vms = b-*\n"
	"share = group\n";
static const char bytes[] = "\n[]=:#; \t*?,\\\"-!\0abghostpruvm\xff";

/* One slip of the pen does not bring two tenants together. */
TEST_F(sharing, one_byte_wrong)
{
	char text[sizeof(apart)];
	unsigned int tried = 0, refused = 0;
	size_t at, i;

	for (at = 0; at < sizeof(apart) - 1; at++) {
		for (i = 0; i <= sizeof(bytes) - 1; i++) {
			size_t length = sizeof(apart) - 1;

			memcpy(text, apart, length);
			/* The last is that it is not there. */
			if (i < sizeof(bytes) - 1)
				text[at] = bytes[i];
			else
				memmove(text + at, text + at + 1,
					--length - at);
			tried++;
			if (line_of(self->path, text, length)) {
				refused++;
				continue;
			}
			sharing_load(self->path, NULL);
			if (memory("a-1", "b-1") || memory("b-1", "a-1"))
				EXPECT_TRUE(false) {
					TH_LOG("%.*s", (int)length, text);
				}
		}
	}
	TH_LOG("%u of %u were refused", refused, tried);
	EXPECT_LT(tried / 2, refused);
}

/* Refused with its line, or taken; no more than that. */
TEST_F(sharing, many_bytes_wrong)
{
	char text[sizeof(good)];
	unsigned int i, k;
	size_t at, lost;

	srandom(1);
	for (i = 0; i < MUTATIONS; i++) {
		size_t length = sizeof(good) - 1;

		memcpy(text, good, length);
		for (k = 0; k < 1 + i % 8; k++) {
			at = (size_t)random() % length;
			lost = (size_t)random() % (length - at < 20 ?
						   length - at : 20);
			text[at] = bytes[(size_t)random() %
					 (sizeof(bytes) - 1)];
			if (random() % 4)
				continue;
			memmove(text + at, text + at + lost,
				length - at - lost);
			length -= lost;
		}
		EXPECT_NE(~0U, line_of(self->path, text, length)) {
			TH_LOG("%.*s", (int)length, text);
		}
	}
}

/* A RAM file that another one has replaced is not whose it was. */
TEST_F(sharing, another_file)
{
	struct source source = { .kind = KIND_RAM, .format = FORMAT_RAM,
				 .path = self->path, .of = "a-1",
				 .indexed = 1 };
	char other[80];

	ASSERT_EQ(0, source_stamp(self->path, &source.stamp));
	EXPECT_EQ(SOURCE_UNTOLD, source_state(&source));
	snprintf(other, sizeof(other), "%s.new", self->path);
	write_file(other, "", 0);
	ASSERT_EQ(0, rename(other, self->path));
	EXPECT_EQ(SOURCE_GONE, source_state(&source));
	source.indexed = 0;
	EXPECT_EQ(SOURCE_GONE, source_state(&source));
}

TEST_HARNESS_MAIN
