/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Symbols and lines of an ELF file, by elfutils.
 *
 * The libraries are opened at run time, when a name is first asked for: no machine pays for them
 * that ends well. The table is a sorted copy of what libelf reads, names stay in libelf's memory.
 */
#include <dlfcn.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/sandbox.h"
#include "skep/symbols.h"

#define LIBELF "libelf.so.1"
#define LIBDW  "libdw.so.1"

/* Of the table and of its names. Linux with everything has some 10 MiB of each. */
#define TABLE_MAX MIB(64)

/* How much of a name is shown, less the offset behind it. */
#define NAME_MAX_SHOWN 96

#define SEGMENTS_MAX 64

struct symbol {
	uint64_t at;
	uint64_t len; /* how far it reaches */
	const char *name;
	unsigned int rank; /* of two at one address the higher is meant */
};

/* A loadable segment that lies elsewhere in physical memory. */
struct segment {
	uint64_t vaddr, paddr, len;
};

struct symbols {
	int fd;
	bool owned; /* @fd */
	unsigned int bits;
	uint64_t slide;
	char label[192];
	bool tried; /* symbols_prepare() has been here */
	int failed; /* -errno of it */
	int name_errand, line_errand, find_errand;
	char why[256];

	void *libelf, *libdw; /* NULL: not loaded */
	struct elf_calls {
		__typeof__(&elf_version) version;
		__typeof__(&elf_begin) begin;
		__typeof__(&elf_end) end;
		__typeof__(&elf_nextscn) nextscn;
		__typeof__(&elf_getscn) getscn;
		__typeof__(&elf_getdata) getdata;
		__typeof__(&elf_getphdrnum) getphdrnum;
		__typeof__(&elf_getshdrstrndx) getshdrstrndx;
		__typeof__(&elf_strptr) strptr;
		__typeof__(&gelf_getshdr) getshdr;
		__typeof__(&gelf_getphdr) getphdr;
		__typeof__(&gelf_getsym) getsym;
	} elf_;
	struct dw_calls {
		__typeof__(&dwarf_begin_elf) begin_elf;
		__typeof__(&dwarf_end) end;
		__typeof__(&dwarf_addrdie) addrdie;
		__typeof__(&dwarf_getsrc_die) getsrc_die;
		__typeof__(&dwarf_linesrc) linesrc;
		__typeof__(&dwarf_lineno) lineno;
	} dw_;
	Elf *elf;
	Dwarf *dwarf; /* NULL: no lines */

	struct symbol *table; /* ascending by address, then rank */
	size_t count;
	struct segment segments[SEGMENTS_MAX];
	unsigned int segment_count;
};

/* Opening */

