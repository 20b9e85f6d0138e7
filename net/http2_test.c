/* HTTP/2 with peers that speak it, if not always well: nghttp2's client. */
#include <nghttp2/nghttp2.h>

#include "base/limits.h"
#include "net/tls_test.h"

enum { STREAMS_MAX = 256 };

/* ---- a client -------------------------------------------------------------------------------- */

struct stream {
    int status, continues;
    size_t body_n;
    char body[256]; /* its beginning */
    bool closed;
    uint32_t error;
    const char *to_say;
    size_t to_say_n;
    bool says_more; /* it never ends */
};

struct client {
    int fd;
    SSL *ssl;
    nghttp2_session *session;
    struct stream streams[STREAMS_MAX]; /* by (id - 1) / 2 */
    int n_closed;
    bool gone_away, ended;
    uint32_t goaway_error;
};

static struct stream *
stream_of(struct client *cl, int32_t id)
{
    return &cl->streams[(id - 1) / 2 % STREAMS_MAX];
}

static ssize_t
on_send(nghttp2_session *session, const uint8_t *bytes, size_t n, int flags, void *arg)
{
    struct client *cl = arg;
    (void)session;
    (void)flags;
    if (cl->ssl)
        SSL_write(cl->ssl, bytes, (int)n);
    else
        say_n(cl->fd, (const char *)bytes, n);
    return (ssize_t)n;
}

static int /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
          const uint8_t *value, size_t value_n, uint8_t flags, void *arg)
{
    (void)session;
    (void)flags;
    (void)value_n;
    struct stream *st = stream_of(arg, frame->hd.stream_id);
    if (name_n == 7 && memcmp(name, ":status", 7) == 0) {
        int status = atoi((const char *)value);
        if (status == 100)
            st->continues++;
        else
            st->status = status;
    }
    return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
        void *arg)
{
    (void)session;
    (void)flags;
    struct stream *st = stream_of(arg, id);
    for (size_t i = 0; i < n && st->body_n + i < sizeof st->body - 1; i++)
        st->body[st->body_n + i] = (char)bytes[i];
    st->body_n += n;
    return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
    (void)session;
    struct client *cl = arg;
    struct stream *st = stream_of(cl, id);
    st->closed = true;
    st->error = error;
    cl->n_closed++;
    return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct client *cl = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        cl->gone_away = true;
        cl->goaway_error = frame->goaway.error_code;
    }
    return 0;
}

/* A client whose streams may be given this much at first; ssl may be NULL. */
static struct client *
client_new(const struct world *w, SSL *ssl, uint32_t window)
{
    struct client *cl = calloc(1, sizeof *cl);
    cl->ssl = ssl;
    cl->fd = ssl ? SSL_get_fd(ssl) : dial(w);
    nghttp2_session_callbacks *cb;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_option *option;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_http_messaging(option, 1); /* malformed requests may be said too */
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
    nghttp2_session_client_new2(&cl->session, cb, cl, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cb);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    nghttp2_submit_settings(cl->session, 0, settings, 1);
    return cl;
}

static void
client_free(struct client *cl)
{
    nghttp2_session_del(cl->session);
    if (cl->ssl)
        hang_up_tls(cl->ssl);
    else
        close(cl->fd);
    free(cl);
}

