/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller and its keyboard, by the AT and PS/2 technical references, and by what
 * Linux asks of them when it looks for them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/keyboard.h"
#include "skep/state.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/rig.h"

#define DATA    0x60
#define COMMAND 0x64

#define IRQ_KBD 1
#define IRQ_AUX 12

/* Status */
#define OBF     0x01
#define SYS     0x04
#define CMD     0x08
#define UNLOCK  0x10
#define AUX     0x20
#define TIMEOUT 0x40

struct bench {
	struct rig rig;
	struct device *dev;
	char dir[32];
	int client;
};

static void *start(const char *options)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->client = -1;
	rig_init(&b->rig, 0);
	b->dev = rig_device(&b->rig, "kbd", "i8042", options);
	if (!b->dev)
		fail_msg("%s", b->rig.err.text);
	return b;
}

static int set_up(void **state)
{
	*state = start("");
	return 0;
}

static void finish(struct bench *b)
{
	device_destroy(b->dev);
	assert_null(b->rig.machine.keyboard);
	assert_int_equal(rig_in8(&b->rig, DATA), 0xff);
	assert_int_equal(rig_in8(&b->rig, COMMAND), 0xff);
	rig_fini(&b->rig);
	if (b->client >= 0)
		close(b->client);
	if (*b->dir)
		assert_int_equal(rmdir(b->dir), 0); /* the socket is gone */
	free(b);
}

static int tear_down(void **state)
{
	finish(*state);
	return 0;
}

/* With a client on the socket that types into the keyboard. */
static int set_up_wired(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/skep-i8042-XXXXXX", options[160];
	struct bench *b;

	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	snprintf(options, sizeof(options), "backend=unix:%s", addr.sun_path);
	b = start(options);
	*state = b;
	snprintf(b->dir, sizeof(b->dir), "%s", dir);
	b->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(b->client >= 0);
	assert_int_equal(connect(b->client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	worker_sim_run(b->rig.machine.control, 1000);
	return 0;
}

static void command(struct bench *b, unsigned int v)
{
	rig_out8(&b->rig, COMMAND, (uint8_t)v);
}

static void data(struct bench *b, unsigned int v)
{
	rig_out8(&b->rig, DATA, (uint8_t)v);
}

static uint8_t status(struct bench *b)
{
	return rig_in8(&b->rig, COMMAND);
}

static uint8_t take(struct bench *b)
{
	assert_true(status(b) & OBF);
	return rig_in8(&b->rig, DATA);
}

static uint8_t ask(struct bench *b, unsigned int v)
{
	command(b, v);
	return take(b);
}

static void tell(struct bench *b, unsigned int v, unsigned int byte)
{
	command(b, v);
	data(b, byte);
}

/* Everything that comes until the buffer stays empty, in hexadecimal: "fa ab 41". */
static const char *rest(struct bench *b)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	while (status(b) & OBF) {
		assert_true(n + 4 < sizeof(text));
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%02x", n ? " " : "",
				      rig_in8(&b->rig, DATA));
	}
	return text;
}

static const char *keyboard(struct bench *b, unsigned int v)
{
	data(b, v);
	return rest(b);
}

/* Lets the keyboard, and whoever types, have a second. */
static void wait(struct bench *b)
{
	vtime_advance(b->rig.machine.time, NS_PER_S);
	worker_sim_run(b->rig.machine.control, 10000);
}

static void type(struct bench *b, const char *text)
{
	assert_int_equal(write(b->client, text, strlen(text)), (ssize_t)strlen(text));
	worker_sim_run(b->rig.machine.control, 10000);
}

static void reset(struct bench *b)
{
	device_lock(b->dev);
	b->dev->class->reset(b->dev);
	device_unlock(b->dev);
}

static int load(struct bench *b, const void *saved)
{
	int ret;

	device_lock(b->dev);
	memcpy(device_state(b->dev), saved, b->dev->class->state->size);
	ret = b->dev->class->loaded(b->dev, &b->rig.err);
	device_unlock(b->dev);
	return ret;
}

/* Controller */

static void powers_on(void **state)
{
	struct bench *b = *state;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(status(b), SYS | UNLOCK);
		assert_int_equal(ask(b, 0x20), 0x65);
		assert_int_equal(ask(b, 0xd0), 0xcf);
		assert_int_equal(status(b), SYS | CMD | UNLOCK);
		assert_false(b->rig.level[IRQ_KBD]);
		assert_false(b->rig.level[IRQ_AUX]);
		/* Disturb it, and reset. */
		tell(b, 0x60, 0x03);
		tell(b, 0xd1, 0xdd);
		tell(b, 0xd3, 0x77);
		data(b, 0xf0);
		command(b, 0xd1);
		assert_true(b->rig.level[IRQ_AUX]);
		reset(b);
	}
	assert_int_equal(bus_misses(b->rig.machine.ports), 0);
}

