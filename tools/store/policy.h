/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the operator has written of who may share with whom: store.conf, an INI
 * file. Groups of VMs, and with whom the VMs of each of them share:
 *
 *	[group NAME]
 *	vms = PATTERN...
 *	share = own | group | host
 *	[others]
 *	share = own | host
 *
 * It is read strictly. What is not understood makes all of it void: nobody
 * shares with more VMs than was meant because a line was passed over.
 */
#ifndef POLICY_H
#define POLICY_H

#include <stdbool.h>
#include <stddef.h>

#define POLICY_FILE "/etc/migrate-fast/store.conf"

/* With whom a VM shares; each is more than the one before. */
enum share {
	SHARE_OWN,		/* with none */
	SHARE_GROUP,		/* with the VMs of its group */
	SHARE_HOST,		/* with all that share with the host */
};

struct group {
	char *name;
	char **vms;		/* patterns of fnmatch(3) */
	size_t nr_vms;
	enum share share;
	bool has_share;
	unsigned int line;	/* where it begins */
};

/* All zero: nobody shares with anybody. */
struct policy {
	struct group *groups;
	size_t nr_groups;
	enum share others;	/* of VMs in no group */
	bool has_others;
};

/* What holds for a VM. */
struct standing {
	const struct group *group;	/* NULL: none */
	enum share share;
	bool torn;		/* two groups claim it: it is in none */
};

/*
 * 0; 1 if there is no such file; -1 after fail(), which names the line. Unless
 * it is 0 @policy is all zero.
 */
int policy_read(struct policy *policy, const char *path);
void policy_free(struct policy *policy);

/* NULL: a VM without a name, which shares with none. */
struct standing policy_find(const struct policy *policy, const char *vm);
const struct group *policy_group(const struct policy *policy,
				 const char *name);

/* Is that the name of a group? Letters, digits and ._+-, 40 at most. */
bool group_is_name(const char *name);
const char *share_name(enum share share);

#endif /* POLICY_H */
