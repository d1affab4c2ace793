// SPDX-License-Identifier: GPL-2.0
/* Who may share with whom; see sharing.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "sharing.h"

static struct policy policy;

static const char *const texts[] = {
	[SHARING_NONE] = "no",
	[SHARING_PAST] = "its own memory",
	[SHARING_NAMED] = "named for it",
	[SHARING_NAMED_GROUP] = "named for its group",
	[SHARING_NAMED_ALL] = "named for all",
	[SHARING_GROUP] = "its group shares",
	[SHARING_HOST] = "both share with the host",
};

const char *sharing_text(enum sharing sharing)
{
	return texts[sharing];
}

const struct policy *sharing_policy(void)
{
	return &policy;
}

void sharing_unload(void)
{
	policy_free(&policy);
}

void sharing_load(const char *path, const char *vm)
{
	int ret;

	sharing_unload();
	ret = policy_read(&policy, path ? path : POLICY_FILE);
	/* Who names one wants that one. */
	if (ret > 0 && path)
		ret = fail("cannot read %s: %s", path, strerror(ENOENT));
	if (ret < 0) {
		char *cause = fail_take();

		note("%s; until that is mended, no VM shares with any other",
		     cause);
		free(cause);
	}
	if (policy_find(&policy, vm).torn)
		note("%s: two groups claim VM \"%s\": until that is mended, it shares with no other",
		     path ? path : POLICY_FILE, vm);
}

static bool has_name(const json_t *names, const char *name)
{
	json_t *entry;
	size_t i;

	json_array_foreach(names, i, entry)
		if (json_string_value(entry) &&
		    !strcmp(json_string_value(entry), name))
			return true;
	return false;
}

static bool group_shares(const char *name)
{
	const struct group *group = policy_group(&policy, name);

	return group && group->share == SHARE_HOST;
}

/* Does everybody for whom it was named share with the host? */
static bool all_share(const struct source *source)
{
	json_t *entry;
	const char *name;
	size_t i;

	json_array_foreach(source->vms, i, entry) {
		name = json_string_value(entry);
		if (!name || policy_find(&policy, name).share != SHARE_HOST)
			return false;
	}
	json_array_foreach(source->groups, i, entry) {
		name = json_string_value(entry);
		if (!name || !group_shares(name))
			return false;
	}
	return json_array_size(source->vms) || json_array_size(source->groups);
}

static enum sharing find_memory(const struct source *source, const char *vm)
{
	struct standing taker = policy_find(&policy, vm);
	struct standing owner = policy_find(&policy, source->of);

	if (!strcmp(source->of, vm))
		return SHARING_PAST;
	if (taker.group && taker.group == owner.group &&
	    taker.share >= SHARE_GROUP)
		return SHARING_GROUP;
	if (taker.share == SHARE_HOST && owner.share == SHARE_HOST)
		return SHARING_HOST;
	return SHARING_NONE;
}

/* Whose memory an unnamed RAM file is nobody has said. */
static enum sharing find_image(const struct source *source, const char *vm)
{
	if (source->format != FORMAT_RAM &&
	    policy_find(&policy, vm).share == SHARE_HOST && all_share(source))
		return SHARING_HOST;
	return SHARING_NONE;
}

enum sharing sharing_find(const struct source *source, const char *vm)
{
	struct standing standing = policy_find(&policy, vm);
	enum sharing found = SHARING_NONE;

	if (vm)
		found = source->of ? find_memory(source, vm) :
				     find_image(source, vm);
	if (found == SHARING_PAST)
		return found;
	if (vm && has_name(source->vms, vm))
		return SHARING_NAMED;
	if (standing.group && has_name(source->groups, standing.group->name))
		return SHARING_NAMED_GROUP;
	if (has_name(source->vms, "*"))
		return SHARING_NAMED_ALL;
	return found;
}
