/*
 * For the tests of net/: a server whose handler does what the path says, and a raw client.
 *
 * /echo      answers "METHOD path?query|body" on the loop's thread
 * /thread    the same from another thread
 * /hold      is answered when the test calls release_held()
 * /big       8 MiB
 * /drop      nothing: the connection is closed
 * /who       says who asks: peer, loopback, TLS, version, authority
 * /header    the header that the query names
 * /stream    three server-sent events from another thread
 * /endless   events until the peer is gone or too slow
 */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "net/net.h"
#include "test/test.h"

enum { TEST_BODY_MAX = 100000, BIG_BYTES = 8 << 20, HELD_MAX = 64, WAIT_SECONDS = 20 };

struct world {
    struct arena *arena;
    struct loop *loop;
    struct http_server *server;
    struct http_server_options options;
    int port;
    pthread_mutex_t lock;
    struct http_exchange *held[HELD_MAX];
    size_t n_held;
    _Atomic int n_threads;
    _Atomic int overruns, abandoned;
    _Atomic int seen; /* requests */
};

struct errand {
    struct world *world;
    struct http_exchange *x;
    const struct http_request *in;
};

static inline void
answer_text(struct http_exchange *x, int status, const char *text, size_t n)
{
    static const struct http_header type = {"content-type", "text/plain"};
    http_respond(x, &(struct http_response){status, &type, 1, text, n, false});
}

static inline void
answer_echo(struct http_exchange *x, const struct http_request *in)
{
    struct text t = text_in(in->arena);
    text_printf(&t, "%s %s?%s|", in->method, in->path, in->query);
    text_add_n(&t, in->body, in->body_n);
    answer_text(x, 200, t.bytes, t.n);
}

static inline void
answer_stream(struct errand *e, bool endless)
{
    static const struct http_header type = {"content-type", "text/event-stream"};
    static const char event[] = "data: one\n\n";
    static char page[8192];
    struct http_exchange *x = e->x;
    http_stream_begin(x, &(struct http_response){.status = 200, .headers = &type, .n_headers = 1});
    if (!endless) {
        for (int i = 0; i < 3; i++)
            http_stream_write(x, event, sizeof event - 1);
        http_stream_end(x);
        return;
    }
    while (http_stream_write(x, page, sizeof page))
        usleep(100);
    atomic_fetch_add(http_gone(x) ? &e->world->abandoned : &e->world->overruns, 1);
    http_stream_end(x);
}

static inline void *
run_errand(void *arg)
{
    struct errand *e = arg;
    struct world *w = e->world;
    if (strcmp(e->in->path, "/thread") == 0)
        answer_echo(e->x, e->in);
    else
        answer_stream(e, strcmp(e->in->path, "/endless") == 0);
    free(e);
    atomic_fetch_sub(&w->n_threads, 1);
    return NULL;
}

static inline void
on_test_request(void *arg, struct http_exchange *x, const struct http_request *in)
{
    struct world *w = arg;
    atomic_fetch_add(&w->seen, 1);
    if (strcmp(in->path, "/hold") == 0) {
        pthread_mutex_lock(&w->lock);
        if (w->n_held == HELD_MAX)
            abort();
        w->held[w->n_held++] = x;
        pthread_mutex_unlock(&w->lock);
    } else if (strcmp(in->path, "/thread") == 0 || strcmp(in->path, "/stream") == 0 ||
               strcmp(in->path, "/endless") == 0) {
        struct errand *e = malloc(sizeof *e);
        *e = (struct errand){w, x, in};
        pthread_t thread;
        atomic_fetch_add(&w->n_threads, 1);
        pthread_create(&thread, NULL, run_errand, e);
        pthread_detach(thread);
    } else if (strcmp(in->path, "/who") == 0) {
        const char *who = arena_printf(in->arena, "%s %d %d %d %s", in->peer, in->loopback, in->tls,
                                       in->version, in->authority);
        answer_text(x, 200, who, strlen(who));
    } else if (strcmp(in->path, "/header") == 0) {
        const char *value = http_header(in, in->query);
        value = value ? value : "(none)";
        answer_text(x, 200, value, strlen(value));
    } else if (strcmp(in->path, "/drop") == 0) {
        http_drop(x);
    } else if (strcmp(in->path, "/big") == 0) {
        answer_text(x, 200, arena_alloc(in->arena, BIG_BYTES), BIG_BYTES);
    } else {
        answer_echo(x, in);
    }
}

