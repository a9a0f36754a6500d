/* SPDX-License-Identifier: BSD-2-Clause */
#include <elf.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"

#include "elf.h" /* NOLINT(readability-duplicate-include): ours, not the system's */
#include "image.h"

/* Notes are few and short: this much of one segment is looked at. */
#define NOTES_MAX KIB(16)

bool elf_magic(const uint8_t *head, size_t len)
{
	return len >= EI_NIDENT && !memcmp(head, ELFMAG, SELFMAG);
}

/* Both classes have the same fields, in other sizes. */
#define TAKE_HEADER(elf_, h, phoff_, phentsize_)            \
	do {                                                \
		(elf_)->entry = (h).e_entry;                \
		(elf_)->relocatable = (h).e_type == ET_DYN; \
		(elf_)->segment_count = (h).e_phnum;        \
		(elf_)->shoff = (h).e_shoff;                \
		(elf_)->shentsize = (h).e_shentsize;        \
		(elf_)->shnum = (h).e_shnum;                \
		(elf_)->shstrndx = (h).e_shstrndx;          \
		*(phoff_) = (h).e_phoff;                    \
		*(phentsize_) = (h).e_phentsize;            \
	} while (0)

#define TAKE_SEGMENT(s, p)               \
	(*(s) = (struct elf_segment){    \
		 .type = (p).p_type,     \
		 .flags = (p).p_flags,   \
		 .offset = (p).p_offset, \
		 .vaddr = (p).p_vaddr,   \
		 .paddr = (p).p_paddr,   \
		 .filesz = (p).p_filesz, \
		 .memsz = (p).p_memsz,   \
	 })

static int read_header(const uint8_t *head, struct elf *elf, uint64_t *phoff)
{
	uint16_t phentsize, type, machine, size;
	Elf64_Ehdr h64;
	Elf32_Ehdr h32;

	/* e_type and e_machine are where they are in both (chapter 4, "ELF Header"). */
	memcpy(&h64, head, sizeof(h64));
	memcpy(&h32, head, sizeof(h32));
	type = h32.e_type;
	machine = h32.e_machine;
	if (elf->is_64)
		TAKE_HEADER(elf, h64, phoff, &phentsize);
	else
		TAKE_HEADER(elf, h32, phoff, &phentsize);
	size = elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	if (machine != (elf->is_64 ? EM_X86_64 : EM_386))
		return -EINVAL;
	if (type != ET_EXEC && type != ET_DYN)
		return -EBADF;
	return elf->segment_count && phentsize != size ? -EMSGSIZE : 0;
}

static void read_segment(const struct elf *elf, const uint8_t *raw, struct elf_segment *s)
{
	Elf64_Phdr p64;
	Elf32_Phdr p32;

	if (elf->is_64) {
		memcpy(&p64, raw, sizeof(p64));
		TAKE_SEGMENT(s, p64);
	} else {
		memcpy(&p32, raw, sizeof(p32));
		TAKE_SEGMENT(s, p32);
	}
}

/* What is loaded must be whole; of the rest, what is damaged is not looked at again. */
static int check_segment(const struct boot_image *img, const struct elf_segment *s, unsigned int n,
			 struct err *err)
{
	const char *label = image_label(img);

	if (s->type != PT_LOAD)
		return 0;
	if (!range_fits(s->offset, s->filesz, boot_image_size(img)))
		return err_set(
			err, ENOEXEC,
			"%s is truncated: its segment %u has p_offset 0x%llx and p_filesz 0x%llx, "
			"the file has %llu bytes",
			label, n, (unsigned long long)s->offset, (unsigned long long)s->filesz,
			(unsigned long long)boot_image_size(img));
	if (s->memsz < s->filesz)
		return err_set(
			err, ENOEXEC,
			"%s is damaged: its segment %u has p_memsz 0x%llx, less than p_filesz "
			"0x%llx",
			label, n, (unsigned long long)s->memsz, (unsigned long long)s->filesz);
	if (!range_fits(s->paddr, s->memsz, UINT64_MAX) || s->vaddr + s->memsz < s->vaddr)
		return err_set(
			err, ENOEXEC,
			"%s is damaged: its segment %u wraps, with p_vaddr 0x%llx, p_paddr 0x%llx "
			"and p_memsz 0x%llx",
			label, n, (unsigned long long)s->vaddr, (unsigned long long)s->paddr,
			(unsigned long long)s->memsz);
	return 0;
}

static int read_segments(const struct boot_image *img, struct elf *elf, uint64_t phoff,
			 struct err *err)
{
	const size_t size = elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	uint8_t raw[ELF_SEGMENTS_MAX * sizeof(Elf64_Phdr)];
	int ret;

