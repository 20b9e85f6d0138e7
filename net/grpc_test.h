/*
 * For the tests of gRPC: a server whose handler does what the path says, and a channel to it.
 *
 * /t.T/Echo    answers the message, on the loop's thread
 * /t.T/Thread  the same from another thread
 * /t.T/Hold    is answered with "held" when the test calls release_calls()
 * /t.T/Wait    from another thread, until the call is cancelled; then it counts it
 * /t.T/Fail    ends with the status that the first byte is, and the rest as its message
 * /t.T/Pairs   gives the metadata back, in the head and in the trailers
 * /t.T/Who     "peer identity"
 * /t.T/Sizes   of many messages: how large each was, in one answer
 * /t.T/Chat    each message comes back
 * /t.T/Many    as many messages as the byte says
 * /t.T/Flood   messages of 64 KiB until the peer is gone
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "net/grpc.h"
#include "test/test.h"

enum { GRPC_HELD_MAX = 4096, GRPC_WAIT_SECONDS = 20 };

struct place {
    struct arena *arena;
    struct loop *loop;
    struct grpc_server *server;
    struct grpc_channel *channel;
    char target[160];
    pthread_mutex_t lock;
    struct grpc_call *held[GRPC_HELD_MAX];
    size_t n_held;
    _Atomic int seen, cancelled, n_threads;
};

struct job {
    struct place *place;
    struct grpc_call *call;
    const struct grpc_request *in;
};

static inline void
answer_sizes(struct grpc_call *call, const struct grpc_request *in)
{
    struct text t = text_in(in->arena);
    text_add(&t, "");
    const uint8_t *message;
    size_t n;
    if (in->message)
        text_printf(&t, "%zu ", in->n);
    while (grpc_next(call, &message, &n))
        text_printf(&t, "%zu ", n);
    grpc_answer(call, (const uint8_t *)t.bytes, t.n, NULL, 0);
}

static inline void
chat(struct grpc_call *call, const struct grpc_request *in)
{
    const uint8_t *message = in->message;
    size_t n = in->n;
    for (bool more = message != NULL; more; more = grpc_next(call, &message, &n))
        if (!grpc_send(call, message, n))
            break;
    grpc_end(call, OK, NULL, NULL, 0);
}

static inline void
flood(struct job *j)
{
    static const uint8_t page[64 << 10];
    while (grpc_send(j->call, page, sizeof page))
        ;
    atomic_fetch_add(&j->place->cancelled, 1);
    grpc_end(j->call, OK, NULL, NULL, 0);
}

static inline void *
run_job(void *arg)
{
    struct job *j = arg;
    struct place *p = j->place;
    const char *path = j->in->path;
    if (strcmp(path, "/t.T/Sizes") == 0) {
        answer_sizes(j->call, j->in);
    } else if (strcmp(path, "/t.T/Chat") == 0) {
        chat(j->call, j->in);
    } else if (strcmp(path, "/t.T/Flood") == 0) {
        flood(j);
    } else if (strcmp(path, "/t.T/Wait") == 0) {
        while (!grpc_cancelled(j->call))
            usleep(500);
        atomic_fetch_add(&p->cancelled, 1);
        grpc_end(j->call, CANCELLED, "nobody waits", NULL, 0);
    } else {
        grpc_answer(j->call, j->in->message, j->in->n, NULL, 0);
    }
    free(j);
    atomic_fetch_sub(&p->n_threads, 1);
    return NULL;
}

static inline void
on_a_thread(struct place *p, struct grpc_call *call, const struct grpc_request *in)
{
    struct job *j = malloc(sizeof *j);
    *j = (struct job){p, call, in};
    pthread_t thread;
    atomic_fetch_add(&p->n_threads, 1);
    pthread_create(&thread, NULL, run_job, j);
    pthread_detach(thread);
}

static inline void
hold(struct place *p, struct grpc_call *call)
{
    pthread_mutex_lock(&p->lock);
    if (p->n_held == GRPC_HELD_MAX)
        abort();
    p->held[p->n_held++] = call;
    pthread_mutex_unlock(&p->lock);
}

static inline void
give_pairs_back(struct grpc_call *call, const struct grpc_request *in)
{
    for (size_t i = 0; i < in->n_metadata; i++)
        grpc_header(call, &in->metadata[i]);
    grpc_answer(call, in->message, in->n, in->metadata, in->n_metadata);
}

static inline void
send_many(struct grpc_call *call, const struct grpc_request *in)
{
    for (uint8_t i = 0; i < in->message[0]; i++)
        grpc_send(call, &i, 1);
    grpc_end(call, OK, NULL, NULL, 0);
}

static inline void
on_test_call(void *arg, struct grpc_call *call, const struct grpc_request *in)
{
    struct place *p = arg;
    const char *path = in->path;
    atomic_fetch_add(&p->seen, 1);
    if (strcmp(path, "/t.T/Echo") == 0) {
        grpc_answer(call, in->message, in->n, NULL, 0);
    } else if (strcmp(path, "/t.T/Fail") == 0) {
        grpc_end(call, (enum status)in->message[0],
                 arena_strndup(in->arena, (const char *)in->message + 1, in->n - 1), NULL, 0);
    } else if (strcmp(path, "/t.T/Pairs") == 0) {
        give_pairs_back(call, in);
    } else if (strcmp(path, "/t.T/Who") == 0) {
        const char *who = arena_printf(in->arena, "%s %s", in->peer, in->identity);
        grpc_answer(call, (const uint8_t *)who, strlen(who), NULL, 0);
    } else if (strcmp(path, "/t.T/Many") == 0) {
        send_many(call, in);
    } else if (strcmp(path, "/t.T/Hold") == 0) {
        hold(p, call);
    } else if (strstr("/t.T/Thread /t.T/Wait /t.T/Sizes /t.T/Chat /t.T/Flood", path)) {
        on_a_thread(p, call, in);
    } else {
        grpc_end(call, UNIMPLEMENTED, "there is no such rpc", NULL, 0);
    }
}

static inline bool
test_streams(void *arg, const char *path)
{
    (void)arg;
    return strcmp(path, "/t.T/Sizes") == 0 || strcmp(path, "/t.T/Chat") == 0;
}

static inline void
serve(struct place *p, struct grpc_server_options options)
{
    if (!options.listen)
        options.listen = "127.0.0.1:0";
    options.on_call = on_test_call;
    options.streams = test_streams;
    options.arg = p;
    const char *why = "";
    enum status st = grpc_serve(p->loop, &options, p->arena, &p->server, &why);
    check_text(why, "");
    if (st)
        abort();
    if (options.listen[0] == 'u')
        snprintf(p->target, sizeof p->target, "%s", options.listen);
    else
        snprintf(p->target, sizeof p->target, "127.0.0.1:%d", grpc_server_port(p->server));
}

static inline void
place_begin(struct place *p, struct grpc_server_options server, struct grpc_channel_options channel)
{
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    p->arena = arena_new();
    p->loop = loop_new();
    serve(p, server);
    if (!channel.target)
        channel.target = p->target;
    p->channel = grpc_channel_new(p->loop, &channel);
}

static inline void
release_calls(struct place *p)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n_held; i++)
        grpc_answer(p->held[i], (const uint8_t *)"held", 4, NULL, 0);
    p->n_held = 0;
    pthread_mutex_unlock(&p->lock);
}

static inline size_t
calls_held(struct place *p)
{
    pthread_mutex_lock(&p->lock);
    size_t n = p->n_held;
    pthread_mutex_unlock(&p->lock);
    return n;
}

/* Waits until it is so; the test fails if it never is. */
#define until(claim)                                                                               \
    do {                                                                                           \
        for (int tries_ = 0; !(claim) && tries_ < GRPC_WAIT_SECONDS * 1000; tries_++)              \
            usleep(1000);                                                                          \
        check(claim);                                                                              \
    } while (0)

static inline void
place_end(struct place *p)
{
    grpc_channel_free(p->channel);
    release_calls(p);
    until(atomic_load(&p->n_threads) == 0);
    loop_free(p->loop);
    arena_free(p->arena);
    pthread_mutex_destroy(&p->lock);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static inline struct grpc_ask
ask_of(const char *path, const char *message)
{
    return (struct grpc_ask){.path = path,
                             .message = (const uint8_t *)message,
                             .n = strlen(message),
                             .deadline_us = env.mono_us() + GRPC_WAIT_SECONDS * SECOND_US};
}

static inline enum status
ask(struct place *p, const char *path, const char *message, struct grpc_reply *ret)
{
    struct grpc_ask in = ask_of(path, message);
    return grpc_unary(p->channel, p->arena, &in, ret);
}

static inline const char *
reply_text(struct place *p, const struct grpc_reply *out)
{
    return arena_strndup(p->arena, (const char *)out->message, out->n);
}
