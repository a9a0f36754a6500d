/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * irq - interrupt lines and messages, from devices to whatever delivers them.
 *
 * A gsi (global system interrupt) is a wire. Every device that drives it owns a struct irq_line;
 * the wire is high while any of them is (wired-OR). Whoever listens hears of each change of the
 * wire, in order:
 *
 *	device --irq_line--> wire --> chips (8259A pair, IOAPIC: devices of this machine)
 *	                          `-> sink  (the processors; with chips of their own, or none)
 *	chips --msi_send(), irqs_set_intr()--> sink
 *
 * The sink is KVM, or a recorder in tests. A machine has chips of its own or a sink with chips.
 *
 * A line belongs to its device and is driven under that device's lock; lines that share a gsi may
 * be driven from different threads. The wires' lock is of rank LOCK_WIRE: a listener may take the
 * lock of an interrupt chip, and a chip under its own lock drives no wire.
 */
#ifndef SKEP_IRQ_H
#define SKEP_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct irqs;
struct trace;

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
	/*
	 * INTR, the wire from the 8259A pair to the boot processor, changed. While it is high the
	 * sink calls irqs_acknowledge() as soon as that processor takes interrupts. Any thread, a
	 * chip's lock held. May be NULL.
	 */
	void (*intr)(void *arg, bool level);
	/*
	 * Pin @pin of the IOAPIC sends @msi level-triggered from now on (NULL: no longer), so
	 * that the sink calls irqs_eoi() when a processor ends its vector. The IOAPIC's lock held.
	 * May be NULL.
	 */
	void (*watch)(void *arg, unsigned int pin, const struct msi *msi);
	void *arg;
};

/* An interrupt chip that is a device of this machine. Its functions take its own lock. */
struct irq_chip {
	/* The wire changed. Called with the wire's lock held. */
	void (*set)(struct irq_chip *chip, unsigned int gsi, bool level);
	/* A processor ended level-triggered vector @vector. vCPU thread, no lock. May be NULL. */
	void (*eoi)(struct irq_chip *chip, uint8_t vector);
	/*
	 * Interrupt acknowledge: the vector that the processor takes, or -1 when there is none
	 * any more. vCPU thread, no lock. NULL: this chip has no INTR.
	 */
	int (*acknowledge)(struct irq_chip *chip);
	/* Private to irq. */
	struct irq_chip *next;
};

struct irq_line {
	struct irqs *irqs;
	unsigned int gsi;
	bool level;
	uint8_t device; /* whose it is, in the trace */
};

int irqs_create(struct irqs **irqs, struct err *err);
void irqs_destroy(struct irqs *irqs);

/*
 * The lines that are attached from now on are those of @device in @trace, which may be NULL. NULL
 * @irqs is allowed.
 */
void irqs_record(struct irqs *irqs, struct trace *trace, unsigned int device);

/* Before the machine runs. NULL: interrupts go nowhere. */
void irqs_set_sink(struct irqs *irqs, const struct irq_sink *sink);

/* From the chip's create and destroy. At most one chip has an INTR: -EEXIST. */
int irqs_add_chip(struct irqs *irqs, struct irq_chip *chip, struct err *err);
/* Legal on a chip that was never added. */
void irqs_remove_chip(struct irqs *irqs, struct irq_chip *chip);

/* From the chip with the INTR, under its lock. */
void irqs_set_intr(struct irqs *irqs, bool level);
/* From the IOAPIC, under its lock: see irq_sink.watch. */
void irqs_watch(struct irqs *irqs, unsigned int pin, const struct msi *msi);

/* From the sink, on a vCPU thread. */
int irqs_acknowledge(struct irqs *irqs);
void irqs_eoi(struct irqs *irqs, uint8_t vector);

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
