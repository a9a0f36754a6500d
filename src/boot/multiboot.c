/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot, by the Multiboot Specification 0.6.96: an ELF file of either class, or any file whose
 * header says where it goes, entered in 32-bit mode without paging.
 *
 * The command line is what the person said and nothing else, as section 3.3 asks of a loader: the
 * kernel's name is not put in front. A kernel that would rather have a graphics mode (flags, bit 2)
 * gets the text screen if there is one, as section 3.1.4 allows, and else nothing.
 */
#include "skep/e820.h"

#include "image.h"
#include "multiboot_common.h"

/* 3.1.1, what the header starts with; 3.1.3 and 3.1.4 what follows, each if a flag says so. */
struct header {
	uint32_t magic;
	uint32_t flags;
	uint32_t checksum;
	uint32_t header_addr;
	uint32_t load_addr;
	uint32_t load_end_addr;
	uint32_t bss_end_addr;
	uint32_t entry_addr;
	uint32_t mode_type;
	uint32_t width;
	uint32_t height;
	uint32_t depth;
};

/* 3.1.2; those of the lower half have to be understood. */
#define FLAG_PAGE_ALIGN UINT32_C(0x1)
#define FLAG_MEMORY     UINT32_C(0x2)
#define FLAG_VIDEO      UINT32_C(0x4)
#define FLAG_ADDRESSES  UINT32_C(0x10000)
#define FLAGS_REQUIRED  UINT32_C(0xffff)
#define FLAGS_KNOWN     (FLAG_PAGE_ALIGN | FLAG_MEMORY | FLAG_VIDEO)

/* 3.2 */
#define LOADER_MAGIC 0x2badb002

/* 3.3 */
struct info {
	uint32_t flags;
	uint32_t mem_lower, mem_upper;
	uint32_t boot_device;
	uint32_t cmdline;
	uint32_t mods_count, mods_addr;
	uint32_t shdr_num, shdr_size, shdr_addr, shdr_shndx;
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr;
	uint32_t config_table;
	uint32_t boot_loader_name;
	uint32_t apm_table;
	uint32_t vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
	uint64_t framebuffer_addr;
	uint32_t framebuffer_pitch, framebuffer_width, framebuffer_height;
	uint8_t framebuffer_bpp, framebuffer_type;
	uint8_t color_info[6];
};
_Static_assert(sizeof(struct info) == 120 && offsetof(struct info, framebuffer_addr) == 88 &&
		       offsetof(struct info, color_info) == 110,
	       "section 3.3; 4 bytes of padding behind");

#define INFO_MEMORY      0x1U
#define INFO_CMDLINE     0x4U
#define INFO_MODS        0x8U
#define INFO_ELF_SHDR    0x20U
#define INFO_MEM_MAP     0x40U
#define INFO_LOADER_NAME 0x200U
#define INFO_FRAMEBUFFER 0x1000U

struct mod_entry {
	uint32_t start, end;
	uint32_t string;
	uint32_t reserved;
};

/* @size counts what follows it. */
struct mmap_entry {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

static int read_header(const struct kernel *k, struct header *h, uint32_t *at, struct err *err)
{
	const char *label = image_label(k->img);
	uint32_t words[sizeof(*h) / 4] = {0};
	size_t len = offsetof(struct header, header_addr);
	int ret = multiboot_header(k, MULTIBOOT_1, at, err);

	*h = (struct header){0};
	if (ret)
		return ret;
	h->magic = load_le32(k->head + *at);
	h->flags = load_le32(k->head + *at + 4);
	if (h->flags & FLAGS_REQUIRED & ~FLAGS_KNOWN)
		return err_set(err, ENOEXEC,
			       "%s asks by flags of its Multiboot header, 0x%x, for what skep does "
			       "not know: the bits 0x%x",
			       label, h->flags, h->flags & FLAGS_REQUIRED & ~FLAGS_KNOWN);
	if (h->flags & FLAG_ADDRESSES)
		len = offsetof(struct header, mode_type);
	if (h->flags & FLAG_VIDEO)
		len = sizeof(*h);
	if (!range_fits(*at, len, MIN(k->head_len, (size_t)MULTIBOOT_1_REACH)))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its Multiboot header at 0x%x has %zu bytes, as its "
			       "flags 0x%x say, more than there are up to the end of the file or "
			       "the first %llu bytes",
			       label, *at, len, h->flags, (unsigned long long)MULTIBOOT_1_REACH);
	for (size_t i = 0; i < len / 4; i++)
		words[i] = load_le32(k->head + *at + 4 * i);
	memcpy(h, words, sizeof(*h));
	return 0;
}

static int read_image(const struct kernel *k, struct header *h, struct multiboot_image *im,
		      struct err *err)
{
	int ret;

	*im = (struct multiboot_image){.by_header = false};
	ret = read_header(k, h, &im->header_at, err);
	if (ret)
		return ret;
	im->by_header = h->flags & FLAG_ADDRESSES;
	im->header_addr = h->header_addr;
	im->load_addr = h->load_addr;
	im->load_end_addr = h->load_end_addr;
	im->bss_end_addr = h->bss_end_addr;
	im->has_entry = im->by_header;
	im->entry_addr = h->entry_addr;
	return multiboot_image(k, im, err);
}