static ssize_t /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
read_said(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)id;
    (void)arg;
    struct stream *st = source->ptr;
    size_t n = st->to_say_n < room ? st->to_say_n : room;
    if (n > 0)
        memcpy(buf, st->to_say, n);
    st->to_say += n;
    st->to_say_n -= n;
    if (st->to_say_n == 0 && st->says_more)
        return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
    if (st->to_say_n == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

/* Fields as text: "name: value\n…"; those of every request are put before, unless replaced by a
 * leading "!". */
static int32_t
ask(struct client *cl, const char *fields, const char *body, size_t body_n, bool more)
{
    static char copy[1 << 18];
    nghttp2_nv nv[512];
    size_t n = 0;
    const char *common = fields[0] == '!' ? "" : ":scheme: http\n:authority: a\n";
    snprintf(copy, sizeof copy, "%s%s", common, fields[0] == '!' ? fields + 1 : fields);
    for (char *at = copy, *next; *at && n < 512; at = next) {
        next = strchr(at, '\n');
        *next++ = '\0';
        char *value = strstr(at + 1, ": ");
        nv[n++] = (nghttp2_nv){(uint8_t *)at, (uint8_t *)value + 2, (size_t)(value - at),
                               strlen(value + 2), NGHTTP2_NV_FLAG_NONE};
    }
    struct stream *st = stream_of(cl, (int32_t)nghttp2_session_get_next_stream_id(cl->session));
    *st = (struct stream){.to_say = body, .to_say_n = body_n, .says_more = more};
    nghttp2_data_provider said = {.source.ptr = st, .read_callback = read_said};
    return nghttp2_submit_request(cl->session, NULL, nv, n, body || more ? &said : NULL, NULL);
}

static int32_t
get(struct client *cl, const char *path)
{
    char fields[200];
    snprintf(fields, sizeof fields, ":method: GET\n:path: %s\n", path);
    return ask(cl, fields, NULL, 0, false);
}

/* One turn of sending and receiving.  False at the end. */
static bool
turn(struct client *cl)
{
    static char some[65536];
    nghttp2_session_send(cl->session);
    ssize_t n = cl->ssl ? SSL_read(cl->ssl, some, sizeof some) : recv(cl->fd, some, sizeof some, 0);
    if (n <= 0) {
        cl->ended = true;
        return false;
    }
    nghttp2_session_mem_recv(cl->session, (const uint8_t *)some, (size_t)n);
    nghttp2_session_send(cl->session);
    return true;
}

static void
until_closed(struct client *cl, int n)
{
    while (cl->n_closed < n && turn(cl))
        ;
    check_int(cl->n_closed, n);
}

static void
until_ended(struct client *cl)
{
    while (turn(cl))
        ;
}

/* ---- well-behaved ---------------------------------------------------------------------------- */

TEST(requests_are_answered_on_their_streams)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    int32_t ids[6];
    ids[0] = get(cl, "/echo?x=y");
    ids[1] = ask(cl, ":method: POST\n:path: /thread\n", "hello", 5, false);
    ids[2] = ask(cl, ":method: HEAD\n:path: /echo\n", NULL, 0, false);
    ids[3] = ask(cl, ":method: PUT\n:path: /p\nhost: a\ncontent-length: 2\n", "ok", 2, false);
    ids[4] = ask(cl, ":method: GET\n:path: /header?cookie\ncookie: a=b\nx: y\ncookie: c=d\n", NULL,
                 0, false);
    ids[5] = ask(cl, ":method: POST\n:path: /p\nexpect: 100-continue\n", "go", 2, false);
    until_closed(cl, 6);
    for (int i = 0; i < 6; i++)
        check_int(stream_of(cl, ids[i])->status, 200);
    check_text(stream_of(cl, ids[0])->body, "GET /echo?x=y|");
    check_text(stream_of(cl, ids[1])->body, "POST /thread?|hello");
    check_text(stream_of(cl, ids[2])->body, "");
    check_text(stream_of(cl, ids[3])->body, "PUT /p?|ok");
    check_text(stream_of(cl, ids[4])->body, "a=b; c=d");
    check_int(stream_of(cl, ids[5])->continues, 1);
    client_free(cl);
    world_end(&w);
}

TEST(a_hundred_streams_at_once_and_large_answers_flow)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    for (int i = 0; i < 97; i++)
        get(cl, i % 2 ? "/thread" : "/echo");
    int32_t big = get(cl, "/big"), stream = get(cl, "/stream");
    char *body = calloc(1, TEST_BODY_MAX);
    memset(body, 'b', TEST_BODY_MAX);
    int32_t post = ask(cl, ":method: POST\n:path: /echo\n", body, TEST_BODY_MAX, false);
    until_closed(cl, 100);
    check_int(stream_of(cl, big)->body_n, BIG_BYTES);
    check_text(stream_of(cl, stream)->body, "data: one\n\ndata: one\n\ndata: one\n\n");
    check_int(stream_of(cl, post)->body_n, TEST_BODY_MAX + strlen("POST /echo?|"));
    free(body);
    client_free(cl);
    world_end(&w);
}

TEST(tls_carries_http_2_by_alpn)
{
    struct world w;
    char paths[2][100];
    world_begin_tls(&w, paths);
    struct client *cl = client_new(&w, dial_tls(&w, 0, "\x02h2"), 65535);
    int32_t a = get(cl, "/big"), b = get(cl, "/stream"), c = get(cl, "/thread");
    int32_t d = get(cl, "/who");
    until_closed(cl, 4);
    check_text(stream_of(cl, d)->body, "127.0.0.1 1 1 20 a");
    check_int(stream_of(cl, a)->body_n, BIG_BYTES);
    check_int(stream_of(cl, b)->body_n, 33);
    check_text(stream_of(cl, c)->body, "GET /thread?|");
    client_free(cl);
    world_end(&w);
}

