/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

#define KEY_MOST   127
#define VALUE_MOST 4095

struct ctx {
	struct config *c;
	struct err err;
	int fd; /* a file in memory */
	char path[32];
};

static int setup(void **state)
{
	struct ctx *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->c = config_new();
	assert_non_null(x->c);
	x->fd = memfd_create("config", MFD_CLOEXEC);
	assert_true(x->fd >= 0);
	snprintf(x->path, sizeof(x->path), "/proc/self/fd/%d", x->fd);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *x = *state;

	close(x->fd);
	config_free(x->c);
	free(x);
	return 0;
}

static void assert_value(struct ctx *x, const char *key, const char *want)
{
	const char *value = config_get(x->c, key);

	if (!want) {
		assert_null(value);
		return;
	}
	assert_non_null(value);
	assert_string_equal(value, want);
}

static void assert_set(struct ctx *x, const char *key, const char *value)
{
	assert_int_equal(config_set(x->c, key, value, &x->err), 0);
	assert_value(x, key, value);
}

/* The tree's own lines, for comparing trees. */
static char *printed(const struct config *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	config_print(c, f);
	fclose(f);
	return text;
}

static void assert_printed(struct ctx *x, const char *want)
{
	char *text = printed(x->c);

	assert_string_equal(text, want);
	free(text);
}

/* Keys and values */

static void keys_are_two_or_more_words(void **state)
{
	static const char *const good[] = {"a.b", "memory.size", "device.com1.backend", "a-b.c_d.0",
					   "0.0"};
	static const char *const bad[] = {"",      ".",     "a",     "a.",         ".a",
					  "a..b",  "A.b",   "a.B",   "a b.c",      "a.b ",
					  "a.b=c", "a/b.c", "a.b\n", "\xc3\xa4.b", "a.b."};
	struct ctx *x = *state;
	char want[128];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_set(x, good[i], "v");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(config_set(x->c, bad[i], "v", &x->err), -EINVAL);
		snprintf(want, sizeof(want),
			 "'%s' is not an option key; keys look like memory.size", bad[i]);
		assert_string_equal(x->err.text, want);
		assert_null(config_get(x->c, bad[i]));
	}
	assert_int_equal(config_set(x->c, "A", "v", NULL), -EINVAL);
}

static void a_key_has_at_most_127_bytes(void **state)
{
	struct ctx *x = *state;
	char key[1024], pair[1100];

	memset(key, 'k', sizeof(key));
	key[1] = '.';
	key[KEY_MOST] = '\0';
	assert_set(x, key, "v");
	snprintf(pair, sizeof(pair), "%s=w", key);
	assert_int_equal(config_set_pair(x->c, pair, &x->err), 0);
	assert_value(x, key, "w");

	for (size_t n = KEY_MOST + 1; n < sizeof(key); n += 100) {
		memset(key + 2, 'k', sizeof(key) - 2);
		key[n] = '\0';
		assert_int_equal(config_set(x->c, key, "v", &x->err), -EINVAL);
		assert_non_null(strstr(x->err.text, "is longer than 127 bytes"));
		snprintf(pair, sizeof(pair), "%s=w", key);
		assert_int_equal(config_set_pair(x->c, pair, &x->err), -EINVAL);
		assert_non_null(strstr(x->err.text, "is longer than 127 bytes"));
		/* The same by a prefix and by a name in a list. */
		assert_int_equal(config_set_list(x->c, key, "k", "v", &x->err), -EINVAL);
		assert_int_equal(config_set_list(x->c, "a", NULL, pair, &x->err), -EINVAL);
		assert_int_equal(config_set_list(x->c, key, NULL, pair, &x->err), -EINVAL);
	}
}

