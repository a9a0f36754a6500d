/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep inspect - what a kernel image is, how it would be booted and where it would lie, or why it
 * cannot be booted. Asks the loader itself, so that what it says is what `skep run` does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli_priv.h"
#include "inspect.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/gmem.h"

#define MEMORY_LEAST MIB(1)
#define MEMORY_MOST  GIB(64 * 1024)

static int apply_memory(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;

	if (parse_size(value, &in->memory) || in->memory < MEMORY_LEAST ||
	    in->memory > MEMORY_MOST || in->memory % KIB(4))
		return err_set(err, EINVAL,
			       "--%s: '%.64s' is not a size of memory like 512M, from 1M up",
			       flag->name, value);
	return 0;
}

static int apply_initrd(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;
	int ret;

	if (in->initrd_count == INITRDS_MAX)
		return err_set(err, EINVAL, "--%s: more than %d of them", flag->name, INITRDS_MAX);
	ret = boot_open(&in->initrds[in->initrd_count], "initrd", value, err);
	if (!ret)
		in->initrd_count++;
	return ret;
}

static int apply_module(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;
	int ret;

	if (in->module_count == MODULES_MAX)
		return err_set(err, EINVAL, "--%s: more than %d of them", flag->name, MODULES_MAX);
	ret = boot_open_module(&in->modules[in->module_count], value, err);
	if (!ret)
		in->module_count++;
	return ret;
}

static int apply_boot(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;

	return config_set_list(in->config, "boot", flag->key, value, err);
}

static int apply_append(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;

	return config_set(in->config, flag->key, value, err);
}

static int apply_json(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct inspection *in = ctx;

	(void)flag;
	(void)value;
	(void)err;
	in->json = true;
	return 0;
}

const struct flag inspect_flags[] = {
	{'m', "memory", "SIZE", "memory of the guest that is drawn (default 512M)", apply_memory,
	 NULL},
	{'i', "initrd", "FILE", "an initrd to go with the kernel; repeatable", apply_initrd, NULL},
	{0, "module", "FILE[,TEXT]", "a boot module to go with it; repeatable", apply_module, NULL},
	{'a', "append", "TEXT", "kernel command line", apply_append, "boot.append"},
	{0, "protocol", "NAME[,KEY=VALUE]", "how the kernel would be booted", apply_boot,
	 "protocol"},
	{0, "json", NULL, "print an array of objects instead", apply_json, NULL},
	{0, NULL, NULL, NULL, NULL, NULL},
};

/* The RAM of a guest with @size bytes, as gmem_create() would lay it out, but without taking it. */
static int build_map(struct e820 *map, uint64_t size, struct err *err)
{
	const struct gmem_region regions[] = {
		{.gpa = 0, .size = MIN(size, GMEM_HOLE_START)},
		{.gpa = GMEM_HOLE_END, .size = size - MIN(size, GMEM_HOLE_START)},
	};

	return e820_build(map, regions, regions[1].size ? 2 : 1, err);
}

static void examine(const struct inspection *in, const struct boot_image *img, struct finding *f)
{
	const struct boot_image *initrds[INITRDS_MAX];
	struct boot_options options = in->options;
	struct boot_request req = {
		.kernel = img,
		.options = &options,
		.initrds = initrds,
		.initrd_count = in->initrd_count,
		.modules = in->modules,
		.module_count = in->module_count,
		.cmdline = in->options.append,
		.memory = &in->map,
	};

	for (unsigned int i = 0; i < in->initrd_count; i++)
		initrds[i] = in->initrds[i];
	/* The picture is to be the same each time; facts say that the place is random. */
	if (options.kaslr == BOOT_AUTO)
		options.kaslr = BOOT_OFF;
	f->opened = true;
	f->boots = !boot_examine(&req, &f->info, &f->why) && !boot_plan(&req, &f->layout, &f->why);
}

/* False when the file cannot be booted. */
static bool inspect_file(const struct inspection *in, const char *path)
{
	struct finding *f = calloc(1, sizeof(*f));
	struct boot_image *img = NULL;
	bool boots;

	if (!f)
		return false;
	f->path = path;
	if (boot_open(&img, "kernel", path, &f->why))
		cli_fail(STATUS_REFUSED, &f->why);
	else
		examine(in, img, f);
	if (in->json)
		inspect_report(in, f);
	else
		inspect_print(in, f);
	boots = f->boots;
	boot_close(img);
	free(f);
	return boots;
}

static int inspect_files(struct inspection *in, int count, char **paths)
{
	int status = STATUS_OK;

	if (in->json)
		in->report = json_array();
	for (int i = 0; i < count; i++)
		if (!inspect_file(in, paths[i]))
			status = STATUS_REFUSED;
	if (in->json) {
		json_dumpf(in->report, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(in->report);
	}
	return status;
}

static int prepare(struct inspection *in, int argc, char **argv, bool *helped, struct err *err)
{
	int i, ret;

	*helped = false;
	if (!in->config)
		return err_sys(err, ENOMEM, "options");
	i = flags_parse(command_find("inspect"), argc, argv, in, helped, err);
	if (i < 0)
		return i;
	if (!*helped && i == argc)
		return err_set(err, EINVAL,
			       "inspect needs a file; `skep inspect --help` says more");
	ret = config_read(in->config, "boot", boot_option_table, &in->options, err);
	if (!ret)
		ret = build_map(&in->map, in->memory, err);
	return ret ? ret : i;
}

int cmd_inspect(int argc, char **argv)
{
	struct inspection *in = calloc(1, sizeof(*in));
	int i, status = STATUS_OK;
	bool helped;
	struct err err;

	if (!in) {
		err_sys(&err, ENOMEM, "inspect");
		return cli_fail(STATUS_REFUSED, &err);
	}
	in->memory = MIB(512);
	in->config = config_new();
	i = prepare(in, argc, argv, &helped, &err);
	if (i < 0)
		status = cli_fail(STATUS_REFUSED, &err);
	else if (!helped)
		status = inspect_files(in, argc - i, argv + i);
	while (in->initrd_count)
		boot_close(in->initrds[--in->initrd_count]);
	while (in->module_count)
		boot_close(in->modules[--in->module_count].img);
	config_free(in->config);
	free(in);
	return status;
}
