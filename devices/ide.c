/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ide - a channel of an AT's disk interface, with a disk: ATA/ATAPI-6 (T13/1410D), by PIO.
 *
 *	1F0h to 1F7h, 3F6h, interrupt 14	channel 0
 *	170h to 177h, 376h, interrupt 15	channel 1
 *
 * There is a device 0 and, with path1=, a device 1; without, device 0 answers for it as section
 * 9.16.1 has it. One works at a time, for the other cannot be selected meanwhile, so they share a
 * buffer, a worker, and the registers of address and count. Data moves by way of that buffer: the
 * worker fills or empties up to 128 sectors of it at once, and the guest has it in DRQ blocks of
 * one sector, or of several by READ and WRITE MULTIPLE.
 *
 * Beside the General feature set there are the 48-bit, Power Management and write cache features,
 * and what older guests ask of a disk: addresses by cylinder, head and sector, with INITIALIZE
 * DEVICE PARAMETERS (ATA/ATAPI-5, section 8.16), and ATA-3's RECALIBRATE. There is no DMA. A
 * transfer that would go past the end fails as a whole, with the address of the first sector that
 * is not there. A sector that the host cannot read or write is looked for one by one, so its
 * address is told. An ATA disk cannot say that it is read-only: there, writes are aborted.
 *
 * Invariants. What the drive is about is a phase. In PHASE_IN and PHASE_OUT the buffer is the
 * guest's, in those from PHASE_READ on the worker's, and BSY is set then; a software reset in
 * between waits for the worker. What the worker is asked to do follows from the state alone, so
 * what was not begun can be begun anew, behind a pause and by whoever loads the state.
 *
 * Threads. Registers: vCPU threads, under the device's lock. A job goes to the worker by a post and
 * comes back by one, to the control thread, which takes the lock. Of struct ide_job the worker has
 * what it says there, and the rest changes while the worker has no job.
 */
#include <stdio.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/disk.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/log.h"
#include "skep/workers.h"

#define IDE_CHANNELS      2
#define IDE_UNITS         2
#define IDE_COMMAND_PORTS 8

#define BUFFER_SECTORS 128U
#define BUFFER_BYTES   (BUFFER_SECTORS * DISK_SECTOR)
#define MULTIPLE_USUAL 16 /* sectors a DRQ block, until SET MULTIPLE MODE */

#define LBA28_SECTORS 0x0fffffffU /* words 60 and 61 go no further (8.15.29) */
#define HEADS_USUAL   16
#define TRACK_USUAL   63
#define CYLINDERS_MAX 65535U
#define SERIAL_BYTES  20
#define MODEL_BYTES   40

/* Registers of the command block, by their offset (section 7) */
enum { REG_DATA, REG_ERROR, REG_COUNT, REG_LOW, REG_MID, REG_HIGH, REG_DEVICE, REG_STATUS };

/* 7.15 */
#define STATUS_ERR  0x01
#define STATUS_DRQ  0x08
#define STATUS_DSC  0x10 /* "seek complete", as older guests want it */
#define STATUS_DRDY 0x40
#define STATUS_BSY  0x80

/* 7.9 */
#define ERROR_ABRT   0x04
#define ERROR_IDNF   0x10
#define ERROR_UNC    0x40
#define ERROR_PASSED 0x01 /* diagnostic code (8.11) */

/* 7.7 */
#define DEVICE_HEAD 0x0f
#define DEVICE_1    0x10
#define DEVICE_LBA  0x40

/* 7.8 */
#define CONTROL_NIEN 0x02
#define CONTROL_SRST 0x04
#define CONTROL_HOB  0x80

#define POWER_STANDBY  0x00 /* as CHECK POWER MODE says it (8.7) */
#define POWER_SLEEPING 0x01
#define POWER_ACTIVE   0xff

enum phase {
	PHASE_IDLE,
	PHASE_IN,    /* DRQ: the guest reads */
	PHASE_OUT,   /* DRQ: it writes */
	PHASE_RESET, /* SRST is set, or was while the worker had a job */
	PHASE_READ,
	PHASE_VERIFY,
	PHASE_WRITE,
	PHASE_FLUSH,
	PHASES,
};

enum {
	CMD_RECALIBRATE = 0x10, /* to 1Fh */
	CMD_SEEK = 0x70,
	CMD_DIAGNOSE = 0x90,
	CMD_SET_GEOMETRY = 0x91,
	CMD_SET_MULTIPLE = 0xc6,
	CMD_STANDBY_IMMEDIATE = 0xe0,
	CMD_IDLE_IMMEDIATE = 0xe1,
	CMD_STANDBY = 0xe2,
	CMD_IDLE = 0xe3,
	CMD_CHECK_POWER = 0xe5,
	CMD_SLEEP = 0xe6,
	CMD_FLUSH = 0xe7,
	CMD_FLUSH_EXT = 0xea,
	CMD_IDENTIFY = 0xec,
	CMD_SET_FEATURES = 0xef,
};

/* Commands that move data to or from the medium; 8.30 to 8.37 and 8.60 to 8.63. */
struct transfer {
	uint8_t command;
	uint8_t phase; /* what the worker does */
	bool ext;      /* 48-bit */
	bool multiple;
};

static const struct transfer transfers[] = {
	{0x20, PHASE_READ, false, false},   {0x21, PHASE_READ, false, false},
	{0x24, PHASE_READ, true, false},    {0x29, PHASE_READ, true, true},
	{0xc4, PHASE_READ, false, true},    {0x30, PHASE_WRITE, false, false},
	{0x31, PHASE_WRITE, false, false},  {0x34, PHASE_WRITE, true, false},
	{0x39, PHASE_WRITE, true, true},    {0xc5, PHASE_WRITE, false, true},
	{0x40, PHASE_VERIFY, false, false}, {0x41, PHASE_VERIFY, false, false},
	{0x42, PHASE_VERIFY, true, false},
};

/* What each device has for itself. */
struct unit_state {
	uint8_t error;
	uint8_t failed;  /* ERR */
	uint8_t pending; /* an interrupt */
	uint8_t power;
	uint8_t multiple; /* sectors; 0: there is no such mode */
	uint8_t heads, track;
	uint8_t write_cache;
	uint8_t keep; /* settings outlast a software reset */
};

