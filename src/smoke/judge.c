/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "patterns.h"
#include "regex.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/text.h"
#include "stream.h"

#define SECONDS_MAX 1000000
#define SEND_MAX    KIB(64)
#define STEPS_MAX   10000

enum step_kind { STEP_EXPECT, STEP_SEND, STEP_WAIT };

struct step {
	enum step_kind kind;
	char *where;
	char *text; /* the expression, or what is sent */
	size_t len;
	struct regex *re;
	uint64_t time; /* within, or wait; 0: none */
	bool done;     /* met, due, over */
	bool sent;
	uint64_t at;
	int console;
	char line[JUDGE_LINE_MAX + 1];
};

struct rule {
	enum judge_rule kind;
	char *where, *text;
	struct regex *re;
};

struct console {
	struct judge *judge;
	struct stream stream;
	char name[32];
	uint64_t said; /* when it last said anything */
};

struct judge {
	struct regexes *set;
	struct step *steps;
	unsigned int step_count, step; /* all; the one whose turn it is */
	uint64_t since;                /* its turn came */
	struct rule *rules;
	unsigned int rule_count;
	unsigned int pattern_sets;
	bool patterns_said;
	struct regex *patterns; /* any of them that begins a line; NULL: none are wanted */
	struct regex *anywhere; /* any of the others; the same */
	bool until_end;

	struct console *consoles[JUDGE_CONSOLES];
	int console_count;
	int last_met; /* console; -1 */

	uint64_t now;
	bool quiet;   /* the line at hand has stood still */
	bool decided; /* verdict holds */
	struct judge_verdict verdict;
	uint64_t out; /* when it is out */

	struct {
		char text[JUDGE_LINE_MAX + 1];
		int console;
	} last[JUDGE_LINES];
	unsigned int last_first, last_count;
};

/* Making */

int judge_new(struct judge **out, struct err *err)
{
	struct judge *j = calloc(1, sizeof(*j));

	*out = j;
	if (!j)
		return err_sys(err, ENOMEM, "expectations");
	j->last_met = -1;
	return 0;
}

void judge_free(struct judge *j)
{
	if (!j)
		return;
	for (unsigned int i = 0; i < j->step_count; i++) {
		regex_free(j->steps[i].re);
		free(j->steps[i].where);
		free(j->steps[i].text);
	}
	for (unsigned int i = 0; i < j->rule_count; i++) {
		regex_free(j->rules[i].re);
		free(j->rules[i].where);
		free(j->rules[i].text);
	}
	for (int i = 0; i < j->console_count; i++)
		free(j->consoles[i]);
	regex_free(j->patterns);
	regex_free(j->anywhere);
	regexes_close(j->set);
	free(j->steps);
	free(j->rules);
	free(j);
}

static int compile(struct judge *j, struct regex **re, const char *where, const char *text,
		   enum regex_use use, struct err *err)
{
	int ret = j->set ? 0 : regexes_open(&j->set, err);

	if (!ret)
		ret = regex_compile(re, j->set, text, use, err);
	if (ret)
		err_prefix(err, "%s", where);
	return ret;
}

static struct step *add_step(struct judge *j, enum step_kind kind, const char *where,
			     const char *text, struct err *err)
{
	struct step *steps, *s;

	if (j->step_count == STEPS_MAX) {
		err_set(err, ENOSPC, "%s: there are %d steps at most", where, STEPS_MAX);
		return NULL;
	}
	steps = reallocarray(j->steps, j->step_count + 1, sizeof(*steps));
	if (!steps) {
		err_sys(err, ENOMEM, "expectations");
		return NULL;
	}
	j->steps = steps;
	s = &steps[j->step_count];
	*s = (struct step){.kind = kind, .where = strdup(where), .text = strdup(text)};
	s->len = strlen(text);
	j->step_count++;
	if (s->where && s->text)
		return s;
	err_sys(err, ENOMEM, "expectations");
	return NULL;
}