static void keeps_its_memory(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < 32; i++)
		tell(b, 0x60 + i, i ? 0x80 + i : 0x00);
	for (unsigned int i = 0; i < 32; i++)
		assert_int_equal(ask(b, 0x20 + i), i ? 0x80 + i : 0x00);
	/* The system flag shows in the status. */
	assert_int_equal(status(b) & SYS, 0);
	tell(b, 0x60, 0x04);
	assert_int_equal(status(b) & SYS, SYS);
	tell(b, 0x60, 0x00);
	assert_int_equal(ask(b, 0xaa), 0x55);
	assert_int_equal(status(b) & SYS, SYS);
	assert_int_equal(ask(b, 0x20), 0x04);
}

static void answers_its_commands(void **state)
{
	struct bench *b = *state;

	assert_int_equal(ask(b, 0xaa), 0x55);
	assert_int_equal(ask(b, 0xab), 0x00);
	assert_int_equal(ask(b, 0xa9), 0x00);
	assert_int_equal(ask(b, 0xa4), 0xf1);
	assert_int_equal(ask(b, 0xc0), 0xb0);
	assert_int_equal(ask(b, 0xe0), 0x03);
	command(b, 0xad);
	assert_int_equal(ask(b, 0x20), 0x75);
	assert_int_equal(ask(b, 0xe0), 0x02);
	command(b, 0xae);
	assert_int_equal(ask(b, 0x20), 0x65);
	command(b, 0xa8);
	assert_int_equal(ask(b, 0x20), 0x45);
	command(b, 0xa7);
	assert_int_equal(ask(b, 0x20), 0x65);
	/* What is no command gets no answer, and takes no data byte. */
	command(b, 0x00);
	command(b, 0xb7);
	command(b, 0xff);
	assert_int_equal(status(b) & OBF, 0);
	assert_string_equal(keyboard(b, 0xee), "ee");
	assert_false(b->rig.ended);
}

static void a_command_takes_one_byte(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x64);
	assert_int_equal(status(b) & CMD, 0);
	/* The second goes to the keyboard. */
	assert_string_equal(keyboard(b, 0xee), "ee");
	/* A command in between makes the controller forget the first. */
	command(b, 0x60);
	assert_int_equal(ask(b, 0x20), 0x64);
	assert_string_equal(keyboard(b, 0xee), "ee");
	assert_int_equal(ask(b, 0x20), 0x64);
}

static void has_the_gate_of_a20(void **state)
{
	struct bench *b = *state;

	tell(b, 0xd1, 0xdd);
	assert_int_equal(ask(b, 0xd0), 0xcd);
	/* As Linux's boot code opens it: D1h DFh, FFh. */
	tell(b, 0xd1, 0xdf);
	command(b, 0xff);
	assert_int_equal(ask(b, 0xd0), 0xcf);
	/* The port shows whose byte waits; the answer takes its place. */
	tell(b, 0xd2, 0x01);
	assert_int_equal(ask(b, 0xd0), 0xdf);
	tell(b, 0xd3, 0x01);
	assert_int_equal(ask(b, 0xd0), 0xef);
	assert_false(b->rig.ended);
}

static void resets_the_machine(void **state)
{
	struct bench *b = *state;

	for (unsigned int v = 0xf0; v <= 0xff; v++) {
		b->rig.ended = false;
		command(b, v);
		assert_int_equal(b->rig.ended, !(v & 1));
	}
	b->rig.ended = false;
	tell(b, 0xd1, 0xdf);
	assert_false(b->rig.ended);
	tell(b, 0xd1, 0xde);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
	assert_non_null(strstr(b->rig.ending.reason, "keyboard controller"));
}

static void has_an_auxiliary_port_with_nothing_in_it(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x47); /* both interrupts, both ports on */
	tell(b, 0xd3, 0x5a);
	assert_int_equal(status(b) & (OBF | AUX | TIMEOUT), OBF | AUX);
	assert_true(b->rig.level[IRQ_AUX]);
	assert_false(b->rig.level[IRQ_KBD]);
	assert_int_equal(take(b), 0x5a);
	assert_false(b->rig.level[IRQ_AUX]);
	assert_int_equal(status(b) & (OBF | AUX), 0);

	tell(b, 0xd4, 0xf2);
	assert_int_equal(status(b) & (OBF | AUX | TIMEOUT), OBF | AUX | TIMEOUT);
	assert_int_equal(b->rig.raised[IRQ_AUX], 2);
	assert_int_equal(take(b), 0xfe);
	assert_int_equal(status(b) & (OBF | AUX | TIMEOUT), 0);

	/* Sending turns the port on; without the interrupt the wire is quiet. */
	tell(b, 0x60, 0x65);
	tell(b, 0xd4, 0xff);
	assert_false(b->rig.level[IRQ_AUX]);
	assert_int_equal(take(b), 0xfe);
	assert_int_equal(ask(b, 0x20), 0x45);
}

