/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flags that describe a machine, for every command that runs one: each fills keys of the option
 * tree, or a member of struct machine_args.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_priv.h"
#include "machine.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/vm.h"

#define SERIALS_MAX 4

/* Flags that fill one key. */
static int apply_key(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	return config_set(args->config, flag->key, value, err);
}

/* Flags of the form FIRST,key=value…: their key names where FIRST goes. */
static int apply_list(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	const char *dot = strchr(flag->key, '.');
	char section[32];

	snprintf(section, sizeof(section), "%.*s", (int)(dot - flag->key), flag->key);
	return config_set_list(args->config, section, dot + 1, value, err);
}

static int apply_initrd(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	char key[32];

	(void)flag;
	snprintf(key, sizeof(key), "boot.initrd.%u", args->initrds++);
	return config_set(args->config, key, value, err);
}

static int apply_module(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	char key[32];

	(void)flag;
	snprintf(key, sizeof(key), "boot.module.%u", args->modules++);
	return config_set(args->config, key, value, err);
}

static int apply_serial(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	char id[8], pair[64];
	int ret;

	(void)flag;
	if (args->serials == SERIALS_MAX)
		return err_set(err, EINVAL, "--serial: there are %d serial ports", SERIALS_MAX);
	snprintf(id, sizeof(id), "com%u", ++args->serials);
	snprintf(pair, sizeof(pair), "device.%s=uart8250", id);
	ret = config_set_pair(args->config, pair, err);
	snprintf(pair, sizeof(pair), "device.%s.line=%s", id, id);
	if (!ret)
		ret = config_set_pair(args->config, pair, err);
	snprintf(pair, sizeof(pair), "device.%s.backend", id);
	return ret ? ret : config_set(args->config, pair, value, err);
}

/* --net KIND[,key=value…]: KIND is a pair as well, or the word passt or none. */
static int apply_net(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	const size_t n = strcspn(value, ",");
	char key[48], section[24];
	int ret;

	(void)flag;
	snprintf(section, sizeof(section), "device.net%u", args->nets++);
	if (!strcmp(value, "none"))
		return config_set(args->config, section, "none", err);
	ret = config_set(args->config, section, "virtio_net", err);
	if (!ret && n == strlen("passt") && !strncmp(value, "passt", n)) {
		snprintf(key, sizeof(key), "%s.passt", section);
		ret = config_set(args->config, key, "on", err);
		value += n + (value[n] == ',');
	} else if (!memchr(value, '=', n)) {
		return err_set(err, EINVAL,
			       "--net: '%.32s' is no network; say tap=NAME, fd=N, stream=SOCKET, "
			       "passt or none",
			       value);
	}
	return ret ? ret : config_set_list(args->config, section, NULL, value, err);
}

/* --console BACKEND[,key=value…] */
static int apply_console(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	int ret = config_set(args->config, "device.console", "virtio_console", err);

	(void)flag;
	/* The terminal goes to the console that was asked for, unless COM1 was asked for too. */
	if (!ret && !strncmp(value, "stdio", 5) && !args->serials)
		ret = config_set(args->config, "device.com1.backend", "none", err);
	return ret ? ret : config_set_list(args->config, "device.console", "backend", value, err);
}

/* --display WHERE[,key=value…] */
static int apply_display(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	int ret;

	(void)flag;
	if (!strcmp(value, "none"))
		return config_set(args->config, "device.screen", "none", err);
	ret = config_set(args->config, "device.screen", "vga_text", err);
	/* The terminal is the screen's then, unless COM1 was asked for too. */
	if (!ret && !strncmp(value, "text", 4) && !args->serials)
		ret = config_set(args->config, "device.com1.backend", "none", err);
	return ret ? ret : config_set_list(args->config, "device.screen", "display", value, err);
}

/* What @said says below @section goes into the tree, but for the model. */
static int take_disk(struct machine_args *args, const struct config *said, const char *section,
		     struct err *err)
{
	char name[CONFIG_KEY_MAX + 1], key[2 * CONFIG_KEY_MAX];
	const char *value;
	size_t pos = 0;
	int ret = 0;

