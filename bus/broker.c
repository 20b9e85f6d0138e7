#include "bus/broker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "bus/broker_inside.h"

/* A tag is the generation of the connection and the message's number within it. */
enum { SERIAL_BITS = 40 };
#define SERIAL_MASK ((UINT64_C(1) << SERIAL_BITS) - 1)

static struct window *window_new(const struct event *events, size_t n);
static void window_free(struct window *w);
static bool window_leave(struct broker *b, struct window *w, bool *ret_confirmed);
static void window_append(struct window **list, struct window *w);
static void window_remove(struct window **list, const struct window *w);
static void windows_lost(struct broker *b);
static void settle(struct broker *b, struct window *w, size_t i, enum fate fate);
static struct parcel *queue_restart(struct broker_queue *q, struct parcel *stale);
static void queue_forget(struct broker_queue *q);
static void parcels_free(struct parcel *first);

enum status
broker_open(const char *url, const char *client_name, struct arena *a, struct broker **ret,
            const char **why)
{
    struct broker *b = arena_alloc(a, sizeof *b);
    if (!broker_url_parse(a, url, &b->url, why))
        return INVALID_ARGUMENT;
    b->client_name = arena_strdup(a, client_name);
    if (!link_start(&b->publishing, b, true) || !link_start(&b->consuming, b, false)) {
        fprintf(stderr, "souk: no thread can be started for the broker\n");
        abort();
    }
    *ret = b;
    return OK;
}

void
broker_free(struct broker *b)
{
    b->stopping = true;
    link_stop(&b->publishing);
    link_stop(&b->consuming);
    assert(!b->waiting && !b->sent);
    for (size_t i = 0; i < QUEUES_MAX; i++)
        assert(!b->queues[i]);
}

struct broker_figures
broker_figures(struct broker *b)
{
    spin_lock(&b->lock);
    struct broker_figures figures = {
        .connected = b->publishing.serving && b->consuming.serving,
        .connections = b->publishing.connections + b->consuming.connections,
        .published = b->published,
        .confirmed = b->confirmed,
        .delivered = b->delivered,
        .refused = b->refused,
    };
    const struct link *told = b->publishing.serving ? &b->consuming : &b->publishing;
    snprintf(figures.error, sizeof figures.error, "%s", figures.connected ? "" : told->error);
    spin_unlock(&b->lock);
    return figures;
}

/* ---- publishing ------------------------------------------------------------------------------ */

enum status
broker_publish(struct broker *b, const struct event *events, size_t n, int64_t until_mono_us,
               bool *ret_confirmed)
{
    assert(n <= BROKER_WINDOW_MAX);
    if (n == 0)
        return OK;
    struct window *w = window_new(events, n);
    spin_lock(&b->lock);
    window_append(&b->waiting, w);
    spin_unlock(&b->lock);
    link_kick(&b->publishing);

    for (bool over = false, in_time = true; !over && in_time;) {
        in_time = fiber_park_until(until_mono_us);
        spin_lock(&b->lock);
        over = w->over;
        spin_unlock(&b->lock);
    }
    return window_leave(b, w, ret_confirmed) ? OK : UNAVAILABLE;
}

struct window *
window_next(struct link *l)
{
    struct broker *b = l->broker;
    spin_lock(&b->lock);
    struct window *w = b->waiting;
    if (w) {
        b->waiting = w->next;
        w->on_way = true;
        w->first = l->sent + 1;
        l->sent += w->n;
        b->published += w->n;
        window_append(&b->sent, w);
    }
    spin_unlock(&b->lock);
    return w;
}

void
window_sent(struct link *l, struct window *w)
{
    struct broker *b = l->broker;
    spin_lock(&b->lock);
    w->on_way = false;
    bool left = w->left;
    if (left)
        window_remove(&b->sent, w);
    spin_unlock(&b->lock);
    if (left)
        window_free(w);
}

void
window_settle(struct link *l, uint64_t number, bool multiple, enum fate fate)
{
    struct broker *b = l->broker;
    spin_lock(&b->lock);
    for (struct window *w = b->sent; w && w->first <= number; w = w->next) {
        uint64_t last = w->first + w->n - 1, to = number < last ? number : last;
        for (uint64_t i = multiple ? w->first : number; i <= to; i++)
            settle(b, w, (size_t)(i - w->first), fate);
    }
    spin_unlock(&b->lock);
}

