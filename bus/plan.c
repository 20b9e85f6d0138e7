/* Which sources somebody hears the publishers of his topics by. */
#include <assert.h>
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

static void add_source(struct follower *f, struct source *s);
static const char *const *topics_of_listeners(const struct bus *bus, struct arena *a);
static struct source *source_of(struct bus *bus, struct arena *a, const struct topic_set *topics);
static void ask_from_afar(struct source *s, struct arena *a, const char *const *topics,
                          struct worker *reader);
static void take_from_queue(struct source *s, struct arena *a, const char *name,
                            const char *const *topics, enum broker_kind kind,
                            struct worker *reader);

void
follower_plan(struct follower *f)
{
    struct bus *bus = f->bus;
    const struct bus_options *o = &bus->options;
    const struct subscriber *who = &f->subscriber;
    if (!bus->spread) {
        struct source *s = source_of(bus, bus->arena, &f->topics);
        s->tail = &bus->tails[0];
        s->key = who->service;
        add_source(f, s);
        return;
    }
    if (o->broker) {
        struct source *s = source_of(bus, bus->arena, &f->topics);
        take_from_queue(s, bus->arena, arena_printf(bus->arena, "souk.%s", who->service),
                        who->topics, who->shared ? BROKER_SHARED : BROKER_ORDERED, &f->worker);
        add_source(f, s);
    }
    for (size_t i = 0; o->publishers[i]; i++) {
        if (!topic_set_hears(&f->topics, o->publishers[i]))
            continue;
        struct source *s = source_of(bus, bus->arena, &f->topics);
        s->publisher = o->publishers[i];
        s->key = cursor_key(bus->arena, who->service, s->publisher);
        s->tail = o->broker ? NULL : tail_of_publisher(bus, s->publisher);
        if (!s->tail)
            ask_from_afar(s, bus->arena, who->topics, &f->worker);
        if (o->broker) {
            s->fetch->compares = who;
            s->fetch->queue = f->sources[0]->queue;
        }
        add_source(f, s);
    }
}

void
broadcast_plan(struct bus *bus)
{
    static const char *const everything[] = {"*", NULL};
    const struct bus_options *o = &bus->options;
    struct arena *a = bus->arena;
    const char *const *topics = bus->spread ? topics_of_listeners(bus, a) : everything;
    topic_set_fill(&bus->heard_topics, topics);
    if (!bus->spread) {
        struct source *s = source_of(bus, a, &bus->heard_topics);
        s->tail = &bus->tails[0];
        bus->heard[bus->n_heard++] = s;
        return;
    }
    if (o->broker && topics[0]) {
        struct source *s = source_of(bus, a, &bus->heard_topics);
        take_from_queue(s, a, arena_printf(a, "souk.broadcast.%s", o->instance), topics,
                        BROKER_BROADCAST, &bus->broadcaster);
        bus->heard[bus->n_heard++] = s;
        return;
    }
    for (size_t i = 0; o->publishers[i]; i++) {
        if (!topic_set_hears(&bus->heard_topics, o->publishers[i]))
            continue;
        struct source *s = source_of(bus, a, &bus->heard_topics);
        s->publisher = o->publishers[i];
        s->tail = tail_of_publisher(bus, s->publisher);
        if (!s->tail)
            ask_from_afar(s, a, topics, &bus->broadcaster);
        bus->heard[bus->n_heard++] = s;
    }
}

static void
add_source(struct follower *f, struct source *s)
{
    assert(f->n_sources < SOURCES_MAX);
    f->sources[f->n_sources++] = s;
}

/* The union of what is listened to; "*" where somebody wants all. */
static const char *const *
topics_of_listeners(const struct bus *bus, struct arena *a)
{
    const char **ret = arena_alloc(a, (TOPICS_MAX + 1) * sizeof *ret);
    size_t n = 0;
    for (size_t i = 0; i < bus->n_listeners; i++)
        for (size_t j = 0; j < bus->listeners[i]->topics.n; j++) {
            const char *name = bus->listeners[i]->topics.names[j];
            size_t k = 0;
            while (k < n && strcmp(ret[k], name) != 0)
                k++;
            assert(k < TOPICS_MAX);
            if (k == n)
                ret[n++] = name;
        }
    for (size_t i = 0; i < n; i++)
        if (strcmp(ret[i], "*") == 0)
            ret[0] = "*", ret[1] = NULL;
    return ret;
}

static struct source *
source_of(struct bus *bus, struct arena *a, const struct topic_set *topics)
{
    struct source *s = arena_alloc(a, sizeof *s);
    s->bus = bus;
    s->topics = topics;
    return s;
}

static void
ask_from_afar(struct source *s, struct arena *a, const char *const *topics, struct worker *reader)
{
    struct fetch *x = arena_alloc(a, sizeof *x);
    x->bus = s->bus;
    x->publisher = s->publisher;
    x->topics = topics;
    x->reader = reader;
    s->fetch = x;
}

static void
take_from_queue(struct source *s, struct arena *a, const char *name, const char *const *topics,
                enum broker_kind kind, struct worker *reader)
{
    struct queue *q = arena_alloc(a, sizeof *q);
    q->bus = s->bus;
    q->name = name;
    q->topics = topics;
    q->kind = kind;
    q->reader = reader;
    s->queue = q;
}
