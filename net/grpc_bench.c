/*
 * What a unary call costs.
 *
 * grpc_bench [STREAMS [CALLS]]   our client and our server, a loop each: CPU of both, and latency
 * grpc_bench serve | bare        serves until its input ends: our server, or nghttp2 alone in a
 * loop that answers each request the same; prints its port first
 */
#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/grpc.h"

enum { MESSAGE_BYTES = 100, BUFFER_BYTES = 64 << 10 };

static uint8_t message[MESSAGE_BYTES];

/* ---- our server ------------------------------------------------------------------------------ */

static void
on_call(void *arg, struct grpc_call *call, const struct grpc_request *in)
{
    (void)arg;
    (void)in;
    grpc_answer(call, message, sizeof message, NULL, 0);
}

static struct grpc_server *
serve(struct loop *loop, struct arena *a)
{
    const struct grpc_server_options o = {.listen = "127.0.0.1:0", .on_call = on_call};
    struct grpc_server *server;
    const char *why;
    if (grpc_serve(loop, &o, a, &server, &why))
        abort();
    return server;
}

static void
serve_alone(void)
{
    struct arena *a = arena_new();
    struct loop *loop = loop_new();
    printf("%d\n", grpc_server_port(serve(loop, a)));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    loop_free(loop);
    arena_free(a);
}

/* ---- nghttp2 alone --------------------------------------------------------------------------- */

static nghttp2_nv
field(const char *name, const char *value)
{
    union {
        const char *in;
        uint8_t *out;
    } n = {.in = name}, v = {.in = value};
    return (nghttp2_nv){n.out, v.out, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static ssize_t /* NOLINTNEXTLINE(readability-function-size): the signature is nghttp2's */
bare_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
          nghttp2_data_source *source, void *arg)
{
    (void)room;
    (void)source;
    (void)arg;
    const nghttp2_nv end = field("grpc-status", "0");
    memset(buf, 0, 5);
    buf[4] = MESSAGE_BYTES;
    memcpy(buf + 5, message, MESSAGE_BYTES);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, id, &end, 1);
    return 5 + MESSAGE_BYTES;
}

static int
bare_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
        (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    const nghttp2_nv head[] = {field(":status", "200"), field("content-type", "application/grpc")};
    const nghttp2_data_provider body = {.read_callback = bare_body};
    return nghttp2_submit_response(session, frame->hd.stream_id, head, 2, &body);
}

static bool
send_waiting(nghttp2_session *session, int fd)
{
    static uint8_t out[BUFFER_BYTES + (32 << 10)];
    const uint8_t *bytes;
    ssize_t m;
    do {
        size_t n = 0;
        while (n < BUFFER_BYTES && (m = nghttp2_session_mem_send(session, &bytes)) > 0) {
            memcpy(out + n, bytes, (size_t)m);
            n += (size_t)m;
        }
        for (size_t at = 0; at < n; at += (size_t)m)
            if ((m = send(fd, out + at, n - at, MSG_NOSIGNAL)) <= 0)
                return false;
        m = (ssize_t)n;
    } while (m >= BUFFER_BYTES);
    return true;
}

static void
bare_serve(int fd)
{
    static uint8_t in[BUFFER_BYTES];
    nghttp2_session_callbacks *cb;
    nghttp2_session *session;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, bare_frame);
    nghttp2_session_server_new(&session, cb, NULL);
    const nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000};
    nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &settings, 1);
    ssize_t n;
    while ((n = recv(fd, in, sizeof in, 0)) > 0)
        if (nghttp2_session_mem_recv(session, in, (size_t)n) < 0 || !send_waiting(session, fd))
            break;
    nghttp2_session_del(session);
    nghttp2_session_callbacks_del(cb);
    close(fd);
}

/* One connection after another. */
static void
serve_bare(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t n = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, n) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&at, &n))
        abort();
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct pollfd ready[] = {{listener, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (poll(ready, 2, -1) > 0 && !ready[1].revents)
        bare_serve(accept(listener, NULL, NULL));
}

/* ---- our client ------------------------------------------------------------------------------ */

struct drive {
    struct grpc_channel *channel;
    _Atomic int64_t left;
    int64_t *took_us; /* of each call */
};

static void
call_on(void *arg)
{
    struct drive *d = arg;
    for (int64_t i; (i = atomic_fetch_sub(&d->left, 1) - 1) >= 0;) {
        struct arena *a = arena_new();
        int64_t then_us = env.mono_us();
        struct grpc_ask in = {.path = "/souk.orders.v1.Orders/PlaceOrder",
                              .message = message,
                              .n = sizeof message,
                              .deadline_us = then_us + 10 * SECOND_US};
        struct grpc_reply out;
        if (grpc_unary(d->channel, a, &in, &out) != OK || out.n != sizeof message)
            abort();
        d->took_us[i] = env.mono_us() - then_us;
        arena_free(a);
    }
}

struct reading {
    double cpu;
    _Atomic bool done;
};

static void
read_clock(void *arg)
{
    struct reading *r = arg;
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    r->cpu = (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
    atomic_store(&r->done, true);
}

/* Microseconds of CPU that the loop's thread has used. */
static double
loop_cpu_us(struct loop *loop)
{
    struct reading r = {0};
    loop_post(loop, read_clock, &r);
    while (!atomic_load(&r.done))
        usleep(100);
    return r.cpu;
}

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void
run_calls(struct drive *d, int streams, int64_t calls)
{
    struct sched *fibers = sched_new("fibers", (size_t)streams);
    atomic_store(&d->left, calls);
    for (int i = 0; i < streams; i++)
        sched_spawn(fibers, call_on, d);
    sched_free(fibers);
}

static void
measure(int streams, int64_t calls)
{
    struct arena *a = arena_new();
    struct loop *there = loop_new(), *here = loop_new();
    char target[32];
    snprintf(target, sizeof target, "127.0.0.1:%d", grpc_server_port(serve(there, a)));
    struct drive d = {.channel =
                          grpc_channel_new(here, &(struct grpc_channel_options){.target = target}),
                      .took_us = calloc((size_t)calls, sizeof *d.took_us)};
    run_calls(&d, streams, calls / 10);
    double server_us = loop_cpu_us(there), client_us = loop_cpu_us(here);
    int64_t then_us = env.mono_us();
    run_calls(&d, streams, calls);
    double took_us = (double)(env.mono_us() - then_us);
    server_us = loop_cpu_us(there) - server_us;
    client_us = loop_cpu_us(here) - client_us;
    qsort(d.took_us, (size_t)calls, sizeof *d.took_us, compare);
    printf("%d streams: %.0f calls a second, %.2f us of the server's loop and %.2f us of the "
           "client's a call, p50 %d us, p99 %d us\n",
           streams, (double)calls * 1e6 / took_us, server_us / (double)calls,
           client_us / (double)calls, (int)d.took_us[calls / 2], (int)d.took_us[calls * 99 / 100]);
    grpc_channel_free(d.channel);
    loop_free(here);
    loop_free(there);
    free(d.took_us);
    arena_free(a);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "serve") == 0)
        serve_alone();
    else if (argc > 1 && strcmp(argv[1], "bare") == 0)
        serve_bare();
    else
        measure(argc > 1 ? atoi(argv[1]) : 100, argc > 2 ? atoll(argv[2]) : 200000);
    return 0;
}
