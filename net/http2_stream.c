/* HTTP/2 streams as exchanges: requests come in by nghttp2's callbacks, answers go out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/text.h"
#include "net/http2.h"

enum {
    STREAMS_MAX = 100,
    RESETS_BURST = 100, /* and so many a second for long (CVE-2023-44487, CVE-2025-8671) */
    RESETS_PER_SECOND = 10,
    STREAM_WINDOW_BYTES = 256 << 10,
    CONNECTION_WINDOW_BYTES = 1 << 20,
    FIELD_OVERHEAD = 32, /* that a field counts beyond its bytes (RFC 9113, 6.5.2) */
    ANSWER_FIELDS = 4,   /* :status, server, date, content-length */
};

static const size_t bodies_bytes_max = IMPORT_BYTES_MAX + (8 << 20);

static void headers_done(struct http_exchange *x, bool ended);
static void give(struct http_exchange *x);
static const char *check_request(struct http_exchange *x);
static void refuse(struct http_exchange *x, int status, const char *detail);
static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *arg);

/* ---- requests -------------------------------------------------------------------------------- */

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct http_exchange *x = exchange_new(c);
    x->stream_id = frame->hd.stream_id;
    x->begun_us = env.mono_us();
    x->headers = arena_alloc(x->arena, HEADERS_MAX * sizeof *x->headers);
    nghttp2_session_set_stream_user_data(session, x->stream_id, x);
    http2_stream_begun(c);
    return 0;
}

static void
mark_refused(struct http_exchange *x, int status, const char *detail)
{
    if (x->refused.status == 0)
        x->refused = (struct refusal){status, detail};
}

static void
add_field(struct http_exchange *x, const char *name, const char *value)
{
    if (strcmp(name, ":method") == 0) {
        x->in.method = value;
    } else if (strcmp(name, ":path") == 0) {
        x->in.path = value;
        if (strlen(value) > TARGET_BYTES_MAX)
            mark_refused(x, 414, "the request target is too long");
    } else if (strcmp(name, ":authority") == 0) {
        x->in.authority = value;
    } else if (name[0] == ':') {
        return; /* :scheme says nothing that the connection does not */
    } else if (x->in.n_headers == HEADERS_MAX) {
        mark_refused(x, 431, "there are too many header fields");
    } else {
        if (strcmp(name, "host") == 0 && x->host)
            mark_refused(x, 400, "there are two Host fields");
        if (strcmp(name, "host") == 0)
            x->host = value;
        x->headers[x->in.n_headers++] = (struct http_header){name, value};
    }
}

/* Past the bound, fields are counted but no longer kept. */
static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    struct http_exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!x || frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0; /* trailers, which nobody here has asked for */
    x->header_bytes += name_n + value_n + FIELD_OVERHEAD;
    if (x->header_bytes > HEADER_BYTES_MAX + TARGET_BYTES_MAX)
        mark_refused(x, 431, "the header fields are too large");
    else
        add_field(x, arena_strndup(x->arena, (const char *)name, name_n),
                  arena_strndup(x->arena, (const char *)value, value_n));
    return 0;
}

/* nghttp2 would leave such a field out; we refuse what is malformed. */
static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                  size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    (void)arg;
    struct http_exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (x)
        mark_refused(x, 400, "a header field is malformed");
    return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    http2_count_received(c, frame);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct http_exchange *x = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!x)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_done(x, ended);
    else if (ended && !x->given && !x->done)
        give(x);
    return 0;
}

/* Several Cookie fields are one (RFC 9113, 8.2.3). */
static void
join_cookies(struct http_exchange *x)
{
    struct http_header *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < x->in.n_headers; i++) {
        struct http_header *field = &x->headers[i];
        if (first && strcmp(field->name, "cookie") == 0) {
            first->value = arena_printf(x->arena, "%s; %s", first->value, field->value);
            continue;
        }
        x->headers[n] = *field;
        if (!first && strcmp(field->name, "cookie") == 0)
            first = &x->headers[n];
        n++;
    }
    x->in.n_headers = n;
}

static void
go_on(struct http_exchange *x)
{
    static uint8_t name[] = ":status", value[] = "100";
    const nghttp2_nv nv = {name, value, sizeof name - 1, sizeof value - 1, NGHTTP2_NV_FLAG_NONE};
    nghttp2_submit_headers(x->conn->http2->session, NGHTTP2_FLAG_NONE, x->stream_id, NULL, &nv, 1,
                           NULL);
}

/* What is too large, or malformed, is refused before the body comes. */
static void
headers_done(struct http_exchange *x, bool ended)
{
    const char *why = x->refused.status ? NULL : check_request(x);
    if (why)
        mark_refused(x, 400, why);
    x->in.headers = x->headers;
    join_cookies(x);
    const char *expect = http_header(&x->in, "expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        mark_refused(x, 417, "only 100-continue can be expected");
    if (!ended && x->refused.status == 0) {
        exchange_ask_body_max(x);
        const char *length = http_header(&x->in, "content-length");
        int64_t n;
        if (length && int_parse(length, &n) && n > 0)
            x->length = (size_t)n;
        if (x->length > x->body_max)
            mark_refused(x, 413, "the body is too large");
    }
    if (x->refused.status)
        refuse(x, x->refused.status, x->refused.detail);
    else if (ended)
        give(x);
    else if (expect)
        go_on(x);
}

/* What nghttp2 does not check.  NULL if all is well. */
static const char *
check_request(struct http_exchange *x)
{
    if (!x->in.method || !x->in.path || strcmp(x->in.method, "CONNECT") == 0)
        return "CONNECT is not served";
    char *target = arena_strdup(x->arena, x->in.path);
    if (!target_split(target, &x->in.path, &x->in.query))
        return "the request target is not a path";
    if (!x->in.authority)
        x->in.authority = x->host;
    if (!x->in.authority || !authority_valid(x->in.authority))
        return "there is no valid authority";
    if (x->host && strcasecmp(x->host, x->in.authority) != 0)
        return "the request names another host than Host";
    return NULL;
}

static void
release_body(struct http_exchange *x)
{
    x->conn->http2->bodies_bytes -= x->body_counted;
    x->body_counted = 0;
}

static void
give(struct http_exchange *x)
{
    release_body(x);
    x->in.version = 20;
    exchange_give(x);
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t n,
        void *arg)
{
    struct conn *c = arg;
    (void)flags;
    struct http_exchange *x = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!x || x->given || x->done)
        return 0;
    if (c->http2->bodies_bytes + n > bodies_bytes_max) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_REFUSED_STREAM);
        x->done = true;
        return 0;
    }
    c->http2->bodies_bytes += n;
    x->body_counted += n;
    if (!exchange_body_add(x, (const char *)data, n))
        refuse(x, 413, "the body is too large");
    return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *arg)
{
    struct conn *c = arg;
    (void)error;
    struct http_exchange *x = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!x)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    release_body(x);
    exchange_lose(x);
    http2_stream_ended(c);
    return 0;
}

