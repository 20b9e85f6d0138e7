/*
 * Traces: what a request did in which service, as spans, told to a collector by OTLP/HTTP.
 *
 * A request carries the ids of its trace and of the span that runs now; calls, tasks and events
 * hand them on as a traceparent (W3C Trace Context).  Spans are recorded only while the node has an
 * otlp_endpoint and the request is sampled: otherwise span_begin gives NULL, which all others take.
 * A span holds names, states and ids of events; nothing personal and no secrets.
 */
#pragma once
#include "kit/kit.h"

enum { TRACEPARENT_CHARS = 55, SPAN_NAME_MAX = 79, SPAN_ATTRIBUTES_MAX = 6, SPAN_VALUE_MAX = 63 };

/* Numbered as in OTLP. */
enum span_kind {
    SPAN_INTERNAL = 1,
    SPAN_SERVER = 2,
    SPAN_CLIENT = 3,
    SPAN_PRODUCER = 4,
    SPAN_CONSUMER = 5,
};

/* ---- the context ----------------------------------------------------------------------------- */

struct trace_context {
    char trace_id[33], span_id[17]; /* hex */
    bool sampled;
};

/* Reads a traceparent; false, and *ret untouched, if it is malformed. */
bool trace_parse(const char *traceparent, struct trace_context *ret);
/* What goes along with whatever rq causes, for its arena's life. */
const char *trace_parent(const struct request *rq);
/* rq goes on in the trace of whoever caused it; false if traceparent (or NULL) is none. */
bool trace_join(struct request *rq, const char *traceparent);

/*
 * For jobs that go on with what a request began: a row keeps trace_kept, and between enter and
 * leave rq is part of that trace.  "" changes nothing.
 */
struct trace_visit {
    struct trace_context home;
    bool spanned, acted;
};
const char *trace_kept(const struct request *rq); /* "" while nothing is recorded */
struct trace_visit trace_enter(struct request *rq, const char *kept);
void trace_leave(struct request *rq, struct trace_visit visit);

/* ---- spans ----------------------------------------------------------------------------------- */

struct span;

/* A part of the span that rq is at, or the first of its trace; of the service whose code runs. */
struct span *span_begin(struct request *rq, enum span_kind kind, const char *name);
/* The same for an rpc: INTERNAL in this process, CLIENT and SERVER where it leaves and comes in. */
struct span *span_begin_rpc(struct request *rq, enum span_kind kind, const struct rpc *rpc);
/* For a subscriber's turn. */
struct span *span_begin_event(struct request *rq, const struct event *event);
/* At most SPAN_ATTRIBUTES_MAX, the rest is left out; name is static, value is cut off. */
void span_text(struct span *span, const char *name, const char *value);
void span_int(struct span *span, const char *name, int64_t value);
/* Ends and records it; st says how it went, and rq why. */
void span_end(struct span *span, struct request *rq, enum status st);
/* Ends a job's, which is recorded only if the job did something. */
void span_end_job(struct span *span, struct request *rq, enum status st);
