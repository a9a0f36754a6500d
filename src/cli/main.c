/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep - the one binary: finds the command and runs it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli_priv.h"
#include "skep/chan.h"
#include "skep/config.h"
#include "skep/err.h"

static void print_usage(FILE *to)
{
	fprintf(to, "skep COMMAND [options]\n\n");
	for (const struct command *c = commands; c->name; c++)
		if (c->name[0] != '_')
			fprintf(to, "  %-10s %s\n", c->name, c->summary);
	fprintf(to,
		"\n`skep COMMAND --help` says more; `skep run` boots the built-in demo guest.\n");
}

static int unknown_command(const char *given)
{
	const char *words[16];
	const char *near;
	struct err err;
	size_t n = 0;

	for (const struct command *c = commands; c->name && n < 15; c++)
		if (c->name[0] != '_')
			words[n++] = c->name;
	words[n] = NULL;
	near = nearest_word(given, words);
	if (near)
		err_set(&err, EINVAL, "there is no command '%.32s'; did you mean '%s'?", given,
			near);
	else
		err_set(&err, EINVAL, "there is no command '%.32s'; `skep --help` lists them",
			given);
	return cli_fail(STATUS_REFUSED, &err);
}

/*
 * A file opened while one of the three standard descriptors is closed would take its number, and
 * messages meant for a person would end in it.
 */
static int hold_standard_descriptors(struct err *err)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return err_sys(err, errno, "cannot open /dev/null");
	close(fd);
	return 0;
}

static int obey(int argc, char **argv)
{
	const struct command *command;

	if (argc < 2) {
		print_usage(stderr);
		return STATUS_REFUSED;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_usage(stdout);
		return STATUS_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		printf("skep %s\n", SKEP_VERSION);
		return STATUS_OK;
	}
	command = command_find(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	return command->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	struct err err;
	int status;

	if (hold_standard_descriptors(&err))
		return cli_fail(STATUS_REFUSED, &err);
	status = obey(argc, argv);
	/* What was asked for and cannot be read is no success. */
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	err_sys(&err, errno ? errno : EIO, "cannot write to standard output");
	return cli_fail(status ? status : STATUS_REFUSED, &err);
}