int judge_expect(struct judge *j, const char *where, const char *regex, struct err *err)
{
	struct step *s = add_step(j, STEP_EXPECT, where, regex, err);

	return s ? compile(j, &s->re, where, regex, REGEX_TEXT, err) : -ENOMEM;
}

/* A number of seconds in nanoseconds. */
static int read_seconds(uint64_t *ns, const char *where, const char *text, struct err *err)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || *end || errno || !(v > 0) || v > SECONDS_MAX)
		return err_set(err, EINVAL, "%s: '%.64s' is no time; say seconds, as in 2.5", where,
			       text);
	*ns = (uint64_t)(v * (double)NS_PER_S);
	return 0;
}

int judge_within(struct judge *j, const char *where, const char *seconds, struct err *err)
{
	struct step *s = j->step_count ? &j->steps[j->step_count - 1] : NULL;

	if (!s || s->kind != STEP_EXPECT)
		return err_set(err, EINVAL, "%s: it belongs behind what is expected", where);
	if (s->time)
		return err_set(err, EINVAL, "%s: the expectation before it has a time already",
			       where);
	return read_seconds(&s->time, where, seconds, err);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte behind a backslash at *@from, which is moved; -1: there is none of that kind. */
static int escape_byte(const char **from)
{
	static const char letters[] = "nrte\\", bytes[] = "\n\r\t\x1b\\";
	const char *p = (*from)++;
	const char *letter = *p ? strchr(letters, *p) : NULL;
	int high, low;

	if (letter)
		return bytes[letter - letters];
	if (*p != 'x')
		return -1;
	high = hex_digit(p[1]);
	low = high < 0 ? -1 : hex_digit(p[2]);
	*from = p + 3;
	return low < 0 ? -1 : high * 16 + low;
}

int judge_send(struct judge *j, const char *where, const char *text, struct err *err)
{
	struct step *s;
	const char *p = text;
	size_t n = 0;

	if (strlen(text) > SEND_MAX)
		return err_set(err, EINVAL, "%s: a text has %lu bytes at most", where, SEND_MAX);
	s = add_step(j, STEP_SEND, where, text, err);
	if (!s)
		return -ENOMEM;
	while (*p) {
		int byte = (unsigned char)*p++;

		if (byte == '\\')
			byte = escape_byte(&p);
		if (byte < 0)
			return err_set(err, EINVAL,
				       "%s: behind a backslash there is n, r, t, e, xNN or a "
				       "backslash",
				       where);
		s->text[n++] = (char)byte;
	}
	s->len = n;
	return 0;
}

int judge_wait(struct judge *j, const char *where, const char *seconds, struct err *err)
{
	struct step *s = add_step(j, STEP_WAIT, where, seconds, err);

	return s ? read_seconds(&s->time, where, seconds, err) : -ENOMEM;
}

int judge_rule(struct judge *j, const char *where, enum judge_rule rule, const char *regex,
	       struct err *err)
{
	struct rule *rules = reallocarray(j->rules, j->rule_count + 1, sizeof(*rules));
	struct rule *r;

	if (!rules)
		return err_sys(err, ENOMEM, "expectations");
	j->rules = rules;
	r = &rules[j->rule_count++];
	*r = (struct rule){.kind = rule, .where = strdup(where), .text = strdup(regex)};
	if (!r->where || !r->text)
		return err_sys(err, ENOMEM, "expectations");
	return compile(j, &r->re, where, regex, REGEX_TEXT, err);
}

void judge_set_patterns(struct judge *j, unsigned int sets)
{
	j->pattern_sets = sets;
	j->patterns_said = true;
}

void judge_usual_patterns(struct judge *j, unsigned int sets)
{
	if (!j->patterns_said)
		j->pattern_sets = sets;
}

void judge_until_end(struct judge *j)
{
	j->until_end = true;
}

/* Whether @p begins a line, and behind what is common to those that do. */
static const char *behind_head(const struct pattern *p)
{
	const size_t n = strlen(PATTERN_HEAD);

	return strncmp(p->regex, PATTERN_HEAD, n) ? NULL : p->regex + n;
}

/* Writes those patterns that @j wants and @part says: "a|b|c" with @open in front; false: none. */
static bool join(const struct judge *j, FILE *to, const char *open,
		 const char *(*part)(const struct pattern *p))
{
	bool any = false;

	for (const struct pattern *p = patterns; p->name; p++) {
		const char *text = p->set & j->pattern_sets ? part(p) : NULL;

		if (text)
			fprintf(to, "%s(?:%s)", any ? "|" : open, text);
		any |= !!text;
	}
	return any;
}

static const char *at_begin(const struct pattern *p)
{
	return p->regex[0] == '^' && !behind_head(p) ? p->regex : NULL;
}

static const char *at_any(const struct pattern *p)
{
	return p->regex[0] == '^' ? NULL : p->regex;
}

/*
 * Expressions that are any of the patterns: most lines are none, and cost a search each for what
 * begins a line and for what may be anywhere in it.
 */
static int compile_patterns(struct judge *j, struct err *err)
{
	char *begin = NULL, *any = NULL;
	size_t begin_len = 0, any_len = 0;
	FILE *f = open_memstream(&begin, &begin_len), *g = open_memstream(&any, &any_len);
	bool head;
	int ret = 0;

	if (!f || !g)
		ret = err_sys(err, ENOMEM, "patterns");
	if (!ret) {
		head = join(j, f, PATTERN_HEAD "(?:", behind_head);
		fputs(head ? ")" : "", f);
		join(j, f, head ? "|" : "", at_begin);
		join(j, g, "", at_any);
	}
	if ((f && fclose(f)) || (g && fclose(g)))
		ret = err_sys(err, ENOMEM, "patterns");
	if (!ret && begin_len)
		ret = compile(j, &j->patterns, "patterns", begin, REGEX_LINES, err);
	if (!ret && any_len)
		ret = compile(j, &j->anywhere, "patterns", any, REGEX_LINES, err);
	free(begin);
	free(any);
	return ret;
}

/* Verdicts */

__attribute__((format(printf, 5, 6))) static void decide(struct judge *j, enum end_kind kind,
							 const struct console *c, const char *cause,
							 const char *fmt, ...)
{
	struct judge_verdict *v = &j->verdict;
	va_list ap;

	if (j->decided)
		return;
	j->decided = true;
	v->ending.kind = kind;
	v->at = j->now;
	v->console = -1;
	va_start(ap, fmt);
	vsnprintf(v->ending.reason, sizeof(v->ending.reason), fmt, ap);
	va_end(ap);
	for (int i = 0; i < j->console_count; i++)
		if (j->consoles[i] == c)
			v->console = i;
	snprintf(v->line, sizeof(v->line), "%s", cause ? cause : "");
	j->out = j->now;
}

/* The part of a line that is kept; NULs have been dropped. */
static void keep(char to[JUDGE_LINE_MAX + 1], const char *line, size_t len)
{
	len = MIN(len, (size_t)JUDGE_LINE_MAX);
	memcpy(to, line, len);
	to[len] = '\0';
}

struct safe {
	char s[200];
};

/* What was said, as it can be in a sentence. */
static struct safe safe(const char *text)
{
	struct safe out;
	size_t taken;

	text_safe(out.s, sizeof(out.s), text, strlen(text), false, &taken);
	return out;
}

const struct judge_verdict *judge_verdict(const struct judge *j, uint64_t now)
{
	return j->decided && now >= j->out ? &j->verdict : NULL;
}

/* Expression @text cannot be decided: neither answer would be the truth. */
static void too_costly(struct judge *j, const struct console *c, const char *where,
		       const char *text, const char *line)
{
	decide(j, END_UNMET, c, line,
	       "%s: the expression '%.120s' takes too long on what the guest says", where, text);
}

/* Steps */

static struct step *current(struct judge *j)
{
	return j->step < j->step_count ? &j->steps[j->step] : NULL;
}

/* Sends are due at once; what is next is an expectation, a wait, or the end. */
static void advance(struct judge *j)
{
	struct step *s;

	j->since = j->now;
	while ((s = current(j)) && s->kind == STEP_SEND) {
		s->done = true;
		s->console = j->last_met;
		j->step++;
	}
}

bool judge_take_send(struct judge *j, const char **text, size_t *len, int *console)
{
	for (unsigned int i = 0; i < j->step; i++) {
		struct step *s = &j->steps[i];

		if (s->kind != STEP_SEND || !s->done || s->sent)
			continue;
		s->sent = true;
		*text = s->text;
		*len = s->len;
		*console = s->console;
		return true;
	}
	return false;
}

static bool has_expectations(const struct judge *j)
{
	for (unsigned int i = 0; i < j->step_count; i++)
		if (j->steps[i].kind == STEP_EXPECT)
			return true;
	return false;
}

static bool all_done(const struct judge *j)
{
	return j->step == j->step_count;
}

static void met_all(struct judge *j, const struct console *c, const char *line)
{
	if (!j->until_end)
		decide(j, END_MET, c, line, "the guest said all that was expected");
}

int judge_begin(struct judge *j, uint64_t now, struct err *err)
{
	int ret = compile_patterns(j, err);

	j->now = now;
	advance(j);
	return ret;
}

/* Lines */

static enum regex_found search(const struct regex *re, const struct stream *s, enum stream_end end,
			       size_t from, size_t *start, size_t *stop)
{
	const struct regex_text text = {
		.at = s->line,
		.from = from,
		.len = s->len,
		.cut = s->cut,
		.going = end == STREAM_OPEN,
		.piece = end == STREAM_PIECE,
	};

	return regex_search(re, &text, start, stop);
}

/* Meets as many expectations as the line has text for; true: of the next it is open. */
static bool meet(struct judge *j, struct console *c, enum stream_end end)
{
	struct stream *s = &c->stream;
	size_t start, stop;
	struct step *e;

	while ((e = current(j)) && e->kind == STEP_EXPECT) {
		enum regex_found found = search(e->re, s, end, s->from, &start, &stop);

		if (found == REGEX_COSTLY)
			too_costly(j, c, e->where, e->text, s->line);
		if (found != REGEX_YES)
			return found == REGEX_OPEN;
		s->from = stop;
		s->met = true;
		e->done = true;
		e->at = j->now;
		for (e->console = 0; j->consoles[e->console] != c;)
			e->console++;
		keep(e->line, s->line, s->len);
		j->last_met = e->console;
		j->step++;
		advance(j);
	}
	return false;
}

/* Rule @r holds by the text from @start to @stop. */
static void break_rule(struct judge *j, const struct console *c, const struct rule *r, size_t start,
		       size_t stop)
{
	char line[JUDGE_LINE_MAX + 1], part[JUDGE_LINE_MAX + 1];

	keep(line, c->stream.line, c->stream.len);
	keep(part, c->stream.line + start, stop - start);
	if (r->kind == RULE_PASS) {
		decide(j, END_MET, c, line, "%s: the guest said what is enough: %s", r->where,
		       safe(part).s);
		return;
	}
	decide(j, r->kind == RULE_FAIL ? END_PANIC : END_UNMET, c, line,
	       r->kind == RULE_FAIL ? "%s: the guest said that it failed: %s"
				    : "%s: the guest said what is forbidden: %s",
	       r->where, safe(part).s);
	if (r->kind == RULE_FAIL)
		j->out = j->now + JUDGE_SETTLE;
}

/*
 * The rule that holds first, if one does before @before. While it is @open which one that will be,
 * there is no verdict; returns whether it is.
 */
static bool look_at_rules(struct judge *j, struct console *c, enum stream_end end, size_t before,
			  bool open)
{
	const struct rule *first = NULL;
	size_t start, stop, from = 0;

	for (unsigned int i = 0; i < j->rule_count; i++) {
		const struct rule *r = &j->rules[i];
		enum regex_found found = search(r->re, &c->stream, end, 0, &start, &stop);

		if (found == REGEX_COSTLY)
			too_costly(j, c, r->where, r->text, c->stream.line);
		open |= found == REGEX_OPEN;
		if (found == REGEX_YES && (stop < before || (stop == before && !first))) {
			first = r;
			from = start;
			before = stop;
		}
	}
	open &= !j->quiet;
	if (first && !open)
		break_rule(j, c, first, from, before);
	return open;
}

static bool finds(const struct regex *re, const struct stream *s, enum stream_end end)
{
	size_t start, stop;

	return re && search(re, s, end, 0, &start, &stop) == REGEX_YES;
}

/* A line that stands still is taken for whole. */
static void look_at_patterns(struct judge *j, struct console *c, enum stream_end end)
{
	const struct stream *s = &c->stream;
	char line[JUDGE_LINE_MAX + 1];
	struct regex *re;
	struct err err;

	if (end == STREAM_OPEN)
		end = STREAM_LINE;
	if (!finds(j->patterns, s, end) && !finds(j->anywhere, s, end))
		return;
	keep(line, s->line, s->len);
	for (const struct pattern *p = patterns; p->name && !j->decided; p++) {
		if (!(p->set & j->pattern_sets) ||
		    regex_compile(&re, j->set, p->regex, REGEX_ONCE, &err))
			continue;
		if (finds(re, s, end)) {
			decide(j, p->kind, c, line, "%s: %s", p->what, safe(line).s);
			j->verdict.name = p->name;
			j->out = j->now + JUDGE_SETTLE;
		}
		regex_free(re);
	}
}

static void remember(struct judge *j, const struct console *c)
{
	unsigned int n = (j->last_first + j->last_count) % JUDGE_LINES;

	if (!c->stream.len)
		return;
	keep(j->last[n].text, c->stream.line, c->stream.len);
	for (j->last[n].console = 0; j->consoles[j->last[n].console] != c;)
		j->last[n].console++;
	if (j->last_count < JUDGE_LINES)
		j->last_count++;
	else
		j->last_first = (j->last_first + 1) % JUDGE_LINES;
}

static void on_line(void *arg, struct stream *s, enum stream_end end)
{
	struct console *c = arg;
	struct judge *j = c->judge;
	bool met, open;

	if (end == STREAM_LINE)
		remember(j, c);
	if (j->decided)
		return;
	open = meet(j, c, end);
	met = all_done(j) && has_expectations(j) && s->met;
	open = look_at_rules(j, c, end, met ? s->from : s->len, open);
	if (!s->met && !j->decided && (end != STREAM_OPEN || j->quiet))
		look_at_patterns(j, c, end);
	if (met && !open)
		met_all(j, c, s->line);
}

/* Consoles and time */

int judge_console(struct judge *j, const char *name)
{
	struct console *c;

	if (j->console_count == JUDGE_CONSOLES)
		return -ENOSPC;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->judge = j;
	snprintf(c->name, sizeof(c->name), "%s", name);
	j->consoles[j->console_count] = c;
	return j->console_count++;
}

const char *judge_console_name(const struct judge *j, int console)
{
	return console >= 0 && console < j->console_count ? j->consoles[console]->name : NULL;
}

void judge_feed(struct judge *j, int console, const uint8_t *data, size_t len, uint64_t now)
{
	struct console *c = j->consoles[console];
	const struct stream_sink sink = {.line = on_line, .arg = c};

	j->now = now;
	c->said = now;
	stream_feed(&c->stream, data, len, &sink);
}

/* A line that has stood still for JUDGE_QUIET is looked at for failures, once. */
static bool is_quiet(const struct judge *j, const struct console *c)
{
	return j->now >= c->said + JUDGE_QUIET;
}

static void look_at_console(struct judge *j, struct console *c)
{
	const struct stream_sink sink = {.line = on_line, .arg = c};

	if (!c->stream.len)
		return;
	j->quiet = false;
	stream_look(&c->stream, &sink);
	if (!c->said || !is_quiet(j, c))
		return;
	c->said = 0;
	c->stream.seen = false;
	j->quiet = true;
	stream_look(&c->stream, &sink);
	j->quiet = false;
}

static void look_at_clock(struct judge *j)
{
	struct step *s = current(j);

	if (!s || !s->time || j->decided || j->now < j->since + s->time)
		return;
	if (s->kind == STEP_WAIT) {
		s->done = true;
		j->step++;
		advance(j);
		if (all_done(j) && has_expectations(j))
			met_all(j, NULL, NULL);
		return;
	}
	decide(j, END_UNMET, NULL, NULL,
	       "%s: the guest did not say '%.160s' within %g s of when its turn came", s->where,
	       s->text, (double)s->time / (double)NS_PER_S);
}

void judge_look(struct judge *j, uint64_t now)
{
	j->now = now;
	for (int i = 0; i < j->console_count; i++)
		look_at_console(j, j->consoles[i]);
	look_at_clock(j);
}

uint64_t judge_due(const struct judge *j)
{
	const struct step *s = j->step < j->step_count ? &j->steps[j->step] : NULL;
	uint64_t due = UINT64_MAX;

	if (j->decided)
		return j->out;
	if (s && s->time)
		due = j->since + s->time;
	for (int i = 0; i < j->console_count; i++)
		if (j->consoles[i]->stream.len && j->consoles[i]->said)
			due = MIN(due, j->consoles[i]->said + JUDGE_QUIET);
	return due;
}

void judge_end(struct judge *j, uint64_t now)
{
	j->now = now;
	for (int i = 0; i < j->console_count; i++) {
		const struct stream_sink sink = {.line = on_line, .arg = j->consoles[i]};

		stream_end(&j->consoles[i]->stream, &sink);
	}
}

/* The end */

/* What the guest did to come to it, and not the host or a person. */
static bool is_guests(enum end_kind kind)
{
	return kind != END_SIGNAL && kind != END_USER && kind != END_HOST;
}

static const struct step *first_unmet(const struct judge *j, unsigned int *n, unsigned int *of)
{
	const struct step *unmet = NULL;

	*n = *of = 0;
	for (unsigned int i = 0; i < j->step_count; i++) {
		if (j->steps[i].kind != STEP_EXPECT)
			continue;
		++*of;
		if (!j->steps[i].done && !unmet) {
			unmet = &j->steps[i];
			*n = *of;
		}
	}
	return unmet;
}

void judge_correct(struct judge *j, struct ending *ending)
{
	unsigned int n, of;
	const struct step *unmet = first_unmet(j, &n, &of);
	const bool good =
		ending->kind == END_POWEROFF || (ending->kind == END_CODE && !ending->code);
	char how[sizeof(ending->reason)];

	if (j->decided && is_guests(ending->kind)) {
		*ending = j->verdict.ending;
		return;
	}
	if (!unmet || !is_guests(ending->kind))
		return;
	if (good) {
		ending->kind = END_UNMET;
		ending->orderly = true;
	}
	snprintf(how, sizeof(how), "%s", ending->reason);
	snprintf(ending->reason, sizeof(ending->reason),
		 "%.180s; it had not said '%.120s' (expectation %u of %u)", how, unmet->text, n,
		 of);
}

bool judge_report(const struct judge *j, unsigned int n, struct judge_report *report)
{
	for (unsigned int i = 0; i < j->step_count; i++) {
		const struct step *s = &j->steps[i];

		if (s->kind != STEP_EXPECT || n--)
			continue;
		*report = (struct judge_report){.where = s->where,
						.regex = s->text,
						.met = s->done,
						.at = s->at,
						.line = s->line,
						.console = s->console};
		return true;
	}
	return false;
}

const char *judge_last_line(const struct judge *j, unsigned int n, int *console)
{
	const unsigned int at = (j->last_first + n) % JUDGE_LINES;

	if (n >= j->last_count)
		return NULL;
	*console = j->last[at].console;
	return j->last[at].text;
}
