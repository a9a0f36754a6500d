/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables as a guest finds them: by their bytes against tests/golden/acpi, and by the
 * judgement of ACPICA's iasl.
 *
 * SKEP_UPDATE_GOLDEN=1 writes the golden files anew. The machine in them is this test's own: the
 * fixed hardware, a PCI host bridge and one made-up serial port.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/acpi.h"
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/pci.h"
#include "support/cm.h"
#include "support/golden.h"
#include "support/rig.h"

static int port_create(struct device *dev, struct err *err)
{
	(void)dev, (void)err;
	return 0;
}

static void port_describe(const struct device *dev, struct aml *a)
{
	(void)dev;
	aml_device(a, "COM1");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0501");
	aml_name(a, "_UID");
	aml_integer(a, 1);
	aml_method(a, "_STA", 0, false);
	aml_return_integer(a, 15);
	aml_end(a);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_io(a, 0x3f8, 8);
	aml_irq(a, 4);
	aml_interrupt(a, 20, true, false, true);
	aml_memory32(a, 0xd0000000, 0x1000, true);
	aml_end(a);
	aml_end(a);
}

DEVICE_CLASS(test_port) = {
	.name = "test_port",
	.summary = "a serial port in name only",
	.size = sizeof(struct device),
	.create = port_create,
	.describe = port_describe,
};

static void keyboard_describe(const struct device *dev, struct aml *a)
{
	(void)dev;
	aml_has_8042(a);
}

DEVICE_CLASS(test_keyboard) = {
	.name = "test_keyboard",
	.summary = "an 8042 in name only",
	.size = sizeof(struct device),
	.create = port_create,
	.describe = keyboard_describe,
};

static void clock_describe(const struct device *dev, struct aml *a)
{
	(void)dev;
	aml_has_cmos_rtc(a, 0x32);
}

DEVICE_CLASS(test_clock) = {
	.name = "test_clock",
	.summary = "an RTC in name only",
	.size = sizeof(struct device),
	.create = port_create,
	.describe = clock_describe,
};

struct bench {
	struct rig rig;
	struct device *devices[4];
	unsigned int count;
	uint32_t apic_ids[ACPI_CPUS_MAX + 1];
	uint64_t rsdp;
	uint8_t area[ACPI_AREA_LEN];
};

static void add(struct bench *b, const char *id, const char *model, const char *options)
{
	struct device *dev = rig_device(&b->rig, id, model, options);

	if (!dev)
		fail_msg("%s", b->rig.err.text);
	b->devices[b->count++] = dev;
}

static int build(struct bench *b, unsigned int cpus)
{
	const struct acpi_request req = {
		.mem = b->rig.machine.mem,
		.apic_ids = b->apic_ids,
		.cpus = cpus,
		.devices = b->devices,
		.devices_count = b->count,
	};
	int ret = acpi_build(&req, &b->rsdp, &b->rig.err);

	assert_int_equal(gmem_read(b->rig.machine.mem, ACPI_AREA, b->area, ACPI_AREA_LEN), 0);
	return ret;
}

static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	rig_init(&b->rig, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(b->apic_ids); i++)
		b->apic_ids[i] = i;
	return b;
}

static int set_up(void **state)
{
	struct bench *b = bench_new();

	add(b, "pci", "pci_host", "");
	add(b, "pm", "acpi_pm", "");
	add(b, "port", "test_port", "");
	*state = b;
	return 0;
}

static int set_up_empty(void **state)
{
	*state = bench_new();
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	while (b->count)
		device_destroy(b->devices[--b->count]);
	rig_fini(&b->rig);
	free(b);
	return 0;
}

static const uint8_t *at(const struct bench *b, uint64_t gpa, size_t len)
{
	assert_true(gpa >= ACPI_AREA && range_fits(gpa - ACPI_AREA, len, ACPI_AREA_LEN));
	return b->area + (gpa - ACPI_AREA);
}

