/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest says of how far it has got, and the timeline that comes of it.
 */
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/phases.h"

static const char *const names[PHASE_KINDS] = {
	[PHASE_START] = "start",   [PHASE_ASSEMBLY] = "assembly", [PHASE_LOADER] = "loader",
	[PHASE_UNPACK] = "unpack", [PHASE_ENTRY] = "entry",       [PHASE_DECOMPRESS] = "decompress",
	[PHASE_KERNEL] = "kernel", [PHASE_INIT] = "init",
};

const char *phase_name(enum phase_kind kind)
{
	return names[kind];
}

void phases_init(struct phases *p)
{
	*p = (struct phases){0};
	lock_init(&p->lock, LOCK_LEAF);
}

void phases_fini(struct phases *p)
{
	lock_destroy(&p->lock);
}

/* Listening */

/* Digits at *@at, no more than nine; false when there are none, or more. */
static bool read_digits(const char **at, uint64_t *v, unsigned int *count)
{
	const char *from = *at;

	for (*v = 0; **at >= '0' && **at <= '9' && *at - from < 10; (*at)++)
		*v = *v * 10 + (uint64_t)(**at - '0');
	*count = (unsigned int)(*at - from);
	return *count >= 1 && *count <= 9;
}

/*
 * Skips "[   12.345678] " in front of a line, printk()'s time in seconds, and what may stand in
 * further brackets behind it (CONFIG_PRINTK_CALLER). False, and nothing skipped, without it.
 */
static bool read_stamp(const char **line, uint64_t *ns)
{
	const char *at = *line;
	uint64_t s, us;
	unsigned int n;

	if (*at++ != '[')
		return false;
	at += strspn(at, " ");
	if (!read_digits(&at, &s, &n) || *at++ != '.' || !read_digits(&at, &us, &n) || n != 6 ||
	    *at++ != ']')
		return false;
	if (*at == '[' && strchr(at, ']'))
		at = strchr(at, ']') + 1;
	*line = at + strspn(at, " ");
	*ns = s * NS_PER_S + us * NS_PER_US;
	return true;
}

/* init/main.c: "Run %s as init process". */
static bool runs_init(const char *text)
{
	return !strncmp(text, "Run ", 4) && strstr(text, " as init process");
}

static void add_mark(struct phases *p, const char *name, size_t len, uint64_t now)
{
	struct phase_mark mark = {.at = now};
	unsigned int i = 0;

	memcpy(mark.name, name, MIN(len, sizeof(mark.name) - 1));
	while (i < p->mark_count && strcmp(p->marks[i].name, mark.name) != 0)
		i++;
	if (i == p->mark_count && i < PHASE_MARKS_MAX)
		p->marks[p->mark_count++] = mark;
}

/* "skep-mark: NAME", with nothing behind it: a shell that shows what it runs is no mark. */
static void hear_mark(struct phases *p, const char *text, uint64_t now)
{
	static const char head[] = "skep-mark: ";
	const char *name = text + sizeof(head) - 1;
	size_t len;

	if (strncmp(text, head, sizeof(head) - 1) != 0)
		return;
	len = strspn(name, PHASE_MARK_CHARS);
	if (len && len < PHASE_MARK_NAME && (!name[len] || !strcmp(name + len, "\r")))
		add_mark(p, name, len, now);
}

/* True when that is how init was heard of. */
static bool hear_text(struct phases *p, const struct phase_console *c)
{
	const char *text = c->line;
	uint64_t stamp = 0, zero;
	bool stamped;

	stamped = read_stamp(&text, &stamp);
	hear_mark(p, text, c->began);
	if (p->heard_init)
		return false;
	if (stamped && stamp < c->began) {
		zero = c->began - stamp;
		p->zero = p->zero ? MIN(p->zero, zero) : zero;
	}
	/* arch/x86/boot/compressed/misc.c */
	if (!stamped && !p->unpacked && !strncmp(text, "Booting the kernel", 18))
		p->unpacked = c->began;
	if (!runs_init(text))
		return false;
	p->init = c->began;
	p->init_stamp = stamp;
	p->heard_init = true;
	return true;
}

static bool hear_line(struct phases *p, struct phase_console *c)
{
	bool init;

	c->line[c->len] = '\0';
	/* What each line of interest begins with. */
	if (!c->len || !strchr("[sRB", c->line[0]))
		return false;
	lock_take(&p->lock);
	init = hear_text(p, c);
	lock_drop(&p->lock);
	return init;
}

/* A console beyond those that there is room for is not listened to. */
static struct phase_console *console_of(struct phases *p, const struct device *dev)
{
	struct phase_console *c = NULL;

