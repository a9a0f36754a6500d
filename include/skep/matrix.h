/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matrix - a file that says which runs to make: axes with named values, of which each stands for
 * options of `skep smoke`, and a run for every combination.
 *
 *	[all]
 *	--initrd initramfs.cpio --expect 'user space after'
 *
 *	[kernel]
 *	6.1 = --kernel vmlinuz-6.1
 *	6.12 = --kernel vmlinuz-6.12
 *
 *	[cpus]
 *	1 = --cpus 1
 *	4 = --cpus 4
 *
 *	[exclude]
 *	kernel=6.1 cpus=4
 *
 * Options are words as a shell splits them: at blanks, but not within '…' and "…"; a backslash
 * takes the special meaning from the character behind it, within "…" from '"' and '\' only. A word
 * that starts with '#' starts a comment, and a backslash at the end of a line joins it with the
 * next. Nothing is expanded.
 *
 * The file is a person's, and may be anybody's: all of it is bounded, and a mistake is one sentence
 * that begins with FILE:LINE. Control thread.
 */
#ifndef SKEP_MATRIX_H
#define SKEP_MATRIX_H

#include <stddef.h>

struct err;
struct matrix;

#define MATRIX_AXES_MAX   8u
#define MATRIX_VALUES_MAX 256u   /* of an axis */
#define MATRIX_RUNS_MAX   10000u /* with those that are excluded */
#define MATRIX_WORD_MAX   32u    /* bytes in the name of an axis or a value */
#define MATRIX_FILE_MAX   ((size_t)1024 * 1024)
/* "axis=value,axis=value" */
#define MATRIX_NAME_MAX (MATRIX_AXES_MAX * 2 * (MATRIX_WORD_MAX + 1))

/* What a line says: the words lie one behind the other, NULL behind the last. */
struct matrix_options {
	unsigned int line;
	unsigned int count;
	char **words;
};

/* One combination; what it points to belongs to the matrix. */
struct matrix_run {
	char name[MATRIX_NAME_MAX];
	unsigned int axes;
	const char *axis[MATRIX_AXES_MAX];
	const char *value[MATRIX_AXES_MAX];
	const struct matrix_options *options[MATRIX_AXES_MAX];
};

/* -EINVAL and the place of the mistake, or what the host says. */
int matrix_read(struct matrix **m, const char *path, struct err *err);
/* The same from memory; @path is what messages call it. */
int matrix_parse(struct matrix **m, const char *path, const char *text, size_t len,
		 struct err *err);
void matrix_free(struct matrix *m); /* NULL is allowed */

/* What messages call the file. */
const char *matrix_path(const struct matrix *m);
/* The lines of [all], in order; NULL past the last. */
const struct matrix_options *matrix_all(const struct matrix *m, unsigned int n);
/* How many combinations there are that are not excluded; at least one. */
unsigned int matrix_runs(const struct matrix *m);
/* Combination @n of them: the last axis turns fastest, as the axes stand in the file. */
void matrix_run(const struct matrix *m, unsigned int n, struct matrix_run *run);

#endif