static unsigned int sum(const uint8_t *p, size_t len)
{
	unsigned int s = 0;

	while (len--)
		s += *p++;
	return s & 0xff;
}

/* The table at @gpa, whole, in bounds, with a good checksum. */
static const uint8_t *table(const struct bench *b, uint64_t gpa)
{
	uint32_t len = load_le32(at(b, gpa, 36) + 4);
	const uint8_t *t = at(b, gpa, len);

	assert_int_equal(sum(t, len), 0);
	assert_memory_equal(t + 10, "SKEP  SKEP    ", 14);
	assert_int_equal(gpa % 16, 0);
	return t;
}

/* The table called @signature, by the way a guest goes; NULL when there is none. */
static const uint8_t *find(const struct bench *b, const char *signature, uint64_t *gpa)
{
	const uint8_t *rsdp = at(b, b->rsdp, 36), *xsdt, *fadt;
	uint64_t addr = load_le64(rsdp + 24);

	xsdt = table(b, addr);
	if (!strcmp(signature, "XSDT"))
		return *gpa = addr, xsdt;
	if (!strcmp(signature, "DSDT") || !strcmp(signature, "FACS")) {
		fadt = find(b, "FACP", &addr);
		*gpa = *signature == 'D' ? load_le64(fadt + 140) : load_le32(fadt + 36);
		return at(b, *gpa, 36);
	}
	for (uint32_t i = 36; i < load_le32(xsdt + 4); i += 8) {
		*gpa = load_le64(xsdt + i);
		if (!memcmp(table(b, *gpa), signature, 4))
			return table(b, *gpa);
	}
	return NULL;
}

static const uint8_t *get(const struct bench *b, const char *signature)
{
	uint64_t gpa;
	const uint8_t *t = find(b, signature, &gpa);

	assert_non_null(t);
	return t;
}

static void root(void **state)
{
	struct bench *b = *state;
	const uint8_t *rsdp, *facs;
	uint64_t gpa;

	assert_int_equal(build(b, 1), 0);
	assert_int_equal(b->rsdp % 16, 0);
	rsdp = at(b, b->rsdp, 36);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(load_le32(rsdp + 16), 0);
	assert_int_equal(load_le32(rsdp + 20), 36);
	assert_int_equal(load_le32(get(b, "XSDT") + 4), 36 + 3 * 8);
	assert_memory_equal(get(b, "DSDT"), "DSDT", 4);
	facs = find(b, "FACS", &gpa);
	assert_memory_equal(facs, "FACS", 4);
	assert_int_equal(load_le32(facs + 4), 64);
	assert_int_equal(gpa % 64, 0);
}

static void assert_gas(const uint8_t *gas, unsigned int bits, unsigned int access, uint64_t port)
{
	assert_int_equal(gas[0], 1);
	assert_int_equal(gas[1], bits);
	assert_int_equal(gas[2], 0);
	assert_int_equal(gas[3], access);
	assert_int_equal(load_le64(gas + 4), port);
}

static void fadt(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	assert_int_equal(build(b, 1), 0);
	t = get(b, "FACP");
	assert_int_equal(load_le32(t + 4), 276);
	assert_int_equal(t[8], 6);
	assert_int_equal(load_le32(t + 40), load_le64(t + 140)); /* DSDT, X_DSDT */
	assert_int_equal(load_le64(t + 132), 0);                 /* X_FIRMWARE_CTRL */
	assert_int_equal(load_le16(t + 46), 9);                  /* SCI_INT */
	assert_int_equal(load_le32(t + 48), 0);                  /* SMI_CMD */
	assert_int_equal(load_le32(t + 56), 0x600);
	assert_int_equal(load_le32(t + 64), 0x604);
	assert_int_equal(load_le32(t + 76), 0x608);
	assert_memory_equal(t + 88, ((const uint8_t[]){4, 2, 0, 4, 0, 0, 0, 0}), 8);
	assert_int_equal(t[108], 0);                           /* CENTURY */
	assert_int_equal(load_le16(t + 109), 1 << 2 | 1 << 5); /* IAPC_BOOT_ARCH */
	assert_int_equal(load_le32(t + 112), 0x1575);
	assert_gas(t + 116, 8, 1, 0x60c);
	assert_int_equal(t[128], 1);
	assert_gas(t + 148, 32, 2, 0x600);
	assert_gas(t + 172, 16, 2, 0x604);
	assert_gas(t + 208, 32, 3, 0x608);
}

