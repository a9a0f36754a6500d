/* SPDX-License-Identifier: BSD-2-Clause */
/* The matrix file: every form of a line, the combinations, and one sentence for every mistake. */
#include "skep/matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "support/cm.h"

static struct matrix *good(const char *text)
{
	struct matrix *m;
	struct err err;

	if (matrix_parse(&m, "m", text, strlen(text), &err))
		fail_msg("%s", err.text);
	return m;
}

static const char *word(const struct matrix_options *o, unsigned int n)
{
	assert_true(n < o->count);
	assert_null(o->words[o->count]);
	return o->words[n];
}

static void every_combination_has_a_name(void **state)
{
	static const char *const names[] = {"kernel=6.1,cpus=1", "kernel=6.1,cpus=2",
					    "kernel=6.12,cpus=1", "kernel=6.12,cpus=many"};
	struct matrix *m = good("# comment\n"
				"[all]\n--timeout 5\n--expect 'a b'   # why\n\n"
				"[kernel]\n6.1 = --kernel a\n6.12 = -k b -i c\n"
				"  [cpus]  # of each\n1=-c 1\n  2 = --cpus=2  \nmany = -c 16\n"
				"[exclude]\nkernel=6.1 cpus=many\ncpus=2 kernel=6.12\n");
	struct matrix_run run;

	(void)state;
	assert_int_equal(matrix_runs(m), ARRAY_SIZE(names));
	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		matrix_run(m, i, &run);
		assert_string_equal(run.name, names[i]);
		assert_int_equal(run.axes, 2);
		assert_string_equal(run.axis[1], "cpus");
	}
	assert_string_equal(run.value[0], "6.12");
	assert_int_equal(run.options[0]->line, 8);
	assert_int_equal(run.options[0]->count, 4);
	assert_string_equal(word(run.options[0], 3), "c");
	assert_string_equal(word(run.options[1], 1), "16");
	assert_int_equal(matrix_all(m, 0)->line, 3);
	assert_string_equal(word(matrix_all(m, 1), 1), "a b");
	assert_int_equal(matrix_all(m, 1)->count, 2);
	assert_null(matrix_all(m, 2));
	assert_string_equal(matrix_path(m), "m");
	matrix_free(m);
}

static void words_are_split_as_by_a_shell(void **state)
{
	static const char *const want[] = {"plain",  "two words",  "a\"b\\c\\d", "it's",
					   "",       "back slash", "$HOME",      "no#comment",
					   "joined", "end"};
	struct matrix *m = good("[a]\nx = plain 'two words' \"a\\\"b\\\\c\\d\" 'it'\\''s' '' "
				"back\\ slash $HOME no#comment joi\\\nned \\\r\n end # comment\n"
				"y =\nz = # nothing\n");
	struct matrix_run run;

	(void)state;
	matrix_run(m, 0, &run);
	assert_int_equal(run.options[0]->count, ARRAY_SIZE(want));
	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++)
		assert_string_equal(word(run.options[0], i), want[i]);
	matrix_run(m, 1, &run);
	assert_int_equal(run.options[0]->count, 0);
	assert_null(run.options[0]->words[0]);
	assert_int_equal(run.options[0]->line, 5);
	matrix_run(m, 2, &run);
	assert_int_equal(run.options[0]->count, 0);
	matrix_free(m);
}

