/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "skep/bits.h"
#include "stream.h"

#define ESC 0x1b
#define BEL 0x07
#define CAN 0x18
#define SUB 0x1a
#define DEL 0x7f

static void end_line(struct stream *s, const struct stream_sink *sink)
{
	s->line[s->len] = '\0';
	sink->line(sink->arg, s, STREAM_LINE);
	s->len = s->from = 0;
	s->cut = s->met = s->seen = false;
}

static void drop_half(struct stream *s, const struct stream_sink *sink)
{
	const size_t half = STREAM_LINE_MAX / 2;

	s->line[s->len] = '\0';
	sink->line(sink->arg, s, STREAM_PIECE);
	memmove(s->line, s->line + half, s->len - half);
	s->len -= half;
	s->from -= MIN(s->from, half);
	s->cut = true;
}

static void add(struct stream *s, const uint8_t *data, size_t len, const struct stream_sink *sink)
{
	while (len) {
		const size_t n = MIN(len, STREAM_LINE_MAX - s->len);

		memcpy(s->line + s->len, data, n);
		s->len += n;
		s->seen = false;
		data += n;
		len -= n;
		if (s->len == STREAM_LINE_MAX)
			drop_half(s, sink);
	}
}

/* ECMA-48: 5.4 control sequences, 5.6 control strings; ECMA-35 13.2: escape sequences. */
static enum stream_escape behind(enum stream_escape escape, uint8_t byte)
{
	if (byte == ESC)
		return ESCAPE_BEGUN;
	if (byte == CAN || byte == SUB)
		return ESCAPE_NONE;
	if (escape == ESCAPE_CSI)
		return byte >= 0x40 && byte <= 0x7e ? ESCAPE_NONE : ESCAPE_CSI;
	if (escape == ESCAPE_TEXT)
		return byte == BEL ? ESCAPE_NONE : ESCAPE_TEXT;
	if (escape == ESCAPE_BEGUN && byte == '[')
		return ESCAPE_CSI;
	if (escape == ESCAPE_BEGUN && byte && strchr("]PX^_", byte))
		return ESCAPE_TEXT;
	return byte >= 0x20 && byte <= 0x2f ? ESCAPE_SHORT : ESCAPE_NONE;
}

static void in_escape(struct stream *s, uint8_t byte)
{
	s->escape = ++s->escape_len < STREAM_ESCAPE_MAX ? behind(s->escape, byte) : ESCAPE_NONE;
}

static void special(struct stream *s, uint8_t byte, const struct stream_sink *sink)
{
	if (byte == '\n') {
		s->escape = ESCAPE_NONE;
		s->cr = false;
		end_line(s, sink);
	} else if (byte == '\r') {
		s->escape = ESCAPE_NONE;
		s->cr = true;
	} else if (s->escape != ESCAPE_NONE) {
		in_escape(s, byte);
	} else if (byte == ESC) {
		s->escape = ESCAPE_BEGUN;
		s->escape_len = 0;
	}
}

static bool is_plain(uint8_t byte)
{
	return (byte >= 0x20 && byte != DEL) || byte == '\t';
}

/* As many bytes of text as there are in one piece. */
static size_t plain_run(const uint8_t *data, size_t len)
{
	size_t n = 0;

	while (n < len && is_plain(data[n]))
		n++;
	return n;
}

void stream_feed(struct stream *s, const uint8_t *data, size_t len, const struct stream_sink *sink)
{
	while (len) {
		size_t n = s->escape == ESCAPE_NONE ? plain_run(data, len) : 0;

		/* A CR alone began the line anew; one at its very start ends nothing. */
		if (n && s->cr && s->len)
			end_line(s, sink);
		if (n) {
			s->cr = false;
			add(s, data, n, sink);
		} else {
			special(s, data[0], sink);
			n = 1;
		}
		data += n;
		len -= n;
	}
}

void stream_look(struct stream *s, const struct stream_sink *sink)
{
	if (s->seen || !s->len)
		return;
	s->seen = true;
	s->line[s->len] = '\0';
	sink->line(sink->arg, s, STREAM_OPEN);
}

void stream_end(struct stream *s, const struct stream_sink *sink)
{
	if (s->len)
		end_line(s, sink);
	s->escape = ESCAPE_NONE;
	s->cr = false;
}
