/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine around one model of the device table, made anew for each input, and what must hold of
 * any model: saved and loaded it is what it was, and reset it is what a new one is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device.h"
#include "skep/bits.h"
#include "skep/class.h"
#include "skep/err.h"
#include "skep/state.h"
#include "skep/worker_sim.h"

#define IMAGE_SIZE  (128U << 10)
#define SAVED_MAX   (256U << 10)
#define SERVED_MOST 256U /* chains in one step of a worker */
#define PARTS_MOST  4
#define NET_STATUS  6 /* in virtio_net's configuration: 5.1.4 */

enum { VARIANT_MMIO = 16, VARIANT_CHIPS = 32, VARIANT_SPINS = 64 };

/* What a model is told; "@" and a letter are something of the host's. */
static const struct {
	const char *model;
	const char *options[4];
} variants[] = {
	{"acpi_pm", {"", "timer=off", "", ""}},
	{"debug_exit", {"", "compat=qemu", "", ""}},
	{"i8042", {"", "type=ab\\n", "", ""}},
	{"ide",
	 {"path=@a", "path=@a path1=@b", "path=@a serial=x iops=10", "path=@a overlay=temporary"}},
	{"ioapic", {"", "version=0x11", "", ""}},
	{"rtc146818", {"base=2024-02-28T23:59:54", "base=1999-12-31T23:59:58", "", ""}},
	{"uart8250", {"", "line=com2", "", ""}},
	{"virtio_balloon", {"", "size=128K stats=1", "reporting=off", "deflate-on-oom=off"}},
	{"virtio_blk",
	 {"path=@a", "path=@a ro=on serial=x queues=2", "path=@a overlay=temporary",
	  "path=@a cache=writethrough iops=10 block-size=4096"}},
	{"virtio_console",
	 {"", "port1=a:none port3=b:none", "port1=a:file:/dev/null", "backend=file:/dev/null"}},
	{"virtio_net",
	 {"stream=@n mac=02:00:00:00:00:01", "stream=@n mac=02:00:00:00:00:01 mtu=1500",
	  "stream=@n mac=02:00:00:00:00:01 pcap=/dev/null", "stream=@n mac=02:00:00:00:00:01"}},
	{"virtio_rng", {"source=/dev/zero", "source=@b", "", ""}},
};

struct saved {
	size_t len[PARTS_MOST], total;
	uint8_t bytes[SAVED_MAX]; /* one behind the other */
};

static void save(struct device *dev, struct saved *s)
{
	const struct state_table *table;
	void *at;

	memset(s->len, 0, sizeof(s->len));
	s->total = 0;
	for (unsigned int n = 0; (table = device_state_part(dev, n, &at)); n++) {
		long len;

		must(n < PARTS_MOST);
		len = state_save(table, at, s->bytes + s->total, SAVED_MAX - s->total);
		must(len > 0);
		s->len[n] = (size_t)len;
		s->total += (size_t)len;
	}
}

/* The structs themselves, of which tables leave out nothing. */
static void copy(struct device *dev, struct saved *s)
{
	const struct state_table *table;
	void *at;

	s->total = 0;
	for (unsigned int n = 0; (table = device_state_part(dev, n, &at)); n++) {
		must(table->size <= SAVED_MAX - s->total);
		memcpy(s->bytes + s->total, at, table->size);
		s->total += table->size;
	}
}

/* Of the machine that was made last. */
static struct saved fresh[BENCH_DEVICES];

/* What is the same for all inputs. */
static struct {
	const struct device_class *models[CLASS_MAX];
	unsigned int model_count;
	int image[2];
	uint8_t *bytes[2]; /* of the images */
	int listener;
	char socket[64];
} host;