struct ide_state {
	uint64_t data[BUFFER_BYTES / 8];
	uint64_t lba;       /* of the first sector in the buffer */
	uint32_t left;      /* sectors to come behind those */
	uint32_t fill;      /* bytes in the buffer, or to be */
	uint32_t pos;       /* of those, behind the guest; */
	uint32_t block_end; /* and where the DRQ block ends */
	uint32_t alone;     /* n: the buffer's sector n - 1 is transferred by itself; 0: all are */
	/* As last written, and what was there before: the high order bytes (6.20). */
	uint8_t feature[2], count[2], low[2], mid[2], high[2];
	uint8_t device;
	uint8_t control;
	uint8_t command;
	uint8_t phase;
	struct unit_state unit[IDE_UNITS];
	uint8_t reserved[4];
};

struct ide_options {
	struct disk_options disk;
	uint64_t channel;
	const char *path1;
	const char *serial;
};

struct ide_job {
	struct worker *worker;
	struct disk_queue *queue; /* of the device that works */
	struct post start;        /* on the worker */
	struct post done;         /* on the control thread */
	enum phase phase;
	uint64_t offset;
	struct iovec iov;
	/* The worker's: */
	struct disk_request request;
	struct disk_waiter admission;
	struct io rest;
	bool begun, finished;
	int result;
};

struct ide {
	struct device dev; /* first */
	struct ide_options options;
	struct ide_state state;
	struct ide_unit {
		struct disk *disk; /* NULL: there is no such device */
		struct disk_queue *queue;
		uint64_t sectors;
		char serial[SERIAL_BYTES + 1];
	} unit[IDE_UNITS];
	struct irq_line irq;
	struct ide_job job;
	bool busy;   /* the worker has the job */
	bool paused; /* and gets none */
	bool told;   /* that the host fails; once is enough */
	bool command_mapped, control_mapped;
};

static const struct {
	uint16_t command, control;
	uint8_t gsi;
} channels[IDE_CHANNELS] = {
	{0x1f0, 0x3f6, 14},
	{0x170, 0x376, 15},
};

static const struct option ide_options[] = {
	DISK_OPTIONS(struct ide_options, disk)
	/* of this model alone: */
	{.name = "channel",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct ide_options, channel),
	 .fallback = "0",
	 .max = IDE_CHANNELS - 1,
	 .help = "0: ports 1f0h, interrupt 14; 1: ports 170h, interrupt 15"},
	{.name = "path1",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct ide_options, path1),
	 .help = "the image of device 1, the slave; the other options hold for both"},
	{.name = "serial",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct ide_options, serial),
	 .help = "what the guest sees as its serial number, up to 20 bytes (default: the id)"},
	OPTION_END,
};

#define UNIT_FIELDS(n)                                              \
	STATE_FIELD(struct ide_state, unit[n].error),               \
		STATE_FIELD(struct ide_state, unit[n].failed),      \
		STATE_FIELD(struct ide_state, unit[n].pending),     \
		STATE_FIELD(struct ide_state, unit[n].power),       \
		STATE_FIELD(struct ide_state, unit[n].multiple),    \
		STATE_FIELD(struct ide_state, unit[n].heads),       \
		STATE_FIELD(struct ide_state, unit[n].track),       \
		STATE_FIELD(struct ide_state, unit[n].write_cache), \
		STATE_FIELD(struct ide_state, unit[n].keep)

static const struct state_field ide_fields[] = {
	STATE_ARRAY(struct ide_state, data),
	STATE_FIELD(struct ide_state, lba),
	STATE_FIELD(struct ide_state, left),
	STATE_FIELD(struct ide_state, fill),
	STATE_FIELD(struct ide_state, pos),
	STATE_FIELD(struct ide_state, block_end),
	STATE_FIELD(struct ide_state, alone),
	STATE_ARRAY(struct ide_state, feature),
	STATE_ARRAY(struct ide_state, count),
	STATE_ARRAY(struct ide_state, low),
	STATE_ARRAY(struct ide_state, mid),
	STATE_ARRAY(struct ide_state, high),
	STATE_FIELD(struct ide_state, device),
	STATE_FIELD(struct ide_state, control),
	STATE_FIELD(struct ide_state, command),
	STATE_FIELD(struct ide_state, phase),
	UNIT_FIELDS(0),
	UNIT_FIELDS(1),
	STATE_ARRAY(struct ide_state, reserved),
};
static const struct state_table ide_state = STATE_TABLE("ide", 1, struct ide_state, ide_fields);

static struct ide *to_ide(struct device *dev)
{
	return container_of(dev, struct ide, dev);
}

/* The number of the device that is selected, or answers for it. */
static unsigned int selected(const struct ide *ide)
{
	return ide->state.device & DEVICE_1 && ide->unit[1].disk;
}

static const struct ide_unit *unit_of(const struct ide *ide)
{
	return &ide->unit[selected(ide)];
}

static struct unit_state *unit_state(struct ide *ide)
{
	return &ide->state.unit[selected(ide)];
}

/* Whether a device is selected that is not there. */
static bool is_absent(const struct ide *ide)
{
	return ide->state.device & DEVICE_1 && !ide->unit[1].disk;
}

static uint8_t *buffer(struct ide_state *s)
{
	return (uint8_t *)s->data;
}

static const struct transfer *transfer_of(uint8_t command)
{
	for (size_t i = 0; i < ARRAY_SIZE(transfers); i++)
		if (transfers[i].command == command)
			return &transfers[i];
	return NULL;
}

static bool is_ext(const struct ide_state *s)
{
	const struct transfer *t = transfer_of(s->command);

	return t && t->ext;
}

/* The interrupt */

/* 5.2.9: pending, enabled, and the device is selected. */
static void update_line(struct ide *ide)
{
	const struct ide_state *s = &ide->state;

	irq_set(&ide->irq,
		s->unit[selected(ide)].pending && !(s->control & CONTROL_NIEN) && !is_absent(ide));
}

static void set_pending(struct ide *ide, bool on)
{
	unit_state(ide)->pending = on;
	update_line(ide);
}

/* Addresses (6.2) */

