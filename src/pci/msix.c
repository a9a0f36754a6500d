/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X: PCI 3.0, section 6.8.2. Each vector is an eventfd from the beginning. While a message may
 * be sent, the eventfd is bound to it (irq.h), and a count sends the message without this process.
 * While it may not, the count stays: it is the pending bit.
 *
 * - What is bound: function enabled, bus master and not masked, vector not masked, and the address
 *   one of interrupts (Intel SDM volume 3, section 11.11.1). Another address would be a write to
 *   memory; such a vector stays pending.
 * - Table and pending bits are accessed by aligned dwords or qwords (6.8.2); other writes are
 *   swallowed. Pending bits are read-only.
 * - A guest that changes the message of a vector that is not masked (6.8.2.9 forbids it) has the
 *   new one from that dword on.
 *
 * Configuration and table change with the device's lock held.
 */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pci_priv.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/log.h"
#include "skep/trace.h"

#define CAP_MSIX     0x11
#define CAP_MSIX_LEN 12

/* Offsets in the capability, and the bits of message control: 6.8.2.1 to 6.8.2.5 */
enum {
	MSIX_CONTROL = 2,
	MSIX_TABLE = 4,
	MSIX_PBA = 8,
};
#define CONTROL_MASKED  0x4000U
#define CONTROL_ENABLED 0x8000U

#define ENTRY_LEN 16U
#define PBA_AT    PCI_MSIX_PBA_AT
#define BAR_LEN   0x1000U

_Static_assert(PCI_MSIX_MAX *ENTRY_LEN <= PBA_AT, "the table fits");

/* Dwords of a table entry */
enum { ENTRY_LOW, ENTRY_HIGH, ENTRY_DATA, ENTRY_CONTROL };
#define VECTOR_MASKED 1U

static const uint32_t entry_writable[4] = {
	[ENTRY_LOW] = 0xfffffffc,
	[ENTRY_HIGH] = UINT32_MAX,
	[ENTRY_DATA] = UINT32_MAX,
	[ENTRY_CONTROL] = VECTOR_MASKED,
};

#define MESSAGE_AT   0xfee00000U
#define MESSAGE_MASK 0xfff00000U
/* Bits 31:8 of a wide destination lie above them. */
#define MESSAGE_HIGH_ZERO 0xffU

static unsigned int control(const struct pci_function *f)
{
	return load_le16(f->data.config + f->msix_cap + MSIX_CONTROL);
}

static struct msi message(const struct pci_function *f, unsigned int v)
{
	const uint32_t *entry = f->data.msix_table[v];

	return (struct msi){
		.address = (uint64_t)entry[ENTRY_HIGH] << 32 | entry[ENTRY_LOW],
		.data = entry[ENTRY_DATA],
	};
}

static bool may_send(const struct pci_function *f, unsigned int v)
{
	const uint32_t *entry = f->data.msix_table[v];

	return (control(f) & (CONTROL_ENABLED | CONTROL_MASKED)) == CONTROL_ENABLED &&
	       pci_command(f) & COMMAND_MASTER && !(entry[ENTRY_CONTROL] & VECTOR_MASKED) &&
	       (entry[ENTRY_LOW] & MESSAGE_MASK) == MESSAGE_AT &&
	       !(entry[ENTRY_HIGH] & MESSAGE_HIGH_ZERO);
}

static void unbind(struct pci_function *f, unsigned int v)
{
	struct pci_vector *vector = &f->vectors[v];

	msi_unbind(f->pci->machine->irqs, vector->fd, vector->handle);
	vector->bound = false;
	vector->handle = 0;
}

/* Binds the vector, or changes what it is bound to. A count that is there already is sent. */
static void bind_to_message(struct pci_function *f, unsigned int v)
{
	const struct machine *m = f->pci->machine;
	struct pci_vector *vector = &f->vectors[v];
	const struct msi msi = message(f, v);
	struct err err;

	if (!msi_bind(m->irqs, vector->fd, &msi, &vector->handle, &err)) {
		vector->bound = true;
		trace_event(TRACE_BIND, f->dev->number, 0, 0, v, msi.address, msi.data);
		return;
	}
	if (vector->bound)
		unbind(f, v);
	log_guest(m->log, LOG_WARN, "%s: MSI-X vector %u stays pending: %s", f->dev->id, v,
		  err.text);
}

static void sync_vector(struct pci_function *f, unsigned int v)
{
	bool send = may_send(f, v);

	if (send && !f->vectors[v].bound)
		bind_to_message(f, v);
	else if (!send && f->vectors[v].bound)
		unbind(f, v);
}

static void drain(struct pci_function *f)
{
	uint64_t count;

	for (unsigned int v = 0; v < f->msix_count; v++)
		while (read(f->vectors[v].fd, &count, sizeof(count)) < 0 && errno == EINTR)
			;
}

void pci_sync_msix(struct pci_function *f)
{
	bool on = f->msix_cap && control(f) & CONTROL_ENABLED;

	/* What was written while it was off is lost. */
	if (on && !atomic_load(&f->msix_on))
		drain(f);
	atomic_store(&f->msix_on, on);
	for (unsigned int v = 0; v < f->msix_count; v++)
		sync_vector(f, v);
}

/* Which vectors were pending when the state was saved it does not say; one interrupt too many does
 * no harm. */
void pci_loaded_msix(struct pci_function *f)
{
	pci_sync_msix(f);
	for (unsigned int v = 0; v < f->msix_count; v++)
		pci_msix_raise(f, v);
}

