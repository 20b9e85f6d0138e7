/* The client's calls on the loop: how they go, wait, are sent again, and end. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "net/grpc_channel.h"

enum {
    ATTEMPTS_MAX = 5,
    TOKEN = 10, /* a retry's; a call brings one */
    TOKENS_MAX = 100,
};

static const int64_t patience_us = 2 * SECOND_US; /* for a connection */
static const int64_t pause_us = 10 * MILLISECOND_US;
static const char hung_up_why[] = "no more calls are made here";

static void end(struct grpc_stream *s, enum status st, const char *why);
static void give_back(struct grpc_stream *s);

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

/* False: it has ended, and its caller may have freed it. */
static bool
go(struct grpc_stream *s)
{
    struct grpc_channel *c = s->channel;
    if (c->hung_up) {
        end(s, UNAVAILABLE, hung_up_why);
        return false;
    }
    int64_t now_us = env.mono_us();
    if (!c->waiting && try_to_go(s, now_us))
        return true;
    enqueue(s);
    be_patient(s);
    grpc_channel_begin(c);
    return true;
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

void
grpc_stream_alarm(void *arg)
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

/* Those that pause end when they would go on. */
static void
hang_up(void *arg)
{
    struct grpc_channel *c = arg;
    c->hung_up = true;
    while (c->waiting)
        end(c->waiting, UNAVAILABLE, hung_up_why);
    for (struct grpc_line *line = c->lines; line; line = line->next)
        while (line->streams)
            grpc_stream_fail(line->streams, UNAVAILABLE, hung_up_why);
}

void
grpc_channel_hang_up(struct grpc_channel *c)
{
    loop_post(c->loop, hang_up, c);
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

void
grpc_stream_told(struct teller *t, unsigned told)
{
    struct grpc_stream *s = (struct grpc_stream *)t;
    struct grpc_channel *c = s->channel;
    if (s->phase == STREAM_ENDED) {
        give_back(s);
        return;
    }
    if (told & GRPC_ASK_START) {
        if (c->tokens < TOKENS_MAX)
            c->tokens++;
        if (!go(s))
            return;
    }
    if (told & GRPC_ASK_CANCEL) {
        grpc_stream_fail(s, CANCELLED, "the call was cancelled");
        return;
    }
    if (!s->line)
        return;
    nghttp2_session *session = s->line->conn->http2->session;
    if (told & GRPC_ASK_SEND)
        nghttp2_session_resume_data(session, s->id);
    if (told & GRPC_ASK_TAKEN) {
        nghttp2_session_consume_stream(session, s->id, s->withheld);
        s->withheld = 0;
    }
    http2_touch(s->line->conn);
}
