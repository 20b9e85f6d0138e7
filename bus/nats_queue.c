/*
 * NATS JetStream: queues are consumers of the one stream.  A consumer of 2.9 has one filter, so
 * that it brings more than a queue of several topics wants; what is not wanted is passed over here.
 * A consumer for each topic or publisher would break the order that one subject has.
 *
 * ORDERED is a durable consumer that acknowledges all up to a message, served to one subscription.
 * Who takes it over makes it anew behind what is acknowledged, for JetStream itself brings again
 * what was not only after a time, and behind what is newer.
 *
 * SHARED is a durable consumer with a group, that acknowledges each message.  BROADCAST is no
 * consumer: an event that is published to the stream is heard as well by all who subscribe to its
 * subject.
 */
#include "bus/nats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"

enum {
    HELD_MAX = BROKER_PREFETCH_MAX + 1, /* and a heartbeat never counts */
    SHARED_WAIT_S = 60, /* then another one of the group gets what was not acknowledged */
    ORDERED_WAIT_S = 24 * 3600,
    CONSUMER_HEARTBEAT_S = 5,
    MISSED_HEARTBEATS_MAX = 3,
};
static const int64_t second_ns = 1000000000;
static const int64_t stand_by_us = SECOND_US;

/* A message that is not acknowledged yet. */
struct held {
    uint64_t serial;
    bool wanted; /* or passed over */
    char *reply;
};

struct nats_queue {
    const char *durable, *filter;
    natsSubscription *subscription;
    uint32_t ear;
    bool bound; /* or it stands by until look_us */
    int64_t look_us, heard_us;
    uint64_t serial;            /* of the newest message */
    struct held held[HELD_MAX]; /* a ring, the oldest first */
    size_t held_first, held_n;
};

static bool open_queue(struct link *l, struct broker_queue *q);
static const char *durable_of(struct arena *a, const char *name);
static const char *filter_of(struct arena *a, const struct broker_queue *q);
static bool bind(struct link *l, struct broker_queue *q);
static bool bind_ordered(struct link *l, struct broker_queue *q);
static bool take_over(struct link *l, struct broker_queue *q, uint64_t after);
static bool bind_shared(struct link *l, struct broker_queue *q);
static bool serve_queue(struct link *l, struct broker_queue *q);
static bool acknowledge(struct link *l, struct broker_queue *q);
static bool say(struct link *l, const char *reply, const char *what);
static bool close_queue(struct link *l, struct broker_queue *q);
static void free_queue(struct nats_queue *nq);
static bool deliver(struct link *l, struct broker_queue *q, natsMsg *message);
static bool bury(struct link *l, const struct broker_queue *q, natsMsg *message);
static bool hold(struct link *l, struct nats_queue *nq, const char *reply, bool wanted);
static bool is_status(natsMsg *message);
static int64_t times_delivered(const char *reply);

bool
nats_queues_turn(struct link *l)
{
    for (size_t i = 0; i < QUEUES_MAX; i++) {
        enum queue_state state;
        struct broker_queue *q = queue_at(l, i, &state);
        bool well = true;
        if (q && state == QUEUE_NEW)
            well = open_queue(l, q);
        else if (q && state == QUEUE_OPEN)
            well = serve_queue(l, q);
        else if (q && state == QUEUE_CLOSING)
            well = close_queue(l, q);
        if (!well)
            return false;
    }
    return true;
}

bool
nats_queue_letter(struct link *l, const struct letter *letter)
{
    for (size_t i = 0; i < QUEUES_MAX; i++) {
        enum queue_state state;
        struct broker_queue *q = queue_at(l, i, &state);
        struct nats_queue *nq = q ? q->wire : NULL;
        if (!nq || !nq->subscription || nq->ear != letter->ear)
            continue;
        nq->heard_us = env.mono_us();
        return is_status(letter->message) || deliver(l, q, letter->message);
    }
    return true; /* of a queue that was closed meanwhile */
}

