/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The code around RIP, the top of the stack, and who called whom.
 */
#include <string.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "skep/disasm.h"
#include "walk.h"

/* Where decoding may begin to arrive at RIP in step: as far as this before it. */
#define REACH 48

/* What of an instruction's bytes there is room for. */
#define BYTES_SHOWN 10

struct name_text name_of(const struct view *v, uint64_t address)
{
	char name[SYMBOLS_TEXT], line[SYMBOLS_TEXT];
	struct name_text t = {""};

	if (!symbols_name(v->symbols, address, name, sizeof(name)))
		return t;
	if (symbols_line(v->symbols, address, line, sizeof(line)))
		snprintf(t.s, sizeof(t.s), " <%.80s, %.40s>", name, line);
	else
		snprintf(t.s, sizeof(t.s), " <%s>", name);
	return t;
}

/* Code */

struct code {
	struct disasm *disasm;
	uint8_t bytes[REACH + 128];
	size_t len;
	size_t rip;    /* where in @bytes */
	uint64_t base; /* the offset of the first byte */
};

/* As much before RIP as is mapped, in whole; what follows it as far as it goes. */
static void fetch(const struct view *v, struct code *c)
{
	const struct cpu_state *cpu = v->cpu;

	for (c->rip = MIN((uint64_t)REACH, cpu->rip); c->rip; c->rip -= MIN(c->rip, (size_t)8)) {
		const uint64_t at = walk_linear(cpu, CPU_CS, cpu->rip - c->rip);

		if (walk_read(v->mem, cpu, at, c->bytes, c->rip) == c->rip)
			break;
	}
	c->base = cpu->rip - c->rip;
	c->len = c->rip + walk_read(v->mem, cpu, walk_linear(cpu, CPU_CS, cpu->rip),
				    c->bytes + c->rip, sizeof(c->bytes) - c->rip);
}

/*
 * x86 code cannot be read backwards. Decoding that begins anywhere soon falls into step, so the
 * longest run of instructions that ends at RIP is taken; its last @most are. Returns how many, with
 * where each begins in @starts.
 */
static unsigned int find_before(const struct code *c, unsigned int most, size_t *starts)
{
	for (size_t from = 0; from < c->rip; from++) {
		size_t all[REACH], at = from;
		unsigned int n = 0, skip;
		struct insn insn;

		while (at < c->rip &&
		       disasm_one(c->disasm, c->bytes + at, c->rip - at, c->base + at, &insn)) {
			all[n++] = at;
			at += insn.len;
		}
		if (at != c->rip)
			continue;
		skip = n > most ? n - most : 0;
		memcpy(starts, all + skip, (n - skip) * sizeof(*all));
		return n - skip;
	}
	return 0;
}

/* Returns the length of the instruction, 0 when there is none. */
static unsigned int line_write(const struct view *v, const struct code *c, size_t at, FILE *to)
{
	const size_t left = c->len - at;
	const bool here = at == c->rip;
	struct insn insn;
	unsigned int n;

	if (!disasm_one(c->disasm, c->bytes + at, left, c->base + at, &insn)) {
		snprintf(insn.text, sizeof(insn.text), "(no instruction)");
		insn.len = 0;
	}
	n = insn.len ? insn.len : (unsigned int)MIN(left, (size_t)4);
	fprintf(to, "%s %8llx  ", here ? "  >" : "   ", (unsigned long long)(c->base + at));
	for (unsigned int i = 0; i < BYTES_SHOWN; i++)
		if (i < n)
			fprintf(to, "%02x%s", c->bytes[at + i],
				i == BYTES_SHOWN - 1 && n > BYTES_SHOWN ? "…" : " ");
		else
			fputs("   ", to);
	fprintf(to, " %s%s\n", insn.text, here ? name_of(v, v->cpu->rip).s : "");
	return insn.len;
}

void code_write(const struct view *v, unsigned int before, unsigned int after, FILE *to)
{
	struct code c = {.disasm = disasm_open(cpu_code_bits(v->cpu))};
	size_t starts[REACH];
	unsigned int n, len;
	size_t at;

	fetch(v, &c);
	fprintf(to, "Code\n");
	if (c.len == c.rip)
		fprintf(to, "    nothing can be read at RIP\n");
	if (!c.disasm) {
		fprintf(to, "    (install libcapstone4 to read it in words)\n   ");
		for (at = c.rip; at < c.len && at < c.rip + INSN_MAX; at++)
			fprintf(to, " %02x", c.bytes[at]);
		fputc('\n', to);
		return;
	}
	n = find_before(&c, before, starts);
	for (unsigned int i = 0; i < n; i++)
		line_write(v, &c, starts[i], to);
	at = c.rip;
	for (unsigned int i = 0; i <= after && at < c.len; i++) {
		len = line_write(v, &c, at, to);
		if (!len)
			break;
		at += len;
	}
	disasm_close(c.disasm);
}

/* The stack */

static unsigned int word_bytes(const struct view *v)
{
	return cpu_code_bits(v->cpu) / 8;
}