static int check_head(struct symbols *s, struct err *err)
{
	Elf32_Ehdr head; /* e_machine is where it is in both classes */
	ssize_t n = pread(s->fd, &head, sizeof(head), 0);

	if (n < 0)
		return err_sys(err, errno, "cannot read symbols from %s", s->label);
	if ((size_t)n < sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
		return err_set(err, ENOEXEC,
			       "%s is no ELF file, so there are no symbols in it; name the file "
			       "that the linker made",
			       s->label);
	if (head.e_machine != EM_386 && head.e_machine != EM_X86_64)
		return err_set(err, ENOEXEC, "%s is an ELF file for another processor (e_machine)",
			       s->label);
	s->bits = head.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32;
	return 0;
}

static sandbox_errand_fn name_errand, line_errand, find_errand;

static int open_symbols(struct symbols **out, int fd, bool owned, const char *label,
			struct err *err)
{
	struct symbols *s = calloc(1, sizeof(*s));
	int ret;

	*out = NULL;
	if (!s) {
		if (owned)
			close(fd);
		return err_sys(err, ENOMEM, "symbols");
	}
	s->fd = fd;
	s->owned = owned;
	snprintf(s->label, sizeof(s->label), "%s", label);
	ret = check_head(s, err);
	if (ret)
		symbols_close(s);
	else
		*out = s;
	if (!ret) {
		s->name_errand = sandbox_errand(name_errand, s, fd);
		s->line_errand = sandbox_errand(line_errand, s, fd);
		s->find_errand = sandbox_errand(find_errand, s, fd);
	}
	return ret;
}

int symbols_open(struct symbols **s, const char *path, struct err *err)
{
	/* A FIFO would keep us waiting. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	*s = NULL;
	if (fd < 0)
		return err_sys(err, errno, "cannot read symbols from %s", path);
	return open_symbols(s, fd, true, path, err);
}

int symbols_open_fd(struct symbols **s, int fd, const char *label, struct err *err)
{
	return open_symbols(s, fd, false, label, err);
}

unsigned int symbols_bits(const struct symbols *s)
{
	return s->bits;
}

CALLS_LIBRARY
void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	sandbox_errand_not(s);
	if (s->dwarf)
		s->dw_.end(s->dwarf);
	if (s->elf)
		s->elf_.end(s->elf);
	if (s->libdw)
		dlclose(s->libdw);
	if (s->libelf)
		dlclose(s->libelf);
	if (s->owned)
		close(s->fd);
	free(s->table);
	free(s);
}

/* The libraries */

#define CALL(library, into, name) ((into) = (__typeof__(into))dlsym(library, name))

static bool find_elf_calls(struct symbols *s)
{
	struct elf_calls *c = &s->elf_;
	void *lib = s->libelf;

	return CALL(lib, c->version, "elf_version") && CALL(lib, c->begin, "elf_begin") &&
	       CALL(lib, c->end, "elf_end") && CALL(lib, c->nextscn, "elf_nextscn") &&
	       CALL(lib, c->getscn, "elf_getscn") && CALL(lib, c->getdata, "elf_getdata") &&
	       CALL(lib, c->getphdrnum, "elf_getphdrnum") &&
	       CALL(lib, c->getshdrstrndx, "elf_getshdrstrndx") &&
	       CALL(lib, c->strptr, "elf_strptr") && CALL(lib, c->getshdr, "gelf_getshdr") &&
	       CALL(lib, c->getphdr, "gelf_getphdr") && CALL(lib, c->getsym, "gelf_getsym");
}

static bool find_dw_calls(struct symbols *s)
{
	struct dw_calls *c = &s->dw_;
	void *lib = s->libdw;

	return CALL(lib, c->begin_elf, "dwarf_begin_elf") && CALL(lib, c->end, "dwarf_end") &&
	       CALL(lib, c->addrdie, "dwarf_addrdie") &&
	       CALL(lib, c->getsrc_die, "dwarf_getsrc_die") &&
	       CALL(lib, c->linesrc, "dwarf_linesrc") && CALL(lib, c->lineno, "dwarf_lineno");
}

CALLS_LIBRARY
static int load_libelf(struct symbols *s, struct err *err)
{
	s->libelf = dlopen(LIBELF, RTLD_NOW | RTLD_LOCAL);
	if (!s->libelf)
		return err_set(err, ENOSYS, "symbols are read by libelf: install libelf1");
	if (!find_elf_calls(s) || s->elf_.version(EV_CURRENT) == EV_NONE)
		return err_set(err, ENOSYS, LIBELF " is not one that skep can use");
	return 0;
}

/* Lines are a pleasure, not a need: nobody is told when there are none. */
CALLS_LIBRARY
static void load_libdw(struct symbols *s)
{
	s->libdw = dlopen(LIBDW, RTLD_NOW | RTLD_LOCAL);
	if (s->libdw && find_dw_calls(s))
		s->dwarf = s->dw_.begin_elf(s->elf, DWARF_C_READ, NULL);
}

/* The table */

CALLS_LIBRARY
static void read_segments(struct symbols *s)
{
	size_t n;

	if (s->elf_.getphdrnum(s->elf, &n))
		return;
	for (size_t i = 0; i < n && i < SEGMENTS_MAX; i++) {
		GElf_Phdr p;

		if (!s->elf_.getphdr(s->elf, (int)i, &p) || p.p_type != PT_LOAD ||
		    p.p_paddr == p.p_vaddr)
			continue;
		s->segments[s->segment_count++] = (struct segment){p.p_vaddr, p.p_paddr, p.p_memsz};
	}
}

/* A section of plain bytes that libelf may hold in memory. */
static bool readable(const GElf_Shdr *h)
{
	return h->sh_size <= TABLE_MAX && !(h->sh_flags & SHF_COMPRESSED);
}

/* Where a symbol's section ends; 0: nothing in it is called by its address. */
CALLS_LIBRARY
static uint64_t section_end(const struct symbols *s, const GElf_Sym *sym)
{
	GElf_Shdr h;
	Elf_Scn *scn;
	const char *name;
	size_t names;

	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx >= SHN_LORESERVE)
		return 0;
	scn = s->elf_.getscn(s->elf, sym->st_shndx);
	if (!scn || !s->elf_.getshdr(scn, &h) || !(h.sh_flags & SHF_ALLOC) ||
	    sym->st_value < h.sh_addr)
		return 0;
	/* Linux: offsets into an area of each processor, at addresses that are others'. */
	if (!h.sh_addr && !s->elf_.getshdrstrndx(s->elf, &names)) {
		name = s->elf_.strptr(s->elf, names, h.sh_name);
		if (name && !strcmp(name, ".data..percpu"))
			return 0;
	}
	return h.sh_addr + h.sh_size < h.sh_addr ? UINT64_MAX : h.sh_addr + h.sh_size;
}

static unsigned int rank_of(const GElf_Sym *sym)
{
	const unsigned int type = GELF_ST_TYPE(sym->st_info);
	const unsigned int bind = GELF_ST_BIND(sym->st_info);

	return (type == STT_FUNC     ? 8U
		: type == STT_OBJECT ? 4U
				     : 0U) +
	       (sym->st_size ? 2U : 0U) + (bind == STB_GLOBAL ? 1U : 0U);
}

static void add_symbol(struct symbols *s, const GElf_Sym *sym, const Elf_Data *names)
{
	const unsigned int type = GELF_ST_TYPE(sym->st_info);
	const char *name;
	uint64_t end;

	if (type != STT_FUNC && type != STT_OBJECT && type != STT_NOTYPE)
		return;
	if (sym->st_name >= names->d_size)
		return;
	name = (const char *)names->d_buf + sym->st_name;
	/* An assembler's own labels begin so. */
	if (!*name || !strncmp(name, ".L", 2) || !memchr(name, '\0', names->d_size - sym->st_name))
		return;
	end = section_end(s, sym);
	if (sym->st_value >= end)
		return;
	s->table[s->count++] = (struct symbol){
		.at = sym->st_value,
		.len = sym->st_size ? MIN(sym->st_size, UINT64_MAX - sym->st_value)
				    : end - sym->st_value,
		.name = name,
		.rank = rank_of(sym),
	};
}

static int compare(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->rank < y->rank ? -1 : x->rank > y->rank;
}

CALLS_LIBRARY
static int read_table(struct symbols *s, Elf_Scn *scn, const GElf_Shdr *h, struct err *err)
{
	Elf_Scn *names_scn = s->elf_.getscn(s->elf, h->sh_link);
	Elf_Data *data, *names;
	GElf_Shdr names_h;
	size_t n;

	if (!readable(h) || !names_scn || !s->elf_.getshdr(names_scn, &names_h) ||
	    names_h.sh_type != SHT_STRTAB || !readable(&names_h))
		return err_set(err, ENODATA, "%s: its symbols cannot be read", s->label);
	data = s->elf_.getdata(scn, NULL);
	names = s->elf_.getdata(names_scn, NULL);
	if (!data || data->d_type != ELF_T_SYM || !names || !names->d_buf)
		return err_set(err, ENODATA, "%s: its symbols cannot be read", s->label);
	n = data->d_size / sizeof(Elf32_Sym); /* the smaller of the two classes */
	s->table = calloc(n ? n : 1, sizeof(*s->table));
	if (!s->table)
		return err_sys(err, ENOMEM, "%zu symbols of %s", n, s->label);
	for (size_t i = 0; i < n; i++) {
		GElf_Sym sym;

		if (!s->elf_.getsym(data, (int)i, &sym))
			break;
		add_symbol(s, &sym, names);
	}
	qsort(s->table, s->count, sizeof(*s->table), compare);
	return s->count ? 0 : err_set(err, ENODATA, "%s has no symbols", s->label);
}

CALLS_LIBRARY
static int read_symbols(struct symbols *s, struct err *err)
{
	Elf_Scn *scn = NULL;
	GElf_Shdr h;

	s->elf = s->elf_.begin(s->fd, ELF_C_READ, NULL);
	if (!s->elf)
		return err_set(err, ENODATA, "%s: its symbols cannot be read", s->label);
	read_segments(s);
	while ((scn = s->elf_.nextscn(s->elf, scn)))
		if (s->elf_.getshdr(scn, &h) && h.sh_type == SHT_SYMTAB)
			return read_table(s, scn, &h, err);
	return err_set(err, ENODATA, "%s has no symbols: they were stripped", s->label);
}

int symbols_prepare(struct symbols *s, struct err *err)
{
	struct err e = {""};

	if (!s->tried) {
		s->tried = true;
		s->failed = load_libelf(s, &e);
		if (!s->failed)
			s->failed = read_symbols(s, &e);
		if (!s->failed)
			load_libdw(s);
		snprintf(s->why, sizeof(s->why), "%.255s", e.text);
	}
	return s->failed ? err_set(err, -s->failed, "%s", s->why) : 0;
}

/* Asking */

/* Names come from a file that anybody may have made. */
static void put_safe(char *to, size_t room, const char *from)
{
	size_t n = 0;

	for (; from[n] && n + 1 < room; n++)
		to[n] = (char)(from[n] > ' ' && from[n] < 0x7f ? from[n] : '?');
	to[n] = '\0';
}

static const struct symbol *find(const struct symbols *s, uint64_t address)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->table[mid].at <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || address - s->table[lo - 1].at >= s->table[lo - 1].len)
		return NULL;
	return &s->table[lo - 1];
}

