/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/pci share. */
#ifndef SRC_PCI_PCI_PRIV_H
#define SRC_PCI_PCI_PRIV_H

#include "skep/bits.h"
#include "skep/device.h"
#include "skep/pci.h"

/* Configuration space, header type 0: section 6.1. */
enum {
	CONFIG_VENDOR = 0x00,
	CONFIG_DEVICE = 0x02,
	CONFIG_COMMAND = 0x04,
	CONFIG_STATUS = 0x06,
	CONFIG_REVISION = 0x08,
	CONFIG_CLASS = 0x09,
	CONFIG_CACHE_LINE = 0x0c,
	CONFIG_HEADER_TYPE = 0x0e,
	CONFIG_BARS = 0x10,
	CONFIG_BARS_END = 0x28,
	CONFIG_SUBSYSTEM_VENDOR = 0x2c,
	CONFIG_SUBSYSTEM = 0x2e,
	CONFIG_CAPS = 0x34,
	CONFIG_INTERRUPT_LINE = 0x3c,
	CONFIG_INTERRUPT_PIN = 0x3d,
	CONFIG_CAPS_AT = 0x40, /* the first capability */
};

/* Section 6.2.1 */
#define HEADER_MULTIFUNCTION 0x80

/* Section 6.2.2 */
enum {
	COMMAND_IO = 1 << 0,
	COMMAND_MEMORY = 1 << 1,
	COMMAND_MASTER = 1 << 2,
	COMMAND_PARITY = 1 << 6,
	COMMAND_SERR = 1 << 8,
	COMMAND_INTX_OFF = 1 << 10,
};

/* Section 6.2.3 */
enum {
	STATUS_INTX = 1 << 3,
	STATUS_CAPS = 1 << 4,
};

struct pci {
	struct machine *machine;
	bool claimed;
	unsigned int address_bits;
	struct pci_function *functions[PCI_SLOTS * PCI_FUNCTIONS];
};

/* The one function that a device has. */
struct pci_function *pci_function_of(const struct device *dev);

/* The function's device lock, unless the bridge's, which is held, does for it. */
void pci_lock(struct pci_function *f);
void pci_unlock(struct pci_function *f);

/* The device's lock is held in all that follows. */

/* The command register, which changes with both locks held: either will do to read it. */
unsigned int pci_command(const struct pci_function *f);

/* bar.c */
/* Has the BARs decode as the configuration says; true when one no longer decodes where it did. */
bool pci_sync_bars(struct pci_function *f);
/* The same once more for a function some of whose BARs had to stand back. */
void pci_retry_bars(struct pci_function *f);
void pci_unmap_bars(struct pci_function *f);

/* msix.c */
/* Has the vectors bound as configuration and table say. */
void pci_sync_msix(struct pci_function *f);
void pci_loaded_msix(struct pci_function *f);
void pci_reset_msix(struct pci_function *f);
int pci_check_msix(const struct pci_function *f, struct err *err);
void pci_remove_msix(struct pci_function *f);

#endif
