/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep smoke - boots a kernel, judges what it says, and answers with a status.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../smoke/exec.h"
#include "../smoke/judge.h"
#include "../smoke/patterns.h"
#include "../smoke/script.h"
#include "../smoke/watch.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/text.h"
#include "skep/vm.h"
#include "smoke.h"

/* A job that hangs costs no more than this, unless somebody says otherwise. */
#define TIMEOUT_USUAL "300"
#define HANG_USUAL    30
#define HANG_MAX      1000000

static int apply_expect(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	return judge_expect(s->judge, "--expect", value, err);
}

static int apply_within(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	return judge_within(s->judge, "--within", value, err);
}

static int apply_send(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	return judge_send(s->judge, "--send", value, err);
}

static int apply_forbid(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	return judge_rule(s->judge, "--forbid", RULE_FORBID, value, err);
}

static int apply_patterns(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;
	unsigned int sets;
	int ret = patterns_parse(&sets, value, err);

	(void)flag;
	if (ret)
		err_prefix(err, "--patterns");
	else
		judge_set_patterns(s->judge, sets);
	return ret;
}

static int apply_script(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	return script_read(s->judge, value, err);
}

static int apply_until_end(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	(void)value;
	(void)err;
	judge_until_end(s->judge);
	return 0;
}

static int apply_exec(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	(void)err;
	s->exec.command = value;
	return 0;
}

static int apply_root(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	(void)err;
	s->exec.root = value;
	return 0;
}

static int apply_hang(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;
	char *end;

	(void)flag;
	errno = 0;
	s->hang = strtoull(value, &end, 10);
	if (*value < '0' || *value > '9' || *end || errno || s->hang > HANG_MAX)
		return err_set(err, EINVAL, "--hang: '%.32s' is no number of seconds; 0 is never",
			       value);
	return 0;
}

static int apply_quiet(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct smoke *s = ctx;

	(void)flag;
	(void)value;
	(void)err;
	s->quiet = true;
	return 0;
}

const struct flag smoke_flags[] = {
	{'e', "expect", "REGEX", "the guest has to say this; repeatable, in this order",
	 apply_expect, NULL},
	{0, "within", "SECONDS", "the time for the expectation before it, from when its turn comes",
	 apply_within, NULL},
	{0, "send", "TEXT",
	 "type this when the expectations before it are met; \\n, \\r, \\t, \\e, \\xNN", apply_send,
	 NULL},
	{0, "forbid", "REGEX", "the guest may never say this; repeatable", apply_forbid, NULL},
	{0, "patterns", "LIST",
	 "failures to look for: linux, bsd, xen, student, lockup, warning, usual, all or none",
	 apply_patterns, NULL},
	{0, "script", "FILE", "all of this, and more, from a file; docs/smoke.md has its form",
	 apply_script, NULL},
	{0, "until-end", NULL, "when all expectations are met, wait for the guest to end well",
	 apply_until_end, NULL},
	{0, "exec", "COMMAND", "have a Linux guest run this in a shell, and end with its status",
	 apply_exec, NULL},
	{0, "root", "DIR", "what a Linux guest finds in its root: a folder, packed on the spot",
	 apply_root, NULL},
	{0, "hang", "SECONDS",
	 "the guest hangs when it has said and done nothing for so long (default 30; 0: never)",
	 apply_hang, NULL},
	{'q', "quiet", NULL, "do not show what the guest says", apply_quiet, NULL},
	{0, "matrix", "FILE", "make a run of each combination of options in the file", many_apply,
	 "matrix"},
	{'j', "jobs", "N", "runs at one time at most (default: as the host has processors)",
	 many_apply, "jobs"},
	{0, "repeat", "N", "make each run so often", many_apply, "repeat"},
	{0, "keep-going", NULL, "make all runs, whatever becomes of them (the default)", many_apply,
	 "keep-going"},
	{0, "fail-fast", NULL, "end all runs when the first has not passed", many_apply,
	 "fail-fast"},
	{0, "tap", NULL, "print what became of each run as TAP", many_apply, "tap"},
	{0, "junit", "FILE", "write what became of the runs as JUnit's XML", many_apply, "junit"},
	{0, "jsonl", "FILE", "write a JSON object on a line for each run as it ends", many_apply,
	 "jsonl"},
	{0, "report", "DIR", "leave a folder there for each run that has not passed", many_apply,
	 "report"},
	{0, "report-all", NULL, "leave one for each run", many_apply, "report-all"},
	{0, NULL, NULL, NULL, NULL, NULL},
};

