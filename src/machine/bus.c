/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/trace.h"

struct range {
	uint64_t at;
	uint64_t len;
	const struct bus_ops *ops;
	struct device *dev;
};

struct bus {
	const char *name;
	uint64_t limit;
	pthread_rwlock_t lock; /* of the two tables; never held around a device's callback */
	struct range *ranges;  /* ascending */
	size_t count;
	struct bus_doorbell *bells;
	size_t bell_count;
	struct bus_doorbell_sink sink;
	atomic_ulong misses;
	atomic_ulong signs; /* of progress; roughly, for nobody waits for another to count */
	unsigned int kind;  /* what the trace calls it: TRACE_MEMORY, or 0 for ports */
};

int bus_create(struct bus **bus, const char *name, uint64_t limit, struct err *err)
{
	*bus = calloc(1, sizeof(**bus));
	if (!*bus)
		return err_sys(err, ENOMEM, "%s bus", name);
	(*bus)->name = name;
	(*bus)->limit = limit;
	(*bus)->kind = limit > 65536 ? TRACE_MEMORY : 0;
	pthread_rwlock_init(&(*bus)->lock, NULL);
	return 0;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus->ranges);
	free(bus->bells);
	free(bus);
}

const char *bus_name(const struct bus *bus)
{
	return bus->name;
}

