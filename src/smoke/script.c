/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "patterns.h"
#include "script.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

#define SCRIPT_MAX MIB(1)
#define LINE_BYTES KIB(64)

static int do_expect(struct judge *j, const char *where, const char *text, struct err *err)
{
	return judge_expect(j, where, text, err);
}

static int do_forbid(struct judge *j, const char *where, const char *text, struct err *err)
{
	return judge_rule(j, where, RULE_FORBID, text, err);
}

static int do_pass(struct judge *j, const char *where, const char *text, struct err *err)
{
	return judge_rule(j, where, RULE_PASS, text, err);
}

static int do_fail(struct judge *j, const char *where, const char *text, struct err *err)
{
	return judge_rule(j, where, RULE_FAIL, text, err);
}

static int do_patterns(struct judge *j, const char *where, const char *text, struct err *err)
{
	unsigned int sets;
	int ret = patterns_parse(&sets, text, err);

	if (ret)
		err_prefix(err, "%s", where);
	else
		judge_set_patterns(j, sets);
	return ret;
}

static int do_until_end(struct judge *j, const char *where, const char *text, struct err *err)
{
	if (*text)
		return err_set(err, EINVAL, "%s: until-end takes nothing", where);
	judge_until_end(j);
	return 0;
}

static const struct {
	const char *name;
	int (*apply)(struct judge *j, const char *where, const char *text, struct err *err);
} words[] = {
	{"expect", do_expect}, {"within", judge_within},  {"send", judge_send},
	{"wait", judge_wait},  {"forbid", do_forbid},     {"pass", do_pass},
	{"fail", do_fail},     {"patterns", do_patterns}, {"until-end", do_until_end},
};

static int unknown_word(const char *where, const char *word, struct err *err)
{
	const char *all[ARRAY_SIZE(words) + 1] = {NULL};
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		all[i] = words[i].name;
	near = nearest_word(word, all);
	return near ? err_set(err, EINVAL, "%s: there is no word '%s'; did you mean '%s'?", where,
			      word, near)
		    : err_set(err, EINVAL, "%s: there is no word '%s'; docs/smoke.md has them",
			      where, word);
}

/* @line is without its end, and is changed. */
static int parse_line(struct judge *j, const char *where, char *line, struct err *err)
{
	char word[24];
	char *text;
	size_t n;

	line += strspn(line, " \t");
	if (!*line || *line == '#')
		return 0;
	n = strcspn(line, " \t");
	text = line + n + !!line[n];
	snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word)), line);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i].name, word) != 0)
			continue;
		if (!*text && words[i].apply != do_until_end)
			return err_set(err, EINVAL, "%s: %s needs something behind it", where,
				       word);
		return words[i].apply(j, where, text, err);
	}
	for (char *p = word; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return unknown_word(where, word, err);
}

int script_parse(struct judge *j, const char *name, const char *text, size_t len, struct err *err)
{
	char *line = malloc(LINE_BYTES + 1);
	char where[160];
	unsigned int number = 0;
	int ret = 0;

	if (!line)
		return err_sys(err, ENOMEM, "script");

	while (!ret && len) {
		const char *lf = memchr(text, '\n', len);
		const size_t all = lf ? (size_t)(lf - text) + 1 : len;
		size_t n = all - (lf ? 1 : 0);

		snprintf(where, sizeof(where), "%.140s:%u", name, ++number);
		if (n && text[n - 1] == '\r')
			n--;
		if (n > LINE_BYTES || memchr(text, '\0', n)) {
			ret = err_set(err, EINVAL, "%s: %s", where,
				      n > LINE_BYTES ? "the line is too long"
						     : "there is a NUL in the line");
			break;
		}
		memcpy(line, text, n);
		line[n] = '\0';
		ret = parse_line(j, where, line, err);
		text += all;
		len -= all;
	}
	free(line);
	return ret;
}

int script_read(struct judge *j, const char *path, struct err *err)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "re") : stdin;
	char *text = malloc(SCRIPT_MAX + 1);
	size_t len;
	int ret = 0;

	if (!f)
		ret = err_sys(err, errno, "cannot read the script %s", path);
	else if (!text)
		ret = err_sys(err, ENOMEM, "script");
	if (!ret) {
		len = fread(text, 1, SCRIPT_MAX + 1, f);
		if (ferror(f))
			ret = err_sys(err, errno, "cannot read the script %s", path);
		else if (len > SCRIPT_MAX)
			ret = err_set(err, EFBIG, "%s: a script has 1 MiB at most", path);
		else
			ret = script_parse(j, path, text, len, err);
	}
	if (f && f != stdin)
		fclose(f);
	free(text);
	return ret;
}
