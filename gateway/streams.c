#include "gateway/streams.h"

#include "base/env.h"
#include "base/hash.h"
#include "fiber/fiber.h"
#include "gateway.api.h"
#include "gateway/gateway.h"
#include "kit/json.h"
#include "kit/trace.h"

enum { SLOTS = 1024 };

static const int64_t beat_us = 15 * SECOND_US;
static const int64_t life_us = 10 * MINUTE_US;
/* An event may come before what it tells of was written by who hears it too: looked at again, each
 * time later. */
static const int64_t look_first_us = 50 * MILLISECOND_US;
static const int64_t look_most_us = 2 * SECOND_US;

/* All streams of a process, by order: the gateway's state. */
struct streams {
    struct spin lock;
    struct stream *slots[SLOTS];
    size_t n;
    bool end;
};

static struct streams *streams_of(struct node *node);
static struct stream **slot_of(struct streams *all, const char *order_id);
static bool has_ended(struct streams *all);
static bool wait_for_change(struct streams *all, struct stream *s, int64_t until_us);
static enum status look(struct stream *s, bool *ret_sent, bool *ret_final);
static bool send(struct stream *s, const ProtobufCMessage *message, struct arena *a);
static int64_t version_of(const struct stream *s, const ProtobufCMessage *message);
static bool is_final(const ProtobufCMessage *message);
static enum status changed(struct request *rq, const char *order_id);
static enum status checkout_changed(struct request *rq, const char *checkout_id);

enum status
stream_join(struct stream *s, struct request *rq)
{
    struct streams *all = streams_of(s->node);
    const char *id = *(const char *const *)((const char *)s->in + s->route->params[0]->offset);
    bool checkout = s->route->rpc->out == DESCRIPTOR_OF_Checkout;
    s->order_id = checkout ? id_derive(rq->arena, "ord", id, NULL) : id;
    s->fiber = fiber_self();
    spin_lock(&all->lock);
    bool fits = all->n < STREAMS_MAX;
    if (fits) {
        struct stream **slot = slot_of(all, s->order_id);
        s->next = *slot;
        *slot = s;
        all->n++;
    }
    spin_unlock(&all->lock);
    return fits ? OK : fail(rq, &GATEWAY_OVERLOADED, "%d streams are open", STREAMS_MAX);
}

void
stream_leave(struct stream *s)
{
    struct streams *all = streams_of(s->node);
    spin_lock(&all->lock);
    struct stream **link = slot_of(all, s->order_id);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    all->n--;
    spin_unlock(&all->lock);
}

void
streams_end(struct node *node)
{
    struct streams *all = streams_of(node);
    spin_lock(&all->lock);
    all->end = true;
    for (size_t i = 0; i < SLOTS; i++)
        for (struct stream *s = all->slots[i]; s; s = s->next)
            fiber_wake(s->fiber);
    spin_unlock(&all->lock);
}

void
stream_follow(struct stream *s, const struct request *rq, const ProtobufCMessage *first)
{
    const struct http_header headers[] = {{"content-type", "text/event-stream"},
                                          {"cache-control", "no-store"},
                                          {"x-content-type-options", "nosniff"},
                                          {"traceparent", trace_parent(rq)}};
    http_stream_begin(s->x,
                      &(struct http_response){.status = 200, .headers = headers, .n_headers = 4});
    if (strcmp(s->http->method, "HEAD") == 0 || !send(s, first, rq->arena))
        return;
    struct streams *all = streams_of(s->node);
    int64_t now_us = env.mono_us();
    int64_t until_us = now_us + life_us, next_beat_us = now_us + beat_us, wait_us = beat_us;
    bool final = is_final(first);
    while (!final && !has_ended(all) && !http_gone(s->x) && now_us < until_us) {
        int64_t look_us = now_us + wait_us < next_beat_us ? now_us + wait_us : next_beat_us;
        bool woken = wait_for_change(all, s, look_us);
        now_us = env.mono_us();
        bool sent = false;
        if (look(s, &sent, &final))
            return;
        if (sent)
            wait_us = beat_us;
        else if (woken)
            wait_us = look_first_us;
        else
            wait_us = wait_us < look_most_us ? 2 * wait_us : beat_us;
        if (now_us < next_beat_us)
            continue;
        if (!sent && !http_stream_write(s->x, ":\n\n", 3))
            return;
        next_beat_us = now_us + beat_us;
    }
}

static struct streams *
streams_of(struct node *node)
{
    struct request rq = {.node = node, .service = &gateway_service};
    return service_state(&rq, sizeof(struct streams));
}

static struct stream **
slot_of(struct streams *all, const char *order_id)
{
    return &all->slots[hash64(order_id, strlen(order_id)) % SLOTS];
}

