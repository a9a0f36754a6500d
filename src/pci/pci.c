/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bus, its functions, their configuration space and their interrupt pin.
 *
 * A function's configuration is an array of bytes beside a mask of the bits that a guest may write.
 * A write merges, and what depends on the bits written (BARs, vectors, the line) is then brought in
 * step with them; so is it behind a reset and behind a load, and there is no other path.
 */
#include <stdlib.h>

#include "pci_priv.h"
#include "skep/err.h"
#include "skep/trace.h"

int pci_create(struct pci **pci, struct machine *m, struct err *err)
{
	*pci = calloc(1, sizeof(**pci));
	if (!*pci)
		return err_sys(err, ENOMEM, "PCI bus");
	(*pci)->machine = m;
	(*pci)->address_bits = 36;
	return 0;
}

void pci_destroy(struct pci *pci)
{
	free(pci);
}

int pci_claim(struct pci *pci, struct err *err)
{
	if (pci->claimed)
		return err_set(err, EBUSY, "a machine has one PCI host bridge");
	pci->claimed = true;
	return 0;
}

void pci_release(struct pci *pci)
{
	pci->claimed = false;
}

bool pci_present(const struct pci *pci)
{
	return pci && pci->claimed;
}

struct pci_function *pci_function_of(const struct device *dev)
{
	const struct pci *pci = dev->machine->pci;

	for (size_t i = 0; i < ARRAY_SIZE(pci->functions); i++)
		if (pci->functions[i] && pci->functions[i]->dev == dev)
			return pci->functions[i];
	return NULL;
}

void pci_lock(struct pci_function *f)
{
	if (f->dev->lock.rank != LOCK_BRIDGE)
		device_lock(f->dev);
}

void pci_unlock(struct pci_function *f)
{
	if (f->dev->lock.rank != LOCK_BRIDGE)
		device_unlock(f->dev);
}

/* Coming and going */

/* Up to two hexadecimal digits; NULL when there are none or more. */
static const char *parse_hex(const char *text, unsigned int *v)
{
	char *end;

	if (!*text || !strchr("0123456789abcdefABCDEF", *text))
		return NULL;
	*v = (unsigned int)strtoul(text, &end, 16);
	return end - text <= 2 ? end : NULL;
}

static int parse_addr(const char *addr, unsigned int *devfn, struct err *err)
{
	unsigned int slot = 0, function = 0;
	const char *rest = parse_hex(addr, &slot);

	if (rest && *rest == '.')
		rest = parse_hex(rest + 1, &function);
	if (!rest || *rest || slot >= PCI_SLOTS || function >= PCI_FUNCTIONS)
		return err_set(err, EINVAL,
			       "'%.32s' is no PCI address; it is SLOT or SLOT.FUNCTION in "
			       "hexadecimal, 0 to %x and 0 to %x",
			       addr, PCI_SLOTS - 1, PCI_FUNCTIONS - 1);
	*devfn = slot * PCI_FUNCTIONS + function;
	return 0;
}

/* A slot none of whose functions is taken. */
static int free_slot(const struct pci *pci, unsigned int *devfn, struct err *err)
{
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		bool taken = false;

		*devfn = slot * PCI_FUNCTIONS;
		for (unsigned int i = 0; i < PCI_FUNCTIONS; i++)
			taken = taken || pci->functions[*devfn + i];
		if (!taken)
			return 0;
	}
	return err_set(err, ENOSPC,
		       "all %d PCI slots are taken; functions can share one (addr=SLOT.FUNCTION)",
		       PCI_SLOTS);
}

static int choose(const struct pci *pci, const char *addr, unsigned int *devfn, struct err *err)
{
	int ret;

	if (!pci_present(pci))
		return err_set(err, ENODEV,
			       "this machine has no PCI; add a host bridge (pci_host) in front");
	ret = addr ? parse_addr(addr, devfn, err) : free_slot(pci, devfn, err);
	if (!ret && pci->functions[*devfn])
		return err_set(err, EBUSY, "PCI slot %x.%x is %s's", *devfn / PCI_FUNCTIONS,
			       *devfn % PCI_FUNCTIONS, pci->functions[*devfn]->dev->id);
	return ret;
}

