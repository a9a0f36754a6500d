/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep smoke, many times: the runs that a matrix, --repeat and reports ask for. Each is
 *
 *	skep _job PARENT smoke OPTIONS --result FILE
 *
 * with the options of this command line that are not about many runs, then those of the matrix. All
 * of them are read here, too, so that a mistake is told before anything runs.
 */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/matrix.h"
#include "skep/report.h"
#include "skep/runner.h"
#include "skep/topology.h"
#include "smoke.h"

#define REPEAT_MAX 100000u
#define RUNS_MAX   100000u /* in all */
#define WORDS_MAX  16384u  /* of a run's command line */
/* What a run may take beyond its --timeout, on a host that is very busy. */
#define OVERTIME (60 * NS_PER_S)
/* Stands for the run's name within its options, so that each can have files of its own. */
#define RUN_PLACE "{run}"
#define PROGRAM   "/proc/self/exe"

/* A run, with what its struct run_spec points to. */
struct one {
	struct matrix_run of; /* without a matrix all zero */
	char *name, *folder, *parent;
	char *safe;   /* the name as one of a file */
	char **words; /* "skep" "_job" PARENT "smoke" …; the replay is what is behind the third */
	char **own;   /* those of them that were made for it */
	unsigned int own_count;
};

/* exec() takes words that could be written to. */
struct fixed_words {
	char skep[8], job[8], smoke[8], name[8], state[16];
};

struct plan {
	struct fixed_words fixed;
	const struct many *many;
	const struct command *command;
	struct matrix *matrix;
	char **base; /* the words of the command line, as far as they are each run's */
	unsigned int base_count;
	const char *name; /* --name, or NULL */
	char program[PATH_MAX];
	struct one *ones;
	struct run_spec *specs;
	unsigned int count;
	struct runner runner;
};

/* Flags */

static int apply_count(unsigned int *n, const char *name, const char *value, unsigned int most,
		       struct err *err)
{
	uint64_t v;

	if (parse_uint(value, &v) || !v || v > most)
		return err_set(err, EINVAL, "--%s: '%.32s' is no number from 1 to %u", name, value,
			       most);
	*n = (unsigned int)v;
	return 0;
}

int many_apply(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct many *m = &((struct smoke *)ctx)->many;
	const struct {
		const char *key;
		const char **text;
		bool *set;
	} keys[] = {
		{"matrix", &m->matrix, NULL},
		{"junit", &m->junit, NULL},
		{"jsonl", &m->jsonl, NULL},
		{"report", &m->report, NULL},
		{"fail-fast", NULL, &m->fail_fast},
		{"keep-going", NULL, &m->keep_going},
		{"tap", NULL, &m->tap},
		{"report-all", NULL, &m->report_all},
	};

	m->wanted = true;
	if (!strcmp(flag->key, "jobs"))
		return apply_count(&m->jobs, flag->key, value, RUNNER_JOBS_MAX, err);
	if (!strcmp(flag->key, "repeat"))
		return apply_count(&m->repeat, flag->key, value, REPEAT_MAX, err);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(flag->key, keys[i].key) != 0)
			continue;
		if (keys[i].text)
			*keys[i].text = value;
		else
			*keys[i].set = true;
	}
	if (m->fail_fast && m->keep_going)
		return err_set(err, EINVAL, "--fail-fast and --keep-going are opposites");
	return 0;
}

static bool of_each_run(const struct flag *flag)
{
	return flag->apply != many_apply && strcmp(flag->name, "result") != 0;
}

static int check_flags(const struct smoke *s, struct err *err)
{
	const struct many *m = &s->many;

	if (m->report_all && !m->report)
		return err_set(err, EINVAL, "--report-all wants a --report DIR");
	if (s->machine.result && (m->matrix || m->repeat > 1))
		return err_set(err, EINVAL,
			       "--result is of one run; --jsonl has the same object for each");
	if (m->junit && m->jsonl && !strcmp(m->junit, m->jsonl))
		return err_set(err, EINVAL, "--junit and --jsonl name the same file, %s", m->junit);
	return 0;
}

/* Reading the options of a run as it will */

/* The words of one place: a line of the matrix, or the command line. */
static int read_words(struct smoke *s, const struct plan *p, char *const *words, unsigned int count,
		      struct err *err)
{
	char name[] = "smoke";
	char **argv = calloc((size_t)count + 2, sizeof(*argv));
	bool helped = false;
	int ret;

	if (!argv)
		return err_sys(err, ENOMEM, "options");
	argv[0] = name;
	for (unsigned int i = 0; i < count; i++) {
		/* It would print, and end. */
		if (!strcmp(words[i], "--help") || !strcmp(words[i], "-h"))
			helped = true;
		argv[i + 1] = words[i];
	}
	if (helped)
		ret = err_set(err, EINVAL, "--help has no place here");
	else
		ret = flags_parse(p->command, (int)count + 1, argv, s, &helped, err);
	free(argv);
	return ret < 0 ? ret : 0;
}