static void
settle(struct broker *b, struct window *w, size_t i, enum fate fate)
{
    if (w->over || w->fates[i] != FATE_OPEN)
        return;
    w->fates[i] = (char)fate;
    b->confirmed += fate == FATE_CONFIRMED;
    if (++w->settled < w->n)
        return;
    w->over = true;
    if (!w->left)
        fiber_wake(w->fiber);
}

static struct window *
window_new(const struct event *events, size_t n)
{
    struct window *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->fiber = fiber_self();
    w->n = n;
    for (size_t i = 0; i < n; i++)
        w->parcels[i] = parcel_new(&events[i]);
    return w;
}

static void
window_free(struct window *w)
{
    for (size_t i = 0; i < w->n; i++)
        free(w->parcels[i]);
    free(w);
}

/* Whoever published goes; the link frees what it is at itself.  Were all confirmed? */
static bool
window_leave(struct broker *b, struct window *w, bool *ret_confirmed)
{
    bool all = true;
    spin_lock(&b->lock);
    for (size_t i = 0; i < w->n; i++)
        all &= ret_confirmed[i] = w->fates[i] == FATE_CONFIRMED;
    w->left = true;
    bool on_way = w->on_way;
    if (!on_way) {
        window_remove(&b->waiting, w);
        window_remove(&b->sent, w);
    }
    spin_unlock(&b->lock);
    if (!on_way)
        window_free(w);
    return all;
}

static void
window_append(struct window **list, struct window *w)
{
    while (*list)
        list = &(*list)->next;
    w->next = NULL;
    *list = w;
}

static void
window_remove(struct window **list, const struct window *w)
{
    while (*list && *list != w)
        list = &(*list)->next;
    if (*list)
        *list = w->next;
}

/* What was sent on a connection that is gone is not heard of any more. */
static void
windows_lost(struct broker *b)
{
    for (struct window *w = b->sent; w; w = w->next) {
        w->over = true;
        fiber_wake(w->fiber);
    }
    b->sent = NULL;
}

/* ---- subscribing ----------------------------------------------------------------------------- */

struct broker_queue *
broker_subscribe(struct broker *b, const char *name, const char *const *topics,
                 enum broker_kind kind, void (*wake)(void *arg), void *arg)
{
    struct arena *a = arena_new();
    struct broker_queue *q = arena_alloc(a, sizeof *q);
    *q = (struct broker_queue){.broker = b, .arena = a, .kind = kind, .wake = wake, .arg = arg};
    q->name = arena_strdup(a, name);
    q->end = &q->first;
    for (; *topics; topics++) {
        assert(q->n_topics < QUEUE_TOPICS_MAX);
        q->all |= text_equal(*topics, "*");
        q->topics[q->n_topics++] = arena_strdup(a, *topics);
    }
    size_t i = 0;
    spin_lock(&b->lock);
    while (i < QUEUES_MAX && b->queues[i])
        i++;
    assert(i < QUEUES_MAX);
    b->queues[i] = q;
    spin_unlock(&b->lock);
    link_kick(&b->consuming);
    return q;
}

size_t
broker_take(struct broker_queue *q, struct arena *a, size_t n, struct event *ret_events,
            uint64_t *ret_tags)
{
    struct broker *b = q->broker;
    struct parcel *taken;
    size_t taken_n = 0;
    spin_lock(&b->lock);
    struct parcel **end = &q->first;
    while (taken_n < n && *end) {
        end = &(*end)->next;
        taken_n++;
    }
    struct parcel *rest = *end;
    *end = NULL;
    taken = q->first;
    q->first = rest;
    if (!q->first)
        q->end = &q->first;
    q->waiting -= taken_n;
    spin_unlock(&b->lock);

    for (size_t i = 0; i < taken_n; i++) {
        struct parcel *p = taken;
        taken = p->next;
        ret_events[i] = p->event;
        ret_tags[i] = p->tag;
        arena_defer(a, free, p);
    }
    return taken_n;
}

void
broker_ack(struct broker_queue *q, uint64_t tag)
{
    uint64_t serial = tag & SERIAL_MASK;
    spin_lock(&q->broker->lock);
    bool news = tag >> SERIAL_BITS == q->generation && serial > q->acked;
    if (news)
        q->acked = serial;
    spin_unlock(&q->broker->lock);
    if (news)
        link_kick(&q->broker->consuming);
}

void
broker_unsubscribe(struct broker_queue *q)
{
    struct broker *b = q->broker;
    spin_lock(&b->lock);
    q->closer = fiber_self();
    if (b->consuming.serving)
        q->state = QUEUE_CLOSING;
    else
        queue_forget(q); /* the link knows no queue now */
    while (q->state != QUEUE_CLOSED) {
        spin_unlock(&b->lock);
        link_kick(&b->consuming);
        fiber_park();
        spin_lock(&b->lock);
    }
    spin_unlock(&b->lock);
    parcels_free(q->first);
    arena_free(q->arena);
}

