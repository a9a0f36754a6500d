/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Linux loader, on kernels made here: every rule of the boot document that it follows, every
 * file it refuses and what it says then, and that no header makes it leave guest RAM or the file.
 */
#include "support/cm.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/boot/bzimage.h"
#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/loading.h"

#define SETUP 2560 /* setup_sects 4 */
#define CODE  8192
#define TOTAL (SETUP + CODE)

/* boot.rst, "The Real-Mode Kernel Header", and zero-page.rst */
#define F_SETUP_SECTS    0x1f1
#define F_SYSSIZE        0x1f4
#define F_VID_MODE       0x1fa
#define F_BOOT_FLAG      0x1fe
#define F_JUMP           0x200
#define F_MAGIC          0x202
#define F_VERSION        0x206
#define F_KERNEL_VERSION 0x20e
#define F_LOADER         0x210
#define F_LOADFLAGS      0x211
#define F_CODE32_START   0x214
#define F_RAMDISK_IMAGE  0x218
#define F_RAMDISK_SIZE   0x21c
#define F_CMD_LINE_PTR   0x228
#define F_INITRD_MAX     0x22c
#define F_ALIGNMENT      0x230
#define F_RELOCATABLE    0x234
#define F_MIN_ALIGNMENT  0x235
#define F_XLOADFLAGS     0x236
#define F_CMDLINE_SIZE   0x238
#define F_PAYLOAD_OFFSET 0x248
#define F_PAYLOAD_LENGTH 0x24c
#define F_SETUP_DATA     0x250
#define F_PREF_ADDRESS   0x258
#define F_INIT_SIZE      0x260
#define Z_RSDP           0x070
#define Z_E820_ENTRIES   0x1e8
#define Z_SENTINEL       0x1ef
#define Z_E820_TABLE     0x2d0

static void poke(uint8_t *at, unsigned int size, uint64_t value)
{
	value = htole64(value);
	memcpy(at, &value, size);
}

/* A small kernel of today: protocol 2.15, relocatable, at 2 MiB, 1 MiB to unpack itself in. */
static void make_kernel(uint8_t *k)
{
	for (size_t i = 0; i < TOTAL; i++)
		k[i] = (uint8_t)(i * 7 + (i >> 8));
	memset(k + F_SETUP_SECTS, 0, 0x26c - F_SETUP_SECTS);
	k[F_SETUP_SECTS] = 4;
	poke(k + F_SYSSIZE, 4, CODE / 16);
	poke(k + F_BOOT_FLAG, 2, 0xaa55);
	poke(k + F_JUMP, 2, 0x6aeb);
	memcpy(k + F_MAGIC, "HdrS", 4);
	poke(k + F_VERSION, 2, 0x020f);
	poke(k + F_KERNEL_VERSION, 2, 0x400);
	strcpy((char *)k + 0x600, "6.1.0-tiny (bees@hive) #1\n\x1b[2J");
	k[F_LOADFLAGS] = 1;
	poke(k + F_CODE32_START, 4, 0x100000);
	poke(k + F_INITRD_MAX, 4, 0x7fffffff);
	poke(k + F_ALIGNMENT, 4, 0x200000);
	k[F_RELOCATABLE] = 1;
	k[F_MIN_ALIGNMENT] = 21;
	poke(k + F_XLOADFLAGS, 2, 0x3f);
	poke(k + F_CMDLINE_SIZE, 4, 255);
	poke(k + F_PAYLOAD_OFFSET, 4, 64);
	poke(k + F_PAYLOAD_LENGTH, 4, 4096);
	k[SETUP + 64] = 0x28;
	k[SETUP + 65] = 0xb5;
	poke(k + F_PREF_ADDRESS, 8, MIB(2));
	poke(k + F_INIT_SIZE, 4, MIB(1));
}

struct rig {
	uint8_t kernel[TOTAL];
	size_t len; /* of the file, at most TOTAL */
	struct gmem *mem;
	struct e820 map;
	struct boot_image *images[4]; /* the kernel, then initrds */
	struct boot_request req;
	struct boot_options options;
	struct boot_layout layout;
	struct cpu_entry entry;
	struct err err;
};

/* The map that a PC with @memory has. */
static void set_map(struct rig *r, uint64_t memory)
{
	const struct gmem_region regions[] = {
		{.gpa = 0, .size = MIN(memory, GMEM_HOLE_START)},
		{.gpa = GMEM_HOLE_END, .size = memory - MIN(memory, GMEM_HOLE_START)},
	};

	assert_int_equal(e820_build(&r->map, regions, regions[1].size ? 2 : 1, NULL), 0);
}

static void begin(struct rig *r, uint64_t memory)
{
	memset(r, 0, sizeof(*r));
	make_kernel(r->kernel);
	r->len = TOTAL;
	set_map(r, memory);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = memory}, NULL), 0);
	r->req.memory = &r->map;
	r->options.protocol = "linux32";
	r->req.options = &r->options;
}

static void close_images(struct rig *r)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->images); i++) {
		boot_close(r->images[i]);
		r->images[i] = NULL;
	}
}

static void end(struct rig *r)
{
	close_images(r);
	gmem_destroy(r->mem);
}

static void open_kernel(struct rig *r)
{
	boot_close(r->images[0]);
	assert_int_equal(boot_open_memory(&r->images[0], "kernel", "tiny", r->kernel, r->len, NULL),
			 0);
	r->req.kernel = r->images[0];
	r->req.initrds = (const struct boot_image *const *)&r->images[1];
}

