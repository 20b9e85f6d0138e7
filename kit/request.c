/* A request: how it begins, how it says why it failed, what it touches. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/hash.h"
#include "kit/node_impl.h"
#include "kit/tracer.h"

/* n bytes as 2 n digits; what follows them is left alone. */
static void
put_hex(char *to, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
}

void
request_init(struct request *rq, struct node *node, struct arena *arena)
{
    *rq = (struct request){
        .arena = arena,
        .scope = {.arena = arena},
        .node = node,
        .caller = {.kind = CALLER_ANONYMOUS, .id = "", .session_id = "", .order_id = "", .ip = "",
                   .user_agent = ""},
        .now_us = env.now_us(),
        .deadline_us = env.mono_us() + REQUEST_LIFE_US,
        .causation_id = "",
    };
    rq->id = id_make(arena, "req", rq->now_us);
    rq->correlation_id = rq->id;
    uint8_t random[24];
    env.random(random, sizeof random);
    put_hex(rq->trace_id, random, 16);
    put_hex(rq->span_id, random + 16, 8);
    rq->sampled = node->tracer && tracer_samples(node->tracer, rq->trace_id);
}

void
request_new_span(struct request *rq)
{
    uint8_t random[8];
    env.random(random, sizeof random);
    put_hex(rq->span_id, random, sizeof random);
}

static void
say(struct request *rq, const char *fmt, va_list args)
{
    rq->message = arena_vprintf(rq->arena, fmt, args);
}

enum status
fail(struct request *rq, const struct reason *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(rq, fmt, args);
    va_end(args);
    rq->reason = why;
    return why->status;
}

enum status
fail_status(struct request *rq, enum status st, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(rq, fmt, args);
    va_end(args);
    rq->reason = NULL;
    return st;
}

enum status
fail_store(struct request *rq, enum status st)
{
    if (st == OK)
        return OK;
    if (st == UNAVAILABLE)
        return fail_status(rq, st, "the store cannot write now; nothing of this was kept");
    return fail_status(rq, st == NOT_FOUND ? INTERNAL : st, "the store refused: %s",
                       status_name(st));
}

bool
failed_with(const struct request *rq, const struct reason *why)
{
    return rq->reason == why;
}

void
fail_clear(struct request *rq)
{
    rq->reason = NULL;
    rq->message = NULL;
    rq->violations = NULL;
    rq->n_violations = 0;
    rq->n_extras = 0;
}

void
fail_at(struct request *rq, const char *pointer, const char *code, int64_t remaining,
        const char *fmt, ...)
{
    if (rq->n_violations == ERRORS_MAX)
        return;
    if (!rq->violations)
        rq->violations = arena_alloc(rq->arena, ERRORS_MAX * sizeof *rq->violations);
    va_list args;
    va_start(args, fmt);
    rq->violations[rq->n_violations++] = (struct violation){
        .pointer = arena_strdup(rq->arena, pointer),
        .code = code,
        .remaining = remaining,
        .detail = arena_vprintf(rq->arena, fmt, args),
    };
    va_end(args);
}

void
fail_extra(struct request *rq, const char *name, const char *value)
{
    for (size_t i = 0; i < rq->n_extras; i++)
        if (strcmp(rq->extras[i].name, name) == 0) {
            rq->extras[i].value = value;
            return;
        }
    assert(rq->n_extras < EXTRAS_MAX);
    rq->extras[rq->n_extras++] = (struct pair){name, value};
}

void
note_text(struct request *rq, const char *name, const char *value)
{
    if (rq->n_notes < NOTES_MAX)
        rq->notes[rq->n_notes++] = (struct pair){name, value};
}

void
note_int(struct request *rq, const char *name, int64_t value)
{
    note_text(rq, name, arena_printf(rq->arena, "%lld", (long long)value));
}

struct tx *
tx_begin(struct request *rq)
{
    assert(!rq->quick);
    return tx_begin_in(unit_of(rq->node, rq->service)->store, rq->service->name, &rq->scope);
}

struct tx *
tx_begin_read(struct request *rq)
{
    return tx_begin_read_in(unit_of(rq->node, rq->service)->store, rq->service->name, &rq->scope);
}

enum status
request_settle(struct request *rq)
{
    if (store_wait(&rq->scope) == OK)
        return OK;
    return fail_status(rq, UNAVAILABLE, "the store could not keep this; nothing of it happened");
}

void
publish(struct request *rq, struct tx *tx, const struct topic *topic,
        const ProtobufCMessage *message)
{
    const struct publish_context context = {
        .now_us = rq->now_us,
        .correlation_id = rq->correlation_id,
        .causation_id = rq->causation_id,
        .traceparent = trace_parent(rq),
    };
    rq->acted = true;
    bus_publish(rq->node->bus, tx, &context, topic, message);
}

void *
service_state(struct request *rq, size_t size)
{
    struct unit *unit = unit_of(rq->node, rq->service);
    spin_lock(&rq->node->state_lock);
    if (!unit->state) {
        unit->state = calloc(1, size);
        unit->state_bytes = size;
    }
    void *state = unit->state;
    spin_unlock(&rq->node->state_lock);
    if (!state)
        abort();
    assert(unit->state_bytes == size); /* a service has one kind of state */
    return state;
}

const char *
setting(const struct node *node, const char *name)
{
    return conf_get(node->conf, name);
}

int64_t
setting_int(const struct node *node, const char *name)
{
    int64_t n = 0;
    bool is_int = int_parse(conf_get(node->conf, name), &n);
    assert(is_int);
    (void)is_int;
    return n;
}

const char *
node_data_dir(const struct node *node)
{
    return node->data_dir;
}
