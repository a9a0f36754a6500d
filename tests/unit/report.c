/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports on runs that say the worst that a console can: checked by the programs that read such
 * reports, where they are installed. The runs are shell scripts, as in runner.c.
 */
#include "skep/report.h"

#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/text.h"
#include "support/cm.h"

#define RUNS_MAX 16
#define SAYS(status)                                                                              \
	"printf '{\"verdict\": \"panic\", \"status\": %d, \"reason\": \"a <b> & \\\\\"c\\\\\" # " \
	"d "                                                                                      \
	"]]>\", \"state\": \"com1\\\\n\\\\tier 1\\\\n\", \"screen\": \"\"}' " #status " >$2\n"
/* NUL, no UTF-8, escapes, the ends of everything that reports are written in. */
#define WORST                                                                                     \
	"printf 'first\\r\\nnul \\000 bad \\377\\376 \\033[2J\\033]0;x\\a ]]> </failure> & \"\\n" \
	"  ...\\nok 99 - not a test\\n1..7\\nBail out!\\n\\302\\205 \\342\\200\\256 # SKIP\\r\\n" \
	"\\342\\234\\223 end'; echo 'skep: <said> \\033[1m' >&2\n"

struct fixture {
	struct runner runner;
	struct run_spec specs[RUNS_MAX];
	char *argv[RUNS_MAX][5], *replay[RUNS_MAX][4];
	char names[RUNS_MAX][32], folders[RUNS_MAX][64];
	char dir[32];
};

static struct fixture *new_fixture(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->dir, "/tmp/report-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->runner = (struct runner){
		.program = "/bin/sh",
		.specs = f->specs,
		.budget = {.memory = GIB(1), .cpus = 2},
	};
	return f;
}

static struct run_spec *add(struct fixture *f, const char *name, const char *script)
{
	static char sh[] = "sh", c[] = "-c";
	const unsigned int n = f->runner.count++;
	struct run_spec *spec = &f->specs[n];

	assert_true(n < RUNS_MAX);
	snprintf(f->names[n], sizeof(f->names[n]), "%s", name);
	snprintf(f->folders[n], sizeof(f->folders[n]), "%s/r/run%u", f->dir, n);
	f->argv[n][0] = sh;
	f->argv[n][1] = c;
	f->argv[n][2] = strdup(script);
	f->argv[n][3] = sh;
	f->replay[n][0] = c;
	f->replay[n][1] = f->argv[n][2];
	f->replay[n][2] = sh;
	*spec = (struct run_spec){
		.name = f->names[n],
		.argv = f->argv[n],
		.replay = f->replay[n],
		.folder = f->folders[n],
		.memory = MIB(16),
		.cpus = 1,
	};
	return spec;
}

static char *in_dir(const struct fixture *f, const char *name)
{
	char *path;

	assert_true(asprintf(&path, "%s/%s", f->dir, name) > 0);
	return path;
}

static char *contents(const struct fixture *f, const char *name, size_t *len)
{
	char *path = in_dir(f, name), *text;
	FILE *file = fopen(path, "r");
	size_t n;

	if (!file)
		fail_msg("there is no %s", path);
	text = calloc(1, 4 << 20);
	assert_non_null(text);
	n = fread(text, 1, (4 << 20) - 1, file);
	fclose(file);
	free(path);
	if (len)
		*len = n;
	return text;
}

static bool exists(const struct fixture *f, const char *name)
{
	char *path = in_dir(f, name);
	bool there = !access(path, F_OK);

	free(path);
	return there;
}

static void watch(struct fixture *f, struct run_watch *w)
{
	w->next = f->runner.watches;
	f->runner.watches = w;
}

static int run(struct fixture *f)
{
	struct err err = {""};
	int status = runner_run(&f->runner, &err);

	if (status < 0)
		fail_msg("%s", err.text);
	while (f->runner.watches) {
		struct run_watch *w = f->runner.watches;

		f->runner.watches = w->next;
		if (w->close(w, &err))
			fail_msg("%s", err.text);
	}
	return status;
}

