// SPDX-License-Identifier: GPL-2.0
/*
 * migrate-fast abort: gives up a VM some of whose memory is absent, and will
 * not come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/say.h"
#include "options.h"
#include "record.h"
#include "vm.h"

static int give_up(struct vm *vm, const json_t *record)
{
	struct migrate_fast_absent absent;
	uint64_t lost = 0;
	unsigned int i;
	int ret;

	ret = record_open(record, vm);
	if (ret == RECORD_ENDED) {
		free(fail_take());
		printf("The VM has ended already: nobody waits for its memory.\n");
		return 0;
	}
	if (ret || vm_open_session(vm, MIGRATE_FAST_FEATURE_FILL))
		return -1;
	for (i = 0; i < vm->rams; i++) {
		int err = mf_absent(vm->session, &vm->ram[i].mf, 0, 0, NULL,
				    &absent);

		if (!err)
			err = mf_abort(vm->session, &vm->ram[i].mf);
		if (err)
			return fail("the module cannot give up %s: %s",
				    vm->ram[i].path, strerror(-err));
		lost += absent.absent;
	}
	printf("The VM was given up: %llu pages of its memory will not come. Who needs one gets SIGBUS; end its QEMU.\n",
	       (unsigned long long)lost);
	return 0;
}

int cmd_abort(const struct options *options)
{
	static struct vm vm = { .session = -1, .qmp.fd = -1 };
	json_t *record = record_find(options->qmp);
	int ret;

	ret = record ? give_up(&vm, record) : -1;
	if (ret)
		note("failed: %s", fail_text());
	if (record && !ret)
		record_remove(json_string_value(json_object_get(record,
								"session")));
	json_decref(record);
	vm_close(&vm);
	return ret ? EXIT_FAILED : 0;
}
