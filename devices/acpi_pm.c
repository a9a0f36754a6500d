/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi_pm - the fixed hardware of ACPI: power switch, timer, reset register.
 *
 * ACPI 6.5, sections 4.8.3 and 4.8.3.6. From the base port:
 *
 *	0	PM1_STS, 2 bytes	4	PM1_CNT, 2 bytes	8	PM_TMR, 4 bytes
 *	2	PM1_EN, 2 bytes					c	RESET_REG, 1 byte
 *
 * There is no legacy mode: SCI_EN always reads as one, and the FADT names no SMI command port.
 * There are no buttons, no wake events and no sleeping states but S5, so the timer's overflow is
 * the only event that can happen. The timer counts virtual time; its overflow is worked out when
 * somebody looks, and a host timer runs only while an overflow would interrupt.
 *
 * Invariant: the SCI is high while a bit is set in both PM1_STS and PM1_EN. vCPU threads and the
 * control thread, under the device's lock.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/timer.h"

#define PM_SCI         9
#define PM_TIMER_HZ    UINT64_C(3579545)
#define PM_RESET_VALUE 1
#define PM_SLEEP_S5    5

enum {
	PM1_STATUS_AT = 0,
	PM1_ENABLE_AT = 2,
	PM1_CONTROL_AT = 4,
	PM1_LEN = 6,
	PM_TIMER_AT = 8,
	PM_RESET_AT = 12,
	PM_LEN = 16,
};

/* Tables 4.11 to 4.13 */
#define PM1_TMR       (1U << 0)  /* TMR_STS, TMR_EN */
#define PM1_GBL       (1U << 5)  /* GBL_EN; no firmware ever sets GBL_STS */
#define PM1_RTC       (1U << 10) /* RTC_EN; the clock wakes nothing, so RTC_STS is never set */
#define PM1_SCI_EN    (1U << 0)
#define PM1_BM_RLD    (1U << 1)
#define PM1_SLP_TYP   (7U << 10)
#define PM1_SLP_SHIFT 10
#define PM1_SLP_EN    (1U << 13)

struct pm_state {
	uint16_t status;
	uint16_t enable;
	uint16_t control;
	uint16_t reserved;  /* 0 */
	uint64_t overflows; /* of the timer's highest bit, that PM1_STS has heard of */
};

struct pm_options {
	uint64_t base;
	bool timer;
};

struct pm {
	struct device dev;
	struct pm_options options;
	struct pm_state state;
	struct irq_line sci;
	struct timer overflow;
	bool mapped;
};

static const struct option pm_options[] = {
	{
		.name = "base",
		.type = OPTION_UINT,
		.offset = offsetof(struct pm_options, base),
		.fallback = "0x600",
		.min = 0x100,
		.max = 0x10000 - PM_LEN,
		.help = "first port",
	},
	{
		.name = "timer",
		.type = OPTION_BOOL,
		.offset = offsetof(struct pm_options, timer),
		.fallback = "on",
		.help = "whether there is a power management timer",
	},
	OPTION_END,
};

static const struct state_field pm_fields[] = {
	STATE_FIELD(struct pm_state, status),    STATE_FIELD(struct pm_state, enable),
	STATE_FIELD(struct pm_state, control),   STATE_FIELD(struct pm_state, reserved),
	STATE_FIELD(struct pm_state, overflows),
};
static const struct state_table pm_state = STATE_TABLE("acpi_pm", 1, struct pm_state, pm_fields);

static struct pm *to_pm(struct device *dev)
{
	return container_of(dev, struct pm, dev);
}

/* The count since the machine was made; the guest sees its low 32 bits. */
static uint64_t pm_ticks(const struct pm *pm)
{
	uint64_t now = vtime_now(pm->dev.machine->time);

	return now / NS_PER_S * PM_TIMER_HZ + now % NS_PER_S * PM_TIMER_HZ / NS_PER_S;
}

/* The first moment at which the count has reached @ticks. */
static uint64_t pm_moment(uint64_t ticks)
{
	uint64_t rest = ticks % PM_TIMER_HZ * NS_PER_S;

	return ticks / PM_TIMER_HZ * NS_PER_S + (rest + PM_TIMER_HZ - 1) / PM_TIMER_HZ;
}