static void free_fixture(struct fixture *f)
{
	char command[64];

	for (unsigned int i = 0; i < f->runner.count; i++)
		free(f->argv[i][2]);
	runner_free(&f->runner);
	snprintf(command, sizeof(command), "rm -r %s", f->dir);
	assert_int_equal(system(command), 0);
	free(f);
}

/* The status of a shell command with @file of the fixture; 127 when its program is not there. */
static int judged(const struct fixture *f, const char *program, const char *file)
{
	char command[256];
	int status;

	fflush(stdout);
	snprintf(command, sizeof(command), "cd %s && %s %s >judged 2>&1", f->dir, program, file);
	status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void need(const char *program)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	if (system(command)) {
		print_message("skipped: %s is not installed\n", program);
		skip();
	}
}

/* Text that is safe already: what text_safe() leaves as it is. */
static void assert_safe(const char *text, size_t len)
{
	char *safe = malloc(TEXT_SAFE_ROOM(len));

	assert_non_null(safe);
	assert_int_equal(text_safe(safe, TEXT_SAFE_ROOM(len), text, len, false, NULL), len);
	assert_memory_equal(safe, text, len);
	free(safe);
}

static void add_every_kind(struct fixture *f)
{
	add(f, "kernel=a,cpus=1", SAYS(0));
	add(f, "kernel=a,cpus=2", WORST SAYS(101) "exit 101");
	add(f, "kernel=b,cpus=1", WORST "kill -9 $$");
	add(f, "# SKIP <a> & \"b\" \\ \033[2J", SAYS(0));
	add(f, "silent", "true");
}

static void tap_is_what_prove_reads(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w;
	char *text, *path;
	struct err err;
	size_t len;
	FILE *to;

	(void)state;
	need("prove");
	path = in_dir(f, "out.tap");
	to = fopen(path, "w");
	assert_non_null(to);
	add_every_kind(f);
	assert_int_equal(report_tap_open(&w, to, f->runner.count, &err), 0);
	watch(f, w);
	f->runner.jobs = 1;
	assert_int_equal(run(f), 101);
	fclose(to);
	text = contents(f, "out.tap", &len);
	assert_safe(text, len);
	assert_non_null(strstr(text, "TAP version 13\n1..5\nok 1 - kernel=a,cpus=1\n"
				     "not ok 2 - kernel=a,cpus=2\n  ---\n"));
	assert_non_null(strstr(text, "\nok 4 - \\# SKIP <a> & \"b\" \\\\ \\\\x1b[2J\n"));
	assert_non_null(strstr(text, "    | ok 99 - not a test\n"));
	free(text);
	/* It counts three failures, and finds nothing wrong with how that is said. */
	assert_int_equal(judged(f, "prove -e cat", "out.tap"), 1);
	text = contents(f, "judged", NULL);
	if (!strstr(text, "Failed 3/5"))
		fail_msg("%s", text);
	assert_null(strstr(text, "rrors"));
	free(text);
	free(path);
	free_fixture(f);
}

static void tap_of_passes_passes(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w;
	struct err err;
	char *path;
	FILE *to;

	(void)state;
	need("prove");
	path = in_dir(f, "out.tap");
	to = fopen(path, "w");
	assert_non_null(to);
	for (unsigned int i = 0; i < 3; i++)
		add(f, "x", SAYS(0));
	assert_int_equal(report_tap_open(&w, to, 3, &err), 0);
	watch(f, w);
	assert_int_equal(run(f), 0);
	fclose(to);
	assert_int_equal(judged(f, "prove -e cat", "out.tap"), 0);
	free(path);
	free_fixture(f);
}

