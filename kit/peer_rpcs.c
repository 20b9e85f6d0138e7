/* What the kit itself serves to other processes: its outboxes, its dead letters, its projections. */
#include <stdlib.h>

#include "base/env.h"
#include "kit/peers_impl.h"

typedef Souk__Kit__V1__Event Event;
typedef Souk__Kit__V1__ReadOutboxRequest ReadOutboxRequest;
typedef Souk__Kit__V1__OutboxPage OutboxPage;
typedef Souk__Kit__V1__ListParkedRequest ListParkedRequest;
typedef Souk__Kit__V1__Parked Parked;
typedef Souk__Kit__V1__ParkedPage ParkedPage;
typedef Souk__Kit__V1__RedriveRequest RedriveRequest;
typedef Souk__Kit__V1__ReplayRequest ReplayRequest;
typedef Souk__Kit__V1__ReplayedProjection ReplayedProjection;
typedef Souk__Kit__V1__ReplayAnswer ReplayAnswer;

enum { LETTERS_MAX = 101, ANSWER_US = SECOND_US };

static enum status read_outbox(struct request *rq, const void *in, void *out);
static enum status list_dead_letters(struct request *rq, const void *in, void *out);
static enum status redrive(struct request *rq, const void *in, void *out);
static enum status replay(struct request *rq, const void *in, void *out);
static Event *event_write(struct arena *a, const struct event *event);
static void event_read(struct event *ret, const Event *row);
static enum status invoke(any_fn *fn, struct request *rq, const void *in, void *out);

typedef enum status peer_fn(struct request *rq, const void *in, void *out);

static const struct rpc rpcs[PEER_RPCS] = {
    [PEER_READ_OUTBOX] = {.service = "kit",
                          .name = "ReadOutbox",
                          .full = "/souk.kit.v1.Peer/ReadOutbox",
                          .resource = "kit.ReadOutbox",
                          .in = &souk__kit__v1__read_outbox_request__descriptor,
                          .out = &souk__kit__v1__outbox_page__descriptor,
                          .invoke = invoke},
    [PEER_LIST_DEAD_LETTERS] = {.service = "kit",
                                .name = "ListDeadLetters",
                                .full = "/souk.kit.v1.Peer/ListDeadLetters",
                                .resource = "kit.ListDeadLetters",
                                .in = &souk__kit__v1__list_parked_request__descriptor,
                                .out = &souk__kit__v1__parked_page__descriptor,
                                .invoke = invoke},
    [PEER_REDRIVE_DEAD_LETTER] = {.service = "kit",
                                  .name = "RedriveDeadLetter",
                                  .full = "/souk.kit.v1.Peer/RedriveDeadLetter",
                                  .resource = "kit.RedriveDeadLetter",
                                  .in = &souk__kit__v1__redrive_request__descriptor,
                                  .out = &souk__kit__v1__nothing__descriptor,
                                  .invoke = invoke},
    [PEER_REPLAY_PROJECTIONS] = {.service = "kit",
                                 .name = "ReplayProjections",
                                 .full = "/souk.kit.v1.Peer/ReplayProjections",
                                 .resource = "kit.ReplayProjections",
                                 .in = &souk__kit__v1__replay_request__descriptor,
                                 .out = &souk__kit__v1__replay_answer__descriptor,
                                 .invoke = invoke},
};
static const struct rpc_list list = {"kit", rpcs, PEER_RPCS};
static any_fn *const handlers[PEER_RPCS] = {
    [PEER_READ_OUTBOX] = (any_fn *)read_outbox,
    [PEER_LIST_DEAD_LETTERS] = (any_fn *)list_dead_letters,
    [PEER_REDRIVE_DEAD_LETTER] = (any_fn *)redrive,
    [PEER_REPLAY_PROJECTIONS] = (any_fn *)replay,
};
const struct server peer_server = {&list, handlers};

/* ---- asking ---------------------------------------------------------------------------------- */