/* Section 6.8.2.9: vectors start masked. Of the rest nothing is said. */
void pci_reset_msix(struct pci_function *f)
{
	memset(f->data.msix_table, 0, sizeof(f->data.msix_table));
	for (unsigned int v = 0; v < f->msix_count; v++)
		f->data.msix_table[v][ENTRY_CONTROL] = VECTOR_MASKED;
	pci_sync_msix(f);
}

int pci_check_msix(const struct pci_function *f, struct err *err)
{
	for (unsigned int v = 0; v < PCI_MSIX_MAX; v++)
		for (unsigned int i = 0; i < 4; i++) {
			uint32_t is = f->data.msix_table[v][i];

			if (is & ~(v < f->msix_count ? entry_writable[i] : 0))
				return err_set(err, EPROTO,
					       "%s: dword %u of MSI-X vector %u cannot be %#x",
					       f->dev->id, i, v, is);
		}
	return 0;
}

/* The table and the pending bits */

/* Of 32 vectors from @first on. A vector that is bound is not pending, whatever its count. */
static uint32_t pending(const struct pci_function *f, unsigned int first)
{
	struct pollfd fds[32];
	uint32_t bits = 0;

	if (!atomic_load(&f->msix_on) || first >= f->msix_count)
		return 0;
	for (unsigned int i = 0; i < 32; i++) {
		bool waits = first + i < f->msix_count && !f->vectors[first + i].bound;

		fds[i] = (struct pollfd){
			.fd = waits ? f->vectors[first + i].fd : -1,
			.events = POLLIN,
		};
	}
	while (poll(fds, 32, 0) < 0 && errno == EINTR)
		;
	for (unsigned int i = 0; i < 32; i++)
		bits |= fds[i].revents & POLLIN ? UINT32_C(1) << i : 0;
	return bits;
}

static uint32_t read_dword(const struct pci_function *f, uint64_t offset)
{
	uint64_t v = offset / ENTRY_LEN;

	if (offset >= PBA_AT)
		return pending(f, (unsigned int)(offset - PBA_AT) * 8);
	return v < f->msix_count ? f->data.msix_table[v][offset / 4 % 4] : 0;
}

static uint64_t table_read(struct device *dev, uint64_t offset, unsigned int size)
{
	const struct pci_function *f = pci_function_of(dev);
	uint64_t value = read_dword(f, align_down(offset, 4)) >> (8 * (offset % 4));

	/* Not aligned: what lies in the next dword is not given. */
	return value & ones(size);
}

static void table_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_function *f = pci_function_of(dev);
	unsigned int v = (unsigned int)(offset / ENTRY_LEN), i = (unsigned int)(offset / 4 % 4);
	uint32_t is = (uint32_t)value & entry_writable[i];

	if (size != 4 || offset % 4 || v >= f->msix_count || f->data.msix_table[v][i] == is)
		return;
	f->data.msix_table[v][i] = is;
	sync_vector(f, v);
	if (i != ENTRY_CONTROL && f->vectors[v].bound)
		bind_to_message(f, v);
}

static const struct bus_ops table_ops = {
	.read = table_read,
	.write = table_write,
	.max_size = 4,
	.region = PCI_REGION_MSIX,
};

static int make_vectors(struct pci_function *f, unsigned int count, struct err *err)
{
	while (f->msix_count < count) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return err_sys(err, errno, "MSI-X vector %u", f->msix_count);
		f->vectors[f->msix_count++] = (struct pci_vector){.fd = fd};
	}
	return 0;
}

int pci_add_msix(struct pci_function *f, unsigned int bar, unsigned int count, struct err *err)
{
	uint8_t body[CAP_MSIX_LEN - 2] = {0};
	const uint8_t writable[CAP_MSIX_LEN - 2] = {[1] = (CONTROL_ENABLED | CONTROL_MASKED) >> 8};
	int ret;

	bug_on(!count || count > PCI_MSIX_MAX || f->msix_cap);
	ret = pci_add_bar(f, bar, PCI_BAR_MEM32, BAR_LEN, &table_ops, err);
	if (!ret)
		ret = make_vectors(f, count, err);
	if (ret)
		return ret;
	store_le16(body, (uint16_t)(count - 1));
	store_le32(body + MSIX_TABLE - 2, bar);
	store_le32(body + MSIX_PBA - 2, PBA_AT | bar);
	f->msix_cap = pci_add_cap(f, CAP_MSIX, CAP_MSIX_LEN, body, writable, false);
	pci_reset_msix(f);
	return 0;
}

/* The function is as at power-on: nothing is bound. */
void pci_remove_msix(struct pci_function *f)
{
	while (f->msix_count)
		close(f->vectors[--f->msix_count].fd);
}

bool pci_msix_enabled(const struct pci_function *f)
{
	return atomic_load(&f->msix_on);
}

int pci_msix_fd(const struct pci_function *f, unsigned int vector)
{
	return vector < f->msix_count ? f->vectors[vector].fd : -1;
}

void pci_msix_raise(struct pci_function *f, unsigned int vector)
{
	const uint64_t one = 1;

	if (vector >= f->msix_count || !pci_msix_enabled(f))
		return;
	trace_event(TRACE_SIGNAL, f->dev->number, 0, 0, vector, 0, 0);
	/* EAGAIN: it holds as many as it can, so the vector is pending. */
	while (write(f->vectors[vector].fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}