static void a_value_has_at_most_4095_bytes(void **state)
{
	struct ctx *x = *state;
	char value[VALUE_MOST + 2];

	memset(value, '\\', sizeof(value));
	value[VALUE_MOST] = '\0';
	assert_set(x, "a.b", value);
	value[VALUE_MOST] = 'v';
	value[VALUE_MOST + 1] = '\0';
	assert_int_equal(config_set(x->c, "a.b", value, &x->err), -EINVAL);
	assert_string_equal(x->err.text, "a.b: the value is longer than 4095 bytes");
	assert_int_equal(strlen(config_get(x->c, "a.b")), VALUE_MOST);
}

static void strings_are_copied_and_values_replaced(void **state)
{
	struct ctx *x = *state;
	char key[] = "a.b", value[] = "v";

	assert_int_equal(config_set(x->c, key, value, &x->err), 0);
	key[0] = value[0] = 'z';
	assert_value(x, "a.b", "v");
	assert_value(x, "z.b", NULL);
	assert_set(x, "a.b", "");
	assert_set(x, "a.b", "w");
	/* A value may be set from the tree itself. */
	assert_int_equal(config_set(x->c, "a.b", config_get(x->c, "a.b") + 1, &x->err), 0);
	assert_value(x, "a.b", "");
	assert_printed(x, "a.b = \n");
}

static void many_keys(void **state)
{
	struct ctx *x = *state;
	char key[32];

	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "a.k%u", i);
		assert_set(x, key, key);
	}
	for (unsigned int i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "a.k%u", i);
		assert_value(x, key, key);
	}
}

