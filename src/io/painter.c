/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cell of the terminal is a number: its character of code page 437 in the low byte, its style
 * above. Two screen cells that look alike are the same number, whatever their attributes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "painter.h"
#include "skep/bits.h"

/* Styles: bits 3 to 0 the foreground, 7 to 4 the background, and */
#define STYLE_BLINK   0x100
#define STYLE_DEFAULT 0x200 /* the terminal's own colours, with these: */
#define STYLE_BOLD    0x400
#define STYLE_REVERSE 0x800

/* What a blank shows of its style. */
#define STYLE_GROUND (0xf0u | STYLE_DEFAULT | STYLE_REVERSE)

#define NOWHERE UINT32_MAX /* no cell, position or style */

/* Twice what one cell takes at most: its place, its style, its character. */
#define CELL_BYTES 80u

struct sheet {
	char *buf;
	size_t n, room;
};

__attribute__((format(printf, 2, 3))) static void put(struct sheet *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->buf + s->n, s->room - s->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->n = MIN(s->n + (size_t)n, s->room - 1);
}

void painter_resize(struct painter *p, unsigned int cols, unsigned int rows)
{
	p->cols = cols;
	p->rows = rows;
	p->known = false;
}

/* Styles */

/* How bright one of the terminal's 16 colours is, roughly: red, green and blue are bits 0 to 2. */
static unsigned int brightness(unsigned int colour)
{
	return 3 * (colour & 1) + 6 * (colour >> 1 & 1) + (colour >> 2 & 1) + (colour & 8 ? 5 : 0);
}

/* Without colours: bold for bright, reversed for a background that outshines the foreground. */
static unsigned int plain_style(unsigned int fg, unsigned int bg, bool bright)
{
	unsigned int style = STYLE_DEFAULT;

	if (brightness(bg) > brightness(fg))
		return style | STYLE_REVERSE;
	return style | (bright ? STYLE_BOLD : 0);
}

static uint32_t cell_of(const struct painter *p, const struct screen_frame *f, uint16_t cell)
{
	unsigned int attribute = cell >> 8, c = cell & 0xff, style;
	unsigned int fg = f->colours[attribute & 0x0f];
	unsigned int bg = f->colours[attribute >> 4 & (f->blink ? 0x07 : 0x0f)];
	bool blank = c == 0 || c == ' ' || c == 0xff;

	/* What blinks between nothing and nothing, or is drawn in its own background. */
	if (blank || fg == bg)
		c = ' ';
	if (!p->colour)
		style = plain_style(fg, bg, attribute & 0x08);
	else
		style = (c == ' ' ? 0 : fg) | bg << 4;
	if (c == ' ')
		style &= ~(unsigned int)STYLE_BOLD;
	else if (f->blink && (attribute & 0x80))
		style |= STYLE_BLINK;
	return c | style << 8;
}

static void put_style(struct painter *p, struct sheet *s, unsigned int style)
{
	unsigned int fg = style & 0x0f, bg = style >> 4 & 0x0f;

	p->style = style;
	put(s, "\033[0%s%s%s", style & STYLE_BOLD ? ";1" : "", style & STYLE_BLINK ? ";5" : "",
	    style & STYLE_REVERSE ? ";7" : "");
	if (!(style & STYLE_DEFAULT))
		put(s, ";%u;%u", (fg & 8 ? 90 : 30) + (fg & 7), (bg & 8 ? 100 : 40) + (bg & 7));
	put(s, "m");
}

/* Cells */

static void put_place(struct painter *p, struct sheet *s, unsigned int col, unsigned int row)
{
	if (p->col == col && p->row == row)
		return;
	p->col = col;
	p->row = row;
	put(s, "\033[%u;%uH", row + 1, col + 1);
}

/* Whether @cell looks right in the style that the terminal draws with. */
static bool style_fits(const struct painter *p, uint32_t cell)
{
	unsigned int differ = p->style ^ cell >> 8;

	return !(differ & ((cell & 0xff) == ' ' ? STYLE_GROUND : ~0u));
}

