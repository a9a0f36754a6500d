/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace - what a machine did, as events of 32 bytes in a ring for each of its threads.
 *
 * Every thread that matters (vCPU, worker, control) has a ring and is its only writer: recording
 * takes no lock and no system call. A ring that is full loses its oldest event for each new one,
 * and the count says how many. The rings lie in a file that is mapped, so what was recorded
 * survives whatever ends the process, or in memory when there is no file. The file's header names
 * threads, devices and interrupts; a reader needs nothing else.
 *
 * A thread that has no ring records nothing, at the price of one branch that is always foretold.
 *
 * The file is made on the host it is read on or one like it: little-endian, 64-bit. It begins with
 * a struct trace_header. All of it is checked by the reader, who may be given any bytes at all.
 */
#ifndef SKEP_TRACE_H
#define SKEP_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/config.h"

struct err;
struct trace;
struct trace_reader;

#define TRACE_THREADS_MAX 384
#define TRACE_DEVICES_MAX 64
#define TRACE_GSIS_MAX    64
#define TRACE_RANGES_MAX  8
#define TRACE_TEXT_MAX    240

/* What stands where a device's number would: no device, or one that nobody knows. */
#define TRACE_NO_DEVICE 255
/* In @sub of an access: it was to memory, not to a port. The rest is the range's region. */
#define TRACE_MEMORY 0x80

/* Kinds of events. What is not said of @sub, @size, @device, a, b and c is 0 (TRACE_NO_DEVICE). */
enum trace_kind {
	TRACE_NONE, /* never recorded */

	/* vCPUs. An access, and what comes of it, is recorded between its EXIT and the next ENTER.
	 */
	TRACE_ENTER, /* into the guest */
	TRACE_EXIT, /* out of it; sub: KVM's exit reason; size: of the access; a: see TRACE_EXIT_…;
		       b: port or address of the access, or the vector of an end of interrupt;
		       c: RIP, 0 where KVM does not tell */

	/* Buses. sub: TRACE_MEMORY | region; size; device (TRACE_NO_DEVICE: nobody decodes it);
	   a: offset in the range; b: value; c: address */
	TRACE_READ,
	TRACE_WRITE,

	/* Interrupts. */
	TRACE_IRQ,  /* a wire changed; a: gsi; sub: level */
	TRACE_INTA, /* 8259A pair gave a vector away; device; a: irq 0 to 15; b: vector; sub: 1 if
		       spurious */
	TRACE_DELIVER, /* IOAPIC sent a pin's interrupt; device; a: pin; b: vector; sub: 1 if level
			*/
	TRACE_EOI,    /* a chip's line was ended; device; a: irq or pin; b: vector, if known; sub: 1
			 if by itself (AEOI) */
	TRACE_MSI,    /* message sent by the process; b: address; c: data */
	TRACE_SIGNAL, /* message sent by signalling its eventfd; device; a: vector of its table;
			 sub: queue */
	TRACE_BIND,   /* what that signal means from now on; device; a: vector of its table;
			 b: address; c: data */

	/* Virtqueues. device; sub: queue */
	TRACE_NOTIFY,  /* the driver rang; b: how often since it was last looked at */
	TRACE_POP,     /* chain taken; a: its id; b: bytes to read; c: bytes to write */
	TRACE_DONE,    /* chain done; a: its id; b: bytes written */
	TRACE_PUBLISH, /* what was done is the driver's again; a: 1 if it is interrupted */
	TRACE_BROKEN,  /* the device needs a reset; text: why. sub: 255 if no queue is to blame */

	/* Workers. */
	TRACE_SUBMIT,   /* operations handed to the host; a: how many */
	TRACE_COMPLETE, /* completions taken; a: how many */

	/* Virtual time. device; b: virtual time of the deadline */
	TRACE_TIMER_ARM,
	TRACE_TIMER_FIRE, /* c: ns by which it is late */

	/* The machine. */
	TRACE_MAP,   /* a range appeared on a bus, or moved; sub as an access's; device; a: 1 if it
			went; b: address; c: bytes */
	TRACE_RESET, /* of a device, or of the machine (no device) */
	TRACE_PHASE, /* sub: enum trace_phase; may be earlier than what its thread recorded before
		      */
	TRACE_END,   /* sub: enum end_kind; size: code; text: reason */
	TRACE_MARK,  /* text: whatever somebody found worth a mark */

	/* What lint.h wants to know besides. */
	TRACE_HALTED, /* a vCPU was asked, and found halted; sub: 1 if interrupts are on; a: of its
			 local APIC, the highest vector in service in 15:8, the highest that waits
			 in 7:0, 0 for none; b: 1 if its timer may bring one; c: 1 if one that the
			 8259A pair gave away may not have arrived */
	TRACE_HEAD,   /* the first descriptor of a chain; device; sub: queue; size: 1 when the chain
			 is done, 0 when it is taken; a: length; b: address; c: number in 31:16,
			 flags */
	TRACE_REMARK, /* what only the device knows of an access; device; sub: enum trace_remark */

