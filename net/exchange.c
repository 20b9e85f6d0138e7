/*
 * An exchange: one request and its answer, between the loop and a handler on any thread.
 *
 * What a handler says is written down under loop->lock and told to the loop, once for all that it
 * says until the loop listens.
 */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "net/internal.h"

enum { BODY_ROOM_FIRST = 64 << 10 };

static void tell(struct http_exchange *x, unsigned what);
static void listen_to(struct teller *t, unsigned told);

/* ---- for handlers ---------------------------------------------------------------------------- */

const char *
http_header(const struct http_request *in, const char *name)
{
    for (size_t i = 0; i < in->n_headers; i++)
        if (strcmp(in->headers[i].name, name) == 0)
            return in->headers[i].value;
    return NULL;
}

static bool
lost(const struct http_exchange *x)
{
    return !x->conn || x->conn->phase >= CONN_LINGER;
}

void
http_respond(struct http_exchange *x, const struct http_response *out)
{
    bool on_loop = loop_is_mine(x->loop);
    if (on_loop && !lost(x) && x->conn->protocol == PROTOCOL_HTTP1) {
        x->done = true;
        http1_answer(x, out);
        return;
    }
    response_copy(x->arena, out, &x->answer);
    if (on_loop)
        listen_to(&x->teller, TOLD_ANSWER);
    else
        tell(x, TOLD_ANSWER);
}

void
http_drop(struct http_exchange *x)
{
    tell(x, TOLD_DROP);
}

void
http_stream_begin(struct http_exchange *x, const struct http_response *head)
{
    response_copy(x->arena, head, &x->answer);
    tell(x, TOLD_BEGIN);
}

bool
http_stream_write(struct http_exchange *x, const char *bytes, size_t n)
{
    if (n == 0 || http_gone(x))
        return !http_gone(x);
    struct chunk *chunk = chunk_new(n);
    memcpy(chunk->bytes, bytes, n);

    pthread_mutex_lock(&x->loop->lock);
    if (x->queued.bytes + n > HTTP_STREAM_QUEUE_MAX)
        x->overrun = true;
    bool fits = !x->overrun;
    if (fits)
        chunks_add(&x->queued, chunk);
    pthread_mutex_unlock(&x->loop->lock);
    if (fits)
        tell(x, TOLD_BYTES);
    else
        free(chunk);
    return fits;
}

void
http_stream_end(struct http_exchange *x)
{
    tell(x, TOLD_END);
}

bool
http_gone(const struct http_exchange *x)
{
    return atomic_load_explicit(&x->gone, memory_order_relaxed);
}

static void
tell(struct http_exchange *x, unsigned what)
{
    loop_tell(x->loop, &x->teller, what);
}