enum status
peer_read_outbox(void *arg, const char *publisher, const struct outbox_ask *ask, struct arena *a,
                 struct outbox_page *ret)
{
    struct node *node = arg;
    struct request rq;
    request_init(&rq, node, a);
    rq.caller.kind = CALLER_SERVICE;
    rq.deadline_us = env.mono_us() + ask->wait_us + REQUEST_LIFE_US;
    ReadOutboxRequest in = SOUK__KIT__V1__READ_OUTBOX_REQUEST__INIT;
    in.publisher = publisher;
    in.after = ask->after;
    in.topics = (const char **)(uintptr_t)ask->topics;
    while (ask->topics[in.n_topics])
        in.n_topics++;
    in.most = (int64_t)ask->most;
    in.wait_us = ask->wait_us;
    in.positions_only = ask->positions_only;
    in.older_than_us = ask->older_than_us;
    OutboxPage *page;
    enum status st = peer_call(&rq, peers_home(node->peers, publisher), &rpcs[PEER_READ_OUTBOX],
                               &in.base, (ProtobufCMessage **)&page);
    if (st)
        return st;
    ret->events = arena_alloc(a, page->n_events * sizeof *ret->events);
    ret->n = page->n_events;
    for (size_t i = 0; i < page->n_events; i++)
        event_read(&ret->events[i], page->events[i]);
    ret->upto = page->upto;
    ret->head = page->head;
    return OK;
}

static int
by_id(const void *a, const void *b)
{
    const struct dead_letter *x = a, *y = b;
    return strcmp(x->id, y->id);
}

/* A page of what one process has; added to all. */
static enum status
add_letters(struct request *rq, const struct process *process, const char *after, size_t n,
            struct dead_letter *all, size_t *n_all)
{
    ListParkedRequest in = SOUK__KIT__V1__LIST_PARKED_REQUEST__INIT;
    in.after = after;
    in.most = (int64_t)n;
    ParkedPage *page;
    enum status st = peer_call(rq, process, &rpcs[PEER_LIST_DEAD_LETTERS], &in.base,
                               (ProtobufCMessage **)&page);
    for (size_t i = 0; st == OK && i < page->n_parked && i < n; i++) {
        const Parked *row = page->parked[i];
        struct dead_letter *letter = &all[(*n_all)++];
        *letter = (struct dead_letter){.id = row->id,
                                       .subscriber = row->subscriber,
                                       .attempts = row->attempts,
                                       .error = row->error,
                                       .dead = row->dead,
                                       .waiting = row->waiting,
                                       .parked_at_us = row->parked_at_us};
        if (row->event)
            event_read(&letter->event, row->event);
    }
    return st;
}

enum status
node_dead_letters(struct request *rq, const char *after, size_t n, struct dead_letter **ret,
                  size_t *ret_n)
{
    const struct node *node = rq->node;
    struct dead_letter *here;
    size_t n_here;
    enum status st = bus_dead_letters(node->bus, &rq->scope, after, n, &here, &n_here);
    if (st || !node->peers) {
        *ret = here;
        *ret_n = n_here;
        return st;
    }
    const struct topology *t = node->topology;
    struct dead_letter *all = arena_alloc(rq->arena, n * t->n_processes * sizeof *all);
    size_t n_all = 0;
    for (; n_all < n_here; n_all++)
        all[n_all] = here[n_all];
    const struct caller asker = rq->caller;
    rq->caller.kind = CALLER_SERVICE;
    for (size_t i = 0; i < t->n_processes && st == OK; i++)
        if (&t->processes[i] != node->process)
            st = add_letters(rq, &t->processes[i], after, n, all, &n_all);
    rq->caller = asker;
    qsort(all, n_all, sizeof *all, by_id);
    *ret = all;
    *ret_n = n_all < n ? n_all : n;
    return st;
}

/* "<subscriber>:<event id>": where the subscriber is at home. */
static const struct process *
process_of_letter(const struct request *rq, const char *id)
{
    const char *subscriber = arena_strndup(rq->arena, id, strcspn(id, ":"));
    const struct process *home = peers_home(rq->node->peers, subscriber);
    return home == rq->node->process ? NULL : home;
}

