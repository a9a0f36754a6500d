/* SPDX-License-Identifier: BSD-2-Clause */
/* What both pictures need of a file and of a text. */
#ifndef SRC_VIEW_OUT_H
#define SRC_VIEW_OUT_H

#include <jansson.h>
#include <stdio.h>

struct err;

FILE *out_open(const char *path, struct err *err);
/*
 * Closes it. Where something could not be written, or @ret says that something went wrong already,
 * the file goes, and the result is -errno.
 */
int out_close(FILE *out, const char *path, int ret, struct err *err);

/* Any bytes as a JSON string that garbles nothing: see text_safe(). */
json_t *out_text(const char *bytes);

#endif
