/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

#define KEY_MAX   (CONFIG_KEY_MAX + 1)
#define WORDS_MAX 64
/* Room for every line that config_print() can write, where a value's bytes may all be escaped. */
#define LINE_BYTES (CONFIG_KEY_MAX + 2 * CONFIG_VALUE_MAX + 16)

struct entry {
	char *key;
	char *value;
};

struct config {
	struct entry *entries; /* in the order first set */
	size_t count;
	size_t room;
};

struct config *config_new(void)
{
	return calloc(1, sizeof(struct config));
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->count; i++) {
		free(c->entries[i].key);
		free(c->entries[i].value);
	}
	free(c->entries);
	free(c);
}

static bool key_ok(const char *key)
{
	char last = '.';
	bool dotted = false;

	for (const char *p = key; *p; last = *p++) {
		if (*p == '.') {
			if (last == '.')
				return false;
			dotted = true;
		} else if (!islower((unsigned char)*p) && !isdigit((unsigned char)*p) &&
			   *p != '_' && *p != '-') {
			return false;
		}
	}
	return last != '.' && dotted;
}

static struct entry *find(const struct config *c, const char *key)
{
	for (size_t i = 0; i < c->count; i++)
		if (!strcmp(c->entries[i].key, key))
			return &c->entries[i];
	return NULL;
}

