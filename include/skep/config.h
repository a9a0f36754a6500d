/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * config - one tree of dotted keys that describes a machine.
 *
 * Command-line flags, a file and (later) the control socket all fill the same tree; whoever needs
 * options reads them from it through a typed table:
 *
 *	memory.size = 256M
 *	device.com1 = uart8250
 *	device.com1.backend = file:/tmp/console
 *
 * A key is two or more words of [a-z0-9_-], separated by dots, at most CONFIG_KEY_MAX bytes. Values
 * are text, at most CONFIG_VALUE_MAX bytes, until a table reads them. Setting a key again replaces
 * its value. The tree is filled and read by one thread, before the machine runs.
 */
#ifndef SKEP_CONFIG_H
#define SKEP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config;
struct err;

#define CONFIG_KEY_MAX   127
#define CONFIG_VALUE_MAX 4095

struct config *config_new(void); /* NULL when memory is out */
void config_free(struct config *c);

/* -EINVAL for a malformed key or a value too long, -ENOMEM. Both strings are copied. */
int config_set(struct config *c, const char *key, const char *value, struct err *err);

/* "key=value", as -o takes it. */
int config_set_pair(struct config *c, const char *pair, struct err *err);

/*
 * A flag's argument "FIRST[,key=value…]": FIRST goes to @prefix.@first, each pair to @prefix.key.
 * FIRST may not be empty; with @first NULL there is none, and the argument is pairs only. A comma
 * within a value is written ",,".
 */
int config_set_list(struct config *c, const char *prefix, const char *first, const char *arg,
		    struct err *err);

/*
 * A file of "key = value" lines; '#' starts a comment at the start of a line or behind white
 * space; blank lines are skipped. A value in double quotes is taken as it stands, but for the
 * escapes \" \\ and \n in it. Errors name the file and the line; the lines in front of it are set.
 */
int config_read_file(struct config *c, const char *path, struct err *err);

/* The value, or NULL. Owned by the tree, gone when the key is set again. */
const char *config_get(const struct config *c, const char *key);

/*
 * The names one level below @prefix ("" for the root), in the order they were first set:
 * *@pos starts at 0 and is the walk's own. Returns false at the end. @name is cut at @room.
 */
bool config_next_child(const struct config *c, const char *prefix, size_t *pos, char *name,
		       size_t room);

/* The whole tree, sorted, in the form that config_read_file() takes. */
void config_print(const struct config *c, FILE *to);

/* Typed options */

enum option_type {
	OPTION_BOOL,   /* bool: on|off, yes|no, true|false */
	OPTION_UINT,   /* uint64_t: decimal or 0x…, min to max */
	OPTION_SIZE,   /* uint64_t: bytes, or with K, M, G, T; min to max */
	OPTION_STRING, /* const char *, owned by the tree; NULL when absent */
	OPTION_CHOICE, /* unsigned int: the index of the word in choices */
};

struct option {
	const char *name;
	enum option_type type;
	size_t offset;        /* of the member in the options struct */
	const char *fallback; /* the default as text; NULL: 0, false, NULL */
	const char *choices;  /* OPTION_CHOICE: "word|word|word" */
	uint64_t min, max;    /* OPTION_UINT, OPTION_SIZE; max 0: no bound */
	const char *help;
};

/* The end of a table. */
#define OPTION_END           \
	{                    \
		.name = NULL \
	}

/*
 * Fills @into from the keys @prefix.NAME by the table. An unknown key below @prefix is -EINVAL and
 * names the nearest known one, or all, and so is a value that does not fit its type; the key is
 * named.
 * Keys with further dots below @prefix are not this table's and are left alone.
 */
int config_read(const struct config *c, const char *prefix, const struct option *table, void *into,
		struct err *err);

/* The same by several tables at once, none of which knows the others' keys. */
struct option_part {
	const struct option *table; /* NULL: none */
	void *into;
};
int config_read_parts(const struct config *c, const char *prefix, const struct option_part *parts,
		      unsigned int count, struct err *err);

/* Parsing helpers behind the table, for whoever has a value that is not a key. */
int parse_uint(const char *text, uint64_t *v);
int parse_size(const char *text, uint64_t *v);

/*
 * The word of @words (NULL-terminated) that @given was most likely meant to be, or NULL when none
 * is near.
 */
const char *nearest_word(const char *given, const char *const *words);

#endif
