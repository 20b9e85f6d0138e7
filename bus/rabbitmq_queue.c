/* RabbitMQ: queues, each on a channel of its own, so that its acknowledgements are its own too. */
#include <string.h>

#include "base/text.h"
#include "bus/rabbitmq.h"

static bool open_queue(struct link *l, struct broker_queue *q);
static bool declare(struct link *l, struct broker_queue *q, amqp_channel_t channel,
                    amqp_bytes_t *ret_name);
static bool declare_durable(struct link *l, struct broker_queue *q, amqp_channel_t channel);
static bool declare_dead(struct link *l, amqp_channel_t channel, const char *name);
static bool bind(struct link *l, amqp_channel_t channel, amqp_bytes_t queue, const char *exchange,
                 const char *key);
static bool acknowledge(struct link *l, struct broker_queue *q);
static bool close_queue(struct link *l, struct broker_queue *q);
static bool event_of(struct rabbitmq *r, const amqp_message_t *message, struct event *ret);
static const char *text_of(struct arena *a, amqp_bytes_t bytes);

static amqp_channel_t
channel_of(const struct broker_queue *q)
{
    return (amqp_channel_t)(uintptr_t)q->wire;
}

bool
rabbitmq_queues_turn(struct link *l)
{
    for (size_t i = 0; i < QUEUES_MAX; i++) {
        enum queue_state state;
        struct broker_queue *q = queue_at(l, i, &state);
        bool well = true;
        if (q && state == QUEUE_NEW)
            well = open_queue(l, q);
        else if (q && state == QUEUE_OPEN)
            well = acknowledge(l, q);
        else if (q && state == QUEUE_CLOSING)
            well = close_queue(l, q);
        if (!well)
            return false;
    }
    return true;
}

static bool
open_queue(struct link *l, struct broker_queue *q)
{
    struct rabbitmq *r = l->wire;
    if (r->channels == RABBITMQ_CHANNELS_MAX)
        return link_fail(l, "the connection's channels are used up: the next has new ones");
    amqp_channel_t channel = ++r->channels;
    amqp_bytes_t name;
    if (!rabbitmq_open_channel(l, channel) || !declare(l, q, channel, &name))
        return false;
    for (size_t i = 0; i < q->n_topics; i++) {
        const char *key = q->all ? "#" : q->topics[i];
        if (!bind(l, channel, name, RABBITMQ_EXCHANGE, key))
            return false;
    }
    amqp_basic_qos(r->state, channel, 0, BROKER_PREFETCH_MAX, 0);
    if (!rabbitmq_said_ok(l, q->name))
        return false;
    r->queues[channel] = q;
    q->wire = (void *)(uintptr_t)channel;
    amqp_basic_consume(r->state, channel, name, amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    if (!rabbitmq_said_ok(l, q->name))
        return false;
    queue_opened(q);
    return true;
}

static bool
declare(struct link *l, struct broker_queue *q, amqp_channel_t channel, amqp_bytes_t *ret_name)
{
    struct rabbitmq *r = l->wire;
    if (q->kind != BROKER_BROADCAST) {
        *ret_name = amqp_cstring_bytes(q->name);
        return declare_durable(l, q, channel);
    }
    amqp_table_entry_t arguments[] = {
        {amqp_cstring_bytes("x-max-length"), {AMQP_FIELD_KIND_I32, {.i32 = BROADCAST_WAITING_MAX}}},
    };
    amqp_table_t table = {1, arguments};
    const amqp_queue_declare_ok_t *declared =
        amqp_queue_declare(r->state, channel, amqp_empty_bytes, 0, 0, 1, 1, table);
    if (!rabbitmq_said_ok(l, q->name))
        return false;
    const char *name = text_of(q->arena, declared->queue); /* the broker's own */
    *ret_name = amqp_cstring_bytes(name);
    return true;
}

static bool
declare_durable(struct link *l, struct broker_queue *q, amqp_channel_t channel)
{
    struct rabbitmq *r = l->wire;
    const char *dead = arena_printf(r->scratch, "%s.dead", q->name);
    if (!declare_dead(l, channel, dead))
        return false;
    amqp_table_entry_t arguments[] = {
        {amqp_cstring_bytes("x-queue-type"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes("quorum")}}},
        {amqp_cstring_bytes("x-single-active-consumer"),
         {AMQP_FIELD_KIND_BOOLEAN, {.boolean = q->kind == BROKER_ORDERED}}},
        {amqp_cstring_bytes("x-delivery-limit"),
         {AMQP_FIELD_KIND_I32, {.i32 = BROKER_DELIVERIES_MAX}}},
        {amqp_cstring_bytes("x-dead-letter-exchange"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes(RABBITMQ_DEAD_EXCHANGE)}}},
        {amqp_cstring_bytes("x-dead-letter-routing-key"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes(dead)}}},
        /* A dead letter leaves its queue once the other queue has it, for which the broker wants
         * reject-publish, though there is no limit to refuse at. */
        {amqp_cstring_bytes("x-dead-letter-strategy"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes("at-least-once")}}},
        {amqp_cstring_bytes("x-overflow"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes("reject-publish")}}},
    };
    amqp_table_t table = {sizeof arguments / sizeof arguments[0], arguments};
    amqp_queue_declare(r->state, channel, amqp_cstring_bytes(q->name), 0, 1, 0, 0, table);
    return rabbitmq_said_ok(l, q->name);
}

