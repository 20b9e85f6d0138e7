/*
 * HTTP/2 on a connection: the session, its output and its clocks.  nghttp2 speaks the protocol;
 * http2_stream.c makes exchanges of its streams.
 */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "net/http2.h"

enum {
    OUTBOUND_FRAMES_MAX = 2000, /* queued while the peer reads nothing */
    ACKS_MAX = 200,             /* of those, answers to PING and SETTINGS */
    FRAME_BYTES_MAX = (16 << 10) + 512,
    FRAMES_BURST = 1000,
    FRAMES_PER_SECOND = 100,
};

static nghttp2_session *session_new(struct conn *c);
static void count(struct http2 *h, struct bucket *b, int64_t burst, int64_t per_second);

bool
http2_start(struct conn *c)
{
    struct http2 *h = c->http2 = calloc(1, sizeof *h);
    if (!h)
        abort();
    c->protocol = PROTOCOL_HTTP2;
    h->session = session_new(c);
    const struct http2_kind *kind = c->home->http2;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kind->streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kind->stream_window_bytes},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, kind->header_bytes_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    size_t n = sizeof settings / sizeof settings[0] - (kind->client ? 0 : 1);
    if (!h->session || nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, n) != 0 ||
        nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
                                              (int32_t)kind->connection_window_bytes) != 0) {
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
    const struct http2_kind *kind = c->home->http2;
    nghttp2_session *session = NULL;
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0) {
        kind->fill(callbacks);
        nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_no_auto_window_update(option, kind->credits_itself);
        nghttp2_option_set_server_fallback_rfc7540_priorities(option, 0);
        if (kind->client)
            nghttp2_session_client_new2(&session, callbacks, c, option);
        else
            nghttp2_session_server_new2(&session, callbacks, c, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return session;
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
        ssize_t n = gather(h, c->loop->out);
        if (n < 0)
            conn_close(c);
        if (n <= 0)
            break;
        uv_buf_t buf = uv_buf_init(c->loop->out, (unsigned)n);
        conn_write(c, &buf, 1);
    }
    if (c->phase >= CONN_LINGER || conn_waiting(c) > 0 || nghttp2_session_want_read(h->session) ||
        nghttp2_session_want_write(h->session))
        return;
    if (c->home->client)
        conn_close(c);
    else
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
http2_leave(struct conn *c)
{
    nghttp2_submit_shutdown_notice(c->http2->session);
    http2_touch(c);
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

static void
count_reset(struct conn *c)
{
    const struct http2_kind *kind = c->home->http2;
    if (kind->resets_burst > 0)
        count(c->http2, &c->http2->resets, kind->resets_burst, kind->resets_per_second);
}

void
http2_count_received(struct conn *c, const nghttp2_frame *frame)
{
    struct http2 *h = c->http2;
    int type = frame->hd.type;
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (type == NGHTTP2_RST_STREAM)
        count_reset(c);
    else if (type == NGHTTP2_PING || type == NGHTTP2_SETTINGS ||
             (type == NGHTTP2_DATA && frame->hd.length == 0 && !ended))
        count(h, &h->frames, FRAMES_BURST, FRAMES_PER_SECOND);
}

int
http2_on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    int32_t id = frame->hd.stream_id;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
            count_reset(c);
        return 0;
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
        nghttp2_session_get_stream_remote_close(session, id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    return 0;
}

void
http2_stream_begun(struct conn *c)
{
    if (c->http2->n_streams++ == 0)
        conn_phase(c, CONN_BUSY);
}

void
http2_stream_ended(struct conn *c)
{
    if (--c->http2->n_streams == 0 && c->phase == CONN_BUSY)
        conn_phase(c, CONN_IDLE);
}

/* nghttp2 takes plain pointers, and only reads what they point to. */
nghttp2_nv
http2_field(const char *name, const char *value, size_t value_n)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){n.out, v.out, strlen(name), value_n, NGHTTP2_NV_FLAG_NONE};
}

/* A bucket that fills by per_second up to burst. */
static void
count(struct http2 *h, struct bucket *b, int64_t burst, int64_t per_second)
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
    if (b->left >= 0 || h->calmed)
        return;
    h->calmed = true; /* what else it has sent is not looked at */
    nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
}
