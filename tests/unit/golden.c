/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chips as firmware and Linux program them: each tests/golden/traces/NAME.trace, which was recorded
 * on another machine model, is replayed against skep's chip. What the chip answers, drives and
 * sends must be what was recorded, and its state at the end that of NAME.state. Every 16th access
 * it is saved, reset, loaded, and must then save the same. The rules of lint.h listen, and have
 * nothing to say: firmware and Linux make none of those mistakes.
 *
 * tests/golden/traces/record.py records, and says what the lines of a trace are.
 * SKEP_UPDATE_GOLDEN=1 writes the states anew.
 */
#include "support/cm.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/lint.h"
#include "skep/trace.h"
#include "support/golden.h"
#include "support/rig.h"

#define TRACES_MAX  64
#define ACTIONS_MAX 1024
#define WIRES       24
#define SAVED_MAX   4096
#define STEP_NS     1000 /* between two lines */

/* A line of a trace: its letter, its numbers in order, and how an answer is compared. */
struct action {
	char what;
	char compare; /* '?', '/', '~' or 0 */
	unsigned int line;
	uint64_t a, b, c, limit;
};

/* Chips that want options, or are reached by a port for an index and one for data. */
static const struct setup {
	const char *model;
	const char *options;
	uint64_t index, data;
	unsigned int size;
} setups[] = {
	{"ioapic", "", 0xfec00000, 0xfec00010, 4},
	{"rtc146818", "base=2024-02-28T23:59:54", 0x70, 0x71, 1},
};

struct replay {
	struct rig rig;
	struct lint *lint;
	struct trace_tap tap;
	struct setup setup;
	struct device *dev;
	struct irq_line in[WIRES];
	bool attached[WIRES];
	const char *name;
	struct action actions[ACTIONS_MAX]; /* what a repetition can repeat */
	size_t count;
	unsigned int accesses;
	unsigned int messages; /* that the trace has told of */
	bool answers_count;
	char compare; /* of the access under way */
};

/* Lines */

static void parse_answer(const char *text, struct action *action)
{
	char *end;

	if (!strcmp(text, "?")) {
		action->compare = '?';
		return;
	}
	action->c = strtoull(text, &end, 16);
	action->compare = *end;
	if (*end)
		action->limit = strtoull(end + 1, NULL, 16);
}

/* False for a line that holds no action. */
static bool parse(const struct replay *p, const char *text, unsigned int line,
		  struct action *action)
{
	char answer[64] = "?";
	int got = 1;

	*action = (struct action){.what = *text, .line = line};
	switch (*text) {
	case '#':
	case 'c':
	case '\n':
		return false;
	case 'r':
		got = sscanf(text, "r %" SCNx64 " %" SCNu64 " %63s", &action->a, &action->b,
			     answer) == 3;
		parse_answer(answer, action);
		break;
	case 'w':
		got = sscanf(text, "w %" SCNx64 " %" SCNu64 " %" SCNx64, &action->a, &action->b,
			     &action->c) == 3;
		break;
	case 'R':
		got = sscanf(text, "R %" SCNx64 " %63s", &action->a, answer) == 2;
		parse_answer(answer, action);
		break;
	case 'x':
		got = sscanf(text, "x %" SCNu64 " %" SCNu64 " %" SCNu64, &action->a, &action->b,
			     &action->c) == 3;
		break;
	case 'i':
	case 'o':
		got = sscanf(text + 1, "%" SCNu64 " %" SCNu64, &action->a, &action->b) == 2;
		break;
	case 'W':
	case 'm':
		got = sscanf(text + 1, "%" SCNx64 " %" SCNx64, &action->a, &action->b) == 2;
		break;
	case 'a':
	case 'e':
		got = sscanf(text + 1, "%" SCNx64, &action->a) == 1;
		break;
	case 't':
		got = sscanf(text + 1, "%" SCNu64, &action->a) == 1;
		break;
	case 'f':
	case 's':
	case 'z':
		break;
	default:
		got = 0;
	}
	if (!got)
		fail_msg("%s.trace:%u: cannot be read: %s", p->name, line, text);
	return true;
}

/* Saving */

/* Saved, reset, loaded and saved again is the same. */
static void must_survive_a_save(struct replay *p, unsigned int line)
{
	const struct device_class *class = p->dev->class;
	uint8_t saved[SAVED_MAX], again[SAVED_MAX];
	long len;
	int ret;

	if (!class->state)
		return;
	device_lock(p->dev);
	len = state_save(class->state, device_state(p->dev), saved, sizeof(saved));
	assert_true(len > 0);
	class->reset(p->dev);
	ret = state_load(class->state, device_state(p->dev), saved, (size_t)len, &p->rig.err);
	if (!ret)
		ret = class->loaded(p->dev, &p->rig.err);
	if (ret)
		fail_msg("%s.trace:%u: %s", p->name, line, p->rig.err.text);
	assert_int_equal(state_save(class->state, device_state(p->dev), again, sizeof(again)), len);
	device_unlock(p->dev);
	if (memcmp(saved, again, (size_t)len) != 0)
		fail_msg("%s.trace:%u: loaded, the chip is not what was saved", p->name, line);
}