/* What differs from run: nobody sits in front of it. */
static int set_defaults(struct machine_args *args, struct err *err)
{
	int ret = config_set(args->config, "machine.on-reset", "exit", err);

	args->lint.fails = true;
	if (!ret)
		ret = config_set(args->config, "machine.timeout", TIMEOUT_USUAL, err);
	/* A verdict does not wait for a second life. */
	if (!ret)
		ret = config_set(args->config, "postmortem.replay", "off", err);
	return ret ? ret : config_set(args->config, "device.com1.backend", "stdout", err);
}

/* Or may: PVH is for others as well. */
static bool boots_linux(const struct vm *vm)
{
	return !strncmp(vm_protocol(vm), "linux", 5) || !strcmp(vm_protocol(vm), "pvh");
}

/* Linux's messages are its own; of another kernel nobody knows what it calls its failures. */
static unsigned int usual_patterns(const struct vm *vm)
{
	return strncmp(vm_protocol(vm), "linux", 5) ? PATTERNS_USUAL : PATTERNS_LINUX;
}

/* A command has a status, however well the guest ended without one. */
static void check_command(const struct smoke *s, struct ending *ending)
{
	char how[sizeof(ending->reason)];

	if (!s->exec.command || ending->kind != END_POWEROFF)
		return;
	ending->kind = END_UNMET;
	ending->orderly = true;
	snprintf(how, sizeof(how), "%s", ending->reason);
	snprintf(ending->reason, sizeof(ending->reason),
		 "%.300s, and the command's status did not come", how);
}

static int on_ready(void *ctx, struct vm *vm, struct err *err)
{
	struct smoke *s = ctx;

	if (s->exec.fd >= 0 && !boots_linux(vm))
		return err_set(err, EINVAL,
			       "%s is for a Linux kernel, and this one is booted by %s",
			       s->exec.command ? "--exec" : "--root", vm_protocol(vm));
	judge_usual_patterns(s->judge, usual_patterns(vm));
	vm_watch_closely(vm);
	return watch_begin(&s->watch, vm, s->judge, s->hang * NS_PER_S, err);
}

/* What a guest said, as JSON can have it. */
static json_t *said(const char *text)
{
	char safe[TEXT_SAFE_ROOM(JUDGE_LINE_MAX)];
	size_t taken;

	text_safe(safe, sizeof(safe), text, strlen(text), false, &taken);
	return json_string(safe);
}

static json_t *seconds(const struct result *result, uint64_t at)
{
	return json_real((double)(at - result->started) / (double)NS_PER_S);
}

static json_t *expectations(const struct smoke *s, const struct result *result)
{
	json_t *all = json_array();
	struct judge_report r;

	for (unsigned int n = 0; judge_report(s->judge, n, &r); n++) {
		json_t *one = json_object();

		json_object_set_new(one, "regex", json_string(r.regex));
		json_object_set_new(one, "met", json_boolean(r.met));
		if (r.met) {
			json_object_set_new(one, "seconds", seconds(result, r.at));
			json_object_set_new(one, "line", said(r.line));
			json_object_set_new(one, "console",
					    json_string(judge_console_name(s->judge, r.console)));
		}
		json_array_append_new(all, one);
	}
	return all;
}

static json_t *last_lines(const struct smoke *s)
{
	json_t *all = json_array();
	const char *line;
	int console;

	for (unsigned int n = 0; (line = judge_last_line(s->judge, n, &console)); n++)
		json_array_append_new(all, said(line));
	return all;
}

static json_t *report(const struct smoke *s, const struct result *result)
{
	const struct judge_verdict *v = judge_verdict(s->judge, UINT64_MAX);
	json_t *o = json_object();

	json_object_set_new(o, "expect", expectations(s, result));
	if (v && *v->line) {
		json_object_set_new(o, "line", said(v->line));
		json_object_set_new(o, "line_seconds", seconds(result, v->at));
	}
	if (v && v->name)
		json_object_set_new(o, "pattern", json_string(v->name));
	json_object_set_new(o, "last_lines", last_lines(s));
	return o;
}

