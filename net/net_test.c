/* A server's life: listening, clocks, many connections, unix sockets, TLS, drain. */
#include <sys/stat.h>

#include "fiber/fiber.h"
#include "net/net_test.h"
#include "net/tls_test.h"

#define ASK "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"

static const struct http_server_options impatient = {
    .idle_timeout_us = 100 * MILLISECOND_US,
    .request_timeout_us = 200 * MILLISECOND_US,
};

TEST(an_answer_may_come_from_any_thread)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    struct text t = text_in(w.arena);
    for (int i = 0; i < 20; i++) {
        t = text_in(w.arena);
        say(fd, "POST /thread?x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
        check(hear_until(&t, fd, "POST /thread?x|ok"));
    }
    close(fd);
    world_end(&w);
}

static _Atomic int n_posts;
static bool posted_on_loop;

static void
on_post(void *arg)
{
    posted_on_loop = loop_is_mine(arg);
    atomic_fetch_add(&n_posts, 1);
}

static bool
all_posts_ran(struct world *w)
{
    (void)w;
    return atomic_load(&n_posts) == 1000;
}

TEST(posts_run_on_the_loops_thread)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    check(!loop_is_mine(w.loop));
    for (int i = 0; i < 1000; i++)
        loop_post(w.loop, on_post, w.loop);
    wait_until(all_posts_ran, &w);
    check(posted_on_loop);
    world_end(&w);
}

TEST(a_port_that_is_taken_and_a_wrong_address_are_told)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    static const char *const wrong[] = {"here",    "127.0.0.1",       "127.0.0.1:x", "1.2.3:80",
                                        "[::1:80", "127.0.0.1:70000", "unix:"};
    struct http_server *s;
    const char *why = "";
    struct http_server_options o = w.options;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        o.listen = wrong[i];
        check(http_serve(w.loop, &o, w.arena, &s, &why) != OK);
    }
    o.listen = arena_printf(w.arena, "127.0.0.1:%d", w.port);
    check_int(http_serve(w.loop, &o, w.arena, &s, &why), UNAVAILABLE);
    check_text(why, arena_printf(w.arena, "127.0.0.1:%d is in use", w.port));
    world_end(&w);
}

TEST(it_listens_on_version_6_too)
{
    struct world w;
    world_begin(&w, (struct http_server_options){.listen = "[::1]:0"});
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)w.port)};
    at.sin6_addr = in6addr_loopback;
    check_int(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    struct text t = text_in(w.arena);
    say(fd, "GET /who HTTP/1.1\r\nHost: a:1\r\n\r\n");
    check(hear_until(&t, fd, "\r\n\r\n::1 1 0 11 a:1"));
    close(fd);
    world_end(&w);
}

/* ---- clocks ---------------------------------------------------------------------------------- */

TEST(a_connection_that_asks_nothing_is_closed)
{
    struct world w;
    world_begin(&w, impatient);
    struct text t = converse(&w, "", 0);
    check_text(t.bytes, "");
    t = converse(&w, ASK, sizeof ASK - 1);
    check_text(statuses(w.arena, &t), "200");
    world_end(&w);
}

TEST(a_request_that_takes_too_long_is_answered_408)
{
    static const char *const slow[] = {
        "GET /echo HT",
        "GET /echo HTTP/1.1\r\nHost: a\r\nX",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    };
    struct world w;
    world_begin(&w, impatient);
    for (size_t i = 0; i < sizeof slow / sizeof slow[0]; i++) {
        struct text t = converse(&w, slow[i], strlen(slow[i]));
        check_text(statuses(w.arena, &t), "408");
        check(strstr(t.bytes, "\"code\":\"request_timeout\""));
    }
    struct text t = converse(&w, "PRI * HTT", 9);
    check_text(t.bytes, "");
    world_end(&w);
}

TEST(dripping_bytes_does_not_prolong_a_request)
{
    struct world w;
    world_begin(&w, impatient);
    int fd = dial(&w);
    struct pollfd p = {fd, POLLIN, 0};
    say(fd, "GET /echo HTTP/1.1\r\nHost: a\r\nX: ");
    int drips = 0;
    for (; drips < 1000 && poll(&p, 1, 20) == 0; drips++)
        say(fd, "x");
    check(drips < 1000);
    struct text t = hear_all(w.arena, fd);
    check_text(statuses(w.arena, &t), "408");
    close(fd);
    world_end(&w);
}

static bool
nobody_is_connected(struct world *w)
{
    (void)w;
    return net_figures().open_connections == 0;
}

TEST(a_peer_that_does_not_read_is_dropped)
{
    struct world w;
    world_begin(&w, impatient);
    int fd = dial(&w);
    say(fd, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(nobody_is_connected, &w);
    close(fd);
    world_end(&w);
}

static bool
one_overrun(struct world *w)
{
    return atomic_load(&w->overruns) == 1;
}

TEST(a_dropped_request_ends_its_connection_without_an_answer)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    for (int i = 0; i < 3; i++) {
        static const char asks[] = "GET /drop HTTP/1.1\r\nhost: a\r\n\r\n" ASK;
        struct text t = converse(&w, asks, sizeof asks - 1);
        check_int((long long)t.n, 0);
    }
    struct http_answer answer;
    const char *why;
    const struct http_fetch in = {.url = arena_printf(w.arena, "http://127.0.0.1:%d/drop", w.port),
                                  .timeout_us = 5 * SECOND_US};
    check_int(http_fetch(w.arena, &in, &answer, &why), UNKNOWN);
    world_end(&w);
}

