/* A connection: bytes in and out, its phases and its end. */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "net/http2.h"

static const int64_t linger_us = SECOND_US; /* for the peer to read our last words */

/* What HTTP/2 begins with (RFC 9113, 3.4). */
static const char preface[] = NGHTTP2_CLIENT_MAGIC;

struct write {
    uv_write_t write;
    char bytes[];
};

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);
static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret);
static void on_written(uv_write_t *write, int status);
static void on_shutdown(uv_shutdown_t *shutdown, int status);
static void on_closed(uv_handle_t *handle);
static void name_peer(struct conn *c);
static void detect(struct conn *c, const char *bytes, size_t n);

struct conn *
conn_new(struct conn_home *home)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->home = home;
    c->loop = home->loop;
    if (home->is_unix)
        uv_pipe_init(&c->loop->uv, &c->uv.pipe, 0);
    else
        uv_tcp_init(&c->loop->uv, &c->uv.tcp);
    c->uv.handle.data = c;
    return c;
}

void
conn_start(struct conn *c)
{
    name_peer(c);
    conn_phase(c, CONN_IDLE);
    if (c->home->keepalive_s > 0 && !c->home->is_unix)
        uv_tcp_keepalive(&c->uv.tcp, 1, c->home->keepalive_s);
    if (c->home->tls && !tls_start(c)) {
        conn_close(c);
        return;
    }
    uv_read_start(&c->uv.stream, on_room, on_read);
}

void
conn_start_client(struct conn *c, const char *name)
{
    uv_read_start(&c->uv.stream, on_room, on_read);
    if (!c->home->tls)
        http2_start(c);
    else if (!tls_connect(c, name))
        conn_close(c);
}

static void
name_peer(struct conn *c)
{
    if (c->home->is_unix) {
        memcpy(c->peer, "unix", 5);
        c->loopback = true;
        return;
    }
    struct sockaddr_storage at = {0};
    int n = sizeof at;
    uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&at, &n);
    struct in_addr v4 = ((const struct sockaddr_in *)&at)->sin_addr;
    if (at.ss_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)&at)->sin6_addr;
        if (!IN6_IS_ADDR_V4MAPPED(v6)) {
            inet_ntop(AF_INET6, v6, c->peer, sizeof c->peer);
            c->loopback = IN6_IS_ADDR_LOOPBACK(v6);
            return;
        }
        memcpy(&v4, v6->s6_addr + 12, sizeof v4);
    }
    inet_ntop(AF_INET, &v4, c->peer, sizeof c->peer);
    c->loopback = (ntohl(v4.s_addr) >> 24) == 127;
}

void
conn_phase(struct conn *c, enum conn_phase phase)
{
    c->phase = phase;
    if (phase == CONN_IDLE)
        c->deadline_us = env.mono_us() + c->home->idle_timeout_us;
    else if (phase == CONN_READING)
        c->deadline_us = env.mono_us() + c->home->request_timeout_us;
    else
        c->deadline_us = INT64_MAX;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void
on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    const struct conn *c = handle->data;
    *ret = uv_buf_init(c->loop->in, READ_BYTES);
}

/*
 * A peer that ends its side of HTTP/1.1 may still wait for answers.  A live stream's reader has
 * gone; so has one of TLS or HTTP/2, which end otherwise.
 */
static void
on_end(struct conn *c)
{
    c->eof = true;
    if (c->phase == CONN_LINGER && c->deadline_us == INT64_MAX)
        return; /* the last words are still being sent */
    if (c->phase >= CONN_LINGER || c->protocol != PROTOCOL_HTTP1 || c->ssl ||
        (c->exchanges && c->exchanges->streaming))
        conn_close(c);
    else
        http1_continue(c);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct conn *c = stream->data;
    if (n == UV_EOF)
        on_end(c);
    else if (n < 0)
        conn_close(c);
    else if (n > 0 && c->phase < CONN_LINGER && c->ssl)
        tls_read(c, buf->base, (size_t)n);
    else if (n > 0 && c->phase < CONN_LINGER)
        conn_take(c, buf->base, (size_t)n);
}

