/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules about virtio drivers (Virtual I/O Device specification 1.2): the order of their steps, and
 * rings.
 *
 * A descriptor is seen when its chain is taken and once more when the chain is done. That is all
 * that can be seen from here: one that was written late, but in time, is not noticed. Of a packed
 * ring it is seen once, for the device itself writes over its descriptors.
 */
#include <string.h>

#include "lint_priv.h"
#include "skep/bits.h"

#define STATUS_ACKNOWLEDGE 0x01U
#define STATUS_DRIVER      0x02U
#define STATUS_DRIVER_OK   0x04U
#define STATUS_FEATURES_OK 0x08U
#define STATUS_NEEDS_RESET 0x40U

static const struct step {
	unsigned int bit, before;
	const char *name, *names_before;
} steps[] = {
	{STATUS_DRIVER, STATUS_ACKNOWLEDGE, "DRIVER", "ACKNOWLEDGE"},
	{STATUS_FEATURES_OK, STATUS_ACKNOWLEDGE | STATUS_DRIVER, "FEATURES_OK",
	 "ACKNOWLEDGE and DRIVER"},
	{STATUS_DRIVER_OK, STATUS_FEATURES_OK, "DRIVER_OK", "FEATURES_OK"},
};

static uint64_t key(const struct trace_event *e, unsigned int more)
{
	return (uint64_t)e->device << 32 | more;
}

static void status(struct lint *lint, const struct trace_event *e)
{
	const char *id = lint_device(lint, e->device);
	unsigned int to = e->a & 0xff, before = (unsigned int)e->b, behind = (unsigned int)e->c;
	unsigned int gone = before & ~to & ~STATUS_NEEDS_RESET;
	bool *asked = &lint->virtio.asked[e->device];

	if (!to) {
		*asked = false;
		return;
	}
	if (gone)
		lint_find(lint, RULE_VIRTIO_ORDER, key(e, gone), 0,
			  "status %02xh is written to %s where it was %02xh: bits %02xh would be "
			  "cleared, "
			  "which a reset alone does",
			  to, id, before, gone);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (to & ~before & steps[i].bit && steps[i].before & ~(to | before))
			lint_find(lint, RULE_VIRTIO_ORDER, key(e, 0x100 | steps[i].bit), 0,
				  "status %02xh of %s sets %s without %s", to, id, steps[i].name,
				  steps[i].names_before);
	if (to & ~before & STATUS_FEATURES_OK) {
		*asked = false;
		if (!(behind & STATUS_FEATURES_OK))
			lint_find(lint, RULE_VIRTIO_FEATURES, key(e, 1), 0,
				  "%s does not take FEATURES_OK: the driver has accepted features "
				  "that it "
				  "does not offer, or not accepted VIRTIO_F_VERSION_1",
				  id);
	}
	if (to & ~before & STATUS_DRIVER_OK && (to | before) & STATUS_FEATURES_OK && !*asked)
		lint_find(lint, RULE_VIRTIO_ORDER, key(e, 0x200), 0,
			  "DRIVER_OK is set in %s, and nobody looked whether FEATURES_OK stayed",
			  id);
}

static void enable(struct lint *lint, const struct trace_event *e)
{
	const char *id = lint_device(lint, e->device);

	if (!(e->b & STATUS_FEATURES_OK))
		lint_find(lint, RULE_VIRTIO_EARLY, key(e, e->a), 0,
			  "queue %u of %s is enabled before FEATURES_OK (status %02llxh)", e->a, id,
			  (unsigned long long)e->b);
	else if (!e->c)
		lint_find(lint, RULE_VIRTIO_EARLY, key(e, 0x10000 | e->a), 0,
			  "queue %u of %s is enabled before its three areas have addresses", e->a,
			  id);
}

