/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A folder for each run that has failed:
 *	console.raw	what the guest said, byte for byte
 *	console.log	the same as safe text, each line with the host's time
 *	messages.txt	what skep said
 *	screen.txt, state.txt, postmortem.txt	what the run had to say of its machine, if it had
 *	result.json	all that is known
 *	replay.sh	the command that does it again
 * The first three grow as the run goes, so they are there whatever becomes of skep; the folder of a
 * run that has passed goes again. A console is kept up to a bound, and its end behind that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

#define CONSOLE_MAX MIB(64)

static const char *const files[] = {
	"console.raw", "console.log", "messages.txt", "result.json",
	"replay.sh",   "screen.txt",  "state.txt",    "postmortem.txt",
};

/* The folder of a run under way. */
struct open_folder {
	const struct run_record *record; /* NULL: the place is free */
	int dir;
	FILE *raw, *log, *messages;
	uint64_t kept;    /* bytes of the console */
	bool in_line;     /* the log's last line has no end yet */
	uint8_t rest[16]; /* of a character that is not whole yet */
	size_t rest_len;
};

struct folders {
	struct run_watch watch;
	char *path, *program;
	bool all;
	struct open_folder *open;
	unsigned int room;
	int failed; /* -errno of the first thing that could not be written */
	struct err why;
};

static void complain(struct folders *f, int errnum, const char *folder, const char *file)
{
	if (f->failed)
		return;
	f->failed = err_sys(&f->why, errnum ? errnum : EIO, "cannot write the report %s/%s", folder,
			    file);
}

/* Files */

