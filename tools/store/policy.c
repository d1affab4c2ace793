// SPDX-License-Identifier: GPL-2.0
/* store.conf; see policy.h. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/say.h"
#include "policy.h"

/* With "group " in front of it the library must not cut it short at 49. */
#define NAME_MOST	40
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"
#define GROUP		"group "
#define BLANKS		" \t\r\n\v\f"

static const char *const shares[] = {
	[SHARE_OWN] = "own",
	[SHARE_GROUP] = "group",
	[SHARE_HOST] = "host",
};

struct reading {
	struct policy *policy;
	const char *path;
	FILE *file;
	char *text;		/* of this line */
	size_t room;
	unsigned int line;
	unsigned int wrong;	/* the first line that is; 0: none so far */
	char *section;		/* where it is */
};

const char *share_name(enum share share)
{
	return shares[share];
}

bool group_is_name(const char *name)
{
	size_t length = strlen(name);

	return length && length <= NAME_MOST && *name != '-' &&
	       strspn(name, NAME_LETTERS) == length;
}

/* The first is told, with @what in quotes. Always 0, as the library wants it. */
static int wrong(struct reading *reading, const char *what, const char *why)
{
	if (!reading->wrong) {
		reading->wrong = reading->line;
		fail("%s:%u: \"%.60s\" %s", reading->path, reading->line, what,
		     why);
	}
	return 0;
}

/*
 * The library would take what is indented for more of the line before, the rest
 * of a line that is too long for a line, and pass over what stands behind "]".
 */
static char *next_line(char *to, int size, void *stream)
{
	struct reading *reading = stream;
	ssize_t length = getline(&reading->text, &reading->room, reading->file);
	const char *text = reading->text, *end;

	if (length < 0)
		return NULL;
	reading->line++;
	if (strlen(text) != (size_t)length) {
		wrong(reading, text, "is followed by a zero byte");
		return NULL;
	}
	text += strspn(text, BLANKS);
	end = *text == '[' ? strchr(text, ']') : NULL;
	if (end && strspn(end + 1, BLANKS) != strlen(end + 1)) {
		wrong(reading, end + 1 + strspn(end + 1, BLANKS),
		      "stands behind the name of a section (a comment has a line of its own)");
		return NULL;
	}
	if (snprintf(to, (size_t)size, "%s", text) >= size) {
		wrong(reading, text, "is longer than this can read: write \"vms =\" again for more of them");
		return NULL;
	}
	return to;
}

static struct group *last_group(const struct policy *policy)
{
	return &policy->groups[policy->nr_groups - 1];
}

static int enter_group(struct reading *reading, const char *name)
{
	struct policy *policy = reading->policy;

	name += strspn(name, BLANKS);
	if (!group_is_name(name))
		return wrong(reading, name, "is no name for a group: letters, digits and ._+- only, 40 at most");
	if (policy_group(policy, name))
		return wrong(reading, name, "was described already: say all of a group in one place");
	policy->groups = need(realloc(policy->groups,
				      (policy->nr_groups + 1) *
				      sizeof(*policy->groups)));
	policy->groups[policy->nr_groups++] = (struct group){
		.name = need(strdup(name)),
		.line = reading->line,
	};
	return 1;
}

static int enter(struct reading *reading, const char *section)
{
	if (reading->section && !strcmp(reading->section, section))
		return 1;
	free(reading->section);
	reading->section = need(strdup(section));
	if (!strncmp(section, GROUP, strlen(GROUP)))
		return enter_group(reading, section + strlen(GROUP));
	if (strcmp(section, "others"))
		return wrong(reading, section, "is no section: [group NAME] or [others]");
	return 1;
}

static int set_share(struct reading *reading, const char *value,
		     enum share *share, bool *known)
{
	unsigned int i;

	if (*known)
		return wrong(reading, value, "is a second word on \"share\"");
	for (i = 0; i <= SHARE_HOST && strcmp(value, shares[i]); i++)
		;
	if (i > SHARE_HOST)
		return wrong(reading, value, "is none of own, group, host (a comment has a line of its own)");
	*share = i;
	*known = true;
	return 1;
}

static bool overlap(const char *one, const char *other)
{
	return !fnmatch(one, other, 0) || !fnmatch(other, one, 0);
}

/* Not all overlaps are seen: policy_find() meets the others. */
static const struct group *claimed(const struct policy *policy,
				   const char *pattern)
{
	size_t i, k;

	for (i = 0; i + 1 < policy->nr_groups; i++)
		for (k = 0; k < policy->groups[i].nr_vms; k++)
			if (overlap(policy->groups[i].vms[k], pattern))
				return &policy->groups[i];
	return NULL;
}

static int add_vm(struct reading *reading, const char *pattern)
{
	struct group *group = last_group(reading->policy);
	const struct group *other = claimed(reading->policy, pattern);
	char why[NAME_MOST + 64];

	if (strpbrk(pattern, "#;\"'"))
		return wrong(reading, pattern, "is no pattern for names of VMs (a comment has a line of its own, and nothing is quoted)");
	if (other) {
		snprintf(why, sizeof(why), "may be in group %s too: a VM is in one group",
			 other->name);
		return wrong(reading, pattern, why);
	}
	group->vms = need(realloc(group->vms, (group->nr_vms + 1) *
				  sizeof(*group->vms)));
	group->vms[group->nr_vms++] = need(strdup(pattern));
	return 1;
}

