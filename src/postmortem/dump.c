/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ELF core of a machine.
 *
 * Layout: headers, notes, and from a page boundary on the regions of RAM one behind the other. The
 * tables of either class are made from the same lists.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "skep/dump.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/sandbox.h"
#include "skep/vm.h"
#include "walk.h"

/* Runs of virtual addresses that are told; Linux has some hundred. */
#define RUNS_MAX 4096

#define PAGE 4096UL

/* Written at once at most. */
#define STRETCH MIB(1)

struct dump {
	int fd;
	const char *path;
	enum dump_when when;
	bool written;
};

const struct option dump_option_table[] = {
	{.name = "path",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct dump_options, path),
	 .help = "an ELF core of memory and registers is written there at a bad end"},
	{.name = "when",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct dump_options, when),
	 .choices = "bad|always",
	 .fallback = "bad",
	 .help = "always: at any end"},
	OPTION_END,
};

int dump_open(struct dump **out, const struct dump_options *options, struct err *err)
{
	struct dump *d = calloc(1, sizeof(*d));
	struct stat st;

	*out = NULL;
	if (!d)
		return err_sys(err, ENOMEM, "dump");
	d->path = options->path;
	d->when = (enum dump_when)options->when;
	/* What a guest has in memory is not everybody's business. */
	d->fd = open(d->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);
	if (d->fd < 0) {
		int ret = err_sys(err, errno, "cannot write the dump %s", d->path);

		free(d);
		return ret;
	}
	if (fstat(d->fd, &st) || !S_ISREG(st.st_mode)) {
		close(d->fd);
		free(d);
		return err_set(err, EINVAL,
			       "--dump: %s is no regular file, and a dump has holes; name a file",
			       options->path);
	}
	if (ftruncate(d->fd, 0)) {
		/* Cannot be, of a regular file that is open for writing; if so, writing tells. */
	}
	if (sandbox_remove_later(d->path, err)) {
		dump_close(d);
		return -ENOSPC;
	}
	*out = d;
	return 0;
}

void dump_close(struct dump *d)
{
	if (!d)
		return;
	/* Where nothing can be removed any more, the sandbox removes what is empty. */
	if (!d->written && sandbox_entered() && ftruncate(d->fd, 0))
		d->written = true; /* what there is of it stays */
	close(d->fd);
	if (!sandbox_entered()) {
		sandbox_remove_not(d->path);
		if (!d->written)
			unlink(d->path);
	}
	free(d);
}

bool dump_due(const struct dump *d, const struct ending *ending)
{
	return d->when == DUMP_ALWAYS || ending_status(ending) != 0;
}

/* Notes: System V ABI, chapter 5, "Note Section" */

struct notes {
	uint8_t *bytes;
	size_t len, room;
};

/* NT_PRSTATUS of Linux: elf_prstatus in <linux/elfcore.h>, with the registers of <asm/user.h>. */
#define PRSTATUS64_LEN  336
#define PRSTATUS64_PID  32
#define PRSTATUS64_REGS 112
#define PRSTATUS32_LEN  144
#define PRSTATUS32_PID  24
#define PRSTATUS32_REGS 72

/* The note by which QEMU tells of the rest, version 1 (target/i386/arch_dump.c), which crash and
 * other readers of cores know. */
struct qemu_segment {
	uint32_t selector, limit, flags, pad;
	uint64_t base;
};
struct qemu_state {
	uint32_t version, size;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8_to_r15[8], rip, rflags;
	struct qemu_segment cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
	uint64_t cr[5];
	uint64_t kernel_gs_base;
};
_Static_assert(sizeof(struct qemu_state) == 440, "as QEMU has it");

#define NOTE_LEN(desc) (sizeof(Elf64_Nhdr) + 8 + align_up(desc, 4))
#define NOTES_OF_VCPU  (NOTE_LEN(PRSTATUS64_LEN) + NOTE_LEN(sizeof(struct qemu_state)))

static void add_note(struct notes *n, const char *owner, uint32_t type, const void *desc,
		     size_t len)
{
	const Elf64_Nhdr head = {
		.n_namesz = (uint32_t)strlen(owner) + 1,
		.n_descsz = (uint32_t)len,
		.n_type = type,
	};

	bug_on(n->len + NOTE_LEN(len) > n->room);
	memcpy(n->bytes + n->len, &head, sizeof(head));
	memcpy(n->bytes + n->len + sizeof(head), owner, head.n_namesz);
	memcpy(n->bytes + n->len + sizeof(head) + 8, desc, len);
	n->len += NOTE_LEN(len);
}

