/* The server's calls as HTTP/2 streams: requests come in by nghttp2's callbacks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "net/grpc_server.h"

enum {
    STREAMS_MAX = 1000,
    RESETS_BURST = 1000, /* as many calls may pass their deadlines at once */
    RESETS_PER_SECOND = 33,
    STREAM_WINDOW_BYTES = 4 << 20,
    CONNECTION_WINDOW_BYTES = 16 << 20,
    HEADER_LIST_BYTES_MAX = 16 << 10,    /* announced */
    HEADER_BYTES_COUNTED_MAX = 64 << 10, /* beyond, the stream is reset */
    PATH_BYTES_MAX = 512,
    UNFINISHED_BYTES_MAX = 32 << 20, /* of a connection's messages that are not yet whole */
};

static void headers_done(struct grpc_call *call);
static void give(struct grpc_call *call, struct chunk *message);
static void came(struct grpc_call *call, struct chunk *message);
static void ended(struct grpc_call *call);
static void on_deadline(void *arg);

/* ---- its life -------------------------------------------------------------------------------- */

static struct grpc_call *
call_new(struct conn *c, int32_t stream_id)
{
    struct arena *a = loop_arena(c->loop);
    struct grpc_call *call = arena_alloc(a, sizeof *call);
    call->teller.listen = grpc_call_listen;
    call->arena = a;
    call->loop = c->loop;
    call->conn = c;
    call->server = (struct grpc_server *)c->server;
    call->stream_id = stream_id;
    call->timeout_us = INT64_MAX;
    call->begun_us = env.mono_us();
    call->deadline = (struct alarm){.ring = on_deadline, .arg = call};
    call->next = c->calls;
    if (call->next)
        call->next->prev = call;
    c->calls = call;
    return call;
}

void
grpc_call_free(struct grpc_call *call)
{
    alarm_clear(call->loop, &call->deadline);
    grpc_reader_free(&call->partial);
    chunks_free(&call->out);
    chunks_free(&call->came);
    free(call->first);
    free(call->given_out);
    loop_arena_back(call->loop, call->arena);
}

/* It reaches nobody any more: whoever waits on it is told. */
void
grpc_call_gone(struct grpc_call *call)
{
    atomic_store_explicit(&call->gone, true, memory_order_relaxed);
    pthread_mutex_lock(&call->loop->lock);
    waiter_wake_held(call->next_waits);
    waiter_wake_held(call->send_waits);
    call->next_waits = call->send_waits = NULL;
    pthread_mutex_unlock(&call->loop->lock);
}

/* Its stream is closed, or the connection is. */
void
grpc_call_lose(struct grpc_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else
        call->conn->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->conn = NULL;
    call->next = call->prev = NULL;
    alarm_clear(call->loop, &call->deadline);
    if (call->own && call->own->gone)
        call->own->gone(call);
    if (call->given && !call->done && !call->own)
        grpc_call_gone(call); /* its handler still has it */
    else
        grpc_call_free(call);
}

static void
on_deadline(void *arg)
{
    struct grpc_call *call = arg;
    grpc_call_finish(call, DEADLINE_EXCEEDED, "the deadline has passed");
}