static bool read_word(const struct view *v, uint64_t at, uint64_t *word)
{
	const unsigned int n = word_bytes(v);
	uint64_t raw = 0;

	if (walk_read(v->mem, v->cpu, at, &raw, n) < n)
		return false;
	*word = le64toh(raw);
	return true;
}

void stack_write(const struct view *v, unsigned int words, FILE *to)
{
	const unsigned int n = word_bytes(v);
	const uint64_t sp = walk_linear(v->cpu, CPU_SS, v->cpu->gpr[CPU_RSP]);

	fprintf(to, "Stack\n");
	for (unsigned int i = 0; i < words; i++) {
		const uint64_t at = sp + (uint64_t)i * n;
		struct walk w;
		uint64_t word;

		if (!read_word(v, at, &word)) {
			walk(v->mem, v->cpu, at, WALK_READ, &w);
			fprintf(to, "    %8llx  cannot be read: %s\n", (unsigned long long)at,
				*w.wrong ? w.wrong : "there is no RAM");
			return;
		}
		fprintf(to, "    %8llx  %0*llx%s\n", (unsigned long long)at, (int)n * 2,
			(unsigned long long)word, name_of(v, word).s);
	}
}

/* Whether a call ends at @address: E8, or FF /2 with whatever its operand takes. */
static bool behind_call(const struct view *v, uint64_t address)
{
	uint8_t b[8];

	if (address < sizeof(b) ||
	    walk_read(v->mem, v->cpu, walk_linear(v->cpu, CPU_CS, address - sizeof(b)), b,
		      sizeof(b)) < sizeof(b))
		return false;
	if (b[3] == 0xe8)
		return true;
	for (unsigned int i = 0; i < sizeof(b) - 1; i++)
		if (b[i] == 0xff && (b[i + 1] >> 3 & 7) == 2)
			return true;
	return false;
}

/* How far the stack is searched for calls. */
#define SEARCHED 128U

/* Whether what an exception or interrupt pushed lies at @at: SDM volume 3A, 6.12.1 and 6.14.2. */
static bool is_frame(const struct view *v, uint64_t at, uint64_t *rip)
{
	const unsigned int n = word_bytes(v);
	uint64_t cs, flags;
	struct walk w;

	if (!read_word(v, at, rip) || !read_word(v, at + n, &cs) ||
	    !read_word(v, at + 2UL * n, &flags) || !cs || cs != v->cpu->segment[CPU_CS].selector)
		return false;
	/* Bit 1 is always set, bits 3, 5, 15 and those above 21 never. */
	if (!(flags & 2) || flags & ~UINT64_C(0x3f7fd7))
		return false;
	walk(v->mem, v->cpu, walk_linear(v->cpu, CPU_CS, *rip), WALK_FETCH, &w);
	return w.fault < 0 && !*w.wrong;
}

/* Without frame pointers: words of the stack behind which a call may be, and frames. */
static void search_stack(const struct view *v, unsigned int most, FILE *to)
{
	const unsigned int n = word_bytes(v);
	const uint64_t sp = walk_linear(v->cpu, CPU_SS, v->cpu->gpr[CPU_RSP]);
	char name[SYMBOLS_TEXT];
	uint64_t word;

	for (unsigned int i = 0; i < SEARCHED && most; i++) {
		const uint64_t at = sp + (uint64_t)i * n;

		if (!read_word(v, at, &word))
			return;
		if (is_frame(v, at, &word)) {
			fprintf(to, "    %8llx%s, which an exception or interrupt met\n",
				(unsigned long long)word, name_of(v, word).s);
			i += 2;
			most--;
		} else if (behind_call(v, word) &&
			   (!v->symbols ||
			    symbols_name(v->symbols, word - 1, name, sizeof(name)))) {
			fprintf(to, "  ? %8llx%s\n", (unsigned long long)word,
				name_of(v, word - 1).s);
			most--;
		}
	}
}

/*
 * By frame pointers, where the compiler kept them. Frames lie at ascending addresses, so the chain
 * ends whatever it says.
 */
void backtrace_write(const struct view *v, unsigned int frames, FILE *to)
{
	const unsigned int n = word_bytes(v);
	uint64_t frame = v->cpu->gpr[CPU_RBP], next, back;
	unsigned int found = 0;

	if (n == 2)
		return;
	fprintf(to, "Calls, the last first\n");
	fprintf(to, "    %8llx%s\n", (unsigned long long)v->cpu->rip, name_of(v, v->cpu->rip).s);
	while (found + 1 < frames) {
		const uint64_t at = walk_linear(v->cpu, CPU_SS, frame);

		if (!frame || frame % n || !read_word(v, at, &next) ||
		    !read_word(v, at + n, &back) || !behind_call(v, back))
			break;
		/* The call, not what is behind it, which may be another function. */
		fprintf(to, "    %8llx%s\n", (unsigned long long)back, name_of(v, back - 1).s);
		found++;
		if (next <= frame)
			break;
		frame = next;
	}
	if (!found)
		search_stack(v, frames - 1, to);
}