static int add(struct config *c, const char *key, char *value)
{
	struct entry *grown;

	if (c->count == c->room) {
		grown = realloc(c->entries, (c->room + 32) * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		c->entries = grown;
		c->room += 32;
	}
	c->entries[c->count].key = strdup(key);
	if (!c->entries[c->count].key)
		return -ENOMEM;
	c->entries[c->count++].value = value;
	return 0;
}

static int key_too_long(const char *key, struct err *err)
{
	return err_set(err, EINVAL, "the option key '%.32s...' is longer than %d bytes", key,
		       CONFIG_KEY_MAX);
}

int config_set(struct config *c, const char *key, const char *value, struct err *err)
{
	struct entry *e;
	char *copy;
	int ret;

	if (strnlen(key, KEY_MAX) == KEY_MAX)
		return key_too_long(key, err);
	if (!key_ok(key))
		return err_set(err, EINVAL, "'%s' is not an option key; keys look like memory.size",
			       key);
	if (strnlen(value, CONFIG_VALUE_MAX + 1) > CONFIG_VALUE_MAX)
		return err_set(err, EINVAL, "%s: the value is longer than %d bytes", key,
			       CONFIG_VALUE_MAX);
	copy = strdup(value);
	if (!copy)
		return err_sys(err, ENOMEM, "option %s", key);
	e = find(c, key);
	if (e) {
		free(e->value);
		e->value = copy;
		return 0;
	}
	ret = add(c, key, copy);
	if (ret) {
		free(copy);
		return err_sys(err, ENOMEM, "option %s", key);
	}
	return 0;
}

int config_set_pair(struct config *c, const char *pair, struct err *err)
{
	const char *eq = strchr(pair, '=');
	char key[KEY_MAX];

	if (!eq)
		return err_set(err, EINVAL, "'%.*s' is not of the form KEY=VALUE", KEY_MAX, pair);
	if ((size_t)(eq - pair) >= sizeof(key))
		return key_too_long(pair, err);
	memcpy(key, pair, (size_t)(eq - pair));
	key[eq - pair] = '\0';
	return config_set(c, key, eq + 1, err);
}

/* Copies up to the next single comma, halving double ones; returns where the next item starts. */
static const char *list_item(const char *p, char *item, size_t room)
{
	size_t n = 0;

	while (*p && (*p != ',' || p[1] == ',')) {
		if (*p == ',')
			p++;
		if (n + 1 < room)
			item[n++] = *p;
		p++;
	}
	item[n] = '\0';
	return *p ? p + 1 : p;
}

int config_set_list(struct config *c, const char *prefix, const char *first, const char *arg,
		    struct err *err)
{
	size_t room = strlen(arg) + 1;
	char *item = malloc(room);
	char key[2 * KEY_MAX];
	char *eq;
	int ret = 0;

	if (!item)
		return err_sys(err, ENOMEM, "option %s", prefix);
	if (first) {
		const char *rest = list_item(arg, item, room);

		if (*item) {
			snprintf(key, sizeof(key), "%s.%s", prefix, first);
			ret = config_set(c, key, item, err);
		} else {
			ret = err_set(err, EINVAL, "%s: the %s is missing%s%.64s%s", prefix, first,
				      *arg ? " in front of '" : "", arg, *arg ? "'" : "");
		}
		arg = rest;
	}
	while (!ret && *arg) {
		arg = list_item(arg, item, room);
		eq = strchr(item, '=');
		if (!eq) {
			ret = err_set(err, EINVAL, "%s: '%.64s' is not of the form KEY=VALUE",
				      prefix, item);
			break;
		}
		*eq = '\0';
		snprintf(key, sizeof(key), "%s.%.*s", prefix, KEY_MAX, item);
		ret = config_set(c, key, eq + 1, err);
	}
	free(item);
	return ret;
}

/* Files */

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

/* @s stands behind a '=', so there is a byte in front of it. */
static void cut_comment(char *s)
{
	for (; *s; s++)
		if (*s == '#' && isspace((unsigned char)s[-1])) {
			*s = '\0';
			return;
		}
}

/* Takes the quotes and escapes off @s, which starts with a quote, in place. */
static int unquote(char *s, struct err *err)
{
	char *from = s + 1, *to = s;

	for (; *from != '"'; from++, to++) {
		if (*from == '\\' && from[1])
			from++;
		else if (*from != '\\' && *from) {
			*to = *from;
			continue;
		} else {
			return err_set(err, EINVAL, "the quoted value has no end");
		}
		if (!strchr("\"\\n", *from))
			return err_set(err, EINVAL, "a quoted value knows \\\", \\\\ and \\n only");
		*to = (char)(*from == 'n' ? '\n' : *from);
	}
	*to = '\0';
	from = trim(from + 1);
	if (*from && *from != '#')
		return err_set(err, EINVAL, "'%.64s' follows the quoted value", from);
	return 0;
}

static int read_line(struct config *c, char *line, struct err *err)
{
	char *eq, *value;
	int ret = 0;

	line = trim(line);
	if (!*line || *line == '#')
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return err_set(err, EINVAL, "'%.64s' is not of the form key = value", line);
	*eq = '\0';
	value = trim(eq + 1);
	if (*value == '"') {
		ret = unquote(value, err);
	} else {
		cut_comment(value);
		value = trim(value);
	}
	return ret ? ret : config_set(c, trim(line), value, err);
}

/* Fills @line with the next line, without its end; *@more is false when there is none. */
static int next_line(FILE *f, char *line, bool *more, struct err *err)
{
	size_t n = 0;
	int ch;

	while ((ch = getc(f)) != EOF && ch != '\n') {
		if (!ch)
			return err_set(err, EINVAL, "there is a NUL byte in it");
		if (n + 1 == LINE_BYTES)
			return err_set(err, EINVAL, "the line is longer than %d bytes",
				       LINE_BYTES - 1);
		line[n++] = (char)ch;
	}
	line[n] = '\0';
	*more = ch != EOF || (n && !ferror(f));
	return 0;
}

static int read_lines(struct config *c, FILE *f, const char *path, struct err *err)
{
	char line[LINE_BYTES] = "";
	bool more = true;
	int ret;

	for (unsigned int number = 1; more; number++) {
		ret = next_line(f, line, &more, err);
		if (!ret && more)
			ret = read_line(c, line, err);
		if (ret) {
			err_prefix(err, "%s:%u", path, number);
			return ret;
		}
	}
	if (ferror(f))
		return err_sys(err, errno, "cannot read the configuration %s", path);
	return 0;
}

int config_read_file(struct config *c, const char *path, struct err *err)
{
	FILE *f = fopen(path, "re");
	int ret;

	if (!f)
		return err_sys(err, errno, "cannot open the configuration %s", path);
	ret = read_lines(c, f, path, err);
	fclose(f);
	return ret;
}

const char *config_get(const struct config *c, const char *key)
{
	const struct entry *e = find(c, key);

	return e ? e->value : NULL;
}

/* What of @key lies below @prefix, or NULL. */
static const char *below(const char *key, const char *prefix)
{
	size_t n = strlen(prefix);

	if (!n)
		return key;
	return !strncmp(key, prefix, n) && key[n] == '.' ? key + n + 1 : NULL;
}

static bool first_with_child(const struct config *c, const char *prefix, size_t i, const char *name,
			     size_t n)
{
	const char *rest;

	for (size_t j = 0; j < i; j++) {
		rest = below(c->entries[j].key, prefix);
		if (rest && strcspn(rest, ".") == n && !memcmp(rest, name, n))
			return false;
	}
	return true;
}

bool config_next_child(const struct config *c, const char *prefix, size_t *pos, char *name,
		       size_t room)
{
	while (*pos < c->count) {
		const char *rest = below(c->entries[*pos].key, prefix);
		size_t i = (*pos)++;
		size_t n;

		if (!rest)
			continue;
		n = strcspn(rest, ".");
		if (!first_with_child(c, prefix, i, rest, n))
			continue;
		snprintf(name, room, "%.*s", (int)n, rest);
		return true;
	}
	return false;
}

static int by_key(const void *a, const void *b)
{
	return strcmp((*(const struct entry *const *)a)->key,
		      (*(const struct entry *const *)b)->key);
}

/* Whether config_read_file() would make something else of @value as it stands. */
static bool needs_quotes(const char *value)
{
	const char *end = value + strlen(value);

	if (end == value)
		return false;
	if (*value == '"' || *value == '#' || isspace((unsigned char)*value) ||
	    isspace((unsigned char)end[-1]))
		return true;
	for (const char *p = value + 1; *p; p++)
		if (*p == '\n' || (*p == '#' && isspace((unsigned char)p[-1])))
			return true;
	return false;
}

static void print_quoted(const char *value, FILE *to)
{
	fputc('"', to);
	for (; *value; value++) {
		if (strchr("\"\\\n", *value))
			fputc('\\', to);
		fputc(*value == '\n' ? 'n' : *value, to);
	}
	fputc('"', to);
}

void config_print(const struct config *c, FILE *to)
{
	const struct entry **sorted = calloc(c->count + 1, sizeof(const struct entry *));

	if (!sorted)
		return;
	for (size_t i = 0; i < c->count; i++)
		sorted[i] = &c->entries[i];
	qsort(sorted, c->count, sizeof(const struct entry *), by_key);
	for (size_t i = 0; i < c->count; i++) {
		fprintf(to, "%s = ", sorted[i]->key);
		if (needs_quotes(sorted[i]->value))
			print_quoted(sorted[i]->value, to);
		else
			fputs(sorted[i]->value, to);
		fputc('\n', to);
	}
	free(sorted);
}

/* Typed options */

int parse_uint(const char *text, uint64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*v = strtoull(text, &end, !strncmp(text, "0x", 2) ? 16 : 10);
	return errno || *end ? -EINVAL : 0;
}

int parse_size(const char *text, uint64_t *v)
{
	static const char units[] = "KMGT";
	unsigned int shift = 0;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*v = strtoull(text, &end, !strncmp(text, "0x", 2) ? 16 : 10);
	if (errno)
		return -EINVAL;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (*v > UINT64_MAX >> shift)
		return -EINVAL;
	*v <<= shift;
	return 0;
}

/* Levenshtein's distance with adjacent swaps, on words short enough for the stack. */
static unsigned int distance(const char *a, const char *b)
{
	unsigned int d[3][KEY_MAX + 1];
	size_t la = strnlen(a, KEY_MAX), lb = strnlen(b, KEY_MAX);
	unsigned int *before = d[0], *last = d[1], *now = d[2], *spare;

	for (unsigned int j = 0; j <= lb; j++)
		last[j] = j;
	for (unsigned int i = 1; i <= la; i++) {
		now[0] = i;
		for (unsigned int j = 1; j <= lb; j++) {
			unsigned int cost = a[i - 1] != b[j - 1];

			now[j] = MIN(last[j], now[j - 1]) + 1;
			now[j] = MIN(now[j], last[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = MIN(now[j], before[j - 2] + 1);
		}
		spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[lb];
}

const char *nearest_word(const char *given, const char *const *words)
{
	unsigned int best = 3;
	const char *nearest = NULL;

	for (; *words; words++) {
		unsigned int d = distance(given, *words);
		size_t n = strlen(given);

		/* "mem" for "memory" is near as well. */
		if (n >= 3 && !strncmp(given, *words, n))
			d = MIN(d, 2U);
		if (d < best && d < strlen(*words)) {
			best = d;
			nearest = *words;
		}
	}
	return nearest;
}

/* The names of all tables, ended by a NULL. */
static void gather_words(const struct option_part *parts, unsigned int count,
			 const char *words[WORDS_MAX + 1])
{
	size_t n = 0;

	for (unsigned int i = 0; i < count; i++)
		for (const struct option *o = parts[i].table; o && o->name && n < WORDS_MAX; o++)
			words[n++] = o->name;
	words[n] = NULL;
}

static int unknown(const char *key, const char *prefix, const char *const *words, const char *given,
		   struct err *err)
{
	const char *near = nearest_word(given, words);
	char known[256] = "";
	size_t n = 0;

	if (near)
		return err_set(err, EINVAL, "unknown option '%s'; did you mean '%s.%s'?", key,
			       prefix, near);
	if (!*words)
		return err_set(err, EINVAL, "unknown option '%s'; there are none", key);
	for (; *words && n < sizeof(known); words++)
		n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", *words);
	return err_set(err, EINVAL, "unknown option '%s'; known are %s", key, known);
}

static int check_known(const struct config *c, const char *prefix, const struct option_part *parts,
		       unsigned int count, struct err *err)
{
	const char *words[WORDS_MAX + 1];

	gather_words(parts, count, words);
	for (size_t i = 0; i < c->count; i++) {
		const char *rest = below(c->entries[i].key, prefix);
		const char *const *word = words;

		if (!rest || strchr(rest, '.'))
			continue;
		while (*word && strcmp(*word, rest))
			word++;
		if (!*word)
			return unknown(c->entries[i].key, prefix, words, rest, err);
	}
	return 0;
}

static int parse_bool(const char *text, bool *v)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true"};

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(text, words[i])) {
			*v = i & 1;
			return 0;
		}
	return -EINVAL;
}

static int parse_choice(const char *choices, const char *text, unsigned int *v)
{
	size_t want = strlen(text);

	*v = 0;
	for (const char *p = choices;; (*v)++) {
		size_t n = strcspn(p, "|");

		if (n == want && !memcmp(p, text, n))
			return 0;
		if (!p[n])
			return -EINVAL;
		p += n + 1;
	}
}

static int out_of_bounds(const struct option *o, const char *key, const char *text, uint64_t v,
			 struct err *err)
{
	if (v < o->min)
		return err_set(err, EINVAL, "%s: %.64s is too small, the least is %llu", key, text,
			       (unsigned long long)o->min);
	if (o->max && v > o->max)
		return err_set(err, EINVAL, "%s: %.64s is too large, the most is %llu", key, text,
			       (unsigned long long)o->max);
	return 0;
}

static int read_option(const struct option *o, const char *key, const char *text, void *into,
		       struct err *err)
{
	void *at = (char *)into + o->offset;
	uint64_t v;

	switch (o->type) {
	case OPTION_BOOL:
		*(bool *)at = false;
		if (text && parse_bool(text, at))
			return err_set(err, EINVAL, "%s: '%.64s' is neither on nor off", key, text);
		return 0;
	case OPTION_UINT:
	case OPTION_SIZE:
		*(uint64_t *)at = 0;
		if (!text)
			return 0;
		if (o->type == OPTION_UINT ? parse_uint(text, &v) : parse_size(text, &v))
			return err_set(err, EINVAL, "%s: '%.64s' is not a %s", key, text,
				       o->type == OPTION_UINT ? "number" : "size like 512M");
		*(uint64_t *)at = v;
		return out_of_bounds(o, key, text, v, err);
	case OPTION_STRING:
		*(const char **)at = text;
		return 0;
	case OPTION_CHOICE:
		*(unsigned int *)at = 0;
		if (text && parse_choice(o->choices, text, at))
			return err_set(err, EINVAL, "%s: '%.64s' is none of %s", key, text,
				       o->choices);
		return 0;
	}
	return err_set(err, EINVAL, "%s: no such type", key);
}

static int read_part(const struct config *c, const char *prefix, const struct option_part *part,
		     struct err *err)
{
	char key[2 * KEY_MAX];
	const char *text;
	int ret = 0;

	for (const struct option *o = part->table; !ret && o && o->name; o++) {
		snprintf(key, sizeof(key), "%s.%s", prefix, o->name);
		text = config_get(c, key);
		ret = read_option(o, key, text ? text : o->fallback, part->into, err);
	}
	return ret;
}

int config_read_parts(const struct config *c, const char *prefix, const struct option_part *parts,
		      unsigned int count, struct err *err)
{
	int ret = check_known(c, prefix, parts, count, err);

	for (unsigned int i = 0; !ret && i < count; i++)
		ret = read_part(c, prefix, &parts[i], err);
	return ret;
}

int config_read(const struct config *c, const char *prefix, const struct option *table, void *into,
		struct err *err)
{
	const struct option_part part = {table, into};

	return config_read_parts(c, prefix, &part, 1, err);
}
