/* Broadcasts: durable events, heard outside any transaction, from when somebody began to listen. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "bus/bus_private.h"

static const struct event *next_event(struct bus *bus, struct source **ret);
static bool passed_over(struct bus *bus);
static void tell(struct bus *bus, const struct event *e);
static bool is_new(struct bus *bus, const struct event *e);

void
bus_listen(struct bus *bus, const char *const *topics, broadcast_fn *fn, void *arg)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    topic_set_fill(&l->topics, topics);
    l->fn = fn;
    l->arg = arg;
    l->from = bus->spread ? 0 : bus->tails[0].head;
    spin_lock(&bus->lock);
    size_t n = bus->n_listeners;
    assert(n < LISTENERS_MAX && !(bus->spread && bus->started));
    bus->listeners[n] = l;
    bus->n_listeners = n + 1;
    spin_unlock(&bus->lock);
}

void
broadcast_run(void *arg)
{
    struct bus *bus = arg;
    while (worker_goes_on(&bus->broadcaster)) {
        struct source *s;
        const struct event *e = next_event(bus, &s);
        if (!e) {
            if (!passed_over(bus))
                worker_wait(&bus->broadcaster, INT64_MAX);
            continue;
        }
        tell(bus, e);
        source_done(s);
        if (s->next == s->page->n)
            fiber_yield();
    }
    for (size_t i = 0; i < bus->n_heard; i++)
        source_rest(bus->heard[i]);
    worker_end(&bus->broadcaster);
}

static const struct event *
next_event(struct bus *bus, struct source **ret)
{
    for (size_t i = 0; i < bus->n_heard; i++) {
        *ret = bus->heard[bus->heard_turn++ % bus->n_heard];
        const struct event *e = source_next(*ret, false);
        if (e)
            return e;
    }
    return NULL;
}

/* What was passed over is done; true if there was something. */
static bool
passed_over(struct bus *bus)
{
    bool moved = false;
    for (size_t i = 0; i < bus->n_heard; i++) {
        struct source *s = bus->heard[i];
        moved |= s->position != s->cursor;
        source_done(s);
    }
    return moved;
}

static void
tell(struct bus *bus, const struct event *e)
{
    size_t n = bus->n_listeners;
    uint64_t hash = topic_hash(e->topic);
    if (bus->options.broker && !is_new(bus, e))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct listener *l = bus->listeners[i];
        if (e->position > l->from && topic_set_has(&l->topics, e->topic, hash))
            l->fn(l->arg, e);
    }
}

/* A broker may bring an event again, soon after the first time. */
static bool
is_new(struct bus *bus, const struct event *e)
{
    uint64_t hash = hash64(e->id, strlen(e->id));
    for (size_t i = 0; i < HEARD_MAX; i++)
        if (bus->heard_ids[i] == hash)
            return false;
    bus->heard_ids[bus->heard_at++ % HEARD_MAX] = hash;
    return true;
}