/* Actions */

static struct bus *bus_of(const struct replay *p, uint64_t at)
{
	return at < 0x10000 ? p->rig.machine.ports : p->rig.machine.mmio;
}

static void check_answer(const struct replay *p, const struct action *action, uint64_t is)
{
	bool same;

	switch (p->answers_count ? action->compare : '?') {
	case '?':
		return;
	case '~':
		same = MAX(is, action->c) - MIN(is, action->c) <= action->limit;
		break;
	case '/':
		same = (is & action->limit) == action->c;
		break;
	default:
		same = is == action->c;
	}
	if (!same)
		fail_msg("%s.trace:%u: read %#" PRIx64 ", but recorded was %#" PRIx64 "%c%" PRIx64,
			 p->name, action->line, is, action->c,
			 action->compare ? action->compare : ' ', action->limit);
}

static void access_chip(struct replay *p, const struct action *action)
{
	uint64_t at = action->a;
	unsigned int size = (unsigned int)action->b;

	p->compare = action->compare;
	if (action->what == 'R' || action->what == 'W') {
		at = p->setup.data;
		size = p->setup.size;
		bus_write(bus_of(p, at), p->setup.index, size, action->a);
	}
	if (action->what == 'w')
		bus_write(bus_of(p, at), at, size, action->c);
	else if (action->what == 'W')
		bus_write(bus_of(p, at), at, size, action->b);
	else
		check_answer(p, action, bus_read(bus_of(p, at), at, size));
	if (++p->accesses % 16 == 0)
		must_survive_a_save(p, action->line);
}

static void drive(struct replay *p, const struct action *action)
{
	struct irq_line *line;

	assert_true(action->a < WIRES);
	line = &p->in[action->a];
	if (!p->attached[action->a])
		assert_int_equal(
			irq_attach(p->rig.machine.irqs, line, (unsigned int)action->a, &p->rig.err),
			0);
	p->attached[action->a] = true;
	irq_set(line, action->b);
}

static void check_message(struct replay *p, const struct action *action)
{
	const struct msi *msi = &p->rig.last_message;

	/* Bit 14 says "assert" with level-triggered messages; QEMU leaves it out. */
	if (p->rig.messages != ++p->messages || msi->address != action->a ||
	    (msi->data & ~0x4000U) != action->b)
		fail_msg("%s.trace:%u: %u messages were sent, the last %#" PRIx32 " to %#" PRIx64
			 "; recorded were %u, the last %#" PRIx64 " to %#" PRIx64,
			 p->name, action->line, p->rig.messages, msi->data, msi->address,
			 p->messages, action->b, action->a);
}

static void acknowledge(struct replay *p, const struct action *action)
{
	bool intr = p->rig.intr;
	int vector = irqs_acknowledge(p->rig.machine.irqs);

	if (!intr || vector != (int)action->a)
		fail_msg("%s.trace:%u: with INTR %s, vector %#x was acknowledged; recorded was "
			 "%#" PRIx64,
			 p->name, action->line, intr ? "high" : "low", (unsigned int)vector,
			 action->a);
}

static void act(struct replay *p, const struct action *action)
{
	if (action->what != 'm' && p->rig.messages != p->messages)
		fail_msg("%s.trace:%u: a message before this line was not recorded", p->name,
			 action->line);
	switch (action->what) {
	case 'i':
		drive(p, action);
		break;
	case 'o':
		if (p->answers_count && p->rig.level[action->a] != (action->b != 0))
			fail_msg("%s.trace:%u: wire %" PRIu64 " is not %" PRIu64, p->name,
				 action->line, action->a, action->b);
		break;
	case 'a':
		acknowledge(p, action);
		break;
	case 'm':
		check_message(p, action);
		break;
	case 'e':
		irqs_eoi(p->rig.machine.irqs, (uint8_t)action->a);
		break;
	case 'z':
		assert_true(p->rig.ended && p->rig.ending.kind == END_RESET);
		break;
	case 'f':
	case 's':
		p->answers_count = action->what == 's';
		break;
	default:
		access_chip(p, action);
	}
}

static void repeat(struct replay *p, const struct action *action)
{
	size_t from = p->count - action->a;

	assert_true(action->a && action->a <= p->count);
	for (uint64_t n = 0; n < action->b; n++) {
		vtime_advance(p->rig.machine.time, action->c);
		for (size_t i = from; i < p->count; i++)
			act(p, &p->actions[i]);
	}
}