static int read_line(struct smoke *s, const struct plan *p, const struct matrix_options *o,
		     struct err *err)
{
	int ret = read_words(s, p, o->words, o->count, err);

	if (!ret && (s->many.wanted || s->machine.print_config || s->machine.result))
		ret = err_set(err, EINVAL, "%s has no place in a matrix",
			      s->machine.print_config ? "--print-config"
			      : s->machine.result     ? "--result"
						      : "an option about many runs");
	if (ret)
		err_prefix(err, "%s:%u", matrix_path(p->matrix), o->line);
	return ret;
}

static int read_run(struct smoke *s, const struct plan *p, const struct matrix_run *run,
		    struct err *err)
{
	const struct matrix_options *o;
	int ret = read_words(s, p, p->base, p->base_count, err);

	for (unsigned int i = 0; !ret && p->matrix && (o = matrix_all(p->matrix, i)); i++)
		ret = read_line(s, p, o, err);
	for (unsigned int i = 0; !ret && i < run->axes; i++)
		ret = read_line(s, p, run->options[i], err);
	return ret;
}

/* What the run will need of the host. */
static int read_needs(struct run_spec *spec, const struct config *c, struct err *err)
{
	struct gmem_options memory;
	struct topology_options cpus;
	const char *timeout = config_get(c, "machine.timeout");
	struct topology topology;
	uint64_t seconds = 0;
	int ret = config_read(c, "memory", gmem_option_table, &memory, err);

	if (!ret)
		ret = config_read(c, "cpus", topology_option_table, &cpus, err);
	if (!ret)
		ret = topology_init(&topology, &cpus, err);
	if (!ret && timeout && parse_uint(timeout, &seconds))
		ret = err_set(err, EINVAL, "machine.timeout: '%.32s' is no number", timeout);
	if (ret)
		return ret;
	/* Huge pages were set aside before. */
	spec->memory = memory.hugepages ? 0 : memory.size;
	spec->cpus = topology.cpus;
	if (seconds && seconds < UINT64_MAX / NS_PER_S / 2)
		spec->limit_ns = seconds * NS_PER_S + OVERTIME;
	return 0;
}

/* Making the runs */

/* What a person calls a run may be anything; a file is called what a value could be. */
static void file_name(char *name)
{
	for (char *p = name; *p; p++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+=,-",
			    *p))
			*p = '_';
	if (*name == '.' || *name == '-')
		*name = '_';
}

static int name_run(const struct plan *p, struct one *one, unsigned int repeat, struct err *err)
{
	const char *matrix = one->of.axes ? one->of.name : "";
	const char *given = p->name ? p->name : one->of.axes ? "" : "smoke";
	char again[32] = "";

	if (repeat)
		snprintf(again, sizeof(again), ",repeat=%u", repeat);
	if (asprintf(&one->name, "%s%s%s%s", given, *given && *matrix ? "," : "", matrix, again) <
	    0)
		one->name = NULL;
	one->safe = one->name ? strdup(one->name) : NULL;
	if (!one->safe)
		return err_sys(err, ENOMEM, "a run's name");
	if (strlen(one->name) > NAME_MAX)
		return err_set(err, ENAMETOOLONG,
			       "the run's name %.40s... is longer than %d bytes, so no file can "
			       "have it",
			       one->name, NAME_MAX);
	file_name(one->safe);
	if (!p->many->report || asprintf(&one->folder, "%s/%s", p->many->report, one->safe) >= 0)
		return 0;
	one->folder = NULL;
	return err_sys(err, ENOMEM, "a run's name");
}

/* @word with the run's name for each RUN_PLACE in it. */
static char *with_name(struct one *one, const char *word)
{
	char *whole = NULL, **grown;
	size_t len;
	FILE *to = open_memstream(&whole, &len);

	if (!to)
		return NULL;
	for (const char *p = word; *p;) {
		if (!strncmp(p, RUN_PLACE, strlen(RUN_PLACE))) {
			fputs(one->safe, to);
			p += strlen(RUN_PLACE);
		} else {
			fputc(*p++, to);
		}
	}
	if (fclose(to))
		return NULL;
	grown = reallocarray(one->own, one->own_count + 1, sizeof(*grown));
	if (!grown) {
		free(whole);
		return NULL;
	}
	one->own = grown;
	one->own[one->own_count++] = whole;
	return whole;
}

/* Adds words behind the *@n that are there; -ENOMEM. */
static int add_words(struct one *one, unsigned int *n, char *const *words, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		char *word = words[i];

		if (strstr(word, RUN_PLACE))
			word = with_name(one, word);
		if (!word)
			return -ENOMEM;
		one->words[(*n)++] = word;
	}
	return 0;
}

