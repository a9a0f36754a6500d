/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/matrix.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/err.h"

#define RULES_MAX   1024u
#define ALL_MAX     1024u
#define WORDS_MAX   1024u /* of a line */
#define ANY         UINT32_MAX
#define RESERVED    "all", "exclude", "repeat"
#define AXIS_NONE   (-1) /* no section yet */
#define AXIS_ALL    (-2)
#define AXIS_EXCEPT (-3)

struct value {
	char name[MATRIX_WORD_MAX + 1];
	struct matrix_options options;
};

struct axis {
	char name[MATRIX_WORD_MAX + 1];
	unsigned int line;
	unsigned int count;
	struct value *values;
};

/* A line of [exclude], as it stands until all axes are known. */
struct rule {
	struct matrix_options terms;
	uint32_t value[MATRIX_AXES_MAX]; /* ANY: the rule does not name the axis */
};

struct matrix {
	char *path;
	unsigned int axis_count, all_count, rule_count, run_count;
	struct axis axes[MATRIX_AXES_MAX];
	struct matrix_options *all;
	struct rule *rules;
	uint32_t *runs; /* the numbers of the combinations that are not excluded */
};

/* Where the parser is. */
struct reader {
	struct matrix *m;
	const char *at, *end;
	unsigned int line;  /* of what is being read, counted from 1 */
	unsigned int lines; /* that it consists of */
	int section;        /* an axis, or AXIS_… */
	struct err *err;
};

