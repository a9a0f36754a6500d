/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "lint.h"
#include "result.h"
#include "skep/clock.h"
#include "skep/err.h"

static void collect_images(struct result *r, const struct vm *vm)
{
	const struct boot_image *img;
	struct err err;

	for (unsigned int n = 0; n < RESULT_IMAGES_MAX; n++) {
		struct result_image *image = &r->images[n];

		img = vm_image(vm, n, image->key);
		if (!img)
			return;
		image->size = boot_image_size(img);
		if (boot_image_hash(img, image->sha256, &err))
			image->sha256[0] = '\0';
		r->image_count = n + 1;
	}
}

static void collect_state(struct result *r, const struct vm *vm)
{
	size_t len;
	FILE *to = open_memstream(&r->state, &len);

	if (to) {
		vm_dump_state(vm, to);
		fclose(to);
	}
	r->screen = malloc(SCREEN_TEXT_MAX);
	if (r->screen)
		vm_screen(vm, r->screen);
}

void result_collect(struct result *r, const struct vm *vm, bool state)
{
	vm_report(vm, &r->report);
	r->exit_count = vm_exit_counts(vm, r->exits, KVM_EXIT_COUNTS_MAX);
	r->port_count = vm_port_counts(vm, r->ports, KVM_PORT_COUNTS_MAX);
	collect_images(r, vm);
	if (state)
		collect_state(r, vm);
}

/* Microseconds since the command began. */
static json_t *since(const struct result *r, uint64_t at)
{
	return json_integer((json_int_t)((at - r->started) / NS_PER_US));
}

static json_t *times(const struct result *r)
{
	json_t *t = json_object();

	json_object_set_new(t, "assembled", since(r, r->report.assembled));
	json_object_set_new(t, "loaded", since(r, r->report.loaded));
	json_object_set_new(t, "first_entry", since(r, r->report.first_entry));
	json_object_set_new(t, "ended", since(r, r->report.ended));
	return t;
}

/* A mark is a moment, and took no time. */
static json_t *phases(const struct result *r)
{
	const struct timeline *t = &r->timeline;
	json_t *all = json_object();
	char key[PHASE_MARK_NAME + 8];

	for (unsigned int i = 0; i < PHASE_KINDS; i++)
		if (t->phases[i].came)
			json_object_set_new(
				all, phase_name((enum phase_kind)i),
				json_pack("{sIsI}", "at", (json_int_t)(t->phases[i].at / NS_PER_US),
					  "took", (json_int_t)(t->phases[i].took / NS_PER_US)));
	for (unsigned int i = 0; i < t->mark_count; i++) {
		snprintf(key, sizeof(key), "mark:%s", t->marks[i].name);
		json_object_set_new(
			all, key,
			json_pack("{sI}", "at", (json_int_t)(t->marks[i].at / NS_PER_US)));
	}
	return all;
}

static json_t *exits_by_port(const struct result *r)
{
	json_t *ports = json_object();

	for (size_t i = 0; i < r->port_count; i++) {
		char key[8];

		snprintf(key, sizeof(key), "0x%x", r->ports[i].port);
		json_object_set_new(ports, key, json_integer((json_int_t)r->ports[i].count));
	}
	return ports;
}

static json_t *counters(const struct result *r)
{
	json_t *c = json_object();
	json_t *exits = json_object();

	for (size_t i = 0; i < r->exit_count; i++)
		json_object_set_new(exits, r->exits[i].reason,
				    json_integer((json_int_t)r->exits[i].count));
	json_object_set_new(c, "exits", json_integer((json_int_t)r->report.exits));
	json_object_set_new(c, "exits_by_reason", exits);
	json_object_set_new(c, "exits_by_port", exits_by_port(r));
	json_object_set_new(c, "resets", json_integer((json_int_t)r->report.resets));
	json_object_set_new(c, "unclaimed_accesses", json_integer((json_int_t)r->report.unclaimed));
	json_object_set_new(c, "guest_bytes", json_integer((json_int_t)r->report.guest_bytes));
	json_object_set_new(c, "own_bytes", json_integer((json_int_t)r->report.own_bytes));
	return c;
}

static json_t *images(const struct result *r)
{
	json_t *all = json_object();

	for (unsigned int i = 0; i < r->image_count; i++) {
		const struct result_image *image = &r->images[i];
		json_t *one = json_object();

		json_object_set_new(one, "size", json_integer((json_int_t)image->size));
		json_object_set_new(one, "sha256",
				    *image->sha256 ? json_string(image->sha256) : json_null());
		json_object_set_new(all, image->key, one);
	}
	return all;
}

static json_t *host(const struct result *r)
{
	json_t *h = json_object();

	json_object_set_new(h, "kernel", json_string(r->kernel_release));
	json_object_set_new(h, "kvm", json_string(r->kvm ? r->kvm : "kvm"));
	return h;
}

void result_prepare(struct result *r)
{
	struct utsname u;

	uname(&u);
	snprintf(r->kernel_release, sizeof(r->kernel_release), "%s", u.release);
	r->kvm = kvm_flavour();
	boot_hash_prepare();
}

int result_open(FILE **to, const char *path, struct err *err)
{
	/* Its first object has Jansson look for randomness, which the sandbox would not let it. */
	json_object_seed(0);
	*to = path ? fopen(path, "we") : NULL;
	if (path && !*to)
		return err_sys(err, errno, "cannot write the result %s", path);
	return 0;
}

void result_free(struct result *r)
{
	free(r->post_mortem);
	free(r->post_mortem_full);
	free(r->state);
	free(r->screen);
	r->post_mortem = r->post_mortem_full = r->state = r->screen = NULL;
}

int result_write(const struct result *r, FILE *to, struct err *err)
{
	json_t *o;
	int ret;

	if (!to)
		return 0;
	o = json_object();
	json_object_set_new(o, "skep", json_string(SKEP_VERSION));
	if (r->name)
		json_object_set_new(o, "name", json_string(r->name));
	json_object_set_new(o, "verdict",
			    json_string(r->ran ? ending_word(&r->ending) : "refused"));
	json_object_set_new(o, "status", json_integer(r->status));
	json_object_set_new(o, "reason", json_string(r->ending.reason));
	json_object_set_new(o, "kernel", json_string(r->kernel ? r->kernel : "demo"));
	json_object_set_new(o, "host", host(r));
	if (r->ran) {
		json_object_set_new(o, "images", images(r));
		json_object_set_new(o, "times_us", times(r));
		json_object_set_new(o, "phases_us", phases(r));
		json_object_set_new(o, "counters", counters(r));
		if (r->lint)
			json_object_set_new(o, "lint", lint_json(r->lint));
		if (r->post_mortem_full)
			json_object_set_new(o, "postmortem", json_string(r->post_mortem_full));
	}
	if (r->state)
		json_object_set_new(o, "state", json_string(r->state));
	if (r->screen && *r->screen)
		json_object_set_new(o, "screen", json_string(r->screen));
	json_object_update(o, r->more);
	ret = json_dumpf(o, to, JSON_INDENT(2));
	json_decref(o);
	if (fclose(to) || ret)
		return err_sys(err, errno ? errno : EIO, "cannot write the result");
	return 0;
}