static void add_initrd(struct rig *r, const void *data, size_t len)
{
	unsigned int n = ++r->req.initrd_count;

	assert_int_equal(boot_open_memory(&r->images[n], "initrd", "rd", data, len, NULL), 0);
}

static int load(struct rig *r)
{
	open_kernel(r);
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

static void assert_sound(const struct boot_layout *l, const struct e820 *map)
{
	uint64_t last = 0;

	assert_in_range(l->count, 4, BOOT_PIECES_MAX);
	for (unsigned int i = 0; i < l->count; i++) {
		const struct boot_piece *p = &l->pieces[i];

		assert_true(p->len > 0);
		assert_true(p->gpa >= last);
		assert_true(e820_is(map, p->gpa, p->len, E820_RAM));
		last = p->gpa + p->len;
	}
	assert_true(last <= GMEM_HOLE_END);
	assert_int_equal(piece(l, "kernel")->gpa, l->entry);
	assert_true(l->entry >= MIB(1));
	assert_int_equal(l->least_memory % MIB(1), 0);
}

static void test_load(void **state)
{
	static const char cmdline[] = "console=ttyS0 panic=-1";
	struct rig r;
	uint64_t zp;

	(void)state;
	begin(&r, MIB(32));
	/* A reset loads into memory that a guest has used. */
	assert_int_equal(gmem_fill(r.mem, 0, 0xff, MIB(32)), 0);
	poke(r.kernel + F_SETUP_DATA, 8, 0x1234);
	r.req.cmdline = cmdline;
	r.req.rsdp = 0xe0000;
	assert_int_equal(load(&r), 0);
	assert_sound(&r.layout, &r.map);

	assert_int_equal(r.entry.mode, CPU_PROT32);
	assert_int_equal(r.entry.rip, MIB(2));
	assert_int_equal(r.entry.rbp | r.entry.rdi | r.entry.rbx, 0);
	assert_memory_equal(gmem_hva(r.mem, MIB(2), CODE), r.kernel + SETUP, CODE);

	zp = r.entry.rsi;
	assert_int_equal(zp, piece(&r.layout, "boot parameters")->gpa);
	assert_int_equal(guest_number(r.mem, zp + F_MAGIC, 4), 0x53726448);
	assert_int_equal(guest_number(r.mem, zp + F_LOADER, 1), 0xff);
	assert_int_equal(guest_number(r.mem, zp + F_VID_MODE, 2), 0xffff);
	assert_int_equal(guest_number(r.mem, zp + F_CODE32_START, 4), MIB(2));
	assert_int_equal(guest_number(r.mem, zp + F_RAMDISK_IMAGE, 8), 0);
	assert_int_equal(guest_number(r.mem, zp + F_SETUP_DATA, 8), 0);
	assert_int_equal(guest_number(r.mem, zp + F_INIT_SIZE, 4), MIB(1));
	assert_int_equal(guest_number(r.mem, zp + Z_RSDP, 8), 0xe0000);
	assert_int_equal(guest_number(r.mem, zp + Z_SENTINEL, 1), 0);
	assert_memory_equal(gmem_hva(r.mem, guest_number(r.mem, zp + F_CMD_LINE_PTR, 4), 64),
			    cmdline, sizeof(cmdline));
	end(&r);
}

/* boot.rst: the header is copied by its declared length, the rest of the page is zero. */
static void test_boot_params_clean(void **state)
{
	struct rig r;
	const uint8_t *zp;

	(void)state;
	begin(&r, MIB(32));
	gmem_fill(r.mem, 0, 0xff, MIB(1));
	memset(r.kernel, 0xee, F_SETUP_SECTS);
	memset(r.kernel + 0x26c, 0xee, 0x300);
	assert_int_equal(load(&r), 0);
	zp = gmem_hva(r.mem, r.entry.rsi, 4096);
	for (unsigned int i = 0; i < F_SETUP_SECTS; i++)
		assert_int_equal(zp[i], i == Z_E820_ENTRIES ? r.map.count : 0);
	for (unsigned int i = 0x26c; i < Z_E820_TABLE; i++)
		assert_int_equal(zp[i], 0);
	for (unsigned int i = Z_E820_TABLE + r.map.count * 20; i < 4096; i++)
		assert_int_equal(zp[i], 0);

	/* A header that claims more than boot_params has room for stops where the room does. */
	r.kernel[F_JUMP + 1] = 0x7f;
	assert_int_equal(load(&r), 0);
	assert_int_equal(zp[0x280], 0xee);
	for (unsigned int i = 0x290; i < Z_E820_TABLE; i++)
		assert_int_equal(zp[i], 0);
	end(&r);
}

static void test_e820_table(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	for (unsigned int i = 0; r.map.count < E820_MAX; i++)
		assert_int_equal(e820_set(&r.map, GIB(5) + i * KIB(8), KIB(4), E820_NVS, NULL), 0);
	assert_int_equal(load(&r), 0);
	assert_int_equal(guest_number(r.mem, r.entry.rsi + Z_E820_ENTRIES, 1), E820_MAX);
	for (unsigned int i = 0; i < E820_MAX; i++) {
		uint64_t at = r.entry.rsi + Z_E820_TABLE + i * 20;

		assert_int_equal(guest_number(r.mem, at, 8), r.map.entries[i].gpa);
		assert_int_equal(guest_number(r.mem, at + 8, 8), r.map.entries[i].len);
		assert_int_equal(guest_number(r.mem, at + 16, 4), r.map.entries[i].type);
	}
	end(&r);
}

/* boot.rst, "32-bit Boot Protocol": flat 4 GiB segments at 10h and 18h. */
static void test_gdt(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.gdt, piece(&r.layout, "descriptor table")->gpa);
	assert_int_equal(r.entry.gdt_limit, 31);
	assert_int_equal(guest_number(r.mem, r.entry.gdt, 8), 0);
	assert_int_equal(guest_number(r.mem, r.entry.gdt + 0x10, 8), 0x00cf9b000000ffff);
	assert_int_equal(guest_number(r.mem, r.entry.gdt + 0x18, 8), 0x00cf93000000ffff);
	end(&r);
}