static void put_cell(struct painter *p, struct sheet *s, unsigned int col, unsigned int row,
		     uint32_t cell)
{
	char utf8[3];
	unsigned int n = screen_utf8((uint8_t)cell, utf8);

	put_place(p, s, col, row);
	if (!style_fits(p, cell))
		put_style(p, s, cell >> 8);
	memcpy(s->buf + s->n, utf8, n);
	s->n += n;
	/* Behind the last column terminals differ. */
	p->col = col + 1 < p->cols ? col + 1 : NOWHERE;
}

/* Where the note is, if it is shown: the line below the screen, or the last. */
static unsigned int note_row(const struct painter *p)
{
	return MIN(p->area_rows, p->rows - 1);
}

static uint32_t wanted(const struct painter *p, const struct screen_frame *f, unsigned int col,
		       unsigned int row)
{
	size_t len = strlen(p->note);
	unsigned int c;

	if (len && row == note_row(p)) {
		c = col < len ? (uint8_t)p->note[col] : ' ';
		if (c < ' ' || c > '~')
			c = '?';
		return c | (uint32_t)(STYLE_DEFAULT | STYLE_REVERSE) << 8;
	}
	if (row >= p->area_rows)
		return ' ' | (uint32_t)STYLE_DEFAULT << 8;
	return cell_of(p, f, f->cells[(p->top + row) * f->cols + p->left + col]);
}

/* As little as it takes to have @at in a window of @len on a screen of @size. */
static unsigned int follow(unsigned int from, unsigned int len, unsigned int size, unsigned int at)
{
	if (at < size && at < from)
		from = at;
	else if (at < size && at >= from + len)
		from = at - len + 1;
	return MIN(from, size - len);
}

static void place_area(struct painter *p, const struct screen_frame *f)
{
	unsigned int cols = MIN(p->cols, f->cols), rows = MIN(p->rows, f->rows);

	if (cols != p->area_cols || rows != p->area_rows)
		p->known = false;
	p->area_cols = cols;
	p->area_rows = rows;
	p->left = follow(p->left, cols, f->cols, f->cursor_col);
	p->top = follow(p->top, rows, f->rows, f->cursor_row);
}

static void clear(struct painter *p, struct sheet *s)
{
	put(s, "\033[0m\033[2J\033[?25l");
	p->style = STYLE_DEFAULT;
	p->col = p->row = NOWHERE;
	p->cursor = false;
	memset(p->shown, 0xff, sizeof(p->shown));
	p->known = true;
}

static void put_cursor(struct painter *p, struct sheet *s, const struct screen_frame *f)
{
	if (f->cursor)
		put_place(p, s, f->cursor_col - p->left, f->cursor_row - p->top);
	if (f->cursor != p->cursor)
		put(s, "\033[?25%c", f->cursor ? 'h' : 'l');
	p->cursor = f->cursor;
}

/*
 * Whether the cell, which is as wanted, stands alone between two that are not: then it takes less
 * to draw it again than to go around it.
 */
static bool bridges(const struct painter *p, const struct screen_frame *f, unsigned int col,
		    unsigned int row)
{
	uint32_t cell = p->shown[row * SCREEN_COLS_MAX + col];

	return p->col == col && p->row == row && style_fits(p, cell) && col + 1 < p->area_cols &&
	       wanted(p, f, col + 1, row) != p->shown[row * SCREEN_COLS_MAX + col + 1];
}

size_t painter_paint(struct painter *p, const struct screen_frame *f, char *buf, size_t room)
{
	struct sheet s = {.room = room};
	unsigned int rows;

	s.buf = buf;
	if (!p->cols || !p->rows)
		return 0;
	place_area(p, f);
	if (!p->known)
		clear(p, &s);
	rows = MIN(p->area_rows + 1, p->rows);
	for (unsigned int row = 0; row < rows; row++) {
		for (unsigned int col = 0; col < p->area_cols; col++) {
			uint32_t cell = wanted(p, f, col, row);
			uint32_t *shown = &p->shown[row * SCREEN_COLS_MAX + col];

			if (cell == *shown && !bridges(p, f, col, row))
				continue;
			if (s.room - s.n < CELL_BYTES)
				return s.n;
			put_cell(p, &s, col, row, cell);
			*shown = cell;
		}
	}
	put_cursor(p, &s, f);
	return s.n;
}