static void junit_keeps_to_its_schema(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w;
	char *text, *path;
	struct err err;
	size_t len;

	(void)state;
	need("xmllint");
	path = in_dir(f, "junit.xml");
	add_every_kind(f);
	add(f, "later", SAYS(0));
	assert_int_equal(report_junit_open(&w, path, "a matrix", &err), 0);
	watch(f, w);
	f->runner.jobs = 1;
	assert_int_equal(run(f), 101);
	text = contents(f, "junit.xml", &len);
	assert_safe(text, len);
	assert_non_null(strstr(text, "tests=\"6\" failures=\"1\" errors=\"2\" skipped=\"0\""));
	assert_non_null(strstr(text, "/run1/replay.sh\n"));
	assert_non_null(strstr(text, "type=\"killed\""));
	assert_non_null(strstr(text, "\\x1b[2J\\x1b]0;x\\x07 ]]&gt; &lt;/failure&gt; &amp; "));
	free(text);
	if (judged(f, "xmllint --noout --schema " SKEP_SUPPORT_DIR "/junit.xsd", "junit.xml")) {
		text = contents(f, "judged", NULL);
		fail_msg("%s", text);
	}
	free(path);
	free_fixture(f);
}

static void runs_that_were_not_made_are_skipped_in_reports(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w;
	char *text, *path;
	struct err err;

	(void)state;
	need("xmllint");
	path = in_dir(f, "junit.xml");
	add(f, "first", SAYS(3) "exit 3");
	add(f, "second", SAYS(0));
	assert_int_equal(report_junit_open(&w, path, "suite", &err), 0);
	watch(f, w);
	f->runner.fail_fast = true;
	f->runner.budget.cpus = 1;
	assert_int_equal(run(f), 3);
	text = contents(f, "junit.xml", NULL);
	assert_non_null(strstr(text, "skipped=\"1\""));
	assert_non_null(strstr(text, "<skipped message=\"was not started, as another run had"));
	free(text);
	assert_int_equal(
		judged(f, "xmllint --noout --schema " SKEP_SUPPORT_DIR "/junit.xsd", "junit.xml"),
		0);
	free(path);
	free_fixture(f);
}

static void json_lines_are_objects(void **state)
{
	static const char *const axes[] = {"kernel", "cpus"}, *const values[] = {"a", "1"};
	struct fixture *f = new_fixture();
	struct run_watch *w;
	unsigned int lines = 0;
	struct err err;
	char *path, *text;
	json_t *o;

	(void)state;
	path = in_dir(f, "out.jsonl");
	add_every_kind(f);
	f->specs[0].axes = 2;
	f->specs[0].axis = axes;
	f->specs[0].value = values;
	f->specs[0].repeat = 2;
	assert_int_equal(report_jsonl_open(&w, path, &err), 0);
	watch(f, w);
	f->runner.jobs = 1;
	run(f);
	text = contents(f, "out.jsonl", NULL);
	for (char *p = text; *p; lines++) {
		size_t n = strcspn(p, "\n");

		assert_int_equal(p[n], '\n');
		o = json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(o);
		if (lines == 0) {
			assert_string_equal(json_string_value(json_object_get(
						    json_object_get(o, "axes"), "kernel")),
					    "a");
			assert_int_equal(json_integer_value(json_object_get(o, "repeat")), 2);
			assert_string_equal(json_string_value(json_object_get(o, "state")),
					    "passed");
		}
		if (lines == 1)
			assert_int_equal(json_integer_value(json_object_get(
						 json_object_get(o, "result"), "status")),
					 101);
		if (lines == 2)
			assert_int_equal(json_integer_value(json_object_get(o, "status")), 137);
		json_decref(o);
		p += n + 1;
	}
	assert_int_equal(lines, 5);
	free(text);
	free(path);
	free_fixture(f);
}