static void pairs(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(config_set_pair(x->c, "a.b=c=d", &x->err), 0);
	assert_value(x, "a.b", "c=d");
	assert_int_equal(config_set_pair(x->c, "a.b=", &x->err), 0);
	assert_value(x, "a.b", "");
	assert_int_equal(config_set_pair(x->c, "a.b", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "'a.b' is not of the form KEY=VALUE");
	assert_int_equal(config_set_pair(x->c, "", &x->err), -EINVAL);
	assert_int_equal(config_set_pair(x->c, "=x", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "'' is not an option key; keys look like memory.size");
}

/* Lists, as flags take them */

static void lists(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(config_set_list(x->c, "memory", "size", "256M", &x->err), 0);
	assert_value(x, "memory.size", "256M");
	assert_int_equal(config_set_list(x->c, "memory", "size", "1G,shared=on,merge=off", &x->err),
			 0);
	assert_value(x, "memory.size", "1G");
	assert_value(x, "memory.shared", "on");
	assert_value(x, "memory.merge", "off");
	assert_int_equal(config_set_list(x->c, "a", NULL, "x=1,y.z=2,e=", &x->err), 0);
	assert_value(x, "a.x", "1");
	assert_value(x, "a.y.z", "2");
	assert_value(x, "a.e", "");
	assert_int_equal(config_set_list(x->c, "a", NULL, "", &x->err), 0);
}

static void commas_in_values_are_doubled(void **state)
{
	static const struct {
		const char *arg, *file, *serial;
	} cases[] = {
		{"a,,b", "a,b", NULL},
		{"a,,,serial=x", "a,", "x"},
		{",,", ",", NULL},
		{",,,,", ",,", NULL},
		{",,,serial=x,,", ",", "x,"},
		{"a,serial=,,", "a", ","},
		{"a,serial=,,,,", "a", ",,"},
		{"a=b,,c,serial=x=y,,serial=z", "a=b,c", "x=y,serial=z"},
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct config *c = config_new();

		assert_non_null(c);
		assert_int_equal(config_set_list(c, "disk", "file", cases[i].arg, &x->err), 0);
		assert_string_equal(config_get(c, "disk.file"), cases[i].file);
		if (cases[i].serial)
			assert_string_equal(config_get(c, "disk.serial"), cases[i].serial);
		else
			assert_null(config_get(c, "disk.serial"));
		config_free(c);
	}
}

static void lists_that_make_no_sense(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(config_set_list(x->c, "disk", "file", "a,ro", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "disk: 'ro' is not of the form KEY=VALUE");
	assert_int_equal(config_set_list(x->c, "disk", NULL, "a", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "disk: 'a' is not of the form KEY=VALUE");
	assert_int_equal(config_set_list(x->c, "disk", NULL, "=v", &x->err), -EINVAL);
	assert_int_equal(config_set_list(x->c, "disk", NULL, "A=v", &x->err), -EINVAL);
	assert_string_equal(x->err.text,
			    "'disk.A' is not an option key; keys look like memory.size");
	/* Only where no name is given to it may the first word be missing. */
	assert_int_equal(config_set_list(x->c, "disk", "file", "", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "disk: the file is missing");
	assert_int_equal(config_set_list(x->c, "disk", "file", ",ro=on", &x->err), -EINVAL);
	assert_string_equal(x->err.text, "disk: the file is missing in front of ',ro=on'");
	assert_value(x, "disk.file", "a");
	assert_value(x, "disk.ro", NULL);
}

/* Files */

static int read_bytes(struct ctx *x, const void *bytes, size_t len)
{
	assert_int_equal(ftruncate(x->fd, 0), 0);
	assert_int_equal(pwrite(x->fd, bytes, len, 0), len);
	return config_read_file(x->c, x->path, &x->err);
}

static int read_text(struct ctx *x, const char *text)
{
	return read_bytes(x, text, strlen(text));
}

/* The error names file and @line, and says @what. */
static void assert_refused(struct ctx *x, const char *text, unsigned int line, const char *what)
{
	char want[512];

	assert_int_equal(read_text(x, text), -EINVAL);
	snprintf(want, sizeof(want), "%s:%u: %s", x->path, line, what);
	assert_string_equal(x->err.text, want);
}

static void a_file_is_lines_of_key_and_value(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(read_text(x, "# a machine\n"
				      "\n"
				      "  \t \n"
				      "memory.size = 256M\n"
				      "\ta.b=c  \t\r\n"
				      "  # indented = comment\n"
				      "a.c = d # behind white space\n"
				      "a.d = d#not\n"
				      "a.e =#not\n"
				      "a.f = # all of it\n"
				      "a.g =\n"
				      "a.h = x = y\n"
				      "a.i = one two\n"
				      "a.b = again\n"
				      "a.last = no newline"),
			 0);
	assert_printed(x, "a.b = again\n"
			  "a.c = d\n"
			  "a.d = d#not\n"
			  "a.e = \"#not\"\n"
			  "a.f = \n"
			  "a.g = \n"
			  "a.h = x = y\n"
			  "a.i = one two\n"
			  "a.last = no newline\n"
			  "memory.size = 256M\n");
}

static void a_quoted_value_is_taken_as_it_stands(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(read_text(x, "a.a = \" x \"\n"
				      "a.b = \"x # y\" # comment\n"
				      "a.c = \"\\\"\\\\\\n\"\n"
				      "a.d = \"\"\t\n"
				      "a.e = x \"y\"\n"),
			 0);
	assert_value(x, "a.a", " x ");
	assert_value(x, "a.b", "x # y");
	assert_value(x, "a.c", "\"\\\n");
	assert_value(x, "a.d", "");
	assert_value(x, "a.e", "x \"y\"");
	assert_refused(x, "a.a = \"x\n", 1, "the quoted value has no end");
	assert_refused(x, "a.a = \"\n", 1, "the quoted value has no end");
	assert_refused(x, "a.a = \"x\\\"\n", 1, "the quoted value has no end");
	assert_refused(x, "a.a = \"x\\", 1, "the quoted value has no end");
	assert_refused(x, "a.a = \"x\" y\n", 1, "'y' follows the quoted value");
	assert_refused(x, "a.a = \"\\t\"\n", 1, "a quoted value knows \\\", \\\\ and \\n only");
	assert_value(x, "a.a", " x ");
}

static void what_a_file_may_not_say(void **state)
{
	struct ctx *x = *state;

	assert_refused(x, "a.b = 1\n\nmemory.size\n", 3,
		       "'memory.size' is not of the form key = value");
	assert_refused(x, "Size = 1\n", 1,
		       "'Size' is not an option key; keys look like memory.size");
	assert_refused(x, "= 1\n", 1, "'' is not an option key; keys look like memory.size");
	assert_refused(x, "a.b # c = 1\n", 1,
		       "'a.b # c' is not an option key; keys look like memory.size");
	/* What stood in front of the mistake has been set. */
	assert_value(x, "a.b", "1");
}

static void a_file_that_cannot_be_read(void **state)
{
	struct ctx *x = *state;

	assert_int_equal(config_read_file(x->c, "/nowhere/at/all", &x->err), -ENOENT);
	assert_string_equal(x->err.text, "cannot open the configuration /nowhere/at/all: "
					 "No such file or directory");
	assert_int_equal(config_read_file(x->c, "/", &x->err), -EISDIR);
	assert_string_equal(x->err.text, "cannot read the configuration /: Is a directory");
	assert_int_equal(config_read_file(x->c, "/dev/null", &x->err), 0);
	/* Endless, without a line's end. */
	assert_int_equal(config_read_file(x->c, "/dev/zero", &x->err), -EINVAL);
}

static void nul_bytes_are_refused_wherever_they_stand(void **state)
{
	static const char good[] = "a.b = 1\na.c = 2\n";
	struct ctx *x = *state;
	char bytes[sizeof(good)], want[128];

	for (size_t i = 0; i < sizeof(good); i++) {
		memcpy(bytes, good, sizeof(good));
		if (i < sizeof(good) - 1)
			bytes[i] = '\0';
		assert_int_equal(read_bytes(x, bytes, sizeof(good)), -EINVAL);
		snprintf(want, sizeof(want), "%s:%u: there is a NUL byte in it", x->path,
			 i < 8    ? 1
			 : i < 16 ? 2
				  : 3);
		assert_string_equal(x->err.text, want);
	}
}

static void lines_of_any_length(void **state)
{
	struct ctx *x = *state;
	char *text = malloc(1 << 20);

	assert_non_null(text);
	for (size_t n = 1; n < 1 << 20; n = n * 2 + 1) {
		int ret;

		memset(text, 'v', n);
		memcpy(text, "a.b = ", MIN(n, (size_t)6));
		ret = read_bytes(x, text, n);
		if (n <= 3)
			assert_int_equal(ret, -EINVAL);
		else if (n - 6 <= VALUE_MOST || n < 6)
			assert_int_equal(ret, 0);
		else
			assert_int_equal(ret, -EINVAL);
		/* A comment may be as long as it likes, but not without end. */
		text[0] = '#';
		ret = read_bytes(x, text, n);
		assert_true(ret == 0 || (ret == -EINVAL && n > 8192));
	}
	memset(text, 'v', 1 << 20);
	assert_int_equal(read_bytes(x, text, 1 << 20), -EINVAL);
	assert_non_null(strstr(x->err.text, ":1: the line is longer than "));
	free(text);
}

/* Every byte in every place of a small file: refused or read, never out of bounds. */
static void any_byte_anywhere(void **state)
{
	static const char good[] = "a.b = \"x\\n\" # c\n";
	struct ctx *x = *state;
	char bytes[sizeof(good)];

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		for (unsigned int b = 0; b < 256; b++) {
			int ret;

			memcpy(bytes, good, sizeof(good));
			bytes[i] = (char)b;
			ret = read_bytes(x, bytes, sizeof(good) - 1);
			assert_true(ret == 0 || ret == -EINVAL);
		}
	}
}

static void what_is_printed_reads_back_the_same(void **state)
{
	static const char *const values[] = {
		"",     " ",     "x",    " x",    "x ",   "x y",     "#",   "#x",   "x#",
		"x #y", "x\t#y", "\"",   "\"x\"", "x\"y", "\\",      "\\n", "x\n",  "x\ny = z",
		"\n",   "x\r",   "\r\n", "\v",    "=",    "a.b = c", ",,",  "\xff", "\x01",
	};
	struct ctx *x = *state;
	struct config *again = config_new();
	char key[16], longest[VALUE_MOST + 1], *text, *text_again;

	assert_non_null(again);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		snprintf(key, sizeof(key), "a.k%zu", i);
		assert_set(x, key, values[i]);
	}
	memset(longest, '\n', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_set(x, "a.longest", longest);

	text = printed(x->c);
	assert_int_equal(read_text(x, text), 0);
	assert_int_equal(config_read_file(again, x->path, &x->err), 0);
	text_again = printed(again);
	assert_string_equal(text, text_again);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		snprintf(key, sizeof(key), "a.k%zu", i);
		assert_string_equal(config_get(again, key), values[i]);
	}
	assert_string_equal(config_get(again, "a.longest"), longest);
	free(text);
	free(text_again);
	config_free(again);
}

static void the_tree_is_printed_sorted(void **state)
{
	struct ctx *x = *state;

	assert_printed(x, "");
	assert_set(x, "b.a", "1");
	assert_set(x, "a.b", "2");
	assert_set(x, "a.b.c", " 3");
	assert_set(x, "a.a", "4");
	assert_printed(x, "a.a = 4\na.b = 2\na.b.c = \" 3\"\nb.a = 1\n");
}

/* Walks */

static void children_come_once_in_the_order_first_set(void **state)
{
	struct ctx *x = *state;
	char name[16];
	size_t pos = 0;

	assert_false(config_next_child(x->c, "", &pos, name, sizeof(name)));
	assert_set(x, "device.com2", "uart8250");
	assert_set(x, "memory.size", "1M");
	assert_set(x, "device.com1.backend", "none");
	assert_set(x, "device.com2.backend", "none");
	assert_set(x, "device.com1", "uart8250");
	assert_set(x, "device.com", "x");
	assert_set(x, "devices.not", "x");
	assert_set(x, "device.com2", "again");

	pos = 0;
	assert_true(config_next_child(x->c, "device", &pos, name, sizeof(name)));
	assert_string_equal(name, "com2");
	assert_true(config_next_child(x->c, "device", &pos, name, sizeof(name)));
	assert_string_equal(name, "com1");
	assert_true(config_next_child(x->c, "device", &pos, name, sizeof(name)));
	assert_string_equal(name, "com");
	assert_false(config_next_child(x->c, "device", &pos, name, sizeof(name)));
	assert_false(config_next_child(x->c, "device", &pos, name, sizeof(name)));

	pos = 0;
	assert_true(config_next_child(x->c, "", &pos, name, sizeof(name)));
	assert_string_equal(name, "device");
	assert_true(config_next_child(x->c, "", &pos, name, 4));
	assert_string_equal(name, "mem");
	assert_true(config_next_child(x->c, "", &pos, name, sizeof(name)));
	assert_string_equal(name, "devices");
	assert_false(config_next_child(x->c, "", &pos, name, sizeof(name)));

	pos = 0;
	assert_true(config_next_child(x->c, "device.com1", &pos, name, sizeof(name)));
	assert_string_equal(name, "backend");
	assert_false(config_next_child(x->c, "device.com1", &pos, name, sizeof(name)));
	pos = 0;
	assert_false(config_next_child(x->c, "devic", &pos, name, sizeof(name)));
}

/* Typed options */

struct opts {
	bool flag, flag_on;
	uint64_t n, bounded, least, size;
	const char *text, *text_set;
	unsigned int choice, choice_set;
};

static const struct option table[] = {
	{.name = "flag", .type = OPTION_BOOL, .offset = offsetof(struct opts, flag)},
	{.name = "flag-on",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct opts, flag_on),
	 .fallback = "on"},
	{.name = "n", .type = OPTION_UINT, .offset = offsetof(struct opts, n)},
	{.name = "bounded",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct opts, bounded),
	 .fallback = "7",
	 .min = 2,
	 .max = 9},
	{.name = "least", .type = OPTION_UINT, .offset = offsetof(struct opts, least), .min = 3},
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct opts, size),
	 .fallback = "64K",
	 .min = 4096,
	 .max = 1 << 20},
	{.name = "text", .type = OPTION_STRING, .offset = offsetof(struct opts, text)},
	{.name = "text-set",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct opts, text_set),
	 .fallback = "none"},
	{.name = "choice",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct opts, choice),
	 .choices = "split|kernel|none"},
	{.name = "choice-set",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct opts, choice_set),
	 .choices = "split|kernel|none",
	 .fallback = "none"},
	OPTION_END,
};

