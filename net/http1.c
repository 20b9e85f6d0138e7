/*
 * HTTP/1.1 on a connection: one request is read, answered, and then the next is looked at.
 *
 * head.c reads the head; llhttp reads it too and frames the body.  Where the two do not agree about
 * where a request ends, it is refused.
 */
#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/internal.h"

enum { CHUNK_EXTENSION_BYTES_MAX = 4 << 10 }; /* of one request */

struct http1 {
    llhttp_t parser;
    struct head_scan scan;
    struct http_exchange *x; /* whose body is being read */
    bool parsing;
    bool headers_done;
    bool too_large;
    char last; /* byte of the body's frame that was read */
    size_t extension_bytes;
};

static size_t consume(struct conn *c, const char *bytes, size_t n);
static size_t take_head(struct conn *c, const char *bytes, size_t n);
static size_t take_body(struct conn *c, const char *bytes, size_t n);
static void refuse(struct conn *c, const struct refusal *why);

static int on_headers_complete(llhttp_t *parser);
static int on_field(llhttp_t *parser, const char *at, size_t n);
static int on_extension(llhttp_t *parser, const char *at, size_t n);
static int on_body(llhttp_t *parser, const char *at, size_t n);
static int on_message_complete(llhttp_t *parser);

static const llhttp_settings_t settings = {
    .on_headers_complete = on_headers_complete,
    .on_header_field = on_field,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void
http1_start(struct conn *c)
{
    c->protocol = PROTOCOL_HTTP1;
    c->http1 = calloc(1, sizeof *c->http1);
    if (!c->http1)
        abort();
}

void
http1_free(struct conn *c)
{
    free(c->http1);
}

/* ---- in -------------------------------------------------------------------------------------- */

/* While a request is being answered, or its answer waits to be taken, nothing more is read. */
void
http1_read(struct conn *c, const char *bytes, size_t n)
{
    if (c->phase == CONN_BUSY || conn_waiting(c) > 0) {
        conn_keep(c, bytes, n);
        conn_read_stop(c);
    } else if (c->kept_n > 0) {
        conn_keep(c, bytes, n);
        http1_continue(c);
    } else {
        size_t used = consume(c, bytes, n);
        if (c->phase < CONN_LINGER)
            conn_keep(c, bytes + used, n - used);
    }
}

void
http1_continue(struct conn *c)
{
    if (c->phase == CONN_BUSY && c->exchanges && c->exchanges->streaming)
        http1_stream_pump(c->exchanges);
    if (c->phase >= CONN_BUSY || c->http1->parsing || conn_waiting(c) > 0)
        return;
    if (c->kept_n > 0)
        conn_kept_drop(c, consume(c, c->kept, c->kept_n));
    if (c->phase >= CONN_BUSY || conn_waiting(c) > 0)
        return;
    if (c->eof)
        conn_close(c); /* what is left is no whole request */
    else
        conn_read_start(c);
}

/* Gives how much of bytes was used: all but an unfinished head and what comes behind a request. */
static size_t
consume(struct conn *c, const char *bytes, size_t n)
{
    struct http1 *h = c->http1;
    size_t used = 0;
    h->parsing = true;
    while (used < n && c->phase < CONN_BUSY && conn_waiting(c) == 0) {
        size_t m =
            h->x ? take_body(c, bytes + used, n - used) : take_head(c, bytes + used, n - used);
        used += m;
        if (c->phase == CONN_IDLE && (m == 0 || h->x))
            conn_phase(c, CONN_READING);
        if (m == 0)
            break;
    }
    h->parsing = false;
    return c->phase >= CONN_LINGER ? n : used;
}

static void
give(struct conn *c)
{
    struct http_exchange *x = c->http1->x;
    c->http1->x = NULL;
    conn_phase(c, CONN_BUSY);
    x->in.version = 11;
    exchange_give(x);
}

/* The exchange of a scanned head, or NULL if it means nothing sensible. */
static struct http_exchange *
open_exchange(struct conn *c, const char *bytes, size_t n, struct refusal *why)
{
    struct http_exchange *x = exchange_new(c);
    char *text = arena_strndup(x->arena, bytes, n);
    size_t headers_n = (size_t)c->http1->scan.n_headers;
    struct head head = {.headers = arena_alloc(x->arena, headers_n * sizeof *head.headers)};
    if (!head_split(text, n, &head, why)) {
        exchange_free(x);
        return NULL;
    }
    x->in.method = head.method;
    x->in.path = head.path;
    x->in.query = head.query;
    x->in.authority = head.authority;
    x->in.headers = head.headers;
    x->in.n_headers = head.n_headers;
    x->chunked_in = head.chunked;
    x->length = head.length;
    x->has_body = head.chunked || head.length > 0;
    x->expects = head.expects && x->has_body;
    x->chunked_out = head.minor >= 1;
    return x;
}

/* Has llhttp read the head too.  False: it does not agree. */
static bool
second_opinion(struct http1 *h, const char *bytes, size_t n, struct refusal *why)
{
    llhttp_init(&h->parser, HTTP_REQUEST, &settings);
    h->parser.data = h;
    h->headers_done = h->too_large = false;
    h->extension_bytes = 0;
    llhttp_errno_t r = llhttp_execute(&h->parser, bytes, n);
    if (r == HPE_OK && h->headers_done && h->x->has_body)
        return true;
    if (r == HPE_PAUSED && !h->x->has_body && llhttp_get_error_pos(&h->parser) == bytes + n)
        return true;
    if (r == HPE_INVALID_METHOD)
        *why = (struct refusal){501, "the method is not known here"};
    else
        *why = (struct refusal){400, "the head of the request is malformed"};
    return false;
}

/* The handler is asked before a body is read: what is too large is refused at once. */
static bool
expect_body(struct conn *c, struct http_exchange *x, struct refusal *why)
{
    exchange_ask_body_max(x);
    if (x->length > x->body_max) {
        *why = (struct refusal){413, "the body is too large"};
        return false;
    }
    if (x->expects) {
        static char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        uv_buf_t buf = uv_buf_init(go_on, sizeof go_on - 1);
        conn_write(c, &buf, 1);
    }
    return true;
}

static size_t
take_head(struct conn *c, const char *bytes, size_t n)
{
    struct http1 *h = c->http1;
    struct refusal why;
    enum head_progress p = head_scan(&h->scan, bytes, n, &why);
    if (p == HEAD_MORE)
        return 0;
    size_t head_n = h->scan.at;
    if (p == HEAD_DONE)
        h->x = open_exchange(c, bytes, head_n, &why);
    h->scan = (struct head_scan){0};
    if (!h->x || !second_opinion(h, bytes, head_n, &why) ||
        (h->x->has_body && !expect_body(c, h->x, &why))) {
        refuse(c, &why);
        return n;
    }
    if (!h->x->has_body)
        give(c);
    return head_n;
}

/* llhttp takes a bare line feed for the last line of a chunked body; we do not. */
static bool
ends_well(const struct http1 *h, const char *bytes, size_t used)
{
    return !h->x->chunked_in || (used >= 2 ? bytes[used - 2] : h->last) == '\r';
}

static size_t
take_body(struct conn *c, const char *bytes, size_t n)
{
    struct http1 *h = c->http1;
    llhttp_errno_t r = llhttp_execute(&h->parser, bytes, n);
    size_t used = r == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(&h->parser) - bytes) : n;
    if (r == HPE_PAUSED && ends_well(h, bytes, used)) {
        give(c);
        return used;
    }
    if (r == HPE_OK) {
        h->last = bytes[n - 1];
        return n;
    }
    struct refusal why = {400, "the body is not well-formed"};
    if (h->too_large)
        why = (struct refusal){413, "the body is too large"};
    refuse(c, &why);
    return n;
}

