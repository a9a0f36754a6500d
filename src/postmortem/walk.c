/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/cpu_state.h"
#include "skep/gmem.h"

#include "walk.h"

/* 4.5, table 4-20, and 4.7: bits of entries, and of error codes. */
#define ENTRY_P  (UINT64_C(1) << 0)
#define ENTRY_RW (UINT64_C(1) << 1)
#define ENTRY_US (UINT64_C(1) << 2)
#define ENTRY_PS (UINT64_C(1) << 7)
#define ENTRY_NX (UINT64_C(1) << 63)

#define ERROR_P    1U
#define ERROR_W    2U
#define ERROR_U    4U
#define ERROR_RSVD 8U
#define ERROR_I    16U

#define RFLAGS_AC (UINT64_C(1) << 18)

#define VECTOR_GP 13
#define VECTOR_PF 14

static const char *const names[] = {"PTE", "PDE", "PDPTE", "PML4E", "PML5E"};

/* How a mode of paging differs from the others. */
struct scheme {
	const char *mode;
	unsigned int levels;
	unsigned int index_bits;
	unsigned int entry_bytes;
};

static const struct scheme legacy = {"32-bit paging", 2, 10, 4};
static const struct scheme pae = {"PAE paging", 3, 9, 8};
static const struct scheme four = {"4-level paging", 4, 9, 8};
static const struct scheme five = {"5-level paging", 5, 9, 8};

static const struct scheme *scheme_of(const struct cpu_state *cpu)
{
	if (!(cpu->cr4 & CR4_PAE))
		return &legacy;
	if (!(cpu->efer & EFER_LMA))
		return &pae;
	return cpu->cr4 & CR4_LA57 ? &five : &four;
}

bool walk_canonical(const struct cpu_state *cpu, uint64_t address)
{
	const unsigned int top = cpu->cr4 & CR4_LA57 ? 56 : 47;
	const uint64_t upper = address >> top;

	return !(cpu->efer & EFER_LMA) || !upper || upper == UINT64_MAX >> top;
}

__attribute__((format(printf, 4, 5))) static void fault(struct walk *w, int vector,
							unsigned int error, const char *fmt, ...)
{
	va_list ap;

	w->fault = vector;
	w->error = error;
	va_start(ap, fmt);
	vsnprintf(w->wrong, sizeof(w->wrong), fmt, ap);
	va_end(ap);
}

/* The bits that an error code has of the access alone. */
static unsigned int access_error(const struct cpu_state *cpu, unsigned int access)
{
	const bool tells_fetch =
		(cpu->cr4 & CR4_SMEP) || ((cpu->cr4 & CR4_PAE) && (cpu->efer & EFER_NXE));

	return (access & WALK_WRITE ? ERROR_W : 0) | (access & WALK_USER ? ERROR_U : 0) |
	       (access & WALK_FETCH && tells_fetch ? ERROR_I : 0);
}

/* 4.3 to 4.5: the bits of a present entry that have to be 0; NULL when they are. */
static const char *reserved(const struct cpu_state *cpu, const struct scheme *s, unsigned int level,
			    uint64_t entry, unsigned int shift, bool leaf)
{
	const uint64_t beyond = UINT64_C(0x000fffffffffffff) & ~(bit64(cpu->address_bits) - 1);

	if (s == &legacy)
		return leaf && level == 2 && entry & bit64(21) ? "bit 21 is set" : NULL;
	if (s == &pae && level == 3)
		return entry & (UINT64_C(0x1e6) | UINT64_C(0x7ff) << 52)
			       ? "bits 1, 2, 5 to 8 or 52 to 63 are set"
			       : NULL;
	if (entry & beyond)
		return "it has more address bits than the processor";
	if (entry & ENTRY_NX && !(cpu->efer & EFER_NXE))
		return "NX (bit 63) is set, and EFER.NXE is not";
	if (s == &pae && entry & UINT64_C(0x7ff) << 52)
		return "bits 52 to 62 are set";
	if (entry & ENTRY_PS && level >= 4)
		return "PS (bit 7) is set, and there are no pages of that size";
	if (leaf && level > 1 && entry & (bit64(shift) - 1) & ~UINT64_C(0x1fff))
		return "it is no address of a page of that size";
	return NULL;
}

