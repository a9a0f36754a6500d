/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "cli_priv.h"
#include "machine.h"

/*
 * For the build: what the manual and the shell completion are made from. A line per command, its
 * flags behind it: "command NAME ARGUMENTS SUMMARY", "flag COMMAND LETTER NAME ARG HELP", separated
 * by tabs, "-" for what is absent.
 */
static int cmd_tables(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	for (const struct command *c = commands; c->name; c++) {
		if (c->name[0] == '_')
			continue;
		printf("command\t%s\t%s\t%s\n", c->name, c->arguments ? c->arguments : "-",
		       c->summary);
		for (const struct flag *f = NULL; (f = command_flag(c, f));)
			printf("flag\t%s\t%c\t%s\t%s\t%s\n", c->name, f->letter ? f->letter : '-',
			       f->name, f->arg ? f->arg : "-", f->help);
	}
	return STATUS_OK;
}

const struct command commands[] = {
	{"run", "boot a kernel, or the built-in demo guest", NULL, NULL, machine_flags, cmd_run},
	{"smoke", "boot a kernel, judge what it says, and answer with a status", NULL, smoke_flags,
	 machine_flags, cmd_smoke},
	{"inspect", "say what a kernel image is and how it would be booted", "FILE...",
	 inspect_flags, NULL, cmd_inspect},
	{"trace", "print what a machine did, as `--trace` recorded it, or add it up", "FILE",
	 trace_flags, NULL, cmd_trace},
	{"devices", "list the device table, or one device's options", "[NAME]", NULL, NULL,
	 cmd_devices},
	{"doctor", "say what this host offers and lacks, with the cure for each lack", NULL, NULL,
	 NULL, cmd_doctor},
	{"_job", "a command of another skep's, which it does not outlive", NULL, NULL, NULL,
	 cmd_job},
	{"_tables", "the tables of commands and flags, for the build", NULL, NULL, NULL,
	 cmd_tables},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};

const struct command *command_find(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}