static bool
has_ended(struct streams *all)
{
    spin_lock(&all->lock);
    bool end = all->end;
    spin_unlock(&all->lock);
    return end;
}

/* True if an event came. */
static bool
wait_for_change(struct streams *all, struct stream *s, int64_t until_us)
{
    for (;;) {
        spin_lock(&all->lock);
        bool woken = s->changed, end = all->end;
        s->changed = false;
        spin_unlock(&all->lock);
        if (woken || end)
            return woken;
        if (!fiber_park_until(until_us))
            return false;
    }
}

/* Asks again and sends what is new.  A failure of ours is none of the stream. */
static enum status
look(struct stream *s, bool *ret_sent, bool *ret_final)
{
    struct arena *arena = arena_new();
    struct request rq;
    request_init(&rq, s->node, arena);
    rq.service = &gateway_service;
    rq.caller.ip = s->client;
    rq.sampled = false; /* a look is nothing that the buyer did */
    ProtobufCMessage *message;
    enum status st = s->authenticate(&rq, s->http);
    if (st == OK)
        st = node_serve(&rq, s->route->rpc, s->in, &message);
    if (st == OK && version_of(s, message) > s->version) {
        *ret_final = is_final(message);
        *ret_sent = true;
        st = send(s, message, arena) ? OK : CANCELLED;
    } else if (st == UNAVAILABLE || st == DEADLINE_EXCEEDED || st == RESOURCE_EXHAUSTED) {
        st = OK;
    }
    arena_free(arena);
    return st;
}

/* False if the peer is gone, or does not read. */
static bool
send(struct stream *s, const ProtobufCMessage *message, struct arena *a)
{
    s->version = version_of(s, message);
    struct text t = text_in(a);
    text_printf(&t, "id: %lld\nevent: %s\ndata: ", (long long)s->version,
                message->descriptor == DESCRIPTOR_OF_Order ? "order" : "checkout");
    json_write(&t, message);
    text_add(&t, "\n\n");
    return http_stream_write(s->x, t.bytes, t.n);
}

static int64_t
version_of(const struct stream *s, const ProtobufCMessage *message)
{
    return *(const int64_t *)((const char *)message + s->route->version->offset);
}

/* Nothing more will be told of it, or nothing that its buyer waits for. */
static bool
is_final(const ProtobufCMessage *message)
{
    if (message->descriptor == DESCRIPTOR_OF_Checkout)
        return ((const Checkout *)message)->status != CHECKOUT_STATUS_PENDING;
    OrderStatus status = ((const Order *)message)->status;
    return status == ORDER_STATUS_SHIPPED || status == ORDER_STATUS_CANCELLED ||
           status == ORDER_STATUS_REFUNDED;
}

/* ---- what is heard: durable events, outside any transaction ---------------------------------- */

/* Every event's subject is its order, or a checkout. */
bool
streams_want(struct node *node, const struct event *event)
{
    struct streams *all = streams_of(node);
    spin_lock(&all->lock);
    bool wanted =
        all->n > 0 && (!text_starts(event->subject, "ord_") || *slot_of(all, event->subject));
    spin_unlock(&all->lock);
    return wanted;
}

static enum status
changed(struct request *rq, const char *order_id)
{
    struct streams *all = streams_of(rq->node);
    spin_lock(&all->lock);
    for (struct stream *s = *slot_of(all, order_id); s; s = s->next)
        if (strcmp(s->order_id, order_id) == 0) {
            s->changed = true;
            fiber_wake(s->fiber);
        }
    spin_unlock(&all->lock);
    return OK;
}

static enum status
checkout_changed(struct request *rq, const char *checkout_id)
{
    return changed(rq, id_derive(rq->arena, "ord", checkout_id, NULL));
}

enum status
streams_on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_order_paid(struct request *rq, struct tx *tx, const OrderPaid *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_order_completed(struct request *rq, struct tx *tx, const OrderCompleted *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_order_shipped(struct request *rq, struct tx *tx, const OrderShipped *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_payment_processed(struct request *rq, struct tx *tx, const PaymentProcessed *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_payment_refunded(struct request *rq, struct tx *tx, const PaymentRefunded *event)
{
    (void)tx;
    return changed(rq, event->order_id);
}

enum status
streams_on_checkout_failed(struct request *rq, struct tx *tx, const CheckoutFailed *event)
{
    (void)tx;
    return checkout_changed(rq, event->checkout_id);
}

enum status
streams_on_auth_checkout_failed(struct request *rq, struct tx *tx, const AuthCheckoutFailed *event)
{
    (void)tx;
    return checkout_changed(rq, event->checkout_id);
}