/* ---- answers --------------------------------------------------------------------------------- */

void
http2_answer(struct http_exchange *x)
{
    const struct http_response *out = &x->answer;
    nghttp2_nv *nv = arena_alloc(x->arena, (out->n_headers + ANSWER_FIELDS) * sizeof *nv);
    char status[16], length[24];
    size_t date_n, n = 0;
    const char *date = date_line(&date_n);
    int status_n = snprintf(status, sizeof status, "%d", out->status);
    int length_n = snprintf(length, sizeof length, "%zu", out->body_n);
    nv[n++] = http2_field(":status", status, (size_t)status_n);
    nv[n++] = http2_field("server", "souk", 4);
    nv[n++] = http2_field("date", date + DATE_AT, DATE_CHARS);
    for (size_t i = 0; i < out->n_headers; i++)
        nv[n++] =
            http2_field(out->headers[i].name, out->headers[i].value, strlen(out->headers[i].value));
    if (!x->streaming && status_has_body(out->status))
        nv[n++] = http2_field("content-length", length, (size_t)length_n);
    nghttp2_data_provider body = {.source.ptr = x, .read_callback = read_body};
    bool has_body =
        status_has_body(out->status) && !x->head_only && (x->streaming || out->body_n > 0);
    nghttp2_submit_response(x->conn->http2->session, x->stream_id, nv, n, has_body ? &body : NULL);
    if (out->close)
        http2_goaway(x->conn, NGHTTP2_NO_ERROR);
    http2_touch(x->conn);
}

static void
refuse(struct http_exchange *x, int status, const char *detail)
{
    static const struct http_header type = {"content-type", "application/problem+json"};
    char *body = arena_alloc(x->arena, PROBLEM_BYTES_MAX);
    const struct refusal why = {status, detail};
    size_t n = problem_body(body, PROBLEM_BYTES_MAX, &why);
    release_body(x);
    x->head_only = x->in.method && strcmp(x->in.method, "HEAD") == 0;
    x->done = true;
    x->answer = (struct http_response){status, &type, 1, body, n, false};
    atomic_fetch_add(&net_counters.refused, 1);
    http2_answer(x);
}

/* More bytes for nghttp2, or word that there are none now. */
static ssize_t /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)stream_id;
    (void)arg;
    struct http_exchange *x = source->ptr;
    x->sent_us = 0;
    if (x->streaming) {
        if (x->done && exchange_overrun(x))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
        bool ended;
        size_t n = exchange_take(x, (char *)buf, room, &ended);
        if (ended)
            *flags |= NGHTTP2_DATA_FLAG_EOF;
        return n > 0 || ended ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    }
    size_t left = x->answer.body_n - x->answer_sent;
    size_t n = left < room ? left : room;
    memcpy(buf, x->answer.body + x->answer_sent, n);
    x->answer_sent += n;
    if (n == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

void
http2_stream_pump(struct http_exchange *x)
{
    nghttp2_session *session = x->conn->http2->session;
    if (x->done && exchange_overrun(x))
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, x->stream_id, NGHTTP2_INTERNAL_ERROR);
    else
        nghttp2_session_resume_data(session, x->stream_id);
    http2_touch(x->conn);
}

/* ---- their clocks ---------------------------------------------------------------------------- */

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
    return waits > 0 && now_us - x->sent_us >= x->conn->home->request_timeout_us;
}

static void
sweep(struct conn *c, int64_t now_us)
{
    int64_t timeout_us = c->home->request_timeout_us;
    for (struct http_exchange *x = c->exchanges, *next; x; x = next) {
        next = x->next;
        if (!x->given && !x->done && now_us - x->begun_us >= timeout_us)
            refuse(x, 408, "the request did not come in time");
        else if (answer_stalled(x, now_us))
            nghttp2_submit_rst_stream(c->http2->session, NGHTTP2_FLAG_NONE, x->stream_id,
                                      NGHTTP2_CANCEL);
        else
            continue;
        http2_touch(c);
    }
}

static void
fill(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, http2_on_frame_send);
}

const struct http2_kind http2_exchanges = {
    .streams_max = STREAMS_MAX,
    .stream_window_bytes = STREAM_WINDOW_BYTES,
    .connection_window_bytes = CONNECTION_WINDOW_BYTES,
    .header_bytes_max = HEADER_BYTES_MAX,
    .resets_burst = RESETS_BURST,
    .resets_per_second = RESETS_PER_SECOND,
    .fill = fill,
    .sweep = sweep,
};