	while (!ret && config_next_child(said, section, &pos, name, sizeof(name))) {
		snprintf(key, sizeof(key), "%s.%s", section, name);
		value = config_get(said, key);
		if (value && strcmp(name, "model") != 0)
			ret = config_set(args->config, key, value, err);
	}
	return ret;
}

/* The first IDE disk is on channel 0, the second on 1, unless somebody says otherwise. */
static int next_channel(struct machine_args *args, const char *section, struct err *err)
{
	char key[64], n[16];

	snprintf(key, sizeof(key), "%s.channel", section);
	snprintf(n, sizeof(n), "%u", args->ide_disks++);
	return config_set(args->config, key, n, err);
}

/* --disk FILE[,model=ide][,key=value…] */
static int apply_disk(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	struct config *said = config_new();
	const char *model;
	char section[32], key[64];
	int ret;

	(void)flag;
	if (!said)
		return err_sys(err, ENOMEM, "options");
	snprintf(section, sizeof(section), "device.disk%u", args->disks++);
	snprintf(key, sizeof(key), "%s.model", section);
	ret = config_set_list(said, section, "path", value, err);
	model = config_get(said, key);
	if (!ret)
		ret = config_set(args->config, section, model ? model : "virtio_blk", err);
	if (!ret && model && !strcmp(model, "ide"))
		ret = next_channel(args, section, err);
	if (!ret)
		ret = take_disk(args, said, section, err);
	config_free(said);
	return ret;
}

/* --device MODEL[,key=value…]: called by its model, or by the id= among the pairs. */
static int apply_device(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;
	size_t n = strcspn(value, ",");
	const char *pairs = value + n + (value[n] == ',');
	const char *id = strstr(pairs, "id=");
	char key[64], model[32];
	int ret;

	(void)flag;
	snprintf(model, sizeof(model), "%.*s", (int)n, value);
	if (id && (id == pairs || id[-1] == ','))
		return err_set(err, EINVAL, "--device: an id is given as -o device.ID=%s", model);
	snprintf(key, sizeof(key), "device.%s", model);
	for (unsigned int i = 1; config_get(args->config, key) && i < 100; i++)
		snprintf(key, sizeof(key), "device.%s%u", model, i);
	ret = config_set(args->config, key, model, err);
	return ret ? ret : config_set_list(args->config, key, NULL, pairs, err);
}

static int apply_pair(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	return config_set_pair(args->config, value, err);
}

static int apply_config(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	return config_read_file(args->config, value, err);
}

static int apply_print_config(void *ctx, const struct flag *flag, const char *value,
			      struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)value;
	(void)err;
	args->print_config = true;
	return 0;
}

static int apply_dump_state(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)value;
	(void)err;
	args->dump_state = true;
	return 0;
}

static int apply_timeline(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)value;
	(void)err;
	args->timeline.show = true;
	return 0;
}

static int apply_budget(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	return budget_add(&args->timeline, value, err);
}

static int apply_result_state(void *ctx, const struct flag *flag, const char *value,
			      struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)value;
	(void)err;
	args->result_state = true;
	return 0;
}

static int apply_result(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)err;
	args->result = value;
	return 0;
}

static int apply_symbols(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)err;
	args->symbols = value;
	return 0;
}

static int apply_lint(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct machine_args *args = ctx;

	(void)flag;
	(void)value;
	args->lint.on = true;
	return config_set(args->config, "trace.memory", "on", err);
}