static int attach_lines(struct pci_function *f, struct err *err)
{
	const unsigned int wire = pci_intx_wire(f->devfn / PCI_FUNCTIONS);
	struct irqs *irqs = f->pci->machine->irqs;
	int ret = irq_attach(irqs, &f->intx[0], PCI_INTX_GSI + wire, err);

	return ret ? ret : irq_attach(irqs, &f->intx[1], PCI_INTX_ISA + wire % 2, err);
}

static void describe(struct pci_function *f, const struct pci_ids *ids)
{
	const uint16_t command = COMMAND_MASTER | COMMAND_PARITY | COMMAND_SERR |
				 (ids->silent ? 0 : COMMAND_INTX_OFF);
	uint8_t *config = f->power_on;

	store_le16(config + CONFIG_VENDOR, ids->vendor);
	store_le16(config + CONFIG_DEVICE, ids->device);
	store_le32(config + CONFIG_REVISION, ids->class_code << 8 | ids->revision);
	config[CONFIG_HEADER_TYPE] = ids->multifunction ? HEADER_MULTIFUNCTION : 0;
	store_le16(config + CONFIG_SUBSYSTEM_VENDOR, ids->subsystem_vendor);
	store_le16(config + CONFIG_SUBSYSTEM, ids->subsystem);
	store_le16(f->writable + CONFIG_COMMAND, command);
	f->writable[CONFIG_CACHE_LINE] = 0xff;
	if (!ids->silent) {
		config[CONFIG_INTERRUPT_PIN] = 1;
		f->writable[CONFIG_INTERRUPT_LINE] = 0xff;
	}
	memcpy(f->data.config, config, sizeof(f->power_on));
}

/* Guests look for functions other than 0 only where a slot says that it has more (6.2.1). */
static void tell_of_functions(struct pci *pci, unsigned int slot)
{
	struct pci_function **functions = &pci->functions[(size_t)slot * PCI_FUNCTIONS];

	for (unsigned int i = 1; functions[0] && i < PCI_FUNCTIONS; i++) {
		if (!functions[i])
			continue;
		functions[0]->power_on[CONFIG_HEADER_TYPE] |= HEADER_MULTIFUNCTION;
		functions[0]->data.config[CONFIG_HEADER_TYPE] |= HEADER_MULTIFUNCTION;
	}
}

int pci_attach(struct pci *pci, struct pci_function *f, struct device *dev,
	       const struct pci_ids *ids, const struct pci_ops *ops, const char *addr,
	       struct err *err)
{
	unsigned int devfn = 0;
	int ret = choose(pci, addr, &devfn, err);

	if (ret)
		return ret;
	bug_on(f->pci || pci_function_of(dev));
	f->dev = dev;
	f->ops = ops;
	f->pci = pci;
	f->devfn = devfn;
	f->next_cap = CONFIG_CAPS_AT;
	lock_init(&f->intx_lock, LOCK_LINE);
	pci->functions[devfn] = f;
	describe(f, ids);
	tell_of_functions(pci, devfn / PCI_FUNCTIONS);
	return ids->silent ? 0 : attach_lines(f, err);
}

void pci_detach(struct pci_function *f)
{
	if (!f->pci)
		return;
	pci_reset(f);
	pci_remove_msix(f);
	for (unsigned int i = 0; i < ARRAY_SIZE(f->intx); i++)
		irq_detach(&f->intx[i]);
	f->pci->functions[f->devfn] = NULL;
	lock_destroy(&f->intx_lock);
	memset(f, 0, sizeof(*f));
}

