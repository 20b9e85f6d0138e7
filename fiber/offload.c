#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "base/env.h"
#include "fiber/wait.h"

/* A thread of the pool that finds nothing to do for so long ends. */
enum { IDLE_SECONDS = 5 };

struct errand {
    void (*fn)(void *arg);
    void *arg;
    struct fiber *whose;
    struct errand *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct errand *first, *last;
static size_t n_waiting;
static int threads, idle;

static void *worker(void *unused);
static bool wait_for_more(void);
static void grow(void);

static void
prepare(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&more, &attr);
    pthread_condattr_destroy(&attr);
}

void
fiber_offload(void (*fn)(void *arg), void *arg)
{
    if (env.single_thread) {
        fn(arg);
        return;
    }
    pthread_once(&once, prepare);
    struct errand mine = {.fn = fn, .arg = arg, .whose = fiber_self()};
    pthread_mutex_lock(&lock);
    if (last)
        last->next = &mine;
    else
        first = &mine;
    last = &mine;
    n_waiting++;
    if (n_waiting > (size_t)idle && threads < OFFLOAD_THREADS_MAX)
        grow();
    pthread_cond_signal(&more);
    pthread_mutex_unlock(&lock);
    fiber_wait_inside();
}

static void
grow(void)
{
    if (thread_start_detached("offload", worker, NULL))
        threads++;
    else if (threads == 0)
        abort(); /* nobody would ever do it */
}

static void *
worker(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    while (first || wait_for_more()) {
        struct errand *e = first;
        first = e->next;
        if (!first)
            last = NULL;
        n_waiting--;
        pthread_mutex_unlock(&lock);
        struct fiber *whose = e->whose;
        e->fn(e->arg);
        fiber_wake_inside(whose);
        pthread_mutex_lock(&lock);
    }
    threads--;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static bool
wait_for_more(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    idle++;
    while (!first && pthread_cond_timedwait(&more, &lock, &until) == 0)
        ;
    idle--;
    return first != NULL;
}
