/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * aml - a writer of ACPI machine language, for devices that describe themselves.
 *
 * Follows ACPI 6.5, section 20 (AML grammar) and 6.4 (resource data types). Objects nest:
 * aml_device() … aml_end(). Lengths and integers take their shortest form. The buffer is bounded; a
 * writer that runs out of room or of nesting goes on without writing, and aml_finish() says so.
 * What no table could hold (a name of other letters, an end without an object) is a bug. One
 * thread.
 */
#ifndef SKEP_AML_H
#define SKEP_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH_MAX 16

/*
 * Fixed hardware (ACPI 6.5, section 4.8): registers that the FADT names and AML does not. The one
 * device of a machine that has them hands this to aml_fixed_hardware().
 */
struct acpi_fixed {
	uint16_t pm1_event;   /* port of PM1a_EVT_BLK: status and enable, 2 bytes each */
	uint16_t pm1_control; /* port of PM1a_CNT_BLK, 2 bytes */
	uint16_t pm_timer; /* port of PM_TMR_BLK, 4 bytes of a 32-bit counter; 0: there is none */
	uint16_t reset;    /* port of RESET_REG, 1 byte */
	uint8_t reset_value;
	uint8_t sleep_s5; /* SLP_TYP of the soft-off state */
	uint8_t sci;      /* gsi; level, active high */
};

struct aml {
	uint8_t *buf;
	size_t room;
	size_t len;
	unsigned int depth;
	size_t open[AML_DEPTH_MAX]; /* where the length of each open object is to stand */
	bool failed;
	unsigned int fixed_count; /* how many devices said that they are the fixed hardware */
	struct acpi_fixed fixed;  /* the last of them */
	bool has_8042;
	bool has_vga;
	bool has_cmos_rtc;
	uint8_t century;
	uint64_t ecam; /* 0: there is none */
	uint8_t ecam_first, ecam_last;
};

void aml_init(struct aml *a, void *buf, size_t room);
/* Bytes written, or -ENOSPC, or -EINVAL when objects are still open. */
long aml_finish(const struct aml *a);

/* Names are paths as ASL writes them: "\\_SB.PCI0", "^COM1", "_HID". */
void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned int args, bool serialized);
void aml_package(struct aml *a, unsigned int count); /* elements follow, then aml_end() */
void aml_if(struct aml *a, const char *path);        /* the object is not zero */
void aml_resources(struct aml *a);                   /* a buffer of the resources that follow */
void aml_end(struct aml *a);

void aml_name(struct aml *a, const char *name); /* an object follows: aml_integer(), … */
void aml_integer(struct aml *a, uint64_t v);
void aml_string(struct aml *a, const char *s);   /* ASCII */
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0501" */
void aml_return_integer(struct aml *a, uint64_t v);
void aml_return_path(struct aml *a, const char *path);
/* Stores argument @n of the method in the object at @path. */
void aml_store_argument(struct aml *a, unsigned int n, const char *path);

/* Resources */
void aml_io(struct aml *a, uint16_t base, uint8_t len);
void aml_irq(struct aml *a, unsigned int irq); /* ISA: edge, active high, exclusive */
void aml_interrupt(struct aml *a, uint32_t gsi, bool level, bool active_low, bool shared);
void aml_memory32(struct aml *a, uint32_t base, uint32_t len, bool writable);
/* What a bridge passes on; at fixed addresses, @len is not 0. */
void aml_bus_window(struct aml *a, uint8_t first, uint8_t last);
void aml_io_window(struct aml *a, uint16_t base, uint16_t len);
void aml_memory_window(struct aml *a, uint64_t base, uint64_t len);

/* Not AML, but said on the same occasion, for the FADT and the MCFG. */
void aml_fixed_hardware(struct aml *a, const struct acpi_fixed *fixed);
/* There is an 8042, or what acts like one, at ports 60h and 64h. */
void aml_has_8042(struct aml *a);
/* There is a VGA, which may be asked what it is. */
void aml_has_vga(struct aml *a);
/* There is an MC146818 at port 70h, the century at @century of its memory; 0: nowhere. */
void aml_has_cmos_rtc(struct aml *a, uint8_t century);
/* PCI configuration of buses @first to @last is mapped; bus 0's would be at @base. */
void aml_has_ecam(struct aml *a, uint64_t base, uint8_t first, uint8_t last);

#endif