static void interrupts_once_a_byte(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x25); /* not translated */
	data(b, 0xf2);
	assert_int_equal(b->rig.raised[IRQ_KBD], 1);
	assert_int_equal(take(b), 0xfa);
	assert_int_equal(b->rig.raised[IRQ_KBD], 2);
	assert_int_equal(take(b), 0xab);
	assert_int_equal(b->rig.raised[IRQ_KBD], 3);
	assert_true(b->rig.level[IRQ_KBD]);
	assert_int_equal(take(b), 0x83);
	assert_false(b->rig.level[IRQ_KBD]);
	/* An empty buffer holds what was read last. */
	assert_int_equal(rig_in8(&b->rig, DATA), 0x83);
	assert_int_equal(b->rig.raised[IRQ_KBD], 3);

	/* Bytes that the controller puts there count as the keyboard's. */
	tell(b, 0xd2, 0x1c);
	assert_true(b->rig.level[IRQ_KBD]);
	assert_int_equal(status(b) & (OBF | AUX), OBF);
	/* Disabled, the line falls; enabled, it rises, for the byte is still there. */
	tell(b, 0x60, 0x24);
	assert_false(b->rig.level[IRQ_KBD]);
	tell(b, 0x60, 0x25);
	assert_true(b->rig.level[IRQ_KBD]);
	assert_int_equal(take(b), 0x1c);
	assert_false(b->rig.level[IRQ_KBD]);
}

static void an_answer_displaces_a_byte_and_loses_none(void **state)
{
	struct bench *b = *state;

	data(b, 0xf2);
	assert_int_equal(ask(b, 0x20), 0x65); /* in front of FAh */
	assert_string_equal(rest(b), "fa ab 41");
	data(b, 0xf2);
	command(b, 0xaa);
	command(b, 0xab); /* an answer that nobody read is lost */
	assert_string_equal(rest(b), "00 fa ab 41");
	data(b, 0xf2);
	assert_int_equal(take(b), 0xfa);
	tell(b, 0xd3, 0x5a);
	assert_int_equal(status(b) & AUX, AUX);
	assert_string_equal(rest(b), "5a ab 41");
}

static void a_disabled_keyboard_waits(void **state)
{
	struct bench *b = *state;

	data(b, 0xf2);
	assert_int_equal(take(b), 0xfa);
	command(b, 0xad);
	/* The controller has this one already; the next has to wait. */
	assert_int_equal(take(b), 0xab);
	assert_int_equal(status(b) & OBF, 0);
	command(b, 0xae);
	assert_int_equal(take(b), 0x41);
	/* Talking to it gives it the clock back. */
	command(b, 0xad);
	assert_string_equal(keyboard(b, 0xee), "ee");
	assert_int_equal(ask(b, 0x20), 0x65);
}

/* Keyboard */

static void the_keyboard_answers(void **state)
{
	static const struct {
		uint8_t command;
		const char *plain, *translated;
	} trials[] = {
		{0xee, "ee", "ee"}, {0xf2, "fa ab 83", "fa ab 41"},
		{0xf4, "fa", "fa"}, {0xf5, "fa", "fa"},
		{0xf6, "fa", "fa"}, {0xff, "fa aa", "fa aa"},
		{0x00, "fe", "fe"}, /* not commands */
		{0xec, "fe", "fe"}, {0xef, "fe", "fe"},
		{0xf1, "fe", "fe"}, {0xf7, "fe", "fe"}, /* of set 3 */
		{0xfa, "fe", "fe"}, {0xfd, "fe", "fe"},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		tell(b, 0x60, 0x25);
		assert_string_equal(keyboard(b, trials[i].command), trials[i].plain);
		tell(b, 0x60, 0x65);
		assert_string_equal(keyboard(b, trials[i].command), trials[i].translated);
	}
}

static void the_keyboard_takes_parameters(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x25);
	assert_string_equal(keyboard(b, 0xed), "fa");
	assert_string_equal(keyboard(b, 0x07), "fa");
	assert_string_equal(keyboard(b, 0xf3), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa");
	/* Bit 7 of the rate is 0: it asks for another, and takes it. */
	assert_string_equal(keyboard(b, 0xf3), "fa");
	assert_string_equal(keyboard(b, 0x80), "fe");
	assert_string_equal(keyboard(b, 0x7f), "fa");
	/* A command takes the place of the parameter. */
	assert_string_equal(keyboard(b, 0xed), "fa");
	assert_string_equal(keyboard(b, 0xf2), "fa ab 83");
	assert_string_equal(keyboard(b, 0x02), "fe");
	assert_string_equal(keyboard(b, 0xed), "fa");
	assert_string_equal(keyboard(b, 0xf3), "fa");
	assert_string_equal(keyboard(b, 0x20), "fa");
}

static void the_keyboard_has_two_sets(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x25);
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa 02");
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x01), "fa");
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa 01");
	/* There is no set 3: it stays with what it had. */
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x03), "fe");
	assert_string_equal(keyboard(b, 0x00), "fa 01");
	/* Defaults bring set 2 back; translated, it says 41h. */
	assert_string_equal(keyboard(b, 0xf6), "fa");
	tell(b, 0x60, 0x65);
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa 41");
}