void
conn_take(struct conn *c, const char *bytes, size_t n)
{
    if (c->protocol == PROTOCOL_HTTP1)
        http1_read(c, bytes, n);
    else if (c->protocol == PROTOCOL_HTTP2)
        http2_read(c, bytes, n);
    else
        detect(c, bytes, n);
}

/* HTTP/2 by prior knowledge: a peer that begins with the preface speaks it. */
static void
detect(struct conn *c, const char *bytes, size_t n)
{
    size_t preface_n = sizeof preface - 1;
    if (c->kept_n == 0 && bytes[0] != preface[0]) {
        http1_start(c);
        http1_read(c, bytes, n);
        return;
    }
    if (c->phase == CONN_IDLE)
        conn_phase(c, CONN_READING);
    conn_keep(c, bytes, n);
    size_t m = c->kept_n < preface_n ? c->kept_n : preface_n;
    if (memcmp(c->kept, preface, m) != 0) {
        http1_start(c);
        http1_continue(c);
    } else if (m == preface_n) {
        if (!http2_start(c))
            return;
        m = c->kept_n;
        char *kept = c->kept;
        c->kept = NULL;
        c->kept_n = c->kept_room = 0;
        http2_read(c, kept, m);
        free(kept);
    }
}

void
conn_keep(struct conn *c, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (c->kept_n + n > c->kept_room) {
        size_t room = c->kept_room ? c->kept_room : 1024;
        while (room < c->kept_n + n)
            room *= 2;
        c->kept = realloc(c->kept, room);
        if (!c->kept)
            abort();
        c->kept_room = room;
    }
    memcpy(c->kept + c->kept_n, bytes, n);
    c->kept_n += n;
}

void
conn_kept_drop(struct conn *c, size_t n)
{
    c->kept_n -= n;
    if (c->kept_n > 0) {
        memmove(c->kept, c->kept + n, c->kept_n);
        return;
    }
    free(c->kept);
    c->kept = NULL;
    c->kept_room = 0;
}

void
conn_read_stop(struct conn *c)
{
    if (!c->read_stopped && c->phase != CONN_CLOSED)
        uv_read_stop(&c->uv.stream);
    c->read_stopped = true;
}

void
conn_read_start(struct conn *c)
{
    if (c->read_stopped && c->phase != CONN_CLOSED && !c->eof)
        uv_read_start(&c->uv.stream, on_room, on_read);
    c->read_stopped = false;
}

/* ---- out ------------------------------------------------------------------------------------- */

size_t
conn_waiting(const struct conn *c)
{
    return uv_stream_get_write_queue_size(&c->uv.stream);
}

void
conn_write(struct conn *c, const uv_buf_t *bufs, unsigned n)
{
    if (c->ssl)
        tls_write(c, bufs, n);
    else
        conn_write_raw(c, bufs, n);
}

/* What the kernel does not take at once is copied. */
void
conn_write_raw(struct conn *c, const uv_buf_t *bufs, unsigned n)
{
    if (c->phase == CONN_CLOSED)
        return;
    size_t total = 0, sent = 0;
    for (unsigned i = 0; i < n; i++)
        total += bufs[i].len;
    if (conn_waiting(c) == 0) {
        int r = uv_try_write(&c->uv.stream, bufs, n);
        if (r < 0 && r != UV_EAGAIN) {
            conn_close(c);
            return;
        }
        sent = r > 0 ? (size_t)r : 0;
        c->sent_us = 0;
    }
    if (sent == total)
        return;
    struct write *w = malloc(sizeof *w + total - sent);
    if (!w)
        abort();
    size_t at = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t skip = sent < bufs[i].len ? sent : bufs[i].len;
        memcpy(w->bytes + at, bufs[i].base + skip, bufs[i].len - skip);
        at += bufs[i].len - skip;
        sent -= skip;
    }
    w->write.data = c;
    uv_buf_t rest = uv_buf_init(w->bytes, (unsigned)at);
    if (uv_write(&w->write, &c->uv.stream, &rest, 1, on_written) < 0) {
        free(w);
        conn_close(c);
    }
}

