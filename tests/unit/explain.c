/* SPDX-License-Identifier: BSD-2-Clause */
/* explain: accesses in the words of data sheets; and no access that a model stumbles over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"
#include "skep/explain.h"
#include "skep/trace.h"
#include "support/cm.h"

struct fixture {
	struct trace_header *header;
	struct explainer *ex;
};

static void begin(struct fixture *f, const char *model)
{
	f->header = calloc(1, sizeof(*f->header));
	assert_non_null(f->header);
	f->header->device_count = 1;
	snprintf(f->header->devices[0].id, sizeof(f->header->devices[0].id), "dev");
	snprintf(f->header->devices[0].model, sizeof(f->header->devices[0].model), "%s", model);
	assert_int_equal(explainer_create(&f->ex, f->header, NULL), 0);
}

static void end(struct fixture *f)
{
	explainer_destroy(f->ex);
	free(f->header);
}

static void reset(struct fixture *f)
{
	const struct trace_event e = {.kind = TRACE_RESET};
	struct explanation x;

	assert_false(explainer_see(f->ex, &e, &x));
}

/* "PART REG: TEXT" of an access; the part and its space only if there is one. */
static void check(struct fixture *f, bool write, unsigned int sub, uint32_t offset, uint64_t value,
		  const char *want)
{
	const struct trace_event e = {
		.kind = write ? TRACE_WRITE : TRACE_READ,
		.sub = (uint8_t)sub,
		.size = 1,
		.a = offset,
		.b = value,
	};
	struct explanation x;
	char got[256];

	assert_true(explainer_see(f->ex, &e, &x));
	snprintf(got, sizeof(got), "%s%s%s: %s", x.part, x.part[0] ? " " : "", x.reg, x.text);
	assert_string_equal(got, want);
}

static void test_pic(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "pic8259a");
	check(&f, true, 0, 0, 0x11, "0 ICW1: edge, cascade, ICW4 follows");
	check(&f, true, 0, 1, 0x20, "0 ICW2: vectors 20-27");
	check(&f, true, 0, 1, 0x04, "0 ICW3: slaves at inputs 04");
	check(&f, true, 0, 1, 0x03, "0 ICW4: 8086 automatic EOI");
	check(&f, true, 0, 1, 0xfa, "0 OCW1: open: 0 2");
	check(&f, true, 0, 0, 0x64, "0 OCW2: specific EOI 4");
	check(&f, true, 0, 0, 0x20, "0 OCW2: non-specific EOI");
	check(&f, false, 0, 0, 0, "0 IRR: ");
	check(&f, true, 0, 0, 0x0b, "0 OCW3: read ISR");
	check(&f, false, 0, 0, 0, "0 ISR: ");
	check(&f, true, 0, 0, 0x68, "0 OCW3: special mask mode on");
	check(&f, false, 0, 0, 0, "0 ISR: ");
	check(&f, true, 1, 0, 0x13, "1 ICW1: edge, single, ICW4 follows");
	check(&f, true, 1, 1, 0x28, "1 ICW2: vectors 28-2f");
	check(&f, true, 1, 1, 0x01, "1 ICW4: 8086");
	check(&f, true, 1, 1, 0xff, "1 OCW1: all masked");
	check(&f, false, 1, 1, 0xfe, "1 IMR: open: 8");
	check(&f, true, 2, 1, 0x0c, "ELCR2: level: 10 11");
	/* A reset in the middle of a sequence. */
	check(&f, true, 0, 0, 0x11, "0 ICW1: edge, cascade, ICW4 follows");
	reset(&f);
	check(&f, true, 0, 1, 0xff, "0 OCW1: all masked");
	end(&f);
}

static void test_uart(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "uart8250");
	check(&f, true, 0, 0, 'H', "THR: 'H'");
	check(&f, true, 0, 0, 0x1b, "THR: ");
	check(&f, true, 0, 3, 0x83, "LCR: 8N1 DLAB");
	check(&f, true, 0, 0, 1, "DLL: divisor, low byte");
	check(&f, true, 0, 1, 0, "DLM: divisor, high byte");
	check(&f, true, 0, 3, 0x1e, "LCR: 7E2");
	check(&f, true, 0, 1, 3, "IER: received data transmitter empty");
	check(&f, false, 0, 2, 0xc2, "IIR: transmitter empty");
	check(&f, true, 0, 2, 7, "FCR: enable clear receiver clear transmitter");
	check(&f, false, 0, 5, 0x60, "LSR: THRE TEMT");
	check(&f, false, 0, 0, '\n', "RBR: '\\n'");
	end(&f);
}