static void mistakes_name_the_line(void **state)
{
	static const struct {
		const char *text;
		const char *sentence;
	} cases[] = {
		{"", "m:1: there is no axis"},
		{"[all]\n--x\n", "there is no axis"},
		{"--kernel x\n", "m:1: a matrix starts with"},
		{"\n[kernel\n", "m:2: the '[' has no ']'"},
		{"[kernel] x\n", "m:1: there is something behind"},
		{"[]\nx = y\n", "m:1: '' cannot be the name of an axis"},
		{"[a b]\n", "'a b' cannot be the name of an axis"},
		{"[../etc]\n", "'../etc' cannot be"},
		{"[repeat]\n", "no axis can be called 'repeat'"},
		{"[a]\n= -k x\n", "m:2: '' cannot be the name of a value"},
		{"[a]\nx/y = -k x\n", "m:2: 'x/y' cannot be the name of a value"},
		{"[a]\n.. = -k x\n", "m:2: '..' cannot be"},
		{"[a]\n-k = x\n", "m:2: '-k' cannot be"},
		{"[a]\nx\n", "m:2: a value of the axis a is NAME = OPTIONS"},
		{"[a]\n\nx = 1\nx = 2\n", "m:4: the axis a already has a value x"},
		{"[a]\nx = 1\n[b]\ny=2\n[a]\n", "m:5: the axis a is already on line 1"},
		{"[a]\nx = 'b\n", "m:2: the ' has no other"},
		{"[a]\nx = \\\n\\\n \"b\ny = 2\n", "m:2: the \" has no other"},
		{"[a]\n[b]\nx = 1\n", "m:1: the axis a has no values"},
		{"[a]\nx = 1\n[exclude]\na\n", "m:4: 'a' is not of the form AXIS=VALUE"},
		{"[a]\nx = 1\n[exclude]\nb=x\n", "m:4: there is no axis 'b'"},
		{"[a]\nx = 1\n[exclude]\na=y\n", "m:4: the axis a has no value 'y'"},
		{"[a]\nx = 1\n[exclude]\na=x a=x\n", "m:4: the axis a twice"},
		{"[a]\nx = 1\n[exclude]\na=x\n", "m:4: [exclude] leaves no run"},
		{"[1]\n[2]\n[3]\n[4]\n[5]\n[6]\n[7]\n[8]\n[9]\n", "m:9: more than 8 axes"},
		{"[a]\nx = \xff\xfe\n[\xff]\n", "m:3: '\xff' cannot be"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct matrix *m;
		struct err err = {""};

		assert_int_equal(matrix_parse(&m, "m", cases[i].text, strlen(cases[i].text), &err),
				 -EINVAL);
		assert_null(m);
		if (!strstr(err.text, cases[i].sentence))
			fail_msg("'%s' does not say '%s'", err.text, cases[i].sentence);
	}
}

static void nul_bytes_are_told(void **state)
{
	static const char text[] = "[a]\nx = b\0c\n";
	struct matrix *m;
	struct err err;

	(void)state;
	assert_int_equal(matrix_parse(&m, "m", text, sizeof(text) - 1, &err), -EINVAL);
	assert_string_equal(err.text, "m:2: there is a NUL byte in it");
}

/* As many values as there may be, and one more; as many runs as there may be, and more. */
static void everything_is_bounded(void **state)
{
	char *text = malloc(MATRIX_FILE_MAX), *p = text;
	struct matrix *m;
	struct err err;

	(void)state;
	assert_non_null(text);
	p += sprintf(p, "[a]\n");
	for (unsigned int i = 0; i < MATRIX_VALUES_MAX; i++)
		p += sprintf(p, "v%u = -c %u\n", i, i);
	m = good(text);
	assert_int_equal(matrix_runs(m), MATRIX_VALUES_MAX);
	matrix_free(m);
	sprintf(p, "more = -c 1\n");
	assert_int_equal(matrix_parse(&m, "m", text, strlen(text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "more than 256 values"));
	p += sprintf(p, "[b]\n");
	for (unsigned int i = 0; i < 40; i++)
		p += sprintf(p, "v%u = -c %u\n", i, i);
	assert_int_equal(matrix_parse(&m, "m", text, strlen(text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "m:258: more than 10000 runs"));
	p = text + sprintf(text, "[a]\nx =");
	for (unsigned int i = 0; i < 1025; i++)
		p += sprintf(p, " w");
	assert_int_equal(matrix_parse(&m, "m", text, strlen(text), &err), -EINVAL);
	assert_non_null(strstr(err.text, "m:2: more than 1024 words"));
	free(text);
}

static void files_that_cannot_be_read_are_told(void **state)
{
	char path[] = "/tmp/matrix-XXXXXX";
	int fd = mkstemp(path);
	struct matrix *m;
	struct err err;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MATRIX_FILE_MAX + 1), 0);
	assert_int_equal(matrix_read(&m, path, &err), -EFBIG);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(write(fd, "[a]\nx = y\n", 10), 10);
	assert_int_equal(matrix_read(&m, path, &err), 0);
	assert_int_equal(matrix_runs(m), 1);
	matrix_free(m);
	close(fd);
	unlink(path);
	assert_int_equal(matrix_read(&m, path, &err), -ENOENT);
	assert_null(m);
	assert_int_equal(matrix_read(&m, "/tmp", &err), -EISDIR);
	assert_non_null(strstr(err.text, "/tmp"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_combination_has_a_name),
		cmocka_unit_test(words_are_split_as_by_a_shell),
		cmocka_unit_test(mistakes_name_the_line),
		cmocka_unit_test(nul_bytes_are_told),
		cmocka_unit_test(everything_is_bounded),
		cmocka_unit_test(files_that_cannot_be_read_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
