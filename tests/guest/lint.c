/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lint - makes the mistake that the command line names, by the name of the rule that it breaks
 * (skep/lint.h), and no other; or none.
 *
 * Command line: mistake=RULE. The mistakes of virtio drivers are made to a disk by MMIO, or, for
 * ring-changed, to a balloon, which keeps a chain for as long as its statistics are good.
 */
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "check.h"
#include "cmos.h"
#include "pic.h"

#define MASTER 0x20
#define SLAVE  0xa0
#define CLOCK  8 /* of the slave: its input 0 */

#define TIMER_VECTOR 0x31
#define TICK_COUNT   11932 /* of the 8254: 100 Hz */

extern uint64_t idt[]; /* vectors.S: two quads a gate */
#define GATE_PRESENT (UINT64_C(1) << 47)

static volatile unsigned int taken;
static volatile bool late;
static uint8_t eoi_master, eoi_slave; /* what the handler sends; 0: nothing */

static void take(struct intr_frame *frame)
{
	(void)frame;
	taken++;
	if (eoi_slave)
		out8(SLAVE, eoi_slave);
	if (eoi_master)
		out8(MASTER, eoi_master);
}

static void wake(struct intr_frame *frame)
{
	(void)frame;
	late = true;
	lapic_write(LAPIC_EOI, 0);
}

/* Halts, with interrupts on, until the local APIC's timer says that it is enough: 0.6 s. */
static void idle(void)
{
	intr_set(TIMER_VECTOR, wake);
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, TIMER_VECTOR);
	lapic_write(LAPIC_TIMER_FROM, 600000000);
	while (!late)
		wait_for_interrupt();
}

static void start_ticks(uint16_t count, intr_fn *fn)
{
	intr_set(PIC_VECTOR, fn);
	pic_init();
	pic_unmask(0);
	out8(0x43, 0x34);
	out8(0x40, (uint8_t)count);
	out8(0x40, (uint8_t)(count >> 8));
}

/* The clock's periodic interrupt, once: it is an edge, and its line stays high. */
static void start_clock(void)
{
	intr_set(PIC_VECTOR + CLOCK, take);
	pic_init();
	out8(0x21, 0xfb);
	out8(0xa1, 0xfe);
	cmos_read(CMOS_C);
	cmos_write(CMOS_A, CMOS_A_RUN);
	cmos_write(CMOS_B, CMOS_B_24H | CMOS_PERIODIC);
}

static void none(void)
{
	pic_init();
}

/* Chips */

static void icw_order(void)
{
	out8(MASTER, 0x11);
	out8(MASTER + 1, 0x20);
	out8(MASTER + 1, 0x04);
	out8(MASTER + 1, 0xff); /* the mask, but ICW4 was not there yet */
	out8(MASTER + 1, 0xff);
}

static void icw_value(void)
{
	out8(SLAVE, 0x11);
	out8(SLAVE + 1, 0x28);
	out8(SLAVE + 1, 0x04); /* the master's ICW3 */
	out8(SLAVE + 1, 0x01);
	out8(SLAVE + 1, 0xff);
}

static void eoi_missing(void)
{
	start_ticks(TICK_COUNT, take);
	idle();
}

static void eoi_master_only(void)
{
	eoi_master = 0x20;
	start_clock();
	idle();
}

static void eoi_slave_only(void)
{
	eoi_slave = 0x20;
	start_clock();
	idle();
}

static void eoi_nothing(void)
{
	pic_init();
	out8(MASTER, 0x20);
}

static void no_eoi(struct intr_frame *frame)
{
	(void)frame;
	taken++;
}

static volatile unsigned int ticks;

static void count_tick(struct intr_frame *frame)
{
	(void)frame;
	ticks++;
	pic_eoi(0);
}