static void fadt_follows_the_device(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	add(b, "pm", "acpi_pm", "base=0xb000 timer=off");
	assert_int_equal(build(b, 1), 0);
	t = get(b, "FACP");
	assert_int_equal(load_le32(t + 56), 0xb000);
	assert_int_equal(load_le32(t + 76), 0);
	assert_int_equal(t[91], 0);
	assert_int_equal(load_le32(t + 112), 0x1575 & ~(1 << 8));
	assert_gas(t + 116, 8, 1, 0xb00c);
	assert_int_equal(load_le64(t + 208 + 4), 0);
}

static void fadt_says_what_is_on_isa(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	add(b, "pm", "acpi_pm", "");
	add(b, "kbd", "test_keyboard", "");
	assert_int_equal(build(b, 1), 0);
	assert_int_equal(load_le16(get(b, "FACP") + 109), 1 << 1 | 1 << 2 | 1 << 5);
	add(b, "rtc", "test_clock", "");
	assert_int_equal(build(b, 1), 0);
	t = get(b, "FACP");
	assert_int_equal(load_le16(t + 109), 1 << 1 | 1 << 2);
	assert_int_equal(t[108], 0x32);
}

/* Offset of the @nth entry of @type in the MADT, or 0. */
static uint32_t madt_entry(const uint8_t *t, unsigned int type, unsigned int nth)
{
	for (uint32_t i = 44; i < load_le32(t + 4); i += t[i + 1]) {
		assert_true(t[i + 1] >= 2 && i + t[i + 1] <= load_le32(t + 4));
		if (t[i] == type && !nth--)
			return i;
	}
	return 0;
}

static void madt(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	b->apic_ids[1] = 4;
	assert_int_equal(build(b, 2), 0);
	t = get(b, "APIC");
	assert_int_equal(load_le32(t + 36), 0xfee00000);
	assert_int_equal(load_le32(t + 40), 1);
	assert_memory_equal(t + madt_entry(t, 0, 0), "\x00\x08\x00\x00\x01\0\0\0", 8);
	assert_memory_equal(t + madt_entry(t, 0, 1), "\x00\x08\x01\x04\x01\0\0\0", 8);
	assert_int_equal(madt_entry(t, 0, 2), 0);
	assert_memory_equal(t + madt_entry(t, 4, 0), "\x04\x06\xff\x00\x00\x01", 6);
	assert_memory_equal(t + madt_entry(t, 1, 0), "\x01\x0c\0\0\0\0\xc0\xfe\0\0\0\0", 12);
	/* The 8254 on pin 2; the SCI level, active high. */
	assert_memory_equal(t + madt_entry(t, 2, 0), "\x02\x0a\0\0\x02\0\0\0\0\0", 10);
	assert_memory_equal(t + madt_entry(t, 2, 1), "\x02\x0a\0\x09\x09\0\0\0\x0d\0", 10);
	assert_int_equal(madt_entry(t, 2, 2), 0);
	assert_int_equal(madt_entry(t, 9, 0), 0);
	assert_int_equal(madt_entry(t, 10, 0), 0);
}

