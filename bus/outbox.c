/* Outboxes between processes: answering about those at home here, asking about the others. */
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

static enum status enter(struct bus *bus, struct asker *asker);
static void collect(struct source *s, const struct outbox_ask *ask, size_t most, struct arena *a,
                    struct outbox_page *ret);
static void copy_event(struct event *ret, const struct event *e, bool position_only,
                       struct arena *a);
static size_t bytes_of(const struct event *e);

struct tail *
tail_of_store(struct bus *bus, const struct store *store)
{
    for (size_t i = 0; i < bus->n_tails; i++)
        if (bus->tails[i].store == store)
            return &bus->tails[i];
    return NULL;
}

struct tail *
tail_of_publisher(struct bus *bus, const char *publisher)
{
    const struct bus_options *o = &bus->options;
    for (size_t i = 0; i < o->n_homes; i++)
        if (strcmp(o->homes[i].publisher, publisher) == 0)
            return tail_of_store(bus, o->homes[i].store);
    return NULL;
}

enum status
outbox_ask(struct bus *bus, const char *publisher, const struct outbox_ask *ask, struct arena *a,
           struct outbox_page *ret)
{
    if (tail_of_publisher(bus, publisher))
        return bus_serve_outbox(bus, publisher, ask, a, ret);
    const struct bus_options *o = &bus->options;
    return o->read_outbox ? o->read_outbox(o->read_outbox_arg, publisher, ask, a, ret)
                          : UNAVAILABLE;
}

enum status
bus_serve_outbox(struct bus *bus, const char *publisher, const struct outbox_ask *ask,
                 struct arena *a, struct outbox_page *ret)
{
    struct tail *tail = tail_of_publisher(bus, publisher);
    if (!tail)
        return NOT_FOUND;
    struct asker asker = {0};
    enum status st = enter(bus, &asker);
    if (st)
        return st;
    tail_enter(tail, &asker);
    struct topic_set topics;
    topic_set_fill(&topics, ask->topics);
    struct source s = {.bus = bus, .topics = &topics, .publisher = publisher, .tail = tail};
    s.position = ask->after < 0 ? tail->head : ask->after;
    int64_t wait_us = ask->wait_us < OUTBOX_WAIT_US_MAX ? ask->wait_us : OUTBOX_WAIT_US_MAX;
    int64_t until_us = env.mono_us() + (ask->older_than_us > 0 ? 0 : wait_us);
    size_t most = ask->most < OUTBOX_EVENTS_MAX ? ask->most : OUTBOX_EVENTS_MAX;
    *ret = (struct outbox_page){.events = arena_alloc(a, most * sizeof *ret->events)};
    for (;;) {
        collect(&s, ask, most, a, ret);
        bool at_end = s.position >= tail->head;
        if (ret->n > 0 || !at_end || ask->most == 0 || env.mono_us() >= until_us ||
            !worker_goes_on(&asker.worker))
            break;
        worker_wait(&asker.worker, until_us);
    }
    source_rest(&s);
    tail_leave(tail, &asker);
    worker_end(&asker.worker);
    return OK;
}

/* bus_stop waits for those who are in here. */
static enum status
enter(struct bus *bus, struct asker *asker)
{
    asker->worker.bus = bus;
    spin_lock(&bus->lock);
    bool open = bus->started && !bus->stopping;
    if (open)
        bus->running++;
    spin_unlock(&bus->lock);
    return open ? OK : UNAVAILABLE;
}

/* Takes what is there behind s, within the bounds of an answer. */
static void
collect(struct source *s, const struct outbox_ask *ask, size_t most, struct arena *a,
        struct outbox_page *ret)
{
    int64_t youngest_us = ask->older_than_us > 0 ? env.now_us() - ask->older_than_us : INT64_MAX;
    size_t bytes = 0;
    int64_t upto = s->position;
    while (ret->n < most) {
        const struct event *e = source_next(s, false);
        if (!e) {
            upto = s->position;
            break;
        }
        bytes += ask->positions_only ? 0 : bytes_of(e);
        if (e->time_us > youngest_us || (bytes > OUTBOX_BYTES_MAX && ret->n > 0))
            break;
        copy_event(&ret->events[ret->n++], e, ask->positions_only, a);
        upto = e->position;
    }
    ret->upto = upto;
    ret->head = s->tail->head;
}

static void
copy_event(struct event *ret, const struct event *e, bool position_only, struct arena *a)
{
    *ret = (struct event){
        .position = e->position,
        .id = arena_strdup(a, e->id),
        .topic = arena_strdup(a, e->topic),
        .publisher = arena_strdup(a, e->publisher),
        .subject = arena_strdup(a, e->subject),
        .type = arena_strdup(a, e->type),
        .sequence = e->sequence,
        .time_us = e->time_us,
    };
    if (position_only)
        return;
    ret->correlation_id = arena_strdup(a, e->correlation_id);
    ret->causation_id = arena_strdup(a, e->causation_id);
    ret->traceparent = arena_strdup(a, e->traceparent);
    ret->data.len = e->data.len;
    ret->data.data = arena_copy(a, e->data.data, e->data.len);
}

static size_t
bytes_of(const struct event *e)
{
    return e->data.len + sizeof *e + strlen(e->id) + strlen(e->topic) + strlen(e->subject) +
           strlen(e->type);
}
