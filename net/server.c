/* A server: accepts connections, looks at their clocks, and drains. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/internal.h"

enum {
    BACKLOG = 1024,
    CONNECTIONS_DEFAULT = 10000,
    SWEEP_MS_MIN = 5,
    SWEEP_MS_MAX = 1000,
};

static const int64_t idle_timeout_default_us = 75 * SECOND_US;
static const int64_t request_timeout_default_us = 30 * SECOND_US;

struct counters net_counters;

struct start {
    struct http_server *server;
    struct arena *arena;
    const char *why;
};

static void start(void *arg);
static void fill_in(struct http_server *s, const struct http_server_options *options);
static void on_connection(uv_stream_t *stream, int status);
static void server_conn_closed(struct conn *c);
static void on_sweep(uv_timer_t *timer);
static void on_handle_closed(uv_handle_t *handle);
static void drain_begin(struct http_server *s, int64_t grace_us);
static void drain_step(struct http_server *s);

enum status
http_serve(struct loop *loop, const struct http_server_options *options, struct arena *a,
           struct http_server **ret, const char **why)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->home.http2 = &http2_exchanges;
    if (options->tls_certificate) {
        s->home.tls = tls_context(options->tls_certificate, options->tls_key, a, why);
        if (!s->home.tls) {
            free(s);
            return INVALID_ARGUMENT;
        }
    }
    enum status st = server_open(s, loop, options, a, why);
    if (!st)
        *ret = s;
    return st;
}

enum status
server_open(struct http_server *s, struct loop *loop, const struct http_server_options *options,
            struct arena *a, const char **why)
{
    s->home.loop = loop;
    s->home.closed = server_conn_closed;
    fill_in(s, options);
    struct start st = {.server = s, .arena = a};
    loop_call(loop, start, &st);
    if (!st.why)
        return OK;
    *why = st.why;
    return UNAVAILABLE;
}

/* The options that are read later; the strings among them are only read while we start. */
static void
fill_in(struct http_server *s, const struct http_server_options *options)
{
    struct http_server_options *o = &s->options;
    *o = *options;
    if (o->connections_max == 0)
        o->connections_max = CONNECTIONS_DEFAULT;
    struct conn_home *home = &s->home;
    home->idle_timeout_us = o->idle_timeout_us ? o->idle_timeout_us : idle_timeout_default_us;
    home->request_timeout_us =
        o->request_timeout_us ? o->request_timeout_us : request_timeout_default_us;
}

/* On the loop's thread.  A server that could not start is freed by the loop, like any other. */
static void
start(void *arg)
{
    struct start *st = arg;
    struct http_server *s = st->server;
    struct loop *loop = s->home.loop;
    s->next = loop->servers;
    loop->servers = s;
    st->why = listener_open(s, st->arena);
    uv_timer_init(&loop->uv, &s->sweep);
    s->sweep.data = s;
    s->handles++;
    if (!st->why) {
        s->listener.handle.data = s;
        int bad = uv_listen(&s->listener.stream, BACKLOG, on_connection);
        if (bad == UV_EADDRINUSE)
            st->why = arena_printf(st->arena, "%s is in use", s->options.listen);
        else if (bad)
            st->why = arena_printf(st->arena, "%s: %s", s->options.listen, uv_strerror(bad));
    }
    if (st->why) {
        drain_begin(s, 0);
        return;
    }
    int64_t shortest_us = s->home.idle_timeout_us < s->home.request_timeout_us
                              ? s->home.idle_timeout_us
                              : s->home.request_timeout_us;
    int64_t sweep_ms = shortest_us / 8 / MILLISECOND_US;
    if (sweep_ms < SWEEP_MS_MIN)
        sweep_ms = SWEEP_MS_MIN;
    if (sweep_ms > SWEEP_MS_MAX)
        sweep_ms = SWEEP_MS_MAX;
    uv_timer_start(&s->sweep, on_sweep, (uint64_t)sweep_ms, (uint64_t)sweep_ms);
}

int
http_server_port(const struct http_server *s)
{
    return s->port;
}

struct drain {
    struct http_server *server;
    int64_t grace_us;
    struct waiter *waiter;
};