static void add_prstatus64(struct notes *n, const struct cpu_state *c, unsigned int id)
{
	const uint64_t *g = c->gpr;
	const uint64_t regs[27] = {
		g[15],
		g[14],
		g[13],
		g[12],
		g[CPU_RBP],
		g[CPU_RBX],
		g[11],
		g[10],
		g[9],
		g[CPU_R8],
		g[CPU_RAX],
		g[CPU_RCX],
		g[CPU_RDX],
		g[CPU_RSI],
		g[CPU_RDI],
		UINT64_MAX, /* no system call */
		c->rip,
		c->segment[CPU_CS].selector,
		c->rflags,
		g[CPU_RSP],
		c->segment[CPU_SS].selector,
		c->segment[CPU_FS].base,
		c->segment[CPU_GS].base,
		c->segment[CPU_DS].selector,
		c->segment[CPU_ES].selector,
		c->segment[CPU_FS].selector,
		c->segment[CPU_GS].selector,
	};
	uint8_t raw[PRSTATUS64_LEN] = {0};

	store_le32(raw + PRSTATUS64_PID, id + 1);
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		store_le64(raw + PRSTATUS64_REGS + i * 8, regs[i]);
	add_note(n, "CORE", NT_PRSTATUS, raw, sizeof(raw));
}

static void add_prstatus32(struct notes *n, const struct cpu_state *c, unsigned int id)
{
	const uint64_t *g = c->gpr;
	const uint64_t regs[17] = {
		g[CPU_RBX],
		g[CPU_RCX],
		g[CPU_RDX],
		g[CPU_RSI],
		g[CPU_RDI],
		g[CPU_RBP],
		g[CPU_RAX],
		c->segment[CPU_DS].selector,
		c->segment[CPU_ES].selector,
		c->segment[CPU_FS].selector,
		c->segment[CPU_GS].selector,
		UINT64_MAX,
		c->rip,
		c->segment[CPU_CS].selector,
		c->rflags,
		g[CPU_RSP],
		c->segment[CPU_SS].selector,
	};
	uint8_t raw[PRSTATUS32_LEN] = {0};

	store_le32(raw + PRSTATUS32_PID, id + 1);
	for (size_t i = 0; i < ARRAY_SIZE(regs); i++)
		store_le32(raw + PRSTATUS32_REGS + i * 4, (uint32_t)regs[i]);
	add_note(n, "CORE", NT_PRSTATUS, raw, sizeof(raw));
}

static struct qemu_segment qemu_segment(const struct cpu_segment *s)
{
	return (struct qemu_segment){
		.selector = s->selector,
		.limit = s->limit,
		.flags = (uint32_t)s->type << 8 | (uint32_t)s->code_or_data << 12 |
			 (uint32_t)s->dpl << 13 | (uint32_t)s->present << 15 |
			 (uint32_t)s->wide << 21 | (uint32_t)s->big << 22 |
			 (s->limit > 0xfffff ? 1U << 23 : 0),
		.base = s->base,
	};
}

static void add_qemu(struct notes *n, const struct cpu_state *c)
{
	struct qemu_state q = {
		.version = 1,
		.size = sizeof(q),
		.rax = c->gpr[CPU_RAX],
		.rbx = c->gpr[CPU_RBX],
		.rcx = c->gpr[CPU_RCX],
		.rdx = c->gpr[CPU_RDX],
		.rsi = c->gpr[CPU_RSI],
		.rdi = c->gpr[CPU_RDI],
		.rsp = c->gpr[CPU_RSP],
		.rbp = c->gpr[CPU_RBP],
		.rip = c->rip,
		.rflags = c->rflags,
		.cs = qemu_segment(&c->segment[CPU_CS]),
		.ds = qemu_segment(&c->segment[CPU_DS]),
		.es = qemu_segment(&c->segment[CPU_ES]),
		.fs = qemu_segment(&c->segment[CPU_FS]),
		.gs = qemu_segment(&c->segment[CPU_GS]),
		.ss = qemu_segment(&c->segment[CPU_SS]),
		.ldt = qemu_segment(&c->segment[CPU_LDTR]),
		.tr = qemu_segment(&c->segment[CPU_TR]),
		.gdt = {.limit = c->gdt.limit, .base = c->gdt.base},
		.idt = {.limit = c->idt.limit, .base = c->idt.base},
		.cr = {c->cr0, 0, c->cr2, c->cr3, c->cr4},
		.kernel_gs_base = c->kernel_gs_base,
	};

	memcpy(q.r8_to_r15, &c->gpr[CPU_R8], sizeof(q.r8_to_r15));
	add_note(n, "QEMU", 0, &q, sizeof(q));
}

