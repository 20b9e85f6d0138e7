/*
 * The tracer: the spans that wait, and the fiber that brings them to the collector.  Private to
 * kit.
 *
 * At most SPANS_MAX wait; beyond it a new one is dropped and counted, so that a collector that is
 * slow or away costs spans, and never memory or a sale's time.
 */
#pragma once
#include <stdatomic.h>

#include "fiber/fiber.h"
#include "kit/trace.h"

enum { SPANS_MAX = 8192, SPAN_BATCH_MAX = 512 };

struct span_attribute {
    const char *name;
    char value[SPAN_VALUE_MAX + 1];
    bool is_int;
};

struct span {
    const char *service;
    enum span_kind kind;
    bool first;                          /* of its request: there is nothing to go back to */
    bool failed;                         /* by our fault */
    int64_t start_us, took_us, begun_us; /* the last on env.mono_us's clock */
    char trace_id[33], span_id[17], parent_id[17];
    char name[SPAN_NAME_MAX + 1];
    struct span_attribute attributes[SPAN_ATTRIBUTES_MAX];
    size_t n_attributes;
};

struct tracer {
    const char *url;  /* of the collector: …/v1/traces */
    int64_t sample;   /* of 1000 */
    bool quiet;       /* says nothing on standard error */
    struct spin lock; /* guards what follows, up to the figures */
    struct span *ring;
    size_t first, n;
    struct fiber *sender, *stopper;
    bool stop, ended;
    _Atomic uint64_t sent, dropped, refused;
};

/* NULL if no endpoint is set. */
struct tracer *tracer_new(struct node *node);
void tracer_free(struct tracer *t); /* NULL is allowed */
/* Sends from a fiber of sched. */
void tracer_start(struct tracer *t, struct sched *sched);
/* Tells what is there, if the collector takes it at once. */
void tracer_stop(struct tracer *t);
void tracer_metrics(struct tracer *t, struct text *out);

/* Whether a new trace is recorded. */
bool tracer_samples(const struct tracer *t, const char *trace_id);
void tracer_add(struct tracer *t, const struct span *span);
/* Takes the oldest out, up to n; gives how many. */
size_t tracer_take(struct tracer *t, struct span *ret, size_t n);
/* An ExportTraceServiceRequest in OTLP's JSON. */
char *tracer_json(struct arena *a, const struct span *spans, size_t n);