/* The 8254 wakes the processor: what the 8259A brings does not ask the local APIC. */
static void eoi_apic(void)
{
	intr_set(TIMER_VECTOR, no_eoi);
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, TIMER_VECTOR | LAPIC_LVT_PERIODIC);
	lapic_write(LAPIC_TIMER_FROM, 10000000);
	while (!taken)
		wait_for_interrupt();
	start_ticks(0, count_tick); /* 55 ms each */
	while (ticks < 6)
		wait_for_interrupt();
}

/* Ends with an exception: the processor looks for the gate as well. */
static void no_handler(void)
{
	idt[2 * PIC_VECTOR] &= ~GATE_PRESENT;
	start_ticks(TICK_COUNT, take);
	wait_for_interrupt();
}

/* 24, which no processor raises by itself. */
static void exception_vector(void)
{
	eoi_master = 0x20;
	intr_set(0x18, take);
	start_ticks(TICK_COUNT, take);
	out8(MASTER, 0x11);
	out8(MASTER + 1, 0x18);
	out8(MASTER + 1, 0x04);
	out8(MASTER + 1, 0x01);
	pic_unmask(0);
	wait_for_interrupt();
}

/* Waits for a tick until the machine is ended. */
static void all_masked(void)
{
	start_ticks(TICK_COUNT, take);
	pic_mask();
	wait_for_interrupt();
}

/* Interrupts are off for hundreds of periods of 0.2 ms, or a hundred on a fast host. */
static void tick_lost(void)
{
	eoi_master = 0x20;
	start_ticks(239, take);
	wait_for_interrupt();
	for (unsigned int i = 0; i < 20000; i++)
		out8(0x80, 0);
}

static void read_only(void)
{
	cmos_write(0x0d, 0);
}

static void write_only(void)
{
	in8(0x43);
}

static void empty_read(void)
{
	while (in8(0x64) & 1)
		in8(0x60);
	in8(0x60);
}

static void nobody(void)
{
	for (unsigned int i = 0; i < 300 && in8(0x1f7) & 0x80; i++)
		pause();
}

/* A device by MMIO (Virtual I/O Device 1.2, sections 3.1 and 4.2) */

#define DEVICE 0xd0000000UL
#define QUEUE  8U
#define READY  (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define SECTOR 512U

static struct vring_desc desc[QUEUE] __attribute__((aligned(4096)));
static struct {
	uint16_t flags, idx, ring[QUEUE], used_event;
} avail __attribute__((aligned(64)));
static struct {
	uint16_t flags, idx;
	struct vring_used_elem ring[QUEUE];
	uint16_t avail_event;
} used __attribute__((aligned(64)));
static struct virtio_blk_outhdr header;
static uint8_t block[SECTOR], result;
static struct virtio_balloon_stat statistics;
static unsigned int queue;

static void device_write(unsigned int reg, uint32_t value)
{
	mmio_write32(DEVICE + reg, value);
}

static void set_status(uint8_t status)
{
	device_write(VIRTIO_MMIO_STATUS, status);
	mmio_read32(DEVICE + VIRTIO_MMIO_STATUS);
}

static void set_features(uint32_t word0, uint32_t word1)
{
	device_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	device_write(VIRTIO_MMIO_DRIVER_FEATURES, word0);
	device_write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	device_write(VIRTIO_MMIO_DRIVER_FEATURES, word1);
}

