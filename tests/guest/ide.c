/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ide - an IDE disk keeps what was written to it, with 28-bit, 48-bit and CHS addresses, sector by
 * sector and by READ and WRITE MULTIPLE, polled and by interrupts; and refuses what is past its
 * end. Or, to measure it, reads and writes.
 *
 * Command line: channel=1 for the secondary; measure=N to move N KiB each way, polled.
 */
#include "check.h"
#include "pic.h"

#define SECTOR  512U
#define SECTORS 2048U
#define BLOCK   32U /* sectors of a DRQ block */

#define VECTOR 0x31

enum { DATA, ERROR, COUNT, LOW, MID, HIGH, DEVICE, STATUS };

#define ERR  0x01
#define DRQ  0x08
#define DRDY 0x40
#define BSY  0x80
#define IDNF 0x10
#define ABRT 0x04

#define NIEN 0x02
#define SRST 0x04
#define LBA  0x40

enum {
	READ = 0x20,
	READ_EXT = 0x24,
	WRITE = 0x30,
	WRITE_EXT = 0x34,
	READ_MULTIPLE = 0xc4,
	WRITE_MULTIPLE = 0xc5,
	SET_MULTIPLE = 0xc6,
	FLUSH = 0xe7,
	IDENTIFY_PACKET = 0xa1,
	IDENTIFY = 0xec,
};

static struct {
	uint16_t base, control;
	unsigned int irq;
} channel;

static uint64_t out[64 * SECTOR / 8] __attribute__((section(".noinit.ide"), aligned(4096)));
static uint64_t in[64 * SECTOR / 8] __attribute__((section(".noinit.ide"), aligned(4096)));

static volatile unsigned int taken;
static volatile uint8_t acknowledged; /* status */

static void ins16(void *to, size_t n)
{
	__asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(channel.base) : "memory");
}

static void outs16(const void *from, size_t n)
{
	__asm__ volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(channel.base) : "memory");
}

static void outs32(const void *from, size_t n)
{
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(channel.base) : "memory");
}

static uint8_t get(unsigned int reg)
{
	return in8((uint16_t)(channel.base + reg));
}

static void put(unsigned int reg, unsigned int v)
{
	out8((uint16_t)(channel.base + reg), (uint8_t)v);
}

static uint8_t polled(void)
{
	uint8_t status = 0;

	check(wait_until(!((status = in8(channel.control)) & BSY)));
	return status & (ERR | DRQ | DRDY);
}

/* What the interrupt found; it has come. */
static uint8_t interrupted(unsigned int n)
{
	check(wait_until_interrupt(taken >= n));
	check_eq(taken, n);
	return acknowledged & (ERR | DRQ | DRDY);
}

static void address(uint32_t lba, unsigned int count)
{
	put(DEVICE, LBA | lba >> 24);
	put(COUNT, count);
	put(LOW, lba);
	put(MID, lba >> 8);
	put(HIGH, lba >> 16);
}

static void address_ext(uint64_t lba, unsigned int count)
{
	put(DEVICE, LBA);
	put(COUNT, count >> 8);
	put(LOW, (unsigned int)(lba >> 24));
	put(MID, (unsigned int)(lba >> 32));
	put(HIGH, (unsigned int)(lba >> 40));
	put(COUNT, count);
	put(LOW, (unsigned int)lba);
	put(MID, (unsigned int)(lba >> 8));
	put(HIGH, (unsigned int)(lba >> 16));
}

static void address_chs(unsigned int cylinder, unsigned int head, unsigned int sector,
			unsigned int count)
{
	put(DEVICE, 0xa0 | head);
	put(COUNT, count);
	put(LOW, sector);
	put(MID, cylinder);
	put(HIGH, cylinder >> 8);
}

static void make(unsigned int sectors, uint64_t seed)
{
	for (unsigned int i = 0; i < sectors * SECTOR / 8; i++)
		out[i] = seed += UINT64_C(0x9e3779b97f4a7c15);
}

