/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `skep inspect` found, for a person: facts, and a picture of guest memory.
 */
#include <stdio.h>
#include <string.h>

#include "inspect.h"
#include "skep/bits.h"
#include "skep/text.h"

#define LINE "  %-18s "
#define EDGE "+------------------------------------------+"

static void draw_edge(uint64_t gpa)
{
	printf("    %#14llx " EDGE "\n", (unsigned long long)gpa);
}

static void draw_row(const char *name, uint64_t from, uint64_t len, const char *mark)
{
	printf("                   | %-24s %15s |%s\n", name, size_text(len).s, mark);
	draw_edge(from);
}

static const char *entry_mark(const struct boot_piece *p, uint64_t entry)
{
	if (entry < p->gpa || entry - p->gpa >= p->len)
		return "";
	return entry == p->gpa ? " <- entered at its start" : " <- entered here";
}

/*
 * One entry of the map from its top down: the pieces within it, and what is free between them. In
 * the picture, pieces end at the ends of pages, or it would be full of slivers.
 */
static void draw_entry(const struct e820_entry *e, const struct boot_layout *l)
{
	const char *rest = e->type == E820_RAM ? "" : e820_type_name(e->type);
	uint64_t top = e->gpa + e->len;

	for (unsigned int i = l->count; i--;) {
		const struct boot_piece *p = &l->pieces[i];
		const uint64_t end = align_up(p->gpa + p->len, KIB(4));

		if (!ranges_overlap(p->gpa, p->len, e->gpa, e->len))
			continue;
		if (end < top)
			draw_row(rest, end, top - end, "");
		draw_row(p->name, p->gpa, p->len, entry_mark(p, l->entry));
		top = p->gpa;
	}
	if (top > e->gpa)
		draw_row(rest, e->gpa, top - e->gpa, "");
}

static void draw_map(const struct e820 *map, const struct boot_layout *l)
{
	uint64_t top = 0;

	for (unsigned int i = map->count; i--;) {
		const struct e820_entry *e = &map->entries[i];

		if (!top)
			draw_edge(e->gpa + e->len);
		else if (e->gpa + e->len < top)
			draw_row("(devices)", e->gpa + e->len, top - e->gpa - e->len, "");
		draw_entry(e, l);
		top = e->gpa;
	}
}

static void print_protocols(const struct finding *f)
{
	const char *label = "also by";

	for (unsigned int i = 0; i < f->info.protocol_count; i++) {
		const struct boot_protocol_info *p = &f->info.protocols[i];

		if (strcmp(p->name, f->layout.protocol))
			continue;
		printf(LINE "by %s (%s)\n", "boots", p->words, p->name);
		printf(LINE "%s\n", "because", p->why);
		printf(LINE "at 0x%llx, in %s\n", "entered", (unsigned long long)f->layout.entry,
		       f->layout.mode);
	}
	for (unsigned int i = 0; i < f->info.protocol_count; i++) {
		const struct boot_protocol_info *p = &f->info.protocols[i];

		if (!p->usable || !strcmp(p->name, f->layout.protocol))
			continue;
		printf(LINE "%s (--protocol %s)\n", label, p->words, p->name);
		label = "";
	}
}

/* What each protocol misses, when none will do. */
static void print_missing(const struct boot_info *info)
{
	const char *label = "not by";

	for (unsigned int i = 0; i < info->protocol_count; i++) {
		if (info->protocols[i].usable)
			continue;
		printf(LINE "%s: %s\n", label, info->protocols[i].name, info->protocols[i].why);
		label = "";
	}
}

void inspect_print(const struct inspection *in, const struct finding *f)
{
	const struct boot_info *info = &f->info;

	if (!f->opened)
		return;
	printf("%s\n" LINE "%s\n", f->path, "format", info->format);
	for (unsigned int i = 0; i < info->fact_count; i++)
		printf(LINE "%s\n", info->facts[i].label, info->facts[i].text);
	if (!f->boots) {
		printf(LINE "no: %s\n", "boots", f->why.text);
		if (!info->chosen)
			print_missing(info);
		putchar('\n');
		return;
	}
	print_protocols(f);
	printf(LINE "%llu MiB%s\n", "least memory",
	       (unsigned long long)(f->layout.least_memory >> 20),
	       in->initrd_count ? " with this initrd" : "");
	printf(LINE "where everything goes with %s\n\n", "memory", size_text(in->memory).s);
	draw_map(&in->map, &f->layout);
	putchar('\n');
}
