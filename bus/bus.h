/*
 * The bus: events from those who publish to those who subscribe, at least once, in order for each
 * publisher and subject, each effect once.
 *
 * Embedded, the journal is the bus: a table in the core store.  An event is written in its
 * publisher's transaction; a follower for each subscribing service reads what is durable, runs the
 * handlers in a transaction of the subscriber's, and moves the service's cursor in the same one.
 *
 * A handler that fails is retried with growing delays, then parked as a dead letter; later events of
 * the same publisher and subject queue behind it, for that subscriber only.  Failures of the store
 * itself (UNAVAILABLE) are not the event's fault: the follower waits and tries again.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "store/store.h"

struct bus;

/* A kind of event; generated for each event message. */
struct topic {
    const char *name;      /* "orders.order_paid" */
    const char *publisher; /* "orders" */
    const char *subject;   /* the payload's field with the aggregate's id */
    const ProtobufCMessageDescriptor *type;
    bool erases; /* ends what older events keep of somebody: kit/personal.h */
};

/* An event as it travels: CloudEvents 1.0 with our extensions. */
struct event {
    int64_t position; /* in the journal */
    const char *id;   /* "evn_…" */
    const char *topic, *publisher, *subject;
    const char *type; /* full name of the message: "souk.orders.v1.OrderPaid" */
    int64_t sequence; /* by publisher and subject, from 1, without gaps */
    int64_t time_us;
    const char *correlation_id, *causation_id, *traceparent;
    ProtobufCBinaryData data; /* the packed message */
};

/* What a publisher's surroundings add to its events. */
struct publish_context {
    int64_t now_us;
    const char *correlation_id, *causation_id, *traceparent;
};

/*
 * Writes an event in tx, whose service must be topic->publisher.  A failure makes tx fail.
 * In a store that is not the core store it goes to that store's outbox, and from there to the journal
 * by a relay.
 */
void bus_publish(struct bus *bus, struct tx *tx, const struct publish_context *context,
                 const struct topic *topic, const ProtobufCMessage *message);

/* Handles one event within tx; gives OK, or what failed. */
typedef enum status event_fn(void *arg, struct tx *tx, const struct event *event);
/* Hears one durable event, outside any transaction; cannot fail. */
typedef void broadcast_fn(void *arg, const struct event *event);

struct subscriber {
    const char *service;          /* its name, and the cursor's */
    struct store *store;          /* where its effects and cursor go */
    const char *const *topics;    /* names; NULL-terminated; a single "*" is all */
    event_fn *handle;             /* runs on a fiber */
    void *arg;
};

struct bus_options {
    struct store *core;                   /* has the journal */
    struct sched *core_sched, *listener_sched; /* where followers run: by their store */
    struct store *listeners;              /* or NULL */
    int attempts_max;                     /* before a dead letter; 0 is 8 */
    int64_t retry_first_us, retry_most_us; /* 0 is 100 ms and 5 min; doubling */
};

/* The tables that the bus keeps in a store, as migrations of "bus". */
const struct migration *bus_migrations(size_t *n);

struct bus *bus_new(const struct bus_options *options);
void bus_subscribe(struct bus *bus, const struct subscriber *s); /* before bus_start */
/* Hears topics (NULL-terminated, "*" is all) from now on; on the core scheduler. */
void bus_listen(struct bus *bus, const char *const *topics, broadcast_fn *fn, void *arg);
void bus_start(struct bus *bus);
/* Lets each follower end the event it is at, and stops. */
void bus_stop(struct bus *bus);
void bus_free(struct bus *bus);

/* A batch is durable: followers look for what is new.  Give it to store_options.on_durable. */
void bus_kick(void *bus, uint64_t batch);

/* Waits until every follower has seen all that was in the journal at the call; false after
 * timeout_us.  For tests and for the demo. */
bool bus_drained(struct bus *bus, int64_t timeout_us);

/* Up to n events behind position, oldest first; topic and subject filter where they are not NULL. */
enum status bus_read(struct bus *bus, struct tx_scope *scope, int64_t after, const char *topic,
                     const char *subject, size_t n, struct event **ret, size_t *ret_n);
/* The newest position; 0 while there is none. */
int64_t bus_head(struct bus *bus, struct tx_scope *scope);

/*
 * Erasing from the journal.  An erasing event is noted in the transaction that hears it, in the store
 * whose journal is to be gone through; it need not stand in that journal.  bus_erase, called now and
 * then, gives fn each event that was there, and writes what fn makes of it.  That begins at due_us,
 * and when every subscriber here has heard them all; who hears elsewhere is not known here, and is
 * given time by due_us.  What somebody has parked keeps its data until it is handled.
 */
typedef bool bus_erase_fn(struct arena *a, const struct event *erasing, const struct event *e,
                          ProtobufCBinaryData *ret_data); /* false: e stays as it is */
void bus_erase_note(struct tx *tx, const struct event *erasing, int64_t due_us);
/* Some pages of it. */
enum status bus_erase(struct bus *bus, bus_erase_fn *fn);

/* A parked event: retrying, or dead. */
struct dead_letter {
    const char *id; /* "<subscriber>:<event id>" */
    const char *subscriber;
    struct event event;
    int64_t attempts;
    const char *error;
    bool dead;
    int64_t waiting; /* later events of the subject behind it */
    int64_t parked_at_us;
};
enum status bus_dead_letters(struct bus *bus, struct tx_scope *scope, const char *after_id, size_t n,
                             struct dead_letter **ret, size_t *ret_n);
enum status bus_dead_letter(struct bus *bus, struct tx_scope *scope, const char *id,
                            struct dead_letter *ret);
/* Tries it again now, with its attempts forgotten.  NOT_FOUND if there is none of this id. */
enum status bus_redrive(struct bus *bus, struct tx_scope *scope, const char *id);

/* How far each subscriber is behind the journal's head, for /metrics. */
struct bus_lag {
    const char *subscriber;
    int64_t cursor, behind;
    int64_t parked;
};
size_t bus_lags(struct bus *bus, struct bus_lag *out, size_t max);

/* An event as CloudEvents JSON: bus/cloudevents.h. */
