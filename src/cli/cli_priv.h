/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the commands share: one table per command describes its flags; parsing, --help, the manual
 * and the shell completion are made from it.
 */
#ifndef SRC_CLI_CLI_PRIV_H
#define SRC_CLI_CLI_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

/* Exit statuses of skep itself; those of a machine's ending are vm.h's. */
#define STATUS_OK      0
#define STATUS_REFUSED 125 /* wrong options, an unreadable file, the host refused something */
#define STATUS_NO_KVM  126 /* this host cannot run guests */

struct flag {
	char letter;      /* 0: none */
	const char *name; /* without the dashes; NULL ends a table */
	const char *arg;  /* what the argument is called; NULL: takes none */
	const char *help; /* one line */
	/* @value is NULL for a flag without argument. @ctx is what flags_parse() was given. */
	int (*apply)(void *ctx, const struct flag *flag, const char *value, struct err *err);
	const char *key; /* for apply functions that several flags share */
};

struct command {
	const char *name;
	const char *summary;               /* one line */
	const char *arguments;             /* "FILE…", or NULL: takes none */
	const struct flag *flags;          /* its own; NULL: none */
	const struct flag *shared;         /* those that it has in common with others; NULL: none */
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
};

/* The flag behind @f among all flags of @c; NULL stands before the first and behind the last. */
const struct flag *command_flag(const struct command *c, const struct flag *f);

/* All commands; the name of the last is NULL. */
extern const struct command commands[];
const struct command *command_find(const char *name);

/*
 * Applies the flags in @argv and returns the index of the first argument behind them (arguments
 * are moved to the end), or -errno and a sentence naming the nearest flag. --help prints
 * the command's help and sets *@helped.
 */
int flags_parse(const struct command *command, int argc, char **argv, void *ctx, bool *helped,
		struct err *err);

/* A number with ms, us or s. -EINVAL and the sentence that names --@flag. */
int cli_parse_time(const char *flag, const char *text, uint64_t *ns, struct err *err);

/*
 * Of @argv, which flags_parse() took without arguments, the words of flags that are @wanted, in
 * order. @kept has room for as many as @argv; returns how many there are.
 */
unsigned int flags_keep(const struct command *command, int argc, char **argv,
			bool (*wanted)(const struct flag *flag), char **kept);

/* Prints "skep: sentence" and returns @status. */
int cli_fail(int status, const struct err *err);

int cmd_run(int argc, char **argv);
int cmd_smoke(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_devices(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
/* "_job PARENT COMMAND…": a command that ends with the process that started it. */
int cmd_job(int argc, char **argv);

extern const struct flag smoke_flags[];
extern const struct flag inspect_flags[];
extern const struct flag trace_flags[];

#endif