	for (unsigned int i = 0; i < PHASE_CONSOLES_MAX; i++)
		if (atomic_load_explicit(&p->consoles[i].dev, memory_order_relaxed) == dev)
			return &p->consoles[i];
	lock_take(&p->lock);
	for (unsigned int i = 0; i < PHASE_CONSOLES_MAX && !c; i++)
		if (!atomic_load(&p->consoles[i].dev))
			c = &p->consoles[i];
	if (c)
		atomic_store(&c->dev, dev);
	lock_drop(&p->lock);
	return c;
}

bool phases_bytes(struct phases *p, const struct device *console, const uint8_t *data, size_t len,
		  uint64_t now)
{
	struct phase_console *c = console_of(p, console);
	bool init = false;

	if (!c)
		return false;
	while (len) {
		const uint8_t *end = memchr(data, '\n', len);
		const size_t n = end ? (size_t)(end - data) : len;
		const size_t kept = MIN(n, sizeof(c->line) - 1 - c->len);

		if (!c->len)
			c->began = now ? now : clock_now();
		if (!p->first_byte)
			p->first_byte = c->began;
		memcpy(c->line + c->len, data, kept);
		c->len += (unsigned int)kept;
		if (end) {
			init |= hear_line(p, c);
			c->len = 0;
		}
		data += n + !!end;
		len -= n + !!end;
	}
	return init;
}

void phases_mark(struct phases *p, const char *name, uint64_t now)
{
	lock_take(&p->lock);
	add_mark(p, name, strlen(name), now);
	lock_drop(&p->lock);
}

/* Telling */

/* The earlier of two moments, of which 0 is none. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

/* @at if it lies within the guest's time; 0 otherwise. */
static uint64_t within(const struct phase_facts *f, uint64_t at)
{
	return at >= f->first_entry && at <= f->ended ? at : 0;
}

/*
 * When a kernel that unpacks itself had done so. Its decompressor touches nothing outside, unless
 * it was told to use a console, and then it says when it is done.
 */
static uint64_t kernel_at(const struct phases *p, const struct phase_facts *f)
{
	if (!f->unpacks_itself)
		return f->first_entry;
	if (within(f, p->unpacked))
		return p->unpacked;
	return earlier(within(f, f->first_exit),
		       earlier(within(f, p->zero), within(f, p->first_byte)));
}

static uint64_t init_at(const struct phases *p, const struct phase_facts *f)
{
	const uint64_t zero = within(f, p->zero);
	uint64_t at = p->init;

	if (at && zero && p->init_stamp)
		at = MIN(at, zero + p->init_stamp);
	if (!at && p->mark_count)
		at = p->marks[0].at;
	return within(f, at);
}

static void phase(struct timeline *t, const struct phase_facts *f, enum phase_kind kind,
		  uint64_t from, uint64_t to)
{
	t->phases[kind] = (struct timeline_phase){
		.came = true,
		.at = from - f->started,
		.took = to > from ? to - from : 0,
	};
}

/* From the first instruction on. */
static void tell_guest(const struct phases *p, const struct phase_facts *f, struct timeline *t)
{
	const uint64_t kernel = kernel_at(p, f);
	uint64_t init = init_at(p, f);

	if (kernel && init)
		init = MAX(init, kernel);
	if (f->unpacks_itself)
		phase(t, f, PHASE_DECOMPRESS, f->first_entry, kernel ? kernel : f->ended);
	if (kernel)
		phase(t, f, PHASE_KERNEL, kernel, init ? init : f->ended);
	if (init)
		phase(t, f, PHASE_INIT, init, f->ended);
	for (unsigned int i = 0; i < p->mark_count; i++) {
		if (!within(f, p->marks[i].at))
			continue;
		t->marks[t->mark_count] = p->marks[i];
		t->marks[t->mark_count++].at -= f->started;
	}
}

void phases_timeline(const struct phases *p, const struct phase_facts *facts, struct timeline *t)
{
	struct phase_facts f = *facts;

	*t = (struct timeline){.total = f.ended - f.started};
	phase(t, &f, PHASE_START, f.started, f.created);
	phase(t, &f, PHASE_ASSEMBLY, f.created, f.assembled);
	phase(t, &f, PHASE_LOADER, f.assembled, f.loaded);
	if (f.unpack_from)
		phase(t, &f, PHASE_UNPACK, f.unpack_from, f.unpack_to);
	phase(t, &f, PHASE_ENTRY, f.loaded, f.first_entry ? f.first_entry : f.ended);
	if (f.first_reset)
		f.ended = f.first_reset;
	if (f.first_entry)
		tell_guest(p, &f, t);
}