static void
on_written(uv_write_t *write, int status)
{
    struct conn *c = write->data;
    free(write);
    if (status < 0) {
        conn_close(c);
        return;
    }
    c->sent_us = 0;
    if (c->phase >= CONN_LINGER || conn_waiting(c) > 0)
        return;
    if (c->protocol == PROTOCOL_HTTP2)
        http2_touch(c);
    else if (c->protocol == PROTOCOL_HTTP1)
        http1_continue(c);
}

/* ---- its end --------------------------------------------------------------------------------- */

void
conn_finish(struct conn *c)
{
    if (c->phase >= CONN_LINGER)
        return;
    if (c->ssl)
        tls_finish(c);
    if (c->phase >= CONN_LINGER) /* its goodbye could not be sent */
        return;
    conn_phase(c, CONN_LINGER);
    c->shutdown.data = c;
    if (uv_shutdown(&c->shutdown, &c->uv.stream, on_shutdown) < 0)
        conn_close(c);
}

/* Closing at once while bytes of the peer's are unread would make the kernel reset the connection,
 * and our answer might be lost with it: so they are read and thrown away for a while. */
static void
on_shutdown(uv_shutdown_t *shutdown, int status)
{
    struct conn *c = shutdown->data;
    if (status < 0 || c->eof) {
        conn_close(c);
        return;
    }
    c->deadline_us = env.mono_us() + linger_us;
    conn_read_start(c);
}

void
conn_close_why(struct conn *c, const char *why)
{
    if (!c->why)
        c->why = why;
    conn_close(c);
}

void
conn_close(struct conn *c)
{
    if (c->phase == CONN_CLOSED)
        return;
    c->phase = CONN_CLOSED;
    uv_close(&c->uv.handle, on_closed);
}

static void
on_closed(uv_handle_t *handle)
{
    struct conn *c = handle->data;
    for (struct conn **at = &c->loop->dirty; c->is_dirty && *at; at = &(*at)->next_dirty)
        if (*at == c) {
            *at = c->next_dirty;
            break;
        }
    http1_free(c);
    http2_free(c);
    while (c->exchanges)
        exchange_lose(c->exchanges);
    while (c->calls)
        grpc_call_lose(c->calls);
    SSL_free(c->ssl);
    free(c->kept);
    free(c->identity);
    c->home->closed(c);
    free(c);
}

/* ---- its clock ------------------------------------------------------------------------------- */

/* True if bytes wait and none of them went for a request's time. */
static bool
stalled(struct conn *c, int64_t now_us)
{
    size_t waiting = conn_waiting(c);
    if (waiting == 0 || c->sent_us == 0 || waiting < c->waiting_seen)
        c->sent_us = now_us;
    c->waiting_seen = waiting;
    return now_us - c->sent_us >= c->home->request_timeout_us;
}

void
conn_sweep(struct conn *c, int64_t now_us)
{
    if (c->phase == CONN_CLOSED)
        return;
    if (stalled(c, now_us)) {
        conn_close(c);
        return;
    }
    if (c->home->draining && c->phase == CONN_IDLE)
        conn_drain(c);
    if (now_us >= c->deadline_us) {
        if (c->phase == CONN_READING && c->protocol == PROTOCOL_HTTP1)
            http1_timeout(c);
        else if (c->phase == CONN_IDLE && c->protocol == PROTOCOL_HTTP2)
            http2_goaway(c, NGHTTP2_NO_ERROR);
        else if (c->phase != CONN_IDLE || conn_waiting(c) == 0)
            conn_close(c);
    }
    if (c->phase < CONN_LINGER && c->protocol == PROTOCOL_HTTP2)
        c->home->http2->sweep(c, now_us);
}

/* One without a request is closed; the others end with their answers. */
void
conn_drain(struct conn *c)
{
    if (c->protocol == PROTOCOL_HTTP2)
        http2_goaway(c, NGHTTP2_NO_ERROR);
    else if (c->phase == CONN_IDLE && conn_waiting(c) > 0)
        conn_finish(c);
    else if (c->phase == CONN_IDLE)
        conn_close(c);
}