static uint32_t cylinders(const struct ide *ide)
{
	const struct unit_state *u = &ide->state.unit[selected(ide)];
	uint64_t sectors = unit_of(ide)->sectors;

	return (uint32_t)MIN(sectors / ((uint64_t)u->heads * u->track), CYLINDERS_MAX);
}

/* How many sectors the address in the registers can be of. */
static uint64_t reach(const struct ide *ide)
{
	const struct ide_state *s = &ide->state;
	const struct unit_state *u = &s->unit[selected(ide)];
	uint64_t sectors = unit_of(ide)->sectors;

	if (is_ext(s))
		return sectors;
	if (s->device & DEVICE_LBA)
		return MIN(sectors, LBA28_SECTORS);
	return (uint64_t)cylinders(ide) * u->heads * u->track;
}

static void put_address(struct ide *ide, uint64_t lba)
{
	const struct unit_state *u = unit_state(ide);
	struct ide_state *s = &ide->state;
	uint64_t v = lba, track = lba / u->track;

	if (!is_ext(s) && !(s->device & DEVICE_LBA))
		v = (lba % u->track + 1) | track / u->heads << 8 | track % u->heads << 24;
	s->low[0] = (uint8_t)v;
	s->mid[0] = (uint8_t)(v >> 8);
	s->high[0] = (uint8_t)(v >> 16);
	if (is_ext(s)) {
		s->low[1] = (uint8_t)(v >> 24);
		s->mid[1] = (uint8_t)(v >> 32);
		s->high[1] = (uint8_t)(v >> 40);
	} else {
		s->device &= (uint8_t)~DEVICE_HEAD;
		s->device |= (uint8_t)(v >> 24 & DEVICE_HEAD);
	}
}

/* False: there is no such track or sector, and registers stay as they are. */
static bool get_address(const struct ide *ide, uint64_t *lba)
{
	const struct ide_state *s = &ide->state;
	const struct unit_state *u = &s->unit[selected(ide)];
	uint32_t head = s->device & DEVICE_HEAD;
	uint32_t v = (uint32_t)s->low[0] | (uint32_t)s->mid[0] << 8 | (uint32_t)s->high[0] << 16;

	if (is_ext(s)) {
		*lba = v | (uint64_t)s->low[1] << 24 | (uint64_t)s->mid[1] << 32 |
		       (uint64_t)s->high[1] << 40;
		return true;
	}
	if (s->device & DEVICE_LBA) {
		*lba = v | head << 24;
		return true;
	}
	if (!s->low[0] || s->low[0] > u->track || head >= u->heads)
		return false;
	*lba = ((uint64_t)(v >> 8) * u->heads + head) * u->track + s->low[0] - 1;
	return true;
}

static void put_count(struct ide_state *s, uint32_t count)
{
	s->count[0] = (uint8_t)count;
	if (is_ext(s))
		s->count[1] = (uint8_t)(count >> 8);
}

static uint32_t get_count(const struct ide_state *s)
{
	uint32_t n = s->count[0];

	if (is_ext(s))
		return (n | (uint32_t)s->count[1] << 8) ?: 65536;
	return n ?: 256;
}

/* How commands end */

static void complete(struct ide *ide)
{
	ide->state.phase = PHASE_IDLE;
	set_pending(ide, true);
}

static void fail(struct ide *ide, uint8_t error)
{
	unit_state(ide)->error = error;
	unit_state(ide)->failed = 1;
	complete(ide);
}

/* All sectors up to the end of the buffer were transferred: as disks of old leave it. */
static void leave_address(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	put_address(ide, s->lba + s->fill / DISK_SECTOR - 1);
	put_count(s, 0);
}

/* Jobs */

/* Has the worker do what the phase says. */
static void begin_job(struct ide *ide)
{
	struct ide_state *s = &ide->state;
	struct ide_job *j = &ide->job;
	uint32_t first = s->alone ? s->alone - 1 : 0;

	if (ide->paused)
		return;
	j->queue = unit_of(ide)->queue;
	j->phase = (enum phase)s->phase;
	j->offset = (s->lba + first) * DISK_SECTOR;
	j->iov.iov_base = buffer(s) + (size_t)first * DISK_SECTOR;
	j->iov.iov_len = s->alone ? DISK_SECTOR : s->fill;
	j->finished = false;
	ide->busy = true;
	worker_post(j->worker, &j->start);
}

/* The next sectors of a transfer have their turn in the buffer. */
static void next_fill(struct ide_state *s)
{
	uint32_t n = MIN(s->left, BUFFER_SECTORS);

	s->left -= n;
	s->fill = n * DISK_SECTOR;
	s->pos = 0;
	s->alone = 0;
}

/* DRQ: the guest has the next block of the buffer (9.5, 9.6). */
static void next_block(struct ide *ide, enum phase phase)
{
	struct ide_state *s = &ide->state;
	const struct transfer *t = transfer_of(s->command);
	uint32_t sectors = t && t->multiple ? unit_state(ide)->multiple : 1;

	s->phase = (uint8_t)phase;
	s->block_end = MIN(s->pos + sectors * DISK_SECTOR, s->fill);
}

static void read_on(struct ide *ide, enum phase phase)
{
	next_fill(&ide->state);
	ide->state.phase = (uint8_t)phase;
	begin_job(ide);
}

static void write_on(struct ide *ide)
{
	next_fill(&ide->state);
	next_block(ide, PHASE_OUT);
}

/* The worker has done its part. */
static void job_succeeded(struct ide *ide)
{
	struct ide_state *s = &ide->state;
	uint32_t sectors = s->fill / DISK_SECTOR;

	switch (s->phase) {
	case PHASE_READ:
		next_block(ide, PHASE_IN);
		set_pending(ide, true);
		return;
	case PHASE_WRITE:
	case PHASE_VERIFY:
		if (!s->left) {
			leave_address(ide);
			break;
		}
		s->lba += sectors;
		if (s->phase == PHASE_VERIFY) {
			read_on(ide, PHASE_VERIFY);
			return;
		}
		write_on(ide);
		set_pending(ide, true);
		return;
	default:
		break;
	}
	complete(ide);
}

