/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli_priv.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

#define FLAGS_MAX 64

int cli_parse_time(const char *flag, const char *text, uint64_t *ns, struct err *err)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ms", 1e6}, {"us", 1e3}, {"s", 1e9}};
	char *end;
	double v;

	/* Not what else strtod() takes: signs, blanks, hexadecimal, infinity. */
	if (*text >= '0' && *text <= '9' && !strpbrk(text, "xXpPeE")) {
		v = strtod(text, &end);
		for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
			if (strcmp(end, units[i].name) != 0 || v * units[i].ns > 1e18)
				continue;
			*ns = (uint64_t)(v * units[i].ns);
			return 0;
		}
	}
	return err_set(err, EINVAL, "--%s: '%.32s' is no time; say 500ms, 800us or 1.5s", flag,
		       text);
}

int cli_fail(int status, const struct err *err)
{
	fprintf(stderr, "skep: %s\n", err->text);
	return status;
}

static const struct flag *first_of(const struct flag *flags)
{
	return flags && flags->name ? flags : NULL;
}

const struct flag *command_flag(const struct command *c, const struct flag *f)
{
	const struct flag *end = c->flags;

	if (!f && first_of(c->flags))
		return c->flags;
	if (!f)
		return first_of(c->shared);
	f++;
	if (f->name)
		return f;
	while (end && end->name)
		end++;
	return f == end ? first_of(c->shared) : NULL;
}

static void print_help(const struct command *command)
{
	const bool flags = command_flag(command, NULL);

	printf("skep %s%s%s%s: %s\n", command->name, flags ? " [options]" : "",
	       command->arguments ? " " : "", command->arguments ? command->arguments : "",
	       command->summary);
	if (flags)
		putchar('\n');
	for (const struct flag *f = NULL; (f = command_flag(command, f));) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s --%s%s%s", f->letter ? '-' : ' ',
			 f->letter ? f->letter : ' ', f->letter ? "," : " ", f->name,
			 f->arg ? " " : "", f->arg ? f->arg : "");
		printf("  %-34s %s\n", left, f->help);
	}
}

static const struct flag *flag_by_letter(const struct command *c, char letter)
{
	for (const struct flag *f = NULL; (f = command_flag(c, f));)
		if (f->letter == letter)
			return f;
	return NULL;
}

static const struct flag *flag_by_name(const struct command *c, const char *name, size_t n)
{
	for (const struct flag *f = NULL; (f = command_flag(c, f));)
		if (strlen(f->name) == n && !memcmp(f->name, name, n))
			return f;
	return NULL;
}

static int unknown_flag(const struct command *command, const char *given, struct err *err)
{
	const char *words[FLAGS_MAX + 2];
	const char *near = NULL;
	char name[64];
	size_t n = 0;

	for (const struct flag *f = NULL; (f = command_flag(command, f)) && n < FLAGS_MAX;)
		words[n++] = f->name;
	words[n++] = "help";
	words[n] = NULL;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(given, "="), given);
	if (name[0] == '-' && name[1] == '-')
		near = nearest_word(name + 2, words);
	return near ? err_set(err, EINVAL, "skep %s has no option %s; did you mean --%s?",
			      command->name, name, near)
		    : err_set(err, EINVAL, "skep %s has no option %s; `skep %s --help` lists them",
			      command->name, name, command->name);
}

/* One flag at argv[*i]; takes a following word as its argument where it needs one. */
static int parse_one(const struct command *command, int argc, char **argv, int *i, void *ctx,
		     struct err *err)
{
	const char *word = argv[*i];
	const struct flag *f;
	const char *value = NULL;

	if (word[1] == '-') {
		size_t n = strcspn(word + 2, "=");

		f = flag_by_name(command, word + 2, n);
		if (word[2 + n])
			value = word + 2 + n + 1;
	} else {
		f = flag_by_letter(command, word[1]);
		if (word[2])
			value = word + 2;
	}
	if (!f)
		return unknown_flag(command, word, err);
	if (!f->arg && value)
		return err_set(err, EINVAL, "--%s takes no value", f->name);
	if (f->arg && !value) {
		if (*i + 1 >= argc)
			return err_set(err, EINVAL, "--%s needs a value: %s", f->name, f->arg);
		value = argv[++*i];
	}
	return f->apply(ctx, f, value, err);
}

int flags_parse(const struct command *command, int argc, char **argv, void *ctx, bool *helped,
		struct err *err)
{
	int first = argc; /* of the arguments, which gather at the end */
	int i = 1;
	int ret;

	*helped = false;
	while (i < first) {
		char *word = argv[i];

		if (word[0] != '-' || !word[1]) {
			/* Rotate it to the end; the order among arguments stays. */
			memmove(&argv[i], &argv[i + 1], (size_t)(argc - i - 1) * sizeof(*argv));
			argv[argc - 1] = word;
			first--;
			continue;
		}
		if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
			print_help(command);
			*helped = true;
			return argc;
		}
		ret = parse_one(command, first, argv, &i, ctx, err);
		if (ret)
			return ret;
		i++;
	}
	if (first < argc && !command->arguments)
		return err_set(err, EINVAL, "skep %s takes no argument '%.64s'; `skep %s --help`",
			       command->name, argv[first], command->name);
	return first;
}

unsigned int flags_keep(const struct command *command, int argc, char **argv,
			bool (*wanted)(const struct flag *flag), char **kept)
{
	unsigned int n = 0;

	for (int i = 1; i < argc; i++) {
		const char *word = argv[i];
		const struct flag *f;
		bool inline_value;

		if (word[0] == '-' && word[1] == '-') {
			const size_t len = strcspn(word + 2, "=");

			f = flag_by_name(command, word + 2, len);
			inline_value = word[2 + len];
		} else {
			f = flag_by_letter(command, word[1]);
			inline_value = word[0] && word[1] && word[2];
		}
		if (!f || wanted(f)) {
			kept[n++] = argv[i];
			if (f && f->arg && !inline_value && i + 1 < argc)
				kept[n++] = argv[++i];
		} else if (f->arg && !inline_value) {
			i++;
		}
	}
	return n;
}
