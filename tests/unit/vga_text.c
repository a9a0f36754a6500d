/* SPDX-License-Identifier: BSD-2-Clause */
/* The VGA's registers, and what its screen shows, as text and as cells. */
#include <stdlib.h>
#include <string.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/screen.h"
#include "skep/state.h"
#include "support/cm.h"
#include "support/rig.h"

#define ATTR      0x3c0
#define ATTR_READ 0x3c1
#define MISC      0x3c2
#define SEQ       0x3c4
#define DAC_READ  0x3c7
#define DAC_WRITE 0x3c8
#define DAC_DATA  0x3c9
#define GC        0x3ce
#define CRTC      0x3d4
#define STATUS    0x3da

#define TEXT_AT 0xb8000
#define CELLS   0x4000

struct bench {
	struct rig rig;
	struct device *dev;
	uint16_t *text;
	struct screen_frame frame;
	char shown[SCREEN_TEXT_MAX];
};

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	rig_init(&b->rig, 0);
	b->dev = rig_device(&b->rig, "screen", "vga_text", "");
	if (!b->dev)
		fail_msg("%s", b->rig.err.text);
	b->text = gmem_hva(b->rig.machine.mem, TEXT_AT, 2 * CELLS);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	device_destroy(b->dev);
	assert_null(b->rig.machine.screen);
	assert_int_equal(rig_in8(&b->rig, 0x3cc), 0xff);
	assert_int_equal(rig_in8(&b->rig, CRTC), 0xff);
	assert_int_equal(rig_in8(&b->rig, STATUS), 0xff);
	rig_fini(&b->rig);
	free(b);
	return 0;
}

static uint8_t in(struct bench *b, unsigned int port)
{
	return rig_in8(&b->rig, (uint16_t)port);
}

static void out(struct bench *b, unsigned int port, unsigned int v)
{
	rig_out8(&b->rig, (uint16_t)port, (uint8_t)v);
}

/* Registers behind an index port. */
static uint8_t get(struct bench *b, unsigned int port, unsigned int index)
{
	out(b, port, index);
	return in(b, port + 1);
}

static void set(struct bench *b, unsigned int port, unsigned int index, unsigned int v)
{
	out(b, port, index);
	out(b, port + 1, v);
}

static uint8_t attr_get(struct bench *b, unsigned int index)
{
	in(b, STATUS);
	out(b, ATTR, index | 0x20);
	return in(b, ATTR_READ);
}

static void attr_set(struct bench *b, unsigned int index, unsigned int v)
{
	in(b, STATUS);
	out(b, ATTR, index);
	out(b, ATTR, v);
	out(b, ATTR, 0x20);
}

static void write_text(struct bench *b, unsigned int at, const char *s)
{
	while (*s)
		b->text[at++ % CELLS] = (uint16_t)(0x0700 | (uint8_t)*s++);
}

static const struct screen_frame *look(struct bench *b)
{
	memset(&b->frame, 0xa5, sizeof(b->frame));
	assert_true(screen_look(&b->rig.machine, &b->frame));
	assert_in_range(b->frame.cols, 1, SCREEN_COLS_MAX);
	assert_in_range(b->frame.rows, 1, SCREEN_ROWS_MAX);
	return &b->frame;
}

static const char *shown(struct bench *b)
{
	size_t n;

	memset(b->shown, 'X', sizeof(b->shown));
	n = screen_text(&b->rig.machine, b->shown);
	assert_true(n < sizeof(b->shown));
	assert_int_equal(strlen(b->shown), n);
	return b->shown;
}

/* Registers */

