/*
 * What a request costs the loop: keep-alive GETs over loopback, answered on the loop's thread with
 * 1 KB.  net_bench [CONNECTIONS [REQUESTS]]
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "net/net.h"

static char body[1024];

static void
on_request(void *arg, struct http_exchange *x, const struct http_request *in)
{
    (void)arg;
    (void)in;
    static const struct http_header headers[] = {
        {"content-type", "application/json"},
        {"etag", "\"3\""},
        {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    };
    http_respond(x, &(struct http_response){200, headers, 3, body, sizeof body, false});
}

static const char request[] = "GET /v1/products/prd_01j0000000000000000000000 HTTP/1.1\r\n"
                              "Host: 127.0.0.1:8080\r\nUser-Agent: bench/1.0\r\n"
                              "Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\n"
                              "Connection: keep-alive\r\n\r\n";

static int
connect_to(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0)
        abort();
    return fd;
}

static void
ask_all(const struct pollfd *fds, int n)
{
    for (int i = 0; i < n; i++)
        if (write(fds[i].fd, request, sizeof request - 1) != sizeof request - 1)
            abort();
}

/* Every connection has one request under way. */
static void
drive(struct pollfd *fds, int n, int requests)
{
    char answer[4096];
    ask_all(fds, n);
    for (int done = 0; done < requests;) {
        poll(fds, (nfds_t)n, 1000);
        for (int i = 0; i < n; i++) {
            if (!(fds[i].revents & POLLIN))
                continue;
            if (read(fds[i].fd, answer, sizeof answer) < (ssize_t)sizeof body)
                abort();
            done++;
            ask_all(fds + i, 1);
        }
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
    r->cpu = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    atomic_store(&r->done, true);
}

/* Seconds of CPU that the loop's thread has used. */
static double
loop_cpu(struct loop *loop)
{
    struct reading r = {0};
    loop_post(loop, read_clock, &r);
    while (!atomic_load(&r.done))
        usleep(100);
    return r.cpu;
}

int
main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 32;
    int requests = argc > 2 ? atoi(argv[2]) : 200000;
    memset(body, 'x', sizeof body);
    struct arena *a = arena_new();
    struct loop *loop = loop_new();
    struct http_server *server;
    const char *why;
    struct http_server_options options = {.listen = "127.0.0.1:0", .on_request = on_request};
    if (http_serve(loop, &options, a, &server, &why))
        abort();
    struct pollfd *fds = calloc((size_t)n, sizeof *fds);
    for (int i = 0; i < n; i++)
        fds[i] = (struct pollfd){connect_to(http_server_port(server)), POLLIN, 0};
    drive(fds, n, requests / 10);
    double cpu_then = loop_cpu(loop);
    uint64_t count_then = net_figures().requests;
    int64_t then_us = env.mono_us();
    drive(fds, n, requests);
    double took = (double)(env.mono_us() - then_us) / 1e6;
    double count = (double)(net_figures().requests - count_then);
    printf("%d connections: %.0f requests a second, %.2f us of the loop's CPU each\n", n,
           count / took, (loop_cpu(loop) - cpu_then) * 1e6 / count);
    for (int i = 0; i < n; i++)
        close(fds[i].fd);
    loop_free(loop);
    arena_free(a);
    free(fds);
    return 0;
}
