/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pci - bus 0 of a machine: functions, their configuration space, base addresses and interrupts.
 *
 * A device that is a PCI function embeds a struct pci_function, says what it is, adds its base
 * address registers and capabilities, and attaches it. What a guest then does in configuration
 * space (sizing and moving of BARs, the command register, MSI-X) happens here; the device hears of
 * it only where it asks to. How a guest reaches configuration space is the host bridge's matter
 * (devices/pci_host.c): it calls pci_config_read() and pci_config_write().
 *
 * Follows the PCI Local Bus Specification 3.0; MSI-X its section 6.8. All functions interrupt by
 * INTA. Bridges behind which there are more buses do not exist here.
 *
 * A BAR decodes while the command register says so, at any address but 0 that no RAM and no other
 * device has; where one of those is, the BAR does not decode until it or the other has moved.
 *
 * Set-up happens on the control thread before the machine runs. Configuration accesses come from
 * vCPU threads, with the bridge's lock held, and take the function's device lock; ops run with it
 * held. A function of the bridge itself does with the bridge's lock.
 */
#ifndef SKEP_PCI_H
#define SKEP_PCI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "skep/bus.h"
#include "skep/class.h"
#include "skep/irq.h"
#include "skep/lock.h"
#include "skep/state.h"

struct device;
struct err;
struct machine;
struct pci;
struct pci_function;

#define PCI_SLOTS       32
#define PCI_FUNCTIONS   8
#define PCI_BARS        6
#define PCI_CONFIG_SIZE 256
#define PCI_MSIX_MAX    66
#define PCI_MSIX_PBA_AT 0x800U /* in the BAR of its table */
#define PCI_REGION_MSIX 1      /* of that BAR: bus_ops.region */
/* The gsis that the slots take turns on when the IOAPIC is in use; for a guest that uses the 8259A
 * pair the same wires are tied to two ISA interrupts, in turn. */
#define PCI_INTX_GSI   16
#define PCI_INTX_WIRES 4
#define PCI_INTX_ISA   10