	TRACE_MORE, /* the text of the event before goes on; readers do not see it */
	TRACE_KINDS
};

enum trace_remark {
	TRACE_EMPTY_READ,    /* register a was read, and held no data */
	TRACE_FIXED_WRITE,   /* register a was written b, and is read-only */
	TRACE_BLIND_READ,    /* register a was read, and is write-only */
	TRACE_STATUS_READ,   /* virtio: the driver read status b */
	TRACE_STATUS_WRITE,  /* it wrote status a, which was b and is c */
	TRACE_FEATURES_LATE, /* it wrote features behind FEATURES_OK */
	TRACE_QUEUE_ENABLE,  /* of queue a, at status b; c: 1 if its areas have addresses */
	TRACE_QUEUE_DEAF,    /* queue a was rung, which does not run, at status b */
	TRACE_REMARKS
};

/* Flags of a packed ring's descriptor that say whose it is (virtio 1.2, section 2.8.1). */
#define TRACE_PACKED_FLAGS 0x8080U

/* In a of TRACE_EXIT; the count of a string access is in the upper 16 bits (65,535: or more). */
#define TRACE_EXIT_WRITE       1U
#define TRACE_EXIT_COUNT_SHIFT 16

enum trace_phase {
	TRACE_CREATED,   /* assembly began */
	TRACE_ASSEMBLED, /* devices and processors are there */
	TRACE_LOADED,    /* the kernel is in memory */
	TRACE_RUNNING,   /* vCPUs start, first and behind each reset */
	TRACE_STOPPED,   /* all are out of the guest */
	TRACE_PAUSED,
	TRACE_RESUMED,
	TRACE_PHASES
};

#define TRACE_INLINE_TEXT 20

struct trace_event {
	uint64_t time; /* clock_now()'s */
	uint8_t kind;  /* enum trace_kind */
	uint8_t sub;
	uint8_t size;
	uint8_t device; /* its number in the header */
	union {
		struct {
			uint32_t a;
			uint64_t b;
			uint64_t c;
		} __attribute__((packed));
		char text[TRACE_INLINE_TEXT]; /* not ended if full */
	};
};
_Static_assert(sizeof(struct trace_event) == 32, "an event has 32 bytes");

/* The header */

enum trace_thread_kind { TRACE_CONTROL, TRACE_VCPU, TRACE_WORKER, TRACE_THREAD_KINDS };

struct trace_thread {
	char name[16];
	uint8_t kind;    /* enum trace_thread_kind */
	uint8_t pad[3];  /* zeroes */
	uint32_t index;  /* vCPU or worker number */
	uint64_t offset; /* of the ring in the file */
	uint64_t room;   /* events of the ring */
	/* Events so far: number n is at n modulo @room. Of those overwritten, the one behind the
	 * last may be half-written. */
	uint64_t count;
	/* A cache line each, for each is written all the time by a thread of its own. */
	uint64_t reserved[2];
};
_Static_assert(sizeof(struct trace_thread) == 64, "a cache line");

struct trace_range {
	uint64_t at;
	uint64_t len; /* 0: no such range now */
	uint8_t sub;  /* TRACE_MEMORY | region */
	uint8_t pad[7];
};

struct trace_device {
	char id[32];
	char model[24];
	struct trace_range ranges[TRACE_RANGES_MAX];
};

#define TRACE_MAGIC   "skeptrc"
#define TRACE_VERSION 1

struct trace_header {
	char magic[8];
	uint32_t version;
	uint32_t header_bytes;
	uint32_t event_bytes;
	uint32_t thread_count;
	uint32_t device_count;
	uint32_t closed;     /* 1: by its maker; 0: by the end of the process, or not yet */
	uint64_t start;      /* clock_now() when recording began */
	uint64_t start_real; /* the same moment in ns since 1970 */
	char maker[32];      /* "skep 0.1.0" */
	char name[64];       /* the machine's */
	/* Entry n: bit i is device i, which drives gsi n. */
	uint64_t gsis[TRACE_GSIS_MAX];
	uint64_t reserved[6];
	struct trace_thread threads[TRACE_THREADS_MAX];
	struct trace_device devices[TRACE_DEVICES_MAX];
};
_Static_assert(offsetof(struct trace_header, threads) % 64 == 0, "threads begin with a cache line");

/* One event as a consumer sees it, from a file or live. */
struct trace_record {
	struct trace_event event;
	unsigned int thread; /* its number in the header */
	uint64_t rip;        /* of the last exit on this thread; 0: unknown */
	const char *text;    /* of kinds that have one, made safe to print; else "" */
};

/* Recording */

struct trace_options {
	const char *path; /* NULL: in memory only, for a tap */
	uint64_t size;    /* of the file */
	bool memory;      /* also without a file */
};
extern const struct option trace_option_table[];
#define TRACE_SIZE_DEFAULT (UINT64_C(32) << 20)
#define TRACE_SIZE_MIN     (UINT64_C(1) << 20)
#define TRACE_SIZE_MAX     (UINT64_C(64) << 30)

