/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot2, by the Multiboot2 Specification 2.0, entered in the 32-bit mode of section 3.3.
 *
 * A header tag that skep has no use for is an error unless the header says that it may be ignored.
 * There is no EFI, so its entry points are not taken into account (sections 3.1.7 and 3.1.8), and
 * what the specification has a kernel ask for of EFI, APM, VBE or a boot device is not there to be
 * told of. As with Multiboot, the command line is what the person said and nothing else.
 */
#include <stdio.h>
#include <stdlib.h>

#include "skep/e820.h"

#include "image.h"
#include "multiboot_common.h"

/* 3.1.1 */
#define HEADER_LEN        16
#define ARCHITECTURE_I386 0

/* 3.1.3 and the sections behind it */
enum header_tag {
	HEADER_END,
	HEADER_REQUEST,
	HEADER_ADDRESS,
	HEADER_ENTRY,
	HEADER_FLAGS,
	HEADER_FRAMEBUFFER,
	HEADER_MODULE_ALIGN,
	HEADER_EFI_BS,
	HEADER_ENTRY_EFI32,
	HEADER_ENTRY_EFI64,
	HEADER_RELOCATABLE,
	HEADER_TAGS,
};

static const struct {
	const char *name;
	uint32_t least; /* bytes, with the 8 that every tag begins with */
} header_tags[HEADER_TAGS] = {
	[HEADER_END] = {"end", 8},
	[HEADER_REQUEST] = {"information request", 8},
	[HEADER_ADDRESS] = {"address", 24},
	[HEADER_ENTRY] = {"entry address", 12},
	[HEADER_FLAGS] = {"console flags", 12},
	[HEADER_FRAMEBUFFER] = {"framebuffer", 20},
	[HEADER_MODULE_ALIGN] = {"module alignment", 8},
	[HEADER_EFI_BS] = {"EFI boot services", 8},
	[HEADER_ENTRY_EFI32] = {"EFI i386 entry", 12},
	[HEADER_ENTRY_EFI64] = {"EFI amd64 entry", 12},
	[HEADER_RELOCATABLE] = {"relocatable", 24},
};

#define TAG_OPTIONAL 0x1

/* 3.1.9 */
#define CONSOLE_REQUIRED 0x1
#define CONSOLE_TEXT     0x2

/* 3.1.5: the file is loaded from its beginning. */
#define FROM_THE_BEGINNING UINT32_MAX

/* 3.3 */
#define LOADER_MAGIC 0x36d76289

/* 3.6 */
enum info_tag {
	INFO_END = 0,
	INFO_CMDLINE = 1,
	INFO_LOADER_NAME = 2,
	INFO_MODULE = 3,
	INFO_MEMORY = 4,
	INFO_MEMORY_MAP = 6,
	INFO_FRAMEBUFFER = 8,
	INFO_ELF_SECTIONS = 9,
	INFO_SMBIOS = 13,
	INFO_ACPI_OLD = 14,
	INFO_ACPI_NEW = 15,
	INFO_LOAD_BASE = 21,
	INFO_LAST = INFO_LOAD_BASE,
};

#define TAG_ALIGN 8

struct header {
	uint32_t length;   /* 0: nothing could be read */
	uint32_t tags;     /* a bit each of those that there are */
	uint32_t consoles; /* 3.1.9 */
	bool must_have_console;
	struct multiboot_image im;
};

static const char *label_of(const struct kernel *k)
{
	return image_label(k->img);
}

/* 3.1.4: what is not to be had on any machine may be left out, what is not known may not. */
static int read_request(const struct kernel *k, const uint8_t *tag, uint32_t size, struct err *err)
{
	for (uint32_t i = 8; size - i >= 4; i += 4) {
		const uint32_t type = load_le32(tag + i);

		if (type > INFO_LAST || type == INFO_SMBIOS)
			return err_set(err, ENOEXEC,
				       "%s asks by its Multiboot2 header for boot information of "
				       "the type %u, which skep does not have",
				       label_of(k), type);
	}
	return 0;
}

static int read_address(const struct kernel *k, const uint8_t *tag, struct header *h,
			struct err *err)
{
	struct multiboot_image *im = &h->im;

