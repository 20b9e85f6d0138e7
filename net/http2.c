/*
 * HTTP/2 on a connection: the session, its output and its clocks.  nghttp2 speaks the protocol;
 * http2_stream.c makes exchanges of its streams.
 */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/time.h"
#include "net/http2.h"

enum {
    STREAMS_MAX = 100,
    STREAM_WINDOW_BYTES = 256 << 10,
    CONNECTION_WINDOW_BYTES = 1 << 20,
    OUTBOUND_FRAMES_MAX = 2000, /* queued while the peer reads nothing */
    ACKS_MAX = 200,             /* of those, answers to PING and SETTINGS */
    FRAME_BYTES_MAX = (16 << 10) + 512,
};

static bool fill_callbacks(nghttp2_session_callbacks **ret);
static nghttp2_session *session_new(struct conn *c);

bool
http2_start(struct conn *c)
{
    struct http2 *h = c->http2 = calloc(1, sizeof *h);
    if (!h)
        abort();
    c->protocol = PROTOCOL_HTTP2;
    h->session = session_new(c);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_BYTES_MAX},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
    };
    if (!h->session ||
        nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof settings[0]) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                              CONNECTION_WINDOW_BYTES) != 0) {
        conn_close(c);
        return false;
    }
    conn_phase(c, CONN_IDLE);
    http2_touch(c);
    return true;
}

static nghttp2_session *
session_new(struct conn *c)
{
    nghttp2_session *session = NULL;
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    if (fill_callbacks(&callbacks) && nghttp2_option_new(&option) == 0) {
        nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_server_fallback_rfc7540_priorities(option, 0);
        nghttp2_session_server_new2(&session, callbacks, c, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

static bool
fill_callbacks(nghttp2_session_callbacks **ret)
{
    if (nghttp2_session_callbacks_new(ret) != 0)
        return false;
    nghttp2_session_callbacks *cb = *ret;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, http2_on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, http2_on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, http2_on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, http2_on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, http2_on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, http2_on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, http2_on_frame_send);
    return true;
}

void
http2_free(struct conn *c)
{
    if (!c->http2)
        return;
    nghttp2_session_del(c->http2->session);
    free(c->http2);
    c->http2 = NULL;
}

void
http2_read(struct conn *c, const char *bytes, size_t n)
{
    struct http2 *h = c->http2;
    ssize_t used = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes, n);
    if (used < 0 || nghttp2_session_get_outbound_queue_size(h->session) > OUTBOUND_FRAMES_MAX) {
        conn_close(c); /* it floods us, or is out of its mind */
        return;
    }
    http2_flush(c);
}

/* Puts waiting frames into one buffer.  Gives their length, or -1 if the session is broken. */
static ssize_t
gather(struct http2 *h, char *out)
{
    size_t n = 0;
    while (n + FRAME_BYTES_MAX <= WRITE_BYTES) {
        const uint8_t *bytes;
        ssize_t m = nghttp2_session_mem_send(h->session, &bytes);
        if (m < 0 || m > FRAME_BYTES_MAX)
            return -1;
        if (m == 0)
            break;
        memcpy(out + n, bytes, (size_t)m);
        n += (size_t)m;
    }
    return (ssize_t)n;
}

void
http2_flush(struct conn *c)
{
    struct http2 *h = c->http2;
    while (c->phase < CONN_LINGER && conn_waiting(c) == 0) {
        if (h->must_calm && !h->calmed) {
            h->calmed = true;
            nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
        }
        ssize_t n = gather(h, c->loop->out);
        if (n < 0)
            conn_close(c);
        if (n <= 0)
            break;
        uv_buf_t buf = uv_buf_init(c->loop->out, (unsigned)n);
        conn_write(c, &buf, 1);
    }
    if (c->phase < CONN_LINGER && conn_waiting(c) == 0 && !nghttp2_session_want_read(h->session) &&
        !nghttp2_session_want_write(h->session))
        conn_finish(c);
}

void
http2_touch(struct conn *c)
{
    if (c->is_dirty || c->phase == CONN_CLOSED)
        return;
    c->is_dirty = true;
    c->next_dirty = c->loop->dirty;
    c->loop->dirty = c;
}

void
http2_goaway(struct conn *c, uint32_t error)
{
    struct http2 *h = c->http2;
    if (h->gone_away)
        return;
    h->gone_away = true;
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), error, NULL, 0);
    http2_touch(c);
}

/* True if bytes of the answer wait and none of them went for a request's time. */
static bool
answer_stalled(struct http_exchange *x, int64_t now_us)
{
    size_t waits = 0;
    if (x->streaming)
        waits = exchange_queued(x);
    else if (x->done && !x->head_only)
        waits = x->answer.body_n - x->answer_sent;
    if (waits == 0)
        x->sent_us = 0;
    else if (x->sent_us == 0)
        x->sent_us = now_us;
    return waits > 0 && now_us - x->sent_us >= x->conn->server->options.request_timeout_us;
}

void
http2_sweep(struct conn *c, int64_t now_us)
{
    int64_t timeout_us = c->server->options.request_timeout_us;
    for (struct http_exchange *x = c->exchanges, *next; x; x = next) {
        next = x->next;
        if (!x->given && !x->done && now_us - x->begun_us >= timeout_us)
            http2_refuse(x, 408, "the request did not come in time");
        else if (answer_stalled(x, now_us))
            nghttp2_submit_rst_stream(c->http2->session, NGHTTP2_FLAG_NONE, x->stream_id,
                                      NGHTTP2_CANCEL);
        else
            continue;
        http2_touch(c);
    }
}

/* A bucket that fills by per_second up to burst. */
void
http2_count(struct http2 *h, struct bucket *b, int64_t burst, int64_t per_second)
{
    int64_t now_us = env.mono_us();
    int64_t full = burst * SECOND_US;
    if (b->seen_us == 0)
        b->left = full;
    else
        b->left += (now_us - b->seen_us) * per_second;
    if (b->left > full)
        b->left = full;
    b->seen_us = now_us;
    b->left -= SECOND_US;
    if (b->left < 0)
        h->must_calm = true;
}
