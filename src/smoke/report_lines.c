/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a person sees. To a file: a line for each run as it ends. On a terminal: lines of those that
 * have not passed, and below them, drawn anew as things change, how far all is and a table of the
 * runs under way, each with the last line of its console.
 *
 * A frame is one write: up to where the last one began, each line and what is right of it, and what
 * is below. So nothing flickers, and the terminal is in no state that would have to be put back,
 * whatever becomes of skep. Lines are one column shorter than the terminal, so none wraps; after
 * the terminal has become narrower, the old ones may have.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "report_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

#define ROWS_MAX 12u  /* of the table, its head included */
#define COLS_MAX 200u /* of its lines */

/* A run under way. */
struct row {
	const struct run_record *record; /* NULL: the place is free */
	char line[COLS_MAX];             /* the console's last, as far as it has come */
	char last[COLS_MAX];             /* the last that was not empty */
	size_t len;
	enum { PLAIN, ESCAPE, CSI } in; /* a control sequence */
};

struct lines {
	struct run_watch watch;
	FILE *to;
	bool live, colour;
	unsigned int total, done, states[RUN_SKIPPED + 1];
	uint64_t began;
	struct row *rows; /* only of a live table */
	unsigned int room;
	/* The last frame: how many columns each of its lines has. */
	unsigned int drawn, widths[ROWS_MAX];
	char *above; /* lines that are to stand above the table, with their line feeds */
	size_t above_len;
};

static const char *word_of(enum run_state state)
{
	switch (state) {
	case RUN_PASSED:
		return "ok";
	case RUN_FAILED:
		return "FAILED";
	case RUN_ERROR:
		return "ERROR";
	default:
		return run_state_word(state);
	}
}

static void put_ending(const struct lines *l, FILE *to, const struct run_record *r)
{
	const bool good = r->state == RUN_PASSED;
	const bool bad = r->state == RUN_FAILED || r->state == RUN_ERROR;
	char name[512];

	text_safe(name, sizeof(name), r->spec->name, strlen(r->spec->name), false, NULL);
	fprintf(to, "%s%-7s%s  %s",
		!l->colour ? ""
		: good     ? "\x1b[32m"
		: bad      ? "\x1b[31m"
			   : "",
		word_of(r->state), l->colour && (good || bad) ? "\x1b[m" : "", name);
	if (r->started)
		fprintf(to, "  %.2f s", run_seconds(r));
	if (!good)
		fprintf(to, "  %s", r->reason);
	if (bad && report_has_folder(r)) {
		text_safe(name, sizeof(name), r->spec->folder, strlen(r->spec->folder), false,
			  NULL);
		fprintf(to, "; see %s", name);
	}
	fputc('\n', to);
}

/* "24 runs: 23 passed, 1 failed, …" */
static void put_totals(const struct lines *l, FILE *to)
{
	const char *comma = ": ";

	fprintf(to, "%u run%s", l->total, l->total == 1 ? "" : "s");
	for (unsigned int i = RUN_PASSED; i <= RUN_SKIPPED; i++) {
		if (!l->states[i])
			continue;
		fprintf(to, "%s%u %s", comma, l->states[i],
			i == RUN_ERROR && l->states[i] > 1 ? "errors" : run_state_word(i));
		comma = ", ";
	}
	fprintf(to, "; %.2f s\n", (double)(clock_now() - l->began) / (double)NS_PER_S);
}

/* The table */

static struct row *find_row(struct lines *l, const struct run_record *r)
{
	for (unsigned int i = 0; i < l->room; i++)
		if (l->rows[i].record == r)
			return &l->rows[i];
	return NULL;
}

static void on_begun(struct run_watch *w, const struct run_record *r)
{
	struct lines *l = container_of(w, struct lines, watch);
	struct row *row, *grown;

	if (!l->live)
		return;
	row = find_row(l, NULL);
	if (!row) {
		grown = reallocarray(l->rows, l->room + 16, sizeof(*grown));
		if (!grown)
			return;
		memset(grown + l->room, 0, 16 * sizeof(*grown));
		row = &grown[l->room];
		l->rows = grown;
		l->room += 16;
	}
	*row = (struct row){.record = r};
}

/* What of a console fits into a table: letters, without what they are painted with. */
static void row_byte(struct row *row, uint8_t c)
{
	if (row->in == ESCAPE) {
		row->in = c == '[' ? CSI : PLAIN;
	} else if (row->in == CSI) {
		if (c >= 0x40 && c <= 0x7e)
			row->in = PLAIN;
	} else if (c == 0x1b) {
		row->in = ESCAPE;
	} else if (c == '\n' || c == '\r') {
		if (row->len)
			memcpy(row->last, row->line, sizeof(row->last));
		row->len = 0;
		row->line[0] = '\0';
	} else if (row->len + 1 < sizeof(row->line)) {
		if (c == '\t')
			c = ' ';
		row->line[row->len++] = (char)(c >= ' ' && c < 0x7f ? c : '?');
		row->line[row->len] = '\0';
	}
}

static void on_console(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	struct lines *l = container_of(w, struct lines, watch);
	struct row *row = l->live ? find_row(l, r) : NULL;

	for (size_t i = 0; row && i < len; i++)
		row_byte(row, data[i]);
}