static void the_keyboard_repeats_itself(void **state)
{
	struct bench *b = *state;

	assert_string_equal(keyboard(b, 0xfe), "aa"); /* of its power-on test */
	assert_string_equal(keyboard(b, 0xf2), "fa ab 41");
	assert_string_equal(keyboard(b, 0xfe), "41");
	assert_string_equal(keyboard(b, 0xfe), "41");
	assert_string_equal(keyboard(b, 0xee), "ee");
	assert_string_equal(keyboard(b, 0xfe), "ee");
}

static void a_command_gives_up_the_answer_before(void **state)
{
	struct bench *b = *state;

	/* Nobody reads: what is in the controller stays, and the last answer. */
	for (int i = 0; i < 1000; i++)
		data(b, 0xf2);
	data(b, 0xff);
	assert_string_equal(rest(b), "fa fa aa");
}

/* Typing */

/* Of set 1, by its own description: rows of keys in order, where 01 is Esc. */
static unsigned int set1_of(char c)
{
	static const char *const rows[] = {
		"\x02"
		"1234567890-=\b\tqwertyuiop[]\n",
		"\x1e"
		"asdfghjkl;'`",
		"\x2b"
		"\\zxcvbnm,./",
		"\x39"
		" ",
		"\x01"
		"\x1b",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *at = strchr(rows[i] + 1, c);

		if (at)
			return (uint8_t)rows[i][0] + (unsigned int)(at - rows[i] - 1);
	}
	fail_msg("no key gives %02x", (uint8_t)c);
	return 0;
}

static void every_key_translates(void **state)
{
	static const char plain[] = "`1234567890-=qwertyuiop[]\\asdfghjkl;'zxcvbnm,./ \n\t\b\x1b";
	static const char shifted[] = "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"ZXCVBNM<>?";
	struct bench *b = *state;
	char expected[64], key[2] = "";

	for (size_t i = 0; plain[i]; i++) {
		unsigned int code = set1_of(plain[i]);

		key[0] = plain[i];
		type(b, key);
		snprintf(expected, sizeof(expected), "%02x %02x", code, code | 0x80);
		assert_string_equal(rest(b), expected);
		wait(b);
		if (i >= strlen(shifted))
			continue;
		key[0] = shifted[i];
		type(b, key);
		snprintf(expected, sizeof(expected), "2a %02x %02x aa", code, code | 0x80);
		assert_string_equal(rest(b), expected);
		wait(b);
	}
	/* Control. */
	type(b, "\x03");
	assert_string_equal(rest(b), "1d 2e ae 9d");
	wait(b);
	type(b, "\x1f");
	assert_string_equal(rest(b), "1d 2a 0c 8c aa 9d");
	wait(b);
	/* Delete is Backspace, a carriage return Enter; what no key gives is passed over. */
	type(b, "\x7f\xc3\xa4\r");
	assert_string_equal(rest(b), "0e 8e");
	wait(b);
	assert_string_equal(rest(b), "1c 9c");
}

static void both_sets_are_typed(void **state)
{
	struct bench *b = *state;

	tell(b, 0x60, 0x25);
	type(b, "A");
	assert_string_equal(rest(b), "12 1c f0 1c f0 12");
	wait(b);
	assert_string_equal(keyboard(b, 0xf0), "fa");
	assert_string_equal(keyboard(b, 0x01), "fa");
	type(b, "A");
	assert_string_equal(rest(b), "2a 1e 9e aa");
	wait(b);
	/* Set 1 under translation is nobody's, but is what the parts would do. */
	tell(b, 0x60, 0x65);
	type(b, "q");
	assert_string_equal(rest(b), "65 90");
}

static void keys_come_at_a_pace(void **state)
{
	struct bench *b = *state;

	type(b, "abc");
	assert_string_equal(rest(b), "1e 9e");
	vtime_advance(b->rig.machine.time, 4 * NS_PER_MS);
	worker_sim_run(b->rig.machine.control, 1000);
	assert_string_equal(rest(b), "");
	vtime_advance(b->rig.machine.time, NS_PER_MS);
	worker_sim_run(b->rig.machine.control, 1000);
	assert_string_equal(rest(b), "30 b0");
	wait(b);
	assert_string_equal(rest(b), "2e ae");
	wait(b);
	assert_string_equal(rest(b), "");
}

static void the_host_waits_for_room(void **state)
{
	struct bench *b = *state;
	char out[1024] = "";

	type(b, "the quick brown fox");
	/* Nobody reads: the FIFO fills, and no more. */
	for (int i = 0; i < 50; i++)
		wait(b);
	for (int i = 0; i < 50; i++) {
		strcat(strcat(out, rest(b)), " ");
		wait(b);
	}
	/* All of it comes, and in order. */
	for (const char *p = "the quick brown fox", *at = out; *p; p++) {
		char expected[16];

		snprintf(expected, sizeof(expected), "%02x %02x ", set1_of(*p), set1_of(*p) | 0x80);
		at = strstr(at, expected);
		if (!at)
			fail_msg("'%c' is missing from %s", *p, out);
		at += 6;
	}
	assert_int_equal(strspn(out + 19 * 6, " "), strlen(out + 19 * 6));
}