unsigned int pci_add_cap(struct pci_function *f, uint8_t id, unsigned int len, const void *body,
			 const void *writable, bool hooked)
{
	const unsigned int at = f->next_cap;
	uint8_t *config = f->power_on;

	bug_on(len < 2 || !range_fits(at, len, PCI_CONFIG_SIZE) || (hooked && f->hooked_len));
	config[at] = id;
	config[f->last_cap ? f->last_cap + 1 : CONFIG_CAPS] = (uint8_t)at;
	config[CONFIG_STATUS] |= STATUS_CAPS;
	if (body)
		memcpy(config + at + 2, body, len - 2);
	if (writable)
		memcpy(f->writable + at + 2, writable, len - 2);
	if (hooked) {
		f->hooked_at = at;
		f->hooked_len = len;
	}
	f->last_cap = at;
	f->next_cap = (unsigned int)align_up(at + len, 4);
	memcpy(f->data.config, config, sizeof(f->power_on));
	return at;
}

/* The interrupt pin: sections 2.2.6 and 6.2.2 to 6.2.4 */

unsigned int pci_intx_wire(unsigned int slot)
{
	return slot % PCI_INTX_WIRES;
}

unsigned int pci_command(const struct pci_function *f)
{
	return load_le16(f->data.config + CONFIG_COMMAND);
}

bool pci_master(struct pci_function *f)
{
	bool master;

	lock_take(&f->intx_lock);
	master = pci_command(f) & COMMAND_MASTER;
	lock_drop(&f->intx_lock);
	return master;
}

/* A function that interrupts by messages asserts no pin (6.8.3.3). Its lock is held. */
static void drive_line(struct pci_function *f)
{
	bool asks = f->data.config[CONFIG_STATUS] & STATUS_INTX;
	bool level = asks && !(pci_command(f) & COMMAND_INTX_OFF) && !pci_msix_enabled(f);

	for (unsigned int i = 0; i < ARRAY_SIZE(f->intx); i++)
		irq_set(&f->intx[i], level);
}

static void sync_line(struct pci_function *f)
{
	lock_take(&f->intx_lock);
	drive_line(f);
	lock_drop(&f->intx_lock);
}

void pci_intx(struct pci_function *f, bool level)
{
	uint8_t *status = &f->data.config[CONFIG_STATUS];

	if (!f->power_on[CONFIG_INTERRUPT_PIN])
		return;
	lock_take(&f->intx_lock);
	*status = (uint8_t)(level ? *status | STATUS_INTX : *status & ~STATUS_INTX);
	drive_line(f);
	lock_drop(&f->intx_lock);
}

/* State */

static const struct state_field function_fields[] = {
	STATE_ARRAY(struct pci_function_data, config),
	{
		.name = "msix_table",
		.offset = offsetof(struct pci_function_data, msix_table),
		.width = sizeof(uint32_t),
		.count = sizeof(((struct pci_function_data *)NULL)->msix_table) / sizeof(uint32_t),
	},
};
const struct state_table pci_function_state =
	STATE_TABLE("pci_function", 1, struct pci_function_data, function_fields);

void pci_reset(struct pci_function *f)
{
	if (!f->pci)
		return;
	lock_take(&f->intx_lock);
	memcpy(f->data.config, f->power_on, sizeof(f->power_on));
	drive_line(f);
	lock_drop(&f->intx_lock);
	pci_sync_bars(f);
	pci_reset_msix(f);
}

/* Bits that the guest has no hand in are as this function was made, but for the pin's. */
static int check_config(const struct pci_function *f, struct err *err)
{
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t differ = (f->data.config[i] ^ f->power_on[i]) & (uint8_t)~f->writable[i];

		if (i == CONFIG_STATUS && f->power_on[CONFIG_INTERRUPT_PIN])
			differ &= (uint8_t)~STATUS_INTX;
		if (differ)
			return err_set(err, EPROTO,
				       "%s: byte %#x of its PCI configuration cannot be %#x",
				       f->dev->id, i, f->data.config[i]);
	}
	return 0;
}

int pci_loaded(struct pci_function *f, struct err *err)
{
	int ret = f->pci ? check_config(f, err) : 0;

	if (!f->pci)
		return 0;
	if (!ret)
		ret = pci_check_msix(f, err);
	if (ret)
		return ret;
	pci_sync_bars(f);
	pci_loaded_msix(f);
	sync_line(f);
	return 0;
}

static struct pci_function *family_function(struct device *dev)
{
	return (struct pci_function *)((char *)dev + dev->class->family_offset);
}