static void madt_has_wide_ids(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;
	uint32_t i;

	b->apic_ids[1] = 254;
	b->apic_ids[2] = 255;
	b->apic_ids[3] = 0x12345;
	assert_int_equal(build(b, 4), 0);
	t = get(b, "APIC");
	i = madt_entry(t, 0, 1);
	assert_int_equal(t[i + 3], 254);
	assert_int_equal(madt_entry(t, 0, 2), 0);
	i = madt_entry(t, 9, 0);
	assert_int_equal(load_le32(t + i + 4), 255);
	assert_int_equal(load_le32(t + i + 12), 2);
	i = madt_entry(t, 9, 1);
	assert_int_equal(load_le32(t + i + 4), 0x12345);
	assert_int_equal(load_le32(t + i + 8), 1);
	assert_memory_equal(t + madt_entry(t, 10, 0), "\x0a\x0c\0\0\xff\xff\xff\xff\x01\0\0\0", 12);
}

static void mcfg(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	assert_int_equal(build(b, 1), 0);
	t = get(b, "MCFG");
	assert_int_equal(load_le32(t + 4), 60);
	assert_int_equal(t[8], 1);
	assert_int_equal(load_le64(t + 36), 0);
	assert_int_equal(load_le64(t + 44), PCI_ECAM_AT);
	/* Segment 0, bus 0 alone. */
	assert_memory_equal(t + 52, "\0\0\0\0\0\0\0\0", 8);
}

static void no_mcfg_without_pci(void **state)
{
	struct bench *b = *state;
	uint64_t gpa;

	add(b, "pm", "acpi_pm", "");
	assert_int_equal(build(b, 1), 0);
	assert_null(find(b, "MCFG", &gpa));
	assert_int_equal(load_le32(get(b, "XSDT") + 4), 36 + 2 * 8);
}

static void has_room_for_many(void **state)
{
	struct bench *b = *state;
	const uint8_t *t;

	/* As many as KVM takes. */
	assert_int_equal(build(b, 1024), 0);
	t = get(b, "APIC");
	assert_int_not_equal(madt_entry(t, 0, 254), 0);
	assert_int_equal(madt_entry(t, 0, 255), 0);
	assert_int_not_equal(madt_entry(t, 9, 1024 - 256), 0);
	assert_int_equal(madt_entry(t, 9, 1024 - 255), 0);
}

static void refuses(void **state)
{
	struct bench *b = *state;

	assert_int_equal(build(b, 1), -ENODEV);
	assert_non_null(strstr(b->rig.err.text, "acpi_pm"));
	add(b, "pm", "acpi_pm", "");
	assert_int_equal(build(b, 0), -EINVAL);
	assert_int_equal(build(b, ACPI_CPUS_MAX + 1), -EINVAL);
	assert_int_equal(build(b, ACPI_CPUS_MAX), -ENOSPC);
	/* No half of a table is left where a guest could find it. */
	for (size_t i = 0; i < ACPI_AREA_LEN; i++)
		assert_int_equal(b->area[i], 0);
	assert_int_equal(build(b, 1), 0);
	add(b, "pm2", "acpi_pm", "base=0x700");
	assert_int_equal(build(b, 1), -EEXIST);
}

static const char *const signatures[] = {"FACS", "DSDT", "FACP", "APIC", "MCFG", "XSDT"};

static void dump_block(FILE *to, const char *name, uint64_t gpa, const uint8_t *p, uint32_t len)
{
	fprintf(to, "%s at %#llx, %u bytes\n", name, (unsigned long long)gpa, len);
	for (uint32_t i = 0; i < len; i++)
		fprintf(to, "%02x%c", p[i], i % 16 == 15 || i == len - 1 ? '\n' : ' ');
}

static char *dump(const struct bench *b)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	dump_block(f, "RSD PTR", b->rsdp, at(b, b->rsdp, 36), 36);
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		uint64_t gpa;
		const uint8_t *t = find(b, signatures[i], &gpa);

		dump_block(f, signatures[i], gpa, t, load_le32(t + 4));
	}
	fclose(f);
	return text;
}

