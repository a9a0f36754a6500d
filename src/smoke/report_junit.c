/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XML that CI systems call JUnit's. Nobody specified it; this keeps to what the schemas of
 * Ant's task and of Jenkins' plugin both allow, and has all that they demand. So the end of a
 * console is text of the failure, and no attribute or element is there that only one of them knows.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

struct junit {
	struct run_watch watch;
	FILE *to;
	char *path, *suite;
	time_t began;
	uint64_t began_ns;
};

/* @text as it stands in an element or an attribute (XML 1.0, 2.4 and 3.3.3). */
static void put_text(FILE *to, const char *text)
{
	char *safe = malloc(TEXT_SAFE_ROOM(strlen(text)));

	if (!safe)
		return;
	text_safe(safe, TEXT_SAFE_ROOM(strlen(text)), text, strlen(text), false, NULL);
	for (const char *p = safe; *p; p++) {
		switch (*p) {
		case '&':
			fputs("&amp;", to);
			break;
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			fputc(*p, to);
			break;
		}
	}
	free(safe);
}

static void put_attribute(FILE *to, const char *name, const char *value)
{
	fprintf(to, " %s=\"", name);
	put_text(to, value);
	fputc('"', to);
}

static void put_tail(FILE *to, const char *what, const struct run_tail *tail)
{
	char *text = malloc(REPORT_TAIL_ROOM);

	if (text)
		report_tail(tail, text);
	if (text && *text) {
		fprintf(to, "\n\n%s:\n", what);
		put_text(to, text);
	}
	free(text);
}

/* Of a run that has not passed: what the schemas know, with all that a person wants to read. */
static void put_trouble(FILE *to, const struct run_record *r)
{
	const char *element = r->state == RUN_FAILED ? "failure" : "error";

	fprintf(to, "      <%s", element);
	put_attribute(to, "message", r->reason);
	put_attribute(to, "type", r->verdict);
	fputc('>', to);
	put_text(to, r->reason);
	fprintf(to, "\nstatus %d", r->status);
	if (report_has_folder(r)) {
		fputs("\nreplay: ", to);
		put_text(to, r->spec->folder);
		fputs("/replay.sh", to);
	}
	put_tail(to, "messages", r->messages);
	put_tail(to, "the end of the console", r->console);
	fprintf(to, "\n</%s>\n", element);
}

static void put_case(FILE *to, const struct run_record *r, const char *suite)
{
	fputs("    <testcase", to);
	put_attribute(to, "name", r->spec->name);
	put_attribute(to, "classname", suite);
	fprintf(to, " time=\"%.3f\"", run_seconds(r));
	if (r->state == RUN_PASSED) {
		fputs("/>\n", to);
		return;
	}
	fputs(">\n", to);
	if (r->state == RUN_SKIPPED) {
		fputs("      <skipped", to);
		put_attribute(to, "message", r->reason);
		fputs("/>\n", to);
	} else {
		put_trouble(to, r);
	}
	fputs("    </testcase>\n", to);
}

static void put_suite(struct junit *j, const struct runner *r)
{
	const double seconds = (double)(clock_now() - j->began_ns) / (double)NS_PER_S;
	char host[HOST_NAME_MAX + 1] = "", when[32] = "";
	struct tm tm;

	/* Without a zone, as Ant's schema wants it: UTC. */
	if (gmtime_r(&j->began, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	if (gethostname(host, sizeof(host) - 1) || !*host)
		snprintf(host, sizeof(host), "localhost");
	fputs("  <testsuite id=\"0\" package=\"skep\"", j->to);
	put_attribute(j->to, "name", j->suite);
	put_attribute(j->to, "timestamp", when);
	put_attribute(j->to, "hostname", host);
	fprintf(j->to,
		" tests=\"%u\" failures=\"%u\" errors=\"%u\" skipped=\"%u\" time=\"%.3f\">\n",
		r->count, r->states[RUN_FAILED], r->states[RUN_ERROR] + r->states[RUN_STOPPED],
		r->states[RUN_SKIPPED], seconds);
	fputs("    <properties>\n      <property name=\"skep\"", j->to);
	put_attribute(j->to, "value", SKEP_VERSION);
	fputs("/>\n    </properties>\n", j->to);
	for (unsigned int i = 0; i < r->count; i++)
		put_case(j->to, &r->records[i], j->suite);
	fputs("    <system-out/>\n    <system-err/>\n  </testsuite>\n", j->to);
}

static void on_finished(struct run_watch *w, const struct runner *r)
{
	struct junit *j = container_of(w, struct junit, watch);

	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", j->to);
	put_suite(j, r);
	fputs("</testsuites>\n", j->to);
}

static int on_close(struct run_watch *w, struct err *err)
{
	struct junit *j = container_of(w, struct junit, watch);
	const int ret = report_close_file(j->to, j->path, err);

	free(j->path);
	free(j->suite);
	free(j);
	return ret;
}

int report_junit_open(struct run_watch **w, const char *path, const char *suite, struct err *err)
{
	struct junit *j = calloc(1, sizeof(*j));
	int ret;

	*w = NULL;
	if (!j)
		return err_sys(err, ENOMEM, "report %s", path);
	j->path = strdup(path);
	j->suite = strdup(suite);
	j->watch = (struct run_watch){.finished = on_finished, .close = on_close};
	j->began = time(NULL);
	j->began_ns = clock_now();
	ret = j->path && j->suite ? 0 : err_sys(err, ENOMEM, "report %s", path);
	if (!ret) {
		j->to = fopen(path, "we");
		if (!j->to)
			ret = err_sys(err, errno, "cannot write the report %s", path);
	}
	if (ret) {
		on_close(&j->watch, NULL);
		return ret;
	}
	*w = &j->watch;
	return 0;
}
