/* The client's calls: how they begin, wait, are sent again, and end. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/grpc_channel.h"

enum {
    ATTEMPTS_MAX = 5,
    TOLD_START = 1,
    TOLD_SEND = 2,
    TOLD_TAKEN = 4,
    TOLD_CANCEL = 8,
    HEAD_FIELDS = 8, /* beside metadata */
    TOKEN = 10,      /* a retry's; a call brings one */
    TOKENS_MAX = 100,
};

static const int64_t patience_us = 2 * SECOND_US; /* for a connection */
static const int64_t pause_us = 10 * MILLISECOND_US;

static void on_told(struct teller *t, unsigned told);
static void on_alarm(void *arg);
static void end(struct grpc_stream *s, enum status st, const char *why);
static void give_back(struct grpc_stream *s);

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
    s->teller.listen = on_told;
    s->channel = c;
    s->arena = a;
    s->in = *in;
    s->streaming = streaming;
    s->said = -1;
    s->alarm = (struct alarm){.ring = on_alarm, .arg = s};
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
    if (st)
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
        loop_tell(c->loop, &s->teller, TOLD_START);
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
        loop_tell(c->loop, &s->teller, TOLD_START);
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
            first = loop_note(loop, &s->teller, TOLD_SEND);
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
    s->out_all = s->out_all || what == TOLD_SEND;
    bool first = !s->ended && loop_note(loop, &s->teller, what);
    pthread_mutex_unlock(&loop->lock);
    if (first)
        uv_async_send(&loop->wake);
}

void
grpc_stream_sent(struct grpc_stream *s)
{
    tell_unless_ended(s, TOLD_SEND);
}