/* Data of a command that was given, @block sectors at once. */
static void write_polled(unsigned int sectors, unsigned int block)
{
	uint8_t *from = (uint8_t *)out;

	for (unsigned int n; sectors; sectors -= n, from += n * SECTOR) {
		n = sectors < block ? sectors : block;
		check_eq(polled(), DRDY | DRQ);
		if (block > 1)
			outs32(from, n * SECTOR / 4);
		else
			outs16(from, n * SECTOR / 2);
	}
	check_eq(polled(), DRDY);
}

static void read_polled(unsigned int sectors, unsigned int block)
{
	uint8_t *to = (uint8_t *)in;

	for (unsigned int n; sectors; sectors -= n, to += n * SECTOR) {
		n = sectors < block ? sectors : block;
		check_eq(polled(), DRDY | DRQ);
		ins16(to, n * SECTOR / 2);
	}
	check_eq(polled(), DRDY);
}

static void read_interrupted(unsigned int sectors)
{
	uint8_t *to = (uint8_t *)in;

	for (unsigned int i = 1; i <= sectors; i++, to += SECTOR) {
		check_eq(interrupted(i), DRDY | DRQ);
		ins16(to, SECTOR / 2);
	}
	check_eq(polled(), DRDY);
}

static void write_interrupted(unsigned int sectors)
{
	const uint8_t *from = (uint8_t *)out;

	check_eq(polled(), DRDY | DRQ);
	for (unsigned int i = 1; i <= sectors; i++, from += SECTOR) {
		outs16(from, SECTOR / 2);
		check_eq(interrupted(i), i < sectors ? DRDY | DRQ : DRDY);
	}
}

static void same(unsigned int sectors)
{
	check_eq(memcmp(in, out, sectors * SECTOR), 0);
}

static void check_identity(void)
{
	static const uint16_t model[] = {0x736b, 0x6570, 0x2064, 0x6973, 0x6b20};
	const uint16_t *id = (const uint16_t *)in;

	put(DEVICE, 0xa0);
	put(STATUS, IDENTIFY);
	read_polled(1, 1);
	check_eq(id[0] & 0x8000, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(model); i++)
		check_eq(id[27 + i], model[i]);
	check_eq(id[60] | (uint32_t)id[61] << 16, SECTORS);
	check_eq(id[100] | (uint32_t)id[101] << 16, SECTORS);
	check_eq(id[83] & 0x0400, 0x0400);

	put(STATUS, IDENTIFY_PACKET);
	check_eq(polled(), DRDY | ERR);
	check_eq(get(ERROR), ABRT);
	put(DEVICE, 0xb0);
	check_eq(get(STATUS), 0);
	put(DEVICE, 0xa0);
}

static void check_polled(void)
{
	make(20, 1);
	address(100, 20);
	put(STATUS, WRITE);
	write_polled(20, 1);
	address(100, 20);
	put(STATUS, READ);
	read_polled(20, 1);
	same(20);
	/* The same place by another name: 16 heads, 63 sectors. */
	address_chs(0, 1, 100 - 63 + 1, 20);
	put(STATUS, READ);
	memset(in, 0, SECTOR);
	read_polled(20, 1);
	same(20);

	make(30, 2);
	address_ext(SECTORS - 30, 30);
	put(STATUS, WRITE_EXT);
	write_polled(30, 1);
	address_ext(SECTORS - 30, 30);
	put(STATUS, READ_EXT);
	read_polled(30, 1);
	same(30);

	put(COUNT, BLOCK);
	put(STATUS, SET_MULTIPLE);
	check_eq(polled(), DRDY);
	make(50, 3);
	address(7, 50);
	put(STATUS, WRITE_MULTIPLE);
	write_polled(50, BLOCK);
	address(7, 50);
	put(STATUS, READ_MULTIPLE);
	read_polled(50, BLOCK);
	same(50);
	put(STATUS, FLUSH);
	check_eq(polled(), DRDY);
}