TEST(a_stream_whose_reader_is_slow_is_cut_short)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    say(fd, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(one_overrun, &w);
    struct text t = hear_all(w.arena, fd);
    check_text(statuses(w.arena, &t), "200");
    check(!memmem(t.bytes, t.n, "\r\n0\r\n\r\n", 7)); /* the end is not pretended */
    close(fd);
    world_end(&w);
}

TEST(a_stream_whose_reader_has_gone_is_told)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    struct text t = text_in(w.arena);
    say(fd, "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    check(hear_until(&t, fd, "\r\n\r\n"));
    close(fd);
    wait_until(no_errands, &w);
    check_int(atomic_load(&w.abandoned) + atomic_load(&w.overruns), 1);
    world_end(&w);
}

/* ---- many ------------------------------------------------------------------------------------ */

TEST(five_hundred_connect_at_once)
{
    enum { N = 500 };
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    static int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = dial(&w);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++)
            say(fds[i], ASK);
        int ok = 0;
        for (int i = 0; i < N; i++) {
            struct text t = text_in(w.arena);
            ok += hear_until(&t, fds[i], "GET /echo?|");
        }
        check_int(ok, N);
    }
    check(net_figures().open_connections >= N);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    world_end(&w);
}

TEST(beyond_connections_max_new_ones_wait)
{
    struct world w;
    world_begin(&w, (struct http_server_options){.connections_max = 2});
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = dial(&w);
        say(fds[i], ASK);
    }
    struct text t[5];
    for (int i = 0; i < 5; i++)
        t[i] = text_in(w.arena);
    check(hear_until(&t[0], fds[0], "GET /echo?|"));
    check(hear_until(&t[1], fds[1], "GET /echo?|"));
    struct pollfd p = {fds[2], POLLIN, 0};
    check_int(poll(&p, 1, 50), 0);
    for (int i = 2; i < 5; i++) {
        close(fds[i - 2]);
        check(hear_until(&t[i], fds[i], "GET /echo?|"));
    }
    close(fds[3]);
    close(fds[4]);
    world_end(&w);
}

/* ---- drain ----------------------------------------------------------------------------------- */

struct drainer {
    struct world *world;
    int64_t grace_us;
    _Atomic bool done;
};

static void *
run_drain(void *arg)
{
    struct drainer *d = arg;
    http_server_drain(d->world->server, d->grace_us);
    atomic_store(&d->done, true);
    return NULL;
}

TEST(a_drain_lets_what_runs_end_and_closes_the_rest)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int idle = dial(&w), busy = dial(&w);
    struct text t = text_in(w.arena);
    say(idle, ASK);
    check(hear_until(&t, idle, "GET /echo?|"));
    say(busy, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(one_is_held, &w);

    struct drainer d = {.world = &w, .grace_us = HOUR_US};
    pthread_t thread;
    pthread_create(&thread, NULL, run_drain, &d);
    t = hear_all(w.arena, idle);
    check_text(t.bytes, "");
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w.port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    check_int(connect(late, (const struct sockaddr *)&at, sizeof at), -1);
    check(!atomic_load(&d.done));
    release_held(&w);
    t = hear_all(w.arena, busy);
    check_text(statuses(w.arena, &t), "200");
    check(strstr(t.bytes, "connection: close\r\n"));
    close(busy);
    pthread_join(thread, NULL);
    close(idle);
    close(late);
    http_server_drain(w.server, 0); /* a second time there is nothing to do */
    world_end(&w);
}

TEST(a_server_that_leaves_serves_and_says_so)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int known = dial(&w);
    struct text t = text_in(w.arena);
    say(known, ASK);
    check(hear_until(&t, known, "GET /echo?|"));
    check(!strstr(t.bytes, "connection: close\r\n"));
    http_server_leave(w.server);
    int fresh = dial(&w);
    for (int i = 0; i < 2; i++) {
        int fd = i ? fresh : known;
        say(fd, ASK);
        t = hear_all(w.arena, fd);
        check_text(statuses(w.arena, &t), "200");
        check(strstr(t.bytes, "connection: close\r\n"));
        close(fd);
    }
    world_end(&w);
}

TEST(a_drain_ends_with_its_grace)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    int fd = dial(&w);
    say(fd, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until(one_is_held, &w);
    http_server_drain(w.server, 50 * MILLISECOND_US);
    check(http_gone(w.held[0]));
    struct text t = hear_all(w.arena, fd);
    check_text(t.bytes, "");
    close(fd);
    world_end(&w);
}

static void
drain_here(void *arg)
{
    struct drainer *d = arg;
    run_drain(d);
}