void
nats_queues_drop(struct link *l)
{
    struct nats *n = l->wire;
    for (size_t i = 0; i < n->queues_n; i++)
        free_queue(n->queues[i]);
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static bool
open_queue(struct link *l, struct broker_queue *q)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = calloc(1, sizeof *nq);
    if (!nq)
        abort();
    nq->durable = durable_of(q->arena, q->name);
    nq->filter = filter_of(q->arena, q);
    q->wire = nq;
    n->queues[n->queues_n++] = nq;
    queue_opened(q);
    for (size_t i = 0; i < q->n_topics && !q->all; i++)
        if (!nats_cover(l, q->topics[i]))
            return false;
    return bind(l, q);
}

/* A consumer's name has no dots. */
static const char *
durable_of(struct arena *a, const char *name)
{
    char *durable = arena_strdup(a, name);
    for (char *at = durable; *at; at++)
        if (*at == '.')
            *at = '_';
    return durable;
}

/* The one subject that has all topics: a topic, all of a publisher, or NULL, the whole stream. */
static const char *
filter_of(struct arena *a, const struct broker_queue *q)
{
    if (q->all)
        return NULL;
    if (q->n_topics == 1)
        return q->topics[0];
    size_t publisher = strcspn(q->topics[0], ".") + 1;
    for (size_t i = 1; i < q->n_topics; i++)
        if (strncmp(q->topics[i], q->topics[0], publisher) != 0)
            return NULL;
    return arena_printf(a, "%.*s*", (int)publisher, q->topics[0]);
}

static bool
bind(struct link *l, struct broker_queue *q)
{
    struct nats_queue *nq = q->wire;
    if (q->kind == BROKER_ORDERED)
        return bind_ordered(l, q);
    if (q->kind == BROKER_SHARED)
        return bind_shared(l, q);
    nq->bound = true;
    return nats_hear(l, nq->filter ? nq->filter : "*.*", NULL, &nq->subscription, &nq->ear);
}

/* Where somebody hears the consumer already, it stands by. */
static bool
bind_ordered(struct link *l, struct broker_queue *q)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = q->wire;
    jsConsumerInfo *info = NULL;
    jsStreamInfo *stream = NULL;
    natsStatus st = js_GetConsumerInfo(&info, n->js, NATS_STREAM, nq->durable, NULL, NULL);
    if (st == NATS_NOT_FOUND)
        return take_over(l, q, 0);
    if (st == NATS_OK)
        st = js_GetStreamInfo(&stream, n->js, NATS_STREAM, NULL, NULL);
    if (!nats_ok(l, st, nq->durable)) {
        jsConsumerInfo_Destroy(info);
        return false;
    }
    bool taken = info->PushBound;
    uint64_t after = info->AckFloor.Stream;
    if (after > stream->State.LastSeq)
        after = 0; /* the stream has lost its end, and counts anew from there */
    jsStreamInfo_Destroy(stream);
    jsConsumerInfo_Destroy(info);
    if (!taken)
        return take_over(l, q, after);
    nq->look_us = env.mono_us() + stand_by_us;
    return true;
}

/*
 * Two who do this at once both hear the events until one finds that his consumer is gone: that is
 * more than once, and in order.  Who dies between the two steps leaves no consumer: the next begins
 * with all that the stream has.
 */
static bool
take_over(struct link *l, struct broker_queue *q, uint64_t after)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = q->wire;
    natsInbox *inbox = NULL;
    if (!nats_ok(l, natsInbox_Create(&inbox), "an inbox"))
        return false;
    const char *subject = arena_printf(q->arena, "%s.events", inbox);
    natsInbox_Destroy(inbox);
    if (!nats_hear(l, subject, NULL, &nq->subscription, &nq->ear))
        return false;
    natsStatus st = js_DeleteConsumer(n->js, NATS_STREAM, nq->durable, NULL, NULL);
    if (st != NATS_NOT_FOUND && !nats_ok(l, st, nq->durable))
        return false;
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.Durable = nq->durable;
    config.DeliverSubject = subject;
    config.FilterSubject = nq->filter;
    config.DeliverPolicy = after ? js_DeliverByStartSequence : js_DeliverAll;
    config.OptStartSeq = after ? after + 1 : 0;
    config.AckPolicy = js_AckAll;
    config.AckWait = ORDERED_WAIT_S * second_ns;
    config.MaxAckPending = BROKER_PREFETCH_MAX;
    config.Heartbeat = CONSUMER_HEARTBEAT_S * second_ns;
    nq->bound = true;
    nq->heard_us = env.mono_us();
    return nats_ok(l, js_AddConsumer(NULL, n->js, NATS_STREAM, &config, NULL, NULL), nq->durable);
}

