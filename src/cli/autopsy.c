/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>

#include "autopsy.h"
#include "machine.h"
#include "skep/config.h"
#include "skep/dump.h"
#include "skep/err.h"
#include "skep/vm.h"

int autopsy_open(struct autopsy *a, const struct machine_args *args, struct vm *vm, struct err *err)
{
	struct dump_options dump = {0};
	int ret;

	*a = (struct autopsy){.pm = NULL};
	ret = config_read(args->config, "postmortem", postmortem_option_table, &a->options, err);
	if (!ret)
		ret = config_read(args->config, "dump", dump_option_table, &dump, err);
	if (!ret)
		ret = postmortem_open(&a->pm, vm, args->symbols, err);
	if (!ret && dump.path)
		ret = dump_open(&a->dump, &dump, err);
	return ret;
}

void autopsy_close(struct autopsy *a)
{
	dump_close(a->dump);
	postmortem_close(a->pm);
}

static char *text(const struct autopsy *a, const struct ending *ending,
		  enum postmortem_detail detail)
{
	char *s = NULL;
	size_t len;
	FILE *to = open_memstream(&s, &len);

	if (!to)
		return NULL;
	postmortem_write(a->pm, ending, detail, to);
	fclose(to);
	return s;
}

static void tell_dump(struct machine_args *args)
{
	log_warn(&args->log, "memory and registers are in %s",
		 config_get(args->config, "dump.path"));
}

static void write_texts(const struct autopsy *a, const struct machine_args *args,
			struct result *result)
{
	if (a->options.detail == POSTMORTEM_OFF || !postmortem_due(&result->ending))
		return;
	free(result->post_mortem);
	free(result->post_mortem_full);
	result->post_mortem = text(a, &result->ending, (enum postmortem_detail)a->options.detail);
	result->post_mortem_full = args->result ? text(a, &result->ending, POSTMORTEM_FULL) : NULL;
}

/* A dump that cannot be written changes nothing of how the guest ended. */
static bool write_dump(const struct autopsy *a, struct machine_args *args, struct vm *vm,
		       const struct ending *ending)
{
	struct err err;

	if (!a->dump || !dump_due(a->dump, ending))
		return false;
	if (!dump_write(a->dump, vm, postmortem_bits(a->pm), &err))
		return true;
	log_error(&args->log, "%s", err.text);
	return false;
}

/* A second life costs what is left of the first, so that is put down before. */
static bool live_again(struct autopsy *a, struct machine_args *args, struct vm *vm,
		       struct result *result)
{
	bool dumped;

	write_texts(a, args, result);
	dumped = write_dump(a, args, vm, &result->ending);
	if (postmortem_replay(a->pm))
		return true;
	log_warn(&args->log, "a second life, to see the last instruction, came to another end");
	if (dumped)
		tell_dump(args);
	return false;
}

void autopsy_do(struct autopsy *a, struct machine_args *args, struct vm *vm, struct result *result)
{
	const enum postmortem_replay replay = (enum postmortem_replay)a->options.replay;

	if ((a->options.detail != POSTMORTEM_OFF || a->dump) &&
	    postmortem_wants_replay(a->pm, &result->ending, replay) &&
	    !live_again(a, args, vm, result))
		return;
	write_texts(a, args, result);
	if (write_dump(a, args, vm, &result->ending))
		tell_dump(args);
}
