/*
 * Live streams: an answer that is followed, as server-sent events.
 *
 * A stream is the fiber of its request.  What it sends is what its rpc answers: at first, and again
 * when an event told that its order or checkout changed; so each of its answers is authorised and
 * durable like any other.
 */
#pragma once
#include "auth.api.h"
#include "gateway/routes.h"
#include "kit/node.h"
#include "net/net.h"
#include "orders.api.h"
#include "payments.api.h"

enum { STREAMS_MAX = 1000 }; /* of a process */

struct stream {
    struct node *node;
    const struct route *route;
    const ProtobufCMessage *in;
    struct http_exchange *x;
    const struct http_request *http;
    const char *client; /* its address */
    /* Fills in who calls, anew for each answer: his session may have ended. */
    enum status (*authenticate)(struct request *rq, const struct http_request *http);

    const char *order_id; /* what it follows: stream_join finds it */
    struct fiber *fiber;
    bool changed; /* under the streams' lock */
    struct stream *next;
    int64_t version; /* what was sent last */
};

/* From now on s, which has its first part filled in, hears of changes.  GATEWAY_OVERLOADED if there
 * are too many. */
enum status stream_join(struct stream *s, struct request *rq);

/*
 * Sends the head and first, the rpc's answer to rq, and then every change, until the end is
 * reached, the peer is gone or too slow, or the process drains.  http_stream_end is left to be
 * called.
 */
void stream_follow(struct stream *s, const struct request *rq, const ProtobufCMessage *first);
void stream_leave(struct stream *s);

/* Every stream ends now, and a new one after its first answer. */
void streams_end(struct node *node);

/* For the gateway's table: what may have changed an order or a checkout.  Most of it nobody
 * follows. */
bool streams_want(struct node *node, const struct event *event);
order_created_handler streams_on_order_created;
order_paid_handler streams_on_order_paid;
order_completed_handler streams_on_order_completed;
order_shipped_handler streams_on_order_shipped;
order_cancelled_handler streams_on_order_cancelled;
payment_processed_handler streams_on_payment_processed;
payment_refunded_handler streams_on_payment_refunded;
checkout_failed_handler streams_on_checkout_failed;
auth_checkout_failed_handler streams_on_auth_checkout_failed;