/* For the person. */
static void tell(struct ide *ide, int result)
{
	static const char *const verbs[PHASES] = {
		[PHASE_READ] = "read",
		[PHASE_VERIFY] = "read",
		[PHASE_WRITE] = "write",
		[PHASE_FLUSH] = "flush",
	};
	struct err err;

	if (ide->told)
		return;
	ide->told = true;
	err_sys(&err, -result, "%s: cannot %s %s at sector %llu", ide->dev.id,
		verbs[ide->job.phase], disk_path(unit_of(ide)->disk),
		(unsigned long long)(ide->job.offset / DISK_SECTOR));
	err_advise(&err, "the guest gets an I/O error, and further ones are not told of");
	log_guest(ide->dev.machine->log, LOG_WARN, "%s", err.text);
}

/* Of several sectors it is not known which one was it: they are tried one by one. */
static void job_failed(struct ide *ide, int result)
{
	struct ide_state *s = &ide->state;
	uint32_t sectors = s->fill / DISK_SECTOR, good;

	if (s->phase != PHASE_FLUSH && !s->alone && sectors > 1) {
		s->alone = 1;
		begin_job(ide);
		return;
	}
	tell(ide, result);
	if (s->phase == PHASE_FLUSH) {
		fail(ide, ERROR_ABRT);
		return;
	}
	good = s->alone ? s->alone - 1 : 0;
	put_address(ide, s->lba + good);
	put_count(s, s->left + sectors - good);
	fail(ide, s->phase == PHASE_WRITE ? ERROR_ABRT : ERROR_UNC);
}

static void finish_reset(struct ide *ide);

/* The worker gives the job back. */
static void job_done(struct ide *ide, int result)
{
	struct ide_state *s = &ide->state;

	ide->busy = false;
	if (s->phase == PHASE_RESET) {
		if (!(s->control & CONTROL_SRST))
			finish_reset(ide);
	} else if (result) {
		job_failed(ide, result);
	} else if (s->alone && s->alone < s->fill / DISK_SECTOR) {
		s->alone++;
		begin_job(ide);
	} else {
		s->alone = 0;
		job_succeeded(ide);
	}
}

/* Control thread. */
static void on_done(struct post *post)
{
	struct ide *ide = container_of(post, struct ide, job.done);

	device_lock(&ide->dev);
	job_done(ide, ide->job.result);
	device_unlock(&ide->dev);
}

/* The next four run on the worker. */

static void request_done(struct disk_request *request, int result)
{
	struct ide_job *j = container_of(request, struct ide_job, request);
	struct ide *ide = container_of(j, struct ide, job);

	j->begun = false;
	j->finished = true;
	j->result = result;
	if (io_pending(&j->rest))
		io_cancel(j->worker, &j->rest);
	worker_post(ide->dev.machine->control, &j->done);
}

static void try_job(struct ide_job *j)
{
	if (!disk_admits(j->queue, &j->admission))
		return;
	j->begun = true;
	j->request.done = request_done;
	if (j->phase == PHASE_FLUSH)
		disk_flush(j->queue, &j->request);
	else if (j->phase == PHASE_WRITE)
		disk_write(j->queue, &j->request, &j->iov, 1, j->offset);
	else
		disk_read(j->queue, &j->request, &j->iov, 1, j->offset);
}

static void on_start(struct post *post)
{
	try_job(container_of(post, struct ide_job, start));
}

static void on_admitted(struct disk_waiter *w)
{
	try_job(container_of(w, struct ide_job, admission));
}

static void on_rest(struct io *io, int result)
{
	(void)io;
	(void)result;
}

/* What is under way is waited for, what was not begun is not begun. */
static void come_to_rest(void *arg)
{
	struct ide_job *j = arg;

	worker_unpost(j->worker, &j->start);
	disk_forget(j->queue);
	while (j->begun) {
		if (!io_pending(&j->rest))
			io_timeout(j->worker, &j->rest, UINT64_MAX);
		io_drain(j->worker, &j->rest);
	}
}

/*
 * The worker has no job any more; returns whether it has done it, and nobody has heard. Control
 * thread, no vCPU runs.
 */
static bool take_back(struct ide *ide)
{
	struct ide_job *j = &ide->job;

	if (!ide->busy)
		return false;
	worker_call(j->worker, come_to_rest, j);
	worker_unpost(ide->dev.machine->control, &j->done);
	return j->finished;
}

/* What is to be done, and the worker does not have. */
static void go_on(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	if (ide->busy || ide->paused)
		return;
	if (s->phase >= PHASE_READ)
		begin_job(ide);
	else if (s->phase == PHASE_RESET && !(s->control & CONTROL_SRST))
		finish_reset(ide);
}

static void ide_pause(struct device *dev)
{
	struct ide *ide = to_ide(dev);
	bool finished = take_back(ide);

	device_lock(dev);
	ide->paused = true;
	ide->busy = false;
	if (finished)
		job_done(ide, ide->job.result);
	device_unlock(dev);
}

static void ide_resume(struct device *dev)
{
	struct ide *ide = to_ide(dev);

	device_lock(dev);
	ide->paused = false;
	go_on(ide);
	device_unlock(dev);
}

/* Resets (9.1, 9.2, 9.10) */

static void apply_write_cache(struct ide *ide, unsigned int n)
{
	if (ide->unit[n].disk)
		disk_set_write_through(ide->unit[n].disk, !ide->state.unit[n].write_cache);
}

static void default_settings(struct ide *ide, unsigned int n)
{
	struct unit_state *u = &ide->state.unit[n];

	u->multiple = MULTIPLE_USUAL;
	u->heads = HEADS_USUAL;
	u->track = TRACK_USUAL;
	u->write_cache = ide->options.disk.cache != DISK_WRITETHROUGH;
	apply_write_cache(ide, n);
}

/* 9.12; device 0 is selected then. */
static void put_signature(struct ide_state *s)
{
	memset(s->feature, 0, sizeof(s->feature));
	s->count[0] = s->low[0] = 1;
	s->mid[0] = s->high[0] = 0;
	s->count[1] = s->low[1] = s->mid[1] = s->high[1] = 0;
	s->device = 0;
	s->phase = PHASE_IDLE;
	for (unsigned int n = 0; n < IDE_UNITS; n++) {
		s->unit[n].error = ERROR_PASSED;
		s->unit[n].failed = 0;
		s->unit[n].pending = 0;
	}
}

