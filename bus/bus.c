/* Starting and stopping the bus, and its workers. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "bus/bus_private.h"

enum { ATTEMPTS_MAX_DEFAULT = 8 };
#define RETRY_FIRST_DEFAULT_US (100 * MILLISECOND_US)
#define RETRY_MOST_DEFAULT_US  (5 * MINUTE_US)
#define POLL_DEFAULT_US        (2 * SECOND_US)
#define LOOK_DEFAULT_US        SECOND_US
#define REPAIR_DEFAULT_US      (5 * SECOND_US)
#define TRY_AGAIN_US           (100 * MILLISECOND_US)

static void fill_in(struct bus_options *o);
static void add_tail(struct bus *bus, struct store *store);
static struct sched *sched_of(const struct bus *bus, const struct subscriber *s);
static int64_t durable_head(const struct tail *tail);
static void start_source(struct source *s, struct sched *sched);
static void wake_all(struct bus *bus);

struct bus *
bus_new(const struct bus_options *options)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (!bus)
        abort();
    bus->arena = arena_new();
    bus->options = *options;
    fill_in(&bus->options);
    bus->spread = options->publishers != NULL;
    assert(!options->broker || (bus->spread && options->broker_ops));
    if (!bus->spread)
        add_tail(bus, options->core);
    for (size_t i = 0; i < options->n_homes; i++)
        if (!tail_of_store(bus, options->homes[i].store))
            add_tail(bus, options->homes[i].store);
    return bus;
}

void
bus_subscribe(struct bus *bus, const struct subscriber *s)
{
    assert(!bus->started && bus->n_followers < FOLLOWERS_MAX);
    if (bus->spread && s->keeps_journal)
        for (size_t i = 0; i < bus->options.n_homes; i++)
            assert(bus->options.homes[i].store != s->store ||
                   strcmp(bus->options.homes[i].publisher, s->service) == 0);
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
    const struct bus_options *o = &bus->options;
    for (size_t i = 0; i < bus->n_tails; i++)
        bus->tails[i].head = durable_head(&bus->tails[i]);
    broadcast_plan(bus);
    for (size_t i = 0; i < bus->n_followers; i++)
        follower_plan(bus->followers[i]);
    bus->started = true;
    for (size_t i = 0; i < bus->n_followers; i++) {
        struct follower *f = bus->followers[i];
        struct sched *sched = sched_of(bus, &f->subscriber);
        for (size_t j = 0; j < f->n_sources; j++)
            start_source(f->sources[j], sched);
        worker_start(&f->worker, bus, sched, follower_run, f);
    }
    for (size_t i = 0; i < bus->n_heard; i++) {
        struct source *s = bus->heard[i];
        source_rewind(s, s->tail ? s->tail->head : -1);
        start_source(s, o->core_sched);
    }
    worker_start(&bus->broadcaster, bus, o->core_sched, broadcast_run, bus);
    /* Reading the tail is kept off the thread that serves requests. */
    struct sched *beside = o->listener_sched ? o->listener_sched : o->core_sched;
    for (size_t i = 0; i < bus->n_tails; i++)
        worker_start(&bus->tails[i].worker, bus, beside, tail_run, &bus->tails[i]);
    for (size_t i = 0; i < bus->n_tails && o->broker; i++) {
        bus->forwards[i].tail = &bus->tails[i];
        worker_start(&bus->forwards[i].asker.worker, bus, beside, forward_run, &bus->forwards[i]);
    }
    if (o->listeners)
        worker_start(&bus->relay, bus, o->core_sched, relay_run, bus);
}

void
bus_stop(struct bus *bus)
{
    if (!bus->started)
        return;
    spin_lock(&bus->lock);
    bus->stopping = true;
    spin_unlock(&bus->lock);
    wake_all(bus);

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
    for (size_t i = 0; i < bus->n_tails; i++)
        tail_forget(&bus->tails[i]);
    for (size_t i = 0; i < bus->n_followers; i++)
        free(bus->followers[i]);
    for (size_t i = 0; i < bus->n_listeners; i++)
        free(bus->listeners[i]);
    arena_free(bus->arena);
    free(bus);
}