static uint32_t put(struct multiboot_block *b, const void *bytes, uint64_t len)
{
	return (uint32_t)multiboot_put(b, bytes, len, 4);
}

static uint32_t put_string(struct multiboot_block *b, const char *s)
{
	return put(b, s, strlen(s) + 1);
}

static void put_modules(const struct multiboot_load *load, struct multiboot_block *b,
			struct info *info)
{
	if (!load->module_count)
		return;
	info->flags |= INFO_MODS;
	info->mods_count = load->module_count;
	info->mods_addr = put(b, NULL, load->module_count * sizeof(struct mod_entry));
	for (unsigned int i = 0; i < load->module_count; i++) {
		const struct multiboot_module *m = &load->modules[i];
		const struct mod_entry e = {
			.start = m->start,
			.end = m->end,
			.string = put_string(b, m->cmdline),
		};

		multiboot_poke(b, info->mods_addr + i * sizeof(e), &e, sizeof(e));
	}
}

static void put_map(const struct e820 *map, struct multiboot_block *b, struct info *info)
{
	info->flags |= INFO_MEM_MAP;
	info->mmap_length = (uint32_t)(map->count * sizeof(struct mmap_entry));
	for (unsigned int i = 0; i < map->count; i++) {
		const struct mmap_entry e = {
			.size = sizeof(e) - sizeof(e.size),
			.base = map->entries[i].gpa,
			.length = map->entries[i].len,
			.type = map->entries[i].type,
		};
		const uint32_t at = put(b, &e, sizeof(e));

		if (!i)
			info->mmap_addr = at;
	}
}

static void put_sections(const struct multiboot_load *load, struct multiboot_block *b,
			 struct info *info)
{
	if (!load->sections.table)
		return;
	info->flags |= INFO_ELF_SHDR;
	info->shdr_num = load->sections.count;
	info->shdr_size = load->sections.size;
	info->shdr_shndx = load->sections.names;
	info->shdr_addr =
		put(b, load->sections.table, (uint64_t)load->sections.count * load->sections.size);
}

static void describe_screen(struct info *info)
{
	info->flags |= INFO_FRAMEBUFFER;
	info->framebuffer_addr = MULTIBOOT_TEXT_AT;
	info->framebuffer_pitch = MULTIBOOT_TEXT_PITCH;
	info->framebuffer_width = MULTIBOOT_TEXT_COLS;
	info->framebuffer_height = MULTIBOOT_TEXT_ROWS;
	info->framebuffer_bpp = MULTIBOOT_TEXT_BPP;
	info->framebuffer_type = MULTIBOOT_FRAMES_TEXT;
}

static void fill(const struct plan *plan, const struct multiboot_load *load, const void *header,
		 struct multiboot_block *b)
{
	struct info info = {
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_LOADER_NAME,
		.mem_lower = load->mem_lower,
		.mem_upper = load->mem_upper,
	};

	(void)header;
	put(b, NULL, sizeof(info));
	info.cmdline = put_string(b, load->cmdline);
	put_modules(load, b, &info);
	put_map(plan->req->memory, b, &info);
	put_sections(load, b, &info);
	info.boot_loader_name = put_string(b, MULTIBOOT_LOADER_NAME);
	if (plan->req->text_screen)
		describe_screen(&info);
	multiboot_poke(b, b->gpa, &info, sizeof(info));
}

int multiboot_inform(struct plan *plan, struct err *err)
{
	struct multiboot_load load;
	int ret = multiboot_load_modules(plan, &load, err);

	if (!ret)
		ret = multiboot_hand_over(plan, LOADER_MAGIC, &load, fill, NULL, err);
	multiboot_load_free(&load);
	return ret;
}

static bool recognises(const struct kernel *k, const char **why)
{
	return multiboot_recognises(k, MULTIBOOT_1, why);
}

static int plan(struct plan *plan, struct err *err)
{
	struct multiboot_load load = {.base = 0};
	struct multiboot_image im;
	struct header h;
	int ret = read_image(plan->kernel, &h, &im, err);

	if (!ret)
		ret = multiboot_load(plan, &im, &load, err);
	if (!ret)
		ret = multiboot_hand_over(plan, LOADER_MAGIC, &load, fill, NULL, err);
	multiboot_load_free(&load);
	return ret;
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	struct multiboot_image im;
	struct header h;
	const bool good = !read_image(k, &h, &im, NULL);

	if (!h.magic)
		return;
	boot_fact(info, "Multiboot header", "at 0x%x, flags 0x%x%s%s%s", im.header_at, h.flags,
		  h.flags & FLAG_PAGE_ALIGN ? ", modules on pages" : "",
		  h.flags & FLAG_MEMORY ? ", memory sizes" : "",
		  h.flags & FLAG_ADDRESSES ? ", load addresses" : "");
	if (h.flags & FLAG_VIDEO)
		boot_fact(info, "video mode", "%s, %u by %u, %u bits",
			  h.mode_type ? "text" : "graphics", h.width, h.height, h.depth);
	if (good)
		multiboot_describe_image(&im, info);
}

const struct protocol multiboot_protocol = {
	.name = "multiboot",
	.words = "the Multiboot protocol",
	.recognises = recognises,
	.plan = plan,
	.describe = describe,
};