/* Where a kernel goes that asks for something in particular. */
static void test_kernel_placement(void **state)
{
	static const struct {
		uint64_t memory, pref;
		uint32_t init_size, align;
		uint8_t relocatable;
		uint64_t kernel, room_end;
	} cases[] = {
		{MIB(64), MIB(16), MIB(20), 0x200000, 1, MIB(16), MIB(36)},
		{MIB(36), MIB(16), MIB(20), 0x200000, 1, MIB(16), MIB(36)},
		/* None preferred, or one below 1 MiB. */
		{MIB(64), 0, MIB(4), 0x1000, 1, MIB(1), MIB(5)},
		{MIB(64), 0, MIB(4), 0x200000, 1, MIB(2), MIB(6)},
		{MIB(64), 0x8000, MIB(4), 1, 1, MIB(1), MIB(5)},
		/* A preference that is not aligned. */
		{MIB(64), MIB(3) + 5, MIB(4), 0x200000, 1, MIB(4), MIB(8)},
		{MIB(64), MIB(3) + 5, MIB(4), 1, 1, MIB(3) + 5, MIB(7) + 5},
		/* init_size less than the code. */
		{MIB(64), MIB(2), 0, 0x1000, 1, MIB(2), MIB(2) + CODE},
		/* Not relocatable: loaded at 1 MiB, moves itself. */
		{MIB(64), MIB(16), MIB(20), 0, 0, MIB(1), MIB(36)},
		{MIB(64), 0, MIB(4), 3, 0, MIB(1), MIB(5)},
		{MIB(64), MIB(1), 0, 0, 0, MIB(1), MIB(1) + CODE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct boot_piece *kernel, *room;
		struct rig r;

		begin(&r, cases[i].memory);
		poke(r.kernel + F_PREF_ADDRESS, 8, cases[i].pref);
		poke(r.kernel + F_INIT_SIZE, 4, cases[i].init_size);
		poke(r.kernel + F_ALIGNMENT, 4, cases[i].align);
		r.kernel[F_RELOCATABLE] = cases[i].relocatable;
		if (load(&r))
			fail_msg("case %zu: %s", i, r.err.text);
		assert_sound(&r.layout, &r.map);
		kernel = piece(&r.layout, "kernel");
		assert_int_equal(kernel->gpa, cases[i].kernel);
		assert_int_equal(r.entry.rip, cases[i].kernel);
		assert_int_equal(guest_number(r.mem, r.entry.rsi + F_CODE32_START, 4),
				 cases[i].kernel);
		assert_int_equal(kernel->len, CODE);
		if (cases[i].room_end > kernel->gpa + CODE) {
			room = piece(&r.layout, "room for the kernel");
			assert_int_equal(room->gpa, kernel->gpa + CODE);
			assert_int_equal(room->gpa + room->len, cases[i].room_end);
		}
		assert_memory_equal(gmem_hva(r.mem, kernel->gpa, CODE), r.kernel + SETUP, CODE);
		end(&r);
	}
}

/* Where pref_address is taken, a relocatable kernel goes up; one that is not stays out. */
static void test_kernel_around_holes(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(64));
	poke(r.kernel + F_PREF_ADDRESS, 8, MIB(16));
	poke(r.kernel + F_INIT_SIZE, 4, MIB(8));
	assert_int_equal(e820_set(&r.map, MIB(20), MIB(1), E820_RESERVED, NULL), 0);
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.rip, MIB(22));
	assert_sound(&r.layout, &r.map);
	r.kernel[F_RELOCATABLE] = 0;
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "finds no range");
	/* Never below pref_address, where Linux would not stay. */
	r.kernel[F_RELOCATABLE] = 1;
	assert_int_equal(e820_set(&r.map, MIB(24), MIB(40), E820_RESERVED, NULL), 0);
	assert_int_equal(load(&r), -ENOMEM);
	end(&r);
}

/* boot.rst, setup_sects: 0 means 4. */
static void test_setup_sects_zero(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	r.kernel[F_SETUP_SECTS] = 0;
	assert_int_equal(load(&r), 0);
	assert_memory_equal(gmem_hva(r.mem, r.entry.rip, CODE), r.kernel + SETUP, CODE);
	end(&r);
}

/*
 * Before 2.10 a kernel names neither its place nor its needs, before 2.06 not how long a command
 * line it takes; before 2.02 that could not lie just anywhere.
 */