/* An Upgrade is not taken up (RFC 9110, 7.8): the request is like any other. */
static int
on_headers_complete(llhttp_t *parser)
{
    struct http1 *h = parser->data;
    parser->upgrade = 0;
    parser->flags &= (uint16_t)~F_UPGRADE;
    h->headers_done = true;
    h->x->keep_alive = h->x->chunked_out && llhttp_should_keep_alive(parser);
    return 0;
}

/* A field behind the body is a trailer, which nobody here has asked for. */
static int
on_field(llhttp_t *parser, const char *at, size_t n)
{
    const struct http1 *h = parser->data;
    (void)at;
    (void)n;
    return h->headers_done ? HPE_USER : 0;
}

static int
on_extension(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    (void)at;
    h->extension_bytes += n;
    return h->extension_bytes > CHUNK_EXTENSION_BYTES_MAX ? HPE_USER : 0;
}

static int
on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct http1 *h = parser->data;
    if (exchange_body_add(h->x, at, n))
        return 0;
    h->too_large = true;
    return HPE_USER;
}

static int
on_message_complete(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

/* ---- out ------------------------------------------------------------------------------------- */

/* Writes head and body in one go; the head is put together where there is room for it. */
static void
write_answer(struct conn *c, const struct http_response *out, enum body_end end, bool close,
             bool with_body)
{
    size_t room = answer_head_room(out);
    char *big = room > WRITE_BYTES ? malloc(room) : NULL;
    char *head = big ? big : c->loop->out;
    if (room > WRITE_BYTES && !big)
        abort();
    size_t n = answer_head(head, out, end, close);
    size_t body_n = with_body && status_has_body(out->status) ? out->body_n : 0;
    union {
        const char *in;
        char *out;
    } body = {.in = out->body}; /* libuv only reads it */
    uv_buf_t bufs[2];
    bufs[0] = uv_buf_init(head, (unsigned)n);
    bufs[1] = uv_buf_init(body.out, (unsigned)body_n);
    if (body_n > 0 && !big && n + body_n <= WRITE_BYTES) {
        memcpy(head + n, out->body, body_n);
        bufs[0].len += body_n;
        body_n = 0;
    }
    conn_write(c, bufs, body_n > 0 ? 2 : 1);
    free(big);
}

static void
answered(struct http_exchange *x, bool close)
{
    struct conn *c = x->conn;
    exchange_free(x);
    if (c->phase >= CONN_LINGER)
        return;
    if (close) {
        conn_finish(c);
        return;
    }
    conn_phase(c, CONN_IDLE);
    if (!c->http1->parsing)
        http1_continue(c);
}

void
http1_answer(struct http_exchange *x, const struct http_response *out)
{
    bool close = out->close || !x->keep_alive || x->conn->home->leaving;
    write_answer(x->conn, out, END_BY_LENGTH, close, !x->head_only);
    answered(x, close);
}

void
http1_stream_begin(struct http_exchange *x)
{
    enum body_end end = x->chunked_out ? END_BY_CHUNKS : END_BY_CLOSE;
    x->answer.body_n = 0;
    x->answer.close |= !x->keep_alive || x->conn->home->leaving || end == END_BY_CLOSE;
    write_answer(x->conn, &x->answer, end, x->answer.close, false);
    if (x->conn->eof)
        conn_close(x->conn);
}

/* Puts a chunk's frame around the n bytes at at, which has room before and behind them; gives where
 * it begins. */
static char *
frame(char *at, size_t *n, bool last)
{
    char size[20];
    char *start = at, *end = at + *n;
    if (*n > 0) {
        size_t size_n = (size_t)snprintf(size, sizeof size, "%zx\r\n", *n);
        start = at - size_n;
        memcpy(start, size, size_n);
        end = stpcpy(end, "\r\n");
    }
    if (last)
        end = stpcpy(end, "0\r\n\r\n");
    *n = (size_t)(end - start);
    return start;
}

/* One write is under way at a time, so that what waits is counted in the exchange's queue. */
void
http1_stream_pump(struct http_exchange *x)
{
    enum { FRAME = 32 };
    struct conn *c = x->conn;
    while (c->phase == CONN_BUSY && conn_waiting(c) == 0) {
        bool ended;
        size_t n = exchange_take(x, c->loop->out + FRAME, WRITE_BYTES - 2 * FRAME, &ended);
        if (x->done && exchange_overrun(x)) {
            conn_close(c); /* cut short, and the peer can see it */
            return;
        }
        if (n == 0 && !ended)
            return;
        char *at = c->loop->out + FRAME;
        if (x->chunked_out)
            at = frame(at, &n, ended);
        uv_buf_t buf = uv_buf_init(at, (unsigned)n);
        if (n > 0 && !x->head_only)
            conn_write(c, &buf, 1);
        if (ended) {
            answered(x, x->answer.close || c->home->leaving);
            return;
        }
    }
    if (x->done && exchange_overrun(x))
        conn_close(c);
}

static void
refuse(struct conn *c, const struct refusal *why)
{
    char body[PROBLEM_BYTES_MAX];
    size_t n = problem_body(body, sizeof body, why);
    struct http_header type = {"content-type", "application/problem+json"};
    struct http_response out = {why->status, &type, 1, body, n, true};
    atomic_fetch_add(&net_counters.refused, 1);
    if (c->http1->x)
        exchange_free(c->http1->x);
    c->http1->x = NULL;
    write_answer(c, &out, END_BY_LENGTH, true, true);
    conn_finish(c);
}

void
http1_timeout(struct conn *c)
{
    refuse(c, &(struct refusal){408, "the request did not come in time"});
}
