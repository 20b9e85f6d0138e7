#include "kit/tracer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "net/net.h"

enum { RETRY_AFTER_MAX_S = 60, ANSWER_BYTES_MAX = 64 << 10 };

static const int64_t gather_us = 500 * MILLISECOND_US; /* a span waits so long for company */
static const int64_t post_timeout_us = 3 * SECOND_US;
static const int64_t retry_first_us = 500 * MILLISECOND_US, retry_most_us = 5 * SECOND_US;

enum outcome { TAKEN, REFUSED, LATER };

static void send_main(void *arg);
static bool wait_for_spans(struct tracer *t);
static bool send_batch(struct tracer *t, const struct span *batch, size_t n);
static enum outcome post(struct tracer *t, struct arena *a, const char *json, int64_t *ret_wait_us,
                         const char **ret_why);
static bool rest(struct tracer *t, int64_t us);
static void say(const struct tracer *t, const char *words, const char *why);

struct tracer *
tracer_new(struct node *node)
{
    const char *endpoint = setting(node, "otlp_endpoint");
    if (!*endpoint)
        return NULL;
    struct tracer *t = calloc(1, sizeof *t);
    if (!t || !(t->ring = calloc(SPANS_MAX, sizeof *t->ring)))
        abort();
    size_t n = strlen(endpoint);
    while (n && endpoint[n - 1] == '/')
        n--;
    t->url = arena_printf(node->arena, "%.*s/v1/traces", (int)n, endpoint);
    t->sample = setting_int(node, "trace_sample");
    t->quiet = node->quiet;
    return t;
}

void
tracer_free(struct tracer *t)
{
    if (!t)
        return;
    free(t->ring);
    free(t);
}

/* By the trace's id, so that every process decides the same way. */
bool
tracer_samples(const struct tracer *t, const char *trace_id)
{
    char low[9] = "";
    memcpy(low, trace_id + 24, 8);
    return (int64_t)(strtoul(low, NULL, 16) % 1000) < t->sample;
}

void
tracer_add(struct tracer *t, const struct span *span)
{
    spin_lock(&t->lock);
    bool fits = t->n < SPANS_MAX;
    if (fits)
        t->ring[(t->first + t->n++) % SPANS_MAX] = *span;
    if (fits && t->n == SPAN_BATCH_MAX && t->sender)
        fiber_wake(t->sender);
    spin_unlock(&t->lock);
    if (!fits)
        atomic_fetch_add_explicit(&t->dropped, 1, memory_order_relaxed);
}

size_t
tracer_take(struct tracer *t, struct span *ret, size_t n)
{
    spin_lock(&t->lock);
    if (n > t->n)
        n = t->n;
    for (size_t i = 0; i < n; i++)
        ret[i] = t->ring[(t->first + i) % SPANS_MAX];
    t->first = (t->first + n) % SPANS_MAX;
    t->n -= n;
    spin_unlock(&t->lock);
    return n;
}

void
tracer_metrics(struct tracer *t, struct text *out)
{
    if (!t)
        return;
    text_printf(out,
                "# TYPE souk_spans_total counter\n"
                "souk_spans_total{outcome=\"sent\"} %llu\n"
                "souk_spans_total{outcome=\"dropped\"} %llu\n"
                "souk_spans_total{outcome=\"refused\"} %llu\n",
                (unsigned long long)atomic_load(&t->sent),
                (unsigned long long)atomic_load(&t->dropped),
                (unsigned long long)atomic_load(&t->refused));
}

/* ---- sending --------------------------------------------------------------------------------- */

void
tracer_start(struct tracer *t, struct sched *sched)
{
    t->ended = !sched_spawn(sched, send_main, t);
}

void
tracer_stop(struct tracer *t)
{
    if (!t)
        return;
    spin_lock(&t->lock);
    t->stop = true;
    t->stopper = fiber_self();
    if (t->sender)
        fiber_wake(t->sender);
    bool ended = t->ended;
    spin_unlock(&t->lock);
    while (!ended) {
        fiber_park();
        spin_lock(&t->lock);
        ended = t->ended;
        spin_unlock(&t->lock);
    }
}

static void
send_main(void *arg)
{
    struct tracer *t = arg;
    struct span *batch = calloc(SPAN_BATCH_MAX, sizeof *batch);
    if (!batch)
        abort();
    spin_lock(&t->lock);
    t->sender = fiber_self();
    spin_unlock(&t->lock);
    while (wait_for_spans(t) && send_batch(t, batch, tracer_take(t, batch, SPAN_BATCH_MAX)))
        ;
    free(batch);
    spin_lock(&t->lock);
    t->sender = NULL;
    t->ended = true;
    if (t->stopper)
        fiber_wake(t->stopper);
    spin_unlock(&t->lock);
}

/* False when there is nothing more to tell. */
static bool
wait_for_spans(struct tracer *t)
{
    int64_t until_us = env.mono_us() + gather_us;
    for (bool waited = false;;) {
        spin_lock(&t->lock);
        size_t n = t->n;
        bool stop = t->stop;
        spin_unlock(&t->lock);
        if (stop || n >= SPAN_BATCH_MAX || (n && waited))
            return n > 0;
        waited = !fiber_park_until(until_us);
        if (waited)
            until_us += gather_us;
    }
}