static unsigned int count_words(const struct plan *p, const struct one *one)
{
	const struct matrix_options *o;
	unsigned int n = p->base_count;

	for (unsigned int i = 0; p->matrix && (o = matrix_all(p->matrix, i)); i++)
		n += o->count;
	for (unsigned int i = 0; i < one->of.axes; i++)
		n += one->of.options[i]->count;
	return n;
}

static int make_words(struct plan *p, struct one *one, struct err *err)
{
	const unsigned int room = count_words(p, one) + 8;
	const struct matrix_options *o;
	unsigned int n = 0;
	int ret;

	if (room > WORDS_MAX)
		return err_set(err, E2BIG, "%s: more than %u words of options", one->name,
			       WORDS_MAX);
	one->words = calloc(room, sizeof(*one->words));
	if (!one->words || asprintf(&one->parent, "%ld", (long)getpid()) < 0)
		return err_sys(err, ENOMEM, "options");
	one->words[n++] = p->fixed.skep;
	one->words[n++] = p->fixed.job;
	one->words[n++] = one->parent;
	one->words[n++] = p->fixed.smoke;
	ret = add_words(one, &n, p->base, p->base_count);
	for (unsigned int i = 0; !ret && p->matrix && (o = matrix_all(p->matrix, i)); i++)
		ret = add_words(one, &n, o->words, o->count);
	for (unsigned int i = 0; !ret && i < one->of.axes; i++)
		ret = add_words(one, &n, one->of.options[i]->words, one->of.options[i]->count);
	if (p->many->report)
		one->words[n++] = p->fixed.state;
	one->words[n++] = p->fixed.name;
	one->words[n] = one->name;
	return ret ? err_sys(err, ENOMEM, "options") : 0;
}

static int make_run(struct plan *p, unsigned int number, unsigned int repeat, struct err *err)
{
	struct one *one = &p->ones[p->count];
	struct run_spec *spec = &p->specs[p->count];
	struct smoke s;
	int ret;

	if (p->matrix)
		matrix_run(p->matrix, number, &one->of);
	p->count++;
	ret = name_run(p, one, repeat, err);
	if (!ret)
		ret = make_words(p, one, err);
	if (ret)
		return ret;
	ret = smoke_init(&s, err);
	if (!ret)
		ret = read_run(&s, p, &one->of, err);
	if (!ret) {
		ret = read_needs(spec, s.machine.config, err);
		if (ret)
			err_prefix(err, "%s", one->name);
	}
	smoke_free(&s);
	spec->name = one->name;
	spec->argv = one->words;
	spec->replay = one->words + 3;
	spec->folder = one->folder;
	spec->axes = one->of.axes;
	spec->axis = one->of.axis;
	spec->value = one->of.value;
	spec->repeat = repeat;
	return ret;
}

static int make_runs(struct plan *p, struct err *err)
{
	const unsigned int combinations = p->matrix ? matrix_runs(p->matrix) : 1;
	const unsigned int repeat = MAX(p->many->repeat, 1u);
	int ret = 0;

	if ((uint64_t)combinations * repeat > RUNS_MAX)
		return err_set(err, E2BIG, "%u combinations %u times are more than %u runs",
			       combinations, repeat, RUNS_MAX);
	p->ones = calloc((size_t)combinations * repeat, sizeof(*p->ones));
	p->specs = calloc((size_t)combinations * repeat, sizeof(*p->specs));
	if (!p->ones || !p->specs)
		return err_sys(err, ENOMEM, "%u runs", combinations * repeat);
	/* Each combination once, then each again: what fails at all fails early. */
	for (unsigned int again = 1; !ret && again <= repeat; again++)
		for (unsigned int i = 0; !ret && i < combinations; i++)
			ret = make_run(p, i, repeat > 1 ? again : 0, err);
	return ret;
}

/* Reports */

static int add_watch(struct plan *p, struct run_watch *w)
{
	struct run_watch **end = &p->runner.watches;

	while (*end)
		end = &(*end)->next;
	*end = w;
	return 0;
}

static const char *suite_of(const struct plan *p)
{
	const char *slash = p->matrix ? strrchr(matrix_path(p->matrix), '/') : NULL;

	if (p->name)
		return p->name;
	return slash && slash[1] ? slash + 1 : p->matrix ? matrix_path(p->matrix) : "smoke";
}

