/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * phases - where the time of a boot goes, from the start of skep to the machine's end.
 *
 * Phases follow one another without a gap:
 *
 *	start		the command line, and the files that it names
 *	assembly	memory, KVM, devices
 *	loader		the kernel and its tables into memory; unpack is the part of that in which
 *			skep decompresses the kernel
 *	entry		threads, up to the first instruction
 *	decompress	a kernel that unpacks itself does so
 *	kernel		up to init, or to the end
 *	init		from Linux's "Run /init as init process", or else from the first mark
 *
 * One that did not come is left out. A mark is a moment that the guest names, by the POST port
 * (devices/post_port.c) or by a line "skep-mark: NAME" on a console; there are PHASE_MARKS_MAX, and
 *of each name the first counts.
 *
 * What happens in the guest is told from what it says. A line of Linux's log begins with the time
 *on the kernel's own clock. The line that came soonest behind its own time, of all of them, says
 *when that clock began; and so when a line was written that a slow console showed later. Only the
 *time up to the machine's first reset is looked at.
 *
 * Every line and every time is the guest's claim: none of it is taken for earlier than the first
 * instruction, or later than the moment at which it was seen. phases_bytes() and phases_mark() are
 * called on any thread, but on one at a time for one console; the rest before the machine runs, or
 * behind its end.
 */
#ifndef SKEP_PHASES_H
#define SKEP_PHASES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/lock.h"

struct device;

#define PHASE_MARKS_MAX 32
#define PHASE_MARK_NAME 24 /* with its terminating zero */
/* What a name consists of. */
#define PHASE_MARK_CHARS   "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_."
#define PHASE_CONSOLES_MAX 4
#define PHASE_LINE         96 /* of a line, what is looked at */

enum phase_kind {
	PHASE_START,
	PHASE_ASSEMBLY,
	PHASE_LOADER,
	PHASE_UNPACK, /* within the former */
	PHASE_ENTRY,
	PHASE_DECOMPRESS,
	PHASE_KERNEL,
	PHASE_INIT,
	PHASE_KINDS,
};

/* What the guest said. Private. */
struct phases {
	struct lock lock;
	bool heard_init; /* only marks are listened for from now on */
	struct phase_console {
		/* NULL: free; taken under the lock. The rest is the console's own. */
		const struct device *_Atomic dev;
		unsigned int len;
		uint64_t began;
		char line[PHASE_LINE];
	} consoles[PHASE_CONSOLES_MAX];
	_Atomic uint64_t first_byte; /* times are clock_now()'s, 0 is never */
	uint64_t unpacked;           /* the kernel's decompressor said that it was done */
	uint64_t zero;               /* of the kernel's clock */
	uint64_t init;               /* when the line came */
	uint64_t init_stamp; /* when it was written, in ns of the kernel's clock; 0: it does not say
			      */
	unsigned int mark_count;
	struct phase_mark {
		uint64_t at;
		char name[PHASE_MARK_NAME];
	} marks[PHASE_MARKS_MAX];
};

void phases_init(struct phases *p);
void phases_fini(struct phases *p);
/*
 * A console of the machine put these out; true when that is how init was heard of. @now of 0 is
 * clock_now(), which is only looked at where a line begins: most consoles put single bytes.
 */
bool phases_bytes(struct phases *p, const struct device *console, const uint8_t *data, size_t len,
		  uint64_t now);
/* A name that is longer than there is room for is cut. */
void phases_mark(struct phases *p, const char *name, uint64_t now);

/* What skep knows by itself. */
struct phase_facts {
	uint64_t started; /* the command */
	uint64_t created;
	uint64_t assembled;
	uint64_t loaded;
	uint64_t first_entry;
	uint64_t first_exit;  /* from then on */
	uint64_t first_reset; /* 0: none */
	uint64_t ended;
	uint64_t unpack_from, unpack_to; /* 0: skep unpacked nothing */
	bool unpacks_itself;
};

/* All times are in ns from facts->started. */
struct timeline {
	struct timeline_phase {
		bool came;
		uint64_t at, took;
	} phases[PHASE_KINDS];
	unsigned int mark_count;
	struct phase_mark marks[PHASE_MARKS_MAX]; /* in order */
	uint64_t total;
};
void phases_timeline(const struct phases *p, const struct phase_facts *facts, struct timeline *t);

/* "start", "assembly", … */
const char *phase_name(enum phase_kind kind);

#endif