static bool
bind_shared(struct link *l, struct broker_queue *q)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = q->wire;
    const char *subject = arena_printf(q->arena, "souk.deliver.%s", nq->durable);
    jsConsumerConfig config;
    jsConsumerConfig_Init(&config);
    config.Durable = nq->durable;
    config.DeliverSubject = subject;
    config.DeliverGroup = nq->durable;
    config.FilterSubject = nq->filter;
    config.DeliverPolicy = js_DeliverAll;
    config.AckPolicy = js_AckExplicit;
    config.AckWait = SHARED_WAIT_S * second_ns;
    config.MaxAckPending = BROKER_PREFETCH_MAX;
    nq->bound = true;
    return nats_hear(l, subject, nq->durable, &nq->subscription, &nq->ear) &&
           nats_ok(l, js_AddConsumer(NULL, n->js, NATS_STREAM, &config, NULL, NULL), nq->durable);
}

/* ---- while it is open
 * ---------------------------------------------------------------------------- */

static bool
serve_queue(struct link *l, struct broker_queue *q)
{
    struct nats_queue *nq = q->wire;
    int64_t now = env.mono_us();
    if (!nq->bound)
        return now < nq->look_us || bind(l, q);
    if (q->kind == BROKER_ORDERED &&
        now - nq->heard_us > MISSED_HEARTBEATS_MAX * CONSUMER_HEARTBEAT_S * SECOND_US)
        return link_fail(l, "%s: somebody else has taken it over", nq->durable);
    return acknowledge(l, q);
}

/* What is taken for good, and what is passed over and next to it. */
static bool
acknowledge(struct link *l, struct broker_queue *q)
{
    struct nats_queue *nq = q->wire;
    uint64_t acked = queue_acked(q);
    bool well = true;
    while (well && nq->held_n) {
        struct held *oldest = &nq->held[nq->held_first];
        if (oldest->wanted && oldest->serial > acked)
            break;
        struct held *next = &nq->held[(nq->held_first + 1) % HELD_MAX];
        bool last = nq->held_n == 1 || (next->wanted && next->serial > acked);
        if (last || q->kind == BROKER_SHARED) /* for an ordered one it says all up to here */
            well = say(l, oldest->reply, "+ACK");
        free(oldest->reply);
        nq->held_first = (nq->held_first + 1) % HELD_MAX;
        nq->held_n--;
    }
    return well;
}

static bool
say(struct link *l, const char *reply, const char *what)
{
    struct nats *n = l->wire;
    return nats_ok(l, natsConnection_PublishString(n->connection, reply, what), "acknowledging");
}

/* An ordered consumer is left as it is: who takes it over begins behind what is acknowledged. */
static bool
close_queue(struct link *l, struct broker_queue *q)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = q->wire;
    if (nq) {
        if (!acknowledge(l, q))
            return false;
        for (; nq->held_n && q->kind == BROKER_SHARED; nq->held_n--) {
            if (!say(l, nq->held[nq->held_first].reply, "-NAK"))
                return false;
            free(nq->held[nq->held_first].reply);
            nq->held_first = (nq->held_first + 1) % HELD_MAX;
        }
        for (size_t i = 0; i < n->queues_n; i++)
            if (n->queues[i] == nq)
                n->queues[i] = n->queues[--n->queues_n];
        free_queue(nq);
        /* The next one must find what is acknowledged, and that nobody hears it. */
        if (!nats_ok(l, natsConnection_FlushTimeout(n->connection, REPLY_MOST_MS), "closing")) {
            q->wire = NULL;
            return false;
        }
    }
    queue_closed(q);
    return true;
}

