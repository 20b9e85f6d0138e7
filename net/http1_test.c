/* HTTP/1.1, byte by byte: what is ambiguous gets one refusal and the end of the connection. */
#include "base/limits.h"
#include "net/head.h"
#include "net/net_test.h"

/* Behind each row stands one more request: it is answered too if, and only if, the row was read as
 * exactly one request. */
#define AFTER "GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
#define ROW(bytes, wanted) {bytes, sizeof bytes - 1, wanted}
#define HOST "Host: a\r\n"
#define POST "POST /echo HTTP/1.1\r\n" HOST

struct row {
    const char *bytes;
    size_t n;
    const char *wanted;
};

static const struct row rows[] = {
    /* Well-formed. */
    ROW("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 200"),
    ROW("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n", "200 200"),
    ROW("GET / HTTP/1.1\r\nHost: \t a:80 \t\r\n\r\n", "200 200"),
    ROW("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "200 200"),
    ROW("\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("GET /a?b=c&d=%20{} HTTP/1.1\r\n" HOST "X: \x80\xff\r\n\r\n", "200 200"),
    ROW("HEAD / HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("OPTIONS / HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("DELETE / HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("GET / HTTP/1.1\r\n" HOST "X:\r\nY: \r\n\r\n", "200 200"),
    ROW(POST "Content-Length: 0\r\n\r\n", "200 200"),
    ROW(POST "Content-Length: 3\r\n\r\nabc", "200 200"),
    ROW(POST "Content-Length: 0003\r\n\r\nabc", "200 200"),
    ROW("GET /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc", "200 200"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "200 200"),
    ROW(POST "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "200 200"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 200"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", "200 200"),
    ROW("GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", "200 200"),
    ROW(POST "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nab", "200 200"),
    ROW("GET http://a/echo HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("GET HTTP://A/?x HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("GET http://a HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    ROW("GET http://a?x=y HTTP/1.1\r\n" HOST "\r\n", "200 200"),
    /* Well-formed, and the last on its connection. */
    ROW("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "200"),
    ROW("GET / HTTP/1.1\r\n" HOST "Connection: foo, Close\r\n\r\n", "200"),
    ROW("GET / HTTP/1.0\r\n\r\n", "200"),
    ROW("GET / HTTP/1.0\r\n" HOST "\r\n", "200"),
    ROW("GET / HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n", "200"),
    ROW("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", "200"),
    /* How long is the body? */
    ROW(POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400"),
    ROW(POST "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", "400"),
    ROW(POST "Content-Length: 3, 3\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: +3\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: -3\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: 0x3\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: 3 0\r\n\r\nabc", "400"),
    ROW(POST "Content-Length: \r\n\r\n", "400"),
    ROW(POST "Content-Length: 99999999999999999999\r\n\r\n", "413"),
    ROW(POST "Content-Length: 100001\r\n\r\n", "413"),
    ROW("POST /nobody HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\na", "413"),
    ROW("POST /nobody HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "413"),
    ROW(POST "Transfer-Encoding: gzip\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: identity\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked;x\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding:\x0b" "chunked\r\n\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding:\r\n\r\n", "400"),
    ROW("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    /* Chunks. */
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n;x\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3;x=\"q\"\r\nabc\r\n0\r\n\r\n", "200 200"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n \r\n\r\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\n\n", "400"),
    ROW(POST "Transfer-Encoding: chunked\r\n\r\n0\r\n\n", "400"),
    /* Whose is it? */
    ROW("GET / HTTP/1.1\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400"),
    ROW("GET http://b/ HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET http://a:80/ HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET http://u@a/ HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET http:///x HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET ftp://a/ HTTP/1.1\r\n" HOST "\r\n", "400"),
    /* Lines. */
    ROW("GET / HTTP/1.1\nHost: a\n\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\r\n\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\nHost: a\r\n\rX\r\n", "400"),
    ROW("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "400"),
    ROW("\nGET / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X:\r\n a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST " \r\n\r\n", "400"),
    /* Header fields. */
    ROW("GET / HTTP/1.1\r\n" HOST "X : a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X\t: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X y: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X(y): a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X\xc3\xa4: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "nocolon\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X\0: a\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "X: a\x0b\r\n\r\n", "400"),
    ROW("GET / HTTP/1.1\r\n" HOST "Expect: 200-ok\r\n\r\n", "417"),
    /* The request line. */
    ROW("GET /\r\n", "400"),
    ROW("GET / \r\n" HOST "\r\n", "400"),
    ROW("GET  / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET /  HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET\t/ HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW(" GET / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/1.1 \r\n" HOST "\r\n", "400"),
    ROW("GET / http/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/1.10\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/11\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/+1.1\r\n" HOST "\r\n", "400"),
    ROW("GET / HTTP/2.0\r\n" HOST "\r\n", "505"),
    ROW("GET / HTTP/1.2\r\n" HOST "\r\n", "505"),
    ROW("GET / RTSP/1.0\r\n" HOST "\r\n", "400"),
    ROW("GET x HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET * HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("CONNECT a:443 HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("CONNECT /x HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET /a#b HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET /a\x01 HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET /a\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("GET /a\0b HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("G\x80T / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("G{}T / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("FROB / HTTP/1.1\r\n" HOST "\r\n", "501"),
    ROW("get / HTTP/1.1\r\n" HOST "\r\n", "501"),
    ROW("GETX / HTTP/1.1\r\n" HOST "\r\n", "501"),
    ROW("AVERYLONGMETHODNAMETHATNOBODYKNOWS / HTTP/1.1\r\n" HOST "\r\n", "400"),
    ROW("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "505"),
    ROW("\0", "400"),
    ROW("\x16\x03\x01\x02", "400"),
};

enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const char *
outcome(struct world *w, const struct text *heard)
{
    return statuses(w->arena, heard);
}

static void
complain_of_row(const struct row *row, const char *got, const char *how)
{
    char place[200];
    snprintf(place, sizeof place, "%s %.150s", how, row->bytes);
    test_check_text(place, 0, "statuses", got, row->wanted);
}

TEST(each_row_is_read_as_one_request_or_refused_for_good)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < N_ROWS; i++) {
        struct text all = text_in(w.arena);
        text_add_n(&all, rows[i].bytes, rows[i].n);
        text_add(&all, AFTER);
        struct text heard = converse(&w, all.bytes, all.n);
        complain_of_row(&rows[i], outcome(&w, &heard), "whole");
    }
    world_end(&w);
}

TEST(each_row_means_the_same_byte_by_byte)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < N_ROWS; i++) {
        int fd = dial(&w);
        for (size_t j = 0; j < rows[i].n; j++) {
            say_n(fd, rows[i].bytes + j, 1);
            usleep(20); /* so that most bytes are read alone */
        }
        say(fd, AFTER);
        struct text heard = hear_all(w.arena, fd);
        close(fd);
        complain_of_row(&rows[i], outcome(&w, &heard), "bytes");
    }
    world_end(&w);
}

TEST(each_row_means_the_same_wherever_it_is_cut_in_two)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < N_ROWS; i++) {
        for (size_t cut = 1; cut < rows[i].n; cut += 3) {
            int fd = dial(&w);
            say_n(fd, rows[i].bytes, cut);
            sched_yield();
            say_n(fd, rows[i].bytes + cut, rows[i].n - cut);
            say(fd, AFTER);
            struct text heard = hear_all(w.arena, fd);
            close(fd);
            complain_of_row(&rows[i], outcome(&w, &heard), "cut");
        }
    }
    world_end(&w);
}

/* The scanner alone, where the split is certain. */
TEST(the_scanner_comes_to_the_same_end_byte_by_byte)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        struct head_scan whole = {0}, bytes = {0};
        struct refusal why[2] = {{0}};
        enum head_progress a = head_scan(&whole, rows[i].bytes, rows[i].n, &why[0]);
        enum head_progress b = HEAD_MORE;
        for (size_t n = 1; n <= rows[i].n && b == HEAD_MORE; n++) {
            char *copy = malloc(n); /* exactly so long: a sanitizer sees what reads beyond */
            memcpy(copy, rows[i].bytes, n);
            b = head_scan(&bytes, copy, n, &why[1]);
            free(copy);
        }
        check_int(b, a);
        check_int(why[1].status, why[0].status);
        if (a == HEAD_DONE)
            check_int(bytes.at, whole.at);
    }
}

TEST(a_refusal_is_a_problem_document_and_says_close)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = converse(&w, "GET /\r\n", 7);
    check(strstr(t.bytes, "HTTP/1.1 400 Bad Request\r\n") == t.bytes);
    check(strstr(t.bytes, "content-type: application/problem+json\r\n"));
    check(strstr(t.bytes, "connection: close\r\n"));
    check(strstr(t.bytes, "\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
                          "\"code\":\"malformed_request\",\"detail\":\""));
    world_end(&w);
}

TEST(what_the_handler_sees_is_what_was_said)
{
    static const struct {
        const char *bytes, *body;
    } cases[] = {
        {"GET /a/b?c=d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /a/b?c=d|"},
        {"GET /a? HTTP/1.0\r\n\r\n", "GET /a?|"},
        {"GET http://a/x?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /x?y|"},
        {"GET http://a?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /?y|"},
        {"PUT /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
         "PUT /p?|hello"},
        {"POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
         "2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
         "POST /p?|hello"},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text t = converse(&w, cases[i].bytes, strlen(cases[i].bytes));
        const char *body = strstr(t.bytes, "\r\n\r\n");
        check_text(body ? body + 4 : "", cases[i].body);
    }
    world_end(&w);
}

TEST(pipelined_requests_are_answered_in_order)
{
    enum { N = 50 };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text all = text_in(w.arena);
    for (int i = 0; i < N; i++)
        text_printf(&all, "POST /%s?%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d",
                    i % 3 == 1 ? "thread" : "echo", i, i);
    text_add(&all, AFTER);
    struct text t = converse(&w, all.bytes, all.n);
    const char *at = t.bytes;
    for (int i = 0; i < N && at; i++)
        at = strstr(at, arena_printf(w.arena, "?%d|%02dHTTP/1.1", i, i));
    check(at != NULL);
    check_int(count_of(&t, "HTTP/1.1 200 OK"), N + 1);
    world_end(&w);
}

TEST(a_peer_that_does_not_read_its_answers_is_not_read_either)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    for (int i = 0; i < 8; i++)
        say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    say(fd, AFTER);
    usleep(50000);
    check(atomic_load(&w.seen) < 4); /* two fit into the kernel's buffers, but never all */
    struct text t = hear_all(w.arena, fd);
    close(fd);
    check_int(count_of(&t, "HTTP/1.1 200 OK"), 9);
    check(t.n > 8 * (size_t)BIG_BYTES);
    world_end(&w);
}

TEST(a_head_answer_has_the_length_but_no_body)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    static const char ask[] = "HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct text t = converse(&w, ask, sizeof ask - 1);
    check(strstr(t.bytes, "content-length: 12\r\n"));
    check(strstr(t.bytes, "\r\n\r\n") + 4 == t.bytes + t.n);
    check(strstr(t.bytes, "\r\nserver: souk\r\n"));
    check(strstr(t.bytes, "\r\ndate: "));
    world_end(&w);
}

TEST(a_peer_that_expects_100_continue_gets_it_before_the_body)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n"
            "Connection: close\r\n\r\n");
    struct text t = text_in(w.arena);
    check(hear_until(&t, fd, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(fd, "ok");
    check(hear_until(&t, fd, "POST /echo?|ok"));
    close(fd);

    fd = dial(&w);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n");
    t = hear_all(w.arena, fd);
    check_text(statuses(w.arena, &t), "413");
    close(fd);
    world_end(&w);
}

TEST(bounds_are_kept_exactly)
{
    static const struct {
        const char *what;
        int n;
        const char *wanted;
    } cases[] = {
        {"target", TARGET_BYTES_MAX, "200 200"},
        {"target", TARGET_BYTES_MAX + 1, "414"},
        {"fields", HEADERS_MAX - 1, "200 200"}, /* Host is one */
        {"fields", HEADERS_MAX, "431"},
        {"bytes", HEADER_BYTES_MAX, "200 200"},
        {"bytes", HEADER_BYTES_MAX + 1, "431"},
        {"body", TEST_BODY_MAX, "200 200"},
        {"body", TEST_BODY_MAX + 1, "413"},
        {"chunked", TEST_BODY_MAX, "200 200"},
        {"chunked", TEST_BODY_MAX + 1, "413"},
        {"extension", 4000, "200 200"},
        {"extension", 5000, "400"},
    };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    char *fill = arena_alloc(w.arena, 200000);
    memset(fill, 'x', 199999);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text t = text_in(w.arena);
        const char *what = cases[i].what;
        int n = cases[i].n;
        if (strcmp(what, "target") == 0) {
            text_printf(&t, "GET /%.*s HTTP/1.1\r\n" HOST "\r\n", n - 1, fill);
        } else if (strcmp(what, "fields") == 0) {
            text_add(&t, "GET / HTTP/1.1\r\n" HOST);
            for (int j = 0; j < n; j++)
                text_printf(&t, "X%d: y\r\n", j);
            text_add(&t, "\r\n");
        } else if (strcmp(what, "bytes") == 0) {
            text_printf(&t, "GET / HTTP/1.1\r\n" HOST "X: %.*s\r\n\r\n", n - 16, fill);
        } else if (strcmp(what, "body") == 0) {
            text_printf(&t, POST "Content-Length: %d\r\n\r\n%.*s", n, n, fill);
        } else if (strcmp(what, "chunked") == 0) {
            text_printf(&t, POST "Transfer-Encoding: chunked\r\n\r\n%x\r\n%.*s\r\n0\r\n\r\n", n, n,
                        fill);
        } else {
            text_printf(&t, POST "Transfer-Encoding: chunked\r\n\r\n1;%.*s\r\nx\r\n0\r\n\r\n", n,
                        fill);
        }
        text_add(&t, AFTER);
        struct text heard = converse(&w, t.bytes, t.n);
        test_check_text(what, n, "statuses", statuses(w.arena, &heard), cases[i].wanted);
    }
    world_end(&w);
}

TEST(a_peer_that_has_ended_its_side_still_gets_its_answers)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(one_is_held, &w);
    shutdown(fd, SHUT_WR);
    usleep(2000);
    release_held(&w);
    struct text t = hear_all(w.arena, fd);
    check_text(statuses(w.arena, &t), "200 200");
    close(fd);
    world_end(&w);
}

TEST(a_live_stream_is_chunked_or_ends_with_the_connection)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    static const char new[] = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n" AFTER;
    struct text t = converse(&w, new, sizeof new - 1);
    check(strstr(t.bytes, "transfer-encoding: chunked\r\n"));
    check_int(count_of(&t, "data: one\n\n"), 3);
    check(strstr(t.bytes, "\r\n0\r\n\r\nHTTP/1.1 200"));

    static const char old[] = "GET /stream HTTP/1.0\r\n\r\n";
    t = converse(&w, old, sizeof old - 1);
    check(!strstr(t.bytes, "transfer-encoding"));
    check(strstr(t.bytes, "\r\n\r\ndata: one\n\ndata: one\n\ndata: one\n\n"));

    static const char head[] = "HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n" AFTER;
    t = converse(&w, head, sizeof head - 1);
    check_int(count_of(&t, "data: one"), 0);
    check_text(statuses(w.arena, &t), "200 200");
    world_end(&w);
}