TEST(a_drain_says_goaway_and_lets_streams_end)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    struct client *idle = client_new(&w, NULL, 65535);
    get(idle, "/echo");
    until_closed(idle, 1);
    int32_t id = get(cl, "/hold");
    nghttp2_session_send(cl->session);
    wait_until(one_is_held, &w);
    http_server_drain(w.server, 100 * MILLISECOND_US); /* too short for it */
    until_ended(idle);
    check(idle->gone_away);
    client_free(idle);
    until_ended(cl);
    check_int(stream_of(cl, id)->status, 0);
    client_free(cl);
    world_end(&w);
}

static void *
release_later(void *arg)
{
    usleep(20000);
    release_held(arg);
    return NULL;
}

TEST(a_drain_with_time_waits_for_streams)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    int32_t id = get(cl, "/hold");
    nghttp2_session_send(cl->session);
    wait_until(one_is_held, &w);
    pthread_t thread;
    pthread_create(&thread, NULL, release_later, &w);
    http_server_drain(w.server, 5 * SECOND_US);
    pthread_join(thread, NULL);
    until_ended(cl);
    check(cl->gone_away);
    check_int(stream_of(cl, id)->status, 200);
    check_text(stream_of(cl, id)->body, "held");
    client_free(cl);
    world_end(&w);
}

/* ---- refused --------------------------------------------------------------------------------- */

/* wanted 0: the stream is reset without an answer. */
TEST(malformed_requests_are_refused)
{
    static const struct {
        const char *fields;
        int wanted;
    } rows[] = {
        {"!:method: GET\n:scheme: http\n:path: /\n", 0}, /* nobody's */
        {"!:method: GET\n:scheme: http\n:path: /\nhost: a\n", 200},
        {"!:method: GET\n:scheme: http\n:path: /\n:authority: a b\n", 0},
        {"!:method: GET\n:scheme: http\n:path: /\n:authority: a,b\n", 400},
        {":method: GET\n:path: /\nhost: a\n", 200},
        {":method: GET\n:path: /\nhost: A\n", 200},
        {":method: GET\n:path: /\nhost: b\n", 400},
        {":method: GET\n:path: /\nhost: a\nhost: a\n", 0},
        {":method: GET\n:path: *\n", 0},
        {":method: OPTIONS\n:path: *\n", 400},
        {":method: GET\n:path: x\n", 0},
        {":method: GET\n:path: /a#b\n", 400},
        {":method: GET\n:path: /a b\n", 0},
        {":method: GET\n:path: /\xc3\xa4\n", 400},
        {":method: GET\n", 0},
        {":path: /\n", 0},
        {":method: GET\n:method: GET\n:path: /\n", 0},
        {":method: G T\n:path: /\n", 0},
        {"!:method: CONNECT\n:authority: a:443\n", 400},
        {":method: GET\n:path: /\n:new: x\n", 0},
        {":method: GET\nx: y\n:path: /\n", 0},
        {":method: GET\n:path: /\nconnection: close\n", 0},
        {":method: GET\n:path: /\ntransfer-encoding: chunked\n", 0},
        {":method: GET\n:path: /\nupgrade: h2c\n", 0},
        {":method: GET\n:path: /\nkeep-alive: 1\n", 0},
        {":method: GET\n:path: /\nte: gzip\n", 0},
        {":method: GET\n:path: /\nte: trailers\n", 200},
        {":method: GET\n:path: /\nx y: z\n", 400},
        {":method: GET\n:path: /\nx: \x01\n", 400},
        {":method: GET\n:path: /\nx: a\rb\n", 400},
        {":method: GET\n:path: /\ncontent-length: 5\n", 0},
        {":method: GET\n:path: /\ncontent-length: 0\ncontent-length: 0\n", 0},
        {":method: GET\n:path: /\ncontent-length: -1\n", 0},
        {":method: GET\n:path: /\nexpect: x\n", 417},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct client *cl = client_new(&w, NULL, 65535);
        int32_t id = ask(cl, rows[i].fields, NULL, 0, false);
        until_closed(cl, 1);
        char place[200];
        snprintf(place, sizeof place, "%.150s", rows[i].fields);
        test_check_int(place, 0, "status", stream_of(cl, id)->status, rows[i].wanted);
        check(stream_of(cl, id)->closed);
        client_free(cl);
    }
    world_end(&w);
}