/* 4.6.1: whether the rights suffice; what they lack otherwise. */
static const char *refused(const struct cpu_state *cpu, const struct walk *w, unsigned int access)
{
	if (access & WALK_USER && !w->user)
		return "the page is the supervisor's (U/S is 0), and this is ring 3";
	if (access & WALK_FETCH && w->no_execute)
		return "the page is not executable (NX)";
	if (access & WALK_FETCH && !(access & WALK_USER) && w->user && cpu->cr4 & CR4_SMEP)
		return "it is a user's page, and SMEP keeps the kernel from executing those";
	if (access & WALK_WRITE && !w->writable && (access & WALK_USER || cpu->cr0 & CR0_WP))
		return "the page is read-only (R/W is 0)";
	if (!(access & (WALK_FETCH | WALK_USER)) && w->user && cpu->cr4 & CR4_SMAP &&
	    !(cpu->rflags & RFLAGS_AC))
		return "it is a user's page, and SMAP keeps the kernel from touching those";
	return NULL;
}

static void arrive(const struct gmem *mem, const struct cpu_state *cpu, unsigned int access,
		   struct walk *w)
{
	const char *why = refused(cpu, w, access);

	w->mapped = true;
	if (why)
		fault(w, VECTOR_PF, ERROR_P | access_error(cpu, access), "%s", why);
	else if (!gmem_hva(mem, w->gpa, 1))
		snprintf(w->wrong, sizeof(w->wrong), "there is no RAM at physical %llx",
			 (unsigned long long)w->gpa);
}

static void no_paging(const struct gmem *mem, struct walk *w)
{
	w->mode = "no paging";
	w->mapped = true;
	w->gpa = w->address;
	w->page = KIB(4);
	w->writable = w->user = true;
	if (!gmem_hva(mem, w->gpa, 1))
		snprintf(w->wrong, sizeof(w->wrong), "there is no RAM at physical %llx",
			 (unsigned long long)w->gpa);
}

/* Reads the entry of @level; false when it stops the walk. */
static bool step(const struct gmem *mem, const struct cpu_state *cpu, const struct scheme *s,
		 unsigned int level, unsigned int shift, unsigned int access, uint64_t *table,
		 struct walk *w)
{
	struct walk_level *l = &w->levels[w->count++];
	const char *why;

	w->span = bit64(shift);
	l->name = names[level - 1];
	l->bytes = s->entry_bytes;
	l->index = (unsigned int)(w->address >> shift) & ((1U << s->index_bits) - 1);
	if (s == &pae && level == 3)
		l->index &= 3;
	l->at = *table + (uint64_t)l->index * l->bytes;
	l->read = !gmem_read(mem, l->at, &l->entry, l->bytes);
	if (!l->read) {
		fault(w, VECTOR_PF, access_error(cpu, access),
		      "the %s would be at physical %llx, where there is no RAM%s", l->name,
		      (unsigned long long)l->at, w->count == 1 ? ": CR3 is wrong" : "");
		return false;
	}
	if (!(l->entry & ENTRY_P)) {
		fault(w, VECTOR_PF, access_error(cpu, access),
		      "the %s is not present (P, bit 0, is 0)", l->name);
		return false;
	}
	l->leaf = level == 1 || (l->entry & ENTRY_PS && level <= 3 && !(s == &pae && level == 3) &&
				 (s != &legacy || cpu->cr4 & CR4_PSE));
	why = reserved(cpu, s, level, l->entry, shift, l->leaf);
	if (why) {
		fault(w, VECTOR_PF, ERROR_P | ERROR_RSVD | access_error(cpu, access),
		      "the %s has reserved bits set: %s", l->name, why);
		return false;
	}
	/* 4.6: rights are those that all levels give; a PDPTE of PAE has none. */
	if (!(s == &pae && level == 3)) {
		w->writable = w->writable && l->entry & ENTRY_RW;
		w->user = w->user && l->entry & ENTRY_US;
		w->no_execute = w->no_execute || (s != &legacy && l->entry & ENTRY_NX);
	}
	*table = s == &legacy ? l->entry & UINT64_C(0xfffff000)
			      : l->entry & UINT64_C(0x000ffffffffff000);
	return !l->leaf;
}

/* 4.3: bits 39 to 32 of a 4 MiB page are in bits 20 to 13. */
static uint64_t large_page(uint64_t entry)
{
	return (entry & UINT64_C(0xffc00000)) | (entry >> 13 & 0xff) << 32;
}