static void it_starts_in_mode_3(void **state)
{
	struct bench *b = *state;
	const struct screen_frame *f = look(b);

	assert_int_equal(f->cols, 80);
	assert_int_equal(f->rows, 25);
	assert_true(f->cursor);
	assert_int_equal(f->cursor_col, 0);
	assert_int_equal(f->cursor_row, 0);
	assert_true(f->blink);
	assert_false(f->graphics);
	for (unsigned int i = 0; i < 80 * 25; i++)
		assert_int_equal(f->cells[i], SCREEN_BLANK);
	for (unsigned int i = 0; i < CELLS; i++)
		assert_int_equal(b->text[i], SCREEN_BLANK);
	assert_string_equal(shown(b), "");
	assert_int_equal(in(b, 0x3cc), 0x67);
	assert_int_equal(get(b, CRTC, 0x13), 0x28);
	assert_int_equal(get(b, SEQ, 2), 0x03);
	assert_int_equal(get(b, GC, 6), 0x0e);
	assert_int_equal(attr_get(b, 0x06), 0x14);
}

static void a_reset_clears_the_screen(void **state)
{
	struct bench *b = *state;

	write_text(b, 0, "before");
	set(b, CRTC, 0x0c, 0x20);
	device_reset(b->dev);
	assert_string_equal(shown(b), "");
	assert_int_equal(get(b, CRTC, 0x0c), 0);
	assert_int_equal(b->text[0], SCREEN_BLANK);
}

static void registers_are_kept(void **state)
{
	static const struct {
		uint16_t port;
		unsigned int count;
	} files[] = {{SEQ, 5}, {GC, 9}, {CRTC, 25}};
	struct bench *b = *state;

	set(b, CRTC, 0x11, 0x00); /* nothing is protected */
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		for (unsigned int n = 0; n < files[i].count; n++)
			set(b, files[i].port, n, 0x40 | n);
		for (unsigned int n = 0; n < files[i].count; n++)
			assert_int_equal(get(b, files[i].port, n), 0x40 | n);
		assert_int_equal(in(b, files[i].port), files[i].count - 1);
	}
	/* There is nothing behind the last. */
	set(b, CRTC, 25, 0x55);
	assert_int_equal(get(b, CRTC, 25), 0);
	set(b, SEQ, 7, 0x55);
	assert_int_equal(get(b, SEQ, 7), 0);
	set(b, GC, 15, 0x55);
	assert_int_equal(get(b, GC, 15), 0);
	out(b, MISC, 0xe3);
	assert_int_equal(in(b, 0x3cc), 0xe3);
	out(b, STATUS, 0x02);
	assert_int_equal(in(b, 0x3ca), 0x02);
	assert_int_equal(in(b, 0x3c3), 0x01);
}

static void index_and_data_in_one_access(void **state)
{
	struct bench *b = *state;

	bus_write(b->rig.machine.ports, CRTC, 2, 0x120e);
	bus_write(b->rig.machine.ports, CRTC, 2, 0x340f);
	assert_int_equal(get(b, CRTC, 0x0e), 0x12);
	assert_int_equal(bus_read(b->rig.machine.ports, CRTC, 2), 0x120e);
	assert_int_equal(get(b, CRTC, 0x0f), 0x34);
}

static void the_first_eight_can_be_protected(void **state)
{
	struct bench *b = *state;

	set(b, CRTC, 0x01, 0x10); /* a BIOS leaves them so */
	set(b, CRTC, 0x07, 0x00);
	assert_int_equal(get(b, CRTC, 0x01), 0x4f);
	assert_int_equal(get(b, CRTC, 0x07), 0x0f); /* but for the bit of line compare */
	set(b, CRTC, 0x08, 0x05);
	assert_int_equal(get(b, CRTC, 0x08), 0x05);
	set(b, CRTC, 0x11, 0x0e);
	set(b, CRTC, 0x01, 0x10);
	assert_int_equal(get(b, CRTC, 0x01), 0x10);
}

