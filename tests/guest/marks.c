/* SPDX-License-Identifier: BSD-2-Clause */
/* marks - says how far it has got, as the timeline has it (devices/post_port.c). */
#include "guest.h"

static void mark(const char *name)
{
	out8(0x80, 0xa5);
	out8(0x80, 0x5a);
	out8(0x80, 0);
	for (const char *at = name; *at; at++)
		out8(0x80, (uint8_t)*at);
	out8(0x80, 0);
}

int guest_main(void)
{
	/* Codes as firmware has them. */
	for (unsigned int code = 0; code < 0x40; code++)
		out8(0x80, (uint8_t)code);
	out8(0x80, 0xa5);
	out8(0x80, 0x5a);
	out8(0x80, 7);
	if (boot_number("log", 0))
		say("[    0.000001] Run /init as init process\n");
	mark("ready");
	return 0;
}
