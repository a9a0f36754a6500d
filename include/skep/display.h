/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * display - the machine's text screen on the terminal that skep was started on, and that
 * terminal's keys in the machine's keyboard.
 *
 * The terminal is a channel of its own (chan.h, "stdio"): it is raw, Ctrl-a escapes work, and it is
 * put back whatever happens. It is looked after by the control worker: some 30 times a second what
 * has changed is written, a few times while nothing does. A terminal that is slow misses frames,
 * and holds nobody up.
 */
#ifndef SKEP_DISPLAY_H
#define SKEP_DISPLAY_H

struct device;
struct display;
struct err;

/*
 * Shows the screen of @dev's machine, which is @dev; from its create. -ENOTTY when standard output
 * is no terminal, -EBUSY when standard input and output are taken, or what the host says.
 */
int display_open(struct display **d, struct device *dev, struct err *err);

/* Control thread; no vCPU runs. The terminal is as it was before. NULL is allowed. */
void display_close(struct display *d);

#endif
