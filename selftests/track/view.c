// SPDX-License-Identifier: GPL-2.0
/*
 * Views, mappings that cannot write (private, or of a descriptor for reading):
 * the kernel's walks over the mappings of a file end at one, and who maps
 * later than it must be cleaned all the same (kmod/view.c).
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "fixture.h"

enum view { READ_ONLY, PRIVATE };

static unsigned char *make_view(struct mf_vm *vm, enum view kind)
{
	int fd = open(vm->path, kind == READ_ONLY ? O_RDONLY : O_RDWR);
	unsigned char *map;

	if (fd < 0)
		return NULL;
	map = mmap(NULL, PAGES * MF_PAGE,
		   kind == READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE,
		   kind == READ_ONLY ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	close(fd);
	return map == MAP_FAILED ? NULL : map;
}

/* A writer that maps after the view: that is where the kernel puts it. */
static unsigned char *later_writer(struct mf_vm *vm)
{
	return mf_map(vm->fd, PAGES * MF_PAGE, PROT_READ | PROT_WRITE);
}

/* Runs, and isolated pages; again and again, so that cleaning is what is tested. */
static void expect_seen(struct __test_metadata *_metadata, struct mf_vm *vm,
			unsigned char *map)
{
	int i;

	for (i = 1; i < 4; i++) {
		memset(map + 100 * MF_PAGE, i, 8 * MF_PAGE);
		memset(map + 300 * MF_PAGE, i, MF_PAGE);
		memset(map + 512 * MF_PAGE, i, 256 * MF_PAGE);
		EXPECT_STREQ("100-107,300,512-767", mf_harvest(vm));
		EXPECT_STREQ("", mf_harvest(vm));
	}
}

static void expect_seen_behind(struct __test_metadata *_metadata,
			       struct mf_vm *vm, enum view kind)
{
	unsigned char *view = make_view(vm, kind), *writer;

	ASSERT_TRUE(view);
	writer = later_writer(vm);
	ASSERT_TRUE(writer);
	expect_seen(_metadata, vm, writer);
	/* With pages of it mapped in the view, too. */
	EXPECT_EQ(3, view[103 * MF_PAGE]);
	EXPECT_EQ(3, view[600 * MF_PAGE]);
	expect_seen(_metadata, vm, writer);
	/* And when it is gone. */
	EXPECT_EQ(0, munmap(view, PAGES * MF_PAGE));
	expect_seen(_metadata, vm, writer);
}

TEST_F(track, behind_a_read_only_mapping)
{
	expect_seen_behind(_metadata, &self->vm, READ_ONLY);
}

TEST_F(track, behind_a_private_mapping)
{
	expect_seen_behind(_metadata, &self->vm, PRIVATE);
}

/* A part of a view is one, and so is what fork() and mremap() make of it. */
TEST_F(track, behind_what_is_left_of_a_view)
{
	unsigned char *view = make_view(&self->vm, READ_ONLY), *writer;
	size_t half = PAGES * MF_PAGE / 2;
	void *other;

	ASSERT_TRUE(view);
	other = mmap(NULL, half, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, other);
	EXPECT_EQ(0, munmap(view + half, half));
	EXPECT_EQ(other, mremap(view, half, half, MREMAP_MAYMOVE | MREMAP_FIXED,
				other));
	writer = later_writer(&self->vm);
	ASSERT_TRUE(writer);
	expect_seen(_metadata, &self->vm, writer);
}

TEST_F(track, behind_a_view_of_a_child)
{
	unsigned char *view = make_view(&self->vm, PRIVATE), *writer;
	pid_t pid;

	ASSERT_TRUE(view);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	EXPECT_EQ(0, munmap(view, PAGES * MF_PAGE));
	writer = later_writer(&self->vm);
	ASSERT_TRUE(writer);
	expect_seen(_metadata, &self->vm, writer);
	EXPECT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-EINTR, mf_wait(pid));
	expect_seen(_metadata, &self->vm, writer);
}

/* START cleans what is writable already. */
TEST_F(track, written_before_start_behind_a_view)
{
	unsigned char *view, *writer;

	ASSERT_EQ(0, mf_stop(self->vm.session));
	view = make_view(&self->vm, READ_ONLY);
	ASSERT_TRUE(view);
	writer = later_writer(&self->vm);
	ASSERT_TRUE(writer);
	memset(writer, 7, PAGES * MF_PAGE);
	ASSERT_EQ(0, mf_start(self->vm.session));
	EXPECT_STREQ("", mf_harvest(&self->vm));
	expect_seen(_metadata, &self->vm, writer);
}

TEST_HARNESS_MAIN
