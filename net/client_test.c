/* The client: what its status says about what the peer may have done. */
#include "net/net_test.h"

/* A server that reads once, answers the text, and closes. */
struct rude {
    int listener, port;
    const char *says;
    pthread_t thread;
};

static void *
be_rude(void *arg)
{
    struct rude *r = arg;
    char some[4096];
    int fd = accept(r->listener, NULL, NULL);
    if (recv(fd, some, sizeof some, 0) > 0)
        say(fd, r->says);
    close(fd);
    return NULL;
}

static void
rude_begin(struct rude *r, const char *says)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t n = sizeof at;
    r->says = says;
    r->listener = socket(AF_INET, SOCK_STREAM, 0);
    check_int(bind(r->listener, (const struct sockaddr *)&at, sizeof at), 0);
    check_int(listen(r->listener, 8), 0);
    getsockname(r->listener, (struct sockaddr *)&at, &n);
    r->port = ntohs(at.sin_port);
    pthread_create(&r->thread, NULL, be_rude, r);
}

static void
rude_end(struct rude *r)
{
    pthread_join(r->thread, NULL);
    close(r->listener);
}

TEST(a_fetch_brings_status_headers_and_body)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct http_header headers[] = {{"x-empty", ""}, {"x-one", "two"}};
    struct http_fetch in = {
        .method = "PUT",
        .url = arena_printf(w.arena, "http://127.0.0.1:%d/a/../b?c=d", w.port),
        .headers = headers,
        .n_headers = 2,
        .body = "hello",
        .body_n = 5,
        .timeout_us = WAIT_SECONDS * SECOND_US,
    };
    struct http_answer out;
    const char *why = "";
    check_int(http_fetch(w.arena, &in, &out, &why), OK);
    check_text(why, "");
    check_int(out.status, 200);
    check_text(out.body, "PUT /a/../b?c=d|hello");
    check_int(out.body_n, 21);
    bool typed = false;
    for (size_t i = 0; i < out.n_headers; i++)
        typed |= strcmp(out.headers[i].name, "content-type") == 0 &&
                 strcmp(out.headers[i].value, "text/plain") == 0;
    check(typed);
    world_end(&w);
}

TEST(methods_go_out_as_given)
{
    static const struct {
        const char *method, *body, *answer;
    } cases[] = {
        {NULL, "", "GET /echo?|"},          {"GET", "", "GET /echo?|"},
        {"POST", "", "POST /echo?|"},       {"POST", "b", "POST /echo?|b"},
        {"DELETE", "", "DELETE /echo?|"},   {"PATCH", "{}", "PATCH /echo?|{}"},
        {"OPTIONS", "", "OPTIONS /echo?|"}, {"HEAD", "", ""},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_fetch in = {
            .method = cases[i].method,
            .url = arena_printf(w.arena, "http://127.0.0.1:%d/echo", w.port),
            .body = cases[i].body,
            .body_n = strlen(cases[i].body),
        };
        struct http_answer out = {0};
        const char *why = "";
        check_int(http_fetch(w.arena, &in, &out, &why), OK);
        check_int(out.status, 200);
        check_text(out.body, cases[i].answer);
    }
    world_end(&w);
}

TEST(the_status_tells_whether_the_peer_may_have_acted)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct http_answer out;
    const char *why;
    struct http_fetch in = {.timeout_us = WAIT_SECONDS * SECOND_US};

    in.url = "http://127.0.0.1:1/";
    check_int(http_fetch(w.arena, &in, &out, &why), UNAVAILABLE);
    in.url = "http://name.invalid/";
    check_int(http_fetch(w.arena, &in, &out, &why), UNAVAILABLE);
    in.url = "gopher://127.0.0.1/";
    check_int(http_fetch(w.arena, &in, &out, &why), INVALID_ARGUMENT);
    in.url = arena_printf(w.arena, "https://127.0.0.1:%d/", w.port); /* which speaks no TLS */
    check_int(http_fetch(w.arena, &in, &out, &why), UNAVAILABLE);

    in.url = arena_printf(w.arena, "http://127.0.0.1:%d/hold", w.port);
    in.timeout_us = 100 * MILLISECOND_US;
    check_int(http_fetch(w.arena, &in, &out, &why), DEADLINE_EXCEEDED);
    in.timeout_us = WAIT_SECONDS * SECOND_US;

    static const char *const breaks[] = {"", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
                                         "HTTP/1.1 200 OK\r\ncont", "nonsense\r\n\r\n"};
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        struct rude r;
        rude_begin(&r, breaks[i]);
        in.url = arena_printf(w.arena, "http://127.0.0.1:%d/", r.port);
        check_int(http_fetch(w.arena, &in, &out, &why), UNKNOWN);
        rude_end(&r);
    }
    world_end(&w);
}

TEST(an_answer_that_is_too_large_is_not_taken)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct http_fetch in = {
        .url = arena_printf(w.arena, "http://127.0.0.1:%d/big", w.port),
        .answer_max = BIG_BYTES - 1,
    };
    struct http_answer out;
    const char *why;
    check_int(http_fetch(w.arena, &in, &out, &why), UNKNOWN);
    check_text(why, "the answer is larger than 8388607 bytes");
    in.answer_max = BIG_BYTES;
    check_int(http_fetch(w.arena, &in, &out, &why), OK);
    check_int(out.body_n, BIG_BYTES);
    world_end(&w);
}

TEST(a_redirect_is_an_answer_and_a_100_is_none)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct rude r;
    rude_begin(&r, "HTTP/1.1 100 Continue\r\nx: y\r\n\r\n"
                   "HTTP/1.1 302 Found\r\nLocation:  /x \r\ncontent-length: 0\r\n\r\n");
    struct http_fetch in = {.url = arena_printf(w.arena, "http://127.0.0.1:%d/", r.port)};
    struct http_answer out;
    const char *why;
    check_int(http_fetch(w.arena, &in, &out, &why), OK);
    check_int(out.status, 302);
    check_int(out.n_headers, 2);
    check_text(out.headers[0].name, "location");
    check_text(out.headers[0].value, "/x");
    rude_end(&r);
    world_end(&w);
}

TEST(a_line_break_in_a_header_is_refused)
{
    struct arena *a = arena_new();
    struct http_header bad = {"x", "a\r\nhost: b"};
    struct http_fetch in = {.url = "http://127.0.0.1:1/", .headers = &bad, .n_headers = 1};
    struct http_answer out;
    const char *why;
    check_int(http_fetch(a, &in, &out, &why), INVALID_ARGUMENT);
    arena_free(a);
}

TEST(a_unix_socket_stands_for_the_host)
{
    struct world w;
    char path[100], where[110];
    snprintf(path, sizeof path, "%s/souk.sock", test_dir());
    snprintf(where, sizeof where, "unix:%s", path);
    world_begin(&w, (struct http_server_options){.listen = where});
    struct http_fetch in = {.url = "http://souk/echo", .unix_socket = path};
    struct http_answer out;
    const char *why;
    check_int(http_fetch(w.arena, &in, &out, &why), OK);
    check_text(out.body, "GET /echo?|");
    in.unix_socket = "/nowhere.sock";
    check_int(http_fetch(w.arena, &in, &out, &why), UNAVAILABLE);
    world_end(&w);
}
