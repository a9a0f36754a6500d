/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep inspect - what a kernel image is, how it would be booted and where it would lie, or why it
 * cannot be booted. Asks the loader itself, so that what it says is what `skep run` does.
 */
#include <stdio.h>
#include <string.h>

#include "cli_priv.h"
#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/config.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define INITRDS_MAX  16
#define MEMORY_LEAST MIB(1)
#define MEMORY_MOST  GIB(64 * 1024)

/* What the flags ask for. */
struct inspection {
	uint64_t memory;
	unsigned int initrd_count;
	struct boot_image *initrds[INITRDS_MAX];
	struct e820 map;
};

static int apply_memory(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;

	if (parse_size(value, &in->memory) || in->memory < MEMORY_LEAST ||
	    in->memory > MEMORY_MOST || in->memory % KIB(4))
		return err_set(err, EINVAL,
			       "--%s: '%.64s' is not a size of memory like 512M, from 1M up",
			       flag->name, value);
	return 0;
}

static int apply_initrd(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;
	int ret;

	if (in->initrd_count == INITRDS_MAX)
		return err_set(err, EINVAL, "--%s: more than %d of them", flag->name, INITRDS_MAX);
	ret = boot_open(&in->initrds[in->initrd_count], "initrd", value, err);
	if (!ret)
		in->initrd_count++;
	return ret;
}

const struct flag inspect_flags[] = {
	{'m', "memory", "SIZE", "memory of the guest that is drawn (default 512M)", apply_memory,
	 NULL},
	{'i', "initrd", "FILE", "an initrd to go with the kernel; repeatable", apply_initrd, NULL},
	{0, NULL, NULL, NULL, NULL, NULL},
};

struct text {
	char s[48];
};