static void a_keyboard_that_does_not_scan_is_not_typed_on(void **state)
{
	struct bench *b = *state;

	assert_string_equal(keyboard(b, 0xf5), "fa");
	type(b, "x");
	wait(b);
	assert_string_equal(rest(b), "");
	assert_string_equal(keyboard(b, 0xf4), "fa");
	wait(b);
	assert_string_equal(rest(b), "2d ad");
	/* A reset makes it scan again. */
	assert_string_equal(keyboard(b, 0xf5), "fa");
	assert_string_equal(keyboard(b, 0xff), "fa aa");
	type(b, "x");
	wait(b);
	assert_string_equal(rest(b), "2d ad");
}

static void a_key_and_a_question_do_not_mix(void **state)
{
	struct bench *b = *state;

	type(b, "x");
	assert_int_equal(ask(b, 0x20), 0x65);
	assert_string_equal(rest(b), "2d ad");
	wait(b);
	/* Commands that empty the FIFO leave what the controller has. */
	type(b, "x");
	data(b, 0xf4);
	assert_string_equal(rest(b), "2d fa");
	wait(b);
	/* The controller has seen the F0h of the release when it is turned off. */
	type(b, "x");
	assert_int_equal(take(b), 0x2d);
	command(b, 0xad);
	assert_int_equal(take(b), 0xad);
	assert_int_equal(status(b) & OBF, 0);
}

/* By the door of machine.keyboard. */
static bool strike(struct bench *b, unsigned int key, unsigned int with)
{
	struct keyboard *door = b->rig.machine.keyboard;
	bool taken;

	device_lock(door->dev);
	taken = door->strike(door->dev, (struct stroke){(uint16_t)key, (uint8_t)with});
	device_unlock(door->dev);
	return taken;
}

static void every_stroke_has_its_codes(void **state)
{
	static const struct {
		unsigned int key, with;
		const char *set1, *set2;
	} trials[] = {
		{'a', 0, "1e 9e", "1c f0 1c"},
		{'A', 0, "2a 1e 9e aa", "12 1c f0 1c f0 12"},
		{0x03, 0, "1d 2e ae 9d", "14 21 f0 21 f0 14"},
		{'x', STROKE_ALT, "38 2d ad b8", "11 22 f0 22 f0 11"},
		{'\t', STROKE_SHIFT, "2a 0f 8f aa", "12 0d f0 0d f0 12"},
		{0x1b, 0, "01 81", "76 f0 76"},
		{STROKE_UP, 0, "e0 48 e0 c8", "e0 75 e0 f0 75"},
		{STROKE_DOWN, 0, "e0 50 e0 d0", "e0 72 e0 f0 72"},
		{STROKE_LEFT, 0, "e0 4b e0 cb", "e0 6b e0 f0 6b"},
		{STROKE_RIGHT, 0, "e0 4d e0 cd", "e0 74 e0 f0 74"},
		{STROKE_HOME, 0, "e0 47 e0 c7", "e0 6c e0 f0 6c"},
		{STROKE_END, 0, "e0 4f e0 cf", "e0 69 e0 f0 69"},
		{STROKE_PAGE_UP, 0, "e0 49 e0 c9", "e0 7d e0 f0 7d"},
		{STROKE_PAGE_DOWN, 0, "e0 51 e0 d1", "e0 7a e0 f0 7a"},
		{STROKE_INSERT, 0, "e0 52 e0 d2", "e0 70 e0 f0 70"},
		{STROKE_DELETE, 0, "e0 53 e0 d3", "e0 71 e0 f0 71"},
		{STROKE_F1, 0, "3b bb", "05 f0 05"},
		{STROKE_F1 + 1, 0, "3c bc", "06 f0 06"},
		{STROKE_F1 + 2, 0, "3d bd", "04 f0 04"},
		{STROKE_F1 + 3, 0, "3e be", "0c f0 0c"},
		{STROKE_F1 + 4, 0, "3f bf", "03 f0 03"},
		{STROKE_F1 + 5, 0, "40 c0", "0b f0 0b"},
		{STROKE_F1 + 6, 0, "41 c1", "83 f0 83"},
		{STROKE_F1 + 7, 0, "42 c2", "0a f0 0a"},
		{STROKE_F1 + 8, 0, "43 c3", "01 f0 01"},
		{STROKE_F1 + 9, 0, "44 c4", "09 f0 09"},
		{STROKE_F1 + 10, 0, "57 d7", "78 f0 78"},
		{STROKE_F12, 0, "58 d8", "07 f0 07"},
		{STROKE_DELETE, STROKE_CTRL | STROKE_ALT | STROKE_SHIFT,
		 "1d 38 2a e0 53 e0 d3 aa b8 9d", "14 11 12 e0 71 e0 f0 71 f0 12 f0 11 f0 14"},
		/* No key gives these. */
		{0xe4, 0, "", ""},
		{STROKE_LAST + 1, 0, "", ""},
		{0xffff, 0xff, "", ""},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		assert_true(strike(b, trials[i].key, trials[i].with));
		assert_string_equal(rest(b), trials[i].set1);
		wait(b);
		tell(b, 0x60, 0x05); /* without translation */
		assert_true(strike(b, trials[i].key, trials[i].with));
		assert_string_equal(rest(b), trials[i].set2);
		wait(b);
		tell(b, 0x60, 0x45);
	}
	keyboard(b, 0xf0); /* the keyboard's own set 1 */
	keyboard(b, 0x01);
	tell(b, 0x60, 0x05);
	assert_true(strike(b, STROKE_F12, STROKE_CTRL));
	assert_string_equal(rest(b), "1d 58 d8 9d");
	wait(b);
	assert_true(strike(b, STROKE_UP, 0));
	assert_string_equal(rest(b), "e0 48 e0 c8");
}

