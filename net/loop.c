/* The loop: its thread, what other threads ask of it, and the arenas it reuses. */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fiber/fiber.h"
#include "net/internal.h"

enum { ARENA_KEEP_BYTES_MAX = 256 << 10 };

static _Thread_local const struct loop *mine; /* whose thread this is */

static void *run(void *arg);
static void on_wake(uv_async_t *wake);
static void on_before_poll(uv_prepare_t *prepare);
static void stop(void *arg);

struct loop *
loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        abort();
    pthread_mutex_init(&loop->lock, NULL);
    int bad = uv_loop_init(&loop->uv) | uv_async_init(&loop->uv, &loop->wake, on_wake) |
              uv_prepare_init(&loop->uv, &loop->before_poll) |
              uv_prepare_start(&loop->before_poll, on_before_poll);
    alarms_open(loop);
    bad = bad || pthread_create(&loop->thread, NULL, run, loop) != 0;
    if (bad) { /* out of files or memory before anything has begun */
        fprintf(stderr, "souk: the event loop cannot be started\n");
        abort();
    }
    return loop;
}

/* Waits until every exchange has been answered: their handlers still hold them. */
void
loop_free(struct loop *loop)
{
    if (!loop)
        return;
    loop_post(loop, stop, loop);
    pthread_join(loop->thread, NULL);
    int busy = uv_loop_close(&loop->uv);
    assert(busy == 0);
    (void)busy;
    while (loop->servers) {
        struct http_server *s = loop->servers;
        loop->servers = s->next;
        SSL_CTX_free(s->home.tls);
        arena_free(s->arena);
        free(s);
    }
    while (loop->n_arenas > 0)
        arena_free(loop->arenas[--loop->n_arenas]);
    free(loop->posts.list);
    free(loop->running.list);
    alarms_free(loop);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

void
loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    pthread_mutex_lock(&loop->lock);
    struct posts *p = &loop->posts;
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 64;
        p->list = realloc(p->list, p->room * sizeof *p->list);
        if (!p->list)
            abort();
    }
    p->list[p->n++] = (struct post){fn, arg};
    bool first = p->n == 1 && !loop->told_first;
    pthread_mutex_unlock(&loop->lock);
    if (first)
        uv_async_send(&loop->wake);
}

void
loop_tell(struct loop *loop, struct teller *t, unsigned what)
{
    pthread_mutex_lock(&loop->lock);
    bool first = loop_note(loop, t, what);
    pthread_mutex_unlock(&loop->lock);
    if (first)
        uv_async_send(&loop->wake);
}

bool
loop_note(struct loop *loop, struct teller *t, unsigned what)
{
    bool first = false;
    if (t->told == 0) {
        t->next = NULL;
        first = !loop->told_first && loop->posts.n == 0;
        if (loop->told_last)
            loop->told_last->next = t;
        else
            loop->told_first = t;
        loop->told_last = t;
    }
    t->told |= what;
    return first;
}

static void
listen_to_all(struct loop *loop, struct teller *first)
{
    for (struct teller *t = first, *next; t; t = next) {
        pthread_mutex_lock(&loop->lock);
        next = t->next;
        unsigned told = t->told;
        t->told = 0;
        pthread_mutex_unlock(&loop->lock);
        t->listen(t, told);
    }
}

bool
loop_is_mine(const struct loop *loop)
{
    return mine == loop;
}

struct call {
    void (*fn)(void *arg);
    void *arg;
    struct loop *loop;
    struct waiter waiter;
};

static void
run_call(void *arg)
{
    struct call *call = arg;
    call->fn(call->arg);
    waiter_wake(call->loop, &call->waiter);
}

void
loop_call(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    if (loop_is_mine(loop)) {
        fn(arg);
        return;
    }
    struct call call = {.fn = fn, .arg = arg, .loop = loop, .waiter.fiber = fiber_self()};
    loop_post(loop, run_call, &call);
    waiter_wait(loop, &call.waiter);
}

/* The lock is held across the wake, so that the waiter cannot end before we are through with it. */
void
waiter_wake(struct loop *loop, struct waiter *w)
{
    pthread_mutex_lock(&loop->lock);
    waiter_wake_held(w);
    pthread_mutex_unlock(&loop->lock);
}

void
waiter_wake_held(struct waiter *w)
{
    if (!w)
        return;
    w->woken = true;
    fiber_wake(w->fiber);
}

void
waiter_wait(struct loop *loop, struct waiter *w)
{
    for (;;) {
        pthread_mutex_lock(&loop->lock);
        bool woken = w->woken;
        pthread_mutex_unlock(&loop->lock);
        if (woken)
            return;
        fiber_park();
    }
}

struct arena *
loop_arena(struct loop *loop)
{
    loop->n_exchanges++;
    return loop->n_arenas > 0 ? loop->arenas[--loop->n_arenas] : arena_new();
}

void
loop_arena_back(struct loop *loop, struct arena *a)
{
    loop->n_exchanges--;
    if (loop->n_arenas == ARENAS_IDLE_MAX || arena_used(a) > ARENA_KEEP_BYTES_MAX) {
        arena_free(a);
        return;
    }
    arena_reset(a);
    loop->arenas[loop->n_arenas++] = a;
}

static void *
run(void *arg)
{
    struct loop *loop = arg;
    mine = loop;
    sigset_t all;
    sigfillset(&all); /* signals are for the main thread, and a broken pipe is an error to return */
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    pthread_setname_np(pthread_self(), "net");
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

static void
on_wake(uv_async_t *wake)
{
    struct loop *loop = (struct loop *)wake->loop;
    pthread_mutex_lock(&loop->lock);
    struct posts posts = loop->posts;
    loop->posts = loop->running;
    loop->posts.n = 0;
    struct teller *told = loop->told_first;
    loop->told_first = loop->told_last = NULL;
    pthread_mutex_unlock(&loop->lock);

    for (size_t i = 0; i < posts.n; i++)
        posts.list[i].fn(posts.list[i].arg);
    loop->running = posts;
    listen_to_all(loop, told);
}

/* The last thing of each turn: frames are sent, and a loop that has stopped ends. */
static void
on_before_poll(uv_prepare_t *prepare)
{
    struct loop *loop = (struct loop *)prepare->loop;
    while (loop->dirty) {
        struct conn *c = loop->dirty;
        loop->dirty = c->next_dirty;
        c->is_dirty = false;
        http2_flush(c);
    }
    if (!loop->stopping || loop->stopped || loop->n_exchanges > 0)
        return;
    for (const struct http_server *s = loop->servers; s; s = s->next)
        if (!s->drained)
            return;
    loop->stopped = true;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->before_poll, NULL);
    alarms_close(loop);
}

static void
stop(void *arg)
{
    struct loop *loop = arg;
    loop->stopping = true;
    for (struct http_server *s = loop->servers; s; s = s->next)
        server_stop(s);
}
