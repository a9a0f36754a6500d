/* SPDX-License-Identifier: BSD-2-Clause */
#include <asm/bootparam.h>
#include <ctype.h>
#include <stdio.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/text.h"

#include "image.h"
#include "protocol.h"

#define SECTOR         512
#define HEADER_MAGIC   0x53726448 /* "HdrS" */
#define JUMP_END       0x202      /* the jump's displacement counts from here */
#define PROTOCOL_LEAST 0x0202     /* from here on the command line may lie anywhere */

/* Offsets into the file, boot.rst, "The Real-Mode Kernel Header". */
#define FIELD(name) (SETUP_HEADER_START + offsetof(struct setup_header, name))

/*
 * Kernels older than 2.10 do not say how much memory they unpack themselves into. Compressors make
 * a kernel a quarter of its size; the rest is for its bss and the unpacker.
 */
#define OLD_KERNEL_GROWTH 6

/* How long the header of each protocol version is at least. */
static const struct {
	uint16_t version;
	uint16_t end;
} header_end[] = {
	{0x0202, 0x22c}, {0x0203, 0x230}, {0x0205, 0x235}, {0x0206, 0x23c}, {0x0207, 0x248},
	{0x0208, 0x250}, {0x0209, 0x258}, {0x020a, 0x264}, {0x020b, 0x268}, {0x020f, 0x26c},
};

static void read_fields(struct bzimage *bz, const uint8_t *head)
{
	const uint16_t v = bz->protocol;
	const unsigned int sectors = head[FIELD(setup_sects)];

	/* boot.rst, setup_sects: 0 means 4; the boot sector itself comes on top. */
	bz->setup_size = ((sectors ? sectors : 4) + 1) * SECTOR;
	bz->loaded_high = head[FIELD(loadflags)] & LOADED_HIGH;
	/* boot.rst, syssize: before 2.04, its upper half is something else. */
	bz->code_size = UINT64_C(16) * (v >= 0x0204 ? load_le32(head + FIELD(syssize))
						    : load_le16(head + FIELD(syssize)));
	bz->kernel_version = load_le16(head + FIELD(kernel_version));
	/* boot.rst, initrd_addr_max and cmdline_size: what is meant by a header without them. */
	bz->initrd_addr_max = 0x37ffffff;
	bz->cmdline_size = 255;
	if (v >= 0x0203)
		bz->initrd_addr_max = load_le32(head + FIELD(initrd_addr_max));
	if (v >= 0x0205) {
		bz->kernel_alignment = load_le32(head + FIELD(kernel_alignment));
		bz->relocatable = head[FIELD(relocatable_kernel)];
	}
	if (v >= 0x0206)
		bz->cmdline_size = load_le32(head + FIELD(cmdline_size));
	if (v >= 0x0208) {
		bz->payload_offset = load_le32(head + FIELD(payload_offset));
		bz->payload_length = load_le32(head + FIELD(payload_length));
	}
	if (v >= 0x020a) {
		bz->min_alignment = head[FIELD(min_alignment)];
		bz->pref_address = load_le64(head + FIELD(pref_address));
		bz->init_size = load_le32(head + FIELD(init_size));
	}
	if (v >= 0x020c)
		bz->xloadflags = load_le16(head + FIELD(xloadflags));
}

static int check_protocol(const struct bzimage *bz, const char *label, struct err *err)
{
	uint32_t end = 0;

	if (bz->protocol < PROTOCOL_LEAST)
		return err_set(err, ENOEXEC,
			       "%s speaks boot protocol %u.%02u, skep needs 2.02 (Linux 2.4) or "
			       "later; give a newer kernel",
			       label, bz->protocol >> 8, bz->protocol & 0xffu);
	if (!bz->loaded_high)
		return err_set(err, ENOEXEC,
			       "%s is a zImage, which loads below 640 KiB, and skep boots bzImages "
			       "only; build the kernel with 'make bzImage'",
			       label);
	for (size_t i = 0; i < ARRAY_SIZE(header_end); i++)
		if (header_end[i].version <= bz->protocol)
			end = header_end[i].end;
	if (SETUP_HEADER_START + bz->header_len < end)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its setup header ends at 0x%x, protocol %u.%02u has "
			       "fields up to 0x%x",
			       label, SETUP_HEADER_START + bz->header_len, bz->protocol >> 8,
			       bz->protocol & 0xffu, end);
	return 0;
}

