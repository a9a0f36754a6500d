/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 6 - paging: the first 4 MiB map to themselves, by 1024 pages of 4 KiB. A write to 40000000h,
 * where nothing is, is a page fault; its handler maps a page there and the write is done again.
 */
#include "lab.h"

#define PRESENT  0x1
#define WRITABLE 0x2
#define PAGE     4096
#define FAR      0x40000000

static uint32_t directory[1024] __attribute__((aligned(PAGE)));
static uint32_t low[1024] __attribute__((aligned(PAGE)));
static uint32_t far[1024] __attribute__((aligned(PAGE)));
static uint32_t frame[1024] __attribute__((aligned(PAGE)));
static volatile uint32_t faults;

void interrupt(struct frame *f)
{
	uint32_t cr2;

	__asm__ volatile("movl %%cr2, %0" : "=r"(cr2)); /* the address that was not there */
	if (f->vector != 14 || cr2 >> 22 != FAR >> 22)
		unexpected(f);
	say("page fault at ");
	say_hex(cr2);
	say(f->error & 2 ? ", a write" : ", a read");
	say(f->error & 1 ? " that is not allowed\n" : " where no page is\n");
	faults++;
	far[cr2 >> 12 & 1023] = (uint32_t)frame | PRESENT | WRITABLE;
}

static void start_paging(void)
{
	uint32_t cr0;

	for (uint32_t i = 0; i < 1024; i++)
		low[i] = i * PAGE | PRESENT | WRITABLE;
	directory[0] = (uint32_t)low | PRESENT | WRITABLE;
	directory[FAR >> 22] = (uint32_t)far | PRESENT | WRITABLE;
	__asm__ volatile("movl %0, %%cr3" : : "r"(directory) : "memory");
	__asm__ volatile("movl %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("movl %0, %%cr0" : : "r"(cr0 | 0x80000000) : "memory"); /* PG */
}

void kernel_main(uint32_t magic, const uint32_t *info)
{
	volatile uint32_t *there = (volatile uint32_t *)(FAR + 8);

	(void)magic;
	(void)info;
	load_tables();
	start_paging();
	say("paging is on\n");
	*there = 1234;
	say("there is ");
	say_number(*there);
	say(", in memory at ");
	say_hex((uint32_t)&frame[2]);
	say("\n");
	end(faults == 1 && frame[2] == 1234 ? 0 : 1);
}