static int open_reports(struct plan *p, struct err *err)
{
	const struct many *m = p->many;
	struct run_watch *w;
	int ret = 0;

	if (m->report && !(ret = report_folder_open(&w, m->report, m->report_all, p->program,
						    p->specs, p->count, err)))
		add_watch(p, w);
	if (!ret && m->jsonl && !(ret = report_jsonl_open(&w, m->jsonl, err)))
		add_watch(p, w);
	if (!ret && m->junit && !(ret = report_junit_open(&w, m->junit, suite_of(p), err)))
		add_watch(p, w);
	if (!ret && m->tap && !(ret = report_tap_open(&w, stdout, p->count, err)))
		add_watch(p, w);
	if (ret)
		return ret;
	/* What a person sees: of one run all, and of many what became of them; beside TAP only
	 * where the two do not meet. */
	if (p->count == 1 && !m->matrix) {
		if (!m->tap && !(ret = report_echo_open(&w, err)))
			add_watch(p, w);
	} else if (!m->tap) {
		if (!(ret = report_lines_open(&w, stdout, p->count, err)))
			add_watch(p, w);
	} else if (isatty(STDERR_FILENO) && !isatty(STDOUT_FILENO)) {
		if (!(ret = report_lines_open(&w, stderr, p->count, err)))
			add_watch(p, w);
	}
	return ret;
}

static int close_reports(struct plan *p, int status)
{
	struct run_watch *w;
	struct err err;

	while ((w = p->runner.watches)) {
		p->runner.watches = w->next;
		if (w->close(w, &err) && cli_fail(STATUS_REFUSED, &err) && !status)
			status = STATUS_REFUSED;
	}
	return status;
}

/* What --result wants of the one run that there is; of one that said nothing, what is known. */
static int write_result(const struct run_record *r, FILE *to, struct err *err)
{
	json_t *o = r->result ? json_incref(r->result)
			      : json_pack("{s:s, s:i, s:s}", "verdict", r->verdict, "status",
					  r->status, "reason", r->reason);
	int ret = json_dumpf(o, to, JSON_INDENT(2));

	json_decref(o);
	if (fclose(to) || ret)
		return err_sys(err, errno ? errno : EIO, "cannot write the result");
	return 0;
}

/* The whole */

static int prepare(struct plan *p, struct smoke *s, int argc, char **argv, struct err *err)
{
	const ssize_t n = readlink(PROGRAM, p->program, sizeof(p->program) - 1);
	int ret = check_flags(s, err);

	if (ret)
		return ret;
	if (n < 0)
		return err_sys(err, errno, "cannot read " PROGRAM);
	p->base = calloc((size_t)argc + 1, sizeof(*p->base));
	if (!p->base)
		return err_sys(err, ENOMEM, "options");
	p->base_count = flags_keep(p->command, argc, argv, of_each_run, p->base);
	if (s->many.matrix)
		ret = matrix_read(&p->matrix, s->many.matrix, err);
	if (!ret)
		ret = make_runs(p, err);
	p->runner = (struct runner){
		.program = PROGRAM,
		.specs = p->specs,
		.count = p->count,
		.jobs = s->many.jobs,
		.fail_fast = s->many.fail_fast,
	};
	host_budget_now(&p->runner.budget);
	if (!ret)
		ret = runner_check(&p->runner, err);
	return ret ? ret : open_reports(p, err);
}

static void plan_free(struct plan *p)
{
	for (unsigned int i = 0; i < p->count; i++) {
		free(p->ones[i].name);
		free(p->ones[i].folder);
		free(p->ones[i].safe);
		free(p->ones[i].parent);
		for (unsigned int n = 0; n < p->ones[i].own_count; n++)
			free(p->ones[i].own[n]);
		free(p->ones[i].own);
		free(p->ones[i].words);
	}
	runner_free(&p->runner);
	free(p->ones);
	free(p->specs);
	free(p->base);
	matrix_free(p->matrix);
}

int many_run(struct smoke *s, int argc, char **argv)
{
	struct plan p = {
		.fixed = {"skep", "_job", "smoke", "--name", "--result-state"},
		.many = &s->many,
		.command = command_find("smoke"),
		.name = config_get(s->machine.config, "machine.name"),
	};
	FILE *result = NULL;
	struct err err;
	int status;

	/* Who reads a report and goes is an error of the write. */
	signal(SIGPIPE, SIG_IGN);
	status = prepare(&p, s, argc, argv, &err);
	if (!status)
		status = result_open(&result, s->machine.result, &err);
	if (!status)
		status = runner_run(&p.runner, &err);
	if (status < 0)
		status = cli_fail(STATUS_REFUSED, &err);
	if (result && p.runner.records && write_result(&p.runner.records[0], result, &err))
		status = cli_fail(STATUS_REFUSED, &err);
	status = close_reports(&p, status);
	plan_free(&p);
	return status;
}

int cmd_job(int argc, char **argv)
{
	const struct command *command = argc > 2 ? command_find(argv[2]) : NULL;

	/* Whoever started it may have gone before that. */
	if (!command || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    getppid() != (pid_t)strtol(argv[1], NULL, 10))
		return STATUS_REFUSED;
	return command->run(argc - 2, argv + 2);
}