static void step(struct replay *p, const struct action *action)
{
	if (action->what == 't') {
		vtime_advance(p->rig.machine.time, action->a * NS_PER_US);
	} else if (action->what == 'x') {
		repeat(p, action);
	} else {
		act(p, action);
		vtime_advance(p->rig.machine.time, STEP_NS);
		assert_true(p->count < ACTIONS_MAX);
		p->actions[p->count++] = *action;
	}
}

/* A trace */

static void open_chip(struct replay *p, const char *text)
{
	char model[32];

	assert_int_equal(sscanf(text, "c %31s", model), 1);
	p->setup.options = "";
	for (size_t i = 0; i < ARRAY_SIZE(setups); i++)
		if (!strcmp(setups[i].model, model))
			p->setup = setups[i];
	p->dev = rig_device(&p->rig, "chip", model, p->setup.options);
	if (!p->dev)
		fail_msg("%s: %s", p->name, p->rig.err.text);
}

static void play(struct replay *p)
{
	char *path = golden_path("traces/%s.trace", p->name), *text = NULL;
	struct action action;
	unsigned int line = 0;
	size_t room = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (getline(&text, &room, f) > 0) {
		line++;
		if (*text == 'c')
			open_chip(p, text);
		else if (parse(p, text, line, &action))
			step(p, &action);
	}
	assert_int_equal(p->rig.messages, p->messages);
	fclose(f);
	free(text);
	free(path);
}

static void check_state(struct replay *p)
{
	char *path = golden_path("traces/%s.state", p->name), *is = NULL;
	size_t room = 0;
	FILE *f;

	f = open_memstream(&is, &room);
	assert_non_null(f);
	state_print(p->dev->class->state, device_state(p->dev), f, "");
	assert_int_equal(fclose(f), 0);
	golden_compare(path, is);
	free(is);
	free(path);
}

static void on_event(struct trace_tap *tap, const struct trace_record *record)
{
	lint_event(container_of(tap, struct replay, tap)->lint, record);
}

/* Where the chip answers otherwise than it did, a driver does what is wrong with this one. */
static void on_finding(void *arg, const struct lint_finding *finding)
{
	const struct replay *p = arg;
	char text[1024];

	if (!p->answers_count || p->compare == '?')
		return;
	lint_format(finding, 0, text, sizeof(text));
	fail_msg("%s.trace: %s", p->name, text);
}

/* The replay is what a processor does. */
static void listen(struct replay *p)
{
	const struct trace_options options = {.size = TRACE_SIZE_MIN};
	struct machine *m = &p->rig.machine;

	assert_int_equal(trace_create(&m->trace, &options, p->name, &p->rig.err), 0);
	assert_int_equal(lint_create(&p->lint, trace_header(m->trace), true, NULL, on_finding, p,
				     &p->rig.err),
			 0);
	p->tap.event = on_event;
	trace_add_tap(m->trace, &p->tap);
	trace_enter(trace_ring(m->trace, TRACE_VCPU, 0, "vcpu 0"));
	trace_start(m->trace);
}

static void listen_no_more(struct replay *p)
{
	struct machine *m = &p->rig.machine;

	trace_enter(NULL);
	lint_finish(p->lint, clock_now());
	lint_destroy(p->lint);
	trace_destroy(m->trace);
	m->trace = NULL;
}

static void replay(void **state)
{
	static struct replay p;

	p = (struct replay){.name = *state, .answers_count = true};
	rig_init(&p.rig, MIB(256));
	listen(&p);
	play(&p);
	must_survive_a_save(&p, 0);
	if (p.dev->class->state)
		check_state(&p);
	for (unsigned int i = 0; i < WIRES; i++)
		irq_detach(&p.in[i]);
	device_destroy(p.dev);
	listen_no_more(&p);
	rig_fini(&p.rig);
}

static int is_trace(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 6 && !strcmp(entry->d_name + len - 6, ".trace");
}

int main(void)
{
	static struct CMUnitTest tests[TRACES_MAX]; /* cmocka passes over those without a name */
	char *names[TRACES_MAX], *path = golden_path("traces/");
	struct dirent **entries;
	int n = scandir(path, &entries, is_trace, alphasort), ret;

	free(path);
	if (n <= 0 || n > TRACES_MAX) {
		fprintf(stderr, "golden: there are %d traces\n", n);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		names[i] = strndup(entries[i]->d_name, strlen(entries[i]->d_name) - 6);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = replay,
			.initial_state = names[i],
		};
		free(entries[i]);
	}
	free(entries);
	ret = cmocka_run_group_tests_name("golden", tests, NULL, NULL);
	for (int i = 0; i < n; i++)
		free(names[i]);
	return ret;
}
