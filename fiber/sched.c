#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "fiber/futex.h"
#include "fiber/inside.h"
#include "fiber/wait.h"

enum { NAME_CHARS_MAX = 15 };

struct sched {
    char name[NAME_CHARS_MAX + 1];
    size_t fibers_max;
    size_t live;         /* atomic */
    struct fiber *inbox; /* atomic: made ready by other threads, newest first */
    unsigned asleep;     /* atomic: enum sleep; on a futex it sleeps on this word */
    bool stopping;       /* atomic */
    bool threaded;
    pthread_t thread;
    struct sched *next; /* in the list of all, or of those out of use */

    /* The thread's own from here. */
    struct fiber *ready, *ready_last;
    struct fiber *running;
    struct context home;
    struct timers timers;
    struct poller poller;
};

enum sleep { AWAKE, ON_FUTEX, IN_POLL };

static void *thread_main(void *sched);
static bool run_round(struct sched *s);
static void run_one(struct sched *s, struct fiber *f);
static void take_inbox(struct sched *s);
static void wake_sleepers(struct sched *s);
static void sleep_until_ready(struct sched *s);
static void wake_thread(struct sched *s);
static void ready_add(struct sched *s, struct fiber *f);
static struct sched *sched_take(void);

/* A scheduler that has ended is used again, never freed: whoever woke its last fiber from another
 * thread may still have to look whether the thread sleeps. */
static struct spin all_lock;
static struct sched *all, *out_of_use;

static __thread struct sched *here;

struct sched *
sched_new(const char *name, size_t fibers_max)
{
    struct sched *s = sched_take();
    snprintf(s->name, sizeof s->name, "%s", name);
    s->fibers_max = fibers_max;
    s->live = 0;
    s->inbox = NULL;
    s->stopping = false;
    s->ready = s->ready_last = s->running = NULL;
    s->threaded = !env.single_thread;
    spin_lock(&all_lock);
    s->next = all;
    all = s;
    spin_unlock(&all_lock);
    if (s->threaded)
        s->thread = thread_start(s->name, thread_main, s);
    return s;
}

void
sched_free(struct sched *s)
{
    if (!s)
        return;
    assert(here != s);
    __atomic_store_n(&s->stopping, true, __ATOMIC_SEQ_CST);
    if (s->threaded) {
        wake_thread(s);
        pthread_join(s->thread, NULL);
    } else {
        while (sched_fibers(s) > 0)
            sched_run_all();
    }
    timers_free(&s->timers);

    spin_lock(&all_lock);
    struct sched **at = &all;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    s->next = out_of_use;
    out_of_use = s;
    spin_unlock(&all_lock);
}

bool
sched_spawn(struct sched *s, void (*fn)(void *arg), void *arg)
{
    if (__atomic_add_fetch(&s->live, 1, __ATOMIC_RELAXED) > s->fibers_max)
        goto full;
    struct fiber *f = fiber_take();
    if (!f)
        goto full;
    __atomic_store_n(&f->state, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&f->sched, s, __ATOMIC_RELAXED);
    f->fn = fn;
    f->arg = arg;
    f->ended = false;
    sched_enqueue(f);
    return true;

full:
    __atomic_sub_fetch(&s->live, 1, __ATOMIC_RELAXED);
    return false;
}

size_t
sched_fibers(const struct sched *s)
{
    return __atomic_load_n(&s->live, __ATOMIC_ACQUIRE);
}

struct sched *
sched_self(void)
{
    return here;
}

bool
sched_run_ready(struct sched *s)
{
    assert(env.single_thread && !sched_running());
    struct sched *outer = here;
    here = s;
    context_of_thread(&s->home);
    bool ran = run_round(s);
    here = outer;
    return ran;
}

int64_t
sched_next_wake_us(const struct sched *s)
{
    return timers_next_us(&s->timers);
}

void
fiber_yield(void)
{
    struct fiber *f = sched_running();
    if (f) {
        ready_add(f->sched, f);
        sched_leave(f);
    } else if (!env.single_thread || !sched_run_all()) {
        sched_yield();
    }
}

void
sched_enqueue(struct fiber *f)
{
    struct sched *s = f->sched;
    if (s == here) {
        ready_add(s, f);
        return;
    }
    f->next = __atomic_load_n(&s->inbox, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&s->inbox, &f->next, f, true, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED))
        ;
    /* f may have run and ended by now.  Only the first to find the thread asleep wakes it. */
    if (__atomic_load_n(&s->asleep, __ATOMIC_SEQ_CST))
        wake_thread(s);
}

void
sched_leave(struct fiber *f)
{
    context_switch(&f->context, &f->sched->home);
    context_arrived(&f->sched->home, &f->context);
}