const struct flag machine_flags[] = {
	{'k', "kernel", "FILE", "kernel to boot; without one, the built-in demo guest", apply_key,
	 "boot.kernel"},
	{'i', "initrd", "FILE", "initial RAM disk; repeatable, concatenated in order", apply_initrd,
	 NULL},
	{0, "module", "FILE[,TEXT]",
	 "a boot module with its command line, for kernels that take such; repeatable",
	 apply_module, NULL},
	{0, "protocol", "NAME[,KEY=VALUE]",
	 "how the kernel is booted (default: as the image says); `skep inspect` names them",
	 apply_list, "boot.protocol"},
	{'a', "append", "TEXT", "kernel command line (default for Linux: console=ttyS0)", apply_key,
	 "boot.append"},
	{'m', "memory", "SIZE[,KEY=VALUE]", "guest memory (default 512M)", apply_list,
	 "memory.size"},
	{'c', "cpus", "N[,KEY=VALUE]", "vCPUs (default 1)", apply_list, "cpus.count"},
	{0, "irqchip", "split|kernel", "whose 8259A, IOAPIC and 8254: skep's own, or KVM's",
	 apply_key, "machine.irqchip"},
	{'d', "disk", "FILE[,KEY=VALUE]", "a disk: an image file or a block device; repeatable",
	 apply_disk, NULL},
	{'n', "net", "NETWORK[,KEY=VALUE]",
	 "a network card; tap=NAME, fd=N, stream=SOCKET, passt or none; repeatable", apply_net,
	 NULL},
	{0, "serial", "BACKEND",
	 "stdio, stdout, pty, file:PATH, unix:PATH or none; repeatable: COM1 to COM4", apply_serial,
	 NULL},
	{0, "console", "BACKEND[,KEY=VALUE]", "a virtio console, /dev/hvc0 of Linux; as --serial",
	 apply_console, NULL},
	{0, "display", "text|dump|none",
	 "a VGA in text mode; text: on this terminal, with its keys; dump: printed at the end",
	 apply_display, NULL},
	{0, "device", "MODEL[,KEY=VALUE]", "a device; `skep devices` lists the models",
	 apply_device, NULL},
	{0, "config", "FILE", "read options from a file of KEY = VALUE lines", apply_config, NULL},
	{'o', "option", "KEY=VALUE", "set one option of the tree that all of these fill",
	 apply_pair, NULL},
	{0, "print-config", NULL, "print that tree and end", apply_print_config, NULL},
	{0, "timeout", "SECONDS", "end the machine after this time, with status 124", apply_key,
	 "machine.timeout"},
	{0, "on-reset", "reboot|exit", "what a guest's reset does (default reboot; in smoke: exit)",
	 apply_key, "machine.on-reset"},
	{0, "workers", "N", "threads for host I/O at most (default one per device or queue)",
	 apply_key, "machine.workers"},
	{0, "sandbox", "on|off[,KEY=VALUE]",
	 "refuse what skep does not need of the host once the guest runs (default on)", apply_list,
	 "sandbox.mode"},
	{0, "dump-state", NULL, "print every device's state at the end, on stderr",
	 apply_dump_state, NULL},
	{0, "timeline", NULL, "print where the boot's time went at the end, on stderr",
	 apply_timeline, NULL},
	{0, "budget", "PHASE=TIME",
	 "fail with status 100 if a phase of the timeline takes longer; repeatable", apply_budget,
	 NULL},
	{0, "symbols", "FILE", "the ELF file whose symbols name addresses (default: the kernel)",
	 apply_symbols, NULL},
	{0, "lint", NULL, "tell what the guest gets wrong with its devices; `skep trace --rules`",
	 apply_lint, NULL},
	{0, "post-mortem", "short|full|off[,replay=WHEN]",
	 "say on stderr why a guest died: how much (default short)", apply_list,
	 "postmortem.detail"},
	{0, "dump", "FILE[,when=always]",
	 "write memory and registers as an ELF core, for gdb, when the guest ends badly",
	 apply_list, "dump.path"},
	{0, "result", "FILE", "write what happened as a JSON object", apply_result, NULL},
	{0, "result-state", NULL, "put every device's state and the screen into that object, too",
	 apply_result_state, NULL},
	{0, "trace", "FILE[,size=SIZE]",
	 "record what the machine does, for `skep trace`; the last 32M unless size= says more",
	 apply_list, "trace.path"},
	{0, "name", "TEXT", "what messages and reports call the machine", apply_key,
	 "machine.name"},
	{0, NULL, NULL, NULL, NULL, NULL},
};

int machine_args_init(struct machine_args *args, struct err *err)
{
	log_init(&args->log, STDERR_FILENO, LOG_WARN);
	args->config = config_new();
	if (!args->config)
		return err_sys(err, ENOMEM, "options");
	return vm_defaults(args->config, err);
}

void machine_args_free(struct machine_args *args)
{
	lint_free(&args->lint);
	config_free(args->config);
}
