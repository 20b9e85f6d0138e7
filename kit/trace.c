/* The context that goes along, and spans as they begin and end. */
#include "kit/trace.h"

#include <stdio.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/tracer.h"

enum { TRACE_AT = 3, TRACE_CHARS = 32, SPAN_AT = 36, SPAN_CHARS = 16, FLAGS_AT = 53 };

static bool
is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

static bool
all_zero(const char *s, size_t n)
{
    return strspn(s, "0") >= n;
}

static bool
sampled_flag(char digit)
{
    return ((digit >= 'a' ? digit - 'a' + 10 : digit - '0') & 1) != 0;
}

/* A later version may be longer, behind a further '-'. */
bool
trace_parse(const char *traceparent, struct trace_context *ret)
{
    const char *s = traceparent;
    size_t n = strlen(s);
    if (n < TRACEPARENT_CHARS || s[2] != '-' || s[SPAN_AT - 1] != '-' || s[FLAGS_AT - 1] != '-')
        return false;
    bool first_version = strncmp(s, "00", 2) == 0;
    if (strncmp(s, "ff", 2) == 0 || (n > TRACEPARENT_CHARS && first_version) ||
        (n > TRACEPARENT_CHARS && s[TRACEPARENT_CHARS] != '-'))
        return false;
    if (!is_hex(s, 2) || !is_hex(s + TRACE_AT, TRACE_CHARS) || !is_hex(s + SPAN_AT, SPAN_CHARS) ||
        !is_hex(s + FLAGS_AT, 2) || all_zero(s + TRACE_AT, TRACE_CHARS) ||
        all_zero(s + SPAN_AT, SPAN_CHARS))
        return false;
    *ret = (struct trace_context){.sampled = sampled_flag(s[FLAGS_AT + 1])};
    memcpy(ret->trace_id, s + TRACE_AT, TRACE_CHARS);
    memcpy(ret->span_id, s + SPAN_AT, SPAN_CHARS);
    return true;
}

const char *
trace_parent(const struct request *rq)
{
    return arena_printf(rq->arena, "00-%s-%s-%s", rq->trace_id, rq->span_id,
                        rq->sampled ? "01" : "00");
}

static void
take_context(struct request *rq, const struct trace_context *from)
{
    memcpy(rq->trace_id, from->trace_id, sizeof rq->trace_id);
    memcpy(rq->span_id, from->span_id, sizeof rq->span_id);
    rq->sampled = from->sampled;
}

bool
trace_join(struct request *rq, const char *traceparent)
{
    struct trace_context from;
    if (!traceparent || !trace_parse(traceparent, &from))
        return false;
    take_context(rq, &from);
    rq->spanned = true;
    return true;
}

const char *
trace_kept(const struct request *rq)
{
    return rq->node->tracer ? trace_parent(rq) : "";
}

struct trace_visit
trace_enter(struct request *rq, const char *kept)
{
    struct trace_visit visit = {.spanned = rq->spanned, .acted = rq->acted};
    visit.home.sampled = rq->sampled;
    memcpy(visit.home.trace_id, rq->trace_id, sizeof rq->trace_id);
    memcpy(visit.home.span_id, rq->span_id, sizeof rq->span_id);
    if (!trace_join(rq, kept))
        visit.home.trace_id[0] = '\0'; /* nowhere to come back from */
    return visit;
}

void
trace_leave(struct request *rq, struct trace_visit visit)
{
    if (!visit.home.trace_id[0])
        return;
    take_context(rq, &visit.home);
    rq->spanned = visit.spanned;
    rq->acted = visit.acted;
}

/* ---- spans ----------------------------------------------------------------------------------- */

struct span *
span_begin(struct request *rq, enum span_kind kind, const char *name)
{
    if (!rq->node->tracer || !rq->sampled)
        return NULL;
    struct span *span = arena_alloc(rq->arena, sizeof *span);
    span->service = rq->service ? rq->service->name : "souk";
    span->kind = kind;
    span->first = !rq->spanned;
    span->start_us = env.now_us();
    span->begun_us = env.mono_us();
    snprintf(span->name, sizeof span->name, "%s", name);
    memcpy(span->trace_id, rq->trace_id, sizeof span->trace_id);
    memcpy(span->parent_id, span->first ? rq->parent_id : rq->span_id, sizeof span->parent_id);
    if (!span->first)
        request_new_span(rq);
    memcpy(span->span_id, rq->span_id, sizeof span->span_id);
    rq->spanned = true;
    return span;
}

struct span *
span_begin_rpc(struct request *rq, enum span_kind kind, const struct rpc *rpc)
{
    struct span *span = span_begin(rq, kind, rpc->full + 1);
    if (!span)
        return NULL;
    const char *service = rpc->full + 1;
    span_text(span, "rpc.system", kind == SPAN_INTERNAL ? "souk" : "grpc");
    span_text(span, "rpc.service", arena_strndup(rq->arena, service, strcspn(service, "/")));
    span_text(span, "rpc.method", rpc->name);
    return span;
}

struct span *
span_begin_event(struct request *rq, const struct event *event)
{
    if (!rq->node->tracer || !rq->sampled)
        return NULL;
    struct span *span =
        span_begin(rq, SPAN_CONSUMER, arena_printf(rq->arena, "process %s", event->topic));
    span_text(span, "messaging.system", "souk");
    span_text(span, "messaging.operation.type", "process");
    span_text(span, "messaging.destination.name", event->topic);
    span_text(span, "messaging.message.id", event->id);
    return span;
}

static struct span_attribute *
add(struct span *span, const char *name)
{
    if (!span || span->n_attributes == SPAN_ATTRIBUTES_MAX)
        return NULL;
    struct span_attribute *a = &span->attributes[span->n_attributes++];
    a->name = name;
    return a;
}

void
span_text(struct span *span, const char *name, const char *value)
{
    struct span_attribute *a = add(span, name);
    if (!a)
        return;
    size_t n = strnlen(value, SPAN_VALUE_MAX);
    while (n && value[n] && ((unsigned char)value[n] & 0xC0) == 0x80)
        n--; /* between characters */
    memcpy(a->value, value, n);
}

void
span_int(struct span *span, const char *name, int64_t value)
{
    struct span_attribute *a = add(span, name);
    if (!a)
        return;
    a->is_int = true;
    snprintf(a->value, sizeof a->value, "%lld", (long long)value);
}

/* An error is what is our fault: a buyer who is told no has been served well. */
void
span_end(struct span *span, struct request *rq, enum status st)
{
    if (!span)
        return;
    span->took_us = env.mono_us() - span->begun_us;
    span->failed = st && status_http(st) >= 500;
    if (st)
        span_text(span, "error.type", rq->reason ? rq->reason->code : status_name(st));
    tracer_add(rq->node->tracer, span);
    rq->acted |= strcmp(rq->trace_id, span->trace_id) == 0;
    if (!span->first && strcmp(rq->span_id, span->span_id) == 0)
        memcpy(rq->span_id, span->parent_id, sizeof rq->span_id);
}

void
span_end_job(struct span *span, struct request *rq, enum status st)
{
    if (st || rq->acted)
        span_end(span, rq, st);
}
