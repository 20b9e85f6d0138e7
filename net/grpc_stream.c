/* The client's calls as HTTP/2 streams. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "net/grpc_channel.h"

enum {
    STREAM_WINDOW_BYTES = 4 << 20,
    CONNECTION_WINDOW_BYTES = 16 << 20,
    HEADER_LIST_BYTES_MAX = 16 << 10,
};

static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *arg);

bool
grpc_stream_submit(struct grpc_stream *s, struct grpc_line *line)
{
    nghttp2_data_provider body = {.source.ptr = NULL, .read_callback = read_out};
    int32_t id =
        nghttp2_submit_request(line->conn->http2->session, NULL, s->head, s->n_head, &body, s);
    if (id < 0)
        return false;
    s->id = id;
    s->line = line;
    s->sent = 0;
    s->http = 0;
    s->said = -1;
    s->serialized = s->is_grpc = s->in_trailers = false;
    s->headers = s->trailers = (struct grpc_pairs){0};
    s->encoding = s->why = NULL;
    s->prev = NULL;
    s->next = line->streams;
    if (s->next)
        s->next->prev = s;
    line->streams = s;
    line->n_streams++;
    grpc_line_busy(line);
    http2_touch(line->conn);
    return true;
}

void
grpc_stream_leave(struct grpc_stream *s)
{
    struct grpc_line *line = s->line;
    if (!line)
        return;
    if (s->prev)
        s->prev->next = s->next;
    else
        line->streams = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->next = s->prev = NULL;
    s->line = NULL;
    line->n_streams--;
    if (line->conn->http2)
        nghttp2_session_set_stream_user_data(line->conn->http2->session, s->id, NULL);
    grpc_reader_free(&s->partial);
    free(s->message);
    s->message = NULL;
}

static struct grpc_stream *
find(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

/* ---- out ------------------------------------------------------------------------------------- */

/* The first message is read in place, so that it can be sent again. */
static size_t
take_first(struct grpc_stream *s, uint8_t *buf, size_t room)
{
    size_t n = 0;
    if (s->in.message && s->sent < GRPC_PREFIX_BYTES && room >= GRPC_PREFIX_BYTES) {
        memcpy(buf, s->prefix, GRPC_PREFIX_BYTES);
        s->sent = n = GRPC_PREFIX_BYTES;
    }
    size_t left = s->in.message ? GRPC_PREFIX_BYTES + s->in.n - s->sent : 0;
    size_t m = left < room - n ? left : room - n;
    if (m > 0 && s->sent >= GRPC_PREFIX_BYTES) {
        memcpy(buf + n, s->in.message + (s->sent - GRPC_PREFIX_BYTES), m);
        s->sent += m;
        n += m;
    }
    return n;
}

static ssize_t /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
         nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct grpc_stream *s = find(session, id);
    if (!s)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* it has ended, and is being reset */
    size_t n = take_first(s, buf, room);
    bool all = !s->in.message || s->sent == GRPC_PREFIX_BYTES + s->in.n;
    if (all && s->streaming) {
        struct loop *loop = s->channel->loop;
        pthread_mutex_lock(&loop->lock);
        size_t m = chunks_take(&s->out, (char *)buf + n, room - n);
        s->spent = s->spent || m > 0;
        n += m;
        all = s->out_all && s->out.bytes == 0;
        if (s->out.bytes <= GRPC_ASK_QUEUE_BYTES_MAX / 2) {
            waiter_wake_held(s->send_waits);
            s->send_waits = NULL;
        }
        pthread_mutex_unlock(&loop->lock);
    }
    if (all)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return n > 0 || all ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    struct grpc_stream *s = find(session, frame->hd.stream_id);
    if (s && frame->hd.type == NGHTTP2_HEADERS)
        s->serialized = true;
    return 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

static bool
is(const char *wanted, size_t wanted_n, const uint8_t *name, size_t n)
{
    return n == wanted_n && memcmp(wanted, name, n) == 0;
}

#define IS(wanted) is(wanted, sizeof(wanted) - 1, name, name_n)

