/* Journal and outboxes forget whom they are told to: which events tell that, the protos say. */
#include <assert.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/personal.h"
#include "kit/rules.h"

enum { ERASING_TOPICS_MAX = 8 };

static event_fn hear;
static bus_erase_fn erase;

void
subscribe_erasures(struct node *node)
{
    const char **topics = arena_alloc(node->arena, (ERASING_TOPICS_MAX + 1) * sizeof *topics);
    size_t n = 0;
    for (size_t i = 0; souk_topics[i]; i++)
        if (souk_topics[i]->erases) {
            assert(n < ERASING_TOPICS_MAX);
            topics[n++] = souk_topics[i]->name;
        }
    struct subscriber s = {
        .service = "erasure", .store = node->core, .topics = topics, .handle = hear, .arg = node};
    if (!node->topology)
        bus_subscribe(node->bus, &s);
    for (size_t i = 0; node->topology && i < node->n_units; i++) {
        const struct unit *unit = &node->units[i];
        if (!erases_events(unit))
            continue;
        s.service = arena_printf(node->arena, "erasure_%s", unit->service->name);
        s.store = unit->store;
        s.sched = unit->sched;
        bus_subscribe(node->bus, &s);
    }
}

/* Embedded there is one journal; else the first who is at home in a store. */
bool
erases_events(const struct unit *unit)
{
    const struct unit *first = unit->node->units;
    while (unit->node->topology && first->store != unit->store)
        first++;
    return unit == first;
}

enum status
journal_erase(struct request *rq)
{
    struct node *node = rq->node;
    struct store *store = node->topology ? unit_of(node, rq->service)->store : node->core;
    return fail_store(rq, bus_erase(node->bus, store, erase));
}

int64_t
erase_after_us(const struct node *node)
{
    return node->topology ? setting_int(node, "erase_after_s") * SECOND_US : 0;
}

static enum status
hear(void *arg, struct tx *tx, const struct event *event)
{
    int64_t after_us = erase_after_us(arg);
    bus_erase_note(tx, event, after_us ? env.now_us() + after_us : 0);
    return tx_status(tx);
}

static bool
erase(struct arena *a, const struct event *erasing, const struct event *e, ProtobufCBinaryData *ret)
{
    struct erased who;
    return erased_by(a, erasing, &who) && erased_payload(a, &who, e, ret);
}