static void
free_queue(struct nats_queue *nq)
{
    natsSubscription_Destroy(nq->subscription);
    for (; nq->held_n; nq->held_n--) {
        free(nq->held[nq->held_first].reply);
        nq->held_first = (nq->held_first + 1) % HELD_MAX;
    }
    free(nq);
}

/* ---- messages
 * ------------------------------------------------------------------------------------ */

static bool
deliver(struct link *l, struct broker_queue *q, natsMsg *message)
{
    struct nats *n = l->wire;
    struct nats_queue *nq = q->wire;
    struct event e;
    arena_reset(n->scratch);
    const char *reply = natsMsg_GetReply(message);
    bool wanted = queue_wants(q, natsMsg_GetSubject(message));
    bool right = wanted && nats_event_of(n, message, &e);
    if (q->kind == BROKER_BROADCAST) {
        if (right && queue_waiting(q) < BROADCAST_WAITING_MAX)
            queue_deliver(q, ++nq->serial, &e);
        else if (wanted && !q->all) /* who hears all hears others' words too */
            queue_refused(q);
        return true;
    }
    right = right && times_delivered(reply) <= BROKER_DELIVERIES_MAX;
    if (wanted && !right) {
        queue_refused(q);
        if (!bury(l, q, message))
            return false;
    }
    if (!hold(l, nq, reply, right))
        return false;
    if (right)
        queue_deliver(q, nq->serial, &e);
    return true;
}

/* The dead letter is on disk before the message is passed over. */
static bool
bury(struct link *l, const struct broker_queue *q, natsMsg *message)
{
    struct nats *n = l->wire;
    natsMsg *copy = NULL;
    const char *subject = arena_printf(n->scratch, NATS_DEAD_PREFIX "%s", q->name);
    const char **names = NULL, *value;
    int names_n = 0;
    natsStatus st = natsMsg_Create(&copy, subject, NULL, natsMsg_GetData(message),
                                   natsMsg_GetDataLength(message));
    natsMsgHeader_Keys(message, &names, &names_n);
    for (int i = 0; st == NATS_OK && i < names_n; i++)
        if (!text_starts(names[i], "Nats-") &&
            natsMsgHeader_Get(message, names[i], &value) == NATS_OK)
            st = natsMsgHeader_Set(copy, names[i], value);
    free(names);
    if (st == NATS_OK)
        st = js_PublishMsg(NULL, n->js, copy, NULL, NULL);
    natsMsg_Destroy(copy);
    return nats_ok(l, st, subject);
}

static bool
hold(struct link *l, struct nats_queue *nq, const char *reply, bool wanted)
{
    if (nq->held_n == HELD_MAX || !reply)
        return link_fail(l, "%s: it brings more than was asked for", nq->durable);
    struct held *newest = &nq->held[(nq->held_first + nq->held_n++) % HELD_MAX];
    *newest = (struct held){.serial = ++nq->serial, .wanted = wanted, .reply = strdup(reply)};
    if (!newest->reply)
        abort();
    return true;
}

/* A heartbeat of the consumer, or another word of the server's own. */
static bool
is_status(natsMsg *message)
{
    const char *status;
    return natsMsg_GetDataLength(message) == 0 &&
           natsMsgHeader_Get(message, "Status", &status) == NATS_OK;
}

/*
 * From "$JS.ACK.<stream>.<consumer>.<times>.<stream sequence>.<consumer
 * sequence>.<time>.<pending>", which has the domain and the account before the stream where it has
 * more words.
 */
static int64_t
times_delivered(const char *reply)
{
    int words = 1, at = 0;
    int64_t times = 0;
    for (const char *c = reply; c && *c; c++)
        words += *c == '.';
    int place = words >= 11 ? 6 : 4;
    for (; reply && at < place; at++) {
        reply = strchr(reply, '.');
        reply = reply ? reply + 1 : NULL;
    }
    if (reply)
        times = atoll(reply);
    return times;
}
