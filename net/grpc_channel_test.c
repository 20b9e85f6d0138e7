/* gRPC's client: what is sent again, servers that come and go, and peers that are none. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include "net/grpc_channel.h"
#include "net/grpc_test.h"

enum { FRAME_HEAD = 9, CALLERS = 8 };

/* ---- a peer that plays a part ---------------------------------------------------------------- */

/*
 * Each call is answered by the next letter: O well, U with UNAVAILABLE, R refused, C cancelled,
 * N without a status, T with two messages, G by GOAWAY before it, X not: the connection is closed,
 * S not at all: from then on it is silent.  The last letter stands for all that follow.
 */
struct actor {
    const char *script;
    size_t at;
    int listener, calls;
    pthread_t thread;
};

static void
say_frame(int fd, int type, int flags, uint32_t stream, const void *payload, size_t n)
{
    unsigned char frame[FRAME_HEAD + 256] = {0,
                                             (unsigned char)(n >> 8),
                                             (unsigned char)n,
                                             (unsigned char)type,
                                             (unsigned char)flags,
                                             (unsigned char)(stream >> 24),
                                             (unsigned char)(stream >> 16),
                                             (unsigned char)(stream >> 8),
                                             (unsigned char)stream};
    memcpy(frame + FRAME_HEAD, payload, n);
    if (send(fd, frame, FRAME_HEAD + n, MSG_NOSIGNAL) < 0)
        return;
}

/* :status 200, content-type application/grpc (HPACK, static table) */
static const char head[] = "\x88\x0f\x10\x10"
                           "application/grpc";
static const char trailers_ok[] = "\x00\x0bgrpc-status\x01"
                                  "0";
static const char trailers_unavailable[] = "\x88\x0f\x10\x10"
                                           "application/grpc\x00\x0bgrpc-status\x02"
                                           "14";

