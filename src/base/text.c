/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/text.h"

#include <stdio.h>
#include <string.h>

#include "skep/bits.h"

struct size_text size_text(uint64_t bytes)
{
	const double kib = 1024, mib = 1024 * kib, gib = 1024 * mib;
	struct size_text t;

	if (bytes < KIB(1))
		snprintf(t.s, sizeof(t.s), "%llu byte%s", (unsigned long long)bytes,
			 bytes == 1 ? "" : "s");
	else if (bytes < MIB(1))
		snprintf(t.s, sizeof(t.s), "%.4g KiB", (double)bytes / kib);
	else if (bytes < GIB(1))
		snprintf(t.s, sizeof(t.s), "%.4g MiB", (double)bytes / mib);
	else
		snprintf(t.s, sizeof(t.s), "%.4g GiB", (double)bytes / gib);
	return t;
}

/* More would come, and may make something whole of these bytes. */
#define UNFINISHED ((size_t)-1)

/*
 * The character at @p by RFC 3629: returns its bytes and fills *@c; 0 when they are no UTF-8,
 * UNFINISHED when they end early.
 */
static size_t utf8_decode(const uint8_t *p, size_t len, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n;

	if (*p < 0x80) {
		*c = *p;
		return 1;
	}
	n = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	*c = *p & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (i == len)
			return UNFINISHED;
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3fu);
	}
	return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff) ? 0 : n;
}

/* Shown by nobody as it stands: controls, what turns the direction of text, no characters. */
static bool utf8_hidden(uint32_t c)
{
	return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0) ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x2069) || c == 0xfeff || (c & 0xfffe) == 0xfffe;
}

/* How @p goes into @piece; returns how many of its bytes that are. */
static size_t safe_piece(char piece[16], const uint8_t *p, size_t len, bool more)
{
	uint32_t c = *p;
	size_t n = 0;

	if (c == '\r') {
		while (n < len && p[n] == '\r')
			n++;
		piece[0] = '\0';
		if (n == len && more)
			return UNFINISHED;
		if (n < len && p[n] == '\n')
			return n;
		n = 1;
	} else {
		n = utf8_decode(p, len, &c);
	}
	if (n == UNFINISHED && more)
		return n;
	if (!n || n == UNFINISHED || (n == 1 && utf8_hidden(c))) {
		snprintf(piece, 16, "\\x%02x", *p);
		return 1;
	}
	if (utf8_hidden(c)) {
		snprintf(piece, 16, c > 0xffff ? "\\U%06x" : "\\u%04x", c);
		return n;
	}
	memcpy(piece, p, n);
	piece[n] = '\0';
	return n;
}

size_t text_safe(char *out, size_t room, const void *bytes, size_t len, bool more, size_t *taken)
{
	const uint8_t *p = bytes;
	size_t at = 0, to = 0;

	while (at < len) {
		char piece[16];
		size_t n, wide;

		/* Most are. */
		if (p[at] >= ' ' && p[at] < 0x7f) {
			if (to + 1 >= room)
				break;
			out[to++] = (char)p[at++];
			continue;
		}
		n = safe_piece(piece, p + at, len - at, more);
		wide = strlen(piece);

		if (n == UNFINISHED || to + wide >= room)
			break;
		memcpy(out + to, piece, wide);
		to += wide;
		at += n;
	}
	if (room)
		out[to] = '\0';
	if (taken)
		*taken = at;
	return to;
}