struct pci_ids {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	uint8_t revision;
	bool multifunction; /* even where the slot has no other function */
	bool silent;        /* without an interrupt pin */
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_ops {
	/*
	 * BAR @bar decodes at @at from now on, or (@mapped false) no longer does, at @at where it
	 * did: for doorbells. May be NULL. The bus_ops of the BAR are mapped by pci itself.
	 */
	void (*bar_moved)(struct pci_function *f, unsigned int bar, bool mapped, uint64_t at);
	/*
	 * An access within a capability that was added with @hooked: true when it is done. May be
	 * NULL. @size 1, 2 or 4, aligned.
	 */
	bool (*config_read)(struct pci_function *f, unsigned int at, unsigned int size,
			    uint32_t *value);
	bool (*config_write)(struct pci_function *f, unsigned int at, unsigned int size,
			     uint32_t value);
};

/* Guest-visible; described by pci_function_state. */
struct pci_function_data {
	uint8_t config[PCI_CONFIG_SIZE];
	uint32_t msix_table[PCI_MSIX_MAX][4]; /* 6.8.2.6 to 6.8.2.9 */
};
extern const struct state_table pci_function_state;

struct pci_function {
	struct pci_function_data data;
	/* Private to pci. */
	struct device *dev;
	const struct pci_ops *ops;
	struct pci *pci;
	unsigned int devfn;
	uint8_t power_on[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* mask of the bits that a guest may change */
	struct pci_bar {
		enum pci_bar_kind kind;
		uint64_t size; /* a power of two */
		const struct bus_ops *ops;
		uint64_t at; /* where it decodes now */
		bool mapped;
	} bars[PCI_BARS];
	unsigned int last_cap; /* its offset; 0: none */
	unsigned int next_cap; /* where the next one goes */
	unsigned int hooked_at, hooked_len;
	/* LOCK_LINE: the lines, and of the configuration the dword of command and status, which
	 * other threads than those of the device's lock look at and change. */
	struct lock intx_lock;
	struct irq_line intx[2]; /* to the IOAPIC, and to the 8259A pair */
	unsigned int msix_cap;   /* its offset; 0: none */
	unsigned int msix_count;
	atomic_bool msix_on;
	struct pci_vector {
		int fd; /* eventfd */
		bool bound;
		uint32_t handle;
	} vectors[PCI_MSIX_MAX];
};

/* The bus of @m; it has no functions yet, and nothing reaches it until a bridge claims it. */
int pci_create(struct pci **pci, struct machine *m, struct err *err);
/* All functions are detached. NULL is allowed. */
void pci_destroy(struct pci *pci);

/* The host bridge's own: -EBUSY when there is one already. */
int pci_claim(struct pci *pci, struct err *err);
void pci_release(struct pci *pci);

/*
 * Makes @dev's function @f, which is zeroed, one of the bus: then BARs and capabilities are added.
 * @addr is "SLOT" or "SLOT.FUNCTION" in hexadecimal, or NULL for the first free slot. -ENODEV in a
 * machine without a host bridge, -EINVAL, -EBUSY, -ENOSPC.
 */
int pci_attach(struct pci *pci, struct pci_function *f, struct device *dev,
	       const struct pci_ids *ids, const struct pci_ops *ops, const char *addr,
	       struct err *err);
/* Legal on a function that was never attached (zeroed). */
void pci_detach(struct pci_function *f);

/* @size: a power of two, at least 16 for memory and 4 for ports. A 64-bit BAR takes two. */
int pci_add_bar(struct pci_function *f, unsigned int bar, enum pci_bar_kind kind, uint64_t size,
		const struct bus_ops *ops, struct err *err);
/*
 * Adds a capability of @len bytes, its two header bytes included (they are filled in). @body and
 * @writable may be NULL: zeroes. Returns its offset. At most one may be hooked, see pci_ops.
 */
unsigned int pci_add_cap(struct pci_function *f, uint8_t id, unsigned int len, const void *body,
			 const void *writable, bool hooked);
/* @count vectors, their table and pending bits in BAR @bar of their own, of 4 KiB. */
int pci_add_msix(struct pci_function *f, unsigned int bar, unsigned int count, struct err *err);

/* The family of models that are a PCI function and nothing more: each embeds a struct pci_function
 * at its family_offset, whose reset and state are then seen to. */
extern const struct device_family pci_family;

/* From the device's reset: power-on state of everything above; BARs no longer decode. Device's lock
 * held. This and pci_loaded() are legal on a function that was never attached. */
void pci_reset(struct pci_function *f);
/* From the device's loaded hook, device's lock held: -EPROTO for a state that cannot be; then
 * nothing has changed. With MSI-X on, each vector is raised once: whether it was pending is not in
 * the state. */
int pci_loaded(struct pci_function *f, struct err *err);

/* Whether the guest lets the function reach memory by itself. Any thread. */
bool pci_master(struct pci_function *f);

/* Whether the guest has switched MSI-X on: interrupts go by vectors, not by INTA. Any thread. */
bool pci_msix_enabled(const struct pci_function *f);
/*
 * An eventfd: a count written to it raises vector @vector, by irqfd, as long as the function is bus
 * master and neither it nor the vector is masked; otherwise it stays pending until that is so.
 * Lives as long as the function. A write while MSI-X is off is lost. -1 for a vector that there is
 * not.
 */
int pci_msix_fd(const struct pci_function *f, unsigned int vector);
/* The same on the spot. Any thread. */
void pci_msix_raise(struct pci_function *f, unsigned int vector);
/* Drives INTA. Any thread, any lock up to LOCK_DEVICE held. */
void pci_intx(struct pci_function *f, bool level);

/* From the host bridge. @devfn: slot << 3 | function; @at < 4096; @size 1, 2, 4, not crossing a
 * dword. What is not there reads as all ones. */
uint32_t pci_config_read(struct pci *pci, unsigned int devfn, unsigned int at, unsigned int size);
void pci_config_write(struct pci *pci, unsigned int devfn, unsigned int at, unsigned int size,
		      uint32_t value);

/* Whether a bridge makes the bus reachable. */
bool pci_present(const struct pci *pci);

/* Where BARs live: what the bridge decodes, as ACPI's _CRS and skep's own placing say it. BARs are
 * placed there before the kernel starts, for there is no firmware that would. */
#define PCI_ECAM_AT   UINT64_C(0xe0000000) /* 1 MiB: bus 0 */
#define PCI_ECAM_LEN  UINT64_C(0x100000)
#define PCI_MEM32_AT  UINT64_C(0xe1000000)
#define PCI_MEM32_END UINT64_C(0xfe000000)
#define PCI_MEM64_LEN (UINT64_C(1) << 36) /* at most; above all RAM */
#define PCI_IO_AT     0x1000
#define PCI_IO_END    0x10000

/* How many bits a physical address of the guest's processors has: 36 until it is said. */
void pci_set_address_bits(struct pci *pci, unsigned int bits);
/* The window above 4 GiB, and its length: 0 where the processors reach no further than RAM. */
uint64_t pci_window64(const struct machine *m);
uint64_t pci_window64_len(const struct machine *m);

/*
 * Gives every BAR a place, below 4 GiB while there is room, and switches decoding on, as a firmware
 * would. Before the kernel is loaded, and again at each reset. -ENOSPC when the windows are full,
 * -EINVAL when a slot has functions but no function 0, which guests look for first.
 */
int pci_place(struct pci *pci, struct err *err);

/* The interrupt wire (0 to 3) of INTA of @slot. */
unsigned int pci_intx_wire(unsigned int slot);

#endif
