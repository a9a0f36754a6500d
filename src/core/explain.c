/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"
#include "skep/explain.h"
#include "skep/trace.h"

struct explainer {
	const struct trace_header *header;
	explain_fn *explain[TRACE_DEVICES_MAX]; /* NULL: the model has none, or is not known */
	struct explain_memory memory[TRACE_DEVICES_MAX];
};

/* Words behind those there are; what does not fit is cut. */
__attribute__((format(printf, 3, 0))) static void append(char *text, size_t room, const char *fmt,
							 va_list ap)
{
	size_t n = strlen(text);

	if (n && n + 1 < room) {
		text[n++] = ' ';
		text[n] = '\0';
	}
	vsnprintf(text + n, room - n, fmt, ap);
}

void explain_reg(struct explanation *e, const char *fmt, ...)
{
	va_list ap;

	e->reg[0] = '\0';
	va_start(ap, fmt);
	append(e->reg, sizeof(e->reg), fmt, ap);
	va_end(ap);
}

void explain_add(struct explanation *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
}

void explain_bits(struct explanation *e, uint64_t value, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (value >> i & 1 && names[i])
			explain_add(e, "%s", names[i]);
}

void explain_char(struct explanation *e, uint64_t value)
{
	switch (value) {
	case '\n':
		explain_add(e, "'\\n'");
		break;
	case '\r':
		explain_add(e, "'\\r'");
		break;
	case '\t':
		explain_add(e, "'\\t'");
		break;
	default:
		if (value >= ' ' && value <= '~')
			explain_add(e, "'%c'", (char)value);
		break;
	}
}

int explainer_create(struct explainer **out, const struct trace_header *header, struct err *err)
{
	struct explainer *ex = calloc(1, sizeof(*ex));

	if (!ex)
		return err_sys(err, ENOMEM, "explanations");
	ex->header = header;
	for (unsigned int i = 0; i < header->device_count; i++) {
		const struct device_class *class = class_find(header->devices[i].model, NULL);

		if (class && class->explain)
			ex->explain[i] = class->explain;
		else if (class && class->family)
			ex->explain[i] = class->family->explain;
	}
	*out = ex;
	return 0;
}

void explainer_destroy(struct explainer *ex)
{
	free(ex);
}

bool explainer_see(struct explainer *ex, const struct trace_event *event, struct explanation *e)
{
	const struct access a = {
		.address = event->c,
		.offset = event->a,
		.value = event->b,
		.size = event->size,
		.region = event->sub & ~(unsigned int)TRACE_MEMORY,
		.write = event->kind == TRACE_WRITE,
	};

	*e = (struct explanation){.part = ""};
	if (event->device >= ex->header->device_count)
		return false;
	if (event->kind == TRACE_RESET)
		ex->memory[event->device] = (struct explain_memory){0};
	if ((event->kind != TRACE_READ && event->kind != TRACE_WRITE) ||
	    !ex->explain[event->device])
		return false;
	ex->explain[event->device](&a, &ex->memory[event->device], e);
	return e->reg[0];
}