void walk(const struct gmem *mem, const struct cpu_state *cpu, uint64_t address,
	  unsigned int access, struct walk *w)
{
	const struct scheme *s = scheme_of(cpu);
	unsigned int shift = 12;
	uint64_t table = cpu->cr3 & (s == &legacy ? UINT64_C(0xfffff000)
				     : s == &pae  ? UINT64_C(0xffffffe0)
						  : UINT64_C(0x000ffffffffff000));
	const struct walk_level *leaf;

	memset(w, 0, sizeof(*w));
	w->fault = -1;
	w->address = cpu->efer & EFER_LMA ? address : address & UINT32_MAX;
	if (!(cpu->cr0 & CR0_PG)) {
		no_paging(mem, w);
		return;
	}
	w->mode = s->mode;
	w->writable = w->user = true;
	if (!walk_canonical(cpu, address)) {
		fault(w, VECTOR_GP, 0, "the address is not canonical: bits 63 to %u differ",
		      cpu->cr4 & CR4_LA57 ? 56 : 47);
		return;
	}
	for (unsigned int level = s->levels; level; level--) {
		shift = 12 + s->index_bits * (level - 1);
		if (!step(mem, cpu, s, level, shift, access, &table, w))
			break;
	}
	if (w->fault >= 0)
		return;
	leaf = &w->levels[w->count - 1];
	w->page = bit64(shift);
	if (s == &legacy && shift > 12)
		table = large_page(leaf->entry);
	w->gpa = (table & ~(w->page - 1)) + (w->address & (w->page - 1));
	arrive(mem, cpu, access, w);
}

/* How many walks a collection of runs may take: some tenths of a second. */
#define WALKS_MAX (1U << 20)

/* Those in [at, last]; @budget is what is left of WALKS_MAX. */
static unsigned int runs_of_half(const struct gmem *mem, const struct cpu_state *cpu, uint64_t at,
				 uint64_t last, unsigned int *budget, struct walk_run *runs,
				 unsigned int n, unsigned int room)
{
	const unsigned int first = n;

	while (*budget) {
		struct walk_run *r = n > first ? &runs[n - 1] : NULL;
		uint64_t left;
		struct walk w;

		(*budget)--;
		walk(mem, cpu, at, WALK_READ, &w);
		left = w.span - (at & (w.span - 1));
		if (w.mapped && gmem_hva(mem, w.gpa, 1)) {
			if (r && r->address + r->len == at && r->gpa + r->len == w.gpa) {
				r->len += left;
			} else if (n < room) {
				runs[n++] = (struct walk_run){at, w.gpa, left};
			} else {
				break;
			}
		}
		if (last - at < left)
			break;
		at += left;
	}
	return n;
}

unsigned int walk_runs(const struct gmem *mem, const struct cpu_state *cpu, struct walk_run *runs,
		       unsigned int room)
{
	const bool is_long = cpu->efer & EFER_LMA;
	const uint64_t half =
		!is_long ? UINT64_C(0x80000000) : bit64(cpu->cr4 & CR4_LA57 ? 56 : 47);
	unsigned int budget = WALKS_MAX, n;

	if (!(cpu->cr0 & CR0_PG))
		return 0;
	n = runs_of_half(mem, cpu, is_long ? -half : half, is_long ? UINT64_MAX : UINT32_MAX,
			 &budget, runs, 0, room);
	return runs_of_half(mem, cpu, 0, half - 1, &budget, runs, n, room);
}

size_t walk_read(const struct gmem *mem, const struct cpu_state *cpu, uint64_t address, void *to,
		 size_t len)
{
	size_t done = 0;

	while (done < len) {
		const uint64_t at = address + done;
		const size_t n = (size_t)MIN((uint64_t)(len - done), KIB(4) - (at & (KIB(4) - 1)));
		struct walk w;

		walk(mem, cpu, at, WALK_READ, &w);
		if (!w.mapped || gmem_read(mem, w.gpa, (char *)to + done, n))
			break;
		done += n;
	}
	return done;
}

uint64_t walk_linear(const struct cpu_state *cpu, unsigned int segment, uint64_t offset)
{
	const struct cpu_segment *s = &cpu->segment[segment];

	if (cpu_code_bits(cpu) == 64)
		return segment == CPU_FS || segment == CPU_GS ? s->base + offset : offset;
	return (s->base + offset) & UINT32_MAX;
}
