/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vga_text - a VGA that shows text: the registers of the colour text modes, and a screen that the
 * host reads out of guest memory.
 *
 * IBM PS/2 Hardware Interface Technical Reference, "Video subsystem"; the FreeVGA project's
 * reference where that says more.
 *
 *	3C0h, 3C1h	attribute controller: index and data by turns, data (read)
 *	3C2h, 3CCh	miscellaneous output; input status 0 (read of 3C2h)
 *	3C3h		subsystem enable: always on
 *	3C4h, 3C5h	sequencer
 *	3C6h to 3C9h	DAC: mask, read index and state, write index, data
 *	3CAh, 3DAh	feature control; input status 1 (read of 3DAh)
 *	3CEh, 3CFh	graphics controller
 *	3D4h, 3D5h	CRTC
 *
 * Text memory is RAM of the guest at B8000h, like any other: what a guest prints costs no exit, and
 * nothing is known of it until somebody looks. So the registers that change what an access to
 * memory does (planes, map mask, read and write modes) are kept and read back, and do nothing:
 * a font loaded to A0000h changes no character, and a graphics mode shows nothing. The memory has
 * 32 KiB, to which the start address and the rows behind it wrap.
 *
 * Left out as well: the monochrome ports at 3B4h, whatever the miscellaneous register says; split
 * screens, panning, smooth scrolling, and the second font; the interrupt. Retrace comes and goes
 * with every other read of 3DAh, as fast as a guest can poll for it.
 *
 * A reset is what a BIOS does when it sets mode 3: registers, palette, and 32 KiB of blanks.
 *
 * Invariants: what look() gives is within the bounds of struct screen_frame, whatever the registers
 * hold. vCPU threads, and the control thread for look(), under the device's lock.
 */
#include <string.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/display.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/screen.h"

#define PORT_3C0    0x3c0
#define PORTS_3C0   16
#define PORT_CRTC   0x3d4
#define PORT_STATUS 0x3da

/* From PORT_3C0 */
#define ATTR       0x0
#define ATTR_READ  0x1
#define MISC_WRITE 0x2
#define ENABLE     0x3
#define SEQ_INDEX  0x4
#define SEQ_DATA   0x5
#define DAC_MASK   0x6
#define DAC_READ   0x7
#define DAC_WRITE  0x8
#define DAC_DATA   0x9
#define FEATURE    0xa
#define MISC       0xc
#define GC_INDEX   0xe
#define GC_DATA    0xf

#define CRTC_REGS 25
#define SEQ_REGS  5
#define GC_REGS   9
#define ATTR_REGS 21

/* CRTC */
#define CRTC_COLS       0x01 /* characters a row, less one */
#define CRTC_OVERFLOW   0x07
#define CRTC_MAX_SCAN   0x09 /* lines a character, less one; bit 7: each line twice */
#define CRTC_CUR_START  0x0a /* bit 5: off */
#define CRTC_CUR_END    0x0b
#define CRTC_START_HIGH 0x0c
#define CRTC_START_LOW  0x0d
#define CRTC_CUR_HIGH   0x0e
#define CRTC_CUR_LOW    0x0f
#define CRTC_SYNC_END   0x11 /* bit 7: registers 0 to 7 are protected */
#define CRTC_LINES      0x12 /* shown, less one: bits 7 to 0 */
#define CRTC_OFFSET     0x13 /* from row to row, in pairs of characters */

#define PROTECT      0x80
#define LINE_COMPARE 0x10 /* of CRTC_OVERFLOW, and not protected */

#define SEQ_CLOCKING      0x01
#define CLOCKING_BLANK    0x20
#define GC_MISC           0x06
#define GC_MISC_GRAPHICS  0x01
#define GC_MISC_MAP       0x0c
#define GC_MISC_MAP_MONO  0x08 /* B0000h */
#define ATTR_PALETTE_SHUT 0x20 /* of the index: the screen has the palette, and shows */
#define ATTR_MODE         0x10
#define MODE_GRAPHICS     0x01
#define MODE_BLINK        0x08
#define MODE_SELECT_54    0x80
#define ATTR_PLANES       0x12
#define ATTR_SELECT       0x14