static bool
declare_dead(struct link *l, amqp_channel_t channel, const char *name)
{
    struct rabbitmq *r = l->wire;
    amqp_table_entry_t arguments[] = {
        {amqp_cstring_bytes("x-queue-type"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes("quorum")}}},
    };
    amqp_table_t table = {1, arguments};
    amqp_queue_declare(r->state, channel, amqp_cstring_bytes(name), 0, 1, 0, 0, table);
    return rabbitmq_said_ok(l, name) &&
           bind(l, channel, amqp_cstring_bytes(name), RABBITMQ_DEAD_EXCHANGE, name);
}

static bool
bind(struct link *l, amqp_channel_t channel, amqp_bytes_t queue, const char *exchange,
     const char *key)
{
    struct rabbitmq *r = l->wire;
    amqp_queue_bind(r->state, channel, queue, amqp_cstring_bytes(exchange), amqp_cstring_bytes(key),
                    amqp_empty_table);
    return rabbitmq_said_ok(l, key);
}

static bool
acknowledge(struct link *l, struct broker_queue *q)
{
    struct rabbitmq *r = l->wire;
    uint64_t acked = queue_acked(q);
    if (acked <= q->told)
        return true;
    q->told = acked;
    return rabbitmq_ok(l, amqp_basic_ack(r->state, channel_of(q), acked, 1), "acknowledging");
}

/* With its channel, the broker gets back all that is not acknowledged. */
static bool
close_queue(struct link *l, struct broker_queue *q)
{
    struct rabbitmq *r = l->wire;
    amqp_channel_t channel = channel_of(q);
    if (channel) {
        if (!acknowledge(l, q))
            return false;
        r->queues[channel] = NULL;
        amqp_channel_close(r->state, channel, AMQP_REPLY_SUCCESS);
        if (!rabbitmq_said_ok(l, "closing a channel"))
            return false;
    }
    queue_closed(q);
    return true;
}

bool
rabbitmq_delivered(struct link *l, amqp_channel_t channel, const amqp_basic_deliver_t *deliver)
{
    struct rabbitmq *r = l->wire;
    struct broker_queue *q = channel <= RABBITMQ_CHANNELS_MAX ? r->queues[channel] : NULL;
    if (!q)
        return true; /* closed meanwhile */
    uint64_t number = deliver->delivery_tag;
    amqp_message_t message;
    amqp_rpc_reply_t reply = amqp_read_message(r->state, channel, &message, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return rabbitmq_ok(l, reply.library_error, "reading a message") &&
               link_fail(l, "reading a message: the channel was closed");
    arena_reset(r->scratch);
    struct event e;
    int status = AMQP_STATUS_OK;
    if (!event_of(r, &message, &e)) {
        queue_refused(q);
        status = amqp_basic_reject(r->state, channel, number, 0);
    } else if (queue_wants(q, e.topic)) {
        queue_deliver(q, number, &e);
    } else { /* by a binding of an earlier version of ours */
        status = amqp_basic_ack(r->state, channel, number, 0);
    }
    amqp_destroy_message(&message);
    return rabbitmq_ok(l, status, "acknowledging");
}

/* Into the scratch arena; the data stays where it is. */
static bool
event_of(struct rabbitmq *r, const amqp_message_t *message, struct event *ret)
{
    const amqp_basic_properties_t *properties = &message->properties;
    const amqp_flags_t needed = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG;
    if ((properties->_flags & needed) != needed ||
        !text_equal(text_of(r->scratch, properties->content_type), EVENT_CONTENT_TYPE))
        return false;
    struct attribute attributes[ATTRIBUTES_MAX];
    size_t n = 0;
    for (int i = 0; i < properties->headers.num_entries; i++) {
        const amqp_table_entry_t *header = &properties->headers.entries[i];
        const char *name = text_of(r->scratch, header->key);
        /* The binding allows both separators. */
        if (!text_starts(name, "cloudEvents:") && !text_starts(name, "cloudEvents_"))
            continue;
        if (n == ATTRIBUTES_MAX || header->value.kind != AMQP_FIELD_KIND_UTF8)
            return false;
        attributes[n++] = (struct attribute){name + strlen(RABBITMQ_PREFIX),
                                             text_of(r->scratch, header->value.value.bytes)};
    }
    return event_from_attributes(attributes, n, message->body.bytes, message->body.len, ret);
}

static const char *
text_of(struct arena *a, amqp_bytes_t bytes)
{
    return arena_strndup(a, bytes.bytes, bytes.len);
}