static int mistake(const struct reader *r, unsigned int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int mistake(const struct reader *r, unsigned int line, const char *fmt, ...)
{
	char text[sizeof(r->err->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return err_set(r->err, EINVAL, "%s:%u: %s", r->m->path, line, text);
}

static int no_memory(const struct reader *r)
{
	return err_sys(r->err, ENOMEM, "matrix %s", r->m->path);
}

/* Makes room for one more of @size behind the @count that @array holds; NULL when memory is out. */
static void *one_more(void *array, unsigned int count, size_t size)
{
	/* At powers of two only. */
	if (count && (count & (count - 1)))
		return array;
	return reallocarray(array, count ? 2 * (size_t)count : 1, size);
}

static void options_free(struct matrix_options *o)
{
	for (unsigned int i = 0; i < o->count; i++)
		free(o->words[i]);
	free(o->words);
	*o = (struct matrix_options){0};
}

/* Words */

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/*
 * The word at *@p, which is no blank, without its quotes; *@p then is behind it. @word has room for
 * all that is left of the line.
 */
static int read_word(struct reader *r, const char **p, const char *end, char *word)
{
	const char *s = *p;
	char quote = '\0';

	for (; s < end && (quote || !blank(*s)); s++) {
		if (quote ? *s == quote : (*s == '\'' || *s == '"')) {
			if (quote)
				quote = '\0';
			else
				quote = *s;
			continue;
		}
		if (*s == '\\' && quote != '\'' && s + 1 < end &&
		    (!quote || s[1] == '"' || s[1] == '\\'))
			s++;
		*word++ = *s;
	}
	*word = '\0';
	*p = s;
	if (quote)
		return mistake(r, r->line, "the %c has no other", quote);
	return 0;
}

static int add_word(struct reader *r, struct matrix_options *o, const char *word)
{
	char **grown;

	if (o->count == WORDS_MAX)
		return mistake(r, r->line, "more than %u words", WORDS_MAX);
	/* Room for the NULL at the end, too. */
	grown = reallocarray(o->words, o->count + 2, sizeof(*grown));
	if (!grown)
		return no_memory(r);
	o->words = grown;
	grown[o->count] = strdup(word);
	grown[o->count + 1] = NULL;
	if (!grown[o->count])
		return no_memory(r);
	o->count++;
	return 0;
}

/* The words of a line from @p on. */
static int read_options(struct reader *r, const char *p, const char *end, struct matrix_options *o)
{
	char *word = malloc((size_t)(end - p) + 1);
	int ret = 0;

	*o = (struct matrix_options){.line = r->line, .words = calloc(1, sizeof(*o->words))};
	if (!word || !o->words) {
		free(word);
		options_free(o);
		return no_memory(r);
	}
	while (!ret) {
		while (p < end && blank(*p))
			p++;
		if (p == end || *p == '#')
			break;
		ret = read_word(r, &p, end, word);
		if (!ret)
			ret = add_word(r, o, word);
	}
	free(word);
	if (ret)
		options_free(o);
	return ret;
}

/* Names */

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-' || c == '+';
}

/* They become the names of folders, too: none is "." or "..", or looks like an option. */
static int take_name(struct reader *r, const char *from, const char *to, const char *what,
		     char name[MATRIX_WORD_MAX + 1])
{
	const size_t n = (size_t)(to - from);
	const int shown = (int)(n < 64 ? n : 64);
	bool good = n && n <= MATRIX_WORD_MAX && *from != '.' && *from != '-';

	for (size_t i = 0; good && i < n; i++)
		good = name_char(from[i]);
	if (!good)
		return mistake(r, r->line,
			       "'%.*s' cannot be the name of %s: up to %u letters, digits, '_', "
			       "'+', '-' and '.', the last two not in front",
			       shown, from, what, MATRIX_WORD_MAX);
	memcpy(name, from, n);
	name[n] = '\0';
	return 0;
}

static int find_axis(const struct matrix *m, const char *name)
{
	for (unsigned int i = 0; i < m->axis_count; i++)
		if (!strcmp(m->axes[i].name, name))
			return (int)i;
	return -1;
}

static uint32_t find_value(const struct axis *axis, const char *name)
{
	for (unsigned int i = 0; i < axis->count; i++)
		if (!strcmp(axis->values[i].name, name))
			return i;
	return ANY;
}

/* Sections */

static int open_axis(struct reader *r, const char *name)
{
	static const char *const reserved[] = {RESERVED};
	struct matrix *m = r->m;
	int known = find_axis(m, name);

	for (size_t i = 0; i < sizeof(reserved) / sizeof(*reserved); i++)
		if (!strcmp(name, reserved[i]))
			return mistake(r, r->line, "no axis can be called '%s'", name);
	if (known >= 0)
		return mistake(r, r->line, "the axis %s is already on line %u", name,
			       m->axes[known].line);
	if (m->axis_count == MATRIX_AXES_MAX)
		return mistake(r, r->line, "more than %u axes", MATRIX_AXES_MAX);
	r->section = (int)m->axis_count;
	m->axes[m->axis_count].line = r->line;
	memcpy(m->axes[m->axis_count++].name, name, strlen(name) + 1);
	return 0;
}

/* "[NAME]", with nothing but a comment behind it. */
static int read_section(struct reader *r, const char *p, const char *end)
{
	const char *close = memchr(p, ']', (size_t)(end - p));
	char name[MATRIX_WORD_MAX + 1];
	const char *rest;
	int ret;

	if (!close)
		return mistake(r, r->line, "the '[' has no ']'");
	for (rest = close + 1; rest < end && blank(*rest);)
		rest++;
	if (rest < end && *rest != '#')
		return mistake(r, r->line, "there is something behind the ']'");
	ret = take_name(r, p + 1, close, "an axis", name);
	if (ret)
		return ret;
	if (strcmp(name, "all") && strcmp(name, "exclude"))
		return open_axis(r, name);
	r->section = *name == 'a' ? AXIS_ALL : AXIS_EXCEPT;
	return 0;
}

/* "NAME = options" */
static int read_value(struct reader *r, const char *p, const char *end)
{
	struct axis *axis = &r->m->axes[r->section];
	const char *eq = memchr(p, '=', (size_t)(end - p));
	const char *stop = eq;
	struct value *grown, v;
	int ret;

	if (!eq)
		return mistake(r, r->line, "a value of the axis %s is NAME = OPTIONS", axis->name);
	while (stop > p && blank(stop[-1]))
		stop--;
	ret = take_name(r, p, stop, "a value", v.name);
	if (ret)
		return ret;
	if (find_value(axis, v.name) != ANY)
		return mistake(r, r->line, "the axis %s already has a value %s", axis->name,
			       v.name);
	if (axis->count == MATRIX_VALUES_MAX)
		return mistake(r, r->line, "more than %u values of an axis", MATRIX_VALUES_MAX);
	grown = one_more(axis->values, axis->count, sizeof(*grown));
	if (!grown)
		return no_memory(r);
	axis->values = grown;
	ret = read_options(r, eq + 1, end, &v.options);
	if (!ret)
		axis->values[axis->count++] = v;
	return ret;
}

static int read_all(struct reader *r, const char *p, const char *end)
{
	struct matrix *m = r->m;
	struct matrix_options *grown;
	int ret;

	if (m->all_count == ALL_MAX)
		return mistake(r, r->line, "more than %u lines of [all]", ALL_MAX);
	grown = one_more(m->all, m->all_count, sizeof(*grown));
	if (!grown)
		return no_memory(r);
	m->all = grown;
	ret = read_options(r, p, end, &m->all[m->all_count]);
	if (!ret)
		m->all_count++;
	return ret;
}

static int read_rule(struct reader *r, const char *p, const char *end)
{
	struct matrix *m = r->m;
	struct rule *grown;
	int ret;

	if (m->rule_count == RULES_MAX)
		return mistake(r, r->line, "more than %u lines of [exclude]", RULES_MAX);
	grown = one_more(m->rules, m->rule_count, sizeof(*grown));
	if (!grown)
		return no_memory(r);
	m->rules = grown;
	ret = read_options(r, p, end, &m->rules[m->rule_count].terms);
	if (!ret)
		m->rule_count++;
	return ret;
}

static int read_entry(struct reader *r, const char *p, const char *end)
{
	while (p < end && blank(*p))
		p++;
	if (p == end || *p == '#')
		return 0;
	if (memchr(p, '\0', (size_t)(end - p)))
		return mistake(r, r->line, "there is a NUL byte in it");
	if (*p == '[')
		return read_section(r, p, end);
	switch (r->section) {
	case AXIS_NONE:
		return mistake(r, r->line, "a matrix starts with [all], an axis or [exclude]");
	case AXIS_ALL:
		return read_all(r, p, end);
	case AXIS_EXCEPT:
		return read_rule(r, p, end);
	default:
		return read_value(r, p, end);
	}
}

/* Where a line ends, and that it goes on behind a backslash. */
static int read_lines(struct reader *r)
{
	char *joined = malloc((size_t)(r->end - r->at) + 1);
	int ret = 0;

	if (!joined)
		return no_memory(r);
	while (!ret && r->at < r->end) {
		bool more = true;
		size_t n = 0;

		r->line += r->lines;
		r->lines = 0;
		while (more && r->at < r->end) {
			const char *stop = memchr(r->at, '\n', (size_t)(r->end - r->at));
			size_t len = (size_t)((stop ? stop : r->end) - r->at);

			memcpy(joined + n, r->at, len);
			n += len;
			if (n && joined[n - 1] == '\r')
				n--;
			more = n && joined[n - 1] == '\\';
			if (more)
				n--;
			r->at = stop ? stop + 1 : r->end;
			r->lines++;
		}
		ret = read_entry(r, joined, joined + n);
	}
	free(joined);
	return ret;
}

/* Rules and combinations, when all axes are known */

static int resolve_term(struct reader *r, struct rule *rule, const char *term)
{
	const struct matrix *m = r->m;
	const char *eq = strchr(term, '=');
	char name[MATRIX_WORD_MAX + 1];
	int axis;

	if (!eq || (size_t)(eq - term) > MATRIX_WORD_MAX)
		return mistake(r, rule->terms.line, "'%.64s' is not of the form AXIS=VALUE", term);
	memcpy(name, term, (size_t)(eq - term));
	name[eq - term] = '\0';
	axis = find_axis(m, name);
	if (axis < 0)
		return mistake(r, rule->terms.line, "there is no axis '%s'", name);
	if (rule->value[axis] != ANY)
		return mistake(r, rule->terms.line, "the axis %s twice", name);
	rule->value[axis] = find_value(&m->axes[axis], eq + 1);
	if (rule->value[axis] == ANY)
		return mistake(r, rule->terms.line, "the axis %s has no value '%.64s'", name,
			       eq + 1);
	return 0;
}

static int resolve_rules(struct reader *r)
{
	for (unsigned int i = 0; i < r->m->rule_count; i++) {
		struct rule *rule = &r->m->rules[i];

		for (unsigned int a = 0; a < MATRIX_AXES_MAX; a++)
			rule->value[a] = ANY;
		for (unsigned int t = 0; t < rule->terms.count; t++) {
			int ret = resolve_term(r, rule, rule->terms.words[t]);

			if (ret)
				return ret;
		}
	}
	return 0;
}

/* Which value of each axis combination @n has. */
static void pick(const struct matrix *m, uint32_t n, uint32_t value[MATRIX_AXES_MAX])
{
	for (unsigned int a = m->axis_count; a-- > 0;) {
		value[a] = n % m->axes[a].count;
		n /= m->axes[a].count;
	}
}

static bool excluded(const struct matrix *m, const uint32_t value[MATRIX_AXES_MAX])
{
	for (unsigned int i = 0; i < m->rule_count; i++) {
		bool all = true;

		for (unsigned int a = 0; a < m->axis_count; a++)
			all = all &&
			      (m->rules[i].value[a] == ANY || m->rules[i].value[a] == value[a]);
		if (all)
			return true;
	}
	return false;
}

static int combine(struct reader *r)
{
	struct matrix *m = r->m;
	uint32_t value[MATRIX_AXES_MAX];
	size_t total = 1;

	for (unsigned int a = 0; a < m->axis_count; a++) {
		const struct axis *axis = &m->axes[a];

		if (!axis->count)
			return mistake(r, axis->line, "the axis %s has no values", axis->name);
		total *= axis->count;
		if (total > MATRIX_RUNS_MAX)
			return mistake(r, axis->line, "more than %u runs, with this axis",
				       MATRIX_RUNS_MAX);
	}
	m->runs = calloc(total, sizeof(*m->runs));
	if (!m->runs)
		return no_memory(r);
	for (uint32_t n = 0; n < total; n++) {
		pick(m, n, value);
		if (!excluded(m, value))
			m->runs[m->run_count++] = n;
	}
	if (!m->run_count)
		return mistake(r, m->rules[0].terms.line, "[exclude] leaves no run");
	return 0;
}

int matrix_parse(struct matrix **out, const char *path, const char *text, size_t len,
		 struct err *err)
{
	struct matrix *m = calloc(1, sizeof(*m));
	struct reader r = {
		.m = m,
		.at = text,
		.end = text + len,
		.line = 1,
		.section = AXIS_NONE,
		.err = err,
	};
	int ret;

	*out = NULL;
	if (!m || !(m->path = strdup(path))) {
		free(m);
		return err_sys(err, ENOMEM, "matrix %s", path);
	}
	ret = read_lines(&r);
	if (!ret && !m->axis_count)
		ret = mistake(&r, r.line, "there is no axis, such as [kernel]");
	if (!ret)
		ret = resolve_rules(&r);
	if (!ret)
		ret = combine(&r);
	if (ret)
		matrix_free(m);
	else
		*out = m;
	return ret;
}

int matrix_read(struct matrix **m, const char *path, struct err *err)
{
	FILE *f = fopen(path, "re");
	char *text;
	size_t n;
	int ret;

	*m = NULL;
	if (!f)
		return err_sys(err, errno, "cannot open the matrix %s", path);
	text = malloc(MATRIX_FILE_MAX + 1);
	errno = 0;
	n = text ? fread(text, 1, MATRIX_FILE_MAX + 1, f) : 0;
	if (!text || ferror(f))
		ret = err_sys(err, errno ? errno : EIO, "cannot read the matrix %s", path);
	else if (n > MATRIX_FILE_MAX)
		ret = err_set(err, EFBIG, "the matrix %s is larger than 1 MiB", path);
	else
		ret = matrix_parse(m, path, text, n, err);
	free(text);
	fclose(f);
	return ret;
}

void matrix_free(struct matrix *m)
{
	if (!m)
		return;
	for (unsigned int a = 0; a < m->axis_count; a++) {
		for (unsigned int i = 0; i < m->axes[a].count; i++)
			options_free(&m->axes[a].values[i].options);
		free(m->axes[a].values);
	}
	for (unsigned int i = 0; i < m->all_count; i++)
		options_free(&m->all[i]);
	for (unsigned int i = 0; i < m->rule_count; i++)
		options_free(&m->rules[i].terms);
	free(m->all);
	free(m->rules);
	free(m->runs);
	free(m->path);
	free(m);
}

const char *matrix_path(const struct matrix *m)
{
	return m->path;
}

const struct matrix_options *matrix_all(const struct matrix *m, unsigned int n)
{
	return n < m->all_count ? &m->all[n] : NULL;
}

unsigned int matrix_runs(const struct matrix *m)
{
	return m->run_count;
}

void matrix_run(const struct matrix *m, unsigned int n, struct matrix_run *run)
{
	uint32_t value[MATRIX_AXES_MAX];
	size_t at = 0;

	pick(m, m->runs[n], value);
	run->axes = m->axis_count;
	for (unsigned int a = 0; a < m->axis_count; a++) {
		const struct axis *axis = &m->axes[a];
		const struct value *v = &axis->values[value[a]];

		run->axis[a] = axis->name;
		run->value[a] = v->name;
		run->options[a] = &v->options;
		at += (size_t)snprintf(run->name + at, sizeof(run->name) - at, "%s%s=%s",
				       a ? "," : "", axis->name, v->name);
	}
}
