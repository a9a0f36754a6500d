/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JSON lines: an object for each run as it ends, and the line feed last, so that whoever reads
 * along knows a whole one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"
#include "skep/bits.h"

struct jsonl {
	struct run_watch watch;
	FILE *to;
	char *path;
	int errnum; /* of the first object that could not be written */
};

static void on_ended(struct run_watch *w, const struct run_record *r)
{
	struct jsonl *j = container_of(w, struct jsonl, watch);
	json_t *o = report_object(r, true);

	errno = 0;
	if ((json_dumpf(o, j->to, JSON_COMPACT) || fputc('\n', j->to) == EOF || fflush(j->to)) &&
	    !j->errnum)
		j->errnum = errno ? errno : EIO;
	json_decref(o);
}

static int on_close(struct run_watch *w, struct err *err)
{
	struct jsonl *j = container_of(w, struct jsonl, watch);
	int ret = report_close_file(j->to, j->path, err);

	if (j->errnum)
		ret = err_sys(err, j->errnum, "cannot write the report %s", j->path);
	free(j->path);
	free(j);
	return ret;
}

int report_jsonl_open(struct run_watch **w, const char *path, struct err *err)
{
	struct jsonl *j = calloc(1, sizeof(*j));
	int ret;

	*w = NULL;
	if (j)
		j->path = strdup(path);
	if (!j || !j->path) {
		free(j);
		return err_sys(err, ENOMEM, "report %s", path);
	}
	j->to = fopen(path, "we");
	if (!j->to) {
		ret = err_sys(err, errno, "cannot write the report %s", path);
		free(j->path);
		free(j);
		return ret;
	}
	j->watch = (struct run_watch){.ended = on_ended, .close = on_close};
	*w = &j->watch;
	return 0;
}