/* A line of the table, as much of it as there is room for, in letters that take a column each. */
static void put_line(char *line, size_t room, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void put_line(char *line, size_t room, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, room, fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

static void put_head(const struct lines *l, char *line, size_t room, uint64_t now)
{
	const double seconds = (double)(now - l->began) / (double)NS_PER_S;
	const unsigned int bad = l->states[RUN_FAILED] + l->states[RUN_ERROR];
	char trouble[48] = "", left[48] = "";

	if (bad)
		snprintf(trouble, sizeof(trouble), ", %u not as they should be", bad);
	if (l->done && l->done < l->total)
		snprintf(left, sizeof(left), ", about %.0f s to go",
			 seconds / l->done * (l->total - l->done));
	put_line(line, room, "%u of %u done%s; %.1f s%s", l->done, l->total, trouble, seconds,
		 left);
}

/* The table's lines; returns how many. */
static unsigned int compose(const struct lines *l, char text[ROWS_MAX][COLS_MAX], unsigned int rows,
			    size_t cols)
{
	const uint64_t now = clock_now();
	unsigned int n = 0, under_way = 0;

	put_head(l, text[n++], cols, now);
	for (unsigned int i = 0; i < l->room; i++)
		under_way += !!l->rows[i].record;
	for (unsigned int i = 0; i < l->room; i++) {
		const struct row *row = &l->rows[i];

		if (!row->record)
			continue;
		if (n + 1 == rows && under_way > 1) {
			put_line(text[n++], cols, "          and %u more", under_way);
			break;
		}
		put_line(text[n++], cols, "%8.1f  %s  %s",
			 (double)(now - row->record->started) / (double)NS_PER_S,
			 row->record->spec->name, row->len ? row->line : row->last);
		under_way--;
	}
	return n;
}

/* How many rows of the terminal the last frame takes now. */
static unsigned int rows_drawn(const struct lines *l, unsigned int cols)
{
	unsigned int rows = 0;

	for (unsigned int i = 0; i < l->drawn; i++)
		rows += l->widths[i] ? (l->widths[i] - 1) / cols + 1 : 1;
	return rows;
}

static void write_frame(struct lines *l, const char *frame, size_t len)
{
	const int fd = fileno(l->to);

	while (len) {
		const ssize_t n = write(fd, frame, len);

		if (n < 0 && errno != EINTR)
			break;
		if (n > 0) {
			frame += n;
			len -= (size_t)n;
		}
	}
}

/* What is to stand above, and with @table the table; without, nothing of it is left. */
static void draw(struct lines *l, bool table)
{
	char text[ROWS_MAX][COLS_MAX], *frame = NULL;
	unsigned int n = 0, up;
	struct winsize size;
	size_t len = 0, cols;
	FILE *out;

	if (ioctl(fileno(l->to), TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		size = (struct winsize){.ws_col = 80, .ws_row = 24};
	out = open_memstream(&frame, &len);
	if (!out)
		return;
	cols = MIN((size_t)size.ws_col, (size_t)COLS_MAX);
	up = rows_drawn(l, size.ws_col);
	if (up)
		fprintf(out, "\x1b[%uA\r", MIN(up, (unsigned int)size.ws_row - 1));
	for (const char *p = l->above; p && *p;) {
		const size_t part = strcspn(p, "\n");

		fprintf(out, "%.*s\x1b[K\n", (int)part, p);
		p += part + (p[part] == '\n');
	}
	if (table && size.ws_row > 2)
		n = compose(l, text, MIN(ROWS_MAX, (unsigned int)size.ws_row - 1), cols);
	l->drawn = n;
	for (unsigned int i = 0; i < n; i++) {
		fprintf(out, "%s\x1b[K\n", text[i]);
		l->widths[i] = (unsigned int)strlen(text[i]);
	}
	fputs("\x1b[J", out);
	if (!fclose(out))
		write_frame(l, frame, len);
	free(frame);
	free(l->above);
	l->above = NULL;
}

static void on_tick(struct run_watch *w)
{
	struct lines *l = container_of(w, struct lines, watch);
	struct pollfd p = {.fd = fileno(l->to), .events = POLLOUT};

	/* A terminal that is slow, or stopped, misses frames. */
	if (l->live && poll(&p, 1, 0) > 0)
		draw(l, true);
}

static void on_ended(struct run_watch *w, const struct run_record *r)
{
	struct lines *l = container_of(w, struct lines, watch);
	struct row *row = find_row(l, r);
	FILE *out;

	l->done++;
	l->states[r->state]++;
	if (!l->live) {
		put_ending(l, l->to, r);
		fflush(l->to);
		return;
	}
	if (row)
		row->record = NULL;
	if (r->state == RUN_PASSED || r->state == RUN_SKIPPED)
		return;
	out = open_memstream(&l->above, &l->above_len);
	if (!out)
		return;
	put_ending(l, out, r);
	fclose(out);
	draw(l, true);
}

static void on_finished(struct run_watch *w, const struct runner *r)
{
	struct lines *l = container_of(w, struct lines, watch);

	(void)r;
	if (l->live)
		draw(l, false);
	put_totals(l, l->to);
	fflush(l->to);
}

static int on_close(struct run_watch *w, struct err *err)
{
	struct lines *l = container_of(w, struct lines, watch);
	const bool failed = ferror(l->to);

	free(l->rows);
	free(l->above);
	free(l);
	return failed ? err_set(err, EIO, "cannot write what became of the runs") : 0;
}

int report_lines_open(struct run_watch **w, FILE *to, unsigned int total, struct err *err)
{
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
	struct lines *l = calloc(1, sizeof(*l));

	*w = NULL;
	if (!l)
		return err_sys(err, ENOMEM, "table of %u runs", total);
	l->watch = (struct run_watch){
		.begun = on_begun,
		.console = on_console,
		.ended = on_ended,
		.tick = on_tick,
		.finished = on_finished,
		.close = on_close,
	};
	l->to = to;
	l->total = total;
	l->began = clock_now();
	l->live = isatty(fileno(to)) && term && *term && strcmp(term, "dumb") != 0;
	l->colour = l->live && !(no_colour && *no_colour);
	fflush(to);
	*w = &l->watch;
	return 0;
}