static void rung(struct lint *lint, const struct trace_event *e)
{
	const char *id = lint_device(lint, e->device);

	if (e->b & STATUS_NEEDS_RESET)
		return;
	if (!(e->b & STATUS_DRIVER_OK))
		lint_find(lint, RULE_VIRTIO_EARLY, key(e, 0x20000 | e->a), 0,
			  "queue %u of %s is notified before DRIVER_OK (status %02llxh)", e->a, id,
			  (unsigned long long)e->b);
	else
		lint_find(lint, RULE_VIRTIO_EARLY, key(e, 0x30000 | e->a), 0,
			  "queue %u of %s is notified, which is not enabled", e->a, id);
}

static void remark(struct lint *lint, const struct trace_event *e)
{
	switch (e->sub) {
	case TRACE_STATUS_READ:
		lint->virtio.asked[e->device] = true;
		break;
	case TRACE_STATUS_WRITE:
		status(lint, e);
		break;
	case TRACE_FEATURES_LATE:
		lint_find(lint, RULE_VIRTIO_FEATURES, key(e, 0), 0,
			  "features of %s are accepted behind FEATURES_OK, which comes to nothing",
			  lint_device(lint, e->device));
		break;
	case TRACE_QUEUE_ENABLE:
		enable(lint, e);
		break;
	case TRACE_QUEUE_DEAF:
		rung(lint, e);
		break;
	default:
		break;
	}
}

/* Rings */

static struct lint_chain *chain_of(struct lint *lint, const struct trace_event *e)
{
	unsigned int number = (unsigned int)(e->c >> 16);
	unsigned int at = (number + 61U * e->sub + 251U * e->device) % CHAINS_WATCHED;

	return &lint->virtio.chains[at];
}

static void taken(struct lint *lint, const struct trace_event *e)
{
	if (!e->b && !e->a && !(e->c & UINT16_MAX & ~(uint64_t)TRACE_PACKED_FLAGS))
		lint_find(lint, RULE_RING_FIRST, key(e, e->sub), 0,
			  "queue %u of %s offers a chain whose first descriptor, number %u, is all "
			  "zeroes",
			  e->sub, lint_device(lint, e->device), (unsigned int)(e->c >> 16));
	/* One that was there is watched no longer. */
	*chain_of(lint, e) = (struct lint_chain){
		.address = e->b,
		.len = e->a,
		.number = (uint32_t)e->c,
		.device = e->device,
		.queue = e->sub,
		.used = true,
	};
}

static void done(struct lint *lint, const struct trace_event *e)
{
	struct lint_chain *chain = chain_of(lint, e);

	if (!chain->used || chain->device != e->device || chain->queue != e->sub ||
	    chain->number >> 16 != (uint32_t)e->c >> 16)
		return;
	chain->used = false;
	if (chain->address == e->b && chain->len == e->a && chain->number == (uint32_t)e->c)
		return;
	lint_find(lint, RULE_RING_CHANGED, key(e, e->sub), 0,
		  "descriptor %u of queue %u of %s was address %llxh, length %xh, flags %xh when "
		  "its chain "
		  "was taken, and is %llxh, %xh, %xh before it is done",
		  (unsigned int)(e->c >> 16), e->sub, lint_device(lint, e->device),
		  (unsigned long long)chain->address, chain->len, chain->number & 0xffff,
		  (unsigned long long)e->b, e->a, (unsigned int)(e->c & 0xffff));
}

static void broken(struct lint *lint, const struct trace_event *e, const char *text)
{
	/* virtio_queue.c and virtq_split.c say it so; what is no queue's is the host's. */
	bool loop = strstr(text, "or a loop");

	if (!strncmp(text, "queue ", 6))
		lint_find(lint, loop ? RULE_RING_LOOP : RULE_RING_BROKEN, key(e, 0), 0,
			  "%s: %.160s", lint_device(lint, e->device), text);
}

void virtio_event(struct lint *lint, const struct trace_event *e, const char *text)
{
	if (e->device >= TRACE_DEVICES_MAX)
		return;
	switch (e->kind) {
	case TRACE_REMARK:
		remark(lint, e);
		break;
	case TRACE_HEAD:
		if (e->size)
			done(lint, e);
		else
			taken(lint, e);
		break;
	case TRACE_BROKEN:
		broken(lint, e, text);
		break;
	default:
		break;
	}
}
