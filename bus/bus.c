/* Starting and stopping the bus, and its workers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"

enum { ATTEMPTS_MAX_DEFAULT = 8 };
#define RETRY_FIRST_DEFAULT_US (100 * MILLISECOND_US)
#define RETRY_MOST_DEFAULT_US  (5 * MINUTE_US)
#define DRAIN_LOOK_US          MILLISECOND_US
#define TRY_AGAIN_US           (100 * MILLISECOND_US)

static struct sched *sched_of(struct bus *bus, const struct store *store);
static int64_t durable_head(struct bus *bus);
static enum status flush_head(struct bus *bus, int64_t *ret);
static bool everyone_at(const struct bus *bus, int64_t position);

struct bus *
bus_new(const struct bus_options *options)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        abort();
    bus->options = *options;
    if (bus->options.attempts_max == 0)
        bus->options.attempts_max = ATTEMPTS_MAX_DEFAULT;
    if (bus->options.retry_first_us == 0)
        bus->options.retry_first_us = RETRY_FIRST_DEFAULT_US;
    if (bus->options.retry_most_us == 0)
        bus->options.retry_most_us = RETRY_MOST_DEFAULT_US;
    return bus;
}

void
bus_subscribe(struct bus *bus, const struct subscriber *s)
{
    assert(!bus->started && bus->n_followers < FOLLOWERS_MAX);
    struct follower *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->bus = bus;
    f->subscriber = *s;
    f->next_try_us = INT64_MAX;
    topic_set_fill(&f->topics, s->topics);
    bus->followers[bus->n_followers++] = f;
}

void
bus_start(struct bus *bus)
{
    bus->head = bus->heard = durable_head(bus);
    bus->started = true;
    for (size_t i = 0; i < bus->n_followers; i++) {
        struct follower *f = bus->followers[i];
        worker_start(&f->worker, bus, sched_of(bus, f->subscriber.store), follower_run, f);
    }
    worker_start(&bus->broadcaster, bus, bus->options.core_sched, broadcast_run, bus);
    /* Reading the tail is kept off the thread that serves requests. */
    struct sched *beside =
        bus->options.listener_sched ? bus->options.listener_sched : bus->options.core_sched;
    worker_start(&bus->tail, bus, beside, tail_run, bus);
    if (bus->options.listeners)
        worker_start(&bus->relay, bus, bus->options.core_sched, relay_run, bus);
}

void
bus_stop(struct bus *bus)
{
    if (!bus->started)
        return;
    bus->stopping = true;
    worker_wake(&bus->tail);
    worker_wake(&bus->broadcaster);
    worker_wake(&bus->relay);
    for (size_t i = 0; i < bus->n_followers; i++)
        worker_wake(&bus->followers[i]->worker);

    for (;;) {
        spin_lock(&bus->lock);
        bus->stopper = fiber_self();
        size_t running = bus->running;
        spin_unlock(&bus->lock);
        if (running == 0)
            break;
        fiber_park();
    }
    bus->started = false;
}

void
bus_free(struct bus *bus)
{
    if (!bus)
        return;
    assert(!bus->started);
    tail_forget(bus);
    for (size_t i = 0; i < bus->n_followers; i++)
        free(bus->followers[i]);
    for (size_t i = 0; i < bus->n_listeners; i++)
        free(bus->listeners[i]);
    free(bus);
}

void
bus_kick(void *arg, uint64_t batch)
{
    struct bus *bus = arg;
    (void)batch;
    worker_wake(&bus->tail);
    /* Which store's batch it was is not known: the relay looks while its outbox is in use. */
    if (env.mono_us() - bus->outbox_used_us < 2 * SECOND_US)
        worker_wake(&bus->relay);
}

bool
bus_drained(struct bus *bus, int64_t timeout_us)
{
    int64_t until_us = env.mono_us() + timeout_us;
    if (bus->options.listeners && !relay_drained(bus, until_us))
        return false;

    int64_t head = 0;
    while (flush_head(bus, &head) != OK) {
        if (env.mono_us() >= until_us)
            return false;
        fiber_sleep_us(DRAIN_LOOK_US);
    }
    while (!everyone_at(bus, head)) {
        if (env.mono_us() >= until_us)
            return false;
        fiber_sleep_us(DRAIN_LOOK_US);
    }
    return true;
}

size_t
bus_lags(struct bus *bus, struct bus_lag *out, size_t max)
{
    size_t n = bus->n_followers < max ? bus->n_followers : max;
    for (size_t i = 0; i < n; i++) {
        const struct follower *f = bus->followers[i];
        int64_t cursor = f->cursor, behind = bus->head - cursor;
        out[i] = (struct bus_lag){
            .subscriber = f->subscriber.service,
            .cursor = cursor,
            .behind = behind > 0 ? behind : 0,
            .parked = f->parked,
        };
    }
    return n;
}

void
worker_start(struct worker *w, struct bus *bus, struct sched *sched, void (*run)(void *), void *arg)
{
    w->bus = bus;
    spin_lock(&bus->lock);
    bus->running++;
    spin_unlock(&bus->lock);
    bool spawned = sched_spawn(sched, run, arg);
    assert(spawned);
    (void)spawned;
}

bool
worker_goes_on(const struct worker *w)
{
    return !w->bus->stopping;
}

void
worker_wait(struct worker *w, int64_t until_mono_us)
{
    spin_lock(&w->lock);
    w->fiber = fiber_self();
    w->waiting = !w->woken;
    w->woken = false;
    bool waits = w->waiting;
    spin_unlock(&w->lock);
    if (!waits)
        return;

    fiber_park_until(until_mono_us);
    spin_lock(&w->lock);
    w->waiting = w->woken = false;
    spin_unlock(&w->lock);
}

void
worker_wake(struct worker *w)
{
    spin_lock(&w->lock);
    bool first = !w->woken;
    w->woken = true;
    if (first && w->waiting)
        fiber_wake(w->fiber);
    spin_unlock(&w->lock);
}

void
worker_end(struct worker *w)
{
    struct bus *bus = w->bus;
    spin_lock(&bus->lock);
    if (--bus->running == 0 && bus->stopper)
        fiber_wake(bus->stopper);
    spin_unlock(&bus->lock);
}

static struct sched *
sched_of(struct bus *bus, const struct store *store)
{
    bool listens = store == bus->options.listeners && bus->options.listener_sched;
    return listens ? bus->options.listener_sched : bus->options.core_sched;
}

/* Where broadcasts begin.  A store that cannot be read now will soon be tried again. */
static int64_t
durable_head(struct bus *bus)
{
    for (;;) {
        struct arena *a = arena_new();
        struct tx_scope scope = {.arena = a};
        int64_t head = 0;
        struct tx *tx = tx_begin_read_in(bus->options.core, "bus", &scope);
        enum status st = journal_head(tx, &head);
        tx_end(tx);
        arena_free(a);
        if (st == OK)
            return head;
        fiber_sleep_us(TRY_AGAIN_US);
    }
}

/* The newest position of all, ordered or durable, once it is durable. */
static enum status
flush_head(struct bus *bus, int64_t *ret)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    /* Begun for writing, so that it sees what is ordered and not yet on disk. */
    struct tx *tx = tx_begin_in(bus->options.core, "bus", &scope);
    enum status st = journal_head(tx, ret);
    tx_end(tx);
    if (st == OK)
        st = store_wait(&scope);
    arena_free(a);
    return st;
}

static bool
everyone_at(const struct bus *bus, int64_t position)
{
    for (size_t i = 0; i < bus->n_followers; i++)
        if (bus->followers[i]->cursor < position)
            return false;
    return bus->heard >= position;
}
