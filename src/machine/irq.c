/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/lock.h"

struct irqs {
	struct lock lock; /* of every wire */
	struct irq_sink sink;
	uint32_t high[GSI_MAX]; /* how many lines hold the wire high */
};

int irqs_create(struct irqs **irqs, struct err *err)
{
	*irqs = calloc(1, sizeof(**irqs));
	if (!*irqs)
		return err_sys(err, ENOMEM, "interrupt lines");
	lock_init(&(*irqs)->lock, LOCK_WIRE);
	return 0;
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

int irq_attach(struct irqs *irqs, struct irq_line *line, unsigned int gsi, struct err *err)
{
	*line = (struct irq_line){0};
	if (gsi >= GSI_MAX)
		return err_set(err, EINVAL, "interrupt %u: there are %d lines, 0 to %d", gsi,
			       GSI_MAX, GSI_MAX - 1);
	*line = (struct irq_line){.irqs = irqs, .gsi = gsi};
	return 0;
}

void irq_detach(struct irq_line *line)
{
	if (!line->irqs)
		return;
	irq_set(line, false);
	line->irqs = NULL;
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
	if (was != is && irqs->sink.set)
		irqs->sink.set(irqs->sink.arg, line->gsi, is);
	lock_drop(&irqs->lock);
}

void irq_pulse(struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

int msi_send(struct irqs *irqs, const struct msi *msi)
{
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
