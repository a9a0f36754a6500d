/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * script - a file that says what is expected of a guest: a word and its text a line.
 *
 *	# a comment, as are empty lines
 *	expect REGEX		as --expect, and so on
 *	within SECONDS
 *	send TEXT
 *	wait SECONDS		let time go by; what comes meanwhile meets nothing
 *	forbid REGEX
 *	pass REGEX		whenever the guest says this, it is enough
 *	fail REGEX		whenever the guest says this, it has failed as by a pattern
 *	patterns LIST
 *	until-end
 *
 * The text is what stands behind the word and one blank or tab, up to the end of the line, with
 * blanks at its end. Lines end with LF or CR LF.
 */
#ifndef SRC_SMOKE_SCRIPT_H
#define SRC_SMOKE_SCRIPT_H

#include <stddef.h>

struct err;
struct judge;

/* -EINVAL, and a sentence with @name and the line. Nothing of @text has to be text. */
int script_parse(struct judge *j, const char *name, const char *text, size_t len, struct err *err);
/* The same of file @path; "-" is standard input. */
int script_read(struct judge *j, const char *path, struct err *err);

#endif
