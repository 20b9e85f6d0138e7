/* The server's answers: what handlers have said becomes frames, and how calls end. */
#include <stdlib.h>
#include <string.h>

#include "net/grpc_server.h"

enum {
    UNREAD_BYTES_MAX = 64 << 20, /* of a connection's answers that the peer has not taken */
    FIELDS_MAX = GRPC_METADATA_MAX + 4,
};

static ssize_t read_out(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t room,
                        uint32_t *flags, nghttp2_data_source *source, void *arg);

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

bool
grpc_call_weigh(struct grpc_call *call, size_t waits)
{
    struct http2 *h = call->conn->http2;
    h->out_bytes += waits - call->weighed;
    call->weighed = waits;
    return h->out_bytes > UNREAD_BYTES_MAX;
}

static size_t
n_waits(struct grpc_call *call)
{
    pthread_mutex_lock(&call->loop->lock);
    size_t n = call->out.bytes;
    pthread_mutex_unlock(&call->loop->lock);
    return n;
}

/* Room for fields, of the loop's thread: cheaper than to clear it on the stack for each call. */
static nghttp2_nv *
fields(void)
{
    static _Thread_local nghttp2_nv nv[2 * FIELDS_MAX];
    return nv;
}

static void
begin(struct grpc_call *call)
{
    nghttp2_nv *nv = fields();
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = read_out};
    size_t n = add_head(call->headers, call->n_headers, nv);
    call->begun = true;
    nghttp2_submit_response(call->conn->http2->session, call->stream_id, nv, n, &body);
}

static void
end_at_once(struct grpc_call *call, const struct grpc_pair *headers, size_t n_headers)
{
    nghttp2_nv *nv = fields();
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
    grpc_call_weigh(call, left);
    if (left > 0 || !(call->done || call->finished))
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    nghttp2_nv *nv = fields();
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
    grpc_call_weigh(call, 0);
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
        grpc_call_gone(call);
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
        grpc_call_gone(call);
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
            grpc_call_free(call);
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
    if ((told & GRPC_TOLD_OUT) && grpc_call_weigh(call, n_waits(call))) {
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

void
grpc_calls_sweep(struct conn *c, int64_t now_us)
{
    for (struct grpc_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (!call->given && now_us - call->begun_us >= c->home->request_timeout_us)
            grpc_call_finish(call, DEADLINE_EXCEEDED, "the request did not come in time");
        else if (stalled(call, now_us))
            reset(call, NGHTTP2_CANCEL);
    }
}