static int add_vms(struct reading *reading, const char *value)
{
	char *list = need(strdup(value)), *rest = NULL, *word;
	int ret = 1;

	word = strtok_r(list, BLANKS ",", &rest);
	if (!word)
		ret = wrong(reading, "vms", "names nobody");
	for (; ret && word; word = strtok_r(NULL, BLANKS ",", &rest))
		ret = add_vm(reading, word);
	free(list);
	return ret;
}

static int take(void *user, const char *section, const char *name,
		const char *value)
{
	struct reading *reading = user;
	struct policy *policy = reading->policy;
	struct group *group;

	if (reading->wrong)
		return 0;
	if (!*section)
		return wrong(reading, name, "comes before any section: [group NAME] or [others]");
	if (!enter(reading, section))
		return 0;
	if (!strcmp(section, "others")) {
		if (strcmp(name, "share"))
			return wrong(reading, name, "is not for [others], which has \"share\" only");
		if (!strcmp(value, shares[SHARE_GROUP]))
			return wrong(reading, value, "means nothing here: the others are no group");
		return set_share(reading, value, &policy->others,
				 &policy->has_others);
	}
	group = last_group(policy);
	if (!strcmp(name, "vms"))
		return add_vms(reading, value);
	if (!strcmp(name, "share"))
		return set_share(reading, value, &group->share,
				 &group->has_share);
	return wrong(reading, name, "is not for a group, which has \"vms\" and \"share\"");
}

/* Who can write it decides who learns what of whom. */
static int check_file(const char *path, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return fail("cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail("%s is no file", path);
	if (st.st_uid && st.st_uid != geteuid())
		return fail("%s belongs to user %u: it must be root's (chown root)",
			    path, (unsigned int)st.st_uid);
	if (st.st_mode & 0022)
		return fail("%s can be written by others than its owner (chmod go-w)",
			    path);
	return 0;
}

static int check_groups(const struct policy *policy, const char *path)
{
	size_t i;

	for (i = 0; i < policy->nr_groups; i++)
		if (!policy->groups[i].nr_vms)
			return fail("%s:%u: group %s has no \"vms\"", path,
				    policy->groups[i].line,
				    policy->groups[i].name);
	return 0;
}

static int parse(struct reading *reading)
{
	int ret = ini_parse_stream(next_line, reading, take, reading);

	if (ret > 0 && (!reading->wrong || (unsigned int)ret < reading->wrong)) {
		if (reading->wrong)
			free(fail_take());
		return fail("%s:%d: neither \"[section]\" nor \"name = value\"",
			    reading->path, ret);
	}
	if (reading->wrong)
		return -1;
	if (ret || ferror(reading->file))
		return fail("cannot read %s: %s", reading->path,
			    strerror(errno));
	return check_groups(reading->policy, reading->path);
}

int policy_read(struct policy *policy, const char *path)
{
	struct reading reading = { .policy = policy, .path = path };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret = -1;

	*policy = (struct policy){ 0 };
	if (fd < 0 && errno == ENOENT)
		return 1;
	if (fd < 0)
		return fail("cannot read %s: %s", path, strerror(errno));
	if (!check_file(path, fd)) {
		reading.file = need(fdopen(fd, "r"));
		ret = parse(&reading);
		fclose(reading.file);
	} else {
		close(fd);
	}
	free(reading.text);
	free(reading.section);
	if (ret)
		policy_free(policy);
	return ret;
}

void policy_free(struct policy *policy)
{
	size_t i, k;

	for (i = 0; i < policy->nr_groups; i++) {
		for (k = 0; k < policy->groups[i].nr_vms; k++)
			free(policy->groups[i].vms[k]);
		free(policy->groups[i].vms);
		free(policy->groups[i].name);
	}
	free(policy->groups);
	*policy = (struct policy){ 0 };
}

static bool has_vm(const struct group *group, const char *vm)
{
	size_t i;

	for (i = 0; i < group->nr_vms; i++)
		if (!fnmatch(group->vms[i], vm, 0))
			return true;
	return false;
}

struct standing policy_find(const struct policy *policy, const char *vm)
{
	struct standing found = { .share = policy->others };
	size_t i;

	if (!vm)
		return (struct standing){ .share = SHARE_OWN };
	for (i = 0; i < policy->nr_groups; i++) {
		const struct group *group = &policy->groups[i];

		if (!has_vm(group, vm))
			continue;
		if (found.group)
			return (struct standing){ .torn = true };
		found.group = group;
		found.share = group->share;
	}
	return found;
}

const struct group *policy_group(const struct policy *policy,
				 const char *name)
{
	size_t i;

	for (i = 0; i < policy->nr_groups; i++)
		if (!strcmp(policy->groups[i].name, name))
			return &policy->groups[i];
	return NULL;
}