static void test_old_protocols(void **state)
{
	char cmdline[257] = "";
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	poke(r.kernel + F_VERSION, 2, 0x0206);
	r.kernel[F_JUMP + 1] = 0x23c - 0x202;
	r.kernel[F_RELOCATABLE] = 0;
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.rip, MIB(1));
	assert_int_equal(piece(&r.layout, "room for the kernel")->len, 5 * CODE);
	assert_int_equal(guest_number(r.mem, r.entry.rsi + F_PREF_ADDRESS, 8), 0);
	poke(r.kernel + F_CMDLINE_SIZE, 4, UINT32_MAX);
	poke(r.kernel + F_VERSION, 2, 0x0202);
	memset(cmdline, 'x', 256);
	r.req.cmdline = cmdline;
	assert_int_equal(load(&r), -E2BIG);
	cmdline[255] = '\0';
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.rip, MIB(1));
	poke(r.kernel + F_VERSION, 2, 0x0201);
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "2.01");
	assert_says(&r, "2.02");
	end(&r);
}

/* Files that kernels before 2.6.26 were: the last 16 bytes of code not filled up. */
static void test_last_paragraph(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	r.len = TOTAL - 15;
	assert_int_equal(load(&r), 0);
	assert_int_equal(piece(&r.layout, "kernel")->len, CODE - 15);
	r.len = TOTAL - 16;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "truncated");
	/* What is behind the code, a signature for one, is not loaded. */
	r.len = TOTAL;
	poke(r.kernel + F_SYSSIZE, 4, 16);
	gmem_fill(r.mem, 0, 0, MIB(32));
	assert_int_equal(load(&r), 0);
	assert_int_equal(piece(&r.layout, "kernel")->len, 256);
	assert_int_equal(guest_number(r.mem, r.entry.rip + 256, 8), 0);
	end(&r);
}

static void test_cmdline(void **state)
{
	char text[300];
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	memset(text, 'a', sizeof(text));
	text[255] = '\0';
	r.req.cmdline = text;
	assert_int_equal(load(&r), 0);
	assert_int_equal(piece(&r.layout, "command line")->len, 256);
	text[255] = 'a';
	text[256] = '\0';
	assert_int_equal(load(&r), -E2BIG);
	assert_says(&r, "256 characters");
	assert_says(&r, "255 at most");
	poke(r.kernel + F_CMDLINE_SIZE, 4, 0);
	assert_int_equal(load(&r), -E2BIG);
	r.req.cmdline = NULL;
	assert_int_equal(load(&r), 0);
	assert_int_equal(guest_number(r.mem, piece(&r.layout, "command line")->gpa, 1), 0);
	end(&r);
}

/* A kernel may take more than there is room for below 640 KiB. */
static void test_cmdline_room(void **state)
{
	const size_t most = 0x70000 - 1;
	char *text = malloc(most + 2);
	struct rig r;

	(void)state;
	assert_non_null(text);
	begin(&r, MIB(32));
	poke(r.kernel + F_CMDLINE_SIZE, 4, UINT32_MAX);
	memset(text, 'a', most + 1);
	text[most + 1] = '\0';
	r.req.cmdline = text;
	assert_int_equal(load(&r), -E2BIG);
	assert_says(&r, "458751 at most");
	text[most] = '\0';
	assert_int_equal(load(&r), 0);
	assert_sound(&r.layout, &r.map);
	end(&r);
	free(text);
}

static void test_initrds(void **state)
{
	static const char a[5] = "aaaaa", b[8] = "bbbbbbbb", c[3] = "ccc";
	struct rig r;
	uint64_t at;

	(void)state;
	begin(&r, MIB(32));
	gmem_fill(r.mem, MIB(1), 0xff, MIB(31));
	add_initrd(&r, a, sizeof(a));
	add_initrd(&r, b, sizeof(b));
	add_initrd(&r, c, sizeof(c));
	assert_int_equal(load(&r), 0);
	assert_sound(&r.layout, &r.map);
	at = guest_number(r.mem, r.entry.rsi + F_RAMDISK_IMAGE, 4);
	assert_int_equal(at, MIB(32) - KIB(4));
	assert_int_equal(at, piece(&r.layout, "initrd 1 of 3")->gpa);
	assert_int_equal(guest_number(r.mem, r.entry.rsi + F_RAMDISK_SIZE, 4), 20);
	assert_memory_equal(gmem_hva(r.mem, at, 20), "aaaaa\0\0\0bbbbbbbbccc\0", 20);
	assert_int_equal(guest_number(r.mem, at + 20, 1), 0xff);
	end(&r);
}