#define STATUS_RETRACE 0x09 /* vertical retrace, and the display is off */

#define TEXT_AT      UINT64_C(0xb8000)
#define TEXT_MONO_AT UINT64_C(0xb0000)
#define TEXT_BYTES   KIB(32)
#define TEXT_CELLS   (TEXT_BYTES / 2)

struct vga_state {
	uint8_t misc;
	uint8_t feature;
	uint8_t retrace; /* what the next read of 3DAh says: 0 or STATUS_RETRACE */
	uint8_t crtc_index;
	uint8_t crtc[CRTC_REGS];
	uint8_t seq_index;
	uint8_t seq[SEQ_REGS];
	uint8_t gc_index;
	uint8_t gc[GC_REGS];
	uint8_t attr_index;
	uint8_t attr_data; /* the flip-flop: 1: data is written next */
	uint8_t attr[ATTR_REGS];
	uint8_t dac_mask;
	uint8_t dac_at;    /* the entry that is read or written next */
	uint8_t dac_part;  /* of it: 0 red, 1 green, 2 blue */
	uint8_t dac_state; /* as 3C7h reads: 0 writing, 3 reading */
	uint8_t dac_latch[2];
	uint8_t dac[256 * 3];
};

struct vga_options {
	unsigned int display; /* enum shown */
};

enum shown { SHOWN_NOT, SHOWN_DUMP, SHOWN_TEXT };

struct vga {
	struct device dev;
	struct vga_options options;
	struct vga_state state;
	struct screen screen;
	struct display *display;
	bool base_mapped, crtc_mapped, status_mapped;
};

static const struct option vga_options[] = {
	{
		.name = "display",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct vga_options, display),
		.choices = "none|dump|text",
		.fallback = "none",
		.help = "where it is shown: text: on the terminal; dump: printed at the end",
	},
	OPTION_END,
};

static const struct state_field vga_fields[] = {
	STATE_FIELD(struct vga_state, misc),      STATE_FIELD(struct vga_state, feature),
	STATE_FIELD(struct vga_state, retrace),   STATE_FIELD(struct vga_state, crtc_index),
	STATE_ARRAY(struct vga_state, crtc),      STATE_FIELD(struct vga_state, seq_index),
	STATE_ARRAY(struct vga_state, seq),       STATE_FIELD(struct vga_state, gc_index),
	STATE_ARRAY(struct vga_state, gc),        STATE_FIELD(struct vga_state, attr_index),
	STATE_FIELD(struct vga_state, attr_data), STATE_ARRAY(struct vga_state, attr),
	STATE_FIELD(struct vga_state, dac_mask),  STATE_FIELD(struct vga_state, dac_at),
	STATE_FIELD(struct vga_state, dac_part),  STATE_FIELD(struct vga_state, dac_state),
	STATE_ARRAY(struct vga_state, dac_latch), STATE_ARRAY(struct vga_state, dac),
};
static const struct state_table vga_state =
	STATE_TABLE("vga_text", 1, struct vga_state, vga_fields);

/* Mode 3 as a BIOS sets it: 80 by 25, characters of 9 by 16, the cursor two lines at their foot. */
static const uint8_t mode3_crtc[CRTC_REGS] = {
	0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, /* 00 */
	0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, /* 08 */
	0x9c, 0x8e, 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, /* 10 */
	0xff,                                           /* 18 */
};
static const uint8_t mode3_seq[SEQ_REGS] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t mode3_gc[GC_REGS] = {0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x0e, 0x00, 0xff};
static const uint8_t mode3_attr[ATTR_REGS] = {
	0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, /* 00 */
	0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, /* 08 */
	0x0c, 0x00, 0x0f, 0x08, 0x00,                   /* 10 */
};

