/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"

/* The linker gives every section whose name is a C identifier these two symbols. Weak: a program
 * may be linked without any device. */
extern const struct device_class *const __start_skep_classes[] __attribute__((weak));
extern const struct device_class *const __stop_skep_classes[] __attribute__((weak));

size_t class_table(const struct device_class **table, size_t room)
{
	size_t count = (size_t)(__stop_skep_classes - __start_skep_classes);
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		const struct device_class *class = __start_skep_classes[i];
		size_t at;

		if (n == room) {
			if (!room || strcmp(table[n - 1]->name, class->name) < 0)
				continue;
			n--; /* a full table loses its last */
		}
		for (at = n++; at && strcmp(class->name, table[at - 1]->name) < 0; at--)
			table[at] = table[at - 1];
		table[at] = class;
	}
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