/* Where @address, a physical one, was linked to. */
static bool linked_at(const struct symbols *s, uint64_t address, uint64_t *vaddr)
{
	for (unsigned int i = 0; i < s->segment_count; i++) {
		const struct segment *g = &s->segments[i];

		if (address < g->paddr || address - g->paddr >= g->len)
			continue;
		*vaddr = g->vaddr + (address - g->paddr);
		return true;
	}
	return false;
}

static const struct symbol *look_up(struct symbols *s, uint64_t *address)
{
	const struct symbol *sym;
	uint64_t vaddr;

	if (!s || symbols_prepare(s, NULL))
		return NULL;
	*address -= s->slide;
	sym = find(s, *address);
	if (!sym && linked_at(s, *address, &vaddr)) {
		*address = vaddr;
		sym = find(s, vaddr);
	}
	return sym;
}

/* Those that were not prepared before the door was shut are asked for. */
static bool is_aides(const struct symbols *s, int errand)
{
	return s && !s->tried && sandbox_asks(errand);
}

static bool ask(int errand, uint64_t address, char *text, size_t room)
{
	char answer[SANDBOX_ANSWER_MAX];
	size_t n = sandbox_ask(errand, &address, sizeof(address), answer, sizeof(answer) - 1);

	if (!n || !room)
		return n;
	n = MIN(n, room - 1);
	memcpy(text, answer, n);
	text[n] = '\0';
	return true;
}