/* Makes the file anew, and has the host keep the room for it. @name is the machine's. */
int trace_create(struct trace **trace, const struct trace_options *options, const char *name,
		 struct err *err);
/* No thread records any more. NULL is allowed. */
void trace_destroy(struct trace *trace);
/* The header as it stands. */
const struct trace_header *trace_header(const struct trace *trace);

/* A thread's ring; before trace_start(). NULL when there are too many threads. NULL @trace: NULL.
 */
struct trace_ring *trace_ring(struct trace *trace, enum trace_thread_kind kind, unsigned int index,
			      const char *name);
/* Every thread has said that it is there: shares the room out. No thread records before. */
void trace_start(struct trace *trace);

/* The calling thread records into @ring from now on, nothing if NULL. */
void trace_enter(struct trace_ring *ring);

/* The header's tables; any thread, NULL @trace is allowed. */

/* Returns its number, TRACE_NO_DEVICE past the last or without @trace. */
unsigned int trace_device(struct trace *trace, const char *id, const char *model);
/* @device drives @gsi. */
void trace_gsi(struct trace *trace, unsigned int device, unsigned int gsi);
/* @device is reached at [@at, @at + @len) from now on (0: no longer, by @sub and @at). */
void trace_range(struct trace *trace, unsigned int device, unsigned int sub, uint64_t at,
		 uint64_t len);

/*
 * A tap hears of every event at once, on the thread that records it, whatever locks that holds: it
 * takes none, records nothing, and touches nothing of the machine. Calls do not overlap. Before
 * trace_start(); slow is allowed.
 */
struct trace_tap {
	void (*event)(struct trace_tap *tap, const struct trace_record *record);
	struct trace_tap *next; /* private */
};
void trace_add_tap(struct trace *trace, struct trace_tap *tap);

/* The calling thread's ring; trace_enter() sets it, nobody else does. */
extern _Thread_local struct trace_ring *trace_self __attribute__((tls_model("initial-exec")));

static inline bool trace_on(void)
{
	return __builtin_expect(trace_self != NULL, 0);
}

/* Only if trace_on(). Fills in the time. */
void trace_put(enum trace_kind kind, unsigned int device, unsigned int sub, unsigned int size,
	       uint32_t a, uint64_t b, uint64_t c);
/* The event as it is, but for a time of 0. */
void trace_put_event(const struct trace_event *event);
/* One of the kinds that have a text; what is beyond TRACE_TEXT_MAX bytes is cut. */
void trace_put_text(enum trace_kind kind, unsigned int device, unsigned int sub, unsigned int size,
		    const char *text);

/* Records, if the thread does; the arguments are not looked at if not. */
#define trace_event(...)                        \
	do {                                    \
		if (trace_on())                 \
			trace_put(__VA_ARGS__); \
	} while (0)
#define trace_text(...)                              \
	do {                                         \
		if (trace_on())                      \
			trace_put_text(__VA_ARGS__); \
	} while (0)

/* The exits that a vCPU had last: recorded at all times, by its own thread. */
#define TRACE_LAST_EXITS 256
struct trace_exits {
	uint64_t count;
	struct trace_event events[TRACE_LAST_EXITS];
};

static inline void trace_exits_add(struct trace_exits *exits, const struct trace_event *event)
{
	exits->events[exits->count++ % TRACE_LAST_EXITS] = *event;
}

/* The last @room of them at most, oldest first; returns how many. The thread stands still. */
size_t trace_exits_copy(const struct trace_exits *exits, struct trace_event *events, size_t room);

/* Reading */

/*
 * Checks the header; what is wrong with the file is in @err (-EBADMSG when it is no trace, or a
 * garbled one). A file that is still being written gives what is there by now.
 */
int trace_open(struct trace_reader **reader, const char *path, struct err *err);
/* The same of @size bytes at @bytes, which outlive the reader. */
int trace_open_memory(struct trace_reader **reader, const void *bytes, size_t size,
		      struct err *err);
void trace_close(struct trace_reader *reader);

/* Checked: names end and are printable, numbers are in their bounds. */
const struct trace_header *trace_reader_header(const struct trace_reader *reader);
/* Events in the file, and those lost because newer ones took their room. */
uint64_t trace_reader_events(const struct trace_reader *reader);
uint64_t trace_reader_lost(const struct trace_reader *reader);

/*
 * The next event of all threads, by time: 1; 0 behind the last; -EBADMSG for one that cannot be.
 * Times never go back, and are never before the header's start. @record->text lives until the next
 * call.
 */
int trace_next(struct trace_reader *reader, struct trace_record *record, struct err *err);
/* From the first one again. */
void trace_rewind(struct trace_reader *reader);

/* "exit", "write", …; NULL past the last. */
const char *trace_kind_name(unsigned int kind);
const char *trace_phase_name(unsigned int phase);
/* Of a device's number in an event: its id, or "nobody". */
const char *trace_device_id(const struct trace_header *header, unsigned int device);

#endif