/* TMR_STS is set whenever the timer's highest bit changes (section 4.8.3.1.1). */
static void pm_catch_up(struct pm *pm)
{
	uint64_t overflows = pm_ticks(pm) >> 31;

	if (!pm->options.timer || overflows == pm->state.overflows)
		return;
	pm->state.overflows = overflows;
	pm->state.status |= PM1_TMR;
}

/* Brings the SCI and the host timer in step with the registers. */
static void pm_update(struct pm *pm)
{
	const struct pm_state *s = &pm->state;

	pm_catch_up(pm);
	irq_set(&pm->sci, s->status & s->enable);
	if (s->enable & ~s->status & PM1_TMR)
		timer_arm(&pm->overflow, pm_moment((s->overflows + 1) << 31));
	else
		timer_cancel(&pm->overflow);
}

static void pm_overflow(struct device *dev, struct timer *t)
{
	(void)t;
	pm_update(to_pm(dev));
}

/* Ports that hold no register read as all ones, and so does the reset register. */
static uint64_t pm_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct pm *pm = to_pm(dev);
	uint8_t image[PM_LEN + 8];

	pm_catch_up(pm);
	memset(image, 0xff, sizeof(image));
	store_le16(image + PM1_STATUS_AT, pm->state.status);
	store_le16(image + PM1_ENABLE_AT, pm->state.enable);
	store_le16(image + PM1_CONTROL_AT, pm->state.control);
	if (pm->options.timer)
		store_le32(image + PM_TIMER_AT, (uint32_t)pm_ticks(pm));
	return load_le64(image + offset) & ones(size);
}

static uint16_t replace(uint16_t was, uint64_t value, uint64_t touched, uint16_t writable)
{
	touched &= writable;
	return (uint16_t)((was & ~touched) | (value & touched));
}

/*
 * @value and @touched are the PM1 registers side by side, as one number: accesses of any size then
 * need no cases. A byte that the access does not touch is a byte that nothing happens to.
 */
static void pm1_write(struct pm *pm, uint64_t value, uint64_t touched)
{
	struct pm_state *s = &pm->state;

	pm_catch_up(pm);
	s->status &= (uint16_t)~value;
	s->enable = replace(s->enable, value >> 16, touched >> 16,
			    PM1_GBL | PM1_RTC | (pm->options.timer ? PM1_TMR : 0));
	s->control = replace(s->control, value >> 32, touched >> 32, PM1_BM_RLD | PM1_SLP_TYP);
	pm_update(pm);

	/* SLP_EN is not kept: it reads as zero (table 4.13). A sleeping state that \_S5 does not
	 * name does not exist: nothing happens. */
	if (value >> 32 & PM1_SLP_EN && (s->control & PM1_SLP_TYP) >> PM1_SLP_SHIFT == PM_SLEEP_S5)
		machine_end(pm->dev.machine, END_POWEROFF, 0, "the guest powered off through ACPI");
}

static void pm_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	value &= ones(size);
	if (offset < PM1_LEN)
		pm1_write(to_pm(dev), value << (8 * offset), ones(size) << (8 * offset));
	if (offset <= PM_RESET_AT && offset + size > PM_RESET_AT &&
	    (uint8_t)(value >> (8 * (PM_RESET_AT - offset))) == PM_RESET_VALUE)
		machine_end(dev->machine, END_RESET, 0, "the guest asked for a reset through ACPI");
}

static const struct bus_ops pm_ops = {.read = pm_read, .write = pm_write, .max_size = 4};

static int pm_create(struct device *dev, struct err *err)
{
	struct pm *pm = to_pm(dev);
	struct machine *m = dev->machine;
	int ret;

	timer_init(&pm->overflow, m->time, dev, pm_overflow);
	ret = irq_attach(m->irqs, &pm->sci, PM_SCI, err);
	if (ret)
		return ret;
	ret = bus_map(m->ports, pm->options.base, PM_LEN, &pm_ops, dev, err);
	pm->mapped = !ret;
	return ret;
}