static unsigned int rooms;

static void on_room(struct post *post)
{
	(void)post;
	rooms++;
}

static void a_stroke_waits_for_room(void **state)
{
	struct bench *b = *state;
	struct post room = {.fn = on_room};

	rooms = 0;
	assert_true(strike(b, STROKE_UP, STROKE_ALT));
	assert_false(strike(b, STROKE_UP, STROKE_ALT)); /* too soon */
	wait(b);
	assert_true(strike(b, STROKE_UP, STROKE_ALT));
	wait(b);
	assert_false(strike(b, STROKE_UP, STROKE_ALT)); /* too many */
	b->rig.machine.keyboard->room = &room;
	wait(b);
	assert_int_equal(rooms, 0);
	assert_string_equal(rest(b), "38 e0 48 e0 c8 b8 38 e0 48 e0 c8 b8");
	wait(b);
	assert_int_equal(rooms, 1);
	assert_null(b->rig.machine.keyboard->room);
	assert_true(strike(b, STROKE_UP, STROKE_ALT));
	rest(b);
	wait(b);
	assert_int_equal(rooms, 1);
	assert_string_equal(keyboard(b, 0xf5), "fa");
	assert_false(strike(b, 'a', 0)); /* it does not scan */
}

static void types_its_text(void **state)
{
	struct bench *b = start("type=a\\nB\\\\");

	(void)state;
	for (int round = 0; round < 2; round++) {
		wait(b);
		assert_string_equal(rest(b), ""); /* nobody listens yet */
		assert_string_equal(keyboard(b, 0xff), "fa aa");
		wait(b);
		assert_string_equal(rest(b), "");
		data(b, 0xf4);
		assert_string_equal(rest(b), "fa 1e 9e");
		vtime_advance(b->rig.machine.time, 5 * NS_PER_MS);
		assert_string_equal(rest(b), "1c 9c");
		/* A pause of the driver's. */
		data(b, 0xf5);
		assert_string_equal(rest(b), "fa");
		wait(b);
		assert_string_equal(rest(b), "");
		data(b, 0xf4);
		assert_string_equal(rest(b), "fa 2a 30 b0 aa");
		wait(b);
		assert_string_equal(rest(b), "2b ab");
		wait(b);
		assert_string_equal(keyboard(b, 0xf4), "fa"); /* once */
		wait(b);
		assert_string_equal(rest(b), "");
		reset(b); /* and once more for the next system */
	}
	finish(b);
}

/* What Linux 6.1 does: drivers/input/serio/i8042.c, drivers/input/keyboard/atkbd.c. */

/* i8042_flush(): how many bytes there were; 16 is a missing controller. */
static unsigned int linux_flush(struct bench *b)
{
	unsigned int n = 0;

	while ((status(b) & OBF) && n < 16) {
		rig_in8(&b->rig, DATA);
		n++;
	}
	return n;
}

static void linux_wctr(struct bench *b, uint8_t ctr)
{
	assert_int_equal(status(b) & 0x02, 0); /* the input buffer is empty */
	tell(b, 0x60, ctr);
}

/* i8042_command() with AUX_LOOP, which wants the byte marked. */
static uint8_t linux_loop(struct bench *b, uint8_t v)
{
	tell(b, 0xd3, v);
	assert_int_equal(status(b) & (OBF | AUX), OBF | AUX);
	return take(b);
}

