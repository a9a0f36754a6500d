/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the rules share. lint.c has the table of rules and what was found; each of the others keeps
 * account of one kind of device and has the rules about it.
 */
#ifndef SRC_LINT_LINT_PRIV_H
#define SRC_LINT_LINT_PRIV_H

#include "skep/kvm.h"
#include "skep/lint.h"
#include "skep/trace.h"

/* Numbers of the rules in the table. */
enum lint_rule_id {
	RULE_ICW_ORDER,
	RULE_ICW_VALUE,
	RULE_EOI_MISSING,
	RULE_EOI_MASTER_ONLY,
	RULE_EOI_SLAVE_ONLY,
	RULE_EOI_NOTHING,
	RULE_EOI_APIC,
	RULE_NO_HANDLER,
	RULE_EXCEPTION_VECTOR,
	RULE_ALL_MASKED,
	RULE_TICK_LOST,
	RULE_RING_FIRST,
	RULE_RING_CHANGED,
	RULE_RING_LOOP,
	RULE_RING_BROKEN,
	RULE_VIRTIO_ORDER,
	RULE_VIRTIO_FEATURES,
	RULE_VIRTIO_EARLY,
	RULE_READ_ONLY,
	RULE_WRITE_ONLY,
	RULE_EMPTY_READ,
	RULE_NOBODY,
	RULES
};

/* The 8259A pair: lint_pic.c. */
#define PIC_INPUTS 8U

enum pic_stage { STAGE_UNKNOWN, STAGE_OFF, STAGE_ICW2, STAGE_ICW3, STAGE_ICW4, STAGE_READY };

/* An interrupt in service. */
struct pic_service {
	uint64_t since;
	uint64_t handler;    /* 0: not known */
	unsigned int others; /* interrupts that were taken and ended meanwhile */
	bool told;
	bool master_ended; /* of the slave's: the master heard of its end */
};

struct lint_pic {
	struct {
		enum pic_stage stage;
		uint8_t icw1, icw4, base, mask, elcr;
		uint8_t service, edges, wires; /* ISR; requests of edges; inputs that are high */
		uint8_t lowest;                /* the input of lowest priority */
		bool special, polled, rotates, reads_isr;
		bool blind; /* what is in service is not known */
		struct pic_service of[PIC_INPUTS];
	} chip[2];
	/* Of interrupt 0: */
	bool ticked;         /* it was taken before */
	bool moved;          /* the guest did something since the last tick */
	bool lost;           /* enough of them to be told of */
	unsigned int missed; /* ticks in a row */
};

/* The IOAPIC and the local APICs: lint_apic.c. */
#define APIC_PINS 24U
struct lint_apic {
	uint8_t select;
	uint64_t entries[APIC_PINS];
	/* Vectors that were sent and whose gates nobody has looked at. */
	uint64_t sent[4];
	unsigned int patience; /* how often they are still looked for */
	bool messages;         /* of devices may come */
};

/* Virtio: lint_virtio.c. */
#define CHAINS_WATCHED 512U
struct lint_chain {
	uint64_t address;
	uint32_t len;
	uint32_t number; /* of the descriptor in 31:16, and its flags */
	uint8_t device, queue;
	bool used;
};

struct lint_virtio {
	bool asked[TRACE_DEVICES_MAX]; /* the driver has read the status behind FEATURES_OK */
	struct lint_chain chains[CHAINS_WATCHED];
};

/* Accesses that nothing decodes: lint_access.c. */
#define PLACES_WATCHED 16U
struct lint_access {
	struct {
		uint64_t at;
		uint64_t age;
		unsigned int count;
		bool memory, told;
	} places[PLACES_WATCHED];
	uint64_t clock;
};

struct lint {
	const struct trace_header *header;
	const struct lint_live *live;
	void (*told)(void *arg, const struct lint_finding *finding);
	void *arg;
	bool from_power_on;
	const struct trace_record *now; /* the event that is being looked at; NULL at the end */
	uint64_t end;                   /* then: when that was */

	struct lint_pic pic;
	struct lint_apic apic;
	struct lint_virtio virtio;
	struct lint_access access;

	uint64_t untold[RULES];
	unsigned int told_of[RULES];
	size_t count;
	struct lint_finding findings[RULES * LINT_TOLD_MAX];
};

/*
 * @rule is broken by the event at hand. Findings of a rule with the same @key are one. Where it
 * happened is @rip; 0: where the event's vCPU is.
 */
void lint_find(struct lint *lint, enum lint_rule_id rule, uint64_t key, uint64_t rip,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* The vCPU of the event at hand; -1: none. */
int lint_vcpu(const struct lint *lint);
uint64_t lint_time(const struct lint *lint);
/* The model of a device's number; "" when nobody knows. */
const char *lint_model(const struct lint *lint, unsigned int device);
const char *lint_device(const struct lint *lint, unsigned int device);
/* Where @vector leads on the vCPU of the event at hand; false: nobody knows. */
bool lint_gate(const struct lint *lint, uint8_t vector, struct kvm_gate *gate);
/* " (name+0x12)" for an address with a symbol, "" for one without. */
const char *lint_symbol(const struct lint *lint, uint64_t address, char *text, size_t room);

void pic_start(struct lint *lint);
void pic_event(struct lint *lint, const struct trace_event *e);
void pic_finish(struct lint *lint);
/* Whether the pair lets nothing through. False: nobody knows. */
bool pic_is_shut(const struct lint *lint);
/* A device that asks in vain, -1: none; and whether the pair was ever initialized. */
int pic_asks(const struct lint *lint, bool *initialized);

void apic_start(struct lint *lint);
void apic_event(struct lint *lint, const struct trace_event *e);

void virtio_event(struct lint *lint, const struct trace_event *e, const char *text);

void access_event(struct lint *lint, const struct trace_event *e);

#endif
