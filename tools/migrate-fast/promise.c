// SPDX-License-Identifier: GPL-2.0
/* The promise not to let the VM run again; see promise.h. */
#include "keep.h"
#include "promise.h"

#define PURPOSE	"promise"

int promise_make(const char *session, const char *qmp, bool ran,
		 json_t *capabilities)
{
	return keep_write(session, PURPOSE, qmp,
			  json_pack("{s:b, s:O*}", "ran", ran, "capabilities",
				    capabilities));
}

json_t *promise_find(const char *session, const char *qmp)
{
	json_t *found = session ? keep_read(session, PURPOSE) : NULL;

	return found ? found : keep_find(qmp, PURPOSE);
}

bool promise_made(const char *session)
{
	return keep_has(session, PURPOSE);
}

void promise_end(const char *session)
{
	keep_remove(session, PURPOSE);
}

void promise_end_all(const char *qmp)
{
	const char *session;
	json_t *found;

	while ((found = keep_find(qmp, PURPOSE))) {
		session = json_string_value(json_object_get(found, "session"));
		if (session)
			promise_end(session);
		json_decref(found);
		if (!session)
			break;
	}
}