static void folders_hold_all_of_a_failure(void **state)
{
	struct fixture *f = new_fixture();
	char *path = in_dir(f, "r"), *text, *line;
	struct run_watch *w;
	struct err err;
	size_t len;

	(void)state;
	add_every_kind(f);
	assert_int_equal(
		report_folder_open(&w, path, false, "/bin/sh", f->specs, f->runner.count, &err), 0);
	watch(f, w);
	assert_int_equal(run(f), 101);
	assert_false(exists(f, "r/run0"));
	assert_false(exists(f, "r/run3"));
	assert_true(exists(f, "r/run4"));
	text = contents(f, "r/run1/console.raw", &len);
	assert_true(len > 100);
	assert_memory_equal(text, "first\r\nnul \0 bad \xff\xfe \x1b[2J", 24);
	free(text);
	text = contents(f, "r/run1/console.log", &len);
	assert_safe(text, len);
	assert_int_equal(text[0], '#');
	/* A time in front of each line. */
	line = strchr(text, '\n') + 1;
	for (unsigned int i = 0; i < 8; i++, line = strchr(line, '\n') + 1) {
		assert_true(strspn(line, " 0123456789.") >= 14);
		assert_memory_equal(line + 12, "  ", 2);
	}
	assert_string_equal(line, "");
	assert_non_null(strstr(text, "  nul \\x00 bad \\xff\\xfe \\x1b[2J"));
	assert_non_null(strstr(text, "\xe2\x9c\x93 end\n"));
	free(text);
	text = contents(f, "r/run1/messages.txt", &len);
	assert_safe(text, len);
	assert_non_null(strstr(text, "skep: <said>"));
	free(text);
	text = contents(f, "r/run1/state.txt", NULL);
	assert_string_equal(text, "com1\n\tier 1\n");
	free(text);
	assert_false(exists(f, "r/run1/screen.txt"));
	text = contents(f, "r/run1/result.json", NULL);
	assert_non_null(strstr(text, "\"verdict\": \"panic\""));
	assert_null(strstr(text, "com1"));
	free(text);
	/* It does the same again. */
	assert_int_equal(judged(f, "r/run1/replay.sh", "--result $PWD/replayed"), 101);
	text = contents(f, "judged", NULL);
	assert_string_equal(text, "first\r\nnul ");
	free(text);
	assert_true(exists(f, "replayed"));
	free(path);
	free_fixture(f);
}

/* A folder of an earlier failure goes when the run passes, and other people's files stay. */
static void folders_are_of_the_last_time(void **state)
{
	struct fixture *f = new_fixture();
	char *path = in_dir(f, "r");
	struct run_watch *w;
	struct err err;

	(void)state;
	add(f, "a", SAYS(0));
	add(f, "b", SAYS(0));
	assert_int_equal(system("true"), 0);
	assert_int_equal(judged(f,
				"mkdir -p r/run0 r/run1; touch r/run0/console.log "
				"r/run0/screen.txt r/run1/mine r/run1/replay.sh",
				"r"),
			 0);
	assert_int_equal(report_folder_open(&w, path, true, "/bin/sh", f->specs, 2, &err), 0);
	assert_false(exists(f, "r/run0"));
	watch(f, w);
	assert_int_equal(run(f), 0);
	assert_true(exists(f, "r/run0/result.json"));
	assert_false(exists(f, "r/run0/screen.txt"));
	assert_true(exists(f, "r/run1/mine"));
	free(path);
	free_fixture(f);
}

/* A line of 1 MiB stays a line, and what is beyond the bound of a console is said to be. */
static void long_lines_and_floods_are_kept_in_bounds(void **state)
{
	struct fixture *f = new_fixture();
	char *path = in_dir(f, "r"), *text;
	struct run_watch *w;
	struct stat st;
	struct err err;

	(void)state;
	add(f, "long", "head -c 1048576 /dev/zero | tr '\\0' '\\303'; echo; echo end; exit 1");
	add(f, "flood", "head -c 70000000 /dev/zero | tr '\\0' '.'; echo; echo the end; exit 1");
	f->runner.jobs = 1;
	assert_int_equal(report_folder_open(&w, path, false, "/bin/sh", f->specs, 2, &err), 0);
	watch(f, w);
	assert_int_equal(run(f), 1);
	free(path);
	path = in_dir(f, "r/run0/console.log");
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > (off_t)MIB(4) && st.st_size < (off_t)MIB(4) + 200);
	free(path);
	path = in_dir(f, "r/run1/console.raw");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, MIB(64));
	assert_int_equal(judged(f, "tail -n 1", "r/run1/console.log"), 0);
	text = contents(f, "judged", NULL);
	assert_non_null(strstr(text, "  the end\n"));
	free(text);
	free(path);
	free_fixture(f);
}