struct timers *
sched_timers(struct sched *s)
{
    return &s->timers;
}

struct poller *
sched_poller(struct sched *s)
{
    return &s->poller;
}

struct fiber *
sched_running(void)
{
    return here ? here->running : NULL;
}

bool
sched_run_all(void)
{
    bool ran = false;
    for (struct sched *next, *s = all; s; s = next) {
        next = s->next;
        ran |= sched_run_ready(s);
    }
    return ran;
}

void
fiber_main(void)
{
    for (struct fiber *f = sched_running();; f->ended = true, sched_leave(f)) {
        if (!f->started) {
            f->started = true;
            context_arrived(&f->sched->home, &f->context);
        }
        f->fn(f->arg);
    }
}

static void *
thread_main(void *sched)
{
    struct sched *s = sched;
    here = s;
    context_of_thread(&s->home);
    while (run_round(s) || !__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE) || sched_fibers(s) > 0)
        if (!s->ready)
            sleep_until_ready(s);
    here = NULL;
    return NULL;
}

/* Runs each fiber that is ready now once; those that they make ready wait for the next round. */
static bool
run_round(struct sched *s)
{
    take_inbox(s);
    wake_sleepers(s);
    if (s->poller.n > 0)
        poller_look(&s->poller, 0);
    struct fiber *first = s->ready;
    s->ready = s->ready_last = NULL;
    for (struct fiber *next, *f = first; f; f = next) {
        next = f->next;
        run_one(s, f);
    }
    return first != NULL;
}

static void
run_one(struct sched *s, struct fiber *f)
{
    s->running = f;
    context_switch(&s->home, &f->context);
    context_arrived(&f->context, &s->home);
    s->running = NULL;
    if (!f->ended)
        return;
    fiber_give_back(f);
    __atomic_sub_fetch(&s->live, 1, __ATOMIC_RELEASE);
}

/* What came from other threads, in the order in which it came. */
static void
take_inbox(struct sched *s)
{
    if (!__atomic_load_n(&s->inbox, __ATOMIC_RELAXED))
        return;
    struct fiber *newest = __atomic_exchange_n(&s->inbox, NULL, __ATOMIC_ACQUIRE), *oldest = NULL;
    for (struct fiber *next; newest; newest = next) {
        next = newest->next;
        newest->next = oldest;
        oldest = newest;
    }
    for (struct fiber *next; oldest; oldest = next) {
        next = oldest->next;
        ready_add(s, oldest);
    }
}

static void
wake_sleepers(struct sched *s)
{
    if (!s->timers.n)
        return;
    int64_t now_us = env.mono_us();
    while (timers_next_us(&s->timers) <= now_us) {
        struct fiber *f = s->timers.heap[1];
        timers_remove(&s->timers, f);
        if (fiber_unpark(f, WAKE_USER) || fiber_unpark(f, WAKE_INSIDE)) {
            f->timed_out = true;
            ready_add(s, f);
        }
    }
}

static void
sleep_until_ready(struct sched *s)
{
    int64_t next_us = timers_next_us(&s->timers);
    int64_t for_us = next_us == FOREVER ? FOREVER : next_us - env.mono_us();
    if (for_us <= 0)
        return;
    bool polls = s->poller.n > 0;
    __atomic_store_n(&s->asleep, polls ? IN_POLL : ON_FUTEX, __ATOMIC_SEQ_CST);
    bool done = __atomic_load_n(&s->stopping, __ATOMIC_SEQ_CST) && sched_fibers(s) == 0;
    if (!__atomic_load_n(&s->inbox, __ATOMIC_SEQ_CST) && !done) {
        if (polls)
            poller_look(&s->poller, for_us);
        else
            futex_wait(&s->asleep, ON_FUTEX, for_us);
    }
    __atomic_store_n(&s->asleep, AWAKE, __ATOMIC_SEQ_CST);
}

static void
wake_thread(struct sched *s)
{
    unsigned slept = __atomic_exchange_n(&s->asleep, AWAKE, __ATOMIC_SEQ_CST);
    if (slept == ON_FUTEX)
        futex_wake_one(&s->asleep);
    else if (slept == IN_POLL)
        poller_ring(&s->poller);
}

static void
ready_add(struct sched *s, struct fiber *f)
{
    f->next = NULL;
    if (s->ready)
        s->ready_last->next = f;
    else
        s->ready = f;
    s->ready_last = f;
}

static struct sched *
sched_take(void)
{
    spin_lock(&all_lock);
    struct sched *s = out_of_use;
    if (s)
        out_of_use = s->next;
    spin_unlock(&all_lock);
    if (!s)
        s = calloc(1, sizeof *s);
    if (!s)
        abort();
    return s;
}
