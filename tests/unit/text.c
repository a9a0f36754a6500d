/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers and hostile bytes for people's eyes. */
#include "skep/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"

static void sizes_are_short(void **state)
{
	(void)state;
	assert_string_equal(size_text(1).s, "1 byte");
	assert_string_equal(size_text(1000).s, "1000 bytes");
	assert_string_equal(size_text(MIB(512)).s, "512 MiB");
	assert_string_equal(size_text(GIB(1) + MIB(512)).s, "1.5 GiB");
}

static void what_may_be_shown_is_shown(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *text;
	} cases[] = {
#define CASE(bytes, text) {bytes, sizeof(bytes) - 1, text}
		CASE("plain text\n\tand more", "plain text\n\tand more"),
		CASE("two\r\nlines\r\r\n", "two\nlines\n"),
		CASE("over\rwritten", "over\\x0dwritten"),
		CASE("at the end\r", "at the end\\x0d"),
		CASE("\x1b[2J\x1b]0;title\a", "\\x1b[2J\\x1b]0;title\\x07"),
		CASE("a\0b", "a\\x00b"),
		CASE("\x7f", "\\x7f"),
		CASE("gr\xc3\xbc\xc3\x9f ein \xe2\x9c\x93 \xf0\x9f\x90\x9d",
		     "gr\xc3\xbc\xc3\x9f ein \xe2\x9c\x93 \xf0\x9f\x90\x9d"),
		/* Not the shortest form, a surrogate, beyond the last character, cut, stray. */
		CASE("\xc0\x80", "\\xc0\\x80"),
		CASE("\xe0\x80\xaf", "\\xe0\\x80\\xaf"),
		CASE("\xed\xa0\x80", "\\xed\\xa0\\x80"),
		CASE("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"),
		CASE("\xf8\x88\x80\x80\x80", "\\xf8\\x88\\x80\\x80\\x80"),
		CASE("\xe2\x9c", "\\xe2\\x9c"),
		CASE("\xe2\x9cx", "\\xe2\\x9cx"),
		CASE("\x9b", "\\x9b"),
		/* Controls of the second set, the other direction, no characters. */
		CASE("\xc2\x9b", "\\u009b"),
		CASE("\xef\xbf\xbe\xef\xbf\xbf", "\\ufffe\\uffff"),
		CASE("\xf0\x9f\xbf\xbe", "\\U01fffe"),
		CASE("\xef\xbb\xbf", "\\ufeff"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char out[128];
		size_t taken;

		assert_int_equal(
			text_safe(out, sizeof(out), cases[i].bytes, cases[i].len, false, &taken),
			strlen(cases[i].text));
		assert_string_equal(out, cases[i].text);
		assert_int_equal(taken, cases[i].len);
	}
}

/* As bytes: compilers warn of them in texts. */
static void the_direction_of_text_is_not_turned(void **state)
{
	static const uint8_t bytes[] = {'a', 0xe2, 0x80, 0xae, 0xe2, 0x81, 0xa6, 'b'};
	char out[TEXT_SAFE_ROOM(sizeof(bytes))];

	(void)state;
	text_safe(out, sizeof(out), bytes, sizeof(bytes), false, NULL);
	assert_string_equal(out, "a\\u202e\\u2066b");
}

/* In pieces of every size the same comes out, but for what stands at the very end. */
static void pieces_make_the_same(void **state)
{
	static const char all[] =
		"a\xc3\xbc\xe2\x9c\x93\xf0\x9f\x90\x9d\r\r\n\xe2\x9c\x1b\xf0\x9f\rx"
		"\xc2\x9b\xff.";
	char whole[TEXT_SAFE_ROOM(sizeof(all))];

	(void)state;
	text_safe(whole, sizeof(whole), all, sizeof(all) - 1, false, NULL);
	for (size_t step = 1; step < sizeof(all); step++) {
		char out[sizeof(whole)] = "";
		size_t at = 0, end = 0, n = 0, taken;

		while (at < sizeof(all) - 1) {
			end = MIN(end + step, sizeof(all) - 1);
			n += text_safe(out + n, sizeof(out) - n, all + at, end - at,
				       end < sizeof(all) - 1, &taken);
			at += taken;
			assert_true(end - at <= 3);
		}
		assert_string_equal(out, whole);
	}
}

static uint32_t next_random(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

static void nothing_is_written_past_the_room(void **state)
{
	uint32_t seed = 1;
	uint8_t bytes[64];

	(void)state;
	for (unsigned int turn = 0; turn < 2000; turn++) {
		const size_t len = next_random(&seed) % sizeof(bytes);
		const size_t room = 1 + next_random(&seed) % (TEXT_SAFE_ROOM(len));
		char *out = malloc(room);
		size_t taken, n;

		assert_non_null(out);
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(next_random(&seed) % 3 ? 0x80 | next_random(&seed)
								    : next_random(&seed));
		n = text_safe(out, room, bytes, len, false, &taken);
		assert_true(n < room && taken <= len);
		assert_int_equal(strlen(out), n);
		if (room == TEXT_SAFE_ROOM(len))
			assert_int_equal(taken, len);
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_short),
		cmocka_unit_test(what_may_be_shown_is_shown),
		cmocka_unit_test(the_direction_of_text_is_not_turned),
		cmocka_unit_test(pieces_make_the_same),
		cmocka_unit_test(nothing_is_written_past_the_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
