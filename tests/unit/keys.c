/* SPDX-License-Identifier: BSD-2-Clause */
/* What terminals send, as the keys that were struck. */
#include <stdio.h>
#include <string.h>

#include "../../src/io/keys.h"
#include "skep/bits.h"
#include "support/cm.h"

static void name(char *to, size_t room, struct stroke s)
{
	static const char *const others[] = {
		"up", "down", "left", "right", "home", "end", "pgup", "pgdn", "ins", "del", "f1",
		"f2", "f3",   "f4",   "f5",    "f6",   "f7",  "f8",   "f9",   "f10", "f11", "f12",
	};
	char key[8];

	if (s.key >= STROKE_UP) {
		assert_in_range(s.key, STROKE_UP, STROKE_LAST);
		snprintf(key, sizeof(key), "%s", others[s.key - STROKE_UP]);
	} else if (s.key > ' ' && s.key < 0x7f) {
		snprintf(key, sizeof(key), "%c", s.key);
	} else {
		snprintf(key, sizeof(key), "%02x", s.key);
	}
	snprintf(to, room, "%s%s%s%s ", s.with & STROKE_CTRL ? "C-" : "",
		 s.with & STROKE_ALT ? "A-" : "", s.with & STROKE_SHIFT ? "S-" : "", key);
}

/* The strokes that @bytes are, with a pause at their end; '~' in front says that it mattered. */
static void assert_keys(const char *bytes, const char *want)
{
	struct keys k = {.state = KEYS_PLAIN};
	char got[256] = "";
	struct stroke s;
	bool waited;

	for (const char *p = bytes; *p; p++)
		if (keys_take(&k, (uint8_t)*p, &s))
			name(got + strlen(got), sizeof(got) - strlen(got), s);
	waited = keys_waiting(&k);
	if (keys_expire(&k, &s)) {
		assert_true(waited);
		strcat(got, "~");
		name(got + strlen(got), sizeof(got) - strlen(got), s);
	}
	assert_false(keys_waiting(&k));
	assert_string_equal(got, want);
	/* Nothing is left over. */
	assert_true(keys_take(&k, 'x', &s));
	assert_int_equal(s.key, 'x');
	assert_int_equal(s.with, 0);
}

static void characters(void **state)
{
	(void)state;
	assert_keys("ls -l\r", "l s 20 - l 0d ");
	assert_keys("\003\004\032\t\177\010", "03 04 1a 09 7f 08 ");
	assert_keys("caf\xc3\xa9!", "c a f ! ");
}

static void other_keys(void **state)
{
	static const struct {
		const char *bytes, *want;
	} trials[] = {
		{"\033[A", "up "},
		{"\033[B", "down "},
		{"\033[C", "right "},
		{"\033[D", "left "},
		{"\033OA", "up "},
		{"\033OD", "left "},
		{"\033[H", "home "},
		{"\033[F", "end "},
		{"\033OH", "home "},
		{"\033OF", "end "},
		{"\033[1~", "home "},
		{"\033[4~", "end "},
		{"\033[7~", "home "},
		{"\033[8~", "end "},
		{"\033[2~", "ins "},
		{"\033[3~", "del "},
		{"\033[5~", "pgup "},
		{"\033[6~", "pgdn "},
		{"\033OP", "f1 "},
		{"\033OQ", "f2 "},
		{"\033OR", "f3 "},
		{"\033OS", "f4 "},
		{"\033[11~", "f1 "},
		{"\033[14~", "f4 "},
		{"\033[15~", "f5 "},
		{"\033[17~", "f6 "},
		{"\033[18~", "f7 "},
		{"\033[19~", "f8 "},
		{"\033[20~", "f9 "},
		{"\033[21~", "f10 "},
		{"\033[23~", "f11 "},
		{"\033[24~", "f12 "},
		{"\033[[A", "f1 "},
		{"\033[[E", "f5 "},
		{"\033[Z", "S-09 "},
		{"\033[1;2A", "S-up "},
		{"\033[1;3D", "A-left "},
		{"\033[1;5C", "C-right "},
		{"\033[1;8H", "C-A-S-home "},
		{"\033[3;5~", "C-del "},
		{"\033[24;2~", "S-f12 "},
		{"\033[1;2P", "S-f1 "},
		{"\033[1;9A", "A-up "},
		{"\033[A\033[B", "up down "},
		{"a\033[Cb", "a right b "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++)
		assert_keys(trials[i].bytes, trials[i].want);
}

static void escape_and_alt(void **state)
{
	(void)state;
	assert_keys("\033", "~1b ");
	assert_keys("\033\033", "1b ~1b ");
	assert_keys("\033x", "A-x ");
	assert_keys("\033X", "A-X ");
	assert_keys("\033\r", "A-0d ");
	assert_keys("\033\001", "A-01 ");
	assert_keys("\033[", "~A-[ ");
	assert_keys("\033O", "~A-O ");
	assert_keys("\033\033[A", "1b up ");
	assert_keys("\033\xc3\xa9", "1b ");
}

static void what_is_no_key_is_nothing(void **state)
{
	static const char *const trials[] = {
		"\033[?1;2c",     "\033[200~", "\033[16~",   "\033[0~",           "\033[~",
		"\033[99999999~", "\033[M",    "\033[1;2X",  "\033[1;5",          "\033[12",
		"\033[<0;10;10m", "\033[ q",   "\033OZ\033", "\033[1;2;3;4;5;6R", "\033O1",
		"\033[[F\033[[",  "\033[=1h",  "\033[2 ~",
	};
	struct keys k = {.state = KEYS_PLAIN};
	struct stroke s;

	(void)state;
	assert_keys("\033[200~", "");
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		for (const char *p = trials[i]; *p; p++)
			if (keys_take(&k, (uint8_t)*p, &s))
				assert_int_not_equal(s.key, 0);
		keys_expire(&k, &s);
	}
	/* One broken off by another, or by a control character. */
	assert_keys("\033[1\033[A", "up ");
	assert_keys("\033[1\rb", "0d b ");
	assert_keys("\033[[z", "z ");
}

static void any_bytes(void **state)
{
	struct keys k = {.state = KEYS_PLAIN};
	uint32_t draw = 7;
	struct stroke s;
	uint8_t byte;

	(void)state;
	for (unsigned int i = 0; i < 200000; i++) {
		draw = draw * 1664525 + 1013904223;
		byte = (uint8_t)(draw >> 8);
		if (draw >> 30)
			byte = (uint8_t) "\033[O1;~A"[draw >> 16 & 7];
		if (!keys_take(&k, byte, &s))
			continue;
		assert_true(s.key < 0x80 || (s.key >= STROKE_UP && s.key <= STROKE_LAST));
		assert_int_equal(s.with & ~(STROKE_SHIFT | STROKE_ALT | STROKE_CTRL), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters),     cmocka_unit_test(other_keys),
		cmocka_unit_test(escape_and_alt), cmocka_unit_test(what_is_no_key_is_nothing),
		cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