	im->by_header = true;
	im->header_addr = load_le32(tag + 8);
	im->load_addr = load_le32(tag + 12);
	im->load_end_addr = load_le32(tag + 16);
	im->bss_end_addr = load_le32(tag + 20);
	if (im->load_addr != FROM_THE_BEGINNING)
		return 0;
	if (im->header_addr < im->header_at)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its header_addr 0x%x leaves no room for the 0x%x "
			       "bytes of the file before the header",
			       label_of(k), im->header_addr, im->header_at);
	im->load_addr = im->header_addr - im->header_at;
	return 0;
}

static int read_tag(const struct kernel *k, const uint8_t *tag, uint32_t size, struct header *h,
		    struct err *err)
{
	const uint16_t type = load_le16(tag);
	const bool optional = load_le16(tag + 2) & TAG_OPTIONAL;

	switch (type) {
	case HEADER_REQUEST:
		return optional ? 0 : read_request(k, tag, size, err);
	case HEADER_ADDRESS:
		return read_address(k, tag, h, err);
	case HEADER_ENTRY:
		h->im.has_entry = true;
		h->im.entry_addr = load_le32(tag + 8);
		return 0;
	case HEADER_FLAGS:
		h->consoles = load_le32(tag + 8);
		h->must_have_console = h->consoles & CONSOLE_REQUIRED && !optional;
		return 0;
	case HEADER_RELOCATABLE:
		h->im.relocatable = true;
		h->im.min_addr = load_le32(tag + 8);
		h->im.max_addr = load_le32(tag + 12);
		h->im.align = load_le32(tag + 16);
		h->im.preference = load_le32(tag + 20);
		return 0;
	case HEADER_FRAMEBUFFER:  /* a preference, 3.1.10 */
	case HEADER_MODULE_ALIGN: /* they always are */
	case HEADER_ENTRY_EFI32:
	case HEADER_ENTRY_EFI64:
		return 0;
	}
	if (optional)
		return 0;
	return err_set(err, ENOEXEC,
		       "%s asks by its Multiboot2 header for what skep does not have: the tag of "
		       "the type %u%s%s",
		       label_of(k), type, type < HEADER_TAGS ? ", " : "",
		       type < HEADER_TAGS ? header_tags[type].name : "");
}

/* 3.1.3: tags one behind the other, each at a multiple of 8, up to the end tag. */
static int read_tags(const struct kernel *k, struct header *h, struct err *err)
{
	const uint32_t start = h->im.header_at, end = start + h->length;
	uint32_t at = start + HEADER_LEN;

	while (end - at >= 8) {
		const uint8_t *tag = k->head + at;
		const uint16_t type = load_le16(tag);
		const uint32_t size = load_le32(tag + 4);
		const uint32_t least = type < HEADER_TAGS ? header_tags[type].least : 8;
		int ret;

		if (size < least || size > end - at)
			return err_set(err, ENOEXEC,
				       "%s is damaged: the tag at 0x%x of its Multiboot2 header, "
				       "type %u, has the size 0x%x; it must be %u at least and fit "
				       "into the header, which ends at 0x%x",
				       label_of(k), at, type, size, least, end);
		if (type == HEADER_END)
			return 0;
		if (type < HEADER_TAGS)
			h->tags |= UINT32_C(1) << type;
		ret = read_tag(k, tag, size, h, err);
		if (ret)
			return ret;
		at += MIN(end - at, (uint32_t)align_up(size, TAG_ALIGN));
	}
	return err_set(err, ENOEXEC,
		       "%s is damaged: its Multiboot2 header, 0x%x bytes at 0x%x (header_length), "
		       "has no end tag",
		       label_of(k), h->length, start);
}

static int read_header(const struct kernel *k, struct header *h, struct err *err)
{
	const char *label = label_of(k);
	uint32_t architecture, length;
	int ret;

	*h = (struct header){.consoles = CONSOLE_TEXT};
	ret = multiboot_header(k, MULTIBOOT_2, &h->im.header_at, err);
	if (ret)
		return ret;
	architecture = load_le32(k->head + h->im.header_at + 4);
	length = load_le32(k->head + h->im.header_at + 8);
	if (architecture != ARCHITECTURE_I386)
		return err_set(err, ENOEXEC,
			       "%s is for another processor: its Multiboot2 header has the "
			       "architecture %u, not 0, i386",
			       label, architecture);
	if (length < HEADER_LEN ||
	    !range_fits(h->im.header_at, length, MIN(k->head_len, (size_t)MULTIBOOT_2_REACH)))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its Multiboot2 header at 0x%x has the header_length "
			       "0x%x; it must be 16 at least, and end before the file does and "
			       "within its first %llu bytes",
			       label, h->im.header_at, length,
			       (unsigned long long)MULTIBOOT_2_REACH);
	h->length = length;
	ret = read_tags(k, h, err);
	if (ret)
		return ret;
	if (h->im.by_header && !h->im.has_entry)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its Multiboot2 header has an address tag, but no "
			       "entry address tag",
			       label);
	return multiboot_image(k, &h->im, err);
}