static int
small_number(const char *text, size_t n)
{
    int value = 0;
    if (n == 0 || n > 3)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

static void
add_field(struct grpc_stream *s, const uint8_t *name, size_t name_n, const uint8_t *value,
          size_t value_n)
{
    const char *text = (const char *)value;
    if (IS(":status")) {
        s->http = small_number(text, value_n);
    } else if (IS("content-type")) {
        s->is_grpc = value_n >= 16 && memcmp(text, "application/grpc", 16) == 0;
    } else if (IS("grpc-status")) {
        int said = small_number(text, value_n);
        s->said = said >= OK && said <= UNAUTHENTICATED ? said : UNKNOWN;
    } else if (IS("grpc-message")) {
        s->why = grpc_why_decode(
            s->arena, text, value_n < GRPC_METADATA_BYTES_MAX ? value_n : GRPC_METADATA_BYTES_MAX);
    } else if (IS("grpc-encoding")) {
        s->encoding = arena_strndup(s->arena, text, value_n);
    } else {
        grpc_pairs_add(s->in_trailers ? &s->trailers : &s->headers, s->arena, name, name_n, value,
                       value_n);
    }
}

static int
on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    struct grpc_stream *s = find(session, frame->hd.stream_id);
    if (s && s->http / 100 > 1)
        s->in_trailers = true;
    return 0;
}

static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    struct grpc_stream *s = find(session, frame->hd.stream_id);
    if (s && frame->hd.type == NGHTTP2_HEADERS)
        add_field(s, name, name_n, value, value_n);
    return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct conn *c = arg;
    struct grpc_line *line = c->line;
    http2_count_received(c, frame);
    grpc_line_heard(line);
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        if (!line->ready)
            grpc_line_ready(line);
        else if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
            grpc_streams_go(line->channel); /* there may be more room */
        return 0;
    case NGHTTP2_GOAWAY:
        if (!line->leaving)
            grpc_line_leave(line);
        return 0;
    case NGHTTP2_HEADERS:
        break;
    default:
        return 0;
    }
    struct grpc_stream *s = find(session, frame->hd.stream_id);
    if (!s)
        return 0;
    const char *wrong = s->headers.wrong ? s->headers.wrong : s->trailers.wrong;
    if (wrong)
        grpc_stream_fail(s, RESOURCE_EXHAUSTED, wrong);
    else if (!s->in_trailers && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        s->trailers = s->headers; /* trailers only */
        s->headers = (struct grpc_pairs){0};
    }
    return 0;
}

/* True if the caller is behind with what it takes: then the peer gets no credit for more. */
static bool
waits_too_much(struct grpc_stream *s)
{
    if (!s->streaming)
        return false;
    struct loop *loop = s->channel->loop;
    pthread_mutex_lock(&loop->lock);
    bool too_much = s->came.bytes > GRPC_ASK_QUEUE_BYTES_MAX;
    s->wants_credit = s->wants_credit || too_much;
    pthread_mutex_unlock(&loop->lock);
    return too_much;
}

static void
came(struct grpc_stream *s, struct chunk *message)
{
    if (s->streaming) {
        struct loop *loop = s->channel->loop;
        pthread_mutex_lock(&loop->lock);
        chunks_add(&s->came, message);
        waiter_wake_held(s->waits);
        s->waits = NULL;
        pthread_mutex_unlock(&loop->lock);
    } else if (s->message) {
        free(message);
        grpc_stream_fail(s, INTERNAL, "the peer answered more than once");
    } else {
        s->message = message;
    }
}

static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
        void *arg)
{
    (void)flags;
    (void)arg;
    struct grpc_stream *s = find(session, id);
    nghttp2_session_consume_connection(session, n);
    if (s && waits_too_much(s))
        s->withheld += n;
    else
        nghttp2_session_consume_stream(session, id, n);
    if (!s || s->http != 200 || !s->is_grpc)
        return 0; /* what it means is known when it ends */
    size_t max = s->channel->options.message_max;
    while (n > 0 && s->line) {
        struct chunk *message = NULL;
        enum grpc_progress p = grpc_read(&s->partial, &data, &n, max, &message);
        if (p == GRPC_TOO_LARGE)
            grpc_stream_fail(s, RESOURCE_EXHAUSTED, "the answer is too large");
        else if (p == GRPC_COMPRESSED)
            grpc_stream_fail(s, INTERNAL, "the peer compresses, which was not accepted");
        else if (p == GRPC_WHOLE)
            came(s, message);
    }
    return 0;
}

static int
on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    struct conn *c = arg;
    struct grpc_stream *s = find(session, id);
    if (s)
        grpc_stream_over(s, error);
    if (c->line->n_streams == 0 && c->line->leaving)
        http2_goaway(c, NGHTTP2_NO_ERROR);
    else if (!c->line->leaving)
        grpc_streams_go(c->line->channel);
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
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
}

const struct http2_kind http2_asks = {
    .client = true,
    .stream_window_bytes = STREAM_WINDOW_BYTES,
    .connection_window_bytes = CONNECTION_WINDOW_BYTES,
    .header_bytes_max = HEADER_LIST_BYTES_MAX,
    .credits_itself = true,
    .fill = fill,
};