static void
run_drain(void *arg)
{
    struct drain *d = arg;
    struct http_server *s = d->server;
    struct waiter *w = d->waiter;
    if (s->drained) {
        waiter_wake(s->home.loop, w);
        return;
    }
    w->next = s->waiters;
    s->waiters = w;
    drain_begin(s, d->grace_us);
}

void
http_server_drain(struct http_server *s, int64_t grace_us)
{
    struct waiter waiter = {.fiber = fiber_self()};
    struct drain d = {.server = s, .grace_us = grace_us, .waiter = &waiter};
    loop_post(s->home.loop, run_drain, &d);
    waiter_wait(s->home.loop, &waiter);
}

void
server_stop(struct http_server *s)
{
    drain_begin(s, 0);
}

static void
run_leave(void *arg)
{
    struct http_server *s = arg;
    s->home.leaving = true;
    for (struct conn *c = s->conns; c; c = c->next)
        if (c->protocol == PROTOCOL_HTTP2 && c->phase < CONN_LINGER)
            http2_leave(c);
}

void
http_server_leave(struct http_server *s)
{
    loop_call(s->home.loop, run_leave, s);
}

static void
drain_begin(struct http_server *s, int64_t grace_us)
{
    int64_t until_us = env.mono_us() + grace_us;
    if (s->drained || (s->home.draining && s->drain_until_us <= until_us))
        return;
    s->drain_until_us = until_us;
    if (!s->home.draining) {
        s->home.leaving = s->home.draining = true;
        if (s->listener.handle.data)
            uv_close(&s->listener.handle, on_handle_closed);
        listener_remove_file(s);
        uv_timer_start(&s->sweep, on_sweep, SWEEP_MS_MIN, SWEEP_MS_MIN);
    }
    for (struct conn *c = s->conns; c; c = c->next)
        conn_drain(c);
    drain_step(s);
}

/* Past the grace everything is closed; when nothing is left, the clock is stopped. */
static void
drain_step(struct http_server *s)
{
    if (env.mono_us() >= s->drain_until_us)
        for (struct conn *c = s->conns; c; c = c->next)
            conn_close(c);
    if (!s->conns && !uv_is_closing((uv_handle_t *)&s->sweep))
        uv_close((uv_handle_t *)&s->sweep, on_handle_closed);
}

static void
on_handle_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    if (--s->handles > 0)
        return;
    s->drained = true;
    while (s->waiters) {
        struct waiter *w = s->waiters;
        s->waiters = w->next;
        waiter_wake(s->home.loop, w);
    }
}

static void
accept_one(struct http_server *s)
{
    struct conn *c = conn_new(&s->home);
    c->server = s;
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->n_conns++;
    atomic_fetch_add(&net_counters.connections, 1);
    atomic_fetch_add(&net_counters.open_connections, 1);
    if (uv_accept(&s->listener.stream, &c->uv.stream) < 0) {
        conn_close(c);
        return;
    }
    conn_start(c);
}

/* A connection that is not accepted now makes libuv leave the others in the kernel. */
static void
on_connection(uv_stream_t *stream, int status)
{
    struct http_server *s = stream->data;
    if (status < 0)
        return; /* the peer has gone already, or we are out of files: the next one may do better */
    if (s->n_conns >= s->options.connections_max) {
        s->accept_waits = true;
        return;
    }
    accept_one(s);
}

static void
server_conn_closed(struct conn *c)
{
    struct http_server *s = c->server;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_conns--;
    atomic_fetch_sub(&net_counters.open_connections, 1);
    if (s->home.draining) {
        drain_step(s);
    } else if (s->accept_waits) {
        s->accept_waits = false;
        accept_one(s);
    }
}

static void
on_sweep(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    int64_t now_us = env.mono_us();
    for (struct conn *c = s->conns; c; c = c->next)
        conn_sweep(c, now_us);
    if (s->home.draining)
        drain_step(s);
}

struct net_figures
net_figures(void)
{
    return (struct net_figures){
        .connections = atomic_load(&net_counters.connections),
        .requests = atomic_load(&net_counters.requests),
        .refused = atomic_load(&net_counters.refused),
        .open_connections = atomic_load(&net_counters.open_connections),
    };
}