static void test_initrd_placement(void **state)
{
	static const struct {
		uint64_t memory, hole, size;
		uint32_t addr_max;
		uint64_t at; /* 0: refused */
		const char *says;
	} cases[] = {
		/* The kernel has 16 to 20 MiB. */
		{MIB(64), 0, MIB(8), 0x7fffffff, MIB(56), NULL},
		{MIB(64), 0, MIB(44), 0x7fffffff, MIB(20), NULL},
		{MIB(64), 0, MIB(44) + 1, 0x7fffffff, 0, "give it more: -m 65M"},
		{MIB(64), 0, MIB(44) - 1, 0x7fffffff, MIB(20), NULL},
		/* Below the kernel when that is the only place. */
		{MIB(24), 0, MIB(5), 0x7fffffff, MIB(11), NULL},
		{MIB(24), 0, MIB(15), 0x7fffffff, MIB(1), NULL},
		{MIB(24), 0, MIB(15) + 1, 0x7fffffff, 0, "give it more: -m 36M"},
		/* boot.rst, initrd_addr_max: the highest byte, not the end. */
		{MIB(64), 0, MIB(4), MIB(32) - 1, MIB(28), NULL},
		{MIB(64), 0, MIB(4), MIB(32) - 2, MIB(28) - KIB(4), NULL},
		{MIB(64), 0, MIB(4), MIB(18), MIB(12), NULL},
		{MIB(64), 0, MIB(16), MIB(18), 0, "make the initrd smaller"},
		{MIB(64), 0, 1, 0, 0, "make the initrd smaller"},
		{MIB(64), 0, MIB(1), MIB(1), 0, "make the initrd smaller"},
		{MIB(64), 0, MIB(4), UINT32_MAX, MIB(60), NULL},
		/* Around a hole in the map. */
		{MIB(64), MIB(60), MIB(8), 0x7fffffff, MIB(52), NULL},
		{MIB(64), MIB(32), MIB(40), 0x7fffffff, 0, "finds no range"},
	};
	uint8_t *data = calloc(1, MIB(45));

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int ret;

		begin(&r, cases[i].memory);
		poke(r.kernel + F_PREF_ADDRESS, 8, MIB(16));
		poke(r.kernel + F_INIT_SIZE, 4, MIB(4));
		poke(r.kernel + F_INITRD_MAX, 4, cases[i].addr_max);
		if (cases[i].hole)
			e820_set(&r.map, cases[i].hole, KIB(4), E820_RESERVED, NULL);
		open_kernel(&r);
		add_initrd(&r, data, cases[i].size);
		ret = boot_plan(&r.req, &r.layout, &r.err);
		if (cases[i].at) {
			if (ret)
				fail_msg("case %zu: %s", i, r.err.text);
			assert_sound(&r.layout, &r.map);
			assert_int_equal(piece(&r.layout, "initrd")->gpa, cases[i].at);
		} else {
			assert_true(ret == -ENOMEM || ret == -EFBIG);
			assert_says(&r, cases[i].says);
		}
		end(&r);
	}
	free(data);
}

/* What boot_plan() calls the least memory is enough, and a mebibyte less is not. */
static void assert_least(struct rig *r)
{
	const uint64_t least = r->layout.least_memory;
	struct boot_layout again;

	if (least > GMEM_HOLE_START)
		return;
	set_map(r, least);
	assert_int_equal(boot_plan(&r->req, &again, &r->err), 0);
	assert_int_equal(again.least_memory, least);
	assert_sound(&again, &r->map);
	if (least < MIB(2))
		return;
	set_map(r, least - MIB(1));
	assert_int_equal(boot_plan(&r->req, &again, &r->err), -ENOMEM);
}

static void test_least_memory(void **state)
{
	uint8_t *data = calloc(1, MIB(24));
	unsigned int seed = 4;

	(void)state;
	assert_non_null(data);
	for (unsigned int i = 0; i < 500; i++) {
		struct rig r;

		begin(&r, MIB(1));
		set_map(&r, GIB(4));
		poke(r.kernel + F_PREF_ADDRESS, 8, (uint64_t)rand_r(&seed) % MIB(32));
		if (load_le64(r.kernel + F_PREF_ADDRESS) >= MIB(1))
			r.kernel[F_RELOCATABLE] = rand_r(&seed) & 1;
		poke(r.kernel + F_INIT_SIZE, 4, (uint64_t)rand_r(&seed) % MIB(32));
		poke(r.kernel + F_ALIGNMENT, 4, bit64((unsigned int)rand_r(&seed) % 25));
		open_kernel(&r);
		if (rand_r(&seed) & 1)
			add_initrd(&r, data, 1 + (size_t)rand_r(&seed) % MIB(24));
		assert_int_equal(boot_plan(&r.req, &r.layout, &r.err), 0);
		assert_least(&r);
		end(&r);
	}
	free(data);
}

