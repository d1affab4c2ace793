// SPDX-License-Identifier: GPL-2.0
/* Touches of a page by the kernel's network device for guests. See touches.h. */
#include <string.h>

#include "mf_vhost.h"
#include "touches.h"

static int open_vhost(struct mf_vhost *vhost, struct mf_vm *vm)
{
	return -mf_vhost_open(vhost, vm->map, vm->pages * MF_PAGE);
}

int vhost_from(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[MF_PAGE];
	struct mf_vhost vhost;
	int rc = open_vhost(&vhost, vm);

	if (!rc)
		rc = -mf_vhost_read(&vhost, mf_page(vm, page), MF_PAGE, bytes);
	return rc ?: touch_right(bytes, page);
}

int vhost_into(struct mf_vm *vm, size_t page)
{
	unsigned char bytes[64];
	struct mf_vhost vhost;
	int rc = open_vhost(&vhost, vm);

	memset(bytes, PART_BYTE, sizeof(bytes));
	if (!rc)
		rc = -mf_vhost_write(&vhost, mf_page(vm, page) + PART, bytes,
				     sizeof(bytes));
	return rc ?: touch_right_but(mf_page(vm, page), page, PART,
				     sizeof(bytes), PART_BYTE);
}