static void host_init(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	host.model_count = (unsigned int)class_table(host.models, CLASS_MAX);
	must(host.model_count && host.model_count <= CLASS_MAX);
	for (unsigned int i = 0; i < 2; i++) {
		host.image[i] = memfd_create("image", MFD_CLOEXEC);
		must(!ftruncate(host.image[i], IMAGE_SIZE));
		host.bytes[i] = mmap(NULL, IMAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
				     host.image[i], 0);
		must(host.bytes[i] != MAP_FAILED);
	}
	snprintf(host.socket, sizeof(host.socket), "/tmp/skep-fuzz-%d", getpid());
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", host.socket);
	host.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	unlink(host.socket);
	must(!bind(host.listener, (struct sockaddr *)&addr, sizeof(addr)));
	must(!listen(host.listener, 4));
	must(!setenv("TMPDIR", "/dev/shm", 1)); /* of temporary overlays */
}

static void substitute(char *to, size_t room, const char *options)
{
	size_t n = 0;

	for (; *options; options++) {
		int len;

		if (*options != '@')
			len = snprintf(to + n, room - n, "%c", *options);
		else if (*++options == 'n')
			len = snprintf(to + n, room - n, "%s", host.socket);
		else
			len = snprintf(to + n, room - n, "/proc/self/fd/%d",
				       host.image[*options - 'a']);
		n += (size_t)len;
		must(n < room);
	}
	to[n] = '\0';
}

static const char *options_of(const char *model, unsigned int variant)
{
	for (size_t i = 0; i < ARRAY_SIZE(variants); i++)
		if (!strcmp(variants[i].model, model))
			return variants[i].options[variant & 3];
	return "";
}

static struct device *make(struct bench *b, const char *id, const char *model, const char *options)
{
	struct device *dev = rig_device(&b->m.rig, id, model, options);

	if (!dev) {
		fprintf(stderr, "%s: %s\n", model, b->m.rig.err.text);
		abort();
	}
	return dev;
}

static void add(struct bench *b, const char *model)
{
	if (b->subject && !strcmp(b->subject->class->name, model))
		return;
	must(b->count < BENCH_DEVICES);
	b->devices[b->count++] = make(b, model, model, "");
}

