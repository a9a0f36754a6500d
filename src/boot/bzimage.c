/* SPDX-License-Identifier: BSD-2-Clause */
#include <asm/bootparam.h>
#include <ctype.h>

#include "skep/bits.h"
#include "skep/err.h"

#include "bzimage.h"
#include "image.h"

#define SECTOR         512
#define HEADER_MAGIC   0x53726448 /* "HdrS" */
#define JUMP_END       0x202      /* the jump's displacement counts from here */
#define PROTOCOL_LEAST 0x0206     /* from here on a kernel says how long a command line it takes */

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
	{0x0206, 0x23c}, {0x0207, 0x248}, {0x0208, 0x250}, {0x0209, 0x258},
	{0x020a, 0x264}, {0x020b, 0x268}, {0x020f, 0x26c},
};

static void read_fields(struct boot_info *info, const uint8_t *head)
{
	const uint16_t v = info->protocol;
	const unsigned int sectors = head[FIELD(setup_sects)];

	/* boot.rst, setup_sects: 0 means 4; the boot sector itself comes on top. */
	info->setup_size = ((sectors ? sectors : 4) + 1) * SECTOR;
	info->loaded_high = head[FIELD(loadflags)] & LOADED_HIGH;
	/* boot.rst, syssize: before 2.04, its upper half is something else. */
	info->code_size = UINT64_C(16) * (v >= 0x0204 ? load_le32(head + FIELD(syssize))
						      : load_le16(head + FIELD(syssize)));
	if (v >= 0x0203)
		info->initrd_addr_max = load_le32(head + FIELD(initrd_addr_max));
	if (v >= 0x0205) {
		info->kernel_alignment = load_le32(head + FIELD(kernel_alignment));
		info->relocatable = head[FIELD(relocatable_kernel)];
	}
	if (v >= 0x0206)
		info->cmdline_size = load_le32(head + FIELD(cmdline_size));
	if (v >= 0x0208) {
		info->payload_offset = load_le32(head + FIELD(payload_offset));
		info->payload_length = load_le32(head + FIELD(payload_length));
	}
	if (v >= 0x020a) {
		info->min_alignment = head[FIELD(min_alignment)];
		info->pref_address = load_le64(head + FIELD(pref_address));
		info->init_size = load_le32(head + FIELD(init_size));
	}
	if (v >= 0x020c)
		info->xloadflags = load_le16(head + FIELD(xloadflags));
}

static int check_protocol(const struct bzimage *bz, const char *label, struct err *err)
{
	const struct boot_info *info = &bz->info;
	uint32_t end = 0;

	if (info->protocol < PROTOCOL_LEAST)
		return err_set(err, ENOEXEC,
			       "%s speaks boot protocol %u.%02u, skep needs 2.06 (Linux 2.6.22) or "
			       "later; give a newer kernel",
			       label, info->protocol >> 8, info->protocol & 0xffu);
	if (!info->loaded_high)
		return err_set(err, ENOEXEC,
			       "%s is a zImage, which loads below 640 KiB, and skep boots bzImages "
			       "only; build the kernel with 'make bzImage'",
			       label);
	for (size_t i = 0; i < ARRAY_SIZE(header_end); i++)
		if (header_end[i].version <= info->protocol)
			end = header_end[i].end;
	if (SETUP_HEADER_START + bz->header_len < end)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its setup header ends at 0x%x, protocol %u.%02u has "
			       "fields up to 0x%x",
			       label, SETUP_HEADER_START + bz->header_len, info->protocol >> 8,
			       info->protocol & 0xffu, end);
	return 0;
}

/* The protected-mode part is what syssize says and the file has. */
static int check_sizes(struct boot_info *info, const char *label, struct err *err)
{
	if (info->setup_size >= info->size)
		return err_set(err, ENOEXEC,
			       "%s is truncated: its setup code alone (setup_sects) has %u bytes, "
			       "the file %llu",
			       label, info->setup_size, (unsigned long long)info->size);
	if (!info->code_size)
		return err_set(err, ENOEXEC, "%s is damaged: its syssize is 0, it holds no code",
			       label);
	/* Up to 2.6.25 the last paragraph was not filled up in the file. */
	if (info->code_size > info->size - info->setup_size + 15)
		return err_set(
			err, ENOEXEC,
			"%s is truncated: its header (syssize) promises %llu bytes, the file "
			"has %llu; fetch or build it again",
			label, (unsigned long long)(info->setup_size + info->code_size),
			(unsigned long long)info->size);
	info->code_size = MIN(info->code_size, info->size - info->setup_size);
	return 0;
}