enum status
node_dead_letter(struct request *rq, const char *id, struct dead_letter *ret)
{
    const struct process *there = process_of_letter(rq, id);
    if (!there)
        return bus_dead_letter(rq->node->bus, &rq->scope, id, ret);
    /* The one behind the greatest id that is smaller: the id without its last character is. */
    struct dead_letter letters[LETTERS_MAX];
    size_t n = 0;
    const struct caller asker = rq->caller;
    rq->caller.kind = CALLER_SERVICE;
    const char *before = arena_strndup(rq->arena, id, strlen(id) ? strlen(id) - 1 : 0);
    enum status st = add_letters(rq, there, before, LETTERS_MAX, letters, &n);
    rq->caller = asker;
    for (size_t i = 0; i < n; i++)
        if (strcmp(letters[i].id, id) == 0) {
            *ret = letters[i];
            return OK;
        }
    return st ? st : NOT_FOUND;
}

enum status
node_redrive(struct request *rq, const char *id)
{
    const struct process *there = process_of_letter(rq, id);
    if (!there)
        return bus_redrive(rq->node->bus, &rq->scope, id);
    RedriveRequest in = SOUK__KIT__V1__REDRIVE_REQUEST__INIT;
    in.id = id;
    ProtobufCMessage *nothing;
    const struct caller asker = rq->caller;
    rq->caller.kind = CALLER_SERVICE;
    enum status st = peer_call(rq, there, &rpcs[PEER_REDRIVE_DEAD_LETTER], &in.base, &nothing);
    rq->caller = asker;
    return st;
}

static enum status
replay_there(struct request *rq, const struct process *process,
             void (*fn)(void *arg, const char *service, const struct replayed *r), void *arg)
{
    ReplayRequest in = SOUK__KIT__V1__REPLAY_REQUEST__INIT;
    ReplayAnswer *out;
    enum status st = peer_call(rq, process, &rpcs[PEER_REPLAY_PROJECTIONS], &in.base,
                               (ProtobufCMessage **)&out);
    for (size_t i = 0; st == OK && i < out->n_services; i++) {
        const ReplayedProjection *row = out->services[i];
        fn(arg, row->service, &(struct replayed){row->events, (size_t)row->bytes, row->equal});
    }
    return st;
}

enum status
node_replay_all(struct request *rq,
                void (*fn)(void *arg, const char *service, const struct replayed *r), void *arg)
{
    const struct node *node = rq->node;
    enum status st = OK;
    for (size_t i = 0; i < node->n_units && st == OK; i++) {
        struct replayed replayed;
        if (!node->units[i].service->projections)
            continue;
        st = node_replay(rq, node->units[i].service, &replayed);
        if (st == OK)
            fn(arg, node->units[i].service->name, &replayed);
    }
    const struct caller asker = rq->caller;
    rq->caller.kind = CALLER_SERVICE;
    for (size_t i = 0; node->peers && i < node->topology->n_processes && st == OK; i++)
        if (&node->topology->processes[i] != node->process)
            st = replay_there(rq, &node->topology->processes[i], fn, arg);
    rq->caller = asker;
    return st;
}

/* ---- being asked ----------------------------------------------------------------------------- */

static enum status
invoke(any_fn *fn, struct request *rq, const void *in, void *out)
{
    return ((peer_fn *)fn)(rq, in, out);
}

static enum status
read_outbox(struct request *rq, const void *asked, void *answer)
{
    const ReadOutboxRequest *in = asked;
    OutboxPage *out = answer;
    const char **topics = arena_alloc(rq->arena, (in->n_topics + 1) * sizeof *topics);
    for (size_t i = 0; i < in->n_topics; i++)
        topics[i] = in->topics[i];
    int64_t left_us = rq->deadline_us - env.mono_us() - ANSWER_US;
    struct outbox_ask ask = {
        .after = in->after,
        .topics = topics,
        .most = in->most < 0 ? 0 : (size_t)in->most,
        .wait_us = in->wait_us < left_us ? in->wait_us : left_us > 0 ? left_us : 0,
        .positions_only = in->positions_only,
        .older_than_us = in->older_than_us,
    };
    struct outbox_page page;
    enum status st = bus_serve_outbox(rq->node->bus, in->publisher, &ask, rq->arena, &page);
    if (st)
        return fail_status(rq, st, "the outbox of %s cannot be read here", in->publisher);
    out->events = arena_alloc(rq->arena, page.n * sizeof *out->events);
    out->n_events = page.n;
    for (size_t i = 0; i < page.n; i++)
        out->events[i] = event_write(rq->arena, &page.events[i]);
    out->upto = page.upto;
    out->head = page.head;
    return OK;
}