TEST(what_is_too_large_is_refused_and_the_peer_told_to_stop)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    char *fill = calloc(1, 1 << 18);
    memset(fill, 'x', (1 << 18) - 1);
    struct text long_path = text_in(w.arena), many = text_in(w.arena), large = text_in(w.arena);
    text_printf(&long_path, ":method: GET\n:path: /%.*s\n", TARGET_BYTES_MAX, fill);
    text_printf(&many, ":method: GET\n:path: /\n");
    for (int i = 0; i <= HEADERS_MAX; i++)
        text_printf(&many, "x%d: y\n", i);
    text_printf(&large, ":method: GET\n:path: /\nx: %.*s\n", HEADER_BYTES_MAX + TARGET_BYTES_MAX,
                fill);
    int32_t ids[5];
    ids[0] = ask(cl, long_path.bytes, NULL, 0, false);
    ids[1] = ask(cl, many.bytes, NULL, 0, false);
    ids[2] = ask(cl, large.bytes, NULL, 0, false);
    ids[3] = ask(cl, ":method: POST\n:path: /echo\ncontent-length: 100001\n", NULL, 0, true);
    ids[4] = ask(cl, ":method: POST\n:path: /echo\n", fill, TEST_BODY_MAX + 1, true);
    until_closed(cl, 5);
    static const int wanted[] = {414, 431, 431, 413, 413};
    for (int i = 0; i < 5; i++) {
        check_int(stream_of(cl, ids[i])->status, wanted[i]);
        check_int(stream_of(cl, ids[i])->error, NGHTTP2_NO_ERROR);
    }
    check(strstr(stream_of(cl, ids[4])->body, "\"code\":\"body_too_large\""));
    free(fill);
    client_free(cl);
    world_end(&w);
}

/* ---- slow ------------------------------------------------------------------------------------ */

TEST(slow_streams_and_idle_connections_time_out)
{
    struct world w;
    world_begin(&w, (struct http_server_options){.idle_timeout_us = 100 * MILLISECOND_US,
                                                 .request_timeout_us = 200 * MILLISECOND_US});
    struct client *cl = client_new(&w, NULL, 0);
    int32_t unread = get(cl, "/echo"); /* its window never opens */
    int32_t unsaid = ask(cl, ":method: POST\n:path: /echo\n", "ab", 2, true);
    until_closed(cl, 2);
    check_int(stream_of(cl, unread)->status, 200);
    check_int(stream_of(cl, unread)->body_n, 0);
    check_int(stream_of(cl, unread)->error, NGHTTP2_CANCEL);
    check_int(stream_of(cl, unsaid)->status, 408);
    until_ended(cl);
    check(cl->gone_away);
    check_int(cl->goaway_error, NGHTTP2_NO_ERROR);
    client_free(cl);
    world_end(&w);
}

static bool
one_overrun(struct world *w)
{
    return atomic_load(&w->overruns) == 1;
}

TEST(a_stream_whose_reader_is_slow_is_reset)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 1000);
    int32_t id = get(cl, "/endless"), other = get(cl, "/echo");
    nghttp2_session_send(cl->session);
    wait_until(one_overrun, &w);
    until_closed(cl, 2);
    check_int(stream_of(cl, id)->error, NGHTTP2_INTERNAL_ERROR);
    check_text(stream_of(cl, other)->body, "GET /echo?|");
    client_free(cl);
    world_end(&w);
}

TEST(a_stream_that_its_reader_cancels_is_told)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct client *cl = client_new(&w, NULL, 65535);
    int32_t id = get(cl, "/endless");
    while (stream_of(cl, id)->body_n == 0 && turn(cl))
        ;
    nghttp2_submit_rst_stream(cl->session, 0, id, NGHTTP2_CANCEL);
    int32_t other = get(cl, "/echo");
    nghttp2_session_send(cl->session);
    wait_until(no_errands, &w);
    check_int(atomic_load(&w.abandoned) + atomic_load(&w.overruns), 1);
    while (!stream_of(cl, other)->closed && turn(cl))
        ;
    check_text(stream_of(cl, other)->body, "GET /echo?|");
    client_free(cl);
    world_end(&w);
}