static void
release(struct grpc_call *call)
{
    call->conn->http2->bodies_bytes -= call->counted;
    call->counted = 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* The newest is mostly the one that is meant. */
static struct grpc_call *
find(nghttp2_session *session, const struct conn *c, int32_t stream_id)
{
    if (c->calls && c->calls->stream_id == stream_id)
        return c->calls;
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_call *call = call_new(c, frame->hd.stream_id);
    nghttp2_session_set_stream_user_data(session, call->stream_id, call);
    http2_stream_begun(c);
    return 0;
}

static bool
is(const char *wanted, size_t wanted_n, const uint8_t *name, size_t n)
{
    return n == wanted_n && memcmp(wanted, name, n) == 0;
}

#define IS(wanted) is(wanted, sizeof(wanted) - 1, name, name_n)

static void
add_field(struct grpc_call *call, const uint8_t *name, size_t name_n, const uint8_t *value,
          size_t value_n)
{
    struct arena *a = call->arena;
    const char *text = (const char *)value;
    if (IS(":path")) {
        call->in.path = value_n <= PATH_BYTES_MAX ? arena_strndup(a, text, value_n) : "";
    } else if (IS(":method")) {
        call->method = is("POST", 4, value, value_n) ? "POST" : "";
    } else if (IS("content-type")) {
        call->type = arena_strndup(a, text, value_n);
    } else if (IS("grpc-encoding")) {
        call->encoding = arena_strndup(a, text, value_n);
    } else if (IS("grpc-timeout")) {
        if (!grpc_timeout_parse(text, value_n, &call->timeout_us))
            call->pairs.wrong = "grpc-timeout is malformed";
    } else {
        grpc_pairs_add(&call->pairs, a, name, name_n, value, value_n);
    }
}

/* Trailers of a client mean nothing here. */
static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)flags;
    struct grpc_call *call = find(session, arg, frame->hd.stream_id);
    if (!call || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    call->header_bytes += name_n + value_n;
    if (call->header_bytes > HEADER_BYTES_COUNTED_MAX)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        add_field(call, name, name_n, value, value_n);
    return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    http2_count_received(c, frame);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_call *call = find(session, arg, frame->hd.stream_id);
    if (!call)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        headers_done(call);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) && !call->finished)
        ended(call);
    return 0;
}

/* What is no gRPC gets an answer of HTTP's. */
static void
refuse_http(struct grpc_call *call, const char *status)
{
    const nghttp2_nv nv[] = {http2_field(":status", status, strlen(status)),
                             http2_field("content-length", "0", 1)};
    call->begun = call->finished = call->done = true;
    atomic_fetch_add(&net_counters.refused, 1);
    nghttp2_submit_response(call->conn->http2->session, call->stream_id, nv, 2, NULL);
    http2_touch(call->conn);
}

static bool
type_is_ours(const char *type)
{
    static const char ours[] = "application/grpc";
    size_t n = sizeof ours - 1;
    if (!type || strncmp(type, ours, n) != 0)
        return false;
    return type[n] == '\0' || type[n] == ';' || strcmp(type + n, "+proto") == 0 ||
           text_starts(type + n, "+proto;");
}

static void
headers_done(struct grpc_call *call)
{
    const struct grpc_server_options *o = &call->server->options;
    if (!type_is_ours(call->type)) {
        refuse_http(call, "415");
        return;
    }
    if (!call->method || call->method[0] == '\0') {
        refuse_http(call, "405");
        return;
    }
    if (call->timeout_us != INT64_MAX) {
        call->in.deadline_us = call->begun_us + call->timeout_us;
        alarm_set(call->loop, &call->deadline, call->in.deadline_us);
    } else {
        call->in.deadline_us = INT64_MAX;
    }
    if (!call->in.path || call->in.path[0] != '/')
        grpc_call_finish(call, UNIMPLEMENTED, "the path names no rpc");
    else if (call->pairs.wrong)
        grpc_call_finish(call, RESOURCE_EXHAUSTED, call->pairs.wrong);
    if (call->finished)
        return;
    call->own = grpc_health_find(call->in.path);
    if (!call->own && call->server->symbols)
        call->own = grpc_reflection_find(call->in.path);
    call->streams = call->own || (o->streams && o->streams(o->arg, call->in.path));
}

/* True if the handler is behind with what it takes: then the peer gets no credit for more. */
static bool
waits_too_much(struct grpc_call *call)
{
    if (!call->streams)
        return false;
    pthread_mutex_lock(&call->loop->lock);
    bool too_much = call->came.bytes > GRPC_QUEUE_BYTES_MAX;
    call->wants_credit = call->wants_credit || too_much;
    pthread_mutex_unlock(&call->loop->lock);
    return too_much;
}