static void finish_reset(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	put_signature(s);
	for (unsigned int n = 0; n < IDE_UNITS; n++) {
		s->unit[n].power = POWER_ACTIVE;
		if (!s->unit[n].keep)
			default_settings(ide, n);
	}
	update_line(ide);
}

static void write_control(struct ide *ide, uint8_t v)
{
	struct ide_state *s = &ide->state;
	bool was = s->control & CONTROL_SRST;

	s->control = v & (CONTROL_NIEN | CONTROL_SRST | CONTROL_HOB);
	if (v & CONTROL_SRST) {
		s->phase = PHASE_RESET;
		s->unit[0].pending = s->unit[1].pending = 0;
	} else if (was && !ide->busy) {
		finish_reset(ide);
	}
	update_line(ide);
}

/* Commands */

/* Words of IDENTIFY DEVICE (8.15); numbers that are here stand in the table of that section. */
static void put_word(uint8_t *id, unsigned int word, uint32_t v)
{
	store_le16(id + 2 * (size_t)word, (uint16_t)v);
}

static void put_dword(uint8_t *id, unsigned int word, uint32_t v)
{
	store_le32(id + 2 * (size_t)word, v);
}

/* Padded with blanks, the first of two characters in the high byte. */
static void put_string(uint8_t *id, unsigned int word, const char *text, size_t bytes)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < bytes; i++)
		id[2 * (size_t)word + (i ^ 1)] = i < n ? (uint8_t)text[i] : ' ';
}

static void identify_geometry(const struct ide *ide, uint8_t *id)
{
	const struct unit_state *u = &ide->state.unit[selected(ide)];
	uint64_t sectors = unit_of(ide)->sectors;
	uint32_t usual = (uint32_t)MIN(sectors / HEADS_USUAL / TRACK_USUAL, (uint64_t)16383);

	put_word(id, 1, usual);
	put_word(id, 3, HEADS_USUAL);
	put_word(id, 6, TRACK_USUAL);
	put_word(id, 54, cylinders(ide));
	put_word(id, 55, u->heads);
	put_word(id, 56, u->track);
	put_dword(id, 57, cylinders(ide) * u->heads * u->track);
	put_dword(id, 60, (uint32_t)MIN(sectors, LBA28_SECTORS));
	store_le64(id + 200, sectors); /* word 100 */
}

static void identify(struct ide *ide)
{
	const struct unit_state *u = unit_state(ide);
	struct ide_state *s = &ide->state;
	uint8_t *id = buffer(s), sum = 0;

	memset(id, 0, DISK_SECTOR);
	put_word(id, 0, 0x0040); /* ATA, not removable */
	put_string(id, 10, unit_of(ide)->serial, SERIAL_BYTES);
	put_string(id, 23, "1", 8);
	put_string(id, 27, "skep disk", MODEL_BYTES);
	put_word(id, 47, 0x8000 | BUFFER_SECTORS);
	put_word(id, 49, 0x0a00); /* LBA, IORDY; no DMA */
	put_word(id, 50, 0x4000);
	put_word(id, 51, 0x0200); /* PIO mode 2, */
	put_word(id, 53, 0x0003);
	put_word(id, 59, u->multiple ? 0x0100U | u->multiple : 0);
	put_word(id, 64, 0x0003); /* 3 and 4, */
	put_word(id, 67, 120);    /* with cycles of so many ns */
	put_word(id, 68, 120);
	put_word(id, 80, 0x0070); /* ATA/ATAPI-4 to 6 */
	put_word(id, 82, 0x0028); /* write cache, power management */
	put_word(id, 83, 0x7400); /* FLUSH CACHE, FLUSH CACHE EXT, 48-bit */
	put_word(id, 84, 0x4000);
	put_word(id, 85, 0x0008 | (u->write_cache ? 0x20 : 0));
	put_word(id, 86, 0x3400);
	put_word(id, 87, 0x4000);
	put_word(id, 93, selected(ide) ? 0x4b00 : 0x400b); /* passed diagnostics */
	identify_geometry(ide, id);
	id[510] = 0xa5;
	for (unsigned int i = 0; i < DISK_SECTOR - 1; i++)
		sum = (uint8_t)(sum + id[i]);
	id[511] = (uint8_t)-sum;

	s->left = 0;
	s->fill = DISK_SECTOR;
	s->pos = 0;
	next_block(ide, PHASE_IN);
	set_pending(ide, true);
}

static void begin_transfer(struct ide *ide, const struct transfer *t)
{
	struct unit_state *u = unit_state(ide);
	struct ide_state *s = &ide->state;
	uint32_t count = get_count(s);
	uint64_t lba;

	u->power = POWER_ACTIVE;
	if ((t->multiple && !u->multiple) || (t->ext && !(s->device & DEVICE_LBA)) ||
	    (t->phase == PHASE_WRITE && disk_info(unit_of(ide)->disk)->read_only)) {
		fail(ide, ERROR_ABRT);
		return;
	}
	if (!get_address(ide, &lba)) {
		fail(ide, ERROR_IDNF);
		return;
	}
	if (!range_fits(lba, count, reach(ide))) {
		put_address(ide, MAX(lba, reach(ide)));
		fail(ide, ERROR_IDNF);
		return;
	}
	s->lba = lba;
	s->left = count;
	/* 9.6: there is no interrupt for the first block of a write. */
	if (t->phase == PHASE_WRITE)
		write_on(ide);
	else
		read_on(ide, (enum phase)t->phase);
}

static void seek(struct ide *ide)
{
	uint64_t lba;

	if (get_address(ide, &lba) && lba < reach(ide))
		complete(ide);
	else
		fail(ide, ERROR_IDNF);
}

/* 8.46; transfer modes are PIO's, and all of them are the same here. */
static void set_features(struct ide *ide)
{
	struct unit_state *u = unit_state(ide);
	struct ide_state *s = &ide->state;
	uint8_t mode = s->count[0];

	switch (s->feature[0]) {
	case 0x02:
	case 0x82:
		u->write_cache = s->feature[0] == 0x02;
		apply_write_cache(ide, selected(ide));
		break;
	case 0x03:
		if (mode > 0x01 && (mode < 0x08 || mode > 0x0c)) {
			fail(ide, ERROR_ABRT);
			return;
		}
		break;
	case 0x66:
	case 0xcc:
		u->keep = s->feature[0] == 0x66;
		break;
	default:
		fail(ide, ERROR_ABRT);
		return;
	}
	complete(ide);
}

