/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * irq - interrupt lines and messages, from devices to whatever delivers them.
 *
 * A gsi (global system interrupt) is a wire. Every device that drives it owns a struct irq_line;
 * the wire is high while any of them is (wired-OR). The sink hears of each change of the wire, in
 * order: KVM's chips, skep's own, or a recorder in tests.
 *
 * A line belongs to its device and is driven under that device's lock; lines that share a gsi may
 * be driven from different threads. The wires' lock is of rank LOCK_WIRE: a sink may take the lock
 * of an interrupt chip, and a chip under its own lock drives no wire.
 */
#ifndef SKEP_IRQ_H
#define SKEP_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct irqs;

#define GSI_MAX 64

/* A message-signalled interrupt, as a PCI function would write it. */
struct msi {
	uint64_t address;
	uint32_t data;
};

struct irq_sink {
	/* The wire changed. Called with the wire's lock held: must not call back into irq. */
	void (*set)(void *arg, unsigned int gsi, bool level);
	/* 0, or -errno. */
	int (*msi)(void *arg, const struct msi *msi);
	/*
	 * Lets @fd (an eventfd) raise @msi without this process's help; *@handle names it from
	 * then on. A second call with the same *@handle (not 0) changes the message.
	 */
	int (*bind)(void *arg, int fd, const struct msi *msi, uint32_t *handle, struct err *err);
	void (*unbind)(void *arg, int fd, uint32_t handle);
	void *arg;
};

struct irq_line {
	struct irqs *irqs;
	unsigned int gsi;
	bool level;
};

int irqs_create(struct irqs **irqs, struct err *err);
void irqs_destroy(struct irqs *irqs);

/* Before the machine runs. NULL: interrupts go nowhere. */
void irqs_set_sink(struct irqs *irqs, const struct irq_sink *sink);

/* Makes @line a driver of @gsi, low. -EINVAL past GSI_MAX: then it drives nothing. */
int irq_attach(struct irqs *irqs, struct irq_line *line, unsigned int gsi, struct err *err);
/* Lowers the line and parts from the wire. Legal on a line that was never attached. */
void irq_detach(struct irq_line *line);

void irq_set(struct irq_line *line, bool level);

/* Raised and lowered: an edge. */
void irq_pulse(struct irq_line *line);

/* 0, or -errno of the sink; -ENODEV without one. */
int msi_send(struct irqs *irqs, const struct msi *msi);
int msi_bind(struct irqs *irqs, int fd, const struct msi *msi, uint32_t *handle, struct err *err);
void msi_unbind(struct irqs *irqs, int fd, uint32_t handle);

#endif
