/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep run - boots a kernel and ends as the guest ends.
 */
#include <stdio.h>

#include "machine.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/vm.h"

/* Says on stderr what a person would not see from the guest itself. */
static void tell(struct log *log, const struct ending *ending)
{
	switch (ending->kind) {
	case END_POWEROFF:
	case END_CODE:
	case END_USER:
		log_info(log, "%s", ending->reason);
		break;
	default:
		log_error(log, "%s", ending->reason);
		break;
	}
}

static int run_and_tell(struct machine_args *args)
{
	struct result result;
	FILE *to;
	struct err err;

	machine_result_init(&result, args);
	if (result_open(&to, args->result, &err))
		return cli_fail(STATUS_REFUSED, &err);
	if (machine_run(args, NULL, &result, &err))
		cli_fail(result.status, &err);
	else
		tell(&args->log, &result.ending);
	if (result.post_mortem)
		fputs(result.post_mortem, stderr);
	if (result_write(&result, to, &err))
		result.status = cli_fail(STATUS_REFUSED, &err);
	result_free(&result);
	return result.status;
}

int cmd_run(int argc, char **argv)
{
	struct machine_args args = {.config = NULL};
	int status = STATUS_OK;
	struct err err;
	bool helped;

	if (machine_args_init(&args, &err) ||
	    flags_parse(command_find("run"), argc, argv, &args, &helped, &err) < 0)
		status = cli_fail(STATUS_REFUSED, &err);
	else if (args.print_config)
		config_print(args.config, stdout);
	else if (!helped)
		status = run_and_tell(&args);
	machine_args_free(&args);
	return status;
}
