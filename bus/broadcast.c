/* Broadcasts: durable events, heard outside any transaction, from when somebody began to listen. */
#include <assert.h>
#include <stdlib.h>

#include "bus/bus_private.h"

static const char *const everything[] = {"*", NULL};

static void tell(struct bus *bus, const struct event *e);

void
bus_listen(struct bus *bus, const char *const *topics, broadcast_fn *fn, void *arg)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    topic_set_fill(&l->topics, topics);
    l->fn = fn;
    l->arg = arg;
    l->from = bus->head;
    spin_lock(&bus->lock);
    size_t n = bus->n_listeners;
    assert(n < LISTENERS_MAX);
    bus->listeners[n] = l;
    bus->n_listeners = n + 1;
    spin_unlock(&bus->lock);
}

void
broadcast_run(void *arg)
{
    struct bus *bus = arg;
    struct topic_set all;
    topic_set_fill(&all, everything);
    struct walk w = {.bus = bus, .topics = &all, .position = bus->heard};
    while (worker_goes_on(&bus->broadcaster)) {
        const struct event *e = walk_next(&w, false);
        if (!e) {
            worker_wait(&bus->broadcaster, INT64_MAX);
            continue;
        }
        tell(bus, e);
        bus->heard = e->position;
        if (w.next == w.page->n)
            fiber_yield();
    }
    walk_end(&w);
    worker_end(&bus->broadcaster);
}

static void
tell(struct bus *bus, const struct event *e)
{
    size_t n = bus->n_listeners;
    uint64_t hash = topic_hash(e->topic);
    for (size_t i = 0; i < n; i++) {
        const struct listener *l = bus->listeners[i];
        if (e->position > l->from && topic_set_has(&l->topics, e->topic, hash))
            l->fn(l->arg, e);
    }
}
