/*
 * What a broker takes: events confirmed in a second, in windows and one by one, and how fast they
 * come.
 *
 *     broker_bench URL [seconds]
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/ids.h"
#include "base/time.h"
#include "bus/broker.h"
#include "fiber/fiber.h"

enum { PAYLOAD_BYTES = 400 };

static void
hear(void *heard)
{
    *(atomic_bool *)heard = true;
}

static void
fill(struct arena *a, struct event *events, int n, int64_t sequence)
{
    static uint8_t payload[PAYLOAD_BYTES];
    for (int i = 0; i < n; i++)
        events[i] = (struct event){
            .position = sequence + i,
            .id = id_make(a, "evn", env.now_us()),
            .topic = "bench.order_paid",
            .publisher = "bench",
            .subject = id_make(a, "ord", env.now_us()),
            .type = "souk.orders.v1.OrderPaid",
            .sequence = 1,
            .time_us = env.now_us(),
            .correlation_id = "cor_01m8dvvk4h87dpenvjxrc796vs",
            .causation_id = "evn_01m8dvvk4h87dpenvjxrc796vs",
            .traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            .data = {sizeof payload, payload},
        };
}

static int64_t
publish(struct broker *b, int window, int64_t seconds)
{
    struct arena *a = arena_new();
    int64_t n = 0, began = env.mono_us(), until = began + seconds * SECOND_US;
    do {
        struct event events[BROKER_WINDOW_MAX];
        bool confirmed[BROKER_WINDOW_MAX];
        fill(a, events, window, n);
        if (broker_publish(b, events, (size_t)window, INT64_MAX, confirmed) == OK)
            n += window;
        arena_reset(a);
    } while (env.mono_us() < until);
    double took = (double)(env.mono_us() - began) / 1e6;
    if (seconds)
        printf("confirmed in windows of %3d: %7.0f events/s, %.2f ms a window\n", window,
               (double)n / took, took / (double)(n / window + !n) * 1e3);
    arena_free(a);
    return n;
}

static void
take(struct broker_queue *q, int64_t n)
{
    struct arena *a = arena_new();
    int64_t began = env.mono_us(), taken = 0;
    while (taken < n) {
        struct event events[64];
        uint64_t tags[64];
        size_t got = broker_take(q, a, 64, events, tags);
        taken += (int64_t)got;
        if (got)
            broker_ack(q, tags[got - 1]);
        else
            fiber_sleep_us(500);
        arena_reset(a);
    }
    printf("taken and acknowledged:      %7.0f events/s\n",
           (double)taken / ((double)(env.mono_us() - began) / 1e6));
    arena_free(a);
}

int
main(int argc, char **argv)
{
    int64_t seconds = argc > 2 ? atoi(argv[2]) : 3;
    struct arena *a = arena_new();
    struct broker *b;
    const char *why = "broker_bench URL [seconds]", *const topics[] = {"bench.order_paid", NULL};
    if (argc < 2 || broker_open(argv[1], "bench", a, &b, &why) != OK) {
        fprintf(stderr, "%s\n", why);
        return 2;
    }
    atomic_bool heard = false;
    struct broker_queue *q =
        broker_subscribe(b, "souk.bench", topics, BROKER_ORDERED, hear, &heard);
    while (!heard) /* until the broker knows the queue, which then fills */
        publish(b, 1, 0);
    publish(b, 1, seconds);
    take(q, publish(b, BROKER_WINDOW_MAX, seconds));
    broker_unsubscribe(q);
    broker_free(b);
    arena_free(a);
    return 0;
}
