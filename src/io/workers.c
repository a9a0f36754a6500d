/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers are made one by one until there are as many as may be; from then on names share those
 * there are, in turn.
 */
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "skep/worker.h"
#include "skep/workers.h"

struct workers {
	struct worker *list[WORKERS_MAX];
	enum sandbox_kind kinds[WORKERS_MAX];
	unsigned int count;
	unsigned int limit;
	unsigned int next; /* to be shared */
	bool foreign;      /* the one there is is the caller's */
};

static struct workers *make(unsigned int limit)
{
	struct workers *ws = calloc(1, sizeof(*ws));

	if (ws)
		ws->limit = limit;
	return ws;
}

int workers_create(struct workers **ws, unsigned int limit, struct err *err)
{
	*ws = make(limit ? MIN(limit, (unsigned int)WORKERS_MAX) : WORKERS_MAX);
	return *ws ? 0 : err_sys(err, ENOMEM, "workers");
}

int workers_create_shared(struct workers **ws, struct worker *one, struct err *err)
{
	*ws = make(1);
	if (!*ws)
		return err_sys(err, ENOMEM, "workers");
	(*ws)->list[(*ws)->count++] = one;
	(*ws)->foreign = true;
	return 0;
}

void workers_destroy(struct workers *ws)
{
	if (!ws)
		return;
	for (unsigned int i = 0; i < ws->count && !ws->foreign; i++)
		worker_destroy(ws->list[i]);
	free(ws);
}

/* One that serves devices of several kinds may do what any of them wants. */
static struct worker *share(struct workers *ws, enum sandbox_kind kind)
{
	unsigned int n = ws->next++ % ws->count;

	if (ws->kinds[n] != kind && !ws->foreign)
		worker_set_kind(ws->list[n], SANDBOX_WORKER);
	return ws->list[n];
}

int workers_get(struct workers *ws, const char *name, enum sandbox_kind kind, struct worker **w,
		struct err *err)
{
	int ret;

	if (ws->count == ws->limit) {
		*w = share(ws, kind);
		return 0;
	}
	ret = worker_create(w, name, err);
	if (ret)
		return ret;
	worker_set_kind(*w, kind);
	ws->kinds[ws->count] = kind;
	ws->list[ws->count++] = *w;
	return 0;
}

const char *workers_engine_reason(const struct workers *ws)
{
	const char *reason = NULL;

	for (unsigned int i = 0; i < ws->count && !reason; i++)
		reason = worker_engine_reason(ws->list[i]);
	return reason;
}

void workers_record(struct workers *ws, struct trace *trace)
{
	for (unsigned int i = 0; i < ws->count && !ws->foreign; i++)
		worker_record(ws->list[i],
			      trace_ring(trace, TRACE_WORKER, i, worker_name(ws->list[i])));
}

int workers_start(struct workers *ws, struct err *err)
{
	for (unsigned int i = 0; i < ws->count && !ws->foreign; i++) {
		int ret = worker_start(ws->list[i], err);

		if (!ret)
			continue;
		while (i--)
			worker_stop(ws->list[i]);
		return ret;
	}
	return 0;
}

void workers_stop(struct workers *ws)
{
	for (unsigned int i = 0; i < ws->count && !ws->foreign; i++)
		worker_stop(ws->list[i]);
}

void workers_rest(struct workers *ws)
{
	for (unsigned int i = 0; i < ws->count && !ws->foreign; i++)
		worker_rest(ws->list[i]);
}