static void make_subject(struct bench *b, const struct device_class *class, unsigned int variant)
{
	char options[512];

	substitute(options, sizeof(options), options_of(class->name, variant));
	if (class->family == &virtio_family)
		snprintf(options + strlen(options), sizeof(options) - strlen(options),
			 " packed=on in-order=on transport=%s",
			 variant & VARIANT_MMIO ? "mmio" : "pci");
	b->subject = make(b, "subject", class->name, options);
	b->devices[b->count++] = b->subject;
	if (class->family == &virtio_family)
		b->virtio = (struct virtio *)((uintptr_t)b->subject + class->family_offset);
	if (strstr(options, "stream="))
		b->peer = accept4(host.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static bool wants_bridge(const struct device_class *class, unsigned int variant)
{
	return !strcmp(class->name, "isa_bridge") ||
	       (class->family == &virtio_family && !(variant & VARIANT_MMIO));
}

/* @time is what has passed when its devices are made. */
static void bench_make(struct bench *b, unsigned int model, unsigned int variant, uint64_t time)
{
	const struct device_class *class;
	struct rig *r = &b->m.rig;

	class = host.models[model % host.model_count];
	memset(b, 0, sizeof(*b));
	b->peer = -1;
	b->model = model;
	b->variant = variant;
	rig_init(r, 0);
	worker_sim_may_spin(r->machine.control, variant & VARIANT_SPINS);
	bench_pass_time(b, time);
	if (wants_bridge(class, variant))
		add(b, "pci_host");
	make_subject(b, class, variant);
	if (!strcmp(class->name, "pci_host"))
		add(b, "isa_bridge");
	if (variant & VARIANT_CHIPS) {
		add(b, "pic8259a");
		add(b, "ioapic");
	}
	must(!pci_place(r->machine.pci, &r->err));
	memcpy(b->level, r->level, sizeof(b->level));
	b->intr = r->intr;
	b->watched = r->watched;
	for (unsigned int i = 0; i < b->count; i++)
		copy(b->devices[i], &fresh[i]);
}

void bench_init(struct bench *b, unsigned int model, unsigned int variant)
{
	if (!host.model_count)
		host_init();
	for (unsigned int i = 0; i < 2; i++)
		memset(host.bytes[i], (int)(i + 1), IMAGE_SIZE);
	chains_init();
	bench_make(b, model, variant, 0);
}

static void destroy_devices(struct bench *b)
{
	while (b->count)
		device_destroy(b->devices[--b->count]);
	if (b->peer >= 0)
		close(b->peer);
	b->peer = -1;
}

void bench_fini(struct bench *b)
{
	destroy_devices(b);
	for (unsigned int i = 0; i < GSI_MAX; i++)
		irq_detach(&b->in[i]);
	rig_fini(&b->m.rig);
}

/* Where a guest reaches what there is */

struct listing {
	struct bus *bus;
	struct window *windows;
	unsigned int count;
};

static void list_range(void *arg, uint64_t at, uint64_t len, const struct device *dev)
{
	struct listing *l = arg;

	(void)dev;
	/* Configuration space is listed by its functions. */
	if (l->count < BENCH_WINDOWS && at != PCI_ECAM_AT)
		l->windows[l->count++] = (struct window){l->bus, at, len};
}

static void list_functions(struct bench *b, struct listing *l)
{
	struct pci *pci = b->m.rig.machine.pci;

	for (unsigned int n = 0; n < b->count && l->count < BENCH_WINDOWS; n++)
		if (pci_config_read(pci, n << 3, 0, 2) != 0xffff)
			l->windows[l->count++] = (struct window){
				l->bus, PCI_ECAM_AT + ((uint64_t)n << 15), PCI_CONFIG_SIZE};
}

unsigned int bench_windows(struct bench *b, struct window windows[BENCH_WINDOWS])
{
	const struct machine *m = &b->m.rig.machine;
	struct listing l = {.bus = m->ports, .windows = windows};

	bus_each(m->ports, list_range, &l);
	l.bus = m->mmio;
	bus_each(m->mmio, list_range, &l);
	list_functions(b, &l);
	return l.count;
}

/* Time and work */

/*
 * Nothing serves chains but a worker, and that only some at a time. A ring that its own device
 * writes over may have work for ever, so the steps are counted, and not what they lead to.
 */
void bench_turn(struct bench *b, unsigned int steps)
{
	must(!chains_taken());
	while (steps-- && worker_sim_step(b->m.rig.machine.control))
		must(chains_taken() <= SERVED_MOST);
	rig_deliver(&b->m.rig);
}

void bench_pass_time(struct bench *b, uint64_t ns)
{
	clock_advance(ns);
	worker_sim_advance(b->m.rig.machine.control, ns);
	vtime_advance(b->m.rig.machine.time, ns);
	b->time += ns;
}

void bench_pause(struct bench *b)
{
	for (unsigned int i = 0; i < b->count; i++)
		device_pause(b->devices[i]);
	b->paused = true;
	for (unsigned int i = 0; b->virtio && i < b->virtio->queue_count; i++) {
		const struct virtio_data *d = &b->virtio->data;

		must(!b->virtio->queues[i].inflight);
		must(d->avail[i] == d->used[i] || b->tampered);
	}
}

void bench_resume(struct bench *b)
{
	for (unsigned int i = 0; i < b->count; i++)
		device_resume(b->devices[i]);
	b->paused = false;
}

void bench_reset(struct bench *b)
{
	struct rig *r = &b->m.rig;

	for (unsigned int i = 0; i < GSI_MAX; i++)
		irq_set(&b->in[i], false);
	for (unsigned int i = 0; i < b->count; i++)
		device_reset(b->devices[i]);
	must(!pci_place(r->machine.pci, &r->err));
	b->paused = false;
	r->ended = false;
}

/* States */

static bool load(struct device *dev, const struct saved *s, struct err *err)
{
	const struct device_class *class = dev->class;
	const struct state_table *table;
	const uint8_t *from = s->bytes;
	int ret = 0;
	void *at;

	for (unsigned int n = 0; !ret && (table = device_state_part(dev, n, &at)); n++) {
		ret = state_load(table, at, from, s->len[n], err);
		from += s->len[n];
	}
	if (!ret && class->family && class->family->loaded)
		ret = class->family->loaded(dev, err);
	if (!ret && class->loaded)
		ret = class->loaded(dev, err);
	must(!ret || err->text[0]);
	return !ret;
}

static bool is_equal(const struct saved *a, const struct saved *b)
{
	return a->total == b->total && !memcmp(a->bytes, b->bytes, a->total);
}

/* Ends with what differs, of what came of save(). */
static void must_equal(struct device *dev, const struct saved *was, const struct saved *is,
		       const char *when)
{
	const struct state_table *table;
	size_t i = 0;
	void *at;

	if (is_equal(was, is))
		return;
	while (i < was->total && was->bytes[i] == is->bytes[i])
		i++;
	fprintf(stderr, "%s, %s differs from byte %zu on: %#x, before %#x\n", when,
		dev->class->name, i, is->bytes[i], was->bytes[i]);
	for (unsigned int n = 0; (table = device_state_part(dev, n, &at)); n++)
		state_print(table, at, stderr, "");
	abort();
}

static void reload(struct device *dev, const struct saved *before)
{
	struct err err = {.text = ""};

	device_lock(dev);
	if (!load(dev, before, &err)) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	device_unlock(dev);
}

/* Chips are the last, so that what drives their wires drives them before they are loaded. */
void bench_survives(struct bench *b)
{
	static struct saved before[BENCH_DEVICES], after;
	const struct rig *r = &b->m.rig;
	const bool paused = b->paused;
	bool level[GSI_MAX], intr;

	bench_pause(b);
	memcpy(level, r->level, sizeof(level));
	intr = r->intr;
	for (unsigned int i = 0; i < b->count; i++)
		save(b->devices[i], &before[i]);
	for (unsigned int i = 0; i < b->count; i++)
		device_reset(b->devices[i]);
	for (unsigned int i = 0; i < b->count; i++)
		reload(b->devices[i], &before[i]);
	for (unsigned int i = 0; i < b->count; i++) {
		save(b->devices[i], &after);
		must_equal(b->devices[i], &before[i], &after, "loaded");
	}
	must(!memcmp(level, r->level, sizeof(level)) && intr == r->intr);
	if (!paused)
		bench_resume(b);
}

/* One that is refused leaves nothing to rely on, so that the device gets its own back. */
void bench_tamper(struct bench *b, struct input *in)
{
	static struct saved own, changed;
	const unsigned int how = (unsigned int)input_get(in, 1);
	const size_t offset = how & 8 ? input_get(in, 4) : 0;
	struct device *dev = b->subject;
	struct err err = {.text = ""};

	bench_pause(b);
	save(dev, &own);
	changed = own;
	for (unsigned int n = 0; n <= (how & 7) && own.total; n++)
		changed.bytes[(offset + input_get(in, 2)) % own.total] = (uint8_t)input_get(in, 1);
	device_reset(dev);
	device_lock(dev);
	if (load(dev, &changed, &err))
		b->tampered = true;
	else
		must(load(dev, &own, &err));
	device_unlock(dev);
	bench_resume(b);
}

/* Memory with a battery, and a clock; and a network that has gone stays so. */
static bool keeps_state(const struct bench *b, const struct device *dev)
{
	return !strcmp(dev->class->name, "rtc146818") ||
	       (b->peer >= 0 && dev == b->subject && !(b->virtio->data.config[NET_STATUS] & 1));
}

/* As a new one is, or, if it has to do with time, as one is that is made at this time. */
static void must_be_new(struct bench *b, unsigned int i)
{
	static struct saved is;
	static struct bench other;

	copy(b->devices[i], &is);
	if (keeps_state(b, b->devices[i]) || is_equal(&fresh[i], &is))
		return;
	if (b->subject->class->ticks)
		bench_make(&other, b->model, b->variant, b->time);
	must_equal(b->devices[i], &fresh[i], &is, "reset");
	bench_fini(&other);
}

void bench_is_new(struct bench *b)
{
	const struct rig *r = &b->m.rig;

	bench_reset(b);
	must(!memcmp(b->level, r->level, sizeof(b->level)) && b->intr == r->intr);
	must(b->watched == r->watched);
	/* What a state says of how a device was made, a reset does not change. */
	for (unsigned int i = 0; i < b->count && !b->tampered; i++)
		must_be_new(b, i);
}
