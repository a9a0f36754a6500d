/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where there is one run, a person sees it as if it were not another process's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"

static void on_console(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	(void)w;
	(void)r;
	fwrite(data, 1, len, stdout);
	fflush(stdout);
}

static void on_message(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	(void)w;
	(void)r;
	fwrite(data, 1, len, stderr);
}

/* What the run cannot say of itself any more. */
static void on_ended(struct run_watch *w, const struct run_record *r)
{
	(void)w;
	if (!r->result && strcmp(r->verdict, "refused") != 0)
		fprintf(stderr, "skep: %s\n", r->reason);
}

static int on_close(struct run_watch *w, struct err *err)
{
	free(w);
	return ferror(stdout) ? err_set(err, EIO, "cannot write the console to standard output")
			      : 0;
}

int report_echo_open(struct run_watch **w, struct err *err)
{
	*w = calloc(1, sizeof(**w));
	if (!*w)
		return err_sys(err, ENOMEM, "output");
	**w = (struct run_watch){
		.console = on_console,
		.message = on_message,
		.ended = on_ended,
		.close = on_close,
	};
	return 0;
}