/* One field of a good kernel changed, and what is said then. */
static void test_bad_headers(void **state)
{
	static const struct {
		unsigned int at, size;
		uint64_t value;
		int ret;
		const char *says;
	} cases[] = {
		{F_MAGIC, 4, 0, -ENOEXEC, "no setup header"},
		{F_BOOT_FLAG, 2, 0x1234, -ENOEXEC, "boot_flag is 0x1234"},
		{F_JUMP, 1, 0xe9, -ENOEXEC, "no jump at 0x200"},
		{F_JUMP + 1, 1, 0x80, -ENOEXEC, "no jump at 0x200"},
		{F_JUMP + 1, 1, 0x10, -ENOEXEC, "setup header ends at 0x212"},
		{F_VERSION, 2, 0x0100, -ENOEXEC, "boot protocol 1.00"},
		{F_VERSION, 2, 0x0201, -ENOEXEC, "2.01"},
		{F_LOADFLAGS, 1, 0, -ENOEXEC, "zImage"},
		{F_SETUP_SECTS, 1, 21, -ENOEXEC, "setup_sects"},
		{F_SETUP_SECTS, 1, 20, -ENOEXEC, "setup_sects"},
		{F_SETUP_SECTS, 1, 255, -ENOEXEC, "truncated"},
		{F_SYSSIZE, 4, 0, -ENOEXEC, "syssize is 0"},
		{F_SYSSIZE, 4, CODE / 16 + 1, -ENOEXEC, "promises 10768 bytes, the file has 10752"},
		{F_SYSSIZE, 4, UINT32_MAX, -ENOEXEC, "truncated"},
		{F_ALIGNMENT, 4, 0, -ENOEXEC, "kernel_alignment 0x0"},
		{F_ALIGNMENT, 4, 0x300000, -ENOEXEC, "kernel_alignment 0x300000"},
		{F_ALIGNMENT, 4, 0x80000000, -ENOMEM, "-m 2049M"},
		{F_PREF_ADDRESS, 8, UINT64_MAX, -ENOEXEC, "above 4 GiB"},
		{F_PREF_ADDRESS, 8, GIB(4), -ENOEXEC, "above 4 GiB"},
		{F_PREF_ADDRESS, 8, UINT32_MAX, -ENOMEM, "below 4 GiB, a guest has 3072 at most"},
		{F_PREF_ADDRESS, 8, MIB(512), -ENOMEM, "the guest has 32; give it more: -m 513M"},
		{F_INIT_SIZE, 4, UINT32_MAX, -ENOMEM, "a guest has 3072 at most"},
		{F_INIT_SIZE, 4, MIB(30) + 1, -ENOMEM, "give it more: -m 33M"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;
		int ret;

		begin(&r, MIB(32));
		poke(r.kernel + cases[i].at, cases[i].size, cases[i].value);
		ret = load(&r);
		if (ret != cases[i].ret)
			fail_msg("case %zu: %d %s", i, ret, r.err.text);
		assert_says(&r, cases[i].says);
		assert_says(&r, "kernel 'tiny'");
		end(&r);
	}
}

/* boot.rst, pref_address: a kernel that moves itself must not move below 1 MiB. */
static void test_moves_low(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	r.kernel[F_RELOCATABLE] = 0;
	poke(r.kernel + F_PREF_ADDRESS, 8, 0x10000);
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "below 1 MiB");
	end(&r);
}

/* Files given as a kernel by mistake. */
static void test_not_kernels(void **state)
{
	static const struct {
		unsigned int at, len;
		const char *bytes;
		const char *says;
	} cases[] = {
		{0, 4, "\177ELF", "an ELF file of class 0"},
		{0, 2, "\x1f\x8b", "gzip data; unpack it"},
		{0, 6, "\xfd\x37zXZ\0", "xz data"},
		{0, 4, "\x28\xb5\x2f\xfd", "zstd data"},
		{0, 6, "070701", "a cpio archive; give it as an initrd"},
		{0, 2, "MZ", "a DOS or EFI program"},
		{257, 5, "ustar", "a tar archive"},
		{0, 0, "", "a file of zeroes"},
		{0, 1, "\1", "data of a kind"},
	};
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	r.options.protocol = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(r.kernel, 0, TOTAL);
		memcpy(r.kernel + cases[i].at, cases[i].bytes, cases[i].len);
		assert_int_equal(load(&r), -ENOEXEC);
		assert_says(&r, cases[i].says);
	}
	memset(r.kernel, 'x', TOTAL);
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "text");
	end(&r);
}

/* Every length of a file that was cut short is refused; the file is in memory of just that size. */
static void test_truncations(void **state)
{
	uint8_t whole[TOTAL];
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_kernel(whole);
	for (size_t len = 1; len <= TOTAL; len += len < 1100 ? 1 : 97) {
		uint8_t *cut = malloc(len);
		struct boot_info info;

		assert_non_null(cut);
		memcpy(cut, whole, len);
		assert_int_equal(boot_open_memory(&r.images[0], "kernel", "cut", cut, len, NULL),
				 0);
		r.req.kernel = r.images[0];
		assert_int_equal(boot_load(&r.req, r.mem, &r.entry, NULL, &r.err),
				 len < TOTAL - 15 ? -ENOEXEC : 0);
		boot_examine(&r.req, &info, &r.err);
		assert_non_null(info.format);
		close_images(&r);
		free(cut);
	}
	assert_int_equal(boot_open_memory(&r.images[0], "kernel", "none", "", 0, &r.err), -ENODATA);
	assert_says(&r, "kernel 'none' is empty");
	end(&r);
}

static const char *fact(const struct boot_info *info, const char *label)
{
	for (unsigned int i = 0; i < info->fact_count; i++)
		if (!strcmp(info->facts[i].label, label))
			return info->facts[i].text;
	return NULL;
}

static void test_header_fields(void **state)
{
	struct bzimage bz;
	struct rig r;

	(void)state;
	begin(&r, MIB(1));
	open_kernel(&r);
	assert_int_equal(bzimage_read(r.images[0], &bz, &r.err), 0);
	assert_true(bz.loaded_high && bz.relocatable);
	assert_int_equal(bz.protocol, 0x020f);
	assert_int_equal(bz.setup_size, SETUP);
	assert_int_equal(bz.code_size, CODE);
	assert_int_equal(bz.pref_address, MIB(2));
	assert_int_equal(bz.init_size, MIB(1));
	assert_int_equal(bz.min_alignment, 21);
	assert_int_equal(bz.xloadflags, 0x3f);
	assert_int_equal(bz.cmdline_size, 255);
	assert_string_equal(bz.payload, "zstd");
	assert_int_equal(bz.payload_length, 4096);
	end(&r);
}

