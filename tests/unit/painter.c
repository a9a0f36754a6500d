/* SPDX-License-Identifier: BSD-2-Clause */
/* A screen as the bytes that have a terminal show it, and no more of them than it takes. */
#include <stdlib.h>
#include <string.h>

#include "../../src/io/painter.h"
#include "skep/bits.h"
#include "support/cm.h"

struct bench {
	struct painter p;
	struct screen_frame f;
	char buf[64 * 1024];
};

static int set_up(void **state)
{
	static const uint8_t colours[16] = {0, 4, 2, 6, 1, 5, 3, 7, 8, 12, 10, 14, 9, 13, 11, 15};
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->p.colour = true;
	b->f.cols = 8;
	b->f.rows = 3;
	b->f.cursor = true;
	b->f.blink = true;
	memcpy(b->f.colours, colours, sizeof(colours));
	for (unsigned int i = 0; i < ARRAY_SIZE(b->f.cells); i++)
		b->f.cells[i] = SCREEN_BLANK;
	painter_resize(&b->p, 8, 3);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static void write_at(struct bench *b, unsigned int row, unsigned int col, uint8_t attribute,
		     const char *text)
{
	while (*text)
		b->f.cells[row * b->f.cols + col++] = (uint16_t)(attribute << 8 | (uint8_t)*text++);
}

static void cursor(struct bench *b, unsigned int row, unsigned int col)
{
	b->f.cursor_row = row;
	b->f.cursor_col = col;
}

/* What the next frame takes; where ESC is, '^' is to be seen. */
static const char *paint(struct bench *b)
{
	size_t n = painter_paint(&b->p, &b->f, b->buf, sizeof(b->buf));

	assert_true(n < sizeof(b->buf));
	b->buf[n] = '\0';
	for (char *p = b->buf; (p = strchr(p, '\033'));)
		*p = '^';
	return b->buf;
}

static void a_screen_at_first(void **state)
{
	struct bench *b = *state;

	write_at(b, 0, 0, 0x07, "Hi");
	write_at(b, 1, 1, 0x1e, "\xcd\x82 x");
	write_at(b, 2, 0, 0x87, "!");
	write_at(b, 2, 1, 0x70, "\x01");
	cursor(b, 1, 5);
	assert_string_equal(paint(b), "^[0m^[2J^[?25l^[1;1H^[0;37;40mHi      "
				      "^[2;1H ^[0;93;44m═é x^[0;30;40m   "
				      "^[3;1H^[0;5;37;40m!^[0;30;47m☺^[0;30;40m      "
				      "^[2;6H^[?25h");
	assert_string_equal(paint(b), "");
}

static void only_what_changes(void **state)
{
	struct bench *b = *state;

	paint(b);
	write_at(b, 0, 0, 0x07, "ab");
	cursor(b, 0, 2);
	assert_string_equal(paint(b), "^[0;37;40mab");
	cursor(b, 2, 7);
	assert_string_equal(paint(b), "^[3;8H");
	b->f.cursor = false;
	assert_string_equal(paint(b), "^[?25l");
	write_at(b, 2, 7, 0x07, "z");
	assert_string_equal(paint(b), "z");
	/* Where the cursor is behind the last column is not known. */
	write_at(b, 2, 7, 0x07, "y");
	assert_string_equal(paint(b), "^[3;8Hy");
	/* What looks the same is the same. */
	write_at(b, 2, 7, 0x07, "y");
	write_at(b, 1, 0, 0x0f, " ");
	b->f.cells[8] = 0x0400;
	assert_string_equal(paint(b), "");
	b->f.colours[7] = 2;
	assert_string_equal(paint(b), "^[1;1H^[0;32;40mab^[3;8Hy");
}

static void bright_and_blinking(void **state)
{
	struct bench *b = *state;

	paint(b);
	write_at(b, 0, 0, 0xcf, "A");
	assert_string_equal(paint(b), "^[0;5;97;41mA^[1;1H");
	b->f.blink = false;
	assert_string_equal(paint(b), "^[0;97;101mA^[1;1H");
	/* In its own colour there is nothing to see. */
	write_at(b, 0, 0, 0x44, "A");
	assert_string_equal(paint(b), "^[0;30;41m ^[1;1H");
}

static void without_colours(void **state)
{
	struct bench *b = *state;

	b->p.colour = false;
	write_at(b, 0, 0, 0x07, "n");
	write_at(b, 0, 1, 0x0f, "b");
	write_at(b, 0, 2, 0x70, "r");
	write_at(b, 0, 3, 0x94, "k");
	write_at(b, 0, 4, 0x17, " x ");
	assert_string_equal(paint(b), "^[0m^[2J^[?25l^[1;1Hn^[0;1mb^[0;7mr^[0;5mk ^[0mx  "
				      "^[2;1H        ^[3;1H        ^[1;1H^[?25h");
}

static void a_small_terminal_follows_the_cursor(void **state)
{
	struct bench *b = *state;

	painter_resize(&b->p, 4, 2);
	write_at(b, 0, 0, 0x07, "abcdefgh");
	write_at(b, 1, 0, 0x07, "ijklmnop");
	write_at(b, 2, 0, 0x07, "qrstuvwx");
	assert_string_equal(paint(b), "^[0m^[2J^[?25l^[1;1H^[0;37;40mabcd^[2;1Hijkl^[1;1H^[?25h");
	cursor(b, 2, 5);
	assert_string_equal(paint(b), "klmn^[2;1Hstuv^[2;4H");
	/* It moves when it must. */
	cursor(b, 1, 2);
	assert_string_equal(paint(b), "^[1;1H");
	cursor(b, 1, 1);
	assert_string_equal(paint(b), "jklm^[2;1Hrstu^[1;1H");
	/* Nor does it follow one that is nowhere. */
	b->f.cursor = false;
	cursor(b, 9, 9);
	assert_string_equal(paint(b), "^[?25l");
	painter_resize(&b->p, 1, 1);
	b->f.cursor = true;
	cursor(b, 2, 7);
	assert_string_equal(paint(b), "^[0m^[2J^[?25l^[1;1H^[0;37;40mx^[1;1H^[?25h");
	painter_resize(&b->p, 0, 0);
	assert_string_equal(paint(b), "");
}

static void a_resize_begins_anew(void **state)
{
	struct bench *b = *state;

	write_at(b, 0, 0, 0x07, "a");
	paint(b);
	painter_resize(&b->p, 9, 3);
	assert_string_equal(paint(b), "^[0m^[2J^[?25l^[1;1H^[0;37;40ma       ^[2;1H        "
				      "^[3;1H        ^[1;1H^[?25h");
	/* The guest's own change of mode as well. */
	b->f.rows = 2;
	assert_memory_equal(paint(b), "^[0m^[2J", 8);
	painter_resize(&b->p, 8, 2);
	paint(b);
	b->f.rows = 3;
	assert_string_equal(paint(b), "");
}

static void a_note(void **state)
{
	struct bench *b = *state;

	painter_resize(&b->p, 8, 4);
	write_at(b, 2, 0, 0x07, "last");
	paint(b);
	strcpy(b->p.note, "paused\x07 and more");
	assert_string_equal(paint(b), "^[4;1H^[0;7mpaused? ^[1;1H");
	b->p.note[0] = '\0';
	assert_string_equal(paint(b), "^[4;1H^[0m        ^[1;1H");
	/* Without a line below, over the last. */
	painter_resize(&b->p, 8, 3);
	paint(b);
	strcpy(b->p.note, "on");
	assert_string_equal(paint(b), "^[3;1H^[0;7mon      ^[1;1H");
	b->p.note[0] = '\0';
	assert_string_equal(paint(b), "^[3;1H^[0;37;40mlast    ^[1;1H");
}

/* What does not fit comes with the frames behind. */
static void little_room(void **state)
{
	struct bench *b = *state;
	char whole[4096] = "", *at = whole;
	unsigned int times = 0;
	size_t n;

	for (unsigned int i = 0; i < 24; i++)
		b->f.cells[i] = (uint16_t)(i << 8 | ('a' + i));
	do {
		n = painter_paint(&b->p, &b->f, at, PAINTER_BYTES_MIN);
		assert_true(n <= PAINTER_BYTES_MIN);
		at += n;
		times++;
	} while (n);
	assert_in_range(times, 5, 20);
	*at = '\0';
	for (char *p = whole; (p = strchr(p, '\033'));)
		*p = '^';
	painter_resize(&b->p, 8, 3);
	assert_string_equal(whole, paint(b));
}

/* The worst that one frame can take still fits into what a display has. */
static void bounded(void **state)
{
	struct bench *b = *state;
	uint32_t draw = 3;

	b->f.cols = SCREEN_COLS_MAX;
	b->f.rows = SCREEN_ROWS_MAX;
	painter_resize(&b->p, 500, 500);
	for (unsigned int t = 0; t < 20; t++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(b->f.cells); i++) {
			draw = draw * 1664525 + 1013904223;
			b->f.cells[i] = (uint16_t)(draw >> 16);
		}
		b->f.cols = 1 + draw % SCREEN_COLS_MAX;
		b->f.rows = 1 + draw / 256 % SCREEN_ROWS_MAX;
		cursor(b, draw % 70, draw / 256 % 140);
		b->f.cursor = b->f.cursor_row < b->f.rows && b->f.cursor_col < b->f.cols;
		b->f.blink = draw & 1;
		painter_resize(&b->p, 1 + draw / 7 % 200, 1 + draw / 11 % 80);
		while (painter_paint(&b->p, &b->f, b->buf, KIB(4)))
			;
	}
}

#define with_bench(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bench(a_screen_at_first),
		with_bench(only_what_changes),
		with_bench(bright_and_blinking),
		with_bench(without_colours),
		with_bench(a_small_terminal_follows_the_cursor),
		with_bench(a_resize_begins_anew),
		with_bench(a_note),
		with_bench(little_room),
		with_bench(bounded),
	};

	return cmocka_run_group_tests_name("painter", tests, NULL, NULL);
}