void
bus_kick(void *arg, uint64_t batch)
{
    struct bus *bus = arg;
    (void)batch;
    /* Which store's batch it was is not known: those are looked at that were written to of late. */
    int64_t used_since_us = env.mono_us() - 2 * SECOND_US;
    for (size_t i = 0; i < bus->n_tails; i++)
        if (!bus->spread || bus->tails[i].published_us > used_since_us)
            worker_wake(&bus->tails[i].worker);
    if (bus->outbox_used_us > used_since_us)
        worker_wake(&bus->relay);
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

    if (until_mono_us > env.mono_us())
        fiber_park_until(until_mono_us);
    else
        fiber_yield(); /* parking until what is past would not let others run */
    spin_lock(&w->lock);
    w->waiting = w->woken = false;
    spin_unlock(&w->lock);
}

void
worker_rest(struct worker *w, int64_t us)
{
    int64_t until_us = env.mono_us() + us;
    while (worker_goes_on(w) && env.mono_us() < until_us)
        worker_wait(w, until_us);
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

static void
fill_in(struct bus_options *o)
{
    if (o->attempts_max == 0)
        o->attempts_max = ATTEMPTS_MAX_DEFAULT;
    if (o->retry_first_us == 0)
        o->retry_first_us = RETRY_FIRST_DEFAULT_US;
    if (o->retry_most_us == 0)
        o->retry_most_us = RETRY_MOST_DEFAULT_US;
    if (o->poll_us == 0)
        o->poll_us = POLL_DEFAULT_US;
    if (o->look_us == 0)
        o->look_us = LOOK_DEFAULT_US;
    if (o->repair_us == 0)
        o->repair_us = REPAIR_DEFAULT_US;
    if (o->repair_age_us == 0)
        o->repair_age_us = REPAIR_DEFAULT_US;
}

static void
add_tail(struct bus *bus, struct store *store)
{
    assert(bus->n_tails < TAILS_MAX);
    struct tail *tail = &bus->tails[bus->n_tails++];
    tail->bus = bus;
    tail->store = store;
}

static struct sched *
sched_of(const struct bus *bus, const struct subscriber *s)
{
    const struct bus_options *o = &bus->options;
    bool listens = o->listener_sched && s->store == o->listeners;
    return s->sched ? s->sched : listens ? o->listener_sched : o->core_sched;
}

/* Where broadcasts begin.  A store that cannot be read now will soon be tried again. */
static int64_t
durable_head(const struct tail *tail)
{
    for (;;) {
        struct arena *a = arena_new();
        struct tx_scope scope = {.arena = a};
        int64_t head = 0;
        struct tx *tx = tx_begin_read_in(tail->store, "bus", &scope);
        enum status st = journal_head(tx, &head);
        tx_end(tx);
        arena_free(a);
        if (st == OK)
            return head;
        fiber_sleep_us(TRY_AGAIN_US);
    }
}

static void
start_source(struct source *s, struct sched *sched)
{
    if (s->fetch)
        worker_start(&s->fetch->worker, s->bus, sched, fetch_run, s->fetch);
}

static void
wake_all(struct bus *bus)
{
    for (size_t i = 0; i < bus->n_tails; i++) {
        worker_wake(&bus->tails[i].worker);
        tail_wake_askers(&bus->tails[i]);
    }
    worker_wake(&bus->broadcaster);
    worker_wake(&bus->relay);
    for (size_t i = 0; i < bus->n_heard; i++)
        if (bus->heard[i]->fetch)
            worker_wake(&bus->heard[i]->fetch->worker);
    for (size_t i = 0; i < bus->n_followers; i++) {
        struct follower *f = bus->followers[i];
        worker_wake(&f->worker);
        for (size_t j = 0; j < f->n_sources; j++)
            if (f->sources[j]->fetch)
                worker_wake(&f->sources[j]->fetch->worker);
    }
}
