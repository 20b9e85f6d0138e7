/* A broker's queue, as pages.  What was taken stays in hand until it is acknowledged. */
#include "bus/bus_private.h"

enum { QUEUE_EVENTS_MAX = GATHER_EVENTS_MAX }; /* in hand: enough for a batch to be full */

static void wake_reader(void *queue);

void
queue_open(struct queue *q)
{
    if (q->of_broker)
        return;
    const struct bus_options *o = &q->bus->options;
    q->of_broker = o->broker_ops->subscribe(o->broker, q->name, q->topics, q->kind, wake_reader, q);
}

void
queue_close(struct queue *q)
{
    if (q->of_broker)
        q->bus->options.broker_ops->unsubscribe(q->of_broker);
    q->of_broker = NULL;
}

struct page *
queue_take(struct queue *q)
{
    if (!q->of_broker)
        return NULL;
    struct arena *a = arena_new();
    struct event *events = arena_alloc(a, QUEUE_EVENTS_MAX * sizeof *events);
    uint64_t *tags = arena_alloc(a, QUEUE_EVENTS_MAX * sizeof *tags);
    size_t n = q->bus->options.broker_ops->take(q->of_broker, a, QUEUE_EVENTS_MAX, events, tags);
    if (n == 0) {
        arena_free(a);
        return NULL;
    }
    q->brought_us = env.mono_us();
    struct page *page = page_new(a, 0, 0, events, n);
    page->tags = tags;
    return page;
}

void
queue_ack(struct queue *q, uint64_t tag)
{
    if (q->of_broker)
        q->bus->options.broker_ops->ack(q->of_broker, tag);
}

bool
queue_is_at_work(const struct queue *q)
{
    return q->brought_us > 0 && env.mono_us() - q->brought_us < q->bus->options.repair_age_us;
}

static void
wake_reader(void *arg)
{
    struct queue *q = arg;
    worker_wake(q->reader);
}