/* 8.49 */
static void set_multiple(struct ide *ide)
{
	uint8_t n = ide->state.count[0];

	if (n && (n > BUFFER_SECTORS || !is_power_of_two(n))) {
		fail(ide, ERROR_ABRT);
		return;
	}
	unit_state(ide)->multiple = n;
	complete(ide);
}

static void set_geometry(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	if (!s->count[0]) {
		fail(ide, ERROR_ABRT);
		return;
	}
	unit_state(ide)->track = s->count[0];
	unit_state(ide)->heads = (uint8_t)((s->device & DEVICE_HEAD) + 1);
	complete(ide);
}

static void set_power(struct ide *ide, uint8_t mode)
{
	unit_state(ide)->power = mode;
	complete(ide);
}

static void flush(struct ide *ide)
{
	unit_state(ide)->power = POWER_ACTIVE;
	ide->state.phase = PHASE_FLUSH;
	ide->state.alone = 0;
	begin_job(ide);
}

static void diagnose(struct ide *ide)
{
	put_signature(&ide->state);
	complete(ide);
}

static void dispatch(struct ide *ide, uint8_t command)
{
	switch (command) {
	case CMD_RECALIBRATE ... CMD_RECALIBRATE + 0xf:
		complete(ide);
		break;
	case CMD_SEEK:
		seek(ide);
		break;
	case CMD_DIAGNOSE:
		diagnose(ide);
		break;
	case CMD_SET_GEOMETRY:
		set_geometry(ide);
		break;
	case CMD_SET_MULTIPLE:
		set_multiple(ide);
		break;
	case CMD_STANDBY_IMMEDIATE:
	case CMD_STANDBY:
		set_power(ide, POWER_STANDBY);
		break;
	case CMD_IDLE_IMMEDIATE:
	case CMD_IDLE:
		set_power(ide, POWER_ACTIVE);
		break;
	case CMD_CHECK_POWER:
		ide->state.count[0] = unit_state(ide)->power;
		complete(ide);
		break;
	case CMD_SLEEP:
		set_power(ide, POWER_SLEEPING);
		break;
	case CMD_FLUSH:
	case CMD_FLUSH_EXT:
		flush(ide);
		break;
	case CMD_IDENTIFY:
		identify(ide);
		break;
	case CMD_SET_FEATURES:
		set_features(ide);
		break;
	default:
		fail(ide, ERROR_ABRT);
		break;
	}
}

/* One that sleeps wakes by a reset (8.50); one that is not there executes nothing (9.16.1). */
static void execute(struct ide *ide, uint8_t command)
{
	struct unit_state *u = unit_state(ide);
	const struct transfer *t = transfer_of(command);

	if (u->power == POWER_SLEEPING || (is_absent(ide) && command != CMD_DIAGNOSE))
		return;
	ide->state.command = command;
	u->error = 0;
	u->failed = 0;
	set_pending(ide, false);
	if (t)
		begin_transfer(ide, t);
	else
		dispatch(ide, command);
}

/* Registers */

static uint8_t status(const struct ide *ide)
{
	const struct ide_state *s = &ide->state;

	if (is_absent(ide))
		return 0;
	if (s->phase >= PHASE_RESET)
		return STATUS_BSY;
	return (uint8_t)(STATUS_DRDY | STATUS_DSC |
			 (s->unit[selected(ide)].failed ? STATUS_ERR : 0) |
			 (s->phase != PHASE_IDLE ? STATUS_DRQ : 0));
}

static void block_read(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	if (s->pos < s->fill) {
		next_block(ide, PHASE_IN);
		set_pending(ide, true);
	} else if (s->left) {
		s->lba += s->fill / DISK_SECTOR;
		read_on(ide, PHASE_READ);
	} else {
		s->phase = PHASE_IDLE;
		if (s->command != CMD_IDENTIFY)
			leave_address(ide);
	}
}

static void block_written(struct ide *ide)
{
	struct ide_state *s = &ide->state;

	if (s->pos < s->fill) {
		next_block(ide, PHASE_OUT);
		set_pending(ide, true);
	} else {
		s->phase = PHASE_WRITE;
		begin_job(ide);
	}
}

/* The register is a word wide (7.6): of a byte's access the high byte is lost. */
static uint16_t read_word(struct ide *ide)
{
	struct ide_state *s = &ide->state;
	uint16_t v;

	if (s->phase != PHASE_IN)
		return UINT16_MAX;
	v = load_le16(buffer(s) + s->pos);
	s->pos += sizeof(v);
	if (s->pos == s->block_end)
		block_read(ide);
	return v;
}

static void write_word(struct ide *ide, uint16_t v)
{
	struct ide_state *s = &ide->state;

	if (s->phase != PHASE_OUT)
		return;
	store_le16(buffer(s) + s->pos, v);
	s->pos += sizeof(v);
	if (s->pos == s->block_end)
		block_written(ide);
}

static uint8_t read_register(struct ide *ide, uint64_t reg)
{
	struct ide_state *s = &ide->state;
	unsigned int high = !!(s->control & CONTROL_HOB);

	switch (reg) {
	case REG_ERROR:
		return unit_state(ide)->error;
	case REG_COUNT:
		return s->count[high];
	case REG_LOW:
		return s->low[high];
	case REG_MID:
		return s->mid[high];
	case REG_HIGH:
		return s->high[high];
	case REG_DEVICE:
		return s->device;
	case REG_STATUS:
		/* 7.15: reading it acknowledges the interrupt, of a device that is selected. */
		if (!is_absent(ide))
			set_pending(ide, false);
		return status(ide);
	default:
		return UINT8_MAX;
	}
}

static void shift_in(uint8_t reg[2], uint8_t v)
{
	reg[1] = reg[0];
	reg[0] = v;
}

