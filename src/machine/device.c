/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/trace.h"

static int read_options(struct device *dev, const struct config *config, const char *prefix,
			struct err *err)
{
	const struct device_class *class = dev->class;
	const struct device_family *family = class->family;
	struct option_part parts[] = {
		{class->options, (char *)dev + class->options_offset},
		{NULL, NULL},
	};

	if (family) {
		parts[1].table = family->options;
		parts[1].into = (char *)dev + class->family_offset + family->options_offset;
	}
	return config_read_parts(config, prefix, parts, ARRAY_SIZE(parts), err);
}

static int build(struct device *dev, const struct config *config, struct err *err)
{
	const struct device_class *class = dev->class;
	char prefix[64];
	int ret;

	snprintf(prefix, sizeof(prefix), "device.%s", dev->id);
	ret = read_options(dev, config, prefix, err);
	if (ret)
		return ret;
	irqs_record(dev->machine->irqs, dev->machine->trace, dev->number);
	ret = class->create(dev, err);
	irqs_record(dev->machine->irqs, dev->machine->trace, TRACE_NO_DEVICE);
	if (ret) {
		err_prefix(err, "%s", dev->id);
		return ret;
	}
	device_reset(dev);
	return 0;
}

int device_create(struct device **dev, const char *id, const struct config *config,
		  struct machine *m, struct err *err)
{
	const struct device_class *class;
	const char *model;
	char key[64];
	int ret;

	*dev = NULL;
	if (strlen(id) >= sizeof((*dev)->id))
		return err_set(err, EINVAL, "the device name '%.128s' is longer than %zu bytes", id,
			       sizeof((*dev)->id) - 1);
	snprintf(key, sizeof(key), "device.%s", id);
	model = config_get(config, key);
	if (!model)
		return err_set(err, EINVAL, "device '%s' has no model; say %s=MODEL", id, key);
	class = class_find(model, err);
	if (!class) {
		err_prefix(err, "%s", key);
		return -ENOENT;
	}
	*dev = calloc(1, class->size);
	if (!*dev)
		return err_sys(err, ENOMEM, "device %s", id);
	(*dev)->class = class;
	(*dev)->machine = m;
	lock_init(&(*dev)->lock,
		  class->lock_rank ? (enum lock_rank) class->lock_rank : LOCK_DEVICE);
	snprintf((*dev)->id, sizeof((*dev)->id), "%s", id);
	(*dev)->number = (uint8_t)trace_device(m->trace, id, class->name);
	ret = build(*dev, config, err);
	if (ret) {
		device_destroy(*dev);
		*dev = NULL;
	}
	return ret;
}

void device_destroy(struct device *dev)
{
	if (!dev)
		return;
	if (dev->class->destroy)
		dev->class->destroy(dev);
	lock_destroy(&dev->lock);
	free(dev);
}

void device_reset(struct device *dev)
{
	const struct device_class *class = dev->class;

	trace_event(TRACE_RESET, dev->number, 0, 0, 0, 0, 0);
	device_lock(dev);
	if (class->family && class->family->reset)
		class->family->reset(dev);
	if (class->reset)
		class->reset(dev);
	device_unlock(dev);
}

void device_pause(struct device *dev)
{
	const struct device_class *class = dev->class;

	if (class->family && class->family->pause)
		class->family->pause(dev);
	if (class->pause)
		class->pause(dev);
}

void device_resume(struct device *dev)
{
	const struct device_class *class = dev->class;

	if (class->family && class->family->resume)
		class->family->resume(dev);
	if (class->resume)
		class->resume(dev);
}

void device_lock(struct device *dev)
{
	lock_take(&dev->lock);
}

void device_unlock(struct device *dev)
{
	lock_drop(&dev->lock);
}

void *device_state(struct device *dev)
{
	return dev->class->state ? (char *)dev + dev->class->state_offset : NULL;
}

const struct state_table *device_state_part(struct device *dev, unsigned int n, void **at)
{
	const struct device_class *class = dev->class;
	const struct state_part *part;

	if (class->state && !n--) {
		*at = device_state(dev);
		return class->state;
	}
	if (!class->family || !class->family->states)
		return NULL;
	for (part = class->family->states; part->table; part++) {
		if (n--)
			continue;
		*at = (char *)dev + class->family_offset + part->offset;
		return part->table;
	}
	return NULL;
}

void machine_end(struct machine *m, enum end_kind kind, unsigned int code, const char *fmt, ...)
{
	struct ending ending = {.kind = kind, .code = code};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ending.reason, sizeof(ending.reason), fmt, ap);
	va_end(ap);
	m->end(m, &ending);
}
