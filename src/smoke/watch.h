/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watch - a judge at a machine: what its consoles say reaches the judge, what the judge sends
 * reaches them, and the verdict ends the machine.
 *
 * Threads that put bytes only leave them in a buffer; the control thread takes them to the judge in
 * batches. Who finds his buffer full judges it himself, so a guest is never faster than its judge.
 */
#ifndef SRC_SMOKE_WATCH_H
#define SRC_SMOKE_WATCH_H

#include <stdint.h>

struct ending;
struct err;
struct judge;
struct vm;
struct watch;

/*
 * Behind vm_create(), before vm_run(). @j outlives the watch, and is its own until watch_end(). A
 * guest that makes no progress (vm.h) for @hang nanoseconds hangs, and is ended; 0: it may.
 */
int watch_begin(struct watch **w, struct vm *vm, struct judge *j, uint64_t hang, struct err *err);
/* The machine has ended; corrects how. */
void watch_end(struct watch *w, struct ending *ending);
/* The machine is going to be taken apart, whether it ran or not. NULL is allowed. */
void watch_leave(struct watch *w);
/* Behind vm_destroy(). NULL is allowed. */
void watch_free(struct watch *w);

#endif