static size_t name_errand(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	uint64_t address;

	if (n != sizeof(address))
		return 0;
	memcpy(&address, question, n);
	return symbols_name(arg, address, answer, room) ? strlen(answer) : 0;
}

static size_t line_errand(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	uint64_t address;

	if (n != sizeof(address))
		return 0;
	memcpy(&address, question, n);
	return symbols_line(arg, address, answer, room) ? strlen(answer) : 0;
}

bool symbols_name(struct symbols *s, uint64_t address, char *text, size_t room)
{
	const struct symbol *sym;
	char name[NAME_MAX_SHOWN];

	if (room)
		*text = '\0';
	if (is_aides(s, s ? s->name_errand : -1))
		return ask(s->name_errand, address - s->slide, text, room);
	sym = look_up(s, &address);
	if (!sym)
		return false;
	put_safe(name, sizeof(name), sym->name);
	if (address == sym->at)
		snprintf(text, room, "%s", name);
	else
		snprintf(text, room, "%s+0x%llx", name, (unsigned long long)(address - sym->at));
	return true;
}

CALLS_LIBRARY
bool symbols_line(struct symbols *s, uint64_t address, char *text, size_t room)
{
	const char *file = NULL, *slash;
	char safe[NAME_MAX_SHOWN];
	Dwarf_Line *line;
	Dwarf_Die unit;
	int number;

	if (room)
		*text = '\0';
	if (is_aides(s, s ? s->line_errand : -1))
		return ask(s->line_errand, address - s->slide, text, room);
	if (!look_up(s, &address) || !s->dwarf || !s->dw_.addrdie(s->dwarf, address, &unit))
		return false;
	line = s->dw_.getsrc_die(&unit, address);
	if (line)
		file = s->dw_.linesrc(line, NULL, NULL);
	if (!file || s->dw_.lineno(line, &number))
		return false;
	slash = strrchr(file, '/');
	put_safe(safe, sizeof(safe), slash ? slash + 1 : file);
	snprintf(text, room, "%s:%d", safe, number);
	return true;
}

void symbols_slide(struct symbols *s, uint64_t by)
{
	s->slide = by;
}

static size_t find_errand(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	char name[SANDBOX_QUESTION_MAX + 1] = "";

	if (n > SANDBOX_QUESTION_MAX || room < sizeof(uint64_t))
		return 0;
	memcpy(name, question, n);
	return symbols_find(arg, name, answer) ? sizeof(uint64_t) : 0;
}

bool symbols_find(struct symbols *s, const char *name, uint64_t *address)
{
	if (is_aides(s, s ? s->find_errand : -1))
		return strlen(name) <= SANDBOX_QUESTION_MAX &&
		       sandbox_ask(s->find_errand, name, strlen(name), address, sizeof(*address)) ==
			       sizeof(*address);
	if (!s || symbols_prepare(s, NULL))
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (!strcmp(s->table[i].name, name)) {
			*address = s->table[i].at;
			return true;
		}
	return false;
}