static inline size_t
test_body_max(void *arg, const char *method, const char *path)
{
    (void)arg;
    (void)method;
    return strcmp(path, "/nobody") == 0 ? 0 : TEST_BODY_MAX;
}

/* Starts with options, of which listen may be NULL: any port of 127.0.0.1. */
static inline void
world_begin(struct world *w, struct http_server_options options)
{
    memset(w, 0, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    w->arena = arena_new();
    w->loop = loop_new();
    w->options = options;
    if (!w->options.listen)
        w->options.listen = "127.0.0.1:0";
    w->options.on_request = on_test_request;
    w->options.body_max = test_body_max;
    w->options.arg = w;
    const char *why = "";
    enum status st = http_serve(w->loop, &w->options, w->arena, &w->server, &why);
    check_text(why, "");
    if (st)
        abort();
    w->port = http_server_port(w->server);
}

static inline void
wait_until(bool (*holds)(struct world *w), struct world *w)
{
    int64_t until_us = env.mono_us() + WAIT_SECONDS * SECOND_US;
    while (!holds(w) && env.mono_us() < until_us)
        usleep(1000);
    check(holds(w));
}

static inline size_t
n_held(struct world *w)
{
    pthread_mutex_lock(&w->lock);
    size_t n = w->n_held;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static inline bool
one_is_held(struct world *w)
{
    return n_held(w) == 1;
}

static inline bool
no_errands(struct world *w)
{
    return atomic_load(&w->n_threads) == 0;
}

static inline void
release_held(struct world *w)
{
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->n_held; i++)
        answer_text(w->held[i], 200, "held", 4);
    w->n_held = 0;
    pthread_mutex_unlock(&w->lock);
}

static inline void
world_end(struct world *w)
{
    wait_until(no_errands, w);
    release_held(w);
    loop_free(w->loop);
    arena_free(w->arena);
    pthread_mutex_destroy(&w->lock);
}

/* ---- a raw client ---------------------------------------------------------------------------- */

static inline int
dial(const struct world *w)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)w->port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
        perror("connect");
        abort();
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    struct timeval patience = {WAIT_SECONDS, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* The server may have closed already: then the rest is not said. */
static inline void
say_n(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t m = send(fd, bytes, n, MSG_NOSIGNAL);
        if (m <= 0)
            return;
        bytes += m;
        n -= (size_t)m;
    }
}

static inline void
say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

/* All until the server closes; a reset counts as closing.  "…timeout" if it does not close. */
static inline struct text
hear_all(struct arena *a, int fd)
{
    static _Thread_local char some[65536];
    struct text t = text_in(a);
    text_add(&t, "");
    ssize_t n;
    while ((n = recv(fd, some, sizeof some, 0)) > 0)
        text_add_n(&t, some, (size_t)n);
    if (n < 0 && errno != ECONNRESET)
        text_add(&t, "…timeout");
    return t;
}

/* Hears until the text stands there (and keeps what came). */
static inline bool
hear_until(struct text *t, int fd, const char *wanted)
{
    char some[4096];
    while (!t->n || !memmem(t->bytes, t->n, wanted, strlen(wanted))) {
        ssize_t n = recv(fd, some, sizeof some, 0);
        if (n <= 0)
            return false;
        text_add_n(t, some, (size_t)n);
    }
    return true;
}

static inline int
count_of(const struct text *t, const char *what)
{
    int n = 0;
    const char *at = t->bytes, *end = t->bytes + t->n;
    for (size_t m = strlen(what); (at = memmem(at, (size_t)(end - at), what, m)); at += m)
        n++;
    return n;
}

/* "200 400": the statuses of the answers in what was heard. */
static inline const char *
statuses(struct arena *a, const struct text *heard)
{
    struct text t = text_in(a);
    text_add(&t, "");
    for (size_t i = 0; i + 12 <= heard->n; i++)
        if (memcmp(heard->bytes + i, "HTTP/1.1 ", 9) == 0 && heard->bytes[i + 9] >= '1' &&
            heard->bytes[i + 9] <= '5' && heard->bytes[i + 10] <= '9') {
            if (t.n > 0)
                text_add_char(&t, ' ');
            text_add_n(&t, heard->bytes + i + 9, 3);
        }
    if (strstr(heard->bytes, "…timeout"))
        text_add(&t, " timeout");
    return t.bytes;
}

/* Says one thing, and gives everything that is answered until the end. */
static inline struct text
converse(struct world *w, const char *bytes, size_t n)
{
    int fd = dial(w);
    say_n(fd, bytes, n);
    struct text t = hear_all(w->arena, fd);
    close(fd);
    return t;
}