static FILE *open_file(struct folders *f, const struct open_folder *o, const char *name,
		       mode_t mode)
{
	const int fd =
		openat(o->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	FILE *to = fd >= 0 ? fdopen(fd, "w") : NULL;

	if (!to) {
		complain(f, errno, o->record->spec->folder, name);
		if (fd >= 0)
			close(fd);
	}
	return to;
}

static void close_file(struct folders *f, const struct open_folder *o, FILE *to, const char *name)
{
	bool failed;

	if (!to)
		return;
	errno = 0;
	failed = ferror(to);
	if (fclose(to) || failed)
		complain(f, errno, o->record->spec->folder, name);
}

/* What earlier reports left. Only files that reports make, so a wrong path loses nobody's work. */
static void clear(const char *path)
{
	const int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		unlinkat(dir, files[i], 0);
	close(dir);
	rmdir(path);
}

static struct open_folder *find(struct folders *f, const struct run_record *r)
{
	for (unsigned int i = 0; i < f->room; i++)
		if (f->open[i].record == r)
			return &f->open[i];
	return NULL;
}

static struct open_folder *new_place(struct folders *f)
{
	struct open_folder *o = find(f, NULL), *grown;

	if (o)
		return o;
	grown = reallocarray(f->open, f->room + 16, sizeof(*grown));
	if (!grown)
		return NULL;
	memset(grown + f->room, 0, 16 * sizeof(*grown));
	f->open = grown;
	f->room += 16;
	return &f->open[f->room - 16];
}

static void on_begun(struct run_watch *w, const struct run_record *r)
{
	struct folders *f = container_of(w, struct folders, watch);
	struct open_folder *o = new_place(f);
	char when[32] = "";
	struct tm tm;

	if (!o) {
		complain(f, ENOMEM, r->spec->folder, "console.raw");
		return;
	}
	*o = (struct open_folder){.record = r, .dir = -1};
	if (mkdir(r->spec->folder, 0777) && errno != EEXIST)
		complain(f, errno, r->spec->folder, "");
	o->dir = open(r->spec->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->dir < 0) {
		complain(f, errno, r->spec->folder, "");
		o->record = NULL;
		return;
	}
	o->raw = open_file(f, o, "console.raw", 0666);
	o->log = open_file(f, o, "console.log", 0666);
	o->messages = open_file(f, o, "messages.txt", 0666);
	if (o->log && gmtime_r(&(time_t){r->wall}, &tm)) {
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
		fprintf(o->log, "# seconds since %s UTC, by the host's clock\n", when);
	}
}

/* The console */

/* Safe text, with the time in front of each line that begins in it. */
static void log_text(struct open_folder *o, const char *text, size_t len, double seconds)
{
	while (len) {
		const char *end = memchr(text, '\n', len);
		const size_t n = end ? (size_t)(end + 1 - text) : len;

		if (!o->in_line)
			fprintf(o->log, "%12.6f  ", seconds);
		fwrite(text, 1, n, o->log);
		o->in_line = !end;
		text += n;
		len -= n;
	}
}

static void log_bytes(struct open_folder *o, const uint8_t *data, size_t len, bool more)
{
	const double seconds = (double)(clock_now() - o->record->started) / (double)NS_PER_S;
	char text[TEXT_SAFE_ROOM(4096)];
	uint8_t bytes[4096];

	if (!o->log)
		return;
	while (len || (o->rest_len && !more)) {
		const size_t n = MIN(len, sizeof(bytes) - o->rest_len);
		size_t taken, wide;

		memcpy(bytes, o->rest, o->rest_len);
		if (n)
			memcpy(bytes + o->rest_len, data, n);
		data += n;
		len -= n;
		wide = text_safe(text, sizeof(text), bytes, o->rest_len + n, more || len, &taken);
		log_text(o, text, wide, seconds);
		o->rest_len = o->rest_len + n - taken;
		/* A row of carriage returns longer than that is as good as one. */
		taken += o->rest_len - MIN(o->rest_len, sizeof(o->rest));
		o->rest_len = MIN(o->rest_len, sizeof(o->rest));
		memcpy(o->rest, bytes + taken, o->rest_len);
		if (!n)
			break;
	}
	/* So that it is there when somebody looks, and whatever becomes of skep. */
	fflush(o->log);
}

static void on_console(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	struct open_folder *o = find(container_of(w, struct folders, watch), r);
	size_t n;

	if (!o)
		return;
	n = (size_t)MIN(len, CONSOLE_MAX - o->kept);
	o->kept += n;
	if (!n)
		return;
	if (o->raw) {
		fwrite(data, 1, n, o->raw);
		fflush(o->raw);
	}
	log_bytes(o, data, n, true);
}

static void on_message(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	struct open_folder *o = find(container_of(w, struct folders, watch), r);
	char text[TEXT_SAFE_ROOM(512)];

	if (!o || !o->messages)
		return;
	while (len) {
		const size_t n = MIN(len, (size_t)512);

		fwrite(text, 1, text_safe(text, sizeof(text), data, n, false, NULL), o->messages);
		data += n;
		len -= n;
	}
	fflush(o->messages);
}

/* What was not kept, and the end of it. */
static void finish_console(struct open_folder *o)
{
	const uint64_t total = o->record->console ? o->record->console->total : o->kept;
	uint8_t tail[RUN_TAIL_MAX];
	size_t n;

	log_bytes(o, NULL, 0, false);
	if (o->in_line && o->log)
		fputc('\n', o->log);
	o->in_line = false;
	if (total <= o->kept || !o->log)
		return;
	n = run_tail_bytes(o->record->console, tail);
	fprintf(o->log, "# %llu bytes are not kept; the last %zu were:\n",
		(unsigned long long)(total - o->kept), n);
	log_bytes(o, tail, n, false);
}

/* The rest */

static void write_texts(struct folders *f, struct open_folder *o)
{
	for (unsigned int i = 0; i < REPORT_TEXTS; i++) {
		const json_t *text = json_object_get(o->record->result, report_texts[i].member);
		FILE *to;

		if (!json_is_string(text) || !json_string_length(text))
			continue;
		to = open_file(f, o, report_texts[i].file, 0666);
		if (to)
			fwrite(json_string_value(text), 1, json_string_length(text), to);
		close_file(f, o, to, report_texts[i].file);
	}
}

static void write_result(struct folders *f, struct open_folder *o)
{
	FILE *to = open_file(f, o, "result.json", 0666);
	json_t *object = report_object(o->record, false);

	if (to) {
		if (json_dumpf(object, to, JSON_INDENT(2)))
			complain(f, errno, o->record->spec->folder, "result.json");
		fputc('\n', to);
	}
	json_decref(object);
	close_file(f, o, to, "result.json");
}

/* As one word of a shell, whatever is in it. */
static void put_quoted(FILE *to, const char *word)
{
	fputc('\'', to);
	for (const char *p = word; *p; p++) {
		if (*p == '\'')
			fputs("'\\''", to);
		else
			fputc(*p, to);
	}
	fputc('\'', to);
}

static void write_replay(struct folders *f, struct open_folder *o)
{
	const struct run_record *r = o->record;
	FILE *to = open_file(f, o, "replay.sh", 0777);
	char *here = getcwd(NULL, 0);

	if (to) {
		fprintf(to, "#!/bin/sh\n# %s, status %d: %s\n", run_state_word(r->state), r->status,
			r->reason);
		if (here) {
			fputs("cd ", to);
			put_quoted(to, here);
			fputs(" || exit 125\n", to);
		}
		fputs("skep=", to);
		put_quoted(to, f->program);
		fputs("\nexec \"${SKEP:-$skep}\"", to);
		for (char *const *word = r->spec->replay; *word; word++) {
			fputc(' ', to);
			put_quoted(to, *word);
		}
		fputs(" \"$@\"\n", to);
	}
	free(here);
	close_file(f, o, to, "replay.sh");
}

static void on_ended(struct run_watch *w, const struct run_record *r)
{
	struct folders *f = container_of(w, struct folders, watch);
	struct open_folder *o = find(f, r);

	if (!o)
		return;
	finish_console(o);
	close_file(f, o, o->raw, "console.raw");
	close_file(f, o, o->log, "console.log");
	close_file(f, o, o->messages, "messages.txt");
	if (r->state == RUN_PASSED && !f->all) {
		clear(r->spec->folder);
	} else {
		write_texts(f, o);
		write_result(f, o);
		write_replay(f, o);
	}
	close(o->dir);
	o->record = NULL;
}

static int on_close(struct run_watch *w, struct err *err)
{
	struct folders *f = container_of(w, struct folders, watch);
	const int failed = f->failed;

	if (failed && err)
		*err = f->why;
	free(f->open);
	free(f->path);
	free(f->program);
	free(f);
	return failed;
}

/* That files can be made there is found out now, by making one. */
static int try_folder(const char *path, struct err *err)
{
	char probe[4096];
	int fd;

	if (mkdir(path, 0777) && errno != EEXIST)
		return err_sys(err, errno, "cannot make the report folder %s", path);
	if ((size_t)snprintf(probe, sizeof(probe), "%s/.skep-XXXXXX", path) >= sizeof(probe))
		return err_sys(err, ENAMETOOLONG, "report folder %s", path);
	fd = mkostemp(probe, O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "cannot write into the report folder %s", path);
	close(fd);
	unlink(probe);
	return 0;
}

int report_folder_open(struct run_watch **w, const char *path, bool all, const char *program,
		       const struct run_spec *specs, unsigned int runs, struct err *err)
{
	struct folders *f;
	int ret = try_folder(path, err);

	*w = NULL;
	if (ret)
		return ret;
	f = calloc(1, sizeof(*f));
	if (f) {
		f->path = strdup(path);
		f->program = strdup(program);
		f->all = all;
	}
	if (!f || !f->path || !f->program) {
		if (f)
			on_close(&f->watch, NULL);
		return err_sys(err, ENOMEM, "report folder %s", path);
	}
	for (unsigned int i = 0; i < runs; i++)
		clear(specs[i].folder);
	f->watch = (struct run_watch){
		.begun = on_begun,
		.console = on_console,
		.message = on_message,
		.ended = on_ended,
		.close = on_close,
	};
	*w = &f->watch;
	return 0;
}
