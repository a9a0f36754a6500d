/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"

/* The linker gives every section whose name is a C identifier these two symbols. Weak: a program
 * may be linked without any device. */
extern const struct device_class *const __start_skep_classes[] __attribute__((weak));
extern const struct device_class *const __stop_skep_classes[] __attribute__((weak));

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct device_class *const *)a)->name,
		      (*(const struct device_class *const *)b)->name);
}

size_t class_table(const struct device_class **table, size_t room)
{
	size_t count = (size_t)(__stop_skep_classes - __start_skep_classes);
	size_t n = MIN(count, room);

	for (size_t i = 0; i < n; i++)
		table[i] = __start_skep_classes[i];
	qsort(table, n, sizeof(const struct device_class *), by_name);
	return count;
}

const struct device_class *class_find(const char *name, struct err *err)
{
	const struct device_class *table[CLASS_MAX];
	const char *words[CLASS_MAX + 1];
	size_t n = MIN(class_table(table, CLASS_MAX), (size_t)CLASS_MAX);
	const char *near;

	for (size_t i = 0; i < n; i++) {
		if (!strcmp(table[i]->name, name))
			return table[i];
		words[i] = table[i]->name;
	}
	words[n] = NULL;
	near = nearest_word(name, words);
	if (near)
		err_set(err, ENOENT, "there is no device model '%.64s'; did you mean '%s'?", name,
			near);
	else
		err_set(err, ENOENT, "there is no device model '%.64s'; `skep devices` lists them",
			name);
	return NULL;
}