/* Written with BSY or DRQ set, registers keep what they have. */
static void write_register(struct ide *ide, uint64_t reg, uint8_t v)
{
	struct ide_state *s = &ide->state;

	s->control &= (uint8_t)~CONTROL_HOB;
	if (s->phase != PHASE_IDLE)
		return;
	switch (reg) {
	case REG_ERROR:
		shift_in(s->feature, v);
		break;
	case REG_COUNT:
		shift_in(s->count, v);
		break;
	case REG_LOW:
		shift_in(s->low, v);
		break;
	case REG_MID:
		shift_in(s->mid, v);
		break;
	case REG_HIGH:
		shift_in(s->high, v);
		break;
	case REG_DEVICE:
		s->device = v;
		update_line(ide);
		break;
	case REG_STATUS:
		execute(ide, v);
		break;
	default:
		break;
	}
}

/* The bus brings no more than four bytes, which are two words of data, or so many registers. */
static uint64_t command_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct ide *ide = to_ide(dev);
	uint64_t v = 0;

	if (offset == REG_DATA) {
		v = read_word(ide);
		if (size == 4)
			v |= (uint32_t)read_word(ide) << 16;
		return v & ones(size);
	}
	for (unsigned int i = 0; i < size; i++)
		v |= (uint64_t)read_register(ide, offset + i) << 8 * i;
	return v;
}

static void command_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct ide *ide = to_ide(dev);

	if (offset == REG_DATA) {
		write_word(ide, (uint16_t)value);
		if (size == 4)
			write_word(ide, (uint16_t)(value >> 16));
		return;
	}
	for (unsigned int i = 0; i < size; i++)
		write_register(ide, offset + i, (uint8_t)(value >> 8 * i));
}

/* 7.3: as Status, but nothing is acknowledged. */
static uint64_t control_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return status(to_ide(dev));
}

static void control_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset;
	(void)size;
	write_control(to_ide(dev), (uint8_t)value);
}

static const struct bus_ops command_ops = {
	.read = command_read,
	.write = command_write,
	.max_size = 4,
};

static const struct bus_ops control_ops = {
	.read = control_read,
	.write = control_write,
	.max_size = 1,
	.region = 1,
};

/* The device */

static void ide_reset(struct device *dev)
{
	struct ide *ide = to_ide(dev);

	take_back(ide);
	ide->busy = false;
	memset(&ide->state, 0, sizeof(ide->state));
	finish_reset(ide);
}

/* The buffer as a transfer has it, and room on the disk for all that is to come. */
static bool transfer_has_sense(const struct ide *ide)
{
	const struct ide_state *s = &ide->state;
	const struct transfer *t = transfer_of(s->command);
	uint32_t sectors = s->fill / DISK_SECTOR;
	uint8_t phase = s->phase;

	if (phase == PHASE_IN || phase == PHASE_OUT) {
		phase = phase == PHASE_IN ? PHASE_READ : PHASE_WRITE;
		if (s->pos % 2 || s->pos >= s->block_end || s->block_end > s->fill ||
		    s->block_end % DISK_SECTOR || s->alone)
			return false;
		if (s->command == CMD_IDENTIFY)
			return phase == PHASE_READ && s->fill == DISK_SECTOR && !s->left;
	} else if (phase == PHASE_READ && s->pos) {
		return false;
	}
	return t && t->phase == phase && (!t->multiple || s->unit[selected(ide)].multiple) &&
	       sectors && s->fill % DISK_SECTOR == 0 && s->fill <= BUFFER_BYTES &&
	       s->alone <= sectors &&
	       range_fits(s->lba, (uint64_t)sectors + s->left, unit_of(ide)->sectors);
}

static bool has_sense(const struct ide *ide)
{
	const struct ide_state *s = &ide->state;

	if (s->control & CONTROL_SRST && s->phase != PHASE_RESET)
		return false;
	for (unsigned int n = 0; n < IDE_UNITS; n++) {
		const struct unit_state *u = &s->unit[n];

		if (u->multiple > BUFFER_SECTORS ||
		    (u->multiple && !is_power_of_two(u->multiple)) || !u->heads ||
		    u->heads > HEADS_USUAL || !u->track)
			return false;
	}
	switch (s->phase) {
	case PHASE_IDLE:
	case PHASE_RESET:
		return true;
	case PHASE_FLUSH:
		return !s->alone;
	default:
		return s->phase < PHASES && transfer_has_sense(ide);
	}
}

static int ide_loaded(struct device *dev, struct err *err)
{
	struct ide *ide = to_ide(dev);

	take_back(ide);
	ide->busy = false;
	if (!has_sense(ide))
		return err_set(err, EPROTO, "%s: the saved disk is in a state that cannot be",
			       dev->id);
	for (unsigned int n = 0; n < IDE_UNITS; n++)
		apply_write_cache(ide, n);
	update_line(ide);
	go_on(ide);
	return 0;
}

static int open_unit(struct ide *ide, unsigned int n, struct err *err)
{
	const char *serial = ide->options.serial ?: ide->dev.id;
	struct disk_options options = ide->options.disk;
	struct ide_unit *u = &ide->unit[n];
	const struct disk_info *info;
	int ret;

	if (n)
		options.path = ide->options.path1;
	ret = disk_open(&u->disk, &options, ide->dev.machine->log, err);
	if (ret)
		return ret;
	info = disk_info(u->disk);
	if (info->block_size != DISK_SECTOR)
		return err_set(err, EINVAL,
			       "an IDE disk has sectors of %u bytes, and the image %s has blocks "
			       "of %u",
			       DISK_SECTOR, disk_path(u->disk), info->block_size);
	u->sectors = info->size / DISK_SECTOR;
	if (n)
		snprintf(u->serial, sizeof(u->serial), "%.18s-1", serial);
	else
		snprintf(u->serial, sizeof(u->serial), "%.20s", serial);
	return disk_queue_open(&u->queue, u->disk, ide->job.worker, err);
}

