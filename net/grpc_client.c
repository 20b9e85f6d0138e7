/* The client's calls, as their callers see them. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/grpc_channel.h"

enum { HEAD_FIELDS = 8 }; /* beside metadata */

/* ---- for callers ----------------------------------------------------------------------------- */

static void
free_arena(void *arena)
{
    arena_free(arena);
}

static bool
build_head(struct grpc_stream *s, const char **why)
{
    const struct grpc_ask *in = &s->in;
    const struct grpc_channel *c = s->channel;
    size_t n = 0, bytes = 0;
    if (in->n_metadata > GRPC_METADATA_MAX) {
        *why = "there is too much metadata";
        return false;
    }
    nghttp2_nv *nv = s->head = arena_alloc(s->arena, (HEAD_FIELDS + in->n_metadata) * sizeof *nv);
    const char *authority = c->options.server_name ? c->options.server_name : c->authority;
    nv[n++] = http2_field(":method", "POST", 4);
    nv[n++] = http2_field(":scheme", c->home.tls ? "https" : "http", c->home.tls ? 5 : 4);
    nv[n++] = http2_field(":path", in->path, strlen(in->path));
    nv[n++] = http2_field(":authority", authority, strlen(authority));
    nv[n++] = http2_field("te", "trailers", 8);
    nv[n++] = http2_field("content-type", "application/grpc", 16);
    nv[n++] = http2_field("user-agent", c->options.user_agent, strlen(c->options.user_agent));
    if (in->deadline_us != INT64_MAX)
        s->timeout_at = n++;
    for (size_t i = 0; i < in->n_metadata; i++) {
        const char *value;
        size_t value_n;
        if (!grpc_pair_encode(s->arena, &in->metadata[i], &value, &value_n)) {
            *why = arena_printf(s->arena, "metadata %s cannot be sent", in->metadata[i].name);
            return false;
        }
        nv[n++] = http2_field(in->metadata[i].name, value, value_n);
        bytes += strlen(in->metadata[i].name) + value_n;
    }
    s->n_head = n;
    if (bytes > GRPC_METADATA_BYTES_MAX)
        *why = "there is too much metadata";
    return bytes <= GRPC_METADATA_BYTES_MAX;
}

/* Its arena is its own: the loop fills it while the caller waits. */
static struct grpc_stream *
stream_new(struct grpc_channel *c, const struct grpc_ask *in, bool streaming)
{
    struct arena *a = arena_new();
    struct grpc_stream *s = arena_alloc(a, sizeof *s);
    s->teller.listen = grpc_stream_told;
    s->channel = c;
    s->arena = a;
    s->in = *in;
    s->streaming = streaming;
    s->said = -1;
    s->alarm = (struct alarm){.ring = grpc_stream_alarm, .arg = s};
    grpc_prefix(s->prefix, in->n);
    atomic_fetch_add_explicit(&c->calls, 1, memory_order_relaxed);
    return s;
}

/* Why it is not even begun; OK if it can be. */
static enum status
check(struct grpc_stream *s, const char **why)
{
    struct grpc_channel *c = s->channel;
    if (s->in.n > c->options.message_max) {
        *why = "the message is too large";
        return RESOURCE_EXHAUSTED;
    }
    if (!build_head(s, why))
        return RESOURCE_EXHAUSTED;
    if (s->in.deadline_us <= env.mono_us()) {
        *why = "the deadline has passed";
        return DEADLINE_EXCEEDED;
    }
    if (c->hopeless) {
        *why = c->why;
        return UNAVAILABLE;
    }
    if ((size_t)atomic_fetch_add(&c->under_way, 1) < c->options.calls_max)
        return OK;
    atomic_fetch_sub(&c->under_way, 1);
    *why = "too many calls are under way";
    return RESOURCE_EXHAUSTED;
}

static enum status
finish(struct grpc_stream *s, struct arena *a, struct grpc_reply *ret)
{
    enum status st = s->st;
    if (status_http(st) >= 500)
        atomic_fetch_add_explicit(&s->channel->failures, 1, memory_order_relaxed);
    *ret = (struct grpc_reply){
        .why = s->why ? s->why : "",
        .metadata = s->headers.list,
        .n_metadata = s->headers.n,
        .trailers = s->trailers.list,
        .n_trailers = s->trailers.n,
    };
    if (s->message) {
        ret->message = (const uint8_t *)s->message->bytes;
        ret->n = s->message->n;
        arena_defer(s->arena, free, s->message);
    }
    arena_defer(a, free_arena, s->arena);
    return st;
}

static void
wait_for_end(struct grpc_stream *s)
{
    struct loop *loop = s->channel->loop;
    struct waiter w = {.fiber = fiber_self()};
    pthread_mutex_lock(&loop->lock);
    bool ended = s->ended;
    if (!ended)
        s->waits = &w;
    pthread_mutex_unlock(&loop->lock);
    if (!ended)
        waiter_wait(loop, &w);
}