/* False: the connection ends. */
static bool
play(struct actor *w, int fd, uint32_t id)
{
    char part = w->script[w->at];
    __atomic_fetch_add(&w->calls, 1, __ATOMIC_RELEASE);
    if (w->script[w->at + 1])
        w->at++;
    switch (part) {
    case 'O':
    case 'T':
        say_frame(fd, NGHTTP2_HEADERS, 4, id, head, sizeof head - 1);
        say_frame(fd, NGHTTP2_DATA, 0, id, "\0\0\0\0\0\0\0\0\0\0", part == 'O' ? 5 : 10);
        say_frame(fd, NGHTTP2_HEADERS, 5, id, trailers_ok, sizeof trailers_ok - 1);
        return true;
    case 'U':
        say_frame(fd, NGHTTP2_HEADERS, 5, id, trailers_unavailable,
                  sizeof trailers_unavailable - 1);
        return true;
    case 'N':
        say_frame(fd, NGHTTP2_HEADERS, 5, id, head, sizeof head - 1);
        return true;
    case 'R':
        say_frame(fd, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\7", 4);
        return true;
    case 'C':
        say_frame(fd, NGHTTP2_RST_STREAM, 0, id, "\0\0\0\10", 4);
        return true;
    case 'G':
        say_frame(fd, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
        return false;
    case 'S':
        return true;
    default:
        return false;
    }
}

static bool
hear(int fd, void *bytes, size_t n)
{
    return n == 0 || recv(fd, bytes, n, MSG_WAITALL) == (ssize_t)n;
}

static void
serve_one(struct actor *w, int fd)
{
    static unsigned char payload[1 << 14];
    unsigned char frame[FRAME_HEAD];
    if (!hear(fd, payload, strlen(NGHTTP2_CLIENT_MAGIC)))
        return;
    say_frame(fd, NGHTTP2_SETTINGS, 0, 0, "", 0);
    while (hear(fd, frame, FRAME_HEAD)) {
        size_t n = (size_t)frame[1] << 8 | frame[2];
        uint32_t id = (uint32_t)frame[7] << 8 | frame[8];
        if (!hear(fd, payload, n))
            return;
        if (frame[3] == NGHTTP2_PING && w->script[w->at] != 'S')
            say_frame(fd, NGHTTP2_PING, 1, 0, payload, n);
        if (frame[3] == NGHTTP2_DATA && (frame[4] & 1) && !play(w, fd, id))
            return;
    }
}

static void *
run_actor(void *arg)
{
    struct actor *w = arg;
    for (int fd; (fd = accept(w->listener, NULL, NULL)) >= 0;) {
        serve_one(w, fd);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
    return NULL;
}

static void
actor_begin(struct actor *w, struct place *p, const char *script)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *w = (struct actor){.script = script, .listener = socket(AF_INET, SOCK_STREAM, 0)};
    if (bind(w->listener, (struct sockaddr *)&at, n) || listen(w->listener, 16) ||
        getsockname(w->listener, (struct sockaddr *)&at, &n))
        abort();
    snprintf(p->target, sizeof p->target, "127.0.0.1:%d", ntohs(at.sin_port));
    pthread_create(&w->thread, NULL, run_actor, w);
}

/* The channel has gone, and with it its connections. */
static void
actor_end(struct actor *w)
{
    shutdown(w->listener, SHUT_RD);
    pthread_join(w->thread, NULL);
    close(w->listener);
}

static void
alone_begin(struct place *p)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    p->arena = arena_new();
    p->loop = loop_new();
}

TEST(a_call_is_sent_again_where_that_is_safe)
{
    static const struct {
        const char *script;
        bool repeatable;
        enum status wanted;
        int calls;
    } rows[] = {
        {"O", false, OK, 1},          {"RO", false, OK, 2},        {"RRO", false, OK, 3},
        {"R", false, UNAVAILABLE, 5}, {"GO", false, OK, 2},        {"UO", false, UNAVAILABLE, 1},
        {"UO", true, OK, 2},          {"U", true, UNAVAILABLE, 5}, {"XO", false, UNAVAILABLE, 1},
        {"XO", true, OK, 2},          {"CO", true, CANCELLED, 1},  {"NO", true, INTERNAL, 1},
        {"TO", true, INTERNAL, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct place p;
        struct actor w;
        alone_begin(&p);
        actor_begin(&w, &p, rows[i].script);
        p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = p.target});
        struct grpc_ask in = ask_of("/t.T/Echo", "");
        in.repeatable = rows[i].repeatable;
        struct grpc_reply out;
        enum status st = grpc_unary(p.channel, p.arena, &in, &out);
        place_end(&p);
        actor_end(&w);
        test_check_int(rows[i].script, (int)i, "status", st, rows[i].wanted);
        test_check_int(rows[i].script, (int)i, "calls", w.calls, rows[i].calls);
    }
}

TEST(retries_end_with_the_channels_budget)
{
    struct place p;
    struct actor w;
    alone_begin(&p);
    actor_begin(&w, &p, "U");
    p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = p.target});
    for (int i = 0; i < 50; i++) {
        struct grpc_ask in = ask_of("/t.T/Echo", "");
        in.repeatable = true;
        struct grpc_reply out;
        check_int(grpc_unary(p.channel, p.arena, &in, &out), UNAVAILABLE);
    }
    uint64_t retries = grpc_channel_figures(p.channel).retries;
    place_end(&p);
    actor_end(&w);
    check(retries >= 10 && retries <= 15); /* ten in hand, and one for ten calls */
    check_int(w.calls, (int)(50 + retries));
}

TEST(a_peer_that_falls_silent_is_found_out_by_pings)
{
    struct place p;
    struct actor w;
    alone_begin(&p);
    actor_begin(&w, &p, "OS");
    p.channel = grpc_channel_new(
        p.loop, &(struct grpc_channel_options){.target = p.target,
                                               .keepalive_us = 50 * MILLISECOND_US,
                                               .keepalive_timeout_us = 50 * MILLISECOND_US});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    check_int(ask(&p, "/t.T/Echo", "", &out), UNAVAILABLE);
    check_text(out.why, "the peer does not answer any more");
    place_end(&p);
    actor_end(&w);
}