static bool has_screen(const struct plan *plan, const struct header *h)
{
	return plan->req->text_screen && h->consoles & CONSOLE_TEXT;
}

static int check_console(const struct plan *plan, const struct header *h, struct err *err)
{
	if (!h->must_have_console || has_screen(plan, h))
		return 0;
	if (!(h->consoles & CONSOLE_TEXT))
		return err_set(err, ENOEXEC,
			       "%s must have a screen that is no text screen, by the flags tag of "
			       "its Multiboot2 header, and skep has none",
			       label_of(plan->kernel));
	return err_set(err, ENOEXEC,
		       "%s must have a screen, by the flags tag of its Multiboot2 header; give it "
		       "one with --display dump",
		       label_of(plan->kernel));
}

/* A tag of @type with @len bytes of its own, which are @bytes or are put behind it. */
static void put_tag(struct multiboot_block *b, enum info_tag type, const void *bytes, size_t len,
		    size_t more)
{
	const uint32_t head[2] = {type, (uint32_t)(8 + len + more)};

	multiboot_put(b, head, sizeof(head), TAG_ALIGN);
	multiboot_put(b, bytes, len, 1);
}

static void put_string(struct multiboot_block *b, enum info_tag type, const char *s)
{
	put_tag(b, type, s, strlen(s) + 1, 0);
}

static void put_modules(const struct multiboot_load *load, struct multiboot_block *b)
{
	for (unsigned int i = 0; i < load->module_count; i++) {
		const struct multiboot_module *m = &load->modules[i];
		const uint32_t place[2] = {m->start, m->end};
		const size_t len = strlen(m->cmdline) + 1;

		put_tag(b, INFO_MODULE, place, sizeof(place), len);
		multiboot_put(b, m->cmdline, len, 1);
	}
}

/* 3.6, "Memory map": how long an entry is and its version, then the entries. */
static void put_map(const struct e820 *map, struct multiboot_block *b)
{
	struct entry {
		uint64_t base, length;
		uint32_t type, reserved;
	};
	const uint32_t form[2] = {sizeof(struct entry), 0};

	put_tag(b, INFO_MEMORY_MAP, form, sizeof(form), map->count * sizeof(struct entry));
	for (unsigned int i = 0; i < map->count; i++) {
		const struct entry e = {map->entries[i].gpa, map->entries[i].len,
					map->entries[i].type, 0};

		multiboot_put(b, &e, sizeof(e), 1);
	}
}

/* 3.6, "ELF-Symbols": 32 bits each, as GRUB and all that read it have them. */
static void put_sections(const struct multiboot_load *load, struct multiboot_block *b)
{
	const uint32_t form[3] = {load->sections.count, load->sections.size, load->sections.names};
	const size_t len = (size_t)load->sections.count * load->sections.size;

	if (!load->sections.table)
		return;
	put_tag(b, INFO_ELF_SECTIONS, form, sizeof(form), len);
	multiboot_put(b, load->sections.table, len, 1);
}

static void put_screen(struct multiboot_block *b)
{
	const struct {
		uint64_t addr;
		uint32_t pitch, width, height;
		uint8_t bpp, type;
		uint16_t reserved;
	} screen = {
		.addr = MULTIBOOT_TEXT_AT,
		.pitch = MULTIBOOT_TEXT_PITCH,
		.width = MULTIBOOT_TEXT_COLS,
		.height = MULTIBOOT_TEXT_ROWS,
		.bpp = MULTIBOOT_TEXT_BPP,
		.type = MULTIBOOT_FRAMES_TEXT,
	};

	put_tag(b, INFO_FRAMEBUFFER, &screen, sizeof(screen), 0);
}

/* 3.6, "ACPI old RSDP": the root pointer as ACPI 1.0 knows it only where it names what that knows.
 */