enum status
grpc_unary(struct grpc_channel *c, struct arena *a, const struct grpc_ask *in,
           struct grpc_reply *ret)
{
    static const uint8_t nothing;
    struct grpc_stream *s = stream_new(c, in, false);
    if (!s->in.message)
        s->in.message = &nothing;
    s->st = check(s, &s->why);
    if (!s->st) {
        struct waiter w = {.fiber = fiber_self()};
        s->waits = &w;
        loop_tell(c->loop, &s->teller, GRPC_ASK_START);
        waiter_wait(c->loop, &w);
    }
    return finish(s, a, ret);
}

/* ---- of many messages ------------------------------------------------------------------------ */

static void
copy_ask(struct grpc_stream *s)
{
    struct arena *a = s->arena;
    struct grpc_pair *pairs = arena_alloc(a, (s->in.n_metadata + 1) * sizeof *pairs);
    for (size_t i = 0; i < s->in.n_metadata; i++) {
        const struct grpc_pair *p = &s->in.metadata[i];
        pairs[i] = (struct grpc_pair){arena_strdup(a, p->name), arena_copy(a, p->value, p->value_n),
                                      p->value_n};
    }
    s->in.metadata = pairs;
    s->in.path = arena_strdup(a, s->in.path);
    if (s->in.message)
        s->in.message = arena_copy(a, s->in.message, s->in.n);
}

struct grpc_stream *
grpc_open(struct grpc_channel *c, const struct grpc_ask *in)
{
    struct grpc_stream *s = stream_new(c, in, true);
    copy_ask(s);
    s->st = check(s, &s->why);
    s->ended = s->st != OK;
    if (!s->ended)
        loop_tell(c->loop, &s->teller, GRPC_ASK_START);
    return s;
}

bool
grpc_stream_send(struct grpc_stream *s, const uint8_t *message, size_t n)
{
    struct loop *loop = s->channel->loop;
    struct chunk *chunk = chunk_new(GRPC_PREFIX_BYTES + n);
    grpc_prefix((uint8_t *)chunk->bytes, n);
    if (n > 0)
        memcpy(chunk->bytes + GRPC_PREFIX_BYTES, message, n);
    for (;;) {
        struct waiter w = {.fiber = fiber_self()};
        bool first = false;
        pthread_mutex_lock(&loop->lock);
        bool room = s->out.bytes <= GRPC_ASK_QUEUE_BYTES_MAX, ended = s->ended || s->out_all;
        if (!ended && room) {
            chunks_add(&s->out, chunk);
            first = loop_note(loop, &s->teller, GRPC_ASK_SEND);
        } else if (!ended) {
            s->send_waits = &w;
        }
        pthread_mutex_unlock(&loop->lock);
        if (first)
            uv_async_send(&loop->wake);
        if (ended)
            free(chunk);
        if (ended || room)
            return !ended;
        waiter_wait(loop, &w);
    }
}

/* Nothing is told of one that has ended: it may be freed next. */
static void
tell_unless_ended(struct grpc_stream *s, unsigned what)
{
    struct loop *loop = s->channel->loop;
    pthread_mutex_lock(&loop->lock);
    s->out_all = s->out_all || what == GRPC_ASK_SEND;
    bool first = !s->ended && loop_note(loop, &s->teller, what);
    pthread_mutex_unlock(&loop->lock);
    if (first)
        uv_async_send(&loop->wake);
}

void
grpc_stream_sent(struct grpc_stream *s)
{
    tell_unless_ended(s, GRPC_ASK_SEND);
}

void
grpc_stream_cancel(struct grpc_stream *s)
{
    tell_unless_ended(s, GRPC_ASK_CANCEL);
}

bool
grpc_stream_next(struct grpc_stream *s, const uint8_t **ret, size_t *ret_n)
{
    struct loop *loop = s->channel->loop;
    free(s->given);
    s->given = NULL;
    for (;;) {
        struct waiter w = {.fiber = fiber_self()};
        pthread_mutex_lock(&loop->lock);
        s->given = chunks_first(&s->came);
        bool ended = s->ended;
        bool credit = !ended && s->wants_credit && s->came.bytes <= GRPC_ASK_QUEUE_BYTES_MAX / 2;
        if (credit)
            s->wants_credit = false;
        if (!s->given && !ended)
            s->waits = &w;
        pthread_mutex_unlock(&loop->lock);
        if (credit)
            tell_unless_ended(s, GRPC_ASK_TAKEN);
        if (s->given) {
            *ret = (const uint8_t *)s->given->bytes;
            *ret_n = s->given->n;
        }
        if (s->given || ended)
            return s->given != NULL;
        waiter_wait(loop, &w);
    }
}

enum status
grpc_stream_end(struct grpc_stream *s, struct arena *a, struct grpc_reply *ret)
{
    const uint8_t *message;
    size_t n;
    while (grpc_stream_next(s, &message, &n))
        ;
    wait_for_end(s);
    free(s->given);
    chunks_free(&s->out);
    return finish(s, a, ret);
}