/* The protected-mode part is what syssize says and the file has. */
static int check_sizes(struct bzimage *bz, uint64_t size, const char *label, struct err *err)
{
	if (bz->setup_size >= size)
		return err_set(err, ENOEXEC,
			       "%s is truncated: its setup code alone (setup_sects) has %u bytes, "
			       "the file %llu",
			       label, bz->setup_size, (unsigned long long)size);
	if (!bz->code_size)
		return err_set(err, ENOEXEC, "%s is damaged: its syssize is 0, it holds no code",
			       label);
	/* Up to 2.6.25 the last paragraph was not filled up in the file. */
	if (bz->code_size > size - bz->setup_size + 15)
		return err_set(
			err, ENOEXEC,
			"%s is truncated: its header (syssize) promises %llu bytes, the file "
			"has %llu; fetch or build it again",
			label, (unsigned long long)(bz->setup_size + bz->code_size),
			(unsigned long long)size);
	bz->code_size = MIN(bz->code_size, size - bz->setup_size);
	return 0;
}

static int check_placement(const struct bzimage *bz, const char *label, struct err *err)
{
	if (bz->relocatable && !is_power_of_two(bz->kernel_alignment))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its kernel_alignment 0x%x is no power of two", label,
			       bz->kernel_alignment);
	if (bz->pref_address > UINT32_MAX)
		return err_set(err, ENOEXEC,
			       "%s cannot be entered in 32-bit mode: its pref_address 0x%llx is "
			       "above 4 GiB",
			       label, (unsigned long long)bz->pref_address);
	/* It would move itself over what the loader put below 1 MiB. */
	if (!bz->relocatable && bz->pref_address && bz->pref_address < MIB(1))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its pref_address 0x%llx is below 1 MiB", label,
			       (unsigned long long)bz->pref_address);
	return 0;
}

bool bzimage_magic(const uint8_t *head, size_t len)
{
	return len >= FIELD(version) + 2 && load_le32(head + FIELD(header)) == HEADER_MAGIC;
}

bool boot_image_is_bzimage(const struct boot_image *img)
{
	uint8_t head[FIELD(version) + 2];
	struct err ignored;

	return boot_image_size(img) >= sizeof(head) &&
	       !image_read(img, 0, head, sizeof(head), &ignored) &&
	       bzimage_magic(head, sizeof(head));
}

static int check_head(const struct boot_image *img, const uint8_t *head, size_t len,
		      struct err *err)
{
	const char *label = image_label(img);

	if (!bzimage_magic(head, len))
		return err_set(err, ENOEXEC, "%s has no setup header of Linux", label);
	if (len < FORMAT_HEAD)
		return err_set(err, ENOEXEC,
			       "%s is truncated: it ends within its header, at %zu bytes", label,
			       len);
	/* boot.rst, jump: a short jump forward, over the header. */
	if (head[FIELD(jump)] != 0xeb || head[FIELD(jump) + 1] > INT8_MAX)
		return err_set(err, ENOEXEC,
			       "%s is damaged: no jump at 0x200 says where its header ends", label);
	if (load_le16(head + FIELD(boot_flag)) != 0xaa55)
		return err_set(err, ENOEXEC, "%s is damaged: its boot_flag is 0x%04x, not 0xaa55",
			       label, load_le16(head + FIELD(boot_flag)));
	return 0;
}

/* A payload that does not lie within the code is none. */
static void read_payload(const struct boot_image *img, struct bzimage *bz)
{
	const uint64_t at = (uint64_t)bz->setup_size + bz->payload_offset;
	uint8_t magic[6];

	if (!range_fits(bz->payload_offset, bz->payload_length, bz->code_size) ||
	    bz->payload_length < sizeof(magic))
		bz->payload_length = 0;
	else if (!image_read(img, at, magic, sizeof(magic), NULL))
		bz->payload = format_compression(magic, sizeof(magic));
}

