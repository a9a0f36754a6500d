/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which protocol boots an image, and what is made of its plan.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/config.h"
#include "skep/err.h"

#include "image.h"
#include "protocol.h"

/* In the order in which they are tried: what says most of itself first. */
static const struct protocol *const protocols[] = {
	&linux_protocol,      &linux32_protocol,    &linux64_protocol,
	&multiboot2_protocol, &multiboot_protocol,  &pvh_protocol,
	&elf_protocol,        &bootsector_protocol, &flat_protocol,
};

_Static_assert(ARRAY_SIZE(protocols) <= BOOT_PROTOCOLS_MAX, "a boot_info has room for all");

const struct option boot_option_table[] = {
	{.name = "kernel",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct boot_options, kernel),
	 .help = "kernel image; without one, the built-in demo guest"},
	{.name = "append",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct boot_options, append),
	 .help = "kernel command line"},
	{.name = "protocol",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct boot_options, protocol),
	 .help = "how the kernel is booted; without one, as the image says"},
	{.name = "at",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct boot_options, at),
	 .max = UINT64_C(1) << 52,
	 .help = "flat, elf: address at which the file, or its lowest segment, is loaded"},
	{.name = "mode",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct boot_options, mode),
	 .choices = "prot32|real16|long64",
	 .fallback = "prot32",
	 .help = "flat: the mode in which the file is entered, at its first byte"},
	{.name = "handoff",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct boot_options, handoff),
	 .choices = "multiboot|boot_params|none",
	 .fallback = "multiboot",
	 .help = "elf: the structure in which the kernel is told of the machine"},
	{.name = "kaslr",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct boot_options, kaslr),
	 .choices = "auto|on|off",
	 .fallback = "auto",
	 .help = "a Linux kernel that skep unpacks is put somewhere at random; auto: if it can be"},
	{.name = "cache",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct boot_options, cache),
	 .help = "directory of unpacked kernels, or off (default: in the user's cache)"},
	OPTION_END,
};

static int kernel_read(struct kernel *k, const struct boot_request *req, struct err *err)
{
	int ret;

	k->req = req;
	k->img = req->kernel;
	k->head_len = (size_t)MIN(boot_image_size(k->img), (uint64_t)sizeof(k->head));
	ret = image_read(k->img, 0, k->head, k->head_len, err);
	if (ret)
		return ret;
	k->is_bzimage = bzimage_magic(k->head, k->head_len);
	k->is_elf = elf_magic(k->head, k->head_len);
	k->bzimage_ret = bzimage_read(k->img, &k->bzimage, &k->bzimage_err);
	k->elf_ret = elf_read(k->img, &k->elf, &k->elf_err);
	return 0;
}

static const struct protocol *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (!strcmp(protocols[i]->name, name))
			return protocols[i];
	return NULL;
}

static int unknown(const char *name, struct err *err)
{
	const char *words[ARRAY_SIZE(protocols) + 1] = {NULL}, *near;
	char all[160] = "";

	for (size_t i = 0, at = 0; i < ARRAY_SIZE(protocols) && at < sizeof(all); i++) {
		words[i] = protocols[i]->name;
		at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s", i ? ", " : "", words[i]);
	}
	near = nearest_word(name, words);
	return near ? err_set(err, EINVAL, "there is no boot protocol '%.32s'; did you mean '%s'?",
			      name, near)
		    : err_set(err, EINVAL, "there is no boot protocol '%.32s'; there are %s", name,
			      all);
}

/* What an image is that no protocol recognises. */
static int unrecognised(const struct kernel *k, struct err *err)
{
	const char *advice, *what;

	if (k->is_elf && k->elf_ret) {
		*err = k->elf_err;
		return k->elf_ret;
	}
	what = format_guess(k->head, k->head_len, &advice);
	err_set(err, ENOEXEC, "%s is none that can be booted but %s", image_label(k->img), what);
	if (advice)
		err_advise(err, "%s", advice);
	return -ENOEXEC;
}

/* The first behind @last (NULL: of all) that recognises the image; NULL when none does. */
static const struct protocol *next(const struct kernel *k, const struct protocol *last)
{
	bool behind = !last;
	const char *why;

	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (behind && !protocols[i]->by_name_only && protocols[i]->recognises(k, &why))
			return protocols[i];
		behind = behind || protocols[i] == last;
	}
	return NULL;
}

static const char *asked_for(const struct kernel *k)
{
	return k->req->options ? k->req->options->protocol : NULL;
}

/* NULL: *@ret says why not, and @err. */
static const struct protocol *choose(const struct kernel *k, int *ret, struct err *err)
{
	const char *name = asked_for(k), *why;
	const struct protocol *chosen = name ? find(name) : next(k, NULL);

	*ret = 0;
	if (!chosen) {
		*ret = name ? unknown(name, err) : unrecognised(k, err);
	} else if (name && !chosen->recognises(k, &why)) {
		chosen = NULL;
		*ret = err_set(err, ENOEXEC, "%s cannot be booted by the protocol '%s': %s",
			       image_label(k->img), name, why);
	}
	return chosen;
}

