// SPDX-License-Identifier: GPL-2.0
/*
 * MIGRATE_FAST_HARVEST as a call: ranges, outputs, errors. What it must find
 * is the matter of the suite "track".
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "mf_test.h"

#define PAGES 1000

FIXTURE(harvest)
{
	struct mf_vm vm;
};

FIXTURE_SETUP(harvest)
{
	ASSERT_EQ(0, mf_vm_open(&self->vm, PAGES, NULL));
	ASSERT_EQ(0, mf_start(self->vm.session));
}

FIXTURE_TEARDOWN(harvest)
{
	mf_vm_close(&self->vm);
}

static int harvest(struct mf_vm *vm, struct migrate_fast_harvest h)
{
	return mf_ioctl(vm->session, MIGRATE_FAST_HARVEST, &h);
}

TEST_F(harvest, once_only)
{
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	EXPECT_STREQ("0-999", mf_harvest(&self->vm));
	EXPECT_EQ(1000, self->vm.dirty);
	EXPECT_EQ(0, self->vm.carried);
	EXPECT_STREQ("", mf_harvest(&self->vm));
	EXPECT_EQ(0, self->vm.dirty);
}

TEST_F(harvest, of_a_range)
{
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	EXPECT_STREQ("128-191", mf_harvest_range(&self->vm, 128, 64));
	EXPECT_STREQ("64-66", mf_harvest_range(&self->vm, 64, 3));
	EXPECT_STREQ("67-127", mf_harvest_range(&self->vm, 64, 128));
	EXPECT_STREQ("960-999", mf_harvest_range(&self->vm, 960, 0));
	EXPECT_STREQ("0", mf_harvest_range(&self->vm, 0, 1));
	EXPECT_STREQ("1-63,192-959", mf_harvest(&self->vm));
}

/* Where a file ends whose length is a multiple of 64: there is nothing. */
TEST_F(harvest, of_no_page)
{
	struct migrate_fast_peek peek = { .start = 128 };
	struct migrate_fast_harvest h = { .start = 128 };
	struct migrate_fast_digest digest;
	struct migrate_fast_hash hash = {
		.start = 128, .digests = (uintptr_t)&digest, .max = 1,
	};

	mf_vm_close(&self->vm);
	ASSERT_EQ(0, mf_vm_open(&self->vm, 128, NULL));
	ASSERT_EQ(0, mf_start(self->vm.session));
	memset(self->vm.map, 1, 128 * MF_PAGE);
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(128, h.next);
	EXPECT_EQ(0, h.dirty + h.carried);
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_PEEK, &peek));
	EXPECT_EQ(0, peek.dirty);
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HASH, &hash));
	EXPECT_EQ(128, hash.next);
	EXPECT_EQ(0, hash.count);
	EXPECT_STREQ("0-127", mf_harvest(&self->vm));
}

TEST_F(harvest, ors_into_the_bitmap)
{
	struct migrate_fast_harvest h = {};

	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	self->vm.bitmap[0] = 0xf0;
	self->vm.bitmap[3] = 1;
	mf_page(&self->vm, 0)[0] = 1;
	mf_page(&self->vm, 100)[0] = 1;
	EXPECT_EQ(0, mf_ioctl(self->vm.session, MIGRATE_FAST_HARVEST, &h));
	EXPECT_EQ(2, h.dirty);
	EXPECT_EQ(PAGES, h.next);
	EXPECT_EQ(0xf1, self->vm.bitmap[0]);
	EXPECT_EQ(1ULL << 36, self->vm.bitmap[1]);
	EXPECT_EQ(1, self->vm.bitmap[3]);
}

TEST_F(harvest, enoent)
{
	EXPECT_EQ(-ENOENT, harvest(&self->vm, (struct migrate_fast_harvest){
		.ram = 1 }));
	EXPECT_EQ(-ENOENT, harvest(&self->vm, (struct migrate_fast_harvest){
		.ram = MIGRATE_FAST_MAX_RAM }));
	EXPECT_EQ(-ENOENT, harvest(&self->vm, (struct migrate_fast_harvest){
		.ram = 0xffffffff }));
}

TEST_F(harvest, start_not_a_multiple_of_64)
{
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 1, .pages = 64 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 63 }));
}

TEST_F(harvest, range_leaves_the_file)
{
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.pages = PAGES + 1 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 960, .pages = 41 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 1024, .pages = 1 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 64, .pages = -64ULL }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = -64ULL, .pages = 128 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.start = 1ULL << 63 }));
}

/* A refused call has taken nothing. */
TEST_F(harvest, errors_lose_nothing)
{
	mf_page(&self->vm, 3)[0] = 1;
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.pages = PAGES + 1 }));
	EXPECT_EQ(-EINVAL, harvest(&self->vm, (struct migrate_fast_harvest){
		.flags = 2 }));
	EXPECT_STREQ("3", mf_harvest(&self->vm));
}

TEST_F(harvest, enodata)
{
	ASSERT_EQ(0, mf_stop(self->vm.session));
	EXPECT_EQ(-ENODATA, harvest(&self->vm, (struct migrate_fast_harvest){}));
}

struct race {
	struct mf_vm *vm;
	__u64 dirty;
	int errors;
};

static void *harvester(void *arg)
{
	struct race *race = arg;
	int i;

	for (i = 0; i < 200; i++) {
		struct migrate_fast_harvest h = {};

		if (mf_ioctl(race->vm->session, MIGRATE_FAST_HARVEST, &h))
			race->errors++;
		race->dirty += h.dirty - h.carried;
		if (h.next != PAGES)
			race->errors++;
	}
	return NULL;
}

/* Two threads may harvest one session: each page goes to just one of them. */
TEST_F(harvest, by_two_threads)
{
	struct race race[2] = { { .vm = &self->vm }, { .vm = &self->vm } };
	pthread_t threads[2];
	int i;

	memset(self->vm.bitmap, 0, self->vm.bitmap_bytes);
	memset(self->vm.map, 1, PAGES * MF_PAGE);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(threads + i, NULL, harvester,
					    race + i));
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, race[0].errors + race[1].errors);
	EXPECT_EQ(PAGES, race[0].dirty + race[1].dirty);
	EXPECT_STREQ("0-999", mf_list(self->vm.bitmap, PAGES));
}

TEST_HARNESS_MAIN
