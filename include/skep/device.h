/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * device - an instance of a device model, and the machine it sits in.
 *
 * A model embeds a struct device as its first member. What it may touch of the world is in
 * struct machine: guest memory, the two buses, interrupt lines, virtual time, the control worker
 * for host I/O, the log, and the way to end the machine. There is nothing else to include.
 *
 * Every callback of a device (bus access, timer, console input, reset) runs with its lock held;
 * see bus.h and timer.h. Code that enters a device from elsewhere brackets itself with
 * device_lock() and device_unlock().
 */
#ifndef SKEP_DEVICE_H
#define SKEP_DEVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "skep/class.h"
#include "skep/lock.h"

struct bus;
struct chan;
struct chan_tap;
struct config;
struct err;
struct gmem;
struct irqs;
struct keyboard;
struct log;
struct pci;
struct screen;
struct trace;
struct vtime;
struct worker;
struct workers;

/* How a machine comes to its end. */
enum end_kind {
	END_POWEROFF,     /* the guest powered off */
	END_CODE,         /* the guest wrote its own code to the exit port */
	END_PANIC,        /* the guest's kernel panicked and said so */
	END_RESET,        /* the guest asked for a reset */
	END_TRIPLE_FAULT, /* a vCPU shut down */
	END_STUCK,        /* KVM could not go on with the guest */
	END_HALTED,       /* no vCPU can ever wake again */
	END_USER,         /* a person ended it */
	END_TIMEOUT,      /* the time given ran out */
	END_SIGNAL,       /* a signal ended skep: code is its number */
	END_HOST,         /* the host failed skep */
	END_BUDGET,       /* it ended well, and took longer than it was allowed to */
	END_MET,          /* it said what was expected */
	END_UNMET,        /* it did not, or said what is forbidden */
	END_LINT,         /* it ended well, and did what it should not */
};

struct ending {
	enum end_kind kind;
	unsigned int code;
	bool orderly;     /* END_UNMET of a guest that had ended well by itself */
	char reason[384]; /* one sentence */
};

struct machine {
	struct gmem *mem;
	struct bus *ports;
	struct bus *mmio;
	struct irqs *irqs;
	struct vtime *time;
	struct worker *control;
	struct workers *workers; /* for host I/O beside it */
	struct pci *pci;
	struct log *log;
	struct screen *screen;     /* NULL: there is none */
	struct keyboard *keyboard; /* the same */
	struct trace *trace;       /* NULL: nothing is recorded */
	bool linux_guest;          /* its drivers know what specifications allow and few do */

	/*
	 * Ends the machine: the first call wins, later ones are ignored. Any thread, any lock up
	 * to LOCK_CHIP held; returns at once, the vCPUs leave the guest soon after.
	 */
	void (*end)(struct machine *m, const struct ending *ending);

	/*
	 * The guest says that it has got somewhere, which it calls @name. As end. NULL: nobody
	 * listens.
	 */
	void (*mark)(struct machine *m, const char *name);

	/*
	 * Pauses the machine, or has it go on if it is paused; returns whether it is paused now.
	 * Control thread, no lock held.
	 */
	bool (*toggle_pause)(struct machine *m);

	/* Grows as devices on workers get work done. */
	atomic_ulong signs;

	/* Consoles neither say nor take anything. Changed while no vCPU runs. */
	bool silent;

	/* chan.c's own. */
	struct chan *chans; /* those that are open */
	struct chan_tap *taps;
};

struct device {
	const struct device_class *class;
	struct machine *machine;
	struct lock lock;
	char id[32];    /* its name in the config tree: device.ID.… */
	uint8_t number; /* in the trace: trace.h */
};

/*
 * Makes the instance that the config tree describes: device.@id names its model, device.@id.KEY
 * are its options. Creates and resets it. The caller destroys it. *@dev is NULL on failure.
 */
int device_create(struct device **dev, const char *id, const struct config *config,
		  struct machine *m, struct err *err);
void device_destroy(struct device *dev);

/* To power-on state, as class.h says of reset. No vCPU runs. */
void device_reset(struct device *dev);

/* As class.h says of pause and resume. Devices that do nothing on workers have none. */
void device_pause(struct device *dev);
void device_resume(struct device *dev);

void device_lock(struct device *dev);
void device_unlock(struct device *dev);

/* The struct described by the class's state table; NULL for a device without one. */
void *device_state(struct device *dev);

/*
 * All of a device's states: the model's own, then its family's. The table of number @n, and in *@at
 * its struct; NULL past the last.
 */
const struct state_table *device_state_part(struct device *dev, unsigned int n, void **at);

/* Ends the machine on this device's account. */
void machine_end(struct machine *m, enum end_kind kind, unsigned int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
