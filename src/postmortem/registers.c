/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers, with the names of the bits that are set in them.
 */
#include <string.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "tables.h"

struct bit {
	unsigned int n;
	const char *name;
};

/* SDM volume 3A, 2.5; volume 1, 3.4.3; volume 4, table 2-2 */
static const struct bit cr0_bits[] = {{0, "PE"},  {1, "MP"},  {2, "EM"},  {3, "TS"},  {5, "NE"},
				      {16, "WP"}, {18, "AM"}, {29, "NW"}, {30, "CD"}, {31, "PG"}};
static const struct bit cr4_bits[] = {
	{0, "VME"},         {1, "PVI"},   {2, "TSD"},   {3, "DE"},        {4, "PSE"},
	{5, "PAE"},         {6, "MCE"},   {7, "PGE"},   {8, "PCE"},       {9, "OSFXSR"},
	{10, "OSXMMEXCPT"}, {11, "UMIP"}, {12, "LA57"}, {16, "FSGSBASE"}, {17, "PCIDE"},
	{18, "OSXSAVE"},    {20, "SMEP"}, {21, "SMAP"}, {22, "PKE"},      {23, "CET"}};
static const struct bit efer_bits[] = {{0, "SCE"}, {8, "LME"}, {10, "LMA"}, {11, "NXE"}};
static const struct bit rflags_bits[] = {{0, "CF"},  {2, "PF"},  {4, "AF"},  {6, "ZF"},  {7, "SF"},
					 {8, "TF"},  {9, "IF"},  {10, "DF"}, {11, "OF"}, {14, "NT"},
					 {16, "RF"}, {17, "VM"}, {18, "AC"}};

struct bits_text {
	char s[160];
};

static struct bits_text bits_text(uint64_t value, const struct bit *bits, size_t count)
{
	struct bits_text t = {""};
	size_t at = 0;

	for (size_t i = 0; i < count && at < sizeof(t.s); i++)
		if (value & bit64(bits[i].n))
			at += (size_t)snprintf(t.s + at, sizeof(t.s) - at, "%s%s", at ? " " : "",
					       bits[i].name);
	return t;
}

#define BITS(value, table) bits_text(value, table, ARRAY_SIZE(table)).s

static void general_write(const struct cpu_state *cpu, unsigned int bits, FILE *to)
{
	static const enum cpu_gpr order[8] = {CPU_RAX, CPU_RBX, CPU_RCX, CPU_RDX,
					      CPU_RSI, CPU_RDI, CPU_RBP, CPU_RSP};
	static const char *const names[CPU_GPRS] = {"AX", "CX", "DX", "BX", "SP", "BP", "SI", "DI",
						    "8",  "9",  "10", "11", "12", "13", "14", "15"};

	for (unsigned int i = 0; i < (bits == 64 ? CPU_GPRS : 8U); i++) {
		const unsigned int n = i < 8 ? order[i] : i;

		fprintf(to, "%s%c%-2s %0*llx%s", i % 4 ? "  " : "    ",
			i < 8 && bits != 64 ? 'E' : 'R', names[n], bits == 64 ? 16 : 8,
			(unsigned long long)(bits == 64 ? cpu->gpr[n] : cpu->gpr[n] & UINT32_MAX),
			i % 4 == 3 ? "\n" : "");
	}
}

static void segments_write(const struct view *v, FILE *to)
{
	static const char *const names[CPU_SEGMENTS] = {"ES", "CS", "SS", "DS",
							"FS", "GS", "TR", "LDTR"};
	char words[128];

	for (unsigned int i = 0; i < CPU_SEGMENTS; i++) {
		const struct cpu_segment *s = &v->cpu->segment[i];
		const struct descriptor d = {
			.base = s->base,
			.limit = s->limit,
			.type = s->type,
			.dpl = s->dpl,
			.present = s->present,
			.code_or_data = s->code_or_data,
			.wide = s->wide,
			.big = s->big,
		};

		descriptor_words(v->cpu, &d, words, sizeof(words));
		fprintf(to, "    %-4s %04x  %s\n", names[i], s->selector,
			s->unusable || !s->present ? "unusable" : words);
		if ((i == CPU_FS || i == CPU_GS) && s->base && s->wide)
			fprintf(to, "          base %llx\n", (unsigned long long)s->base);
	}
}

static void msrs_write(const struct cpu_state *cpu, FILE *to)
{
	fprintf(to, "    STAR %llx  LSTAR %llx  CSTAR %llx  SFMASK %llx\n",
		(unsigned long long)cpu->star, (unsigned long long)cpu->lstar,
		(unsigned long long)cpu->cstar, (unsigned long long)cpu->sfmask);
	fprintf(to, "    SYSENTER CS %llx  ESP %llx  EIP %llx\n",
		(unsigned long long)cpu->sysenter_cs, (unsigned long long)cpu->sysenter_esp,
		(unsigned long long)cpu->sysenter_eip);
	fprintf(to, "    FS base %llx  GS base %llx  kernel GS base %llx\n",
		(unsigned long long)cpu->segment[CPU_FS].base,
		(unsigned long long)cpu->segment[CPU_GS].base,
		(unsigned long long)cpu->kernel_gs_base);
	fprintf(to, "    PAT %llx  APIC base %llx  TSC %llx\n", (unsigned long long)cpu->pat,
		(unsigned long long)cpu->apic_base, (unsigned long long)cpu->tsc);
	fprintf(to, "    DR0 %llx  DR1 %llx  DR2 %llx  DR3 %llx  DR6 %llx  DR7 %llx\n",
		(unsigned long long)cpu->dr[0], (unsigned long long)cpu->dr[1],
		(unsigned long long)cpu->dr[2], (unsigned long long)cpu->dr[3],
		(unsigned long long)cpu->dr6, (unsigned long long)cpu->dr7);
}

void registers_write(const struct view *v, bool all, FILE *to)
{
	const struct cpu_state *cpu = v->cpu;
	const bool general = cpu->when == CPU_LAST_EXIT_GENERAL;
	const unsigned int bits = cpu->efer & EFER_LMA || general ? 64 : cpu_code_bits(cpu);

	fprintf(to, "Registers\n");
	fprintf(to, "    %cIP %llx%s\n", bits == 64 ? 'R' : 'E', (unsigned long long)cpu->rip,
		name_of(v, cpu->rip).s);
	general_write(cpu, bits, to);
	if (general) {
		fprintf(to, "    RFLAGS %llx [%s]\n", (unsigned long long)cpu->rflags,
			BITS(cpu->rflags, rflags_bits));
		return;
	}
	fprintf(to, "    RFLAGS %llx [%s]  EFER %llx [%s]\n", (unsigned long long)cpu->rflags,
		BITS(cpu->rflags, rflags_bits), (unsigned long long)cpu->efer,
		BITS(cpu->efer, efer_bits));
	fprintf(to, "    CR0 %llx [%s]  CR4 %llx [%s]\n", (unsigned long long)cpu->cr0,
		BITS(cpu->cr0, cr0_bits), (unsigned long long)cpu->cr4, BITS(cpu->cr4, cr4_bits));
	fprintf(to, "    CR2 %llx  CR3 %llx  CS %04x  SS %04x  ring %u, %u-bit code\n",
		(unsigned long long)cpu->cr2, (unsigned long long)cpu->cr3,
		cpu->segment[CPU_CS].selector, cpu->segment[CPU_SS].selector, cpu_cpl(cpu),
		cpu_code_bits(cpu));
	if (!all)
		return;
	segments_write(v, to);
	if (cpu->when == CPU_NOW)
		msrs_write(cpu, to);
}
