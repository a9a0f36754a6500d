/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/lock.h"
#include "skep/trace.h"

struct irqs {
	struct lock lock; /* of every wire */
	struct irq_sink sink;
	struct irq_chip *chips; /* fixed while the machine runs */
	uint32_t high[GSI_MAX]; /* how many lines hold the wire high */
	struct trace *trace;
	unsigned int device; /* whose lines are being attached */
};

int irqs_create(struct irqs **irqs, struct err *err)
{
	*irqs = calloc(1, sizeof(**irqs));
	if (!*irqs)
		return err_sys(err, ENOMEM, "interrupt lines");
	lock_init(&(*irqs)->lock, LOCK_WIRE);
	(*irqs)->device = TRACE_NO_DEVICE;
	return 0;
}

void irqs_record(struct irqs *irqs, struct trace *trace, unsigned int device)
{
	if (!irqs)
		return;
	irqs->trace = trace;
	irqs->device = device;
}

void irqs_destroy(struct irqs *irqs)
{
	if (!irqs)
		return;
	lock_destroy(&irqs->lock);
	free(irqs);
}

void irqs_set_sink(struct irqs *irqs, const struct irq_sink *sink)
{
	irqs->sink = sink ? *sink : (struct irq_sink){0};
}

int irqs_add_chip(struct irqs *irqs, struct irq_chip *chip, struct err *err)
{
	for (struct irq_chip *c = irqs->chips; c && chip->acknowledge; c = c->next)
		if (c->acknowledge)
			return err_set(err, EEXIST, "a machine has one 8259A pair");
	chip->next = irqs->chips;
	irqs->chips = chip;
	return 0;
}

void irqs_remove_chip(struct irqs *irqs, struct irq_chip *chip)
{
	struct irq_chip **p = &irqs->chips;

	while (*p && *p != chip)
		p = &(*p)->next;
	if (*p)
		*p = chip->next;
}

void irqs_set_intr(struct irqs *irqs, bool level)
{
	if (irqs->sink.intr)
		irqs->sink.intr(irqs->sink.arg, level);
}

void irqs_watch(struct irqs *irqs, unsigned int pin, const struct msi *msi)
{
	if (irqs->sink.watch)
		irqs->sink.watch(irqs->sink.arg, pin, msi);
}

int irqs_acknowledge(struct irqs *irqs)
{
	for (struct irq_chip *c = irqs->chips; c; c = c->next)
		if (c->acknowledge)
			return c->acknowledge(c);
	return -1;
}

void irqs_eoi(struct irqs *irqs, uint8_t vector)
{
	for (struct irq_chip *c = irqs->chips; c; c = c->next)
		if (c->eoi)
			c->eoi(c, vector);
}

int irq_attach(struct irqs *irqs, struct irq_line *line, unsigned int gsi, struct err *err)
{
	*line = (struct irq_line){0};
	if (gsi >= GSI_MAX)
		return err_set(err, EINVAL, "interrupt %u: there are %d lines, 0 to %d", gsi,
			       GSI_MAX, GSI_MAX - 1);
	*line = (struct irq_line){.irqs = irqs, .gsi = gsi, .device = (uint8_t)irqs->device};
	trace_gsi(irqs->trace, irqs->device, gsi);
	return 0;
}

void irq_detach(struct irq_line *line)
{
	if (!line->irqs)
		return;
	irq_set(line, false);
	line->irqs = NULL;
}

static void tell(struct irqs *irqs, unsigned int gsi, bool level)
{
	if (irqs->sink.set)
		irqs->sink.set(irqs->sink.arg, gsi, level);
	for (struct irq_chip *c = irqs->chips; c; c = c->next)
		c->set(c, gsi, level);
}

void irq_set(struct irq_line *line, bool level)
{
	struct irqs *irqs = line->irqs;
	bool was, is;

	if (!irqs || line->level == level)
		return;
	line->level = level;
	lock_take(&irqs->lock);
	was = irqs->high[line->gsi];
	if (level)
		irqs->high[line->gsi]++;
	else
		irqs->high[line->gsi]--;
	is = irqs->high[line->gsi];
	if (was != is) {
		trace_event(TRACE_IRQ, line->device, is, 0, line->gsi, 0, 0);
		tell(irqs, line->gsi, is);
	}
	lock_drop(&irqs->lock);
}

void irq_pulse(struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

int msi_send(struct irqs *irqs, const struct msi *msi)
{
	trace_event(TRACE_MSI, TRACE_NO_DEVICE, 0, 0, 0, msi->address, msi->data);
	return irqs->sink.msi ? irqs->sink.msi(irqs->sink.arg, msi) : -ENODEV;
}

int msi_bind(struct irqs *irqs, int fd, const struct msi *msi, uint32_t *handle, struct err *err)
{
	if (!irqs->sink.bind)
		return err_set(err, ENODEV, "nothing delivers message-signalled interrupts");
	return irqs->sink.bind(irqs->sink.arg, fd, msi, handle, err);
}

void msi_unbind(struct irqs *irqs, int fd, uint32_t handle)
{
	if (irqs->sink.unbind)
		irqs->sink.unbind(irqs->sink.arg, fd, handle);
}