static void negotiate(uint32_t features)
{
	set_status(0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(features, 1); /* VIRTIO_F_VERSION_1 is bit 32 */
	set_status(READY);
}

static void set_area(unsigned int reg, const volatile void *area)
{
	device_write(reg, (uint32_t)(uintptr_t)area);
	device_write(reg + 4, 0);
}

static void enable_queue(void)
{
	device_write(VIRTIO_MMIO_QUEUE_SEL, queue);
	device_write(VIRTIO_MMIO_QUEUE_NUM, QUEUE);
	set_area(VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	set_area(VIRTIO_MMIO_QUEUE_AVAIL_LOW, &avail);
	set_area(VIRTIO_MMIO_QUEUE_USED_LOW, &used);
	device_write(VIRTIO_MMIO_QUEUE_READY, 1);
}

static void start_device(uint32_t features)
{
	negotiate(features);
	enable_queue();
	set_status(READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* A request to read a sector. */
static void fill(void)
{
	desc[0] = (struct vring_desc){(uintptr_t)&header, sizeof(header), VRING_DESC_F_NEXT, 1};
	desc[1] = (struct vring_desc){(uintptr_t)block, SECTOR,
				      VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2};
	desc[2] = (struct vring_desc){(uintptr_t)&result, 1, VRING_DESC_F_WRITE, 0};
}

static void offer(void)
{
	__atomic_store_n(&avail.idx, avail.idx + 1, __ATOMIC_RELEASE);
	device_write(VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

/* The device has had enough of the ring, or is through with the request. */
static void await(void)
{
	wait_until(mmio_read32(DEVICE + VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET ||
		   __atomic_load_n(&used.idx, __ATOMIC_ACQUIRE) == 1);
}

static void virtio_order(void)
{
	set_status(0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(0, 1);
	set_status(READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void virtio_features(void)
{
	set_status(0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	set_features(0, 0);
	set_status(READY);
}

static void virtio_early(void)
{
	negotiate(0);
	enable_queue();
	fill();
	offer();
	set_status(READY | VIRTIO_CONFIG_S_DRIVER_OK);
	await();
}

/* What is not there yet is a buffer of no bytes: the disk finds no header. */
static void ring_first(void)
{
	start_device(0);
	offer();
	await();
}

/* The chain is the device's until it asks for statistics again; by then its length is another. */
static void ring_changed(void)
{
	queue = 2;
	start_device(1U << VIRTIO_BALLOON_F_STATS_VQ);
	desc[0] = (struct vring_desc){(uintptr_t)&statistics, sizeof(statistics), 0, 0};
	offer();
	idle();
	desc[0].len = 1;
	await();
}

static void ring_loop(void)
{
	start_device(0);
	fill();
	desc[1].next = 1;
	offer();
	await();
}

static void ring_broken(void)
{
	start_device(0);
	fill();
	desc[1].addr = UINT64_C(1) << 40;
	offer();
	await();
}

static const struct {
	const char *name;
	void (*make)(void);
} mistakes[] = {
	{"none", none},
	{"icw-order", icw_order},
	{"icw-value", icw_value},
	{"eoi-missing", eoi_missing},
	{"eoi-master-only", eoi_master_only},
	{"eoi-slave-only", eoi_slave_only},
	{"eoi-nothing", eoi_nothing},
	{"eoi-apic", eoi_apic},
	{"no-handler", no_handler},
	{"exception-vector", exception_vector},
	{"all-masked", all_masked},
	{"tick-lost", tick_lost},
	{"ring-first", ring_first},
	{"ring-changed", ring_changed},
	{"ring-loop", ring_loop},
	{"ring-broken", ring_broken},
	{"virtio-order", virtio_order},
	{"virtio-features", virtio_features},
	{"virtio-early", virtio_early},
	{"read-only", read_only},
	{"write-only", write_only},
	{"empty-read", empty_read},
	{"nobody", nobody},
};

static bool is_named(const struct word *w, const char *name)
{
	size_t n = 0;

	while (n < w->value_len && name[n] == w->value[n])
		n++;
	return n == w->value_len && !name[n];
}

int guest_main(void)
{
	const char *at = boot_cmdline();
	struct word w;

	pic_mask();
	while (boot_word(&at, &w))
		for (size_t i = 0; word_is(&w, "mistake") && i < ARRAY_SIZE(mistakes); i++)
			if (w.value && is_named(&w, mistakes[i].name)) {
				map_high(DEVICE);
				mistakes[i].make();
				return 0;
			}
	return 1;
}