static void index_and_data_by_turns(void **state)
{
	struct bench *b = *state;

	in(b, STATUS);
	out(b, ATTR, 0x31);
	assert_int_equal(in(b, ATTR), 0x31);
	assert_int_equal(in(b, ATTR_READ), 0x00);
	out(b, ATTR, 0x05); /* data: overscan */
	assert_int_equal(in(b, ATTR_READ), 0x05);
	out(b, ATTR, 0x33);
	in(b, STATUS); /* the next is an index whatever was before */
	out(b, ATTR, 0x31);
	assert_int_equal(in(b, ATTR_READ), 0x05);
	in(b, STATUS);
	/* The palette opens while bit 5 of the index is clear, and the screen is dark meanwhile. */
	out(b, ATTR, 0x21);
	out(b, ATTR, 0x3f);
	assert_int_equal(in(b, ATTR_READ), 0x01);
	out(b, ATTR, 0x01);
	out(b, ATTR, 0xff);
	assert_int_equal(in(b, ATTR_READ), 0x3f);
	write_text(b, 0, "dark");
	assert_string_equal(shown(b), "");
	assert_false(look(b)->cursor);
	out(b, ATTR, 0x20);
	assert_string_equal(shown(b), "dark\n");
	assert_int_equal(attr_get(b, 0x1f), 0);
}

static void retrace_comes_and_goes(void **state)
{
	struct bench *b = *state;
	uint8_t a = in(b, STATUS), c = in(b, STATUS);

	assert_int_equal(a ^ c, 0x09);
	assert_int_equal(in(b, STATUS), a);
}

static void the_dac_counts(void **state)
{
	struct bench *b = *state;

	out(b, DAC_WRITE, 255);
	assert_int_equal(in(b, DAC_READ), 0);
	for (unsigned int i = 0; i < 6; i++)
		out(b, DAC_DATA, 0xc0 | (i + 1)); /* six bits */
	assert_int_equal(in(b, DAC_WRITE), 1);
	out(b, DAC_READ, 255);
	assert_int_equal(in(b, DAC_READ), 3);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(in(b, DAC_DATA), i + 1);
	/* An entry changes as a whole. */
	out(b, DAC_WRITE, 20);
	out(b, DAC_DATA, 1);
	out(b, DAC_DATA, 1);
	out(b, DAC_READ, 20);
	assert_int_equal(in(b, DAC_DATA), 0x2a);
	assert_int_equal(in(b, DAC_DATA), 0x15);
	assert_int_equal(in(b, DAC_DATA), 0x00);
}

/* The screen */

static void text_is_what_is_in_memory(void **state)
{
	struct bench *b = *state;

	write_text(b, 0, "  two blanks");
	write_text(b, 160, "\xc9\xcd\xbb\x01 \xff \x7f\xe1 ");
	write_text(b, 2 * 80 - 1, "|");
	write_text(b, 24 * 80 + 79, ".");
	assert_memory_equal(shown(b), "  two blanks\n", 13);
	assert_string_equal(b->shown + 13 + 79, "|\n"
						"╔═╗☺   ⌂ß\n"
						"\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
						"                                        "
						"                                       .\n");
}

static void every_character_is_one_of_utf8(void **state)
{
	char utf8[3];

	(void)state;
	for (unsigned int c = 0; c < 256; c++) {
		unsigned int n = screen_utf8((uint8_t)c, utf8);

		assert_in_range(n, 1, 3);
		assert_int_equal((uint8_t)utf8[0] >= 0xc0, n > 1);
		assert_int_equal((uint8_t)utf8[0] >= 0xe0, n > 2);
		for (unsigned int i = 1; i < n; i++)
			assert_int_equal(utf8[i] & 0xc0, 0x80);
		if (n == 1)
			assert_in_range(utf8[0], 0x20, 0x7e);
	}
}