static void family_reset(struct device *dev)
{
	pci_reset(family_function(dev));
}

static int family_loaded(struct device *dev, struct err *err)
{
	return pci_loaded(family_function(dev), err);
}

static const struct state_part family_states[] = {
	{&pci_function_state, offsetof(struct pci_function, data)},
	{NULL, 0},
};

const struct device_family pci_family = {
	.name = "pci",
	.states = family_states,
	.reset = family_reset,
	.loaded = family_loaded,
};

/* Accesses */

static struct pci_function *find(const struct pci *pci, unsigned int devfn, unsigned int at,
				 unsigned int size)
{
	if (devfn >= ARRAY_SIZE(pci->functions) || !range_fits(at, size, PCI_CONFIG_SIZE))
		return NULL;
	return pci->functions[devfn];
}

static bool touches(unsigned int at, unsigned int size, unsigned int start, unsigned int len)
{
	return ranges_overlap(at, size, start, len);
}

static bool is_hooked(const struct pci_function *f, unsigned int at, unsigned int size)
{
	return at >= f->hooked_at && range_fits(at - f->hooked_at, size, f->hooked_len);
}

static uint32_t read_bytes(struct pci_function *f, unsigned int at, unsigned int size)
{
	uint8_t bytes[4] = {0};

	lock_take(&f->intx_lock);
	memcpy(bytes, f->data.config + at, size);
	lock_drop(&f->intx_lock);
	return load_le32(bytes);
}

uint32_t pci_config_read(struct pci *pci, unsigned int devfn, unsigned int at, unsigned int size)
{
	struct pci_function *f = find(pci, devfn, at, size);
	uint32_t value = 0;

	if (!f)
		return (uint32_t)ones(size);
	pci_lock(f);
	if (!is_hooked(f, at, size) || !f->ops || !f->ops->config_read ||
	    !f->ops->config_read(f, at, size, &value))
		value = read_bytes(f, at, size);
	pci_unlock(f);
	return value & (uint32_t)ones(size);
}

static void write_bytes(struct pci_function *f, unsigned int at, unsigned int size, uint32_t value)
{
	lock_take(&f->intx_lock);
	for (unsigned int i = at; size; i++, size--, value >>= 8) {
		uint8_t mask = f->writable[i];

		f->data.config[i] = (uint8_t)((f->data.config[i] & ~mask) | (value & mask));
	}
	lock_drop(&f->intx_lock);
}

/* True when a BAR no longer decodes where it did. */
static bool write_function(struct pci_function *f, unsigned int at, unsigned int size,
			   uint32_t value)
{
	bool command = touches(at, size, CONFIG_COMMAND, 2);
	bool msix = f->msix_cap && touches(at, size, f->msix_cap, 4);
	bool moved = false;

	if (touches(at, size, CONFIG_VENDOR, 4) || touches(at, size, CONFIG_REVISION, 4))
		trace_event(TRACE_REMARK, f->dev->number, TRACE_FIXED_WRITE, 0, at, value, 0);
	write_bytes(f, at, size, value);
	if (command || touches(at, size, CONFIG_BARS, CONFIG_BARS_END - CONFIG_BARS))
		moved = pci_sync_bars(f);
	if (command || msix) {
		pci_sync_msix(f);
		sync_line(f);
	}
	return moved;
}

void pci_config_write(struct pci *pci, unsigned int devfn, unsigned int at, unsigned int size,
		      uint32_t value)
{
	struct pci_function *f = find(pci, devfn, at, size);
	bool moved = false;

	if (!f)
		return;
	pci_lock(f);
	if (!is_hooked(f, at, size) || !f->ops || !f->ops->config_write ||
	    !f->ops->config_write(f, at, size, value))
		moved = write_function(f, at, size, value);
	pci_unlock(f);
	/* What was in another BAR's way no longer is. */
	for (unsigned int i = 0; moved && i < ARRAY_SIZE(pci->functions); i++) {
		struct pci_function *other = pci->functions[i];

		if (!other || other == f)
			continue;
		pci_lock(other);
		pci_retry_bars(other);
		pci_unlock(other);
	}
}