static void check_end(void)
{
	address(SECTORS - 1, 2);
	put(STATUS, READ);
	check_eq(polled(), DRDY | ERR);
	check_eq(get(ERROR), IDNF);
	check_eq(get(LOW) | get(MID) << 8 | get(HIGH) << 16, SECTORS);
	address_ext(UINT64_C(0x123456789abc), 1);
	put(STATUS, WRITE_EXT);
	check_eq(polled(), DRDY | ERR);
	check_eq(get(ERROR), IDNF);
}

static void check_reset(void)
{
	address(0, 1);
	put(STATUS, READ);
	out8(channel.control, NIEN | SRST);
	check_eq(in8(channel.control) & BSY, BSY);
	out8(channel.control, NIEN);
	check_eq(polled(), DRDY);
	check_eq(get(COUNT), 1);
	check_eq(get(LOW), 1);
	check_eq(get(MID) | get(HIGH), 0);
}

static void take(struct intr_frame *frame)
{
	acknowledged = get(STATUS);
	taken++;
	if (frame->vector == VECTOR) {
		lapic_write(LAPIC_EOI, 0);
		return;
	}
	out8(0xa0, (uint8_t)(0x60 | (channel.irq - 8)));
	pic_eoi(2);
}

static void check_interrupts(uint64_t seed)
{
	get(STATUS);
	out8(channel.control, 0);
	make(10, seed);
	taken = 0;
	address(1000, 10);
	put(STATUS, WRITE);
	write_interrupted(10);
	taken = 0;
	address(1000, 10);
	put(STATUS, READ);
	read_interrupted(10);
	same(10);
	taken = 0;
	put(STATUS, FLUSH);
	check_eq(interrupted(1), DRDY);
	/* None, when it is not to. */
	out8(channel.control, NIEN);
	put(STATUS, FLUSH);
	check_eq(polled(), DRDY);
	take_interrupts();
	check_eq(taken, 1);
	get(STATUS);
}

/* With rep insw and rep outsl. */
static void move(bool write, uint64_t count)
{
	static const char *const ways[] = {"read", "written"};
	struct moment from, to;
	struct refclock ref;
	uint64_t ns = 0;
	struct acpi a;

	acpi_find(&a);
	if (!check(refclock_find(&ref, &a)))
		return;
	for (uint64_t done = 0; done < count; done += BLOCK) {
		from = refclock_now(&ref);
		address((uint32_t)done % SECTORS, BLOCK);
		put(STATUS, write ? WRITE_MULTIPLE : READ_MULTIPLE);
		if (write)
			write_polled(BLOCK, BLOCK);
		else
			read_polled(BLOCK, BLOCK);
		to = refclock_now(&ref);
		ns += refclock_ns(&ref, &from, &to);
	}
	say("%lu sectors %s in %lu us\n", count, ways[write], ns / 1000);
}

static void measure(uint64_t kib)
{
	put(COUNT, BLOCK);
	put(STATUS, SET_MULTIPLE);
	check_eq(polled(), DRDY);
	move(true, 2 * kib);
	move(false, 2 * kib);
}

int guest_main(void)
{
	bool second = boot_number("channel", 0);
	uint64_t kib = boot_number("measure", 0);
	struct acpi a;

	channel.base = second ? 0x170 : 0x1f0;
	channel.control = second ? 0x376 : 0x3f6;
	channel.irq = second ? 15 : 14;
	pic_mask();
	out8(channel.control, NIEN);
	check_eq(get(STATUS) & ~0x10U, DRDY);
	if (kib) {
		measure(kib);
		return check_result("ide");
	}
	check_identity();
	check_polled();
	check_end();
	check_reset();

	acpi_find(&a);
	lapic_enable();
	intr_set(VECTOR, take);
	intr_set(PIC_VECTOR + channel.irq, take);
	ioapic_route(a.ioapic[0].at, a.isa_gsi[channel.irq], VECTOR, 0, lapic_id());
	check_interrupts(4);
	ioapic_route(a.ioapic[0].at, a.isa_gsi[channel.irq], VECTOR, IOAPIC_MASKED, lapic_id());
	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	pic_unmask(2);
	out8(0xa1, (uint8_t) ~(1u << (channel.irq - 8)));
	check_interrupts(5);
	pic_mask();
	return check_result("ide");
}
