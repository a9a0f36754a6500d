/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep devices - the device table, and what can be said to each model.
 */
#include <stdio.h>
#include <string.h>

#include "cli_priv.h"
#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"

static const char *type_word(const struct option *o)
{
	switch (o->type) {
	case OPTION_BOOL:
		return "on|off";
	case OPTION_UINT:
		return "NUMBER";
	case OPTION_SIZE:
		return "SIZE";
	case OPTION_STRING:
		return "TEXT";
	case OPTION_CHOICE:
		return o->choices;
	}
	return "";
}

static void print_options(const struct option *table)
{
	if (table && table->name)
		putchar('\n');
	for (const struct option *o = table; o && o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%s=%s", o->name, type_word(o));
		printf("  %-34s %s", left, o->help ? o->help : "");
		if (o->fallback && *o->fallback)
			printf(" (default %s)", o->fallback);
		putchar('\n');
	}
}

static void print_device(const struct device_class *class)
{
	printf("%s: %s\n", class->name, class->summary);
	print_options(class->options);
	if (class->family)
		print_options(class->family->options);
}

static void print_table(void)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = MIN(class_table(table, CLASS_MAX), (size_t)CLASS_MAX);

	for (size_t i = 0; i < n; i++)
		printf("%-16s %s\n", table[i]->name, table[i]->summary);
}

int cmd_devices(int argc, char **argv)
{
	const struct command *self = command_find("devices");
	const struct device_class *class;
	struct err err;
	bool helped;
	int i = flags_parse(self, argc, argv, NULL, &helped, &err);

	if (i < 0)
		return cli_fail(STATUS_REFUSED, &err);
	if (helped)
		return STATUS_OK;
	if (i == argc) {
		print_table();
		return STATUS_OK;
	}
	for (; i < argc; i++) {
		class = class_find(argv[i], &err);
		if (!class)
			return cli_fail(STATUS_REFUSED, &err);
		print_device(class);
	}
	return STATUS_OK;
}