static struct vga *to_vga(struct device *dev)
{
	return container_of(dev, struct vga, dev);
}

/* Registers */

static void write_crtc(struct vga_state *s, uint8_t v)
{
	unsigned int index = s->crtc_index;

	if (index >= CRTC_REGS)
		return;
	if (index <= CRTC_OVERFLOW && (s->crtc[CRTC_SYNC_END] & PROTECT)) {
		if (index < CRTC_OVERFLOW)
			return;
		v = (uint8_t)((s->crtc[index] & ~LINE_COMPARE) | (v & LINE_COMPARE));
	}
	s->crtc[index] = v;
}

/* One port takes index and data by turns; a read of 3DAh makes it the index's turn. */
static void write_attr(struct vga_state *s, uint8_t v)
{
	uint8_t index = s->attr_index & 0x1f;

	s->attr_data = !s->attr_data;
	if (s->attr_data)
		s->attr_index = v & 0x3f;
	else if (index < ATTR_MODE && !(s->attr_index & ATTR_PALETTE_SHUT))
		s->attr[index] = v & 0x3f;
	else if (index >= ATTR_MODE && index < ATTR_REGS)
		s->attr[index] = v;
}

static void dac_seek(struct vga_state *s, uint8_t at, uint8_t state)
{
	s->dac_at = at;
	s->dac_part = 0;
	s->dac_state = state;
}

static void dac_next(struct vga_state *s)
{
	s->dac_part++;
	if (s->dac_part < 3)
		return;
	s->dac_part = 0;
	s->dac_at++;
}

/* An entry is written when its third part comes. */
static void write_dac(struct vga_state *s, uint8_t v)
{
	uint8_t *entry = &s->dac[(size_t)3 * s->dac_at];

	if (s->dac_part < 2) {
		s->dac_latch[s->dac_part] = v & 0x3f;
	} else {
		entry[0] = s->dac_latch[0];
		entry[1] = s->dac_latch[1];
		entry[2] = v & 0x3f;
	}
	dac_next(s);
}

static uint8_t read_dac(struct vga_state *s)
{
	uint8_t v = s->dac[3 * s->dac_at + s->dac_part];

	dac_next(s);
	return v;
}

static uint8_t reg_of(const uint8_t *regs, unsigned int count, unsigned int index)
{
	return index < count ? regs[index] : 0;
}

static uint64_t base_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct vga_state *s = &to_vga(dev)->state;

	(void)size;
	switch (offset) {
	case ATTR:
		return s->attr_index;
	case ATTR_READ:
		return reg_of(s->attr, ATTR_REGS, s->attr_index & 0x1f);
	case MISC_WRITE: /* input status 0: the sense of a colour monitor */
		return 0x10;
	case ENABLE:
		return 0x01;
	case SEQ_INDEX:
		return s->seq_index;
	case SEQ_DATA:
		return reg_of(s->seq, SEQ_REGS, s->seq_index);
	case DAC_MASK:
		return s->dac_mask;
	case DAC_READ:
		return s->dac_state;
	case DAC_WRITE:
		return s->dac_at;
	case DAC_DATA:
		return read_dac(s);
	case FEATURE:
		return s->feature;
	case MISC:
		return s->misc;
	case GC_INDEX:
		return s->gc_index;
	case GC_DATA:
		return reg_of(s->gc, GC_REGS, s->gc_index);
	default:
		return 0xff;
	}
}

static void base_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct vga_state *s = &to_vga(dev)->state;
	uint8_t v = (uint8_t)value;

	(void)size;
	switch (offset) {
	case ATTR:
		write_attr(s, v);
		break;
	case MISC_WRITE:
		s->misc = v;
		break;
	case SEQ_INDEX:
		s->seq_index = v & 0x07;
		break;
	case SEQ_DATA:
		if (s->seq_index < SEQ_REGS)
			s->seq[s->seq_index] = v;
		break;
	case DAC_MASK:
		s->dac_mask = v;
		break;
	case DAC_READ:
		dac_seek(s, v, 3);
		break;
	case DAC_WRITE:
		dac_seek(s, v, 0);
		break;
	case DAC_DATA:
		write_dac(s, v);
		break;
	case GC_INDEX:
		s->gc_index = v & 0x0f;
		break;
	case GC_DATA:
		if (s->gc_index < GC_REGS)
			s->gc[s->gc_index] = v;
		break;
	default: /* read-only, or nothing */
		break;
	}
}

