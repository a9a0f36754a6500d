/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot - from start.S to the program and to its end; what the loader left in boot_params.
 */
#include <asm/bootparam.h>

#include "guest.h"

#define EXIT_PORT 0xf4

void guest_start(void);

void guest_exit(unsigned int code)
{
	out8(EXIT_PORT, (uint8_t)code);
	guest_halt();
}

void guest_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_start(void)
{
	/* 8 data bits, no parity; DTR and RTS. The rate means nothing to a virtual UART. */
	out8(COM1 + 3, 0x03);
	out8(COM1 + 4, 0x03);
	guest_exit((unsigned int)guest_main());
}

const struct boot_params *boot_params(void)
{
	return (const struct boot_params *)(uintptr_t)entry.esi;
}

const char *boot_cmdline(void)
{
	const struct boot_params *bp = boot_params();

	if (!bp->hdr.cmd_line_ptr || bp->ext_cmd_line_ptr)
		return "";
	return (const char *)(uintptr_t)bp->hdr.cmd_line_ptr;
}

bool boot_word(const char **at, struct word *w)
{
	const char *p = *at;

	*w = (struct word){0};
	while (*p == ' ')
		p++;
	w->name = p;
	for (; *p && *p != ' '; p++)
		if (*p == '=' && !w->value)
			w->value = p + 1;
	w->name_len = (size_t)((w->value ? w->value - 1 : p) - w->name);
	if (w->value)
		w->value_len = (size_t)(p - w->value);
	*at = p;
	return p != w->name;
}

bool word_is(const struct word *w, const char *name)
{
	for (size_t i = 0; i < w->name_len; i++)
		if (w->name[i] != name[i])
			return false;
	return !name[w->name_len];
}

bool word_number(const struct word *w, uint64_t *v)
{
	const char *p = w->value, *end = w->value + w->value_len;
	unsigned int base = 10;

	*v = 0;
	if (w->value_len > 2 && p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	if (p == end)
		return false;
	for (; p < end; p++) {
		unsigned int digit = (unsigned int)(*p - '0');

		if (digit > 9 && base == 16)
			digit = (unsigned int)((*p | 0x20) - 'a' + 10);
		if (digit >= base)
			break;
		*v = *v * base + digit;
	}
	if (p + 1 == end && p > w->value) {
		if (*p == 'K')
			*v <<= 10;
		else if (*p == 'M')
			*v <<= 20;
		else if (*p == 'G')
			*v <<= 30;
		else
			return false;
		return true;
	}
	return p == end;
}

uint64_t words_number(const char *words, const char *name, uint64_t otherwise)
{
	struct word w;
	uint64_t v;

	while (boot_word(&words, &w))
		if (word_is(&w, name) && word_number(&w, &v))
			return v;
	return otherwise;
}

uint64_t boot_number(const char *name, uint64_t otherwise)
{
	return words_number(boot_cmdline(), name, otherwise);
}