static void test_others(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "pit8254");
	check(&f, true, 0, 3, 0x34, "CONTROL: counter 0: low and high byte mode 2");
	check(&f, true, 0, 0, 0x9c, "COUNTER0: low byte");
	check(&f, true, 0, 0, 0x2e, "COUNTER0: high byte");
	check(&f, true, 0, 3, 0x00, "CONTROL: counter 0: latch");
	check(&f, true, 0, 3, 0xc2, "CONTROL: read back count status of 0");
	check(&f, true, 1, 0, 3, "PORT_B: gate 2 speaker");
	end(&f);
	begin(&f, "rtc146818");
	check(&f, true, 0, 0, 0x8b, "INDEX: B, NMI off");
	check(&f, true, 0, 1, 0x42, "B: 24h PIE");
	end(&f);
	begin(&f, "ioapic");
	check(&f, true, TRACE_MEMORY, 0, 0x14, "IOREGSEL: REDTBL2.low");
	check(&f, true, TRACE_MEMORY, 0x10, 0x1a031, "REDTBL2.low: vector 31 fixed level masked");
	check(&f, true, TRACE_MEMORY, 0x40, 0x31, "EOI: vector 31");
	end(&f);
	begin(&f, "i8042");
	check(&f, true, 1, 0, 0xfe, "COMMAND: reset processor");
	check(&f, true, 1, 0, 0x60, "COMMAND: write command byte");
	check(&f, true, 0, 0, 0x45, "COMMAND_BYTE: IRQ1 system translate");
	check(&f, true, 0, 0, 0xf4, "KEYBOARD: enable");
	check(&f, false, 1, 0, 1, "STATUS: OBF");
	end(&f);
	begin(&f, "ide");
	check(&f, true, 0, 7, 0x24, "COMMAND: READ SECTORS EXT");
	check(&f, false, 1, 0, 0x50, "ALT_STATUS: DSC DRDY");
	check(&f, true, 0, 6, 0xf0, "DEVICE: 1 LBA");
	end(&f);
	begin(&f, "vga_text");
	check(&f, true, 1, 0, 0x0e, "CRTC_INDEX: cursor location, high");
	check(&f, true, 1, 1, 0x01, "CRTC_0e: cursor location, high");
	check(&f, false, 2, 0, 0, "STATUS_1: display");
	check(&f, true, 0, 0, 0x30, "ATTR_INDEX: ");
	check(&f, true, 0, 0, 0x00, "ATTR_10: ");
	end(&f);
	begin(&f, "debug_exit");
	check(&f, true, 0, 0, 7, "EXIT: code 7");
	end(&f);
	begin(&f, "acpi_pm");
	check(&f, true, 0, 4, 0x3401, "PM1_CNT: SCI_EN SLP_TYP 5 SLP_EN");
	end(&f);
}

static void test_pci(void **state)
{
	const struct trace_event address = {
		.kind = TRACE_WRITE, .size = 4, .a = 0, .b = 0x80001804};
	struct explanation x;
	struct fixture f;

	(void)state;
	begin(&f, "pci_host");
	assert_true(explainer_see(f.ex, &address, &x));
	assert_string_equal(x.text, "00:03.0 register 04");
	check(&f, true, 1, 0, 7, "COMMAND: of 00:03.0");
	check(&f, false, 1, 2, 7, "STATUS: of 00:03.0");
	check(&f, false, TRACE_MEMORY | 2, 0x18010, 7, "BAR0: of 00:03.0");
	end(&f);
}

static void test_virtio(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "virtio_rng");
	check(&f, true, TRACE_MEMORY | 2, 20, 0x0f,
	      "device_status: ACKNOWLEDGE DRIVER DRIVER_OK FEATURES_OK");
	check(&f, true, TRACE_MEMORY | 2, 20, 0, "device_status: reset");
	check(&f, true, TRACE_MEMORY | 2, 0x3004, 1, "notify: queue 1");
	check(&f, true, TRACE_MEMORY | 1, 0x1c, 1, "MSIX1.control: masked");
	check(&f, true, TRACE_MEMORY, 0x50, 2, "QueueNotify: queue 2");
	check(&f, false, TRACE_MEMORY, 0x60, 3, "InterruptStatus: queue configuration");
	end(&f);
}

static void test_unknown(void **state)
{
	const struct trace_event e = {.kind = TRACE_READ, .size = 1};
	const struct trace_event nobody = {
		.kind = TRACE_READ, .size = 1, .device = TRACE_NO_DEVICE};
	struct explanation x;
	struct fixture f;

	(void)state;
	begin(&f, "of another time");
	assert_false(explainer_see(f.ex, &e, &x));
	assert_string_equal(x.part, "");
	assert_string_equal(x.text, "");
	assert_false(explainer_see(f.ex, &nobody, &x));
	end(&f);
}

/* Whatever a file says was accessed, in all sizes, at all places. */
static void test_hostile(void **state)
{
	const struct device_class *table[CLASS_MAX];
	const size_t n = class_table(table, CLASS_MAX);
	struct explanation x;
	struct trace_event e;
	struct fixture f;

	(void)state;
	srandom(5);
	for (size_t i = 0; i < n; i++) {
		begin(&f, table[i]->name);
		for (unsigned int k = 0; k < 20000; k++) {
			const unsigned int bits = (unsigned int)random() % 33;

			e = (struct trace_event){
				.kind = random() & 1 ? TRACE_READ : TRACE_WRITE,
				.sub = (uint8_t)(random() & 0x83),
				.size = (uint8_t)(1 + random() % 8),
				.a = (uint32_t)((uint64_t)random() & (bit64(bits) - 1)),
				.b = (uint64_t)random() << (random() % 33),
			};
			explainer_see(f.ex, &e, &x);
			assert_true(memchr(x.reg, 0, sizeof(x.reg)));
			assert_true(memchr(x.text, 0, sizeof(x.text)));
		}
		end(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pic),     cmocka_unit_test(test_uart),
		cmocka_unit_test(test_others),  cmocka_unit_test(test_pci),
		cmocka_unit_test(test_virtio),  cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
