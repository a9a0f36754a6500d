/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `skep inspect` found, for a program: an array with one object for each file.
 */
#include "inspect.h"

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *facts(const struct boot_info *info)
{
	json_t *o = json_object();

	for (unsigned int i = 0; i < info->fact_count; i++)
		json_object_set_new(o, info->facts[i].label, json_string(info->facts[i].text));
	return o;
}

static json_t *protocols(const struct boot_info *info)
{
	json_t *all = json_array();

	for (unsigned int i = 0; i < info->protocol_count; i++) {
		const struct boot_protocol_info *p = &info->protocols[i];
		json_t *o = json_object();

		json_object_set_new(o, "name", json_string(p->name));
		json_object_set_new(o, "usable", json_boolean(p->usable));
		json_object_set_new(o, "why", json_string(p->why));
		json_array_append_new(all, o);
	}
	return all;
}

static json_t *pieces(const struct boot_layout *l)
{
	json_t *all = json_array();

	for (unsigned int i = 0; i < l->count; i++) {
		json_t *o = json_object();

		json_object_set_new(o, "name", json_string(l->pieces[i].name));
		json_object_set_new(o, "gpa", number(l->pieces[i].gpa));
		json_object_set_new(o, "size", number(l->pieces[i].len));
		json_array_append_new(all, o);
	}
	return all;
}

static json_t *memory(const struct e820 *map)
{
	json_t *all = json_array();

	for (unsigned int i = 0; i < map->count; i++) {
		json_t *o = json_object();

		json_object_set_new(o, "gpa", number(map->entries[i].gpa));
		json_object_set_new(o, "size", number(map->entries[i].len));
		json_object_set_new(o, "type", json_string(e820_type_name(map->entries[i].type)));
		json_array_append_new(all, o);
	}
	return all;
}

void inspect_report(const struct inspection *in, const struct finding *f)
{
	json_t *o = json_object();

	json_object_set_new(o, "file", json_string(f->path));
	json_object_set_new(o, "boots", json_boolean(f->boots));
	if (!f->boots)
		json_object_set_new(o, "reason", json_string(f->why.text));
	if (f->opened) {
		json_object_set_new(o, "format", json_string(f->info.format));
		json_object_set_new(o, "facts", facts(&f->info));
		json_object_set_new(o, "protocols", protocols(&f->info));
	}
	if (f->boots) {
		json_object_set_new(o, "protocol", json_string(f->layout.protocol));
		json_object_set_new(o, "mode", json_string(f->layout.mode));
		json_object_set_new(o, "entry", number(f->layout.entry));
		json_object_set_new(o, "least_memory", number(f->layout.least_memory));
		json_object_set_new(o, "pieces", pieces(&f->layout));
		json_object_set_new(o, "memory", memory(&in->map));
	}
	json_array_append_new(in->report, o);
}
