/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Test Anything Protocol. It says version 13, which every reader knows, and is what version 14
 * wants as well: the plan in front, numbers in order, "#" and "\" escaped, and a YAML block of two
 * spaces behind what has failed. Its strings are JSON's, which YAML 1.2 (1.3) takes as they are;
 * its longer texts are literal blocks (8.1.2), in which "| " keeps the lines from saying how far
 * they are indented. Perl's reader, which knows a part of YAML, takes both.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"
#include "skep/bits.h"

struct tap {
	struct run_watch watch;
	FILE *to;
	unsigned int number;
	int errnum; /* of the first write that failed */
};

/* A description, in one line. */
static void put_words(FILE *to, const char *text)
{
	char *safe = malloc(TEXT_SAFE_ROOM(strlen(text)));

	if (!safe)
		return;
	text_safe(safe, TEXT_SAFE_ROOM(strlen(text)), text, strlen(text), false, NULL);
	for (const char *p = safe; *p; p++) {
		if (*p == '#' || *p == '\\')
			fputc('\\', to);
		fputc(*p == '\n' || *p == '\t' ? ' ' : *p, to);
	}
	free(safe);
}

static void put_string(FILE *to, const char *text, size_t len)
{
	json_t *string = json_stringn(text, len);

	if (string)
		json_dumpf(string, to, JSON_ENCODE_ANY);
	json_decref(string);
	fputc('\n', to);
}

static void put_lines(FILE *to, const char *key, const struct run_tail *tail)
{
	char *text = malloc(REPORT_TAIL_ROOM);

	if (text)
		report_tail(tail, text);
	if (text && *text) {
		fprintf(to, "  %s: |\n", key);
		for (const char *p = text; *p;) {
			const size_t n = strcspn(p, "\n");

			fprintf(to, "    | %.*s\n", (int)n, p);
			p += n + (p[n] == '\n');
		}
	}
	free(text);
}

static void put_block(FILE *to, const struct run_record *r)
{
	fputs("  ---\n  message: ", to);
	put_string(to, r->reason, strlen(r->reason));
	fputs("  verdict: ", to);
	put_string(to, r->verdict, strlen(r->verdict));
	fprintf(to, "  status: %d\n  seconds: %.3f\n", r->status, run_seconds(r));
	if (report_has_folder(r)) {
		json_t *o = report_object(r, false);
		const char *folder = json_string_value(json_object_get(o, "folder"));

		if (folder) {
			fputs("  folder: ", to);
			put_string(to, folder, strlen(folder));
		}
		json_decref(o);
	}
	put_lines(to, "messages", r->messages);
	put_lines(to, "console", r->console);
	fputs("  ...\n", to);
}

static void on_ended(struct run_watch *w, const struct run_record *r)
{
	struct tap *t = container_of(w, struct tap, watch);
	const bool fine = r->state == RUN_PASSED || r->state == RUN_SKIPPED;

	fprintf(t->to, "%sok %u - ", fine ? "" : "not ", ++t->number);
	put_words(t->to, r->spec->name);
	if (r->state == RUN_SKIPPED) {
		fputs(" # SKIP ", t->to);
		put_words(t->to, r->reason);
	}
	fputc('\n', t->to);
	if (!fine)
		put_block(t->to, r);
	if (fflush(t->to) && !t->errnum)
		t->errnum = errno;
}

static int on_close(struct run_watch *w, struct err *err)
{
	struct tap *t = container_of(w, struct tap, watch);
	const int errnum = t->errnum;

	free(t);
	return errnum ? err_sys(err, errnum, "cannot write the TAP report") : 0;
}

int report_tap_open(struct run_watch **w, FILE *to, unsigned int runs, struct err *err)
{
	struct tap *t = calloc(1, sizeof(*t));

	*w = NULL;
	if (!t)
		return err_sys(err, ENOMEM, "TAP report");
	t->watch = (struct run_watch){.ended = on_ended, .close = on_close};
	t->to = to;
	fprintf(to, "TAP version 13\n1..%u\n", runs);
	if (fflush(to)) {
		t->errnum = errno;
		return on_close(&t->watch, err);
	}
	*w = &t->watch;
	return 0;
}