static uint64_t crtc_read(struct device *dev, uint64_t offset, unsigned int size)
{
	const struct vga_state *s = &to_vga(dev)->state;

	(void)size;
	return offset ? reg_of(s->crtc, CRTC_REGS, s->crtc_index) : s->crtc_index;
}

static void crtc_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct vga_state *s = &to_vga(dev)->state;

	(void)size;
	if (offset)
		write_crtc(s, (uint8_t)value);
	else
		s->crtc_index = value & 0x1f;
}

static uint64_t status_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct vga_state *s = &to_vga(dev)->state;
	uint8_t v = s->retrace;

	(void)offset;
	(void)size;
	s->attr_data = 0;
	s->retrace ^= STATUS_RETRACE;
	return v;
}

static void status_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset;
	(void)size;
	to_vga(dev)->state.feature = (uint8_t)value;
}

static const struct bus_ops base_ops = {.read = base_read, .write = base_write, .max_size = 1};
static const struct bus_ops crtc_ops = {
	.read = crtc_read,
	.write = crtc_write,
	.max_size = 1,
	.region = 1,
};
static const struct bus_ops status_ops = {
	.read = status_read,
	.write = status_write,
	.max_size = 1,
	.region = 2,
};

/* The screen */

/* The six bits of an EGA's colour, each gun at two thirds (bit 2, 1, 0) and one third (5, 4, 3). */
static void ega_colour(uint8_t rgb[3], unsigned int c)
{
	for (unsigned int gun = 0; gun < 3; gun++)
		rgb[gun] = (uint8_t)((c >> (2 - gun) & 1) * 0x2a + (c >> (5 - gun) & 1) * 0x15);
}

/* The entry of the DAC that attribute colour @c comes to. */
static const uint8_t *dac_entry(const struct vga_state *s, unsigned int c)
{
	unsigned int select = s->attr[ATTR_SELECT];
	unsigned int i = s->attr[c & s->attr[ATTR_PLANES] & 0x0f] | (select & 0x0c) << 4;

	if (s->attr[ATTR_MODE] & MODE_SELECT_54)
		i = (i & ~0x30u) | (select & 0x03) << 4;
	return &s->dac[(size_t)3 * (i & s->dac_mask)];
}

/* A terminal's colour for one of the DAC: the nearest of the 16 that mode 3 has. */
static uint8_t terminal_colour(const uint8_t *rgb)
{
	unsigned int best = 0, best_distance = UINT32_MAX;

	for (unsigned int i = 0; i < 16; i++) {
		unsigned int distance = 0;
		uint8_t of[3];

		ega_colour(of, mode3_attr[i]);
		for (unsigned int gun = 0; gun < 3; gun++)
			distance += (unsigned int)((of[gun] - rgb[gun]) * (of[gun] - rgb[gun]));
		if (distance < best_distance) {
			best_distance = distance;
			best = i;
		}
	}
	/* Blue is bit 0 here, and bit 2 there. */
	return (uint8_t)((best & 0x0a) | (best & 1) << 2 | (best >> 2 & 1));
}

static unsigned int rows_shown(const struct vga_state *s)
{
	unsigned int over = s->crtc[CRTC_OVERFLOW], max_scan = s->crtc[CRTC_MAX_SCAN];
	unsigned int lines = (s->crtc[CRTC_LINES] | (over & 0x02) << 7 | (over & 0x40) << 3) + 1;
	unsigned int each = ((max_scan & 0x1f) + 1) << (max_scan >> 7);

	return MIN(MAX(lines / each, 1u), SCREEN_ROWS_MAX);
}