/* Tries until the collector has an opinion.  False if Souk ends before it has. */
static bool
send_batch(struct tracer *t, const struct span *batch, size_t n)
{
    struct arena *arena = arena_new();
    const char *json = tracer_json(arena, batch, n), *why = "";
    int64_t backoff_us = retry_first_us;
    enum outcome outcome;
    bool told = false, goes_on = true;
    do {
        struct arena *try = arena_new();
        int64_t wait_us = backoff_us;
        outcome = post(t, try, json, &wait_us, &why);
        if (outcome != TAKEN && !told)
            say(t, outcome == LATER ? "takes no traces now" : "refuses traces", why);
        told |= outcome != TAKEN;
        arena_free(try);
        if (outcome == LATER)
            goes_on = rest(t, wait_us);
        backoff_us = 2 * backoff_us < retry_most_us ? 2 * backoff_us : retry_most_us;
    } while (outcome == LATER && goes_on);
    if (told && outcome == TAKEN)
        say(t, "takes traces again", "");
    atomic_fetch_add(outcome == TAKEN     ? &t->sent
                     : outcome == REFUSED ? &t->refused
                                          : &t->dropped,
                     n);
    arena_free(arena);
    return goes_on;
}

/* What may be tried again is said by OTLP: 429, 502, 503, 504, and a connection that broke. */
static enum outcome
post(struct tracer *t, struct arena *a, const char *json, int64_t *ret_wait_us,
     const char **ret_why)
{
    static const struct http_header type = {"content-type", "application/json"};
    const struct http_fetch in = {
        .method = "POST",
        .url = t->url,
        .headers = &type,
        .n_headers = 1,
        .body = json,
        .body_n = strlen(json),
        .timeout_us = post_timeout_us,
        .answer_max = ANSWER_BYTES_MAX,
    };
    struct http_answer answer;
    enum status st = http_fetch(a, &in, &answer, ret_why);
    if (st)
        return st == INVALID_ARGUMENT ? REFUSED : LATER;
    if (answer.status >= 200 && answer.status < 300)
        return TAKEN;
    *ret_why = arena_printf(a, "HTTP %d", answer.status);
    if (answer.status != 429 && answer.status != 502 && answer.status != 503 &&
        answer.status != 504)
        return REFUSED;
    for (size_t i = 0; i < answer.n_headers; i++) {
        int64_t s;
        if (strcmp(answer.headers[i].name, "retry-after") == 0 &&
            int_parse(answer.headers[i].value, &s) && s >= 0)
            *ret_wait_us = (s < RETRY_AFTER_MAX_S ? s : RETRY_AFTER_MAX_S) * SECOND_US;
    }
    return LATER;
}

/* False if the node stops; a wake for a full batch is no reason to hurry a collector. */
static bool
rest(struct tracer *t, int64_t us)
{
    int64_t until_us = env.mono_us() + us;
    for (;;) {
        spin_lock(&t->lock);
        bool stop = t->stop;
        spin_unlock(&t->lock);
        if (stop)
            return false;
        if (!fiber_park_until(until_us))
            return true;
    }
}

static void
say(const struct tracer *t, const char *words, const char *why)
{
    if (t->quiet)
        return;
    char line[400];
    int n = snprintf(line, sizeof line, "souk: %s %s%s%s\n", t->url, words, *why ? ": " : "", why);
    if (n > 0)
        log_line(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* ---- OTLP's JSON ----------------------------------------------------------------------------- */

static void
write_attribute(struct text *t, const char *name, const char *value, bool is_int)
{
    text_add(t, "{\"key\":");
    text_add_json(t, name);
    text_add(t, is_int ? ",\"value\":{\"intValue\":" : ",\"value\":{\"stringValue\":");
    text_add_json(t, value); /* an int64 is a string in protobuf's JSON */
    text_add(t, "}}");
}

static void
write_span(struct text *t, const struct span *span)
{
    text_printf(t, "{\"traceId\":\"%s\",\"spanId\":\"%s\",", span->trace_id, span->span_id);
    if (span->parent_id[0])
        text_printf(t, "\"parentSpanId\":\"%s\",", span->parent_id);
    text_add(t, "\"flags\":1,\"name\":");
    text_add_json(t, span->name);
    text_printf(t, ",\"kind\":%d,\"startTimeUnixNano\":\"%lld000\",\"endTimeUnixNano\":\"%lld000\"",
                (int)span->kind, (long long)span->start_us,
                (long long)(span->start_us + span->took_us));
    text_add(t, ",\"attributes\":[");
    for (size_t i = 0; i < span->n_attributes; i++) {
        const struct span_attribute *a = &span->attributes[i];
        text_add(t, i ? "," : "");
        write_attribute(t, a->name, a->value, a->is_int);
    }
    text_add(t, span->failed ? "],\"status\":{\"code\":2}}" : "],\"status\":{}}");
}

/* All spans of the service that spans[first] is of. */
static void
write_resource(struct text *t, const struct span *spans, size_t first, size_t n)
{
    const char *service = spans[first].service;
    text_add(t, "{\"resource\":{\"attributes\":[");
    write_attribute(t, "service.name", service, false);
    text_add_char(t, ',');
    write_attribute(t, "service.namespace", "souk", false);
    text_add_char(t, ',');
    write_attribute(t, "service.version", SOUK_VERSION, false);
    text_add(t, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"souk\"},\"spans\":[");
    for (size_t i = first; i < n; i++)
        if (strcmp(spans[i].service, service) == 0) {
            text_add(t, i > first ? "," : "");
            write_span(t, &spans[i]);
        }
    text_add(t, "]}]}");
}

static bool
is_first_of_service(const struct span *spans, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(spans[i].service, spans[at].service) == 0)
            return false;
    return true;
}

/* A resource for each service, so that a collector tells them apart. */
char *
tracer_json(struct arena *a, const struct span *spans, size_t n)
{
    struct text t = text_in(a);
    text_add(&t, "{\"resourceSpans\":[");
    for (size_t i = 0; i < n; i++)
        if (is_first_of_service(spans, i)) {
            text_add(&t, i ? "," : "");
            write_resource(&t, spans, i, n);
        }
    text_add(&t, "]}");
    return t.bytes;
}