static void linux_finds_the_auxiliary_port(struct bench *b)
{
	assert_int_equal(linux_flush(b), 0);
	assert_int_equal(linux_loop(b, 0x5a), 0x5a);
	/* i8042_toggle_aux() */
	command(b, 0xa7);
	assert_int_equal(ask(b, 0x20), 0x74);
	command(b, 0xa8);
	assert_int_equal(ask(b, 0x20), 0x54);
	/* Its interrupt is delivered. */
	linux_wctr(b, 0x56);
	tell(b, 0xd3, 0xa5);
	assert_int_equal(b->rig.raised[IRQ_AUX], 1);
	assert_int_equal(status(b) & (OBF | AUX), OBF | AUX);
	assert_int_equal(take(b), 0xa5);
	linux_wctr(b, 0x74);
	/* i8042_set_mux_mode(): three echoes are a controller without multiplexing. */
	assert_int_equal(linux_loop(b, 0xf0), 0xf0);
	assert_int_equal(linux_loop(b, 0x56), 0x56);
	assert_int_equal(linux_loop(b, 0xa4), 0xa4);
	linux_wctr(b, 0x56);
	/* psmouse asks who is there. */
	tell(b, 0xd4, 0xf2);
	assert_int_equal(status(b) & (OBF | AUX | TIMEOUT), OBF | AUX | TIMEOUT);
	assert_int_equal(b->rig.raised[IRQ_AUX], 2);
	assert_int_equal(take(b), 0xfe);
	linux_wctr(b, 0x74);
}