int bzimage_read(const struct boot_image *img, struct bzimage *bz, struct err *err)
{
	const char *label = image_label(img);
	const uint64_t size = boot_image_size(img);
	uint8_t head[FORMAT_HEAD];
	size_t len = MIN(size, (uint64_t)sizeof(head));
	int ret;

	*bz = (struct bzimage){.protocol = 0};
	ret = image_read(img, 0, head, len, err);
	if (!ret)
		ret = check_head(img, head, len, err);
	if (ret)
		return ret;
	bz->protocol = load_le16(head + FIELD(version));
	read_fields(bz, head);
	bz->header_len = JUMP_END + head[FIELD(jump) + 1] - SETUP_HEADER_START;
	bz->header_len = MIN(bz->header_len, (uint32_t)sizeof(bz->header));
	memcpy(bz->header, head + SETUP_HEADER_START, bz->header_len);
	ret = check_protocol(bz, label, err);
	if (!ret)
		ret = check_sizes(bz, size, label, err);
	if (!ret)
		ret = check_placement(bz, label, err);
	if (ret)
		return ret;
	/* boot.rst, init_size: before 2.10 a kernel does not say. */
	if (bz->protocol < 0x020a)
		bz->init_size = (uint32_t)MIN(bz->code_size * OLD_KERNEL_GROWTH, UINT32_MAX);
	read_payload(img, bz);
	return 0;
}

/* boot.rst, kernel_version: the offset of a string in the setup code, less 0x200. */
static void describe_version(const struct boot_image *img, const struct bzimage *bz,
			     struct boot_info *info)
{
	const uint64_t end = MIN((uint64_t)bz->setup_size, boot_image_size(img));
	const uint32_t at = bz->kernel_version + SECTOR;
	char text[100];
	size_t len;

	if (!bz->kernel_version || at >= end)
		return;
	len = MIN(end - at, (uint64_t)sizeof(text) - 1);
	if (image_read(img, at, text, len, NULL))
		return;
	text[len] = '\0';
	boot_fact(info, "version", "%s", text);
}

static void describe_sizes(const struct boot_image *img, const struct bzimage *bz,
			   struct boot_info *info)
{
	const uint64_t used = bz->setup_size + bz->code_size, size = boot_image_size(img);

	boot_fact(info, "size", "%s: %s of setup code, %s of kernel%s%s%s", size_text(size).s,
		  size_text(bz->setup_size).s, size_text(bz->code_size).s, size > used ? ", " : "",
		  size > used ? size_text(size - used).s : "", size > used ? " behind it" : "");
	if (bz->payload_length)
		boot_fact(info, "payload", "%s, %s at 0x%llx",
			  bz->payload ? bz->payload : "of unknown compression",
			  size_text(bz->payload_length).s,
			  (unsigned long long)bz->setup_size + bz->payload_offset);
}

static void describe_place(const struct bzimage *bz, struct boot_info *info)
{
	char where[64], moves[64] = "not relocatable";

	if (bz->pref_address)
		snprintf(where, sizeof(where), "0x%llx", (unsigned long long)bz->pref_address);
	else
		snprintf(where, sizeof(where), "0x%llx, where every bzImage may be",
			 (unsigned long long)MIB(1));
	if (bz->relocatable)
		snprintf(moves, sizeof(moves), "or higher in steps of %s",
			 size_text(bz->kernel_alignment).s);
	boot_fact(info, "wants to be at", "%s, %s", where, moves);
	boot_fact(info, "unpacks itself in", "%s from there%s", size_text(bz->init_size).s,
		  bz->protocol < 0x020a ? " (estimated: it does not say)" : "");
}

/* boot.rst, xloadflags */
static void describe_flags(uint16_t flags, struct boot_info *info)
{
	static const char *const words[] = {
		"64-bit kernel", "loadable above 4 GiB", "EFI handover (32-bit)", "EFI handover",
		"EFI kexec",     "5-level paging",       "5-level paging on",
	};
	char text[sizeof(info->facts[0].text)] = "none";
	size_t at = 0;

	for (unsigned int i = 0; i < 16 && at < sizeof(text); i++) {
		if (!(flags & bit64(i)))
			continue;
		if (i < ARRAY_SIZE(words))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "",
					       words[i]);
		else
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%sbit %u",
					       at ? ", " : "", i);
	}
	boot_fact(info, "flags", "%s", text);
}

void bzimage_describe(const struct boot_image *img, const struct bzimage *bz,
		      struct boot_info *info)
{
	describe_version(img, bz, info);
	boot_fact(info, "boot protocol", "%u.%02u", bz->protocol >> 8, bz->protocol & 0xffu);
	describe_sizes(img, bz, info);
	describe_place(bz, info);
	if (bz->protocol >= 0x020c)
		describe_flags(bz->xloadflags, info);
	if (bz->cmdline_size)
		boot_fact(info, "command line", "%u characters at most", bz->cmdline_size);
	boot_fact(info, "initrd", "up to 0x%x", bz->initrd_addr_max);
}
