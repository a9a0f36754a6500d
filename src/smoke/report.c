/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the forms of reports share.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"

const struct report_text report_texts[REPORT_TEXTS] = {
	{"postmortem", "postmortem.txt"},
	{"screen", "screen.txt"},
	{"state", "state.txt"},
};

void report_tail(const struct run_tail *tail, char text[REPORT_TAIL_ROOM])
{
	uint8_t bytes[RUN_TAIL_MAX];
	const uint8_t *from = bytes;
	size_t n = tail ? run_tail_bytes(tail, bytes) : 0;
	const uint8_t *line;

	if (n > REPORT_TAIL_MAX) {
		from += n - REPORT_TAIL_MAX;
		n = REPORT_TAIL_MAX;
	}
	/* From the start of a line on, if there is one. */
	line = tail && tail->total > n ? memchr(from, '\n', n) : NULL;
	if (line) {
		n -= (size_t)(line + 1 - from);
		from = line + 1;
	}
	n = text_safe(text, REPORT_TAIL_ROOM, from, n, false, NULL);
	while (n && text[n - 1] == '\n')
		text[--n] = '\0';
}

bool report_has_folder(const struct run_record *r)
{
	return r->spec->folder && r->started && r->state != RUN_PASSED;
}

static json_t *safe_string(const char *text)
{
	const size_t room = TEXT_SAFE_ROOM(strlen(text));
	char *safe = malloc(room);
	json_t *string = NULL;

	if (safe) {
		text_safe(safe, room, text, strlen(text), false, NULL);
		string = json_string(safe);
	}
	free(safe);
	return string;
}

static json_t *axes_of(const struct run_spec *spec)
{
	json_t *axes = json_object();

	for (unsigned int i = 0; i < spec->axes; i++)
		json_object_set_new(axes, spec->axis[i], json_string(spec->value[i]));
	return axes;
}

json_t *report_object(const struct run_record *r, bool texts)
{
	const struct run_spec *spec = r->spec;
	json_t *o = json_object(), *own;

	json_object_set_new(o, "name", safe_string(spec->name));
	json_object_set_new(o, "state", json_string(run_state_word(r->state)));
	json_object_set_new(o, "verdict", json_string(r->verdict));
	json_object_set_new(o, "status", json_integer(r->status));
	json_object_set_new(o, "reason", json_string(r->reason));
	json_object_set_new(o, "seconds", json_real(run_seconds(r)));
	if (r->started)
		json_object_set_new(o, "started", json_integer((json_int_t)r->wall));
	json_object_set_new(o, "axes", axes_of(spec));
	if (spec->repeat)
		json_object_set_new(o, "repeat", json_integer(spec->repeat));
	if (report_has_folder(r))
		json_object_set_new(o, "folder", safe_string(spec->folder));
	if (r->result) {
		own = json_copy(r->result);
		for (unsigned int i = 0; !texts && i < REPORT_TEXTS; i++)
			json_object_del(own, report_texts[i].member);
		json_object_set_new(o, "result", own);
	}
	return o;
}

int report_close_file(FILE *f, const char *path, struct err *err)
{
	bool failed;
	int errnum;

	if (!f)
		return 0;
	errno = 0;
	failed = ferror(f) || fflush(f);
	errnum = errno;
	if (fclose(f) && !failed) {
		failed = true;
		errnum = errno;
	}
	return failed ? err_sys(err, errnum ? errnum : EIO, "cannot write the report %s", path) : 0;
}
