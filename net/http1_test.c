/* HTTP/1.1, byte by byte: what is ambiguous gets one refusal and the end of the connection. */
#include "base/limits.h"
#include "net/head.h"
#include "net/http1_rows.h"
#include "net/net_test.h"

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

/* Each row with a few bytes changed; sanitizers see what goes wrong. */
TEST(random_damage_harms_nobody_else)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    unsigned seed = 7;
    for (int i = 0; i < 20; i++) {
        for (size_t j = 0; j < N_ROWS; j++) {
            char *bytes = arena_copy(w.arena, rows[j].bytes, rows[j].n);
            for (int k = 0; k < 1 + i % 3; k++) {
                seed = seed * 1103515245 + 12345;
                bytes[(seed >> 8) % rows[j].n] = "\r\n :;0a,\0\xff/"[(seed >> 24) % 12];
            }
            int fd = dial(&w);
            say_n(fd, bytes, rows[j].n);
            shutdown(fd, SHUT_WR);
            struct text t = hear_all(w.arena, fd);
            check(!strstr(t.bytes, "timeout"));
            close(fd);
        }
    }
    struct text t = converse(&w, AFTER, sizeof AFTER - 1);
    check_text(statuses(w.arena, &t), "200");
    world_end(&w);
}

TEST(a_refusal_is_a_problem_document_and_says_close)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct text t = converse(&w, "GET /\r\n", 7);
    check(strstr(t.bytes, "HTTP/1.1 400 Bad Request\r\n") == t.bytes);
    check(strstr(t.bytes, "content-type: application/problem+json\r\n"));
    check(strstr(t.bytes, "connection: close\r\n"));
    check(strstr(t.bytes,
                 "\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,"
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
    say(fd,
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n");
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
