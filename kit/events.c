/* From the bus to a service's subscriptions. */
#include <assert.h>
#include <stdio.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/rules.h"
#include "kit/trace.h"

static event_fn hear;
static broadcast_fn hear_broadcast;
static void event_request(struct request *rq, struct unit *unit, const struct event *event,
                          struct arena *arena);
static enum status hand_over(struct request *rq, struct tx *tx, const struct event *event,
                             bool broadcast, bool projections_only);

void
subscribe_units(struct node *node)
{
    static const char *const all[] = {"*", NULL};
    for (size_t i = 0; i < node->n_units; i++) {
        struct unit *unit = &node->units[i];
        const struct service *service = unit->service;
        size_t n = 0;
        for (size_t j = 0; j < SUBSCRIBES_MAX && service->subscribes[j].topic; j++) {
            const struct subscription *s = &service->subscribes[j];
            if (!s->broadcast) {
                unit->topics[n++] = s->topic->name;
                continue;
            }
            const char **topics = arena_alloc(node->arena, 2 * sizeof *topics);
            topics[0] = s->topic->name;
            bus_listen(node->bus, topics, hear_broadcast, unit);
        }
        if (n || service->hears_all)
            bus_subscribe(node->bus, &(struct subscriber){
                                         .service = service->name,
                                         .store = unit->store,
                                         .topics = service->hears_all ? all : unit->topics,
                                         .handle = hear,
                                         .arg = unit,
                                         .gathers = service->listens,
                                         .sched = unit->sched,
                                         .keeps_journal = node->topology && service->hears_all,
                                     });
    }
}

static enum status
hear(void *arg, struct tx *tx, const struct event *event)
{
    struct request rq;
    event_request(&rq, arg, event, tx_scope_of(tx)->arena);
    rq.scope = *tx_scope_of(tx); /* its transaction is open: no calls */
    struct span *span = span_begin_event(&rq, event);
    enum status st = hand_over(&rq, tx, event, false, false);
    span_end(span, &rq, st);
    if (st && !text_empty(rq.message) && text_empty(tx_message(tx)))
        note(&rq, "event", event->id);
    if (st && st != UNAVAILABLE)
        request_log(&rq, arena_printf(rq.arena, "event %s", event->topic), st, 0, 0);
    return st;
}

static bool
broadcast_wanted(const struct unit *unit, const struct event *event)
{
    const struct subscription *s = unit->service->subscribes;
    for (size_t i = 0; i < SUBSCRIBES_MAX && s[i].topic; i++)
        if (s[i].broadcast && strcmp(s[i].topic->name, event->topic) == 0 &&
            (!s[i].wants || s[i].wants(unit->node, event)))
            return true;
    return false;
}

static void
hear_broadcast(void *arg, const struct event *event)
{
    if (!broadcast_wanted(arg, event))
        return;
    struct arena *arena = arena_new();
    struct request rq;
    event_request(&rq, arg, event, arena);
    struct span *span = span_begin_event(&rq, event);
    span_end(span, &rq, hand_over(&rq, NULL, event, true, false));
    arena_free(arena);
}

enum status
apply_event(struct unit *unit, struct tx *tx, const struct event *event)
{
    struct request rq;
    event_request(&rq, unit, event, tx_scope_of(tx)->arena);
    rq.scope = *tx_scope_of(tx);
    return hand_over(&rq, tx, event, false, true);
}

/* A request in an event's name: its time is the event's, and its id follows from the event's. */
static void
event_request(struct request *rq, struct unit *unit, const struct event *event, struct arena *arena)
{
    *rq = (struct request){
        .arena = arena,
        .scope = {.arena = arena},
        .node = unit->node,
        .service = unit->service,
        .caller = {.kind = CALLER_SERVICE,
                   .id = "",
                   .session_id = "",
                   .order_id = "",
                   .ip = "",
                   .user_agent = ""},
        .id = id_derive(arena, "req", event->id, unit->service->name),
        .now_us = event->time_us,
        .deadline_us = env.mono_us() + REQUEST_LIFE_US,
        .correlation_id = event->correlation_id,
        .causation_id = event->id,
    };
    trace_join(rq, event->traceparent);
}

static enum status
hand_over(struct request *rq, struct tx *tx, const struct event *event, bool broadcast,
          bool projections_only)
{
    const struct service *service = rq->service;
    if (service->hears_all && !broadcast && !projections_only)
        return service->hears_all(rq, tx, event);
    ProtobufCMessage *message = NULL;
    for (size_t i = 0; i < SUBSCRIBES_MAX && service->subscribes[i].topic; i++) {
        const struct subscription *s = &service->subscribes[i];
        if (s->broadcast != broadcast || strcmp(s->topic->name, event->topic) != 0 ||
            (projections_only && !s->projection))
            continue;
        if (!message)
            message = message_unpack(rq->arena, s->topic->type, event->data.data, event->data.len);
        if (!message)
            return fail_status(rq, DATA_LOSS, "the payload is no %s", event->type);
        enum status st = ((subscription_fn *)s->fn)(rq, tx, message);
        if (st == OK && tx)
            st = tx_status(tx);
        if (st)
            return st;
    }
    return OK;
}

const struct topic *
topic_find(const char *name)
{
    for (size_t i = 0; souk_topics[i]; i++)
        if (strcmp(souk_topics[i]->name, name) == 0)
            return souk_topics[i];
    return NULL;
}