static unsigned int pair_of(const struct vga_state *s, unsigned int high)
{
	return (unsigned int)s->crtc[high] << 8 | s->crtc[high + 1];
}

static void find_cursor(const struct vga_state *s, struct screen_frame *f)
{
	unsigned int start = s->crtc[CRTC_CUR_START], first = start & 0x1f;
	unsigned int pitch = MAX(2u * s->crtc[CRTC_OFFSET], f->cols);
	unsigned int at = (pair_of(s, CRTC_CUR_HIGH) - pair_of(s, CRTC_START_HIGH)) % TEXT_CELLS;

	f->cursor_row = at / pitch;
	f->cursor_col = at % pitch;
	f->cursor = !(start & 0x20) && first <= (s->crtc[CRTC_CUR_END] & 0x1f) &&
		    first <= (s->crtc[CRTC_MAX_SCAN] & 0x1f) && f->cursor_row < f->rows &&
		    f->cursor_col < f->cols;
}

/* The guest may write to the text at the same moment: each cell is fetched once, as it is then. */
static void fetch_cells(const struct vga *v, struct screen_frame *f)
{
	const struct vga_state *s = &v->state;
	bool mono = (s->gc[GC_MISC] & GC_MISC_MAP) == GC_MISC_MAP_MONO;
	const volatile uint16_t *text =
		gmem_hva(v->dev.machine->mem, mono ? TEXT_MONO_AT : TEXT_AT, TEXT_BYTES);
	unsigned int pitch = 2u * s->crtc[CRTC_OFFSET], start = pair_of(s, CRTC_START_HIGH);
	uint16_t *cell = f->cells;

	for (unsigned int row = 0; row < f->rows; row++)
		for (unsigned int col = 0; col < f->cols; col++)
			*cell++ = text[(start + row * pitch + col) % TEXT_CELLS];
}

static void vga_look(struct device *dev, struct screen_frame *f)
{
	const struct vga *v = to_vga(dev);
	const struct vga_state *s = &v->state;
	bool dark = (s->seq[SEQ_CLOCKING] & CLOCKING_BLANK) || !(s->attr_index & ATTR_PALETTE_SHUT);

	f->cols = MIN(s->crtc[CRTC_COLS] + 1u, SCREEN_COLS_MAX);
	f->rows = rows_shown(s);
	f->blink = s->attr[ATTR_MODE] & MODE_BLINK;
	f->graphics = (s->gc[GC_MISC] & GC_MISC_GRAPHICS) || (s->attr[ATTR_MODE] & MODE_GRAPHICS);
	for (unsigned int c = 0; c < 16; c++)
		f->colours[c] = terminal_colour(dac_entry(s, c));
	find_cursor(s, f);
	if (!dark && !f->graphics) {
		fetch_cells(v, f);
		return;
	}
	f->cursor = false;
	for (unsigned int i = 0; i < f->cols * f->rows; i++)
		f->cells[i] = SCREEN_BLANK;
}

/* The instance */

static int map_ports(struct vga *v, struct err *err)
{
	struct bus *ports = v->dev.machine->ports;
	int ret;

	ret = bus_map(ports, PORT_3C0, PORTS_3C0, &base_ops, &v->dev, err);
	v->base_mapped = !ret;
	if (ret)
		return ret;
	ret = bus_map(ports, PORT_CRTC, 2, &crtc_ops, &v->dev, err);
	v->crtc_mapped = !ret;
	if (ret)
		return ret;
	ret = bus_map(ports, PORT_STATUS, 1, &status_ops, &v->dev, err);
	v->status_mapped = !ret;
	return ret;
}