static void golden(struct bench *b, unsigned int cpus)
{
	char *path, *is;

	assert_int_equal(build(b, cpus), 0);
	is = dump(b);
	path = golden_path("acpi/cpus-%u.txt", cpus);
	golden_compare(path, is);
	free(path);
	free(is);
}

static void golden_1_cpu(void **state)
{
	golden(*state, 1);
}

static void golden_2_cpus(void **state)
{
	golden(*state, 2);
}

static void write_file(const char *path, const uint8_t *p, uint32_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static size_t read_file(const char *path, uint8_t *to, size_t room)
{
	FILE *f = fopen(path, "r");
	size_t len;

	if (!f)
		fail_msg("iasl wrote no %s", path);
	len = fread(to, 1, room, f);
	fclose(f);
	return len;
}

/* Runs iasl in the current directory; fails unless it is content. */
static void iasl(const char *arguments)
{
	char command[256], line[512];
	bool content;
	FILE *f;

	snprintf(command, sizeof(command), "iasl %s >log 2>&1", arguments);
	content = !system(command);
	f = fopen("log", "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		/* "Compilation successful. 0 Errors, 0 Warnings, 0 Remarks, …" */
		if (strstr(line, "0 Errors, 0 Warnings"))
			continue;
		if (strcasestr(line, "warning") || strcasestr(line, "error") ||
		    strcasestr(line, "invalid") || strcasestr(line, "unknown"))
			content = false;
		if (!content)
			print_error("iasl %s: %s", arguments, line);
	}
	fclose(f);
	assert_true(content);
}

/*
 * Disassembles a table and assembles it again: the same bytes, but for the header, in which iasl
 * names itself.
 */
static void judge(const struct bench *b, const char *signature)
{
	static uint8_t again[ACPI_AREA_LEN];
	const uint8_t *t = get(b, signature);
	uint32_t len = load_le32(t + 4), head = strcmp(signature, "FACS") ? 36 : 0;

	write_file("table.dat", t, len);
	iasl("-d table.dat");
	assert_int_equal(remove("table.dat"), 0);
	iasl(strcmp(signature, "DSDT") ? "table.dsl" : "-oa table.dsl");
	assert_int_equal(read_file("table.aml", again, sizeof(again)), len);
	assert_memory_equal(again + head, t + head, len - head);
	assert_int_equal(remove("table.dsl"), 0);
	assert_int_equal(remove("table.aml"), 0);
}

static void iasl_is_content(void **state)
{
	struct bench *b = *state;
	char dir[] = "/tmp/skep-acpi-XXXXXX", *home = getcwd(NULL, 0);
	static const unsigned int cpus[] = {1, 2, 300};

	if (system("command -v iasl >/dev/null 2>&1")) {
		free(home);
		print_message("skipped: there is no iasl (package acpica-tools)\n");
		skip();
	}
	assert_non_null(home);
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cpus); i++) {
		assert_int_equal(build(b, cpus[i]), 0);
		for (size_t j = 0; j < ARRAY_SIZE(signatures); j++)
			judge(b, signatures[j]);
	}
	assert_int_equal(remove("log"), 0);
	assert_int_equal(chdir(home), 0);
	assert_int_equal(rmdir(dir), 0);
	free(home);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_EMPTY(name) cmocka_unit_test_setup_teardown(name, set_up_empty, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(root),
		TEST(fadt),
		TEST_EMPTY(fadt_follows_the_device),
		TEST_EMPTY(fadt_says_what_is_on_isa),
		TEST(madt),
		TEST(madt_has_wide_ids),
		TEST(mcfg),
		TEST_EMPTY(no_mcfg_without_pci),
		TEST(has_room_for_many),
		TEST_EMPTY(refuses),
		TEST(golden_1_cpu),
		TEST(golden_2_cpus),
		TEST(iasl_is_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