static void linux_finds_it(void **state)
{
	struct bench *b = *state;
	uint8_t ctr;

	type(b, "typed while the system boots");
	wait(b);

	/* i8042_controller_check(), _selftest(), _init() */
	assert_in_range(linux_flush(b), 1, 15);
	assert_int_equal(ask(b, 0xaa), 0x55);
	ctr = ask(b, 0x20);
	assert_int_equal(ask(b, 0x20), ctr);
	assert_int_equal(ctr, 0x65);
	assert_int_equal(status(b) & UNLOCK, UNLOCK);
	linux_wctr(b, (ctr | 0x10) & 0xfe);
	linux_flush(b);
	b->rig.raised[IRQ_KBD] = 0;
	linux_finds_the_auxiliary_port(b);
	assert_int_equal(b->rig.raised[IRQ_KBD], 0);

	/* i8042_enable_kbd_port(); the typist has been at it meanwhile. */
	linux_wctr(b, 0x65);
	linux_flush(b);
	/* atkbd_probe(): who it is, and quiet; atkbd_activate(): LEDs, rate, enable. */
	assert_string_equal(keyboard(b, 0xf2), "fa ab 41");
	assert_string_equal(keyboard(b, 0xf5), "fa");
	assert_string_equal(keyboard(b, 0xed), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa");
	assert_string_equal(keyboard(b, 0xf3), "fa");
	assert_string_equal(keyboard(b, 0x00), "fa");
	data(b, 0xf4);
	assert_int_equal(take(b), 0xfa);
	wait(b);
	assert_true(b->rig.level[IRQ_KBD]);

	/* i8042_controller_reset(), and the restart. */
	linux_flush(b);
	linux_wctr(b, 0x74);
	linux_wctr(b, 0x65);
	assert_false(b->rig.ended);
	command(b, 0xfe);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
}

static void acpi_names_it(void **state)
{
	/* clang-format off */
	static const uint8_t expected[] = {
		0x5b, 0x82, 0x2d, 'K', 'B', 'D', '_',		/* Device (KBD_) */
		0x08, '_', 'H', 'I', 'D',			/* Name (_HID, EisaId ("PNP0303")) */
		0x0c, 0x41, 0xd0, 0x03, 0x03,
		0x08, '_', 'C', 'R', 'S',
		0x11, 0x18, 0x0a, 0x15,
		0x47, 0x01, 0x60, 0x00, 0x60, 0x00, 0x01, 0x01,	/* IO (Decode16, 0x60, 0x60, 1, 1) */
		0x47, 0x01, 0x64, 0x00, 0x64, 0x00, 0x01, 0x01,	/* IO (Decode16, 0x64, 0x64, 1, 1) */
		0x22, 0x02, 0x00,				/* IRQNoFlags () {1} */
		0x79, 0x00,
		0x5b, 0x82, 0x1d, 'M', 'O', 'U', '_',		/* Device (MOU_) */
		0x08, '_', 'H', 'I', 'D',			/* Name (_HID, EisaId ("PNP0F13")) */
		0x0c, 0x41, 0xd0, 0x0f, 0x13,
		0x08, '_', 'C', 'R', 'S',
		0x11, 0x08, 0x0a, 0x05,
		0x22, 0x00, 0x10,				/* IRQNoFlags () {12} */
		0x79, 0x00,
	};
	/* clang-format on */
	struct bench *b = *state;
	uint8_t buf[128];
	struct aml aml;

	aml_init(&aml, buf, sizeof(buf));
	b->dev->class->describe(b->dev, &aml);
	assert_int_equal(aml_finish(&aml), sizeof(expected));
	assert_memory_equal(buf, expected, sizeof(expected));
	/* A second one fails, and takes nothing of the first with it. */
	assert_null(rig_device(&b->rig, "two", "i8042", ""));
	assert_int_equal(ask(b, 0xaa), 0x55);
}

/* State */

static void what_is_loaded_was_saved(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->dev->class->state;
	uint8_t saved[128], broken[128];
	unsigned int refused = 0;

	assert_true(t->size <= sizeof(saved));
	type(b, "Ab");
	command(b, 0xaa);
	data(b, 0xed);
	memcpy(saved, device_state(b->dev), t->size);
	reset(b);
	assert_false(b->rig.level[IRQ_KBD]);
	assert_int_equal(load(b, saved), 0);
	assert_null(state_compare(t, saved, device_state(b->dev)));
	assert_true(b->rig.level[IRQ_KBD]);
	assert_string_equal(rest(b), "55 2a fa 1e 9e aa");
	assert_string_equal(keyboard(b, 0x02), "fa"); /* the LEDs */
	wait(b);
	assert_string_equal(rest(b), "30 b0");

	for (uint64_t seed = 1; seed < 2000; seed++) {
		memcpy(broken, saved, t->size);
		state_mutate(t, broken, seed);
		if (load(b, broken)) {
			assert_non_null(strstr(b->rig.err.text, "kbd: "));
			refused++;
		} else {
			rest(b);
			wait(b);
		}
		assert_int_equal(load(b, saved), 0);
	}
	assert_true(refused > 0);
}

static void a_position_behind_the_text_is_refused(void **state)
{
	struct bench *b = start("type=abc"), *other = start("type=a");
	uint8_t saved[128];

	(void)state;
	data(b, 0xf4);
	for (int i = 0; i < 5; i++) {
		rest(b);
		wait(b);
	}
	memcpy(saved, device_state(b->dev), b->dev->class->state->size);
	assert_int_equal(load(b, saved), 0);
	assert_int_equal(load(other, saved), -EPROTO);
	assert_non_null(strstr(other->rig.err.text, "3 bytes of the text"));
	reset(other);
	finish(b);
	finish(other);
}

/* Anything at all, of any size: it ends in a state that it can be in, and loads as it was. */
static void takes_any_access(void **state)
{
	static const unsigned int sizes[] = {1, 1, 1, 2, 4, 8};
	struct bench *b = *state;
	const struct state_table *t = b->dev->class->state;
	uint64_t x = 0x2545f4914f6cdd1d;
	uint8_t saved[128];

	for (unsigned int i = 0; i < 60000; i++) {
		uint64_t at;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		at = x >> 8 & 1 ? DATA : COMMAND;
		if (!(x >> 9 & 7))
			at = 0x5c + (x >> 12) % 12;
		if (x >> 16 & 1)
			bus_write(b->rig.machine.ports, at, sizes[(x >> 20) % 6], x >> 32);
		else
			bus_read(b->rig.machine.ports, at, sizes[(x >> 20) % 6]);
		if (i % 50 == 0) /* as long as the socket takes it */
			assert_true(write(b->client, "aB\x01\\", 4) != 0);
		if (i % 20 == 0)
			wait(b);
		if (i % 100)
			continue;
		memcpy(saved, device_state(b->dev), t->size);
		if (load(b, saved))
			fail_msg("after %u accesses: %s", i, b->rig.err.text);
		assert_null(state_compare(t, saved, device_state(b->dev)));
	}
	/* It is still the part it was. */
	reset(b);
	rest(b);
	assert_int_equal(ask(b, 0xaa), 0x55);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(powers_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_its_memory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(answers_its_commands, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_command_takes_one_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(has_the_gate_of_a20, set_up, tear_down),
		cmocka_unit_test_setup_teardown(resets_the_machine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(has_an_auxiliary_port_with_nothing_in_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(interrupts_once_a_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_displaces_a_byte_and_loses_none, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_disabled_keyboard_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_keyboard_answers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_keyboard_takes_parameters, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_keyboard_has_two_sets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_keyboard_repeats_itself, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_command_gives_up_the_answer_before, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(every_key_translates, set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(both_sets_are_typed, set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(keys_come_at_a_pace, set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(the_host_waits_for_room, set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(a_keyboard_that_does_not_scan_is_not_typed_on,
						set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(a_key_and_a_question_do_not_mix, set_up_wired,
						tear_down),
		cmocka_unit_test_setup_teardown(every_stroke_has_its_codes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stroke_waits_for_room, set_up, tear_down),
		cmocka_unit_test(types_its_text),
		cmocka_unit_test_setup_teardown(linux_finds_it, set_up_wired, tear_down),
		cmocka_unit_test_setup_teardown(acpi_names_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_loaded_was_saved, set_up_wired, tear_down),
		cmocka_unit_test(a_position_behind_the_text_is_refused),
		cmocka_unit_test_setup_teardown(takes_any_access, set_up_wired, tear_down),
	};

	return cmocka_run_group_tests_name("i8042", tests, NULL, NULL);
}