/* The index of the first range that ends above @at. */
static size_t lower_bound(const struct bus *bus, uint64_t at)
{
	size_t lo = 0, hi = bus->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct range *r = &bus->ranges[mid];

		if (at >= r->at && at - r->at >= r->len)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int overlap(const struct bus *bus, const struct range *r, const struct range *there,
		   struct err *err)
{
	return err_set(err, EBUSY, "%s %llx-%llx, for %s, overlaps %llx-%llx of %s", bus->name,
		       (unsigned long long)r->at, (unsigned long long)(r->at + r->len - 1),
		       r->dev->id, (unsigned long long)there->at,
		       (unsigned long long)(there->at + there->len - 1), there->dev->id);
}

static int insert(struct bus *bus, const struct range *r, struct err *err)
{
	size_t i = lower_bound(bus, r->at);
	struct range *grown;

	if (i < bus->count && ranges_overlap(r->at, r->len, bus->ranges[i].at, bus->ranges[i].len))
		return overlap(bus, r, &bus->ranges[i], err);
	grown = realloc(bus->ranges, (bus->count + 1) * sizeof(*grown));
	if (!grown)
		return err_sys(err, ENOMEM, "%s bus", bus->name);
	bus->ranges = grown;
	memmove(&grown[i + 1], &grown[i], (bus->count - i) * sizeof(*grown));
	grown[i] = *r;
	bus->count++;
	return 0;
}

/* Tells the trace where a device is reached; @len 0: no longer there. */
static void note(const struct bus *bus, const struct range *r, uint64_t len)
{
	if (r->dev->machine)
		trace_range(r->dev->machine->trace, r->dev->number, bus->kind | r->ops->region,
			    r->at, len);
}

int bus_map(struct bus *bus, uint64_t at, uint64_t len, const struct bus_ops *ops,
	    struct device *dev, struct err *err)
{
	const struct range r = {.at = at, .len = len, .ops = ops, .dev = dev};
	int ret;

	if (!len || !range_fits(at, len, bus->limit))
		return err_set(err, EINVAL, "%s %llx, %llu bytes long, is not on the bus",
			       bus->name, (unsigned long long)at, (unsigned long long)len);
	pthread_rwlock_wrlock(&bus->lock);
	ret = insert(bus, &r, err);
	pthread_rwlock_unlock(&bus->lock);
	if (!ret)
		note(bus, &r, len);
	return ret;
}

void bus_unmap(struct bus *bus, uint64_t at)
{
	struct range gone = {.dev = NULL};
	size_t i;

	pthread_rwlock_wrlock(&bus->lock);
	i = lower_bound(bus, at);
	if (i < bus->count && bus->ranges[i].at == at) {
		gone = bus->ranges[i];
		bus->count--;
		memmove(&bus->ranges[i], &bus->ranges[i + 1],
			(bus->count - i) * sizeof(*bus->ranges));
	}
	pthread_rwlock_unlock(&bus->lock);
	if (gone.dev)
		note(bus, &gone, 0);
}

/* What an access at @at meets: a range, or the number of bytes up to the next one. */
static bool decode(struct bus *bus, uint64_t at, unsigned int size, struct range *r,
		   unsigned int *gap)
{
	bool hit = false;
	size_t i;

	*gap = size;
	pthread_rwlock_rdlock(&bus->lock);
	i = lower_bound(bus, at);
	if (i < bus->count) {
		*r = bus->ranges[i];
		hit = at >= r->at;
		if (!hit && r->at - at < size)
			*gap = (unsigned int)(r->at - at);
	}
	pthread_rwlock_unlock(&bus->lock);
	return hit;
}

/* The largest piece of an access of @left bytes at @offset that the device takes at once. */
static unsigned int piece(const struct range *r, uint64_t offset, unsigned int left)
{
	unsigned int max = r->ops->max_size ? r->ops->max_size : 8;
	unsigned int n = 8;

	while (n > left || n > max || n > r->len - offset)
		n /= 2;
	return n;
}

/* Behind the device's answer: what reading brought about comes before it. */
static void get(const struct bus *bus, const struct range *r, uint64_t offset, unsigned int n,
		uint8_t *data)
{
	uint64_t v = r->ops->read ? r->ops->read(r->dev, offset, n) : UINT64_MAX;

	trace_event(TRACE_READ, r->dev->number, bus->kind | r->ops->region, n, (uint32_t)offset,
		    v & ones(n), r->at + offset);
	v = htole64(v);
	memcpy(data, &v, n);
}

static void put(struct bus *bus, const struct range *r, uint64_t offset, unsigned int n,
		const uint8_t *data)
{
	uint64_t v = 0;

	memcpy(&v, data, n);
	if (!r->dev->class || !r->dev->class->ticks)
		atomic_store_explicit(&bus->signs,
				      atomic_load_explicit(&bus->signs, memory_order_relaxed) + 1,
				      memory_order_relaxed);
	trace_event(TRACE_WRITE, r->dev->number, bus->kind | r->ops->region, n, (uint32_t)offset,
		    le64toh(v), r->at + offset);
	if (r->ops->write)
		r->ops->write(r->dev, offset, n, le64toh(v));
}

/* @owed is the range whose settle() is due, if any. */
static void settle(struct range *owed)
{
	if (owed->dev && owed->ops->settle)
		owed->ops->settle(owed->dev);
	owed->dev = NULL;
}

/* What no device decodes. */
static void miss(struct bus *bus, uint64_t at, unsigned int n, uint8_t *data, bool write)
{
	uint64_t v = 0;

	atomic_fetch_add_explicit(&bus->misses, 1, memory_order_relaxed);
	if (!write)
		memset(data, 0xff, n);
	memcpy(&v, data, n);
	trace_event(write ? TRACE_WRITE : TRACE_READ, TRACE_NO_DEVICE, bus->kind, n, 0, le64toh(v),
		    at);
}

/* One element that no single callback can serve: cut into pieces, each decoded on its own. */
static void access_pieces(struct bus *bus, uint64_t at, unsigned int size, uint8_t *data,
			  bool write, struct range *owed)
{
	struct range r;
	unsigned int n;

	for (; size; at += n, data += n, size -= n) {
		if (!decode(bus, at, size, &r, &n)) {
			miss(bus, at, n, data, write);
			continue;
		}
		n = piece(&r, at - r.at, size);
		if (write && (owed->dev != r.dev || owed->ops != r.ops))
			settle(owed);
		device_lock(r.dev);
		if (write)
			put(bus, &r, at - r.at, n, data);
		else
			get(bus, &r, at - r.at, n, data);
		device_unlock(r.dev);
		if (write)
			*owed = r;
	}
}

static void access_string(struct bus *bus, uint64_t at, unsigned int size, uint8_t *data,
			  uint32_t count, bool write)
{
	struct range r, owed = {.dev = NULL};
	unsigned int gap;

	if (!count)
		return;
	if (!decode(bus, at, size, &r, &gap) || piece(&r, at - r.at, size) != size) {
		for (; count; count--, data += size)
			access_pieces(bus, at, size, data, write, &owed);
		settle(&owed);
		return;
	}
	device_lock(r.dev);
	for (; count; count--, data += size)
		if (write)
			put(bus, &r, at - r.at, size, data);
		else
			get(bus, &r, at - r.at, size, data);
	device_unlock(r.dev);
	if (write)
		settle(&r);
}

uint64_t bus_read(struct bus *bus, uint64_t at, unsigned int size)
{
	uint64_t v = 0;

	bug_on(size < 1 || size > 8);
	access_string(bus, at, size, (uint8_t *)&v, 1, false);
	return le64toh(v);
}

void bus_read_string(struct bus *bus, uint64_t at, unsigned int size, void *to, uint32_t count)
{
	bug_on(size < 1 || size > 8);
	access_string(bus, at, size, to, count, false);
}

bool bus_takes_late(struct bus *bus, uint64_t at)
{
	struct range r;
	unsigned int gap;

	return decode(bus, at, 1, &r, &gap) && at - r.at < 64 &&
	       r.ops->late & bit64((unsigned int)(at - r.at));
}

uint64_t bus_misses(const struct bus *bus)
{
	return atomic_load_explicit(&bus->misses, memory_order_relaxed);
}

uint64_t bus_signs(const struct bus *bus)
{
	return atomic_load_explicit(&bus->signs, memory_order_relaxed);
}

void bus_each(struct bus *bus,
	      void (*fn)(void *arg, uint64_t at, uint64_t len, const struct device *dev), void *arg)
{
	pthread_rwlock_rdlock(&bus->lock);
	for (size_t i = 0; i < bus->count; i++)
		fn(arg, bus->ranges[i].at, bus->ranges[i].len, bus->ranges[i].dev);
	pthread_rwlock_unlock(&bus->lock);
}

/* Doorbells */

void bus_set_doorbell_sink(struct bus *bus, const struct bus_doorbell_sink *sink)
{
	bus->sink = sink ? *sink : (struct bus_doorbell_sink){0};
}

/* KVM's rule: no write may ring two. */
static bool bells_collide(const struct bus_doorbell *a, const struct bus_doorbell *b)
{
	return a->at == b->at &&
	       (!a->size || !b->size ||
		(a->size == b->size && (!a->match || !b->match || a->value == b->value)));
}

static bool same_bell(const struct bus_doorbell *a, const struct bus_doorbell *b)
{
	return a->size == b->size && a->match == b->match && bells_collide(a, b);
}

static int check_bell(const struct bus *bus, const struct bus_doorbell *bell, struct err *err)
{
	const unsigned long long at = bell->at;

	if (bell->size > 8 || (bell->size && !is_power_of_two(bell->size)))
		return err_set(
			err, EINVAL,
			"%s doorbell %llx has a size of %u bytes; it can be 1, 2, 4, 8 or any",
			bus->name, at, bell->size);
	if (bell->match && !bell->size)
		return err_set(err, EINVAL, "%s doorbell %llx matches a value but has no size",
			       bus->name, at);
	if (!range_fits(at, MAX(bell->size, 1U), bus->limit))
		return err_set(err, EINVAL, "%s doorbell %llx is not on the bus", bus->name, at);
	return 0;
}

static int add_bell(struct bus *bus, const struct bus_doorbell *bell, struct err *err)
{
	struct bus_doorbell *grown;

	for (size_t i = 0; i < bus->bell_count; i++)
		if (bells_collide(&bus->bells[i], bell))
			return err_set(err, EEXIST, "%s doorbell %llx is there already", bus->name,
				       (unsigned long long)bell->at);
	grown = realloc(bus->bells, (bus->bell_count + 1) * sizeof(*grown));
	if (!grown)
		return err_sys(err, ENOMEM, "%s doorbell", bus->name);
	bus->bells = grown;
	grown[bus->bell_count++] = *bell;
	return 0;
}

int bus_doorbell_add(struct bus *bus, const struct bus_doorbell *bell, struct err *err)
{
	int ret = check_bell(bus, bell, err);

	if (ret)
		return ret;
	if (bus->sink.add)
		return bus->sink.add(bus->sink.arg, bus, bell, err);
	pthread_rwlock_wrlock(&bus->lock);
	ret = add_bell(bus, bell, err);
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

void bus_doorbell_del(struct bus *bus, const struct bus_doorbell *bell)
{
	if (bus->sink.del) {
		bus->sink.del(bus->sink.arg, bus, bell);
		return;
	}
	pthread_rwlock_wrlock(&bus->lock);
	for (size_t i = 0; i < bus->bell_count; i++)
		if (same_bell(&bus->bells[i], bell)) {
			bus->bells[i] = bus->bells[--bus->bell_count];
			break;
		}
	pthread_rwlock_unlock(&bus->lock);
}

/* Whether there is a doorbell at @at that nobody rings for us. */
static bool has_bell(struct bus *bus, uint64_t at)
{
	bool there = false;

	if (bus->sink.add)
		return false;
	pthread_rwlock_rdlock(&bus->lock);
	for (size_t i = 0; !there && i < bus->bell_count; i++)
		there = bus->bells[i].at == at;
	pthread_rwlock_unlock(&bus->lock);
	return there;
}

/* Whether a doorbell took the write. */
static bool ring(struct bus *bus, uint64_t at, unsigned int size, const uint8_t *data)
{
	const uint64_t one = 1;
	uint64_t value = 0;
	bool rung = false;

	memcpy(&value, data, size);
	value = le64toh(value);
	pthread_rwlock_rdlock(&bus->lock);
	for (size_t i = 0; !rung && i < bus->bell_count; i++) {
		const struct bus_doorbell *b = &bus->bells[i];

		if (b->at != at || (b->size && b->size != size) || (b->match && b->value != value))
			continue;
		/* A full counter has been rung already. */
		rung = write(b->fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN;
	}
	pthread_rwlock_unlock(&bus->lock);
	return rung;
}

static void write_string(struct bus *bus, uint64_t at, unsigned int size, uint8_t *data,
			 uint32_t count)
{
	bug_on(size < 1 || size > 8);
	if (!has_bell(bus, at)) {
		access_string(bus, at, size, data, count, true);
		return;
	}
	for (; count; count--, data += size)
		if (!ring(bus, at, size, data))
			access_string(bus, at, size, data, 1, true);
}

void bus_write(struct bus *bus, uint64_t at, unsigned int size, uint64_t value)
{
	uint64_t v = htole64(value);

	write_string(bus, at, size, (uint8_t *)&v, 1);
}

void bus_write_string(struct bus *bus, uint64_t at, unsigned int size, const void *from,
		      uint32_t count)
{
	write_string(bus, at, size, (uint8_t *)(uintptr_t)from, count);
}