TEST(a_fiber_may_drain)
{
    struct world w;
    world_begin(&w, (struct http_server_options){0});
    struct sched *s = sched_new("drain", 4);
    struct drainer d = {.world = &w};
    check(sched_spawn(s, drain_here, &d));
    sched_free(s);
    check(atomic_load(&d.done));
    world_end(&w);
}

/* ---- unix sockets ---------------------------------------------------------------------------- */

static int
dial_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strncpy(at.sun_path, path, sizeof at.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

TEST(a_unix_socket_is_ours_alone_and_goes_with_us)
{
    struct world w;
    char path[100], where[110];
    snprintf(path, sizeof path, "%s/souk.sock", test_dir());
    snprintf(where, sizeof where, "unix:%s", path);
    world_begin(&w, (struct http_server_options){.listen = where});
    struct stat st;
    check_int(stat(path, &st), 0);
    check_int(st.st_mode & 0777, 0600);
    int fd = dial_unix(path);
    struct text t = text_in(w.arena);
    say(fd, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
    check(hear_until(&t, fd, "\r\n\r\nunix 1 0 11 a"));
    close(fd);

    struct http_server *s;
    const char *why;
    check_int(http_serve(w.loop, &w.options, w.arena, &s, &why), UNAVAILABLE);
    check_text(why, arena_printf(w.arena, "%s is in use", path));
    check_int(stat(path, &st), 0);
    world_end(&w);
    check_int(stat(path, &st), -1);
}

TEST(a_socket_file_left_by_the_dead_is_replaced_but_no_other_file)
{
    struct world w;
    const char *dir = test_dir();
    char path[100], where[110];
    snprintf(path, sizeof path, "%s/souk.sock", dir);
    snprintf(where, sizeof where, "unix:%s", path);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    check_int(bind(dead, (const struct sockaddr *)&at, sizeof at), 0);
    close(dead);
    world_begin(&w, (struct http_server_options){.listen = where});
    int fd = dial_unix(path);
    check(fd >= 0);
    close(fd);

    char file[100];
    snprintf(file, sizeof file, "%s/file", dir);
    fclose(fopen(file, "w"));
    struct http_server_options o = w.options;
    o.listen = arena_printf(w.arena, "unix:%s", file);
    struct http_server *s;
    const char *why;
    check_int(http_serve(w.loop, &o, w.arena, &s, &why), UNAVAILABLE);
    check_text(why, arena_printf(w.arena, "%s is there and is no socket", file));
    check_int(access(file, F_OK), 0);
    world_end(&w);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

TEST(tls_1_2_and_1_3_carry_http_1)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct world w;
    char paths[2][100];
    world_begin_tls(&w, paths);
    for (size_t i = 0; i < 2; i++) {
        SSL *ssl = dial_tls(&w, versions[i], "\x08http/1.1");
        check(ssl != NULL);
        static const char ask[] = "GET /big HTTP/1.1\r\nHost: a\r\n\r\n"
                                  "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n"
                                  "GET /thread HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        SSL_write(ssl, ask, sizeof ask - 1);
        struct text t = hear_all_tls(w.arena, ssl);
        check_text(statuses(w.arena, &t), "200 200 200");
        check_int(count_of(&t, "data: one\n\n"), 3);
        check(t.n > BIG_BYTES);
        check_int(SSL_get_shutdown(ssl), SSL_RECEIVED_SHUTDOWN); /* it said goodbye */
        hang_up_tls(ssl);
    }
    world_end(&w);
}

TEST(alpn_chooses_and_refuses)
{
    struct world w;
    char paths[2][100];
    world_begin_tls(&w, paths);
    const unsigned char *name;
    unsigned n;
    SSL *ssl = dial_tls(&w, 0, "\x08http/1.1\x02h2");
    SSL_get0_alpn_selected(ssl, &name, &n);
    check(n == 2 && memcmp(name, "h2", 2) == 0);
    hang_up_tls(ssl);
    check(dial_tls(&w, 0, "\x03spd") == NULL);
    check(dial_tls(&w, TLS1_1_VERSION, NULL) == NULL);
    ssl = dial_tls(&w, 0, NULL); /* without ALPN it is HTTP/1.1 */
    static const char ask[] = "GET /echo HTTP/1.0\r\n\r\n";
    SSL_write(ssl, ask, sizeof ask - 1);
    struct text t = hear_all_tls(w.arena, ssl);
    check_text(statuses(w.arena, &t), "200");
    hang_up_tls(ssl);
    world_end(&w);
}

TEST(what_is_no_tls_is_dropped_and_bad_files_are_told)
{
    struct world w;
    char paths[2][100];
    world_begin_tls(&w, paths);
    struct text t = converse(&w, ASK, sizeof ASK - 1);
    check(!strstr(t.bytes, "HTTP/1.1"));
    struct http_server_options o = w.options;
    o.tls_key = paths[0];
    struct http_server *s;
    const char *why = NULL;
    check_int(http_serve(w.loop, &o, w.arena, &s, &why), INVALID_ARGUMENT);
    check(why != NULL);
    o.tls_key = NULL;
    check_int(http_serve(w.loop, &o, w.arena, &s, &why), INVALID_ARGUMENT);
    world_end(&w);
}