static void the_start_address_scrolls(void **state)
{
	struct bench *b = *state;

	write_text(b, 80, "second");
	set(b, CRTC, 0x0d, 80);
	assert_string_equal(shown(b), "second\n");
	/* 32 KiB, and then from the front. */
	set(b, CRTC, 0x0c, 0x3f);
	set(b, CRTC, 0x0d, 0xf8);
	write_text(b, 0x3ffc, "overlaps");
	assert_string_equal(shown(b), "    overlaps\n        second\n");
	set(b, CRTC, 0x0c, 0xff);
	assert_string_equal(shown(b), "    overlaps\n        second\n");
	set(b, CRTC, 0x0e, 0x3f);
	set(b, CRTC, 0x0f, 0xfa);
	assert_int_equal(look(b)->cursor_col, 2);
	set(b, CRTC, 0x0e, 0x00);
	set(b, CRTC, 0x0f, 0x50);
	assert_int_equal(look(b)->cursor_col, 8);
	assert_int_equal(look(b)->cursor_row, 1);
	assert_true(look(b)->cursor);
	/* Above the screen is below it. */
	set(b, CRTC, 0x0e, 0x3f);
	set(b, CRTC, 0x0f, 0xf7);
	assert_false(look(b)->cursor);
}

static void the_cursor_can_be_off(void **state)
{
	struct bench *b = *state;

	set(b, CRTC, 0x0f, 81);
	assert_true(look(b)->cursor);
	assert_int_equal(look(b)->cursor_col, 1);
	set(b, CRTC, 0x0a, 0x2d);
	assert_false(look(b)->cursor);
	assert_int_equal(look(b)->cursor_col, 1);
	set(b, CRTC, 0x0a, 0x0f); /* ends above its start */
	assert_false(look(b)->cursor);
	set(b, CRTC, 0x0b, 0x1f);
	assert_true(look(b)->cursor);
	set(b, CRTC, 0x0a, 0x10); /* below the character */
	assert_false(look(b)->cursor);
	set(b, CRTC, 0x0a, 0x00);
	set(b, CRTC, 0x0e, 25 * 80 / 256);
	set(b, CRTC, 0x0f, 25 * 80 % 256);
	assert_false(look(b)->cursor);
}

static void other_text_modes(void **state)
{
	struct bench *b = *state;

	set(b, CRTC, 0x11, 0x0e);
	set(b, CRTC, 0x09, 0x47); /* characters of 8 lines */
	assert_int_equal(look(b)->rows, 50);
	write_text(b, 49 * 80, "last");
	assert_string_equal(strchr(shown(b), 'l'), "last\n");
	set(b, CRTC, 0x09, 0xc7); /* twice each */
	assert_int_equal(look(b)->rows, 25);
	set(b, CRTC, 0x09, 0x4f);
	set(b, CRTC, 0x01, 39);
	set(b, CRTC, 0x13, 20);
	write_text(b, 40, "at forty");
	assert_int_equal(look(b)->cols, 40);
	assert_string_equal(shown(b), "\nat forty\n");
	/* B0000h, by the graphics controller. */
	set(b, GC, 6, 0x0a);
	assert_int_equal(look(b)->cells[0], 0);
}

static void graphics_are_not_shown(void **state)
{
	struct bench *b = *state;

	write_text(b, 0, "text");
	set(b, GC, 6, 0x05);
	assert_true(look(b)->graphics);
	assert_string_equal(shown(b), "");
	set(b, GC, 6, 0x0e);
	attr_set(b, 0x10, 0x41);
	assert_true(look(b)->graphics);
	attr_set(b, 0x10, 0x04);
	assert_false(look(b)->graphics);
	assert_false(look(b)->blink);
	set(b, SEQ, 1, 0x20); /* the screen is off */
	assert_string_equal(shown(b), "");
	set(b, SEQ, 1, 0x00);
	assert_string_equal(shown(b), "text\n");
}