struct hung_up {
    struct place *place;
    struct grpc_reply out;
    enum status st;
};

static void *
call_and_wait(void *arg)
{
    struct hung_up *h = arg;
    struct grpc_ask in = ask_of("/t.T/Echo", "");
    h->st = grpc_unary(h->place->channel, h->place->arena, &in, &h->out);
    return NULL;
}

TEST(who_hangs_up_waits_for_nobody)
{
    static const char *const scripts[] = {"S", NULL}; /* a peer that is silent; none at all */
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        struct place p;
        struct actor w;
        alone_begin(&p);
        actor_begin(&w, &p, scripts[i] ? scripts[i] : "X");
        p.channel = grpc_channel_new(
            p.loop,
            &(struct grpc_channel_options){.target = scripts[i] ? p.target : "127.0.0.1:1"});
        struct hung_up h = {.place = &p};
        pthread_t thread;
        pthread_create(&thread, NULL, call_and_wait, &h);
        while (scripts[i] ? __atomic_load_n(&w.calls, __ATOMIC_ACQUIRE) == 0
                          : grpc_channel_figures(p.channel).under_way == 0)
            usleep(1000);
        grpc_channel_hang_up(p.channel);
        pthread_join(thread, NULL);
        check_int(h.st, UNAVAILABLE);
        check_text(h.out.why, "no more calls are made here");
        struct grpc_reply out;
        check_int(ask(&p, "/t.T/Echo", "", &out), UNAVAILABLE);
        check_text(out.why, "no more calls are made here");
        place_end(&p);
        actor_end(&w);
    }
}

/* ---- servers that come and go ---------------------------------------------------------------- */

struct callers {
    struct place *place;
    bool repeatable;
    _Atomic bool stop;
    _Atomic int calls, failures;
};

static void *
call_on(void *arg)
{
    struct callers *w = arg;
    while (!atomic_load(&w->stop)) {
        struct arena *a = arena_new();
        struct grpc_ask in = ask_of("/t.T/Thread", "x");
        in.repeatable = w->repeatable;
        struct grpc_reply out;
        enum status st = grpc_unary(w->place->channel, a, &in, &out);
        if (st)
            printf("    %s: %s\n", status_name(st), out.why);
        atomic_fetch_add(st ? &w->failures : &w->calls, 1);
        arena_free(a);
    }
    return NULL;
}

/* Two servers, of which one goes, and comes again at the same place; callers never stop. */
static void
check_going(bool repeatable, int64_t grace_us)
{
    struct place p, other;
    place_begin(&other, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    alone_begin(&p);
    serve(&p, (struct grpc_server_options){0});
    char both[200];
    snprintf(both, sizeof both, "%s,127.0.0.1:%d", other.target, grpc_server_port(p.server));
    p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = both});
    struct callers w = {.place = &p, .repeatable = repeatable};
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        pthread_create(&threads[i], NULL, call_on, &w);
    until(atomic_load(&other.seen) > 100 && atomic_load(&p.seen) > 100);

    grpc_server_drain(other.server, grace_us);
    int seen = atomic_load(&p.seen);
    until(atomic_load(&p.seen) > seen + 100);
    seen = atomic_load(&other.seen);
    serve(&other, (struct grpc_server_options){.listen = arena_strdup(p.arena, other.target)});
    until(atomic_load(&other.seen) > seen + 100);

    atomic_store(&w.stop, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(threads[i], NULL);
    check_int(atomic_load(&w.failures), 0);
    place_end(&p);
    place_end(&other);
}

TEST(a_server_that_drains_costs_no_call)
{
    check_going(false, 10 * SECOND_US);
}

TEST(a_server_that_dies_costs_no_call_that_may_be_repeated)
{
    check_going(true, 0);
}