/* The vCPU that is to blame comes first: gdb begins with it. */
static int make_notes(struct notes *n, const struct vm *vm, unsigned int bits, struct err *err)
{
	const unsigned int count = vm_vcpus(vm);
	const unsigned int first = vm_culprit(vm) < 0 ? 0 : (unsigned int)vm_culprit(vm);
	struct cpu_state cpu;
	int ret;

	n->len = 0;
	n->room = count * NOTES_OF_VCPU;
	n->bytes = calloc(1, n->room);
	if (!n->bytes)
		return err_sys(err, ENOMEM, "dump");
	for (unsigned int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < count; i++) {
			const unsigned int id = (first + i) % count;

			ret = vm_cpu_state(vm, id, &cpu, err);
			if (ret)
				return ret;
			if (pass)
				add_qemu(n, &cpu);
			else if (bits == 64)
				add_prstatus64(n, &cpu, id);
			else
				add_prstatus32(n, &cpu, id);
		}
	return 0;
}

/* Headers */

struct headers {
	unsigned int bits;
	uint8_t *bytes;
	unsigned int count, room; /* of program headers */
};

static size_t file_header_len(const struct headers *h)
{
	return h->bits == 64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
}

static size_t entry_len(const struct headers *h)
{
	return h->bits == 64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
}

static size_t headers_len(const struct headers *h)
{
	return file_header_len(h) + h->room * entry_len(h);
}

static void add_header(struct headers *h, const Elf64_Phdr *p)
{
	uint8_t *at = h->bytes + file_header_len(h) + h->count++ * entry_len(h);
	const Elf32_Phdr small = {
		.p_type = p->p_type,
		.p_flags = p->p_flags,
		.p_offset = (Elf32_Off)p->p_offset,
		.p_vaddr = (Elf32_Addr)p->p_vaddr,
		.p_paddr = (Elf32_Addr)p->p_paddr,
		.p_filesz = (Elf32_Word)p->p_filesz,
		.p_memsz = (Elf32_Word)p->p_memsz,
		.p_align = (Elf32_Word)p->p_align,
	};

	bug_on(h->count > h->room);
	if (h->bits == 64)
		memcpy(at, p, sizeof(*p));
	else
		memcpy(at, &small, sizeof(small));
}

static void add_file_header(struct headers *h)
{
	const Elf64_Ehdr large = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (Elf64_Half)h->count,
	};
	const Elf32_Ehdr small = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_CORE,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(Elf32_Ehdr),
		.e_ehsize = sizeof(Elf32_Ehdr),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = (Elf32_Half)h->count,
	};

	if (h->bits == 64)
		memcpy(h->bytes, &large, sizeof(large));
	else
		memcpy(h->bytes, &small, sizeof(small));
}

/* The whole dump, while it is made. */
struct core {
	const struct gmem_region *regions;
	unsigned int region_count;
	struct walk_run *runs;
	unsigned int run_count;
	struct notes notes;
	struct headers headers;
	uint64_t memory; /* where it begins in the file */
};

/* One for the part of @run that lies in @region, whose bytes are at @offset of the file. */
static void add_part(struct core *c, const struct walk_run *run, const struct gmem_region *region,
		     uint64_t offset)
{
	const uint64_t from = MAX(run->gpa, region->gpa);
	const uint64_t to = MIN(run->gpa + run->len, region->gpa + region->size);

	if (from >= to)
		return;
	add_header(&c->headers, &(Elf64_Phdr){
					.p_type = PT_LOAD,
					.p_flags = PF_R | PF_W | PF_X,
					.p_offset = offset + (from - region->gpa),
					.p_vaddr = run->address + (from - run->gpa),
					.p_paddr = from,
					.p_filesz = to - from,
					.p_memsz = to - from,
				});
}