/* A table is no higher than the terminal, and its lines no wider. */
static void a_table_fits_its_terminal(void **state)
{
	const struct winsize size = {.ws_col = 24, .ws_row = 6};
	struct fixture *f = new_fixture();
	unsigned int lines = 0, cols = 0;
	struct run_watch *w;
	int master, slave;
	char out[65536];
	struct err err;
	ssize_t len;
	FILE *to;
	char *end;

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
	to = fdopen(slave, "w");
	assert_non_null(to);
	setenv("TERM", "xterm", 1);
	for (unsigned int i = 0; i < 8; i++)
		add(f, "run=with-a-long-name", "sleep 0.2; " SAYS(0));
	assert_int_equal(report_lines_open(&w, to, f->runner.count, &err), 0);
	watch(f, w);
	f->runner.jobs = 8;
	assert_int_equal(run(f), 0);
	len = read(master, out, sizeof(out) - 1);
	assert_true(len > 0);
	out[len] = '\0';
	/* The first frame, up to where it clears what is below. */
	end = strstr(out, "\x1b[J");
	assert_non_null(end);
	*end = '\0';
	assert_non_null(strstr(out, "0 of 8 done; "));
	assert_non_null(strstr(out, "          and 5 more\x1b[K\r\n"));
	for (char *p = out; *p; p++) {
		if (*p == '\x1b') {
			p += 2;
		} else if (*p == '\n') {
			lines++;
			cols = 0;
		} else if (*p != '\r') {
			assert_true(++cols < 24);
		}
	}
	assert_int_equal(lines, 5);
	fclose(to);
	close(master);
	free_fixture(f);
}

static void what_cannot_be_written_is_told_before(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w;
	char *path = in_dir(f, "file"), *below = in_dir(f, "file/below");
	struct err err;
	FILE *file = fopen(path, "w");

	(void)state;
	assert_non_null(file);
	fclose(file);
	assert_int_equal(report_junit_open(&w, below, "x", &err), -ENOTDIR);
	assert_non_null(strstr(err.text, below));
	assert_int_equal(report_jsonl_open(&w, below, &err), -ENOTDIR);
	assert_int_equal(report_folder_open(&w, below, false, "sh", NULL, 0, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "cannot make the report folder"));
	assert_int_equal(report_folder_open(&w, path, false, "sh", NULL, 0, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "cannot write into the report folder"));
	assert_null(w);
	free(path);
	free(below);
	free_fixture(f);
}

/* A full disk is told, and nothing else comes of it. */
static void a_full_disk_is_told(void **state)
{
	struct fixture *f = new_fixture();
	struct run_watch *w[3];
	struct err err;
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	assert_non_null(full);
	assert_int_equal(report_tap_open(&w[0], full, 1, &err), -ENOSPC);
	fclose(full);
	add(f, "a", SAYS(0));
	assert_int_equal(report_junit_open(&w[0], "/dev/full", "x", &err), 0);
	assert_int_equal(report_jsonl_open(&w[1], "/dev/full", &err), 0);
	w[0]->next = w[1];
	f->runner.watches = w[0];
	assert_int_equal(runner_run(&f->runner, &err), 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(w[i]->close(w[i], &err), -ENOSPC);
		assert_string_equal(err.text, "cannot write the report /dev/full: No space left "
					      "on device");
	}
	free_fixture(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tap_is_what_prove_reads),
		cmocka_unit_test(tap_of_passes_passes),
		cmocka_unit_test(junit_keeps_to_its_schema),
		cmocka_unit_test(runs_that_were_not_made_are_skipped_in_reports),
		cmocka_unit_test(json_lines_are_objects),
		cmocka_unit_test(folders_hold_all_of_a_failure),
		cmocka_unit_test(folders_are_of_the_last_time),
		cmocka_unit_test(long_lines_and_floods_are_kept_in_bounds),
		cmocka_unit_test(a_table_fits_its_terminal),
		cmocka_unit_test(what_cannot_be_written_is_told_before),
		cmocka_unit_test(a_full_disk_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