static void test_examine(void **state)
{
	struct boot_info info;
	struct rig r;

	(void)state;
	begin(&r, MIB(1));
	open_kernel(&r);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.format, "a Linux bzImage");
	assert_string_equal(info.chosen, "linux32");
	assert_string_equal(fact(&info, "boot protocol"), "2.15");
	assert_non_null(strstr(fact(&info, "payload"), "zstd"));
	/* What a file says reaches no terminal as control codes. */
	assert_string_equal(fact(&info, "version"), "6.1.0-tiny (bees@hive) #1??[2J");

	/* Pointers that lead out of the file name nothing. */
	poke(r.kernel + F_KERNEL_VERSION, 2, 0xffff);
	poke(r.kernel + F_PAYLOAD_OFFSET, 4, CODE - 1);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_null(fact(&info, "version"));
	assert_null(fact(&info, "payload"));
	poke(r.kernel + F_PAYLOAD_OFFSET, 4, UINT32_MAX);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_null(fact(&info, "payload"));

	/* What cannot be booted is described all the same. */
	r.kernel[F_LOADFLAGS] = 0;
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_int_equal(boot_plan(&r.req, &r.layout, &r.err), -ENOEXEC);
	assert_says(&r, "zImage");
	assert_string_equal(fact(&info, "boot protocol"), "2.15");
	end(&r);
}

/* A map that promises RAM which the guest does not have is caught, not believed. */
static void test_map_beyond_memory(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(2));
	set_map(&r, MIB(64));
	assert_int_equal(load(&r), -EFAULT);
	assert_says(&r, "not what its map says");
	e820_set(&r.map, 0x10000, KIB(4), E820_RESERVED, NULL);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "boot parameters at 0x10000, of 0x1000 bytes, is not in guest RAM");
	end(&r);
}

static const uint64_t nasty[] = {
	0,
	1,
	0x7f,
	0xff,
	0x7fff,
	0xffff,
	0xfffff,
	0x100000,
	0x100001,
	0x1000000,
	0x7fffffff,
	0x80000000,
	0xbfffffff,
	0xc0000000,
	0xfffff000,
	0xffffffff,
	0x100000000,
	0x7fffffffffffffff,
	0xffffffffffffffff,
};

static void mutate(struct rig *r, unsigned int *seed)
{
	static const uint8_t sizes[] = {1, 1, 2, 4, 4, 8};
	unsigned int n = 1 + (unsigned int)rand_r(seed) % 4;

	while (n--) {
		unsigned int at = F_SETUP_SECTS + (unsigned int)rand_r(seed) % 0x80;
		unsigned int size = sizes[(unsigned int)rand_r(seed) % sizeof(sizes)];
		uint64_t value = nasty[(unsigned int)rand_r(seed) % ARRAY_SIZE(nasty)];

		if (rand_r(seed) & 1)
			value = (uint64_t)rand_r(seed) << ((unsigned int)rand_r(seed) % 33);
		poke(r->kernel + at, size, value);
	}
	if (rand_r(seed) % 8 == 0)
		r->len = 1 + (size_t)rand_r(seed) % TOTAL;
}

/*
 * Whatever a header says, loading either fails with a sentence or leaves everything in RAM and
 * nothing over anything else. ASan has the guest's memory between guards and the file in a block of
 * just its size.
 */
static void test_mutations(void **state)
{
	static uint8_t initrd[5001];
	unsigned int seed = 2600, loaded = 0;
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	for (unsigned int i = 0; i < 20000; i++) {
		struct boot_info info;
		struct bzimage bz;
		uint8_t *copy;
		int ret;

		make_kernel(r.kernel);
		r.len = TOTAL;
		mutate(&r, &seed);
		copy = malloc(r.len);
		assert_non_null(copy);
		memcpy(copy, r.kernel, r.len);
		boot_open_memory(&r.images[0], "kernel", "mutant", copy, r.len, NULL);
		boot_open_memory(&r.images[1], "initrd", "rd", initrd, sizeof(initrd), NULL);
		r.req.kernel = r.images[0];
		r.req.initrds = (const struct boot_image *const *)&r.images[1];
		r.req.initrd_count = i & 1;
		r.err.text[0] = '\0';
		boot_examine(&r.req, &info, &r.err);
		ret = boot_load(&r.req, r.mem, &r.entry, &r.layout, &r.err);
		if (ret) {
			assert_says(&r, "'");
		} else {
			loaded++;
			assert_sound(&r.layout, &r.map);
			assert_int_equal(bzimage_read(r.images[0], &bz, NULL), 0);
			assert_memory_equal(gmem_hva(r.mem, r.entry.rip, bz.code_size),
					    copy + bz.setup_size, bz.code_size);
		}
		close_images(&r);
		free(copy);
	}
	/* The sweep is worth something only when it goes both ways. */
	assert_in_range(loaded, 2000, 18000);
	end(&r);
}

/* From here on, real files. */

struct temp {
	char dir[32];
	char path[64];
};

