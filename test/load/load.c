/*
 * A load generator: so many buyers at once, each on a connection of its own, each sending its next
 * request when the last one is answered.  One thread, epoll, so that it takes little from the server
 * it measures.
 *
 *     load PORT BUYERS SECONDS get PATH
 *     load PORT BUYERS SECONDS checkout SKU…       one piece of one of the skus each time
 *
 * Prints one line of JSON: requests, those by status, seconds, per_second, p50_us, p99_us, cpu_s.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUYERS_MAX = 1024, ANSWER_BYTES_MAX = 64 << 10, SAMPLES_MAX = 4 << 20, STATUSES = 600 };

struct buyer {
    int fd;
    size_t got, wanted; /* bytes of the answer; wanted is 0 until its head is read */
    int64_t began_us;
    char answer[ANSWER_BYTES_MAX];
};

static struct {
    int port, buyers, epoll, skus;
    double seconds;
    bool checkout;
    const char *path;
    char **sku;
    int64_t ends_us;
    uint64_t n, by_status[STATUSES], made;
    uint32_t *samples;
} load;

static int64_t
now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void
die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t
compose(char *out, size_t room)
{
    if (!load.checkout)
        return (size_t)snprintf(out, room, "GET %s HTTP/1.1\r\nHost: souk\r\n\r\n", load.path);
    char body[600];
    int n = snprintf(body, sizeof body,
                     "{\"lines\":[{\"sku\":\"%s\",\"quantity\":1}],\"customer\":{\"email\":"
                     "\"buyer%llu@example.org\",\"phone_number\":\"+49 30 1234567\"},"
                     "\"shipping_address\":{\"name\":\"Ada Lovelace\",\"line1\":\"1 Main Street\","
                     "\"city\":\"Berlin\",\"postal_code\":\"10115\",\"country\":\"DE\"},"
                     "\"payment\":{\"provider\":\"sandbox\",\"token\":\"approve\"}}",
                     load.sku[load.made % (uint64_t)load.skus], (unsigned long long)load.made);
    load.made++;
    return (size_t)snprintf(out, room,
                            "POST /v1/orders HTTP/1.1\r\nHost: souk\r\nContent-Type: "
                            "application/json\r\nContent-Length: %d\r\n\r\n%s",
                            n, body);
}

static void
send_next(struct buyer *b)
{
    char request[2000];
    size_t n = compose(request, sizeof request);
    b->got = b->wanted = 0;
    b->began_us = now_us();
    if (send(b->fd, request, n, MSG_NOSIGNAL) != (ssize_t)n)
        die("send");
}

static void
buyer_connect(struct buyer *b)
{
    b->fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)load.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(b->fd, (struct sockaddr *)&to, sizeof to))
        die("connect");
    int on = 1;
    setsockopt(b->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = b};
    epoll_ctl(load.epoll, EPOLL_CTL_ADD, b->fd, &event);
}

/* True when the whole answer is there. */
static bool
complete(struct buyer *b)
{
    if (!b->wanted) {
        b->answer[b->got] = '\0';
        const char *end = strstr(b->answer, "\r\n\r\n");
        if (!end)
            return false;
        const char *length = strcasestr(b->answer, "content-length:");
        if (!length || length > end) {
            fprintf(stderr, "load: an answer without content-length\n");
            exit(1);
        }
        b->wanted = (size_t)(end + 4 - b->answer) + strtoul(length + 15, NULL, 10);
        if (b->wanted >= ANSWER_BYTES_MAX) {
            fprintf(stderr, "load: an answer too large\n");
            exit(1);
        }
    }
    return b->got >= b->wanted;
}

static void
count(struct buyer *b)
{
    int status = atoi(b->answer + 9);
    load.by_status[status > 0 && status < STATUSES ? status : 0]++;
    if (load.n < SAMPLES_MAX)
        load.samples[load.n] = (uint32_t)(now_us() - b->began_us);
    load.n++;
}

static int
by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void
report(double seconds)
{
    size_t n = load.n < SAMPLES_MAX ? load.n : SAMPLES_MAX;
    qsort(load.samples, n, sizeof *load.samples, by_size);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"buyers\": %d, \"requests\": %llu, \"seconds\": %.3f, \"per_second\": %.0f, "
           "\"p50_us\": %u, \"p99_us\": %u, \"cpu_s\": %.3f, \"statuses\": {",
           load.buyers, (unsigned long long)load.n, seconds, (double)load.n / seconds,
           n ? load.samples[n / 2] : 0, n ? load.samples[n * 99 / 100] : 0, cpu);
    bool first = true;
    for (int i = 0; i < STATUSES; i++)
        if (load.by_status[i]) {
            printf("%s\"%d\": %llu", first ? "" : ", ", i, (unsigned long long)load.by_status[i]);
            first = false;
        }
    puts("}}");
}

static void
work(struct buyer *buyers)
{
    int running = load.buyers;
    for (int i = 0; i < load.buyers; i++)
        send_next(&buyers[i]);
    while (running) {
        struct epoll_event events[256];
        int n = epoll_wait(load.epoll, events, 256, 10000);
        if (n == 0) {
            fprintf(stderr, "load: no answer for 10 s\n");
            exit(1);
        }
        for (int i = 0; i < n; i++) {
            struct buyer *b = events[i].data.ptr;
            ssize_t got = recv(b->fd, b->answer + b->got, ANSWER_BYTES_MAX - 1 - b->got, 0);
            if (got <= 0)
                die("recv");
            b->got += (size_t)got;
            if (!complete(b))
                continue;
            count(b);
            if (now_us() < load.ends_us)
                send_next(b);
            else
                running--;
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc < 6) {
        fprintf(stderr, "usage: load PORT BUYERS SECONDS get PATH | checkout SKU...\n");
        return 2;
    }
    load.port = atoi(argv[1]);
    load.buyers = atoi(argv[2]);
    load.seconds = atof(argv[3]);
    load.checkout = strcmp(argv[4], "checkout") == 0;
    load.path = argv[5];
    load.sku = argv + 5;
    load.skus = argc - 5;
    load.epoll = epoll_create1(0);
    load.samples = malloc(SAMPLES_MAX * sizeof *load.samples);
    struct buyer *buyers = calloc(BUYERS_MAX, sizeof *buyers);
    if (load.buyers < 1 || load.buyers > BUYERS_MAX || !buyers || !load.samples) {
        fprintf(stderr, "load: 1 to %d buyers\n", BUYERS_MAX);
        return 2;
    }
    for (int i = 0; i < load.buyers; i++)
        buyer_connect(&buyers[i]);
    int64_t began_us = now_us();
    load.ends_us = began_us + (int64_t)(load.seconds * 1e6);
    work(buyers);
    report((double)(now_us() - began_us) / 1e6);
    free(buyers);
    free(load.samples);
    return 0;
}
