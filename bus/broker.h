/*
 * What the bus wants of a broker between processes.  The broker only carries: the outbox of whoever
 * published stays the truth, and the subscriber's inbox makes each effect happen once.
 *
 * A broker keeps its connection by itself: it connects, notices by heartbeats that the peer is
 * gone, connects again with growing delays, and declares again what it needs.  It has threads of
 * its own; every function may be called from any fiber or thread, and parks where it says so.
 */
#pragma once
#include "bus/bus.h"

struct broker;
struct broker_queue;

enum {
    BROKER_WINDOW_MAX = 256,    /* events in one broker_publish */
    BROKER_PREFETCH_MAX = 512,  /* events that a subscriber holds unacknowledged */
    BROKER_DELIVERIES_MAX = 20, /* then the broker parks a message in the queue's dead letters */
};

enum broker_kind {
    BROKER_ORDERED,   /* durable, named; one consumer at a time is served, the others stand by */
    BROKER_SHARED,    /* durable, named; all consumers are served side by side */
    BROKER_BROADCAST, /* of this process alone, gone with it */
};

/*
 * By url: "amqp://user:password@host:port/vhost" (amqps://) is RabbitMQ, "nats://host:port"
 * (tls://) NATS JetStream; "?cacertfile=…&certfile=…&keyfile=…" where there is TLS.  The broker
 * lives in a. Does not wait for the connection.  INVALID_ARGUMENT with *why for what is no such
 * url.
 */
enum status broker_open(const char *url, const char *client_name, struct arena *a,
                        struct broker **ret, const char **why);
/* Parks until its threads have ended; queues are closed, and nobody publishes.  Then a may go. */
void broker_free(struct broker *b);

/*
 * Publishes up to BROKER_WINDOW_MAX events as CloudEvents 1.0 (routing key or subject: the topic)
 * and waits (parks) until the broker has confirmed each, or until_mono_us.  ret_confirmed[i] tells
 * of events[i].  OK if all are; UNAVAILABLE if some are not: they may have been taken all the same.
 */
enum status broker_publish(struct broker *b, const struct event *events, size_t n,
                           int64_t until_mono_us, bool *ret_confirmed);

/*
 * Binds a queue to topics (NULL-terminated; "*" is all) and consumes it.  name: "souk.orders".
 * wake(arg) is called, from any thread, when something has come to be taken: perhaps before this
 * returns, never after broker_unsubscribe has.  A new queue hears what is published once the broker
 * knows it, which this does not wait for.
 */
struct broker_queue *broker_subscribe(struct broker *b, const char *name, const char *const *topics,
                                      enum broker_kind kind, void (*wake)(void *arg), void *arg);
/* Takes up to n of what has come, in its order; never waits.  They live in a; *ret_tags to
 * acknowledge them with.  What is no CloudEvent of ours is given back to the broker as a dead
 * letter, and counted. */
size_t broker_take(struct broker_queue *q, struct arena *a, size_t n, struct event *ret_events,
                   uint64_t *ret_tags);
/* All up to tag have been taken for good.  A tag from before a reconnection does nothing. */
void broker_ack(struct broker_queue *q, uint64_t tag);
/* Gives everything unacknowledged back, and parks until that is done.  q is gone then. */
void broker_unsubscribe(struct broker_queue *q);

struct broker_figures {
    bool connected; /* to publish and to consume */
    uint64_t connections, published, confirmed, delivered, refused;
    char error[160]; /* why it is not connected; empty if it is */
};
struct broker_figures broker_figures(struct broker *b);