static int open_units(struct ide *ide, struct err *err)
{
	const char *serial = ide->options.serial;
	struct ide_job *j = &ide->job;
	char name[16];
	int ret;

	if (serial && strlen(serial) > SERIAL_BYTES)
		return err_set(err, EINVAL, "the serial '%.64s' is longer than %u bytes", serial,
			       SERIAL_BYTES);
	j->start.fn = on_start;
	j->done.fn = on_done;
	j->admission.ready = on_admitted;
	j->rest.done = on_rest;
	snprintf(name, sizeof(name), "%.15s", ide->dev.id);
	ret = workers_get(ide->dev.machine->workers, name, SANDBOX_DISK, &j->worker, err);
	if (!ret)
		ret = open_unit(ide, 0, err);
	if (!ret && ide->options.path1)
		ret = open_unit(ide, 1, err);
	return ret;
}

static int ide_create(struct device *dev, struct err *err)
{
	struct ide *ide = to_ide(dev);
	struct bus *ports = dev->machine->ports;
	unsigned int n = (unsigned int)ide->options.channel;
	int ret = open_units(ide, err);
	if (!ret)
		ret = irq_attach(dev->machine->irqs, &ide->irq, channels[n].gsi, err);
	if (!ret) {
		ret = bus_map(ports, channels[n].command, IDE_COMMAND_PORTS, &command_ops, dev,
			      err);
		ide->command_mapped = !ret;
	}
	if (!ret) {
		ret = bus_map(ports, channels[n].control, 1, &control_ops, dev, err);
		ide->control_mapped = !ret;
	}
	return ret;
}

static void ide_destroy(struct device *dev)
{
	struct ide *ide = to_ide(dev);
	unsigned int n = (unsigned int)ide->options.channel;

	take_back(ide);
	if (ide->command_mapped)
		bus_unmap(dev->machine->ports, channels[n].command);
	if (ide->control_mapped)
		bus_unmap(dev->machine->ports, channels[n].control);
	irq_detach(&ide->irq);
	for (unsigned int i = 0; i < IDE_UNITS; i++) {
		disk_queue_close(ide->unit[i].queue);
		disk_close(ide->unit[i].disk);
	}
}

static void ide_describe(const struct device *dev, struct aml *aml)
{
	const struct ide *ide = container_of(dev, const struct ide, dev);
	unsigned int n = (unsigned int)ide->options.channel;

	aml_device(aml, n ? "IDE1" : "IDE0");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0600");
	aml_name(aml, "_UID");
	aml_integer(aml, n);
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, channels[n].command, IDE_COMMAND_PORTS);
	aml_io(aml, channels[n].control, 1);
	aml_irq(aml, channels[n].gsi);
	aml_end(aml);
	aml_end(aml);
}

/* Explaining */

static const char *command_word(uint8_t v)
{
	switch (v) {
	case CMD_RECALIBRATE ... CMD_RECALIBRATE + 0xf:
		return "RECALIBRATE";
	case CMD_SEEK:
		return "SEEK";
	case CMD_DIAGNOSE:
		return "EXECUTE DEVICE DIAGNOSTIC";
	case CMD_SET_GEOMETRY:
		return "INITIALIZE DEVICE PARAMETERS";
	case CMD_SET_MULTIPLE:
		return "SET MULTIPLE MODE";
	case CMD_STANDBY_IMMEDIATE:
	case CMD_STANDBY:
		return "STANDBY";
	case CMD_IDLE_IMMEDIATE:
	case CMD_IDLE:
		return "IDLE";
	case CMD_CHECK_POWER:
		return "CHECK POWER MODE";
	case CMD_SLEEP:
		return "SLEEP";
	case CMD_FLUSH:
		return "FLUSH CACHE";
	case CMD_FLUSH_EXT:
		return "FLUSH CACHE EXT";
	case CMD_IDENTIFY:
		return "IDENTIFY DEVICE";
	case CMD_SET_FEATURES:
		return "SET FEATURES";
	default:
		return "";
	}
}

static void explain_command(uint8_t v, struct explanation *e)
{
	static const char *const verbs[] = {
		[PHASE_READ] = "READ", [PHASE_WRITE] = "WRITE", [PHASE_VERIFY] = "READ VERIFY"};

	explain_reg(e, "COMMAND");
	for (size_t i = 0; i < ARRAY_SIZE(transfers); i++)
		if (transfers[i].command == v) {
			explain_add(e, "%s %s%s", verbs[transfers[i].phase],
				    transfers[i].multiple ? "MULTIPLE" : "SECTORS",
				    transfers[i].ext ? " EXT" : "");
			return;
		}
	explain_add(e, "%s", command_word(v));
}

static void ide_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const names[] = {"DATA",    "ERROR",    "COUNT",  "LBA_LOW",
					    "LBA_MID", "LBA_HIGH", "DEVICE", "STATUS"};
	static const char *const status[] = {"ERR", NULL, NULL, "DRQ", "DSC", "DF", "DRDY", "BSY"};
	static const char *const control[] = {NULL, "nIEN", "SRST"};
	const bool is_control = a->region == 1;

	(void)m;
	if (is_control && a->write) {
		explain_reg(e, "DEVICE_CONTROL");
		explain_bits(e, a->value, control, ARRAY_SIZE(control));
	} else if (is_control || (a->offset % 8 == 7 && !a->write)) {
		explain_reg(e, is_control ? "ALT_STATUS" : "STATUS");
		explain_bits(e, a->value, status, ARRAY_SIZE(status));
	} else if (a->offset % 8 == 7) {
		explain_command((uint8_t)a->value, e);
	} else if (a->offset % 8 == 1 && a->write) {
		explain_reg(e, "FEATURES");
	} else {
		explain_reg(e, "%s", names[a->offset % 8]);
		if (a->offset % 8 == 6)
			explain_add(e, "%u%s", a->value & DEVICE_1 ? 1 : 0,
				    a->value & DEVICE_LBA ? " LBA" : " CHS");
	}
}

DEVICE_CLASS(ide) = {
	.name = "ide",
	.summary = "IDE disk (ATA, by PIO): a file or block device of the host",
	.size = sizeof(struct ide),
	.options = ide_options,
	.options_offset = offsetof(struct ide, options),
	.state = &ide_state,
	.state_offset = offsetof(struct ide, state),
	.outside = true,
	.create = ide_create,
	.reset = ide_reset,
	.loaded = ide_loaded,
	.pause = ide_pause,
	.resume = ide_resume,
	.destroy = ide_destroy,
	.describe = ide_describe,
	.explain = ide_explain,
};