static int check_placement(const struct boot_info *info, const char *label, struct err *err)
{
	if (info->relocatable && !is_power_of_two(info->kernel_alignment))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its kernel_alignment 0x%x is no power of two", label,
			       info->kernel_alignment);
	if (info->pref_address > UINT32_MAX)
		return err_set(err, ENOEXEC,
			       "%s cannot be entered in 32-bit mode: its pref_address 0x%llx is "
			       "above 4 GiB",
			       label, (unsigned long long)info->pref_address);
	/* It would move itself over what the loader put below 1 MiB. */
	if (!info->relocatable && info->pref_address && info->pref_address < MIB(1))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its pref_address 0x%llx is below 1 MiB", label,
			       (unsigned long long)info->pref_address);
	return 0;
}

/* Tells a kernel from everything else; 0 when the header can be looked at. */
static int recognise(const struct boot_image *img, struct boot_info *info, const uint8_t *head,
		     size_t len, struct err *err)
{
	const char *advice, *label = image_label(img);

	if (len < FIELD(version) + 2 || load_le32(head + FIELD(header)) != HEADER_MAGIC) {
		info->format = format_guess(head, len, &advice);
		err_set(err, ENOEXEC, "%s is no Linux bzImage but %s", label, info->format);
		if (advice)
			err_advise(err, "%s", advice);
		return -ENOEXEC;
	}
	info->format = "a Linux kernel";
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

int bzimage_read(const struct boot_image *img, struct bzimage *bz, struct err *err)
{
	struct boot_info *info = &bz->info;
	const char *label = image_label(img);
	uint8_t head[FORMAT_HEAD];
	size_t len = MIN(boot_image_size(img), sizeof(head));
	int ret;

	*bz = (struct bzimage){
		.info = {.format = "unreadable", .size = boot_image_size(img)},
	};
	ret = image_read(img, 0, head, len, err);
	if (!ret)
		ret = recognise(img, info, head, len, err);
	if (ret)
		return ret;
	info->is_linux = true;
	info->protocol = load_le16(head + FIELD(version));
	info->format = head[FIELD(loadflags)] & LOADED_HIGH ? "a Linux bzImage" : "a Linux zImage";
	read_fields(info, head);
	bz->header_len = JUMP_END + head[FIELD(jump) + 1] - SETUP_HEADER_START;
	bz->header_len = MIN(bz->header_len, (uint32_t)sizeof(bz->header));
	memcpy(bz->header, head + SETUP_HEADER_START, bz->header_len);
	ret = check_protocol(bz, label, err);
	if (!ret)
		ret = check_sizes(info, label, err);
	if (!ret)
		ret = check_placement(info, label, err);
	/* boot.rst, init_size: before 2.10 a kernel does not say. */
	if (!ret && info->protocol < 0x020a)
		info->init_size = (uint32_t)MIN(info->code_size * OLD_KERNEL_GROWTH, UINT32_MAX);
	return ret;
}

/* boot.rst, kernel_version: the offset of a string in the setup code, less 0x200. */
static void read_version(const struct boot_image *img, struct boot_info *info, uint32_t offset)
{
	const uint64_t end = MIN((uint64_t)info->setup_size, info->size);
	size_t len;

	if (!offset)
		return;
	offset += SECTOR;
	if (offset >= end)
		return;
	len = MIN(end - offset, sizeof(info->version) - 1);
	if (image_read(img, offset, info->version, len, NULL))
		len = 0;
	info->version[len] = '\0';
	/* It goes to a terminal. */
	for (char *c = info->version; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

static void read_payload(const struct boot_image *img, struct boot_info *info)
{
	const uint64_t at = (uint64_t)info->setup_size + info->payload_offset;
	uint8_t magic[2];

	if (!info->payload_length || !range_fits(info->payload_offset, 2, info->code_size))
		return;
	if (!image_read(img, at, magic, sizeof(magic), NULL))
		info->payload = format_compression(magic, sizeof(magic));
}

int boot_examine(const struct boot_image *img, struct boot_info *info, struct err *err)
{
	struct bzimage bz;
	int ret = bzimage_read(img, &bz, err);

	if (bz.info.is_linux) {
		read_version(img, &bz.info,
			     load_le16(bz.header + offsetof(struct setup_header, kernel_version)));
		read_payload(img, &bz.info);
	}
	*info = bz.info;
	return ret;
}