void
grpc_stream_cancel(struct grpc_stream *s)
{
    tell_unless_ended(s, TOLD_CANCEL);
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
            tell_unless_ended(s, TOLD_TAKEN);
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

/* ---- on the loop ----------------------------------------------------------------------------- */

static void
enqueue(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    s->phase = STREAM_WAITS;
    s->next = NULL;
    s->prev = c->waiting_last;
    if (s->prev)
        s->prev->next = s;
    else
        c->waiting = s;
    c->waiting_last = s;
}

static void
dequeue(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    if (s->phase != STREAM_WAITS)
        return;
    if (s->prev)
        s->prev->next = s->next;
    else
        c->waiting = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        c->waiting_last = s->prev;
    s->next = s->prev = NULL;
    s->phase = STREAM_NEW;
}

static void
set_timeout(struct grpc_stream *s, int64_t now_us)
{
    if (s->timeout_at == 0)
        return;
    grpc_timeout_format(s->in.deadline_us - now_us, s->timeout);
    s->head[s->timeout_at] = http2_field("grpc-timeout", s->timeout, strlen(s->timeout));
}

/* On a line with room, or false. */
static bool
try_to_go(struct grpc_stream *s, int64_t now_us)
{
    struct grpc_line *line;
    while ((line = grpc_channel_pick(s->channel))) {
        set_timeout(s, now_us);
        if (!grpc_stream_submit(s, line)) {
            grpc_line_leave(line); /* its stream ids are used up */
            continue;
        }
        s->phase = STREAM_RUNS;
        s->attempts++;
        if (s->in.deadline_us == INT64_MAX)
            alarm_clear(s->channel->loop, &s->alarm);
        else
            alarm_set(s->channel->loop, &s->alarm, s->in.deadline_us);
        return true;
    }
    return false;
}

static void
be_patient(struct grpc_stream *s)
{
    int64_t until_us = env.mono_us() + patience_us;
    alarm_set(s->channel->loop, &s->alarm,
              until_us < s->in.deadline_us ? until_us : s->in.deadline_us);
}

static void
go(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    int64_t now_us = env.mono_us();
    if (!c->waiting && try_to_go(s, now_us))
        return;
    enqueue(s);
    be_patient(s);
    grpc_channel_begin(c);
}

void
grpc_streams_go(struct grpc_channel *c)
{
    int64_t now_us = c->waiting ? env.mono_us() : 0;
    while (c->waiting) {
        struct grpc_stream *s = c->waiting;
        dequeue(s);
        if (try_to_go(s, now_us))
            continue;
        s->phase = STREAM_WAITS; /* back to the front */
        s->next = c->waiting;
        if (s->next)
            s->next->prev = s;
        else
            c->waiting_last = s;
        c->waiting = s;
        return;
    }
}

static void
on_alarm(void *arg)
{
    struct grpc_stream *s = arg;
    struct grpc_channel *c = s->channel;
    bool late = env.mono_us() >= s->in.deadline_us;
    if (s->phase == STREAM_WAITS && !grpc_channel_connected(c)) {
        end(s, UNAVAILABLE, c->why ? c->why : "there is no connection yet");
    } else if (late) {
        grpc_stream_fail(s, DEADLINE_EXCEEDED, "the deadline has passed");
    } else if (s->phase == STREAM_PAUSES) {
        go(s);
    } else {
        be_patient(s); /* it waits for room on a connection */
    }
}

void
grpc_stream_fail(struct grpc_stream *s, enum status st, const char *why)
{
    if (s->line) {
        struct conn *conn = s->line->conn;
        nghttp2_submit_rst_stream(conn->http2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
        http2_touch(conn);
    }
    end(s, st, why);
}

static void
end(struct grpc_stream *s, enum status st, const char *why)
{
    struct grpc_channel *c = s->channel;
    struct loop *loop = c->loop;
    struct chunk *message = s->message;
    s->message = NULL;
    grpc_stream_leave(s);
    dequeue(s);
    alarm_clear(loop, &s->alarm);
    grpc_reader_free(&s->partial);
    s->phase = STREAM_ENDED;
    if (st == OK)
        s->message = message;
    else
        free(message);
    s->st = st;
    s->why = why;
    atomic_fetch_sub(&c->under_way, 1);
    give_back(s);
}

/* The last that the loop does with it: the caller has it when the lock is open.  What has been told
 * of it, and is not heard yet, must be heard first. */
static void
give_back(struct grpc_stream *s)
{
    struct loop *loop = s->channel->loop;
    pthread_mutex_lock(&loop->lock);
    if (s->teller.told == 0) {
        s->ended = true;
        struct waiter *waits = s->waits, *send_waits = s->send_waits;
        s->waits = s->send_waits = NULL;
        waiter_wake_held(send_waits);
        waiter_wake_held(waits);
    }
    pthread_mutex_unlock(&loop->lock);
}

/* ---- sent again ------------------------------------------------------------------------------ */

static bool
spend_token(struct grpc_channel *c)
{
    if (c->tokens < TOKEN)
        return false;
    c->tokens -= TOKEN;
    return true;
}

/* Sends it again, or ends it so. */
static void
again_or_end(struct grpc_stream *s, bool certain, enum status st, const char *why)
{
    struct grpc_channel *c = s->channel;
    bool may = !s->spent && s->attempts < ATTEMPTS_MAX && !c->closing &&
               (!s->streaming || certain) &&
               (certain || (st == UNAVAILABLE && s->in.repeatable && spend_token(c)));
    int64_t wait_us = s->attempts > 1 || !certain ? pause_us << s->attempts : 0;
    int64_t now_us = env.mono_us();
    if (!may || now_us + wait_us >= s->in.deadline_us) {
        end(s, st, why);
        return;
    }
    grpc_stream_leave(s);
    atomic_fetch_add_explicit(&c->retries, 1, memory_order_relaxed);
    if (wait_us == 0) {
        go(s);
        return;
    }
    s->phase = STREAM_PAUSES;
    alarm_set(c->loop, &s->alarm, now_us + wait_us);
}

void
grpc_streams_lost(struct grpc_line *line, const char *why)
{
    while (line->streams)
        again_or_end(line->streams, !line->streams->serialized, UNAVAILABLE, why);
}

/* What the answer says, when all of it is there. */
static enum status
meaning(const struct grpc_stream *s, uint32_t error, const char **why)
{
    *why = s->why;
    if (s->http == 0) {
        *why = "the peer has reset the call";
        return grpc_status_of_reset(error);
    }
    if (s->http != 200 && (!s->is_grpc || s->said < 0)) {
        *why = arena_printf(s->arena, "the peer answers HTTP %d", s->http);
        return grpc_status_of_http(s->http);
    }
    if (!s->is_grpc) {
        *why = "the peer answers something that is no gRPC";
        return INTERNAL;
    }
    if (s->said < 0) {
        *why = error ? "the peer has reset the call" : "the answer has no status";
        return error ? grpc_status_of_reset(error) : INTERNAL;
    }
    if (s->said == OK && !s->streaming && !s->message) {
        *why = "the answer has no message";
        return INTERNAL;
    }
    if (s->said == OK && !grpc_reader_between(&s->partial)) {
        *why = "the answer is cut off";
        return INTERNAL;
    }
    return (enum status)s->said;
}

void
grpc_stream_over(struct grpc_stream *s, uint32_t error)
{
    bool certain = !s->serialized || (error == NGHTTP2_REFUSED_STREAM && s->http == 0);
    const char *why;
    enum status st = meaning(s, error, &why);
    if (certain)
        again_or_end(s, true, UNAVAILABLE, "the peer refuses the call");
    else if (st == UNAVAILABLE)
        again_or_end(s, false, st, why);
    else
        end(s, st, why);
}

static void
on_told(struct teller *t, unsigned told)
{
    struct grpc_stream *s = (struct grpc_stream *)t;
    struct grpc_channel *c = s->channel;
    if (s->phase == STREAM_ENDED) {
        give_back(s);
        return;
    }
    if (told & TOLD_START) {
        if (c->tokens < TOKENS_MAX)
            c->tokens++;
        go(s);
    }
    if (told & TOLD_CANCEL) {
        grpc_stream_fail(s, CANCELLED, "the call was cancelled");
        return;
    }
    if (!s->line)
        return;
    nghttp2_session *session = s->line->conn->http2->session;
    if (told & TOLD_SEND)
        nghttp2_session_resume_data(session, s->id);
    if (told & TOLD_TAKEN) {
        nghttp2_session_consume_stream(session, s->id, s->withheld);
        s->withheld = 0;
    }
    http2_touch(s->line->conn);
}