static void colours_are_a_terminals(void **state)
{
	static const uint8_t plain[16] = {0, 4, 2, 6, 1, 5, 3, 7, 8, 12, 10, 14, 9, 13, 11, 15};
	struct bench *b = *state;

	assert_memory_equal(look(b)->colours, plain, 16);
	attr_set(b, 1, 0x04); /* blue is red */
	assert_int_equal(look(b)->colours[1], 1);
	out(b, DAC_WRITE, 0x07); /* light grey is a dark blue */
	out(b, DAC_DATA, 0);
	out(b, DAC_DATA, 5);
	out(b, DAC_DATA, 40);
	assert_int_equal(look(b)->colours[7], 4);
	attr_set(b, 0x12, 0x07); /* no bright ones */
	assert_int_equal(look(b)->colours[15], 4);
	attr_set(b, 0x12, 0x0f);
	attr_set(b, 0x14, 0x0c); /* 192 to 255: black */
	assert_int_equal(look(b)->colours[2], 0);
	attr_set(b, 0x14, 0x03);
	attr_set(b, 0x10, 0x8c); /* bits 5 and 4 are the select register's */
	assert_int_equal(look(b)->colours[0], 3);
	out(b, 0x3c6, 0x00);
	assert_int_equal(look(b)->colours[9], 0);
}

/* Whatever registers hold, a look stays within memory and frame: the sanitizers see to that. */
static void hostile_registers(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	struct bench *b = *state;
	uint32_t draw = 1;

	set(b, CRTC, 0x11, 0);
	for (unsigned int i = 0; i < 25; i++)
		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			set(b, CRTC, 0x11, 0);
			set(b, CRTC, i, values[v]);
			look(b);
		}
	for (unsigned int i = 0; i < 20000; i++) {
		draw = draw * 1664525 + 1013904223;
		out(b, 0x3c0 + (draw >> 8) % 0x1c, draw >> 24);
		in(b, 0x3c0 + (draw >> 16) % 0x1c);
		if (i % 8 == 0)
			look(b);
		if (i % 64 == 0) {
			set(b, CRTC, 0x11, 0);
			shown(b);
		}
	}
	device_reset(b->dev);
	assert_int_equal(look(b)->rows, 25);
}

static void damaged_state_is_refused(void **state)
{
	struct bench *b = *state;
	const struct state_table *table = b->dev->class->state;
	void *now = device_state(b->dev);
	uint8_t good[4096];
	struct err err;

	assert_true(table->size <= sizeof(good));
	memcpy(good, now, table->size);
	assert_int_equal(b->dev->class->loaded(b->dev, &err), 0);
	for (uint64_t seed = 0; seed < 5000; seed++) {
		state_mutate(table, now, seed);
		if (!b->dev->class->loaded(b->dev, &err))
			look(b);
		in(b, DAC_DATA);
		in(b, ATTR_READ);
		memcpy(now, good, table->size);
	}
}

static void a_machine_without_one(void **state)
{
	struct screen_frame frame;
	char text[SCREEN_TEXT_MAX];
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	assert_false(screen_look(&r.machine, &frame));
	assert_int_equal(screen_text(&r.machine, text), 0);
	assert_string_equal(text, "");
	rig_fini(&r);
}

static void there_is_one_at_most(void **state)
{
	struct bench *b = *state;

	assert_null(rig_device(&b->rig, "second", "vga_text", ""));
	assert_ptr_equal(b->rig.machine.screen->dev, b->dev);
	assert_null(rig_device(&b->rig, "third", "vga_text", "display=wall"));
	assert_false(b->rig.machine.screen->read_at_end);
}

#define with_bench(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bench(it_starts_in_mode_3),
		with_bench(a_reset_clears_the_screen),
		with_bench(registers_are_kept),
		with_bench(index_and_data_in_one_access),
		with_bench(the_first_eight_can_be_protected),
		with_bench(index_and_data_by_turns),
		with_bench(retrace_comes_and_goes),
		with_bench(the_dac_counts),
		with_bench(text_is_what_is_in_memory),
		cmocka_unit_test(every_character_is_one_of_utf8),
		with_bench(the_start_address_scrolls),
		with_bench(the_cursor_can_be_off),
		with_bench(other_text_modes),
		with_bench(graphics_are_not_shown),
		with_bench(colours_are_a_terminals),
		with_bench(hostile_registers),
		with_bench(damaged_state_is_refused),
		cmocka_unit_test(a_machine_without_one),
		with_bench(there_is_one_at_most),
	};

	return cmocka_run_group_tests_name("vga_text", tests, NULL, NULL);
}