static int read_one(struct ctx *x, const char *key, const char *value, struct opts *o)
{
	struct config *c = config_new();
	int ret;

	assert_non_null(c);
	assert_int_equal(config_set(c, key, value, &x->err), 0);
	memset(o, 0xa5, sizeof(*o));
	ret = config_read(c, "t", table, o, &x->err);
	config_free(c);
	return ret;
}

static void options_have_defaults(void **state)
{
	struct ctx *x = *state;
	struct opts o;

	memset(&o, 0xa5, sizeof(o));
	assert_int_equal(config_read(x->c, "t", table, &o, &x->err), 0);
	assert_false(o.flag);
	assert_true(o.flag_on);
	assert_true(o.n == 0);
	assert_true(o.bounded == 7);
	assert_true(o.least == 0);
	assert_true(o.size == 65536);
	assert_null(o.text);
	assert_string_equal(o.text_set, "none");
	assert_int_equal(o.choice, 0);
	assert_int_equal(o.choice_set, 2);
}

static void booleans(void **state)
{
	static const char *const yes[] = {"on", "yes", "true"},
				 *const no[] = {"off", "no", "false"},
				 *const bad[] = {"", "1", "0", "ON", "on ", "y", "truefalse"};
	struct ctx *x = *state;
	struct opts o;
	char want[128];

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		assert_int_equal(read_one(x, "t.flag", yes[i], &o), 0);
		assert_true(o.flag);
		assert_int_equal(read_one(x, "t.flag-on", no[i], &o), 0);
		assert_false(o.flag_on);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(read_one(x, "t.flag", bad[i], &o), -EINVAL);
		snprintf(want, sizeof(want), "t.flag: '%s' is neither on nor off", bad[i]);
		assert_string_equal(x->err.text, want);
	}
}