/* A control character in a value (from data, by a handler's slip) must not become a header. */
static const char *
copy_value(struct arena *a, const char *value)
{
    char *copy = arena_strdup(a, value);
    for (char *at = copy; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    return copy;
}

void
response_copy(struct arena *a, const struct http_response *in, struct http_response *ret)
{
    struct http_header *headers = arena_alloc(a, in->n_headers * sizeof *headers);
    for (size_t i = 0; i < in->n_headers; i++)
        headers[i] = (struct http_header){arena_strdup(a, in->headers[i].name),
                                          copy_value(a, in->headers[i].value)};
    *ret = *in;
    ret->headers = headers;
    ret->body = in->body_n > 0 ? arena_copy(a, in->body, in->body_n) : "";
}

/* ---- for the loop ---------------------------------------------------------------------------- */

struct http_exchange *
exchange_new(struct conn *c)
{
    struct arena *a = loop_arena(c->loop);
    struct http_exchange *x = arena_alloc(a, sizeof *x);
    x->teller.listen = listen_to;
    x->arena = a;
    x->loop = c->loop;
    x->conn = c;
    x->next = c->exchanges;
    if (x->next)
        x->next->prev = x;
    c->exchanges = x;
    return x;
}

static void
unlink_from_conn(struct http_exchange *x)
{
    if (!x->conn)
        return;
    if (x->prev)
        x->prev->next = x->next;
    else
        x->conn->exchanges = x->next;
    if (x->next)
        x->next->prev = x->prev;
    x->conn = NULL;
    x->next = x->prev = NULL;
}

void
exchange_free(struct http_exchange *x)
{
    unlink_from_conn(x);
    chunks_free(&x->queued);
    free(x->body);
    loop_arena_back(x->loop, x->arena);
}

void
exchange_lose(struct http_exchange *x)
{
    unlink_from_conn(x);
    if (!x->given || x->done)
        exchange_free(x);
    else
        atomic_store_explicit(&x->gone, true, memory_order_relaxed);
}

void
exchange_ask_body_max(struct http_exchange *x)
{
    const struct http_server_options *o = &x->conn->server->options;
    x->body_max = o->body_max ? o->body_max(o->arg, x->in.method, x->in.path) : 0;
}

bool
exchange_body_add(struct http_exchange *x, const char *bytes, size_t n)
{
    size_t have = x->in.body_n;
    if (n > x->body_max - have)
        return false;
    if (have + n + 1 > x->body_room) {
        /* What is declared is believed only so far: memory follows what has come. */
        size_t room = x->body_room ? 2 * x->body_room : BODY_ROOM_FIRST;
        if (x->length > 0 && room > x->length + 1)
            room = x->length + 1;
        while (room < have + n + 1)
            room *= 2;
        x->body = realloc(x->body, room);
        if (!x->body)
            abort();
        x->body_room = room;
    }
    memcpy(x->body + have, bytes, n);
    x->in.body_n = have + n;
    return true;
}

void
exchange_give(struct http_exchange *x)
{
    struct conn *c = x->conn;
    const struct http_server_options *o = &c->server->options;
    x->in.arena = x->arena;
    memcpy(x->peer, c->peer, sizeof x->peer);
    x->in.peer = x->peer;
    x->in.loopback = c->loopback;
    x->in.tls = c->ssl != NULL;
    x->in.arrived_us = env.mono_us();
    x->in.body = "";
    if (x->in.body_n > 0) {
        x->body[x->in.body_n] = '\0';
        x->in.body = x->body;
    }
    x->head_only = strcmp(x->in.method, "HEAD") == 0;
    x->given = true;
    atomic_fetch_add_explicit(&net_counters.requests, 1, memory_order_relaxed);
    o->on_request(o->arg, x, &x->in);
}

/* Only what is done is ended: the loop must have heard the end, or the exchange is still told of.
 */
size_t
exchange_take(struct http_exchange *x, char *ret, size_t room, bool *ret_ended)
{
    pthread_mutex_lock(&x->loop->lock);
    size_t n = chunks_take(&x->queued, ret, room);
    *ret_ended = x->done && x->queued.bytes == 0;
    pthread_mutex_unlock(&x->loop->lock);
    return n;
}

size_t
exchange_queued(struct http_exchange *x)
{
    pthread_mutex_lock(&x->loop->lock);
    size_t n = x->queued.bytes;
    pthread_mutex_unlock(&x->loop->lock);
    return n;
}

bool
exchange_overrun(struct http_exchange *x)
{
    pthread_mutex_lock(&x->loop->lock);
    bool overrun = x->overrun;
    pthread_mutex_unlock(&x->loop->lock);
    return overrun;
}

static void
listen_to(struct teller *t, unsigned told)
{
    struct http_exchange *x = (struct http_exchange *)t;
    if (told & (TOLD_ANSWER | TOLD_END | TOLD_DROP))
        x->done = true;
    if (lost(x)) {
        if (x->done)
            exchange_free(x);
        return;
    }
    if (told & TOLD_DROP) {
        conn_close(x->conn);
        return;
    }
    bool http1 = x->conn->protocol == PROTOCOL_HTTP1;
    if (told & TOLD_BEGIN)
        x->streaming = true;
    if (told & (TOLD_ANSWER | TOLD_BEGIN)) {
        if (!http1)
            http2_answer(x);
        else if (x->streaming)
            http1_stream_begin(x);
        else
            http1_answer(x, &x->answer);
    }
    if ((told & (TOLD_BYTES | TOLD_END)) == 0)
        return;
    if (http1)
        http1_stream_pump(x);
    else
        http2_stream_pump(x);
}