TEST(a_call_waits_a_while_for_a_server_to_come)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_reply out;
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    grpc_server_drain(p.server, SECOND_US);
    struct grpc_ask in = ask_of("/t.T/Chat", "late");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    grpc_stream_sent(s);
    serve(&p, (struct grpc_server_options){.listen = arena_strdup(p.arena, p.target)});
    const uint8_t *message;
    size_t n;
    check(grpc_stream_next(s, &message, &n) && n == 4);
    check_int(grpc_stream_end(s, p.arena, &out), OK);

    grpc_server_drain(p.server, SECOND_US); /* and nobody comes */
    check_int(ask(&p, "/t.T/Echo", "", &out), UNAVAILABLE);
    check(out.why[0]);
    place_end(&p);
}

static void
put_off(void *arg)
{
    struct grpc_channel *c = arg;
    for (size_t i = 0; i < c->n_links; i++)
        if (!c->links[i]->line)
            alarm_set(c->loop, &c->links[i]->retry, env.mono_us() + MINUTE_US);
}

/* As after a long absence: the next try is far off, and the only other server goes. */
TEST(a_server_that_is_back_is_found_as_soon_as_a_call_needs_it)
{
    struct place p, other;
    struct grpc_reply out;
    place_begin(&other, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    grpc_server_drain(other.server, SECOND_US);
    alone_begin(&p);
    serve(&p, (struct grpc_server_options){0});
    char both[200];
    snprintf(both, sizeof both, "127.0.0.1:%d,%s", grpc_server_port(p.server), other.target);
    p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = both});
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    serve(&other, (struct grpc_server_options){.listen = arena_strdup(p.arena, other.target)});
    loop_post(p.loop, put_off, p.channel);
    grpc_server_drain(p.server, SECOND_US);
    check_int(ask(&p, "/t.T/Echo", "", &out), OK);
    place_end(&p);
    place_end(&other);
}

TEST(a_call_that_runs_is_answered_while_the_server_drains)
{
    struct place p;
    place_begin(&p, (struct grpc_server_options){0}, (struct grpc_channel_options){0});
    struct grpc_ask in = ask_of("/t.T/Chat", "1");
    struct grpc_stream *s = grpc_open(p.channel, &in);
    const uint8_t *message;
    size_t n;
    check(grpc_stream_next(s, &message, &n));
    grpc_server_drain(p.server, 50 * MILLISECOND_US); /* past it the connection is closed */
    check(!grpc_stream_next(s, &message, &n));
    struct grpc_reply out;
    check_int(grpc_stream_end(s, p.arena, &out), UNAVAILABLE);
    place_end(&p);
}

/* ---- what is no gRPC ------------------------------------------------------------------------- */

static void
answer_status(void *arg, struct http_exchange *x, const struct http_request *in)
{
    (void)arg;
    int64_t status = 200;
    int_parse(in->path + 1, &status);
    http_respond(x, &(struct http_response){.status = (int)status, .body = "no", .body_n = 2});
}

static size_t
any_body(void *arg, const char *method, const char *path)
{
    (void)arg;
    (void)method;
    (void)path;
    return 1000;
}

TEST(an_answer_of_plain_http_has_a_status_too)
{
    static const struct {
        const char *path;
        enum status wanted;
    } rows[] = {
        {"/200", INTERNAL},          {"/400", INTERNAL},      {"/401", UNAUTHENTICATED},
        {"/403", PERMISSION_DENIED}, {"/404", UNIMPLEMENTED}, {"/429", UNAVAILABLE},
        {"/502", UNAVAILABLE},       {"/503", UNAVAILABLE},   {"/504", UNAVAILABLE},
        {"/500", UNKNOWN},           {"/418", UNKNOWN},
    };
    struct place p;
    alone_begin(&p);
    struct http_server *http;
    const struct http_server_options o = {
        .listen = "127.0.0.1:0", .on_request = answer_status, .body_max = any_body};
    const char *why;
    check_int(http_serve(p.loop, &o, p.arena, &http, &why), OK);
    snprintf(p.target, sizeof p.target, "127.0.0.1:%d", http_server_port(http));
    p.channel = grpc_channel_new(p.loop, &(struct grpc_channel_options){.target = p.target});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct grpc_reply out;
        test_check_int("row", (int)i, rows[i].path, ask(&p, rows[i].path, "", &out),
                       rows[i].wanted);
    }
    place_end(&p);
}