void boot_fact(struct boot_info *info, const char *label, const char *fmt, ...)
{
	struct boot_fact *fact = &info->facts[info->fact_count];
	va_list ap;

	if (info->fact_count == BOOT_FACTS_MAX)
		return;
	info->fact_count++;
	fact->label = label;
	va_start(ap, fmt);
	vsnprintf(fact->text, sizeof(fact->text), fmt, ap);
	va_end(ap);
	/* Some of it comes from files and goes to a terminal. */
	for (char *c = fact->text; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

static const char *format_of(const struct kernel *k)
{
	const char *advice;

	if (k->is_bzimage)
		return k->bzimage_ret || k->bzimage.loaded_high ? "a Linux bzImage"
								: "a Linux zImage";
	if (k->is_elf && !k->elf_ret)
		return k->elf.is_64 ? "a 64-bit ELF executable" : "a 32-bit ELF executable";
	return format_guess(k->head, k->head_len, &advice);
}

int boot_examine(const struct boot_request *req, struct boot_info *info, struct err *err)
{
	const struct protocol *chosen = NULL;
	struct kernel *k = calloc(1, sizeof(*k));
	int ret;

	*info = (struct boot_info){.format = "unreadable"};
	if (!k)
		return err_sys(err, ENOMEM, "cannot examine %s", image_label(req->kernel));
	ret = kernel_read(k, req, err);
	if (!ret) {
		info->format = format_of(k);
		chosen = choose(k, &ret, err);
		for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
			struct boot_protocol_info *p = &info->protocols[info->protocol_count++];

			boot_protocol((unsigned int)i, p);
			p->usable = protocols[i]->recognises(k, &p->why);
			if (p->usable && protocols[i]->describe)
				protocols[i]->describe(k, info);
		}
	}
	if (chosen)
		info->chosen = chosen->name;
	free(k);
	return ret;
}

bool boot_protocol(unsigned int n, struct boot_protocol_info *info)
{
	if (n >= ARRAY_SIZE(protocols))
		return false;
	*info = (struct boot_protocol_info){
		.name = protocols[n]->name,
		.words = protocols[n]->words,
		.why = "",
	};
	return true;
}

static const char *mode_words(const struct cpu_entry *entry)
{
	if (entry->mode == CPU_REAL16)
		return "real mode";
	if (entry->mode == CPU_LONG64)
		return "64-bit mode";
	return entry->cr3 ? "32-bit mode with paging" : "32-bit mode";
}

static void show_plan(const struct plan *plan, const struct protocol *protocol,
		      struct boot_layout *l)
{
	const struct plan_piece *last = &plan->pieces[plan->count - 1];

	l->protocol = protocol->name;
	l->mode = mode_words(&plan->entry);
	l->entry = plan->entry_gpa ? plan->entry_gpa : plan->entry.rip;
	l->unpacks_itself = plan->unpacks_itself;
	l->unpack_from = plan->unpack_from;
	l->unpack_to = plan->unpack_to;
	l->least_memory = plan->least_memory;
	if (!l->least_memory && plan->count)
		l->least_memory = align_up(last->gpa + last->len, MIB(1));
	l->count = plan->count;
	for (unsigned int i = 0; i < plan->count; i++) {
		const struct plan_piece *p = &plan->pieces[i];

		l->pieces[i] = (struct boot_piece){.gpa = p->gpa, .len = p->len};
		memcpy(l->pieces[i].name, p->name, sizeof(p->name));
	}
}

/* An option that would have no effect is a mistake. */
static int check_options(const struct plan *plan, const struct protocol *p, struct err *err)
{
	const struct boot_options *o = plan->options;
	const char *key = o->at && !p->takes_at             ? "at"
			  : o->mode && !p->takes_mode       ? "mode"
			  : o->handoff && !p->takes_handoff ? "handoff"
							    : NULL;

	if (!key)
		return 0;
	return err_set(err, EINVAL,
		       "the boot protocol '%s', by which %s is booted, has no %s=", p->name,
		       image_label(plan->req->kernel), key);
}

static int plan_by(const struct protocol *protocol, const struct kernel *k, struct gmem *mem,
		   struct cpu_entry *entry, struct boot_layout *layout, struct err *err)
{
	static const struct boot_options none;
	struct plan *plan = calloc(1, sizeof(*plan));
	int ret;

	if (!plan)
		return err_sys(err, ENOMEM, "cannot load %s", image_label(k->img));
	plan->req = k->req;
	plan->options = k->req->options ? k->req->options : &none;
	plan->kernel = k;
	ret = check_options(plan, protocol, err);
	if (!ret)
		ret = protocol->plan(plan, err);
	if (!ret && mem) {
		ret = plan_load(plan, mem, err);
		*entry = plan->entry;
	}
	if (!ret && layout)
		show_plan(plan, protocol, layout);
	plan_free(plan);
	return ret;
}

/*
 * With @mem, the plan is carried out. Only then a protocol finds out that this host lacks what it
 * needs, and it is the next one's turn.
 */
static int plan_and_load(const struct boot_request *req, struct gmem *mem, struct cpu_entry *entry,
			 struct boot_layout *layout, struct err *err)
{
	struct kernel *k = calloc(1, sizeof(*k));
	const struct protocol *protocol = NULL;
	int ret;

	if (!k)
		return err_sys(err, ENOMEM, "cannot load %s", image_label(req->kernel));
	ret = kernel_read(k, req, err);
	if (!ret)
		protocol = choose(k, &ret, err);
	if (protocol)
		ret = plan_by(protocol, k, mem, entry, layout, err);
	while ((ret == -ENOSYS || ret == -ENOTSUP) && !asked_for(k) &&
	       (protocol = next(k, protocol)))
		ret = plan_by(protocol, k, mem, entry, layout, err);
	free(k);
	return ret;
}

int boot_plan(const struct boot_request *req, struct boot_layout *layout, struct err *err)
{
	return plan_and_load(req, NULL, NULL, layout, err);
}

int boot_load(const struct boot_request *req, struct gmem *mem, struct cpu_entry *entry,
	      struct boot_layout *layout, struct err *err)
{
	return plan_and_load(req, mem, entry, layout, err);
}
