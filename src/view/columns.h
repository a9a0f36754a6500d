/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events as the page has them: blocks of columns, deflated (RFC 1950) and in base64 (RFC 4648, 4),
 * each in a script element of class "block" that is no script. page.js reads them.
 *
 * A block, before it is deflated: the number of its first event and how many it has, 32 bits each,
 * little-endian; then each column of them, a number for each event. Numbers have seven bits a byte,
 * the least first, and the last byte has its upper bit clear (LEB128). Times are differences from
 * the event before, that of the first in a block from 0.
 *
 * Columns alike lie together, so that deflating them pays, and a block is written when it is full,
 * so that memory does not grow with the trace.
 */
#ifndef SRC_VIEW_COLUMNS_H
#define SRC_VIEW_COLUMNS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

enum column { AT, KIND, THREAD, DEVICE, LINE, TEXT, ADDRESS, VALUE, TOOK, RIP, COLUMNS };

#define COLUMNS_BLOCK 65536 /* events */

struct columns;

/* -ENOSYS and a sentence where libdeflate is not installed. */
int columns_new(struct columns **columns, FILE *out, struct err *err);
void columns_free(struct columns *c);

/* Times do not go back. Returns 0 or -errno. */
int columns_add(struct columns *c, const uint64_t row[COLUMNS]);
/* How many there are. */
uint64_t columns_count(const struct columns *c);
/* Event @number took @took: -ENOENT when it is written already. The last COLUMNS_BLOCK are not. */
int columns_took(struct columns *c, uint64_t number, uint64_t took);
/* Writes what is left. */
int columns_finish(struct columns *c);

/* One more element, of any bytes. */
int columns_bytes(struct columns *c, const void *bytes, size_t len);

/* A text that was packed by gzip when skep was built; the caller frees it. NULL: no memory. */
char *columns_frame(const struct columns *c, const uint8_t *packed, size_t len);

void base64_write(FILE *out, const uint8_t *bytes, size_t len);

#endif