static void temp_make(struct temp *t, const void *data, size_t len)
{
	int fd;

	strcpy(t->dir, "/tmp/skep-boot-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->path, sizeof(t->path), "%s/file", t->dir);
	fd = open(t->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

static void temp_remove(const struct temp *t)
{
	unlink(t->path);
	assert_int_equal(rmdir(t->dir), 0);
}

/* A reset loads the same files again, also when their paths are gone. */
static void test_files(void **state)
{
	static const char rd[] = "0707010000000";
	struct temp kernel, initrd;
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	temp_make(&kernel, r.kernel, TOTAL);
	temp_make(&initrd, rd, sizeof(rd));
	assert_int_equal(boot_open(&r.images[0], "kernel", kernel.path, &r.err), 0);
	assert_int_equal(boot_open(&r.images[1], "initrd", initrd.path, &r.err), 0);
	assert_int_equal(boot_image_size(r.images[0]), TOTAL);
	temp_remove(&kernel);
	temp_remove(&initrd);
	r.req.kernel = r.images[0];
	r.req.initrds = (const struct boot_image *const *)&r.images[1];
	r.req.initrd_count = 1;
	for (unsigned int i = 0; i < 2; i++) {
		gmem_fill(r.mem, 0, 0x55, MIB(32));
		assert_int_equal(boot_load(&r.req, r.mem, &r.entry, &r.layout, &r.err), 0);
		assert_memory_equal(gmem_hva(r.mem, r.entry.rip, CODE), r.kernel + SETUP, CODE);
		assert_memory_equal(gmem_hva(r.mem, piece(&r.layout, "initrd")->gpa, sizeof(rd)),
				    rd, sizeof(rd));
	}
	end(&r);
}

static void test_file_shrinks(void **state)
{
	struct temp kernel;
	struct rig r;

	(void)state;
	begin(&r, MIB(32));
	temp_make(&kernel, r.kernel, TOTAL);
	assert_int_equal(boot_open(&r.images[0], "kernel", kernel.path, &r.err), 0);
	assert_int_equal(truncate(kernel.path, TOTAL - 4096), 0);
	r.req.kernel = r.images[0];
	assert_int_equal(boot_load(&r.req, r.mem, &r.entry, NULL, &r.err), -EIO);
	assert_says(&r, "became shorter");
	temp_remove(&kernel);
	end(&r);
}

static void test_bad_files(void **state)
{
	struct boot_image *img;
	char fifo[64], longest[1024];
	struct temp t;
	struct rig r;

	(void)state;
	temp_make(&t, "", 0);
	assert_int_equal(boot_open(&img, "initrd", t.path, &r.err), -ENODATA);
	assert_says(&r, "is empty");
	assert_int_equal(boot_open(&img, "kernel", t.dir, &r.err), -EISDIR);
	assert_says(&r, "is a directory");
	assert_int_equal(boot_open(&img, "kernel", "/dev/zero", &r.err), -EINVAL);
	assert_says(&r, "is a device");
	assert_int_equal(boot_open(&img, "initrd", "/tmp/skep-no/such", &r.err), -ENOENT);
	assert_says(&r, "cannot open initrd '/tmp/skep-no/such': No such file");
	/* Nobody writes to it: to open it would wait for ever. */
	snprintf(fifo, sizeof(fifo), "%s/fifo", t.dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(boot_open(&img, "kernel", fifo, &r.err), -EINVAL);
	assert_says(&r, "is a pipe");
	unlink(fifo);
	temp_remove(&t);
	/* Of a long path, a message shows the end. */
	memset(longest, 'x', sizeof(longest));
	strcpy(longest + sizeof(longest) - 16, "/end-of-the-bee");
	assert_int_equal(boot_open(&img, "kernel", longest, &r.err), -ENAMETOOLONG);
	assert_says(&r, "/end-of-the-bee'");
	boot_close(NULL);
}

static void test_distribution_kernel(void **state)
{
	struct bzimage bz;
	struct rig r;
	glob_t found;

	(void)state;
	if (glob("/boot/vmlinuz-*cloud*", 0, NULL, &found)) {
		print_message("skipped: there is no /boot/vmlinuz-*cloud* here\n");
		skip();
	}
	begin(&r, MIB(256));
	assert_int_equal(boot_open(&r.images[0], "kernel", found.gl_pathv[0], &r.err), 0);
	assert_int_equal(bzimage_read(r.images[0], &bz, &r.err), 0);
	assert_true(bz.protocol >= 0x020f && bz.relocatable);
	assert_non_null(bz.payload);
	r.req.kernel = r.images[0];
	r.req.cmdline = "console=ttyS0";
	assert_int_equal(boot_load(&r.req, r.mem, &r.entry, &r.layout, &r.err), 0);
	assert_sound(&r.layout, &r.map);
	assert_int_equal(r.entry.rip, bz.pref_address);
	assert_least(&r);
	globfree(&found);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_boot_params_clean),
		cmocka_unit_test(test_e820_table),
		cmocka_unit_test(test_gdt),
		cmocka_unit_test(test_kernel_placement),
		cmocka_unit_test(test_kernel_around_holes),
		cmocka_unit_test(test_setup_sects_zero),
		cmocka_unit_test(test_old_protocols),
		cmocka_unit_test(test_last_paragraph),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_cmdline_room),
		cmocka_unit_test(test_initrds),
		cmocka_unit_test(test_initrd_placement),
		cmocka_unit_test(test_least_memory),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_moves_low),
		cmocka_unit_test(test_not_kernels),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_header_fields),
		cmocka_unit_test(test_examine),
		cmocka_unit_test(test_map_beyond_memory),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_file_shrinks),
		cmocka_unit_test(test_bad_files),
		cmocka_unit_test(test_distribution_kernel),
	};

	return cmocka_run_group_tests_name("bzimage", tests, NULL, NULL);
}
