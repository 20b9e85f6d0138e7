/* The server's calls as HTTP/2 streams: requests come in by nghttp2's callbacks, answers go out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "net/grpc_server.h"

enum {
    STREAMS_MAX = 1000,
    STREAM_WINDOW_BYTES = 4 << 20,
    CONNECTION_WINDOW_BYTES = 16 << 20,
    HEADER_LIST_BYTES_MAX = 16 << 10,    /* announced */
    HEADER_BYTES_COUNTED_MAX = 64 << 10, /* beyond, the stream is reset */
    PATH_BYTES_MAX = 512,
    UNFINISHED_BYTES_MAX = 32 << 20, /* of a connection's messages that are not yet whole */
    UNREAD_BYTES_MAX = 64 << 20,     /* of its answers that the peer has not taken */
    FIELDS_MAX = GRPC_METADATA_MAX + 4,
};

static void headers_done(struct grpc_call *call);
static void give(struct grpc_call *call, struct chunk *message);
static void came(struct grpc_call *call, struct chunk *message);
static void ended(struct grpc_call *call);
static void on_deadline(void *arg);
static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *arg);

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

static void
call_free(struct grpc_call *call)
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
static void
mark_gone(struct grpc_call *call)
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
        mark_gone(call); /* its handler still has it */
    else
        call_free(call);
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

/* Keeps the session's sum; true if it is too much. */
static bool
weigh(struct grpc_call *call, size_t waits)
{
    struct http2 *h = call->conn->http2;
    h->out_bytes += waits - call->weighed;
    call->weighed = waits;
    return h->out_bytes > UNREAD_BYTES_MAX;
}

/* ---- in -------------------------------------------------------------------------------------- */

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
    (void)arg;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
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
    http2_count_received(c->http2, frame);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
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
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
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
    struct grpc_call *call = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!call)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    release(call);
    weigh(call, 0);
    grpc_call_lose(call);
    http2_stream_ended(c);
    return 0;
}

/* ---- out ------------------------------------------------------------------------------------- */

static size_t
add_pairs(nghttp2_nv *nv, const struct grpc_pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        nv[i] = http2_field(pairs[i].name, pairs[i].value, pairs[i].value_n);
    return n;
}

static size_t
add_head(const struct grpc_pair *headers, size_t n_headers, nghttp2_nv *nv)
{
    nv[0] = http2_field(":status", "200", 3);
    nv[1] = http2_field("content-type", "application/grpc", 16);
    return 2 + add_pairs(nv + 2, headers, n_headers);
}

static size_t
add_end(const struct grpc_ending *end, nghttp2_nv *nv)
{
    static const char numbers[][3] = {"0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                      "9", "10", "11", "12", "13", "14", "15", "16"};
    const char *status = numbers[end->st];
    size_t n = 0;
    nv[n++] = http2_field("grpc-status", status, strlen(status));
    if (end->why)
        nv[n++] = http2_field("grpc-message", end->why, strlen(end->why));
    if (end->st == UNIMPLEMENTED)
        nv[n++] = http2_field("grpc-accept-encoding", "identity", 8);
    return n + add_pairs(nv + n, end->trailers, end->n);
}

static size_t
n_waits(struct grpc_call *call)
{
    pthread_mutex_lock(&call->loop->lock);
    size_t n = call->out.bytes;
    pthread_mutex_unlock(&call->loop->lock);
    return n;
}

static void
begin(struct grpc_call *call)
{
    nghttp2_nv nv[FIELDS_MAX];
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_out};
    size_t n = add_head(call->headers, call->n_headers, nv);
    call->begun = true;
    nghttp2_submit_response(call->conn->http2->session, call->stream_id, nv, n, &body);
}

static void
end_at_once(struct grpc_call *call, const struct grpc_pair *headers, size_t n_headers)
{
    nghttp2_nv nv[2 * FIELDS_MAX];
    size_t n = add_head(headers, n_headers, nv);
    n += add_end(&call->end, nv + n);
    call->begun = call->finished = true;
    nghttp2_submit_response(call->conn->http2->session, call->stream_id, nv, n, NULL);
}