static struct text size_text(uint64_t bytes)
{
	const double kib = 1024, mib = 1024 * kib, gib = 1024 * mib;
	struct text t;

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

#define LINE "  %-18s "

/* boot.rst, xloadflags */
static void print_xloadflags(uint16_t flags)
{
	static const char *const words[] = {
		"64-bit kernel", "loadable above 4 GiB", "EFI handover (32-bit)", "EFI handover",
		"EFI kexec",     "5-level paging",       "5-level paging on",
	};
	const char *between = "";

	printf(LINE, "flags");
	for (unsigned int i = 0; i < 16; i++) {
		if (!(flags & bit64(i)))
			continue;
		if (i < ARRAY_SIZE(words))
			printf("%s%s", between, words[i]);
		else
			printf("%sbit %u", between, i);
		between = ", ";
	}
	printf("%s\n", *between ? "" : "none");
}

static void print_sizes(const struct boot_info *info)
{
	const uint64_t used = info->setup_size + info->code_size;

	printf(LINE "%s: %s of setup code, %s of kernel", "size", size_text(info->size).s,
	       size_text(info->setup_size).s, size_text(info->code_size).s);
	if (info->size > used)
		printf(", %s behind it", size_text(info->size - used).s);
	putchar('\n');
	if (info->payload_length)
		printf(LINE "%s, %s at 0x%llx\n", "payload",
		       info->payload ? info->payload : "of unknown compression",
		       size_text(info->payload_length).s,
		       (unsigned long long)info->setup_size + info->payload_offset);
}

static void print_linux(const struct boot_info *info)
{
	if (info->version[0])
		printf(LINE "%s\n", "version", info->version);
	printf(LINE "%u.%02u\n", "boot protocol", info->protocol >> 8, info->protocol & 0xffu);
	print_sizes(info);
	printf(LINE, "wants to be at");
	if (info->pref_address)
		printf("0x%llx", (unsigned long long)info->pref_address);
	else
		printf("0x%llx, where every bzImage may be", (unsigned long long)MIB(1));
	if (info->relocatable)
		printf(", or higher in steps of %s\n", size_text(info->kernel_alignment).s);
	else
		printf(", not relocatable\n");
	if (info->init_size)
		printf(LINE "%s from there%s\n", "unpacks itself in", size_text(info->init_size).s,
		       info->protocol < 0x020a ? " (estimated: it does not say)" : "");
	if (info->protocol >= 0x020c)
		print_xloadflags(info->xloadflags);
	if (info->cmdline_size)
		printf(LINE "%u characters at most\n", "command line", info->cmdline_size);
	if (info->initrd_addr_max)
		printf(LINE "up to 0x%x\n", "initrd", info->initrd_addr_max);
}

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

/*
 * One entry of the map from its top down: the pieces within it, and what is free between them. In
 * the picture, pieces end at the ends of pages, or it would be full of slivers.
 */
static void draw_entry(const struct e820_entry *e, const struct boot_layout *l)
{
	uint64_t top = e->gpa + e->len;

	if (e->type != E820_RAM) {
		draw_row(e820_type_name(e->type), e->gpa, e->len, "");
		return;
	}
	for (unsigned int i = l->count; i--;) {
		const struct boot_piece *p = &l->pieces[i];
		const uint64_t end = align_up(p->gpa + p->len, KIB(4));

		if (!ranges_overlap(p->gpa, p->len, e->gpa, e->len))
			continue;
		if (end < top)
			draw_row("", end, top - end, "");
		draw_row(p->name, p->gpa, p->len,
			 p->gpa == l->entry ? " <- entered at its start" : "");
		top = p->gpa;
	}
	if (top > e->gpa)
		draw_row("", e->gpa, top - e->gpa, "");
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

/* The RAM of a guest with @size bytes, as gmem_create() would lay it out, but without taking it. */
static int build_map(struct e820 *map, uint64_t size, struct err *err)
{
	const struct gmem_region regions[] = {
		{.gpa = 0, .size = MIN(size, GMEM_HOLE_START)},
		{.gpa = GMEM_HOLE_END, .size = size - MIN(size, GMEM_HOLE_START)},
	};

	return e820_build(map, regions, regions[1].size ? 2 : 1, err);
}

static int inspect_image(const struct inspection *in, const struct boot_image *img, struct err *err)
{
	const struct boot_image *initrds[INITRDS_MAX];
	struct boot_request req = {
		.kernel = img,
		.initrds = initrds,
		.initrd_count = in->initrd_count,
		.memory = &in->map,
	};
	struct boot_layout layout;
	struct boot_info info;
	int ret;

	for (unsigned int i = 0; i < in->initrd_count; i++)
		initrds[i] = in->initrds[i];
	ret = boot_examine(img, &info, err);
	printf(LINE "%s\n", "format", info.format);
	if (info.is_linux)
		print_linux(&info);
	if (!ret)
		ret = boot_plan(&req, &layout, err);
	if (ret)
		return ret;
	printf(LINE "by the Linux 32-bit boot protocol, entered at 0x%llx\n", "boots",
	       (unsigned long long)layout.entry);
	printf(LINE "%llu MiB%s\n", "least memory", (unsigned long long)(layout.least_memory >> 20),
	       in->initrd_count ? " with this initrd" : "");
	printf(LINE "where everything goes with %s\n\n", "memory", size_text(in->memory).s);
	draw_map(&in->map, &layout);
	return 0;
}

/* False when the file cannot be booted. */
static bool inspect_file(const struct inspection *in, const char *path)
{
	struct boot_image *img;
	struct err err;
	int ret;

	if (boot_open(&img, "kernel", path, &err)) {
		cli_fail(STATUS_REFUSED, &err);
		return false;
	}
	printf("%s\n", path);
	ret = inspect_image(in, img, &err);
	if (ret)
		printf(LINE "no: %s\n", "boots", err.text);
	putchar('\n');
	boot_close(img);
	return !ret;
}

int cmd_inspect(int argc, char **argv)
{
	struct inspection in = {.memory = MIB(512)};
	int status = STATUS_OK;
	bool helped;
	struct err err;
	int i = flags_parse(command_find("inspect"), argc, argv, &in, &helped, &err);

	if (i >= 0 && !helped && i == argc)
		i = err_set(&err, EINVAL, "inspect needs a file; `skep inspect --help` says more");
	if (i >= 0)
		i = build_map(&in.map, in.memory, &err) ?: i;
	if (i < 0)
		status = cli_fail(STATUS_REFUSED, &err);
	for (; i >= 0 && i < argc; i++)
		if (!inspect_file(&in, argv[i]))
			status = STATUS_REFUSED;
	while (in.initrd_count)
		boot_close(in.initrds[--in.initrd_count]);
	return status;
}