static void numbers_are_bounded(void **state)
{
	char zeroes[2048];
	struct ctx *x = *state;
	struct opts o;

	assert_int_equal(read_one(x, "t.n", "18446744073709551615", &o), 0);
	assert_true(o.n == UINT64_MAX);
	assert_int_equal(read_one(x, "t.n", "0xFf", &o), 0);
	assert_true(o.n == 255);
	assert_int_equal(read_one(x, "t.bounded", "2", &o), 0);
	assert_int_equal(read_one(x, "t.bounded", "9", &o), 0);
	assert_int_equal(read_one(x, "t.bounded", "1", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.bounded: 1 is too small, the least is 2");
	assert_int_equal(read_one(x, "t.bounded", "10", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.bounded: 10 is too large, the most is 9");
	assert_int_equal(read_one(x, "t.least", "2", &o), -EINVAL);
	assert_int_equal(read_one(x, "t.least", "18446744073709551615", &o), 0);
	assert_int_equal(read_one(x, "t.n", "ten", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.n: 'ten' is not a number");
	assert_int_equal(read_one(x, "t.size", "4095", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.size: 4095 is too small, the least is 4096");
	assert_int_equal(read_one(x, "t.size", "1025K", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.size: 1025K is too large, the most is 1048576");
	assert_int_equal(read_one(x, "t.size", "1m", &o), 0);
	assert_true(o.size == 1 << 20);
	assert_int_equal(read_one(x, "t.size", "1MB", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.size: '1MB' is not a size like 512M");
	/* A long way of writing a number does not push the sentence out. */
	memset(zeroes, '0', sizeof(zeroes));
	zeroes[sizeof(zeroes) - 1] = '\0';
	assert_int_equal(read_one(x, "t.bounded", zeroes, &o), -EINVAL);
	assert_non_null(strstr(x->err.text, "is too small, the least is 2"));
}

static void strings_and_choices(void **state)
{
	struct ctx *x = *state;
	struct opts o;

	assert_set(x, "t.text", "some text");
	assert_int_equal(config_read(x->c, "t", table, &o, &x->err), 0);
	assert_ptr_equal(o.text, config_get(x->c, "t.text"));
	assert_int_equal(read_one(x, "t.choice", "split", &o), 0);
	assert_int_equal(o.choice, 0);
	assert_int_equal(read_one(x, "t.choice", "kernel", &o), 0);
	assert_int_equal(o.choice, 1);
	assert_int_equal(read_one(x, "t.choice-set", "kernel", &o), 0);
	assert_int_equal(o.choice_set, 1);
	assert_int_equal(read_one(x, "t.choice", "kern", &o), -EINVAL);
	assert_string_equal(x->err.text, "t.choice: 'kern' is none of split|kernel|none");
	assert_int_equal(read_one(x, "t.choice", "", &o), -EINVAL);
	assert_int_equal(read_one(x, "t.choice", "split|kernel", &o), -EINVAL);
	assert_int_equal(read_one(x, "t.choice", "nonesuch", &o), -EINVAL);
}

static void an_unknown_key_names_the_nearest(void **state)
{
	static const struct option none[] = {OPTION_END};
	struct ctx *x = *state;
	struct opts o;

	assert_int_equal(read_one(x, "t.chioce", "x", &o), -EINVAL);
	assert_string_equal(x->err.text, "unknown option 't.chioce'; did you mean 't.choice'?");
	assert_int_equal(read_one(x, "t.bound", "x", &o), -EINVAL);
	assert_string_equal(x->err.text, "unknown option 't.bound'; did you mean 't.bounded'?");
	assert_int_equal(read_one(x, "t.xyzzy", "x", &o), -EINVAL);
	assert_string_equal(x->err.text,
			    "unknown option 't.xyzzy'; known are flag, flag-on, n, bounded, "
			    "least, size, text, text-set, choice, choice-set");
	/* The error comes before any value is looked at. */
	assert_set(x, "t.n", "nonsense");
	assert_set(x, "t.zzzz", "x");
	assert_int_equal(config_read(x->c, "t", table, &o, &x->err), -EINVAL);
	assert_int_equal(strncmp(x->err.text, "unknown option 't.zzzz'", 23), 0);
	/* Elsewhere and further down is not this table's. */
	assert_int_equal(read_one(x, "u.zzzz", "x", &o), 0);
	assert_int_equal(read_one(x, "t.zzzz.n", "x", &o), 0);
	assert_int_equal(read_one(x, "tt.zzzz", "x", &o), 0);
	assert_set(x, "v.n", "1");
	assert_int_equal(config_read(x->c, "v", none, &o, &x->err), -EINVAL);
	assert_string_equal(x->err.text, "unknown option 'v.n'; there are none");
	assert_int_equal(config_read(x->c, "v", none, &o, NULL), -EINVAL);
}

static void prefixes_may_be_deep(void **state)
{
	struct ctx *x = *state;
	struct opts o;

	assert_set(x, "device.com1", "uart8250");
	assert_set(x, "device.com1.n", "5");
	assert_set(x, "device.com1.n.deeper", "6");
	assert_int_equal(config_read(x->c, "device.com1", table, &o, &x->err), 0);
	assert_true(o.n == 5);
}

static void parse_numbers(void **state)
{
	static const char *const bad[] = {"",
					  " 1",
					  "+1",
					  "-1",
					  "0x",
					  "0X10",
					  "1 ",
					  "1.5",
					  "0x-1",
					  "0x 1",
					  "0xg",
					  "1e3",
					  "18446744073709551616",
					  "0x10000000000000000"};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse_uint(bad[i], &v), -EINVAL);
		assert_int_equal(parse_size(bad[i], &v), -EINVAL);
	}
	assert_int_equal(parse_uint("010", &v), 0);
	assert_true(v == 10);
	assert_int_equal(parse_uint("1K", &v), -EINVAL);
	assert_int_equal(parse_uint("0xffffffffffffffff", &v), 0);
	assert_true(v == UINT64_MAX);
}

static void parse_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t v;
	} good[] = {
		{"0", 0},
		{"512", 512},
		{"4K", 4096},
		{"4k", 4096},
		{"3M", MIB(3)},
		{"3m", MIB(3)},
		{"2G", GIB(2)},
		{"1T", GIB(1024)},
		{"0x10K", 16384},
		{"0xb", 11},
		{"16777215T", UINT64_C(16777215) << 40},
		{"0T", 0},
	};
	static const char *const bad[] = {"K",         "1KB",          "1KK", "1P",  "1 K",
					  "16777216T", "17179869184G", "0x",  "0xK", "1K "};
	uint64_t v;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(parse_size(good[i].text, &v), 0);
		assert_true(v == good[i].v);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(parse_size(bad[i], &v), -EINVAL);
}

static void nearest(const char *given, const char *want)
{
	static const char *const words[] = {"memory", "cpus", "disk", "ro", "irqchip", NULL};
	const char *got = nearest_word(given, words);

	if (!want) {
		assert_null(got);
		return;
	}
	assert_non_null(got);
	assert_string_equal(got, want);
}

static void the_nearest_word(void **state)
{
	static const char *const none[] = {NULL};
	char huge[4096];

	(void)state;
	nearest("memory", "memory");
	nearest("memroy", "memory");
	nearest("memor", "memory");
	nearest("emmory", "memory");
	nearest("mem", "memory");
	nearest("me", NULL);
	nearest("cpu", "cpus");
	nearest("dsik", "disk");
	nearest("dick", "disk");
	nearest("or", "ro");
	nearest("r", "ro");
	nearest("xy", NULL);
	nearest("irqchipp", "irqchip");
	nearest("", NULL);
	nearest("something else", NULL);
	assert_null(nearest_word("x", none));
	memset(huge, 'm', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	nearest(huge, NULL);
}

static void freeing_nothing(void **state)
{
	(void)state;
	config_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(keys_are_two_or_more_words),
		TEST(a_key_has_at_most_127_bytes),
		TEST(a_value_has_at_most_4095_bytes),
		TEST(strings_are_copied_and_values_replaced),
		TEST(many_keys),
		TEST(pairs),
		TEST(lists),
		TEST(commas_in_values_are_doubled),
		TEST(lists_that_make_no_sense),
		TEST(a_file_is_lines_of_key_and_value),
		TEST(a_quoted_value_is_taken_as_it_stands),
		TEST(what_a_file_may_not_say),
		TEST(a_file_that_cannot_be_read),
		TEST(nul_bytes_are_refused_wherever_they_stand),
		TEST(lines_of_any_length),
		TEST(any_byte_anywhere),
		TEST(what_is_printed_reads_back_the_same),
		TEST(the_tree_is_printed_sorted),
		TEST(children_come_once_in_the_order_first_set),
		TEST(options_have_defaults),
		TEST(booleans),
		TEST(numbers_are_bounded),
		TEST(strings_and_choices),
		TEST(an_unknown_key_names_the_nearest),
		TEST(prefixes_may_be_deep),
		TEST(parse_numbers),
		TEST(parse_sizes),
		TEST(the_nearest_word),
		TEST(freeing_nothing),
	};

	return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
