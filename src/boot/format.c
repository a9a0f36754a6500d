/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that people hand to a loader by mistake, recognised by their magic numbers, so that the
 * message can say what they hold instead of what they are not.
 */
#include <ctype.h>

#include "skep/bits.h"

#include "image.h"

struct magic {
	uint16_t offset;
	uint8_t len;
	const char *bytes;
	const char *what;
	const char *advice;
};

#define INITRD_ADVICE "give it as an initrd with -i"
#define UNPACK_ADVICE "unpack it first"

static const struct magic formats[] = {
	{0, 4, "\177ELF", "an ELF file",
	 "give the bzImage from the same build (arch/x86/boot/bzImage)"},
	{0, 2, "\x1f\x8b", "gzip data", UNPACK_ADVICE},
	{0, 3, "BZh", "bzip2 data", UNPACK_ADVICE},
	{0, 6, "\xfd\x37zXZ\0", "xz data", UNPACK_ADVICE},
	{0, 4, "\x28\xb5\x2f\xfd", "zstd data", UNPACK_ADVICE},
	{0, 4, "\x04\x22\x4d\x18", "lz4 data", UNPACK_ADVICE},
	{0, 4, "\x02\x21\x4c\x18", "lz4 data", UNPACK_ADVICE},
	{0, 4, "\x89LZO", "lzo data", UNPACK_ADVICE},
	{0, 3, "\x5d\0\0", "lzma data", UNPACK_ADVICE},
	{0, 5, "07070", "a cpio archive", INITRD_ADVICE},
	{0, 4, "QFI\xfb", "a qcow2 disk image", "give the kernel file that is on it"},
	{0, 4, "PK\3\4", "a zip archive", UNPACK_ADVICE},
	{0, 7, "!<arch>", "a Debian package or ar archive",
	 "unpack it and give its boot/vmlinuz file"},
	{0, 4, "\xed\xab\xee\xdb", "an RPM package", "unpack it and give its vmlinuz file"},
	{0, 4, "\x27\x05\x19\x56", "a U-Boot image", NULL},
	{0, 4, "\xd0\x0d\xfe\xed", "a device tree or FIT image", NULL},
	{56, 4, "ARM\x64", "a Linux kernel for arm64", "skep runs x86-64 guests only"},
	{257, 5, "ustar", "a tar archive", UNPACK_ADVICE},
	{0, 2, "MZ", "a DOS or EFI program", "give the kernel itself, not its boot loader"},
	{510, 2, "\x55\xaa", FORMAT_BOOT_SECTOR, NULL},
};

static bool all_zero(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (head[i])
			return false;
	return true;
}

static bool all_text(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (head[i] < 0x80 && !isprint(head[i]) && !isspace(head[i]))
			return false;
	return true;
}

const char *format_guess(const uint8_t *head, size_t len, const char **advice)
{
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const struct magic *m = &formats[i];

		if (range_fits(m->offset, m->len, len) &&
		    !memcmp(head + m->offset, m->bytes, m->len)) {
			*advice = m->advice;
			return m->what;
		}
	}
	*advice = NULL;
	if (all_zero(head, len))
		return "a file of zeroes";
	if (all_text(head, len))
		return "text";
	return "data of a kind that skep does not know";
}

const char *format_compression(const uint8_t *head, size_t len)
{
	/* The boot document's list at payload_offset, and lzo, which kernels use as well. */
	static const struct {
		char bytes[3];
		const char *name;
	} kinds[] = {
		{"\x1f\x8b", "gzip"}, {"\x1f\x9e", "gzip"}, {"BZ", "bzip2"},
		{"\x5d\0", "lzma"},   {"\xfd\x37", "xz"},   {"\x89L", "lzo"},
		{"\x02\x21", "lz4"},  {"\x28\xb5", "zstd"}, {"\177E", "none"},
	};

	for (size_t i = 0; len >= 2 && i < ARRAY_SIZE(kinds); i++)
		if (!memcmp(head, kinds[i].bytes, 2))
			return kinds[i].name;
	return NULL;
}