static void on_ended(void *ctx, struct vm *vm, struct result *result)
{
	struct smoke *s = ctx;

	(void)vm;
	watch_end(s->watch, &result->ending);
	check_command(s, &result->ending);
	result->more = report(s, result);
}

static void on_leave(void *ctx)
{
	struct smoke *s = ctx;

	watch_leave(s->watch);
}

/* The last lines are for whoever did not see the console, or sees too much of it. */
static void tell_last_lines(const struct smoke *s)
{
	char safe[TEXT_SAFE_ROOM(JUDGE_LINE_MAX)];
	const char *line;
	unsigned int n = 0;
	size_t taken;
	int console;

	while (judge_last_line(s->judge, n, &console))
		n++;
	for (n -= MIN(n, 8U); (line = judge_last_line(s->judge, n, &console)); n++) {
		text_safe(safe, sizeof(safe), line, strlen(line), false, &taken);
		fprintf(stderr, "skep: %s: %s\n", judge_console_name(s->judge, console), safe);
	}
}

static void tell(const struct smoke *s, const struct result *result)
{
	if (result->status) {
		if (result->post_mortem)
			fputs(result->post_mortem, stderr);
		tell_last_lines(s);
		fprintf(stderr, "skep: fail (%d): %s\n", result->status, result->ending.reason);
	} else {
		fprintf(stderr, "skep: pass: %s\n", result->ending.reason);
	}
}

/* What would be shown on standard output goes nowhere; the judge hears it all the same. */
static int hush(struct config *config, struct err *err)
{
	static const char *const keys[] = {"device.com1.backend", "device.console.backend"};
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(keys); i++) {
		const char *backend = config_get(config, keys[i]);

		if (backend && (!strcmp(backend, "stdout") || !strcmp(backend, "stdio")))
			ret = config_set(config, keys[i], "none", err);
	}
	return ret;
}

/* What the flags ask for together. */
static int prepare(struct smoke *s, struct err *err)
{
	int ret = s->quiet ? hush(s->machine.config, err) : 0;

	if (ret)
		return ret;
	if (!s->exec.command && !s->exec.root)
		return 0;
	return exec_prepare(&s->exec, s->machine.config, s->machine.initrds, &s->machine.log, err);
}

static int judge_machine(struct smoke *s)
{
	const struct machine_hooks hooks = {
		.ready = on_ready, .ended = on_ended, .leave = on_leave, .ctx = s};
	struct result result;
	FILE *to;
	struct err err;

	machine_result_init(&result, &s->machine);
	if (result_open(&to, s->machine.result, &err))
		return cli_fail(STATUS_REFUSED, &err);
	if (machine_run(&s->machine, &hooks, &result, &err))
		cli_fail(result.status, &err);
	else
		tell(s, &result);
	if (result_write(&result, to, &err))
		result.status = cli_fail(STATUS_REFUSED, &err);
	json_decref(result.more);
	result_free(&result);
	watch_free(s->watch);
	return result.status;
}

int smoke_init(struct smoke *s, struct err *err)
{
	int ret;

	*s = (struct smoke){.hang = HANG_USUAL, .exec.fd = -1};
	ret = machine_args_init(&s->machine, err);
	if (!ret)
		ret = set_defaults(&s->machine, err);
	return ret ? ret : judge_new(&s->judge, err);
}

void smoke_free(struct smoke *s)
{
	judge_free(s->judge);
	exec_free(&s->exec);
	machine_args_free(&s->machine);
}

int cmd_smoke(int argc, char **argv)
{
	int status = STATUS_OK;
	struct smoke s;
	struct err err;
	bool helped;

	if (smoke_init(&s, &err) ||
	    flags_parse(command_find("smoke"), argc, argv, &s, &helped, &err) < 0 ||
	    (!helped && !s.many.wanted && prepare(&s, &err)))
		status = cli_fail(STATUS_REFUSED, &err);
	else if (s.machine.print_config)
		config_print(s.machine.config, stdout);
	else if (s.many.wanted && !helped)
		status = many_run(&s, argc, argv);
	else if (!helped)
		status = judge_machine(&s);
	smoke_free(&s);
	return status;
}