struct broker_queue *
queue_at(struct link *l, size_t i, enum queue_state *ret_state)
{
    struct broker *b = l->broker;
    spin_lock(&b->lock);
    struct broker_queue *q = b->queues[i];
    if (q)
        *ret_state = q->state;
    spin_unlock(&b->lock);
    return q;
}

void
queue_opened(struct broker_queue *q)
{
    spin_lock(&q->broker->lock);
    if (q->state == QUEUE_NEW)
        q->state = QUEUE_OPEN;
    spin_unlock(&q->broker->lock);
}

void
queue_closed(struct broker_queue *q)
{
    struct broker *b = q->broker; /* q may be freed once the lock is */
    spin_lock(&b->lock);
    queue_forget(q);
    spin_unlock(&b->lock);
}

bool
queue_wants(const struct broker_queue *q, const char *topic)
{
    for (size_t i = 0; i < q->n_topics; i++)
        if (strcmp(q->topics[i], topic) == 0)
            return true;
    return q->all;
}

void
queue_deliver(struct broker_queue *q, uint64_t serial, const struct event *e)
{
    struct parcel *p = parcel_new(e);
    spin_lock(&q->broker->lock);
    p->tag = (uint64_t)q->generation << SERIAL_BITS | (serial & SERIAL_MASK);
    *q->end = p;
    q->end = &p->next;
    q->waiting++;
    q->broker->delivered++;
    spin_unlock(&q->broker->lock);
    q->fresh = true;
}

void
queue_refused(struct broker_queue *q)
{
    spin_lock(&q->broker->lock);
    q->broker->refused++;
    spin_unlock(&q->broker->lock);
}

uint64_t
queue_acked(struct broker_queue *q)
{
    spin_lock(&q->broker->lock);
    uint64_t acked = q->acked;
    spin_unlock(&q->broker->lock);
    return acked;
}

size_t
queue_waiting(struct broker_queue *q)
{
    spin_lock(&q->broker->lock);
    size_t n = q->waiting;
    spin_unlock(&q->broker->lock);
    return n;
}

/* What came by another connection comes again by the next: it is put before stale. */
static struct parcel *
queue_restart(struct broker_queue *q, struct parcel *stale)
{
    *q->end = stale;
    stale = q->first;
    q->first = NULL;
    q->end = &q->first;
    q->waiting = 0;
    q->generation = (q->generation + 1) & 0xffffff; /* as many bits as a tag has for it */
    q->acked = q->told = 0;
    q->fresh = false;
    q->wire = NULL;
    q->state = QUEUE_NEW;
    return stale;
}

static void
parcels_free(struct parcel *first)
{
    while (first) {
        struct parcel *p = first;
        first = p->next;
        free(p);
    }
}

static void
queue_forget(struct broker_queue *q)
{
    for (size_t i = 0; i < QUEUES_MAX; i++)
        if (q->broker->queues[i] == q)
            q->broker->queues[i] = NULL;
    q->state = QUEUE_CLOSED;
    fiber_wake(q->closer);
}

/* ---- links ----------------------------------------------------------------------------------- */

void
broker_begin(struct link *l)
{
    spin_lock(&l->broker->lock);
    l->serving = true;
    l->connections++;
    l->error[0] = '\0';
    spin_unlock(&l->broker->lock);
}

void
broker_end(struct link *l)
{
    struct broker *b = l->broker;
    struct parcel *stale = NULL;
    spin_lock(&b->lock);
    l->serving = false;
    l->sent = 0;
    if (l->publishes)
        windows_lost(b);
    for (size_t i = 0; !l->publishes && i < QUEUES_MAX; i++) {
        struct broker_queue *q = b->queues[i];
        if (q && q->state == QUEUE_CLOSING)
            queue_forget(q);
        else if (q)
            stale = queue_restart(q, stale);
    }
    spin_unlock(&b->lock);
    parcels_free(stale);
}

void
broker_wake(struct link *l)
{
    for (size_t i = 0; !l->publishes && i < QUEUES_MAX; i++) {
        enum queue_state state;
        struct broker_queue *q = queue_at(l, i, &state);
        if (!q || !q->fresh)
            continue;
        q->fresh = false;
        q->wake(q->arg);
    }
}