	if (elf->segment_count > ELF_SEGMENTS_MAX)
		return err_set(err, ENOEXEC, "%s has %u segments (e_phnum), skep loads %d at most",
			       image_label(img), elf->segment_count, ELF_SEGMENTS_MAX);
	if (!range_fits(phoff, elf->segment_count * size, boot_image_size(img)))
		return err_set(
			err, ENOEXEC,
			"%s is truncated: its program headers (e_phoff) are at 0x%llx, the file "
			"has %llu bytes",
			image_label(img), (unsigned long long)phoff,
			(unsigned long long)boot_image_size(img));
	elf->headers_end = elf->is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
	if (phoff == elf->headers_end)
		elf->headers_end += elf->segment_count * size;
	ret = image_read(img, phoff, raw, elf->segment_count * size, err);
	for (unsigned int i = 0; !ret && i < elf->segment_count; i++) {
		struct elf_segment *s = &elf->segments[i];

		read_segment(elf, raw + i * size, s);
		ret = check_segment(img, s, i, err);
		if (!ret && range_fits(s->offset, s->filesz, boot_image_size(img)))
			elf->end = MAX(elf->end, s->offset + s->filesz);
	}
	return ret;
}

static void note_sections(const struct boot_image *img, struct elf *elf)
{
	const size_t size = elf->is_64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
	const uint64_t len = (uint64_t)elf->shnum * size;

	if (elf->shentsize != size || !range_fits(elf->shoff, len, boot_image_size(img)))
		elf->shnum = 0;
	else if (elf->shnum)
		elf->end = MAX(elf->end, elf->shoff + len);
}

int elf_read(const struct boot_image *img, struct elf *elf, struct err *err)
{
	uint8_t head[sizeof(Elf64_Ehdr)] = {0};
	const char *label = image_label(img);
	uint64_t phoff;
	int ret;

	*elf = (struct elf){.is_64 = false};
	if (boot_image_size(img) < sizeof(Elf32_Ehdr))
		return err_set(err, ENOEXEC, "%s is truncated: it ends within its ELF header",
			       label);
	ret = image_read(img, 0, head, MIN(boot_image_size(img), sizeof(head)), err);
	if (ret)
		return ret;
	if (!elf_magic(head, sizeof(head)))
		return err_set(err, ENOEXEC, "%s is no ELF file", label);
	elf->is_64 = head[EI_CLASS] == ELFCLASS64;
	if ((!elf->is_64 && head[EI_CLASS] != ELFCLASS32) || head[EI_DATA] != ELFDATA2LSB)
		return err_set(err, ENOEXEC,
			       "%s is an ELF file of class %u and byte order %u, not one for x86",
			       label, head[EI_CLASS], head[EI_DATA]);
	if (elf->is_64 && boot_image_size(img) < sizeof(Elf64_Ehdr))
		return err_set(err, ENOEXEC, "%s is truncated: it ends within its ELF header",
			       label);
	ret = read_header(head, elf, &phoff);
	if (ret == -EINVAL)
		return err_set(err, ENOEXEC, "%s is an ELF file for another processor (e_machine)",
			       label);
	if (ret == -EBADF)
		return err_set(err, ENOEXEC,
			       "%s is an ELF file but no executable (e_type): it has to be linked",
			       label);
	if (ret)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its program headers have an odd size (e_phentsize)",
			       label);
	ret = read_segments(img, elf, phoff, err);
	if (!ret)
		note_sections(img, elf);
	return ret;
}

bool elf_span(const struct elf *elf, uint64_t *lo, uint64_t *hi)
{
	*lo = UINT64_MAX;
	*hi = 0;
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (s->type != PT_LOAD || !s->memsz)
			continue;
		*lo = MIN(*lo, s->paddr);
		*hi = MAX(*hi, s->paddr + s->memsz);
	}
	return *hi > *lo;
}

bool elf_paddr(const struct elf *elf, uint64_t vaddr, uint64_t *paddr)
{
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (s->type != PT_LOAD || vaddr < s->vaddr || vaddr - s->vaddr >= s->memsz)
			continue;
		*paddr = s->paddr + (vaddr - s->vaddr);
		return true;
	}
	return false;
}

/* One segment's notes: n_namesz, n_descsz, n_type, then both, each padded to 4 bytes. */
static bool find_note(const uint8_t *notes, size_t limit, const char *owner, uint32_t type,
		      void *desc, size_t room, size_t *desc_len)
{
	const size_t owner_len = strlen(owner) + 1;
	size_t at = 0;

	while (limit - at >= 12) {
		const uint64_t namesz = load_le32(notes + at);
		const uint64_t descsz = load_le32(notes + at + 4);
		const uint64_t name = at + 12, body = name + align_up(namesz, 4);

		if (!range_fits(body, descsz, limit))
			return false;
		if ((type == ELF_NOTE_ANY || load_le32(notes + at + 8) == type) &&
		    namesz == owner_len && !memcmp(notes + name, owner, owner_len)) {
			memcpy(desc, notes + body, MIN((size_t)descsz, room));
			*desc_len = (size_t)descsz;
			return true;
		}
		at = (size_t)MIN(body + align_up(descsz, 4), (uint64_t)limit);
	}
	return false;
}

bool elf_note(const struct boot_image *img, const struct elf *elf, const char *owner, uint32_t type,
	      void *desc, size_t room, size_t *len)
{
	uint8_t notes[NOTES_MAX];

	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];
		const size_t n = (size_t)MIN(s->filesz, (uint64_t)sizeof(notes));

		if (s->type != PT_NOTE || image_read(img, s->offset, notes, n, NULL))
			continue;
		if (find_note(notes, n, owner, type, desc, room, len))
			return true;
	}
	return false;
}