/* Messages for nghttp2, or word that there are none now; the trailers end them. */
static ssize_t /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
read_out(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room, uint32_t *flags,
         nghttp2_data_source *source, void *arg)
{
    struct grpc_call *call = source->ptr;
    (void)arg;
    pthread_mutex_lock(&call->loop->lock);
    size_t n = chunks_take(&call->out, (char *)buf, room);
    size_t left = call->out.bytes;
    if (left <= GRPC_QUEUE_BYTES_MAX / 2) {
        waiter_wake_held(call->send_waits);
        call->send_waits = NULL;
    }
    pthread_mutex_unlock(&call->loop->lock);
    call->sent_us = 0;
    weigh(call, left);
    if (left > 0 || !(call->done || call->finished))
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    nghttp2_nv nv[FIELDS_MAX];
    size_t n_nv = add_end(&call->end, nv);
    call->finished = true;
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, stream_id, nv, n_nv);
    return (ssize_t)n;
}

static void
drop_out(struct grpc_call *call)
{
    pthread_mutex_lock(&call->loop->lock);
    chunks_free(&call->out);
    pthread_mutex_unlock(&call->loop->lock);
    weigh(call, 0);
}

void
grpc_call_finish(struct grpc_call *call, enum status st, const char *why)
{
    if (!call->conn || call->finished || call->done)
        return; /* or the handler's end is on its way */
    alarm_clear(call->loop, &call->deadline);
    call->finished = true;
    call->end = (struct grpc_ending){.st = st, .why = why};
    if (call->given)
        mark_gone(call);
    if (call->begun) {
        drop_out(call);
        nghttp2_session_resume_data(call->conn->http2->session, call->stream_id);
    } else {
        end_at_once(call, NULL, 0);
    }
    http2_touch(call->conn);
}

static void
reset(struct grpc_call *call, uint32_t error)
{
    nghttp2_submit_rst_stream(call->conn->http2->session, NGHTTP2_FLAG_NONE, call->stream_id,
                              error);
    call->finished = true;
    http2_touch(call->conn);
}

static void
credit(struct grpc_call *call)
{
    nghttp2_session_consume_stream(call->conn->http2->session, call->stream_id, call->withheld);
    call->withheld = 0;
    http2_touch(call->conn);
}

/* The peer does not read what it asks for. */
static void
too_much_unread(struct grpc_call *call)
{
    drop_out(call);
    if (!call->done)
        mark_gone(call);
    if (call->begun) {
        reset(call, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    call->end =
        (struct grpc_ending){RESOURCE_EXHAUSTED, "too many answers wait to be read", NULL, 0};
    end_at_once(call, NULL, 0);
    http2_touch(call->conn);
}

void
grpc_call_listen(struct teller *t, unsigned told)
{
    struct grpc_call *call = (struct grpc_call *)t;
    if (told & GRPC_TOLD_END)
        call->done = true;
    if (!call->conn) {
        if (call->done)
            call_free(call);
        return;
    }
    if (told & GRPC_TOLD_TAKEN)
        credit(call);
    if (call->finished)
        return;
    if (told & GRPC_TOLD_FLOOD) {
        reset(call, NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    if (told & GRPC_TOLD_END) {
        alarm_clear(call->loop, &call->deadline);
        call->end = call->said;
    }
    if ((told & GRPC_TOLD_OUT) && weigh(call, n_waits(call))) {
        too_much_unread(call);
        return;
    }
    if (call->begun)
        nghttp2_session_resume_data(call->conn->http2->session, call->stream_id);
    else if (call->done && !call->spoke && call->end.st != OK)
        end_at_once(call, call->headers, call->n_headers);
    else if (told & (GRPC_TOLD_OUT | GRPC_TOLD_END))
        begin(call);
    http2_touch(call->conn);
}

/* ---- their clocks ---------------------------------------------------------------------------- */

/* True if messages wait for the peer's credit and none of them went for a request's time. */
static bool
stalled(struct grpc_call *call, int64_t now_us)
{
    bool waits = n_waits(call) > 0;
    if (!waits)
        call->sent_us = 0;
    else if (call->sent_us == 0)
        call->sent_us = now_us;
    return waits && now_us - call->sent_us >= call->conn->home->request_timeout_us;
}

static void
sweep(struct conn *c, int64_t now_us)
{
    for (struct grpc_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (!call->given && now_us - call->begun_us >= c->home->request_timeout_us)
            grpc_call_finish(call, DEADLINE_EXCEEDED, "the request did not come in time");
        else if (stalled(call, now_us))
            reset(call, NGHTTP2_CANCEL);
    }
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
    .credits_itself = true,
    .fill = fill,
    .sweep = sweep,
};