static void pm_reset(struct device *dev)
{
	struct pm *pm = to_pm(dev);

	/* The timer goes on counting: what it has overflown so far is history. */
	pm->state = (struct pm_state){
		.control = PM1_SCI_EN,
		.overflows = pm_ticks(pm) >> 31,
	};
	pm_update(pm);
}

static int pm_loaded(struct device *dev, struct err *err)
{
	struct pm *pm = to_pm(dev);
	const struct pm_state *s = &pm->state;
	unsigned int events = pm->options.timer ? PM1_TMR : 0;

	if (s->status & ~events || s->enable & ~(events | PM1_GBL | PM1_RTC) || s->reserved ||
	    !(s->control & PM1_SCI_EN) || s->control & ~(PM1_SCI_EN | PM1_BM_RLD | PM1_SLP_TYP))
		return err_set(err, EPROTO,
			       "%s: status %#x, enable %#x, control %#x are not a state that the "
			       "device can be in",
			       dev->id, s->status, s->enable, s->control);
	pm_update(pm);
	return 0;
}

static void pm_destroy(struct device *dev)
{
	struct pm *pm = to_pm(dev);

	if (pm->mapped)
		bus_unmap(dev->machine->ports, pm->options.base);
	timer_cancel(&pm->overflow);
	irq_detach(&pm->sci);
}

static void pm_describe(const struct device *dev, struct aml *aml)
{
	const struct pm *pm = (const struct pm *)dev;
	uint16_t base = (uint16_t)pm->options.base;

	aml_fixed_hardware(aml, &(struct acpi_fixed){
					.pm1_event = base + PM1_STATUS_AT,
					.pm1_control = base + PM1_CONTROL_AT,
					.pm_timer = pm->options.timer ? base + PM_TIMER_AT : 0,
					.reset = base + PM_RESET_AT,
					.reset_value = PM_RESET_VALUE,
					.sleep_s5 = PM_SLEEP_S5,
					.sci = PM_SCI,
				});
}

static void explain_pm1(const struct access *a, struct explanation *e)
{
	static const char *const events[] = {"TMR", NULL, NULL,     NULL,     "BM", "GBL",
					     NULL,  NULL, "PWRBTN", "SLPBTN", "RTC"};
	static const char *const control[] = {"SCI_EN", "BM_RLD", "GBL_RLS"};

	if (a->offset < PM1_CONTROL_AT) {
		explain_reg(e, a->offset < PM1_ENABLE_AT ? "PM1_STS" : "PM1_EN");
		explain_bits(e, a->value, events, ARRAY_SIZE(events));
		return;
	}
	explain_reg(e, "PM1_CNT");
	explain_bits(e, a->value, control, ARRAY_SIZE(control));
	if (a->value & (PM1_SLP_TYP | PM1_SLP_EN))
		explain_add(e, "SLP_TYP %u%s",
			    (unsigned int)(a->value & PM1_SLP_TYP) >> PM1_SLP_SHIFT,
			    a->value & PM1_SLP_EN ? " SLP_EN" : "");
}

static void pm_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	(void)m;
	if (a->offset < PM1_LEN) {
		explain_pm1(a, e);
	} else if (a->offset >= PM_TIMER_AT && a->offset < PM_RESET_AT) {
		explain_reg(e, "PM_TMR");
	} else if (a->offset == PM_RESET_AT) {
		explain_reg(e, "RESET_REG");
		if (a->value == PM_RESET_VALUE)
			explain_add(e, "reset");
	}
}

DEVICE_CLASS(acpi_pm) = {
	.name = "acpi_pm",
	.summary = "ACPI power switch, timer and reset register",
	.size = sizeof(struct pm),
	.options = pm_options,
	.options_offset = offsetof(struct pm, options),
	.state = &pm_state,
	.state_offset = offsetof(struct pm, state),
	.ticks = true,
	.create = pm_create,
	.reset = pm_reset,
	.loaded = pm_loaded,
	.destroy = pm_destroy,
	.describe = pm_describe,
	.explain = pm_explain,
};