/* The connection's credit is given back at once, so that no stream holds up another. */
static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t n,
        void *arg)
{
    struct conn *c = arg;
    (void)flags;
    struct grpc_call *call = find(session, c, stream_id);
    nghttp2_session_consume_connection(session, n);
    if (!call || call->finished) {
        nghttp2_session_consume_stream(session, stream_id, n);
        return 0;
    }
    if (c->http2->bodies_bytes + n > UNFINISHED_BYTES_MAX) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, NGHTTP2_REFUSED_STREAM);
        call->finished = true;
        return 0;
    }
    if (!waits_too_much(call))
        nghttp2_session_consume_stream(session, stream_id, n);
    else
        call->withheld += n;
    c->http2->bodies_bytes += n;
    call->counted += n;
    size_t max = call->server->options.message_max;
    while (n > 0 && !call->finished) {
        struct chunk *message = NULL;
        enum grpc_progress p = grpc_read(&call->partial, &data, &n, max, &message);
        if (p == GRPC_TOO_LARGE)
            grpc_call_finish(call, RESOURCE_EXHAUSTED, "the message is too large");
        else if (p == GRPC_COMPRESSED && call->encoding && strcmp(call->encoding, "identity") != 0)
            grpc_call_finish(call, UNIMPLEMENTED, "only identity is understood as grpc-encoding");
        else if (p == GRPC_COMPRESSED)
            grpc_call_finish(call, INTERNAL, "a compressed message without its grpc-encoding");
        else if (p == GRPC_WHOLE)
            came(call, message);
    }
    return 0;
}

/* A unary call is given when its stream has ended: a second message would be one too many. */
static void
came(struct grpc_call *call, struct chunk *message)
{
    release(call);
    if (call->own) {
        call->given = true;
        call->own->message(call, (const uint8_t *)message->bytes, message->n);
        free(message);
        return;
    }
    if (call->streams && call->given) {
        pthread_mutex_lock(&call->loop->lock);
        chunks_add(&call->came, message);
        waiter_wake_held(call->next_waits);
        call->next_waits = NULL;
        pthread_mutex_unlock(&call->loop->lock);
        return;
    }
    if (call->first) {
        free(message);
        grpc_call_finish(call, UNIMPLEMENTED, "the rpc takes one message");
        return;
    }
    call->first = message;
    if (call->streams)
        give(call, message);
}

static void
ended(struct grpc_call *call)
{
    release(call);
    if (!grpc_reader_between(&call->partial)) {
        grpc_call_finish(call, INTERNAL, "the message is cut off");
        return;
    }
    if (call->own) {
        if (!call->given)
            grpc_call_finish(call, UNIMPLEMENTED, "the rpc takes a message");
        else if (!call->done)
            call->own->ended(call);
        return;
    }
    if (!call->streams && !call->first) {
        grpc_call_finish(call, UNIMPLEMENTED, "the rpc takes one message");
        return;
    }
    pthread_mutex_lock(&call->loop->lock);
    call->came_all = true;
    waiter_wake_held(call->next_waits);
    call->next_waits = NULL;
    pthread_mutex_unlock(&call->loop->lock);
    if (!call->given)
        give(call, call->first);
}

static void
give(struct grpc_call *call, struct chunk *message)
{
    const struct grpc_server_options *o = &call->server->options;
    struct grpc_request *in = &call->in;
    in->arena = call->arena;
    in->message = message ? (const uint8_t *)message->bytes : NULL;
    in->n = message ? message->n : 0;
    in->metadata = call->pairs.list;
    in->n_metadata = call->pairs.n;
    in->peer = arena_strdup(call->arena, call->conn->peer);
    in->identity = arena_strdup(call->arena, call->conn->identity);
    call->given = true;
    atomic_fetch_add_explicit(&net_counters.requests, 1, memory_order_relaxed);
    o->on_call(o->arg, call, in);
}

static int
on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *arg)
{
    struct conn *c = arg;
    (void)error;
    struct grpc_call *call = find(session, c, stream_id);
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    release(call);
    grpc_call_weigh(call, 0);
    grpc_call_lose(call);
    http2_stream_ended(c);
    return 0;
}

static void
fill(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, http2_on_frame_send);
}

const struct http2_kind http2_calls = {
    .streams_max = STREAMS_MAX,
    .stream_window_bytes = STREAM_WINDOW_BYTES,
    .connection_window_bytes = CONNECTION_WINDOW_BYTES,
    .header_bytes_max = HEADER_LIST_BYTES_MAX,
    .resets_burst = RESETS_BURST,
    .resets_per_second = RESETS_PER_SECOND,
    .credits_itself = true,
    .fill = fill,
    .sweep = grpc_calls_sweep,
};