static enum status
list_dead_letters(struct request *rq, const void *asked, void *answer)
{
    const ListParkedRequest *in = asked;
    ParkedPage *out = answer;
    size_t n = in->most < 0 || in->most > LETTERS_MAX ? LETTERS_MAX : (size_t)in->most;
    struct dead_letter *letters;
    enum status st =
        bus_dead_letters(rq->node->bus, &rq->scope, in->after, n, &letters, &out->n_parked);
    if (st) {
        out->n_parked = 0;
        return fail_store(rq, st);
    }
    out->parked = arena_alloc(rq->arena, out->n_parked * sizeof *out->parked);
    for (size_t i = 0; i < out->n_parked; i++) {
        Parked *row = arena_alloc(rq->arena, sizeof *row);
        souk__kit__v1__parked__init(row);
        row->id = letters[i].id;
        row->subscriber = letters[i].subscriber;
        row->event = event_write(rq->arena, &letters[i].event);
        row->attempts = letters[i].attempts;
        row->error = letters[i].error ? letters[i].error : "";
        row->dead = letters[i].dead;
        row->waiting = letters[i].waiting;
        row->parked_at_us = letters[i].parked_at_us;
        out->parked[i] = row;
    }
    return OK;
}

static enum status
redrive(struct request *rq, const void *asked, void *answer)
{
    const RedriveRequest *in = asked;
    (void)answer;
    enum status st = bus_redrive(rq->node->bus, &rq->scope, in->id);
    return st == NOT_FOUND ? fail_status(rq, st, "there is no dead letter %s", in->id)
                           : fail_store(rq, st);
}

static enum status
replay(struct request *rq, const void *asked, void *answer)
{
    (void)asked;
    ReplayAnswer *out = answer;
    const struct node *node = rq->node;
    out->services = arena_alloc(rq->arena, node->n_units * sizeof *out->services);
    for (size_t i = 0; i < node->n_units; i++) {
        const struct service *service = node->units[i].service;
        if (!service->projections)
            continue;
        struct replayed replayed;
        enum status st = node_replay(rq, service, &replayed);
        if (st)
            return st;
        ReplayedProjection *row = arena_alloc(rq->arena, sizeof *row);
        souk__kit__v1__replayed_projection__init(row);
        row->service = service->name;
        row->events = replayed.events;
        row->bytes = (int64_t)replayed.bytes;
        row->equal = replayed.equal;
        out->services[out->n_services++] = row;
    }
    return OK;
}

static const char *
or_empty(const char *s)
{
    return s ? s : "";
}

static Event *
event_write(struct arena *a, const struct event *event)
{
    Event *row = arena_alloc(a, sizeof *row);
    souk__kit__v1__event__init(row);
    row->position = event->position;
    row->id = or_empty(event->id);
    row->topic = or_empty(event->topic);
    row->publisher = or_empty(event->publisher);
    row->subject = or_empty(event->subject);
    row->type = or_empty(event->type);
    row->sequence = event->sequence;
    row->time_us = event->time_us;
    row->correlation_id = or_empty(event->correlation_id);
    row->causation_id = or_empty(event->causation_id);
    row->traceparent = or_empty(event->traceparent);
    row->data = event->data;
    return row;
}

static void
event_read(struct event *ret, const Event *row)
{
    *ret = (struct event){
        .position = row->position,
        .id = row->id,
        .topic = row->topic,
        .publisher = row->publisher,
        .subject = row->subject,
        .type = row->type,
        .sequence = row->sequence,
        .time_us = row->time_us,
        .correlation_id = row->correlation_id,
        .causation_id = row->causation_id,
        .traceparent = row->traceparent,
        .data = row->data,
    };
}