static int vga_create(struct device *dev, struct err *err)
{
	struct vga *v = to_vga(dev);
	int ret = map_ports(v, err);

	if (ret)
		return ret;
	if (!gmem_hva(dev->machine->mem, TEXT_MONO_AT, 2 * TEXT_BYTES))
		return err_set(err, EINVAL, "there is no memory at 0x%llx for a screen",
			       (unsigned long long)TEXT_MONO_AT);
	v->screen = (struct screen){
		.dev = dev,
		.look = vga_look,
		.read_at_end = v->options.display != SHOWN_NOT,
	};
	dev->machine->screen = &v->screen;
	return v->options.display == SHOWN_TEXT ? display_open(&v->display, dev, err) : 0;
}

static void vga_reset(struct device *dev)
{
	struct vga *v = to_vga(dev);
	uint16_t *text = gmem_hva(dev->machine->mem, TEXT_AT, TEXT_BYTES);

	v->state = (struct vga_state){
		.misc = 0x67, /* colour, 28 MHz, 400 lines */
		.attr_index = ATTR_PALETTE_SHUT,
		.dac_mask = 0xff,
	};
	memcpy(v->state.crtc, mode3_crtc, sizeof(mode3_crtc));
	memcpy(v->state.seq, mode3_seq, sizeof(mode3_seq));
	memcpy(v->state.gc, mode3_gc, sizeof(mode3_gc));
	memcpy(v->state.attr, mode3_attr, sizeof(mode3_attr));
	for (unsigned int c = 0; c < 64; c++)
		ega_colour(&v->state.dac[(size_t)3 * c], c);
	for (unsigned int i = 0; i < TEXT_CELLS; i++)
		text[i] = SCREEN_BLANK;
}

static int vga_loaded(struct device *dev, struct err *err)
{
	const struct vga_state *s = &to_vga(dev)->state;

	if ((s->retrace && s->retrace != STATUS_RETRACE) || s->crtc_index > 0x1f ||
	    s->seq_index > 0x07 || s->gc_index > 0x0f || s->attr_index > 0x3f || s->attr_data > 1 ||
	    s->dac_part > 2 || (s->dac_state != 0 && s->dac_state != 3))
		return err_set(err, EPROTO, "%s: not a state that a VGA can be in", dev->id);
	for (unsigned int i = 0; i < ATTR_MODE; i++)
		if (s->attr[i] > 0x3f)
			return err_set(err, EPROTO, "%s: colour %u of the palette has 6 bits",
				       dev->id, i);
	return 0;
}

static void vga_destroy(struct device *dev)
{
	struct vga *v = to_vga(dev);
	struct machine *m = dev->machine;

	display_close(v->display);
	if (m->screen == &v->screen)
		m->screen = NULL;
	if (v->base_mapped)
		bus_unmap(m->ports, PORT_3C0);
	if (v->crtc_mapped)
		bus_unmap(m->ports, PORT_CRTC);
	if (v->status_mapped)
		bus_unmap(m->ports, PORT_STATUS);
}

static void vga_describe(const struct device *dev, struct aml *aml)
{
	(void)dev;
	aml_has_vga(aml);
}

/* Explaining: for each index register what it holds; and whether 3C0h takes data next. */

enum { EXPLAIN_ATTR, EXPLAIN_SEQ, EXPLAIN_GC, EXPLAIN_CRTC, EXPLAIN_FLIP };

static const char *crtc_word(uint8_t index)
{
	static const char *const names[CRTC_REGS] = {
		[CRTC_COLS] = "columns",
		[CRTC_OVERFLOW] = "overflow",
		[CRTC_MAX_SCAN] = "maximum scan line",
		[CRTC_CUR_START] = "cursor start",
		[CRTC_CUR_END] = "cursor end",
		[CRTC_START_HIGH] = "start address, high",
		[CRTC_START_LOW] = "start address, low",
		[CRTC_CUR_HIGH] = "cursor location, high",
		[CRTC_CUR_LOW] = "cursor location, low",
		[CRTC_SYNC_END] = "vertical retrace end",
		[CRTC_LINES] = "vertical display end",
		[CRTC_OFFSET] = "offset",
	};

	return index < CRTC_REGS && names[index] ? names[index] : "";
}

