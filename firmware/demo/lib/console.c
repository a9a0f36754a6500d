/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * console - text to COM1, a line at a time.
 *
 * A line is sent with one REP OUTSB: a virtual 16550A takes any number of bytes at once, where a
 * real one would want to be asked every 16. The transmitter is looked at once a line, for a bounded
 * time.
 */
#include <stdarg.h>

#include "guest.h"

#define LSR_THRE 0x20

static char line[254];
static unsigned int len;

static void console_send(void)
{
	for (unsigned int tries = 0; tries < 10000 && !(in8(COM1 + 5) & LSR_THRE); tries++)
		pause();
	outs8(COM1, line, len);
	len = 0;
}

static void put(const char *s, size_t n)
{
	size_t room;

	while (n > (room = sizeof(line) - len)) {
		memcpy(line + len, s, room);
		s += room;
		n -= room;
		len = sizeof(line);
		console_send();
	}
	memcpy(line + len, s, n);
	len += (unsigned int)n;
}

static void put_padded(const char *s, size_t n, unsigned int width, bool left, char fill)
{
	size_t pad = width > n ? width - n : 0;

	if (left)
		put(s, n);
	for (; pad; pad--) {
		if (len == sizeof(line))
			console_send();
		line[len++] = fill;
	}
	if (!left)
		put(s, n);
}

static void put_number(uint64_t v, unsigned int base, unsigned int width, bool left, char fill)
{
	char digits[20];
	char *at = digits + sizeof(digits);

	do {
		*--at = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put_padded(at, (size_t)(digits + sizeof(digits) - at), width, left, fill);
}

void say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	while (*fmt) {
		bool left = false, is_long = false;
		unsigned int width = 0;
		char c, fill = ' ';
		const char *s = fmt;

		while (*fmt && *fmt != '\n' && *fmt != '%')
			fmt++;
		put(s, (size_t)(fmt - s));
		if (!*fmt)
			break;
		if (*fmt == '\n') {
			put("\r\n", 2);
			console_send();
			fmt++;
			continue;
		}
		if (*++fmt == '-')
			left = *fmt++;
		if (*fmt == '0')
			fill = *fmt++;
		while (*fmt >= '0' && *fmt <= '9')
			width = width * 10 + (unsigned int)(*fmt++ - '0');
		if (*fmt == 'l')
			is_long = *fmt++;
		switch (*fmt) {
		case 's':
			s = va_arg(args, const char *);
			put_padded(s, strlen(s), width, left, ' ');
			break;
		case 'c':
			c = (char)va_arg(args, int);
			put_padded(&c, 1, width, left, ' ');
			break;
		case 'u':
		case 'x':
			put_number(is_long ? va_arg(args, uint64_t) : va_arg(args, unsigned int),
				   *fmt == 'u' ? 10 : 16, width, left, fill);
			break;
		default:
			put(fmt, 1);
		}
		fmt++;
	}
	va_end(args);
}

/*
 * What the compiler calls by itself. By assembly, or it would recognise the loops and call these
 * very functions. Quads first, for the sake of hosts that emulate each repetition.
 */
void *memcpy(void *to, const void *from, size_t n)
{
	void *at = to;
	size_t quads = n / 8;

	n %= 8;
	__asm__ volatile("rep movsq" : "+D"(at), "+S"(from), "+c"(quads) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memset(void *to, int byte, size_t n)
{
	void *at = to;
	size_t quads = n / 8;
	uint64_t pattern = 0x0101010101010101 * (uint8_t)byte;

	n %= 8;
	__asm__ volatile("rep stosq" : "+D"(at), "+c"(quads) : "a"(pattern) : "memory");
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(pattern) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p < *q ? -1 : 1;
	return 0;
}

size_t strlen(const char *s)
{
	const char *end = s;

	while (*end)
		end++;
	return (size_t)(end - s);
}