static int make_headers(struct core *c, unsigned int bits, struct err *err)
{
	struct headers *h = &c->headers;
	uint64_t offset;

	h->bits = bits;
	h->room = 1 + c->region_count * (c->run_count + 1);
	h->bytes = calloc(1, headers_len(h));
	if (!h->bytes)
		return err_sys(err, ENOMEM, "dump");
	c->memory = align_up(headers_len(h) + c->notes.len, PAGE);
	add_header(h, &(Elf64_Phdr){.p_type = PT_NOTE,
				    .p_offset = headers_len(h),
				    .p_filesz = c->notes.len,
				    .p_align = 4});
	for (unsigned int i = 0; i < c->run_count; i++) {
		offset = c->memory;
		for (unsigned int n = 0; n < c->region_count; n++) {
			add_part(c, &c->runs[i], &c->regions[n], offset);
			offset += c->regions[n].size;
		}
	}
	/* Behind them, so that a virtual address means what the guest means by it. */
	offset = c->memory;
	for (unsigned int n = 0; n < c->region_count; n++) {
		const struct walk_run all = {c->regions[n].gpa, c->regions[n].gpa,
					     c->regions[n].size};

		add_part(c, &all, &c->regions[n], offset);
		offset += c->regions[n].size;
	}
	add_file_header(h);
	return 0;
}

/* Writing */

static int put(const struct dump *d, const void *bytes, size_t len, uint64_t at, struct err *err)
{
	const uint8_t *p = bytes;

	while (len) {
		ssize_t n = pwrite(d->fd, p, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys(err, n ? errno : ENOSPC, "cannot write the dump %s",
				       d->path);
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static bool zeroes(const uint8_t *page)
{
	return !page[0] && !memcmp(page, page + 1, PAGE - 1);
}

/* Sizes of regions are multiples of a page. */
static int put_region(const struct dump *d, const struct gmem_region *r, uint64_t at,
		      struct err *err)
{
	const uint8_t *bytes = r->hva;
	uint64_t i = 0;
	int ret = 0;

	while (!ret && i < r->size) {
		uint64_t n = 0;

		while (i + n < r->size && n < STRETCH && !zeroes(bytes + i + n))
			n += PAGE;
		if (n)
			ret = put(d, bytes + i, n, at + i, err);
		i += n ? n : PAGE;
	}
	return ret;
}

static int put_all(struct dump *d, const struct core *c, struct err *err)
{
	uint64_t at = c->memory;
	int ret = 0;

	/* It may be the second. */
	if (ftruncate(d->fd, 0))
		ret = err_sys(err, errno, "cannot write the dump %s", d->path);
	if (!ret)
		ret = put(d, c->headers.bytes, headers_len(&c->headers), 0, err);
	if (!ret)
		ret = put(d, c->notes.bytes, c->notes.len, headers_len(&c->headers), err);
	for (unsigned int i = 0; !ret && i < c->region_count; i++) {
		ret = put_region(d, &c->regions[i], at, err);
		at += c->regions[i].size;
	}
	if (!ret && ftruncate(d->fd, (off_t)at))
		ret = err_sys(err, errno, "cannot write the dump %s", d->path);
	d->written = true;
	return ret;
}

/* A core of 32 bits has room for 4 GiB. */
static unsigned int class_of(const struct core *c, const struct cpu_state *cpu, unsigned int bits)
{
	const struct gmem_region *last = &c->regions[c->region_count - 1];

	if (last->gpa + last->size > GIB(4) - MIB(64))
		return 64;
	return bits ? bits : cpu->efer & EFER_LMA ? 64 : 32;
}

static int collect(struct core *c, struct vm *vm, unsigned int bits, struct err *err)
{
	const struct gmem *mem = vm_machine(vm)->mem;
	struct cpu_state cpu;
	int culprit = vm_culprit(vm);
	int ret = vm_cpu_state(vm, culprit < 0 ? 0 : (unsigned int)culprit, &cpu, err);

	if (ret)
		return ret;
	c->region_count = gmem_regions(mem, &c->regions);
	c->runs = calloc(RUNS_MAX, sizeof(*c->runs));
	if (!c->runs)
		return err_sys(err, ENOMEM, "dump");
	c->run_count = walk_runs(mem, &cpu, c->runs, RUNS_MAX);
	bits = class_of(c, &cpu, bits);
	/* Virtual addresses of long mode have no room there. */
	if (bits == 32 && cpu.efer & EFER_LMA)
		c->run_count = 0;
	ret = make_notes(&c->notes, vm, bits, err);
	return ret ? ret : make_headers(c, bits, err);
}

int dump_write(struct dump *d, struct vm *vm, unsigned int bits, struct err *err)
{
	struct core c = {.run_count = 0};
	int ret = collect(&c, vm, bits, err);

	if (!ret)
		ret = put_all(d, &c, err);
	free(c.headers.bytes);
	free(c.notes.bytes);
	free(c.runs);
	return ret;
}