static void explain_crtc(const struct access *a, uint8_t *memory, struct explanation *e)
{
	if (!a->offset && a->size == 1) {
		explain_reg(e, "CRTC_INDEX");
		explain_add(e, "%s", crtc_word((uint8_t)a->value));
		memory[EXPLAIN_CRTC] = a->write ? (uint8_t)a->value : memory[EXPLAIN_CRTC];
		return;
	}
	explain_reg(e, "CRTC_%02x", memory[EXPLAIN_CRTC]);
	explain_add(e, "%s", crtc_word(memory[EXPLAIN_CRTC]));
}

/* Index and data by turns, until the status is read. */
static void explain_attr(const struct access *a, uint8_t *memory, struct explanation *e)
{
	if (memory[EXPLAIN_FLIP]) {
		explain_reg(e, "ATTR_%02x", memory[EXPLAIN_ATTR] & 0x1fU);
	} else {
		explain_reg(e, "ATTR_INDEX");
		if (a->write && !(a->value & ATTR_PALETTE_SHUT))
			explain_add(e, "screen off");
	}
	if (!a->write)
		return;
	memory[EXPLAIN_ATTR] = memory[EXPLAIN_FLIP] ? memory[EXPLAIN_ATTR] : (uint8_t)a->value;
	memory[EXPLAIN_FLIP] ^= 1;
}

static void explain_base(const struct access *a, uint8_t *memory, struct explanation *e)
{
	static const char *const names[PORTS_3C0] = {
		[ATTR_READ] = "ATTR_DATA", [MISC_WRITE] = "MISC_OUTPUT", [ENABLE] = "ENABLE",
		[SEQ_INDEX] = "SEQ_INDEX", [DAC_MASK] = "DAC_MASK",      [DAC_READ] = "DAC_READ",
		[DAC_WRITE] = "DAC_WRITE", [DAC_DATA] = "DAC_DATA",      [FEATURE] = "FEATURE",
		[MISC] = "MISC_OUTPUT",    [GC_INDEX] = "GC_INDEX",
	};
	const uint8_t value = (uint8_t)a->value;

	switch (a->offset % PORTS_3C0) {
	case ATTR:
		explain_attr(a, memory, e);
		return;
	case SEQ_DATA:
		explain_reg(e, "SEQ_%02x", memory[EXPLAIN_SEQ]);
		return;
	case GC_DATA:
		explain_reg(e, "GC_%02x", memory[EXPLAIN_GC]);
		return;
	case SEQ_INDEX:
		memory[EXPLAIN_SEQ] = a->write ? value : memory[EXPLAIN_SEQ];
		break;
	case GC_INDEX:
		memory[EXPLAIN_GC] = a->write ? value : memory[EXPLAIN_GC];
		break;
	default:
		break;
	}
	if (names[a->offset % PORTS_3C0])
		explain_reg(e, "%s", names[a->offset % PORTS_3C0]);
}

static void vga_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	switch (a->region) {
	case 0:
		explain_base(a, m->byte, e);
		break;
	case 1:
		explain_crtc(a, m->byte, e);
		break;
	default:
		explain_reg(e, a->write ? "FEATURE" : "STATUS_1");
		if (!a->write) {
			m->byte[EXPLAIN_FLIP] = 0;
			explain_add(e, a->value & STATUS_RETRACE ? "retrace" : "display");
		}
		break;
	}
}

DEVICE_CLASS(vga_text) = {
	.name = "vga_text",
	.summary = "VGA that shows text: 80 by 25 at B8000h",
	.size = sizeof(struct vga),
	.options = vga_options,
	.options_offset = offsetof(struct vga, options),
	.state = &vga_state,
	.state_offset = offsetof(struct vga, state),
	.create = vga_create,
	.reset = vga_reset,
	.loaded = vga_loaded,
	.destroy = vga_destroy,
	.describe = vga_describe,
	.explain = vga_explain,
};
