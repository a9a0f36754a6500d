/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 7 - a module: a file that the loader put into memory beside the kernel, with words of its
 * own, and the memory map (Multiboot Specification 0.6.96, section 3.3).
 */
#include "lab.h"

#define HAS_MODS 0x08
#define HAS_MAP  0x40

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device;
	const char *cmdline;
	uint32_t mods_count;
	const struct module *mods;
	uint32_t symbols[4];
	uint32_t mmap_length;
	const uint8_t *mmap;
};

struct module {
	const char *start, *end;
	const char *words;
	uint32_t reserved;
};

/* An entry of the map: its size without this word, address, length, type; 1 is RAM. */
struct entry {
	uint32_t size;
	uint64_t address, length;
	uint32_t type;
} __attribute__((packed));

void kernel_main(uint32_t magic, const uint32_t *words)
{
	const struct info *info = (const struct info *)words;
	const uint8_t *at = info->mmap;

	if (magic != 0x2badb002 || !(info->flags & HAS_MAP))
		end(1);
	while (at < info->mmap + info->mmap_length) {
		const struct entry *e = (const struct entry *)at;

		say_hex((uint32_t)e->address);
		say(" and ");
		say_number((uint32_t)(e->length >> 10));
		say(e->type == 1 ? " KiB of RAM\n" : " KiB of something else\n");
		at += e->size + 4;
	}
	if (!(info->flags & HAS_MODS) || !info->mods_count)
		end(2);
	say("module ");
	say(info->mods->words);
	say(": ");
	for (const char *c = info->mods->start; c < info->mods->end; c++)
		put(*c);
	end(0);
}