static void put_acpi(const uint8_t *rsdp, struct multiboot_block *b)
{
	if (!rsdp)
		return;
	if (load_le32(rsdp + BOOT_RSDP_RSDT))
		put_tag(b, INFO_ACPI_OLD, rsdp, BOOT_RSDP_V1_LEN, 0);
	put_tag(b, INFO_ACPI_NEW, rsdp, BOOT_RSDP_LEN, 0);
}

static void fill(const struct plan *plan, const struct multiboot_load *load, const void *header,
		 struct multiboot_block *b)
{
	const struct header *h = header;
	const uint32_t base = (uint32_t)load->base, memory[2] = {load->mem_lower, load->mem_upper};
	uint32_t total;

	multiboot_put(b, NULL, 8, 1);
	if (h->im.relocatable)
		put_tag(b, INFO_LOAD_BASE, &base, sizeof(base), 0);
	put_string(b, INFO_CMDLINE, load->cmdline);
	put_string(b, INFO_LOADER_NAME, MULTIBOOT_LOADER_NAME);
	put_modules(load, b);
	put_tag(b, INFO_MEMORY, memory, sizeof(memory), 0);
	put_map(plan->req->memory, b);
	put_sections(load, b);
	if (has_screen(plan, h))
		put_screen(b);
	put_acpi(plan->req->rsdp_copy, b);
	put_tag(b, INFO_END, NULL, 0, 0);
	total = (uint32_t)b->len;
	multiboot_poke(b, b->gpa, &total, sizeof(total));
}

static bool recognises(const struct kernel *k, const char **why)
{
	return multiboot_recognises(k, MULTIBOOT_2, why);
}

static int plan_once(struct plan *plan, const struct header *h, struct err *err)
{
	struct multiboot_load load;
	int ret = multiboot_load(plan, &h->im, &load, err);

	if (!ret)
		ret = multiboot_hand_over(plan, LOADER_MAGIC, &load, fill, h, err);
	multiboot_load_free(&load);
	return ret;
}

/* A kernel that goes as high as can be says nothing of how much memory it needs: tried out low. */
static void find_least_memory(struct plan *plan, struct header h)
{
	struct plan *low = calloc(1, sizeof(*low));

	if (!low)
		return;
	low->req = plan->req;
	low->options = plan->options;
	low->kernel = plan->kernel;
	h.im.preference = MULTIBOOT_LOWEST;
	if (!plan_once(low, &h, NULL))
		plan->least_memory = align_up(
			low->pieces[low->count - 1].gpa + low->pieces[low->count - 1].len, MIB(1));
	plan_free(low);
}

static int plan(struct plan *plan, struct err *err)
{
	struct header h;
	int ret = read_header(plan->kernel, &h, err);

	if (!ret)
		ret = check_console(plan, &h, err);
	if (!ret)
		ret = plan_once(plan, &h, err);
	if (!ret && h.im.relocatable && h.im.preference == MULTIBOOT_HIGHEST)
		find_least_memory(plan, h);
	return ret;
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	static const char *const preferences[] = {"anywhere", "as low as can be",
						  "as high as can be"};
	char names[120] = "";
	struct header h;
	const bool good = !read_header(k, &h, NULL);
	const struct multiboot_image *im = &h.im;

	if (!h.length)
		return;
	boot_fact(info, "Multiboot2 header", "at 0x%x, %u bytes", im->header_at, h.length);
	for (size_t i = 0, at = 0; i < HEADER_TAGS && at < sizeof(names); i++)
		if (h.tags & UINT32_C(1) << i)
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s",
					       at ? ", " : "", header_tags[i].name);
	if (h.tags)
		boot_fact(info, "header tags", "%s", names);
	if (im->relocatable)
		boot_fact(info, "relocatable", "within 0x%x to 0x%x, by 0x%x, %s", im->min_addr,
			  im->max_addr, im->align,
			  preferences[im->preference <= MULTIBOOT_HIGHEST ? im->preference
									  : MULTIBOOT_ANYWHERE]);
	if (good)
		multiboot_describe_image(im, info);
}

const struct protocol multiboot2_protocol = {
	.name = "multiboot2",
	.words = "the Multiboot2 protocol",
	.recognises = recognises,
	.plan = plan,
	.describe = describe,
};
