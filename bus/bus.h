/*
 * The bus: events from those who publish to those who subscribe, at least once, in order for each
 * publisher and subject, each effect once.
 *
 * Embedded, the journal is the bus: a table in the core store.  An event is written in its
 * publisher's transaction; a follower for each subscribing service reads what is durable, runs the
 * handlers in a transaction of the subscriber's, and moves the service's cursor in the same one.
 *
 * Between processes ("spread": bus_options.publishers is not NULL) the bus_event of a publisher's
 * store is its outbox, and its history.  A subscriber hears it by asking the outbox, or from a
 * queue of a broker that a relay fills from the outbox; then it compares what it took (its inbox)
 * with the outbox, and takes what is missing from there.  Order is kept for each publisher and
 * subject, but for what a broker lost, which comes late.
 *
 * A handler that fails is retried with growing delays, then parked as a dead letter; later events
 * of the same publisher and subject queue behind it, for that subscriber only.  Failures of the
 * store itself (UNAVAILABLE) are not the event's fault: the follower waits and tries again.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>

#include "store/store.h"

struct bus;
struct broker;
struct broker_ops; /* bus/broker_ops.h */

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
    int64_t position; /* in the journal; spread: in its publisher's outbox */
    const char *id;   /* "evn_…" */
    const char *topic, *publisher, *subject;
    const char *type; /* full name of the message: "souk.orders.v1.OrderPaid" */
    int64_t sequence; /* by publisher and subject, from 1, without gaps */
    int64_t time_us;
    const char *correlation_id, *causation_id, *traceparent;
    ProtobufCBinaryData data; /* the packed message */
    bool follows;             /* its subscriber has handled another in this transaction before it */
};

/* What a publisher's surroundings add to its events. */
struct publish_context {
    int64_t now_us;
    const char *correlation_id, *causation_id, *traceparent;
};

/*
 * Writes an event in tx, whose service must be topic->publisher.  A failure makes tx fail.
 * Embedded, in a store that is not the core store it goes to that store's outbox, and from there to
 * the journal by a relay.  Spread, it goes to the bus_event of tx's store, which must be the home
 * of the publisher.
 */
void bus_publish(struct bus *bus, struct tx *tx, const struct publish_context *context,
                 const struct topic *topic, const ProtobufCMessage *message);

/* Handles one event within tx; gives OK, or what failed. */
typedef enum status event_fn(void *arg, struct tx *tx, const struct event *event);
/* Hears one durable event, outside any transaction; cannot fail. */
typedef void broadcast_fn(void *arg, const struct event *event);

struct subscriber {
    const char *service;       /* its name, and the cursor's */
    struct store *store;       /* where its effects and cursor go */
    const char *const *topics; /* names; NULL-terminated; a single "*" is all */
    event_fn *handle;          /* runs on a fiber */
    void *arg;
    bool gathers; /* nobody waits for what it writes: many events in a transaction, and pauses */

    /* Spread: */
    struct sched *sched; /* where it runs; NULL: core_sched */
    bool shared;         /* with a broker: every replica takes its part, in no order between them */
    /* Of topics "*": each event is copied into the store's bus_event before it is handled, and its
     * position is the one it has there: the journal.  Nobody else may be at home in that store. */
    bool keeps_journal;
};

/* ---- between processes ----------------------------------------------------------------------- */

/* What is asked of an outbox. */
struct outbox_ask {
    int64_t after;             /* events behind this position; negative: behind the newest of now */
    const char *const *topics; /* NULL-terminated; "*" is all */
    size_t most;         /* events in the answer, at most OUTBOX_EVENTS_MAX; 0 asks for head only */
    int64_t wait_us;     /* for the first of them, at most OUTBOX_WAIT_US_MAX */
    bool positions_only; /* without data */
    int64_t older_than_us; /* none that is younger, and then without a wait; 0: all */
};

/* Its answer. */
struct outbox_page {
    struct event *events; /* of the publisher and the topics, oldest first */
    size_t n;
    int64_t upto; /* between ask.after and here there is nothing else of the topics */
    int64_t head; /* the newest position in that store */
};

enum {
    OUTBOX_EVENTS_MAX = 512,
    OUTBOX_BYTES_MAX = 1 << 20, /* in an answer, though one event is always given */
    OUTBOX_WAIT_US_MAX = 20000000,
    PUBLISHERS_MAX = 64,
};

/* A publisher of this process, and the store whose bus_event is its outbox. */
struct bus_home {
    const char *publisher;
    struct store *store;
};

struct bus_options {
    struct store *core; /* has the journal; spread: of whom keeps_journal, or NULL */
    struct sched *core_sched, *listener_sched; /* where followers run: by their store */
    struct store *listeners;                   /* or NULL; spread: NULL */
    int attempts_max;                          /* before a dead letter; 0 is 8 */
    int64_t retry_first_us, retry_most_us;     /* 0 is 100 ms and 5 min; doubling */

    /*
     * Spread.  A topic's publisher is what stands before the first dot of its name.  All of this
     * must stay as it is until bus_free.
     */
    const char *const *publishers; /* everyone's in the system, NULL-terminated; NULL: embedded */
    const struct bus_home *homes;  /* stores may repeat */
    size_t n_homes;
    /*
     * Asks the outbox of a publisher that is at home elsewhere; parks; the answer lives in a.
     * UNAVAILABLE and the like are waited out.  bus_stop waits for what is under way: poll_us.
     */
    enum status (*read_outbox)(void *arg, const char *publisher, const struct outbox_ask *ask,
                               struct arena *a, struct outbox_page *ret);
    void *read_outbox_arg;
    /* Of several replicas of a service, does this one follow and relay?  Called about twice a
     * second; may park.  what: the subscriber's name, or "relay".  NULL: always. */
    bool (*leads)(struct store *store, const char *what);
    struct broker *broker; /* NULL: followers ask the outboxes */
    const struct broker_ops *broker_ops;
    const char *instance;  /* this process's own name; for its queue of broadcasts */
    int64_t poll_us;       /* how long an outbox is asked to wait; 0 is 2 s */
    int64_t look_us;       /* an outbox that another process may write to is looked at; 0 is 1 s */
    int64_t repair_us;     /* between comparisons with the outbox; 0 is 5 s */
    int64_t repair_age_us; /* how old an event must be to be missed; 0 is 5 s */
};

/*
 * Answers another process about a publisher at home here; parks until there is something to tell,
 * ask->wait_us is over or the bus stops.  NOT_FOUND if the publisher is at home elsewhere.
 */
enum status bus_serve_outbox(struct bus *bus, const char *publisher, const struct outbox_ask *ask,
                             struct arena *a, struct outbox_page *ret);

/* ---- the bus --------------------------------------------------------------------------------- */

/* The tables that the bus keeps in a store, as migrations of "bus". */
const struct migration *bus_migrations(size_t *n);

struct bus *bus_new(const struct bus_options *options);
void bus_subscribe(struct bus *bus, const struct subscriber *s); /* before bus_start */
/* Hears topics (NULL-terminated, "*" is all) from now on; on the core scheduler.  Spread: before
 * bus_start; what is published while a publisher or the broker is away may stay unheard. */
void bus_listen(struct bus *bus, const char *const *topics, broadcast_fn *fn, void *arg);
void bus_start(struct bus *bus);
/* Lets each follower end the event it is at, and stops. */
void bus_stop(struct bus *bus);
void bus_free(struct bus *bus);

/* A batch is durable: followers look for what is new.  Give it to store_options.on_durable. */
void bus_kick(void *bus, uint64_t batch);

/* Waits until every follower has seen all that was in the journal at the call; false after
 * timeout_us.  Spread: until what is at home here is relayed, and every follower that leads is
 * level with the outboxes it can see; what a broker carries is not seen.  For tests and for the
 * demo. */
bool bus_drained(struct bus *bus, int64_t timeout_us);

/* Spread: true once those who subscribe in this store have done all that was published when they
 * first asked; until then what they know is of the past. */
bool bus_level(const struct bus *bus, const struct store *store);

/* Up to n events behind position, oldest first; topic and subject filter where they are not NULL.
 * UNIMPLEMENTED in a process without the journal. */
enum status bus_read(struct bus *bus, struct tx_scope *scope, int64_t after, const char *topic,
                     const char *subject, size_t n, struct event **ret, size_t *ret_n);
/* The newest position; 0 while there is none. */
int64_t bus_head(struct bus *bus, struct tx_scope *scope);

/*
 * Erasing from a store's bus_event.  An erasing event is noted, whole, in a transaction of the
 * store by who hears it; it need not stand there.  bus_erase, called now and then, gives fn each
 * event that was there, and writes what fn makes of it.  That begins at due_us, and when every
 * subscriber here has heard them all.
 *
 * Spread, each store is noted in and gone through for itself; due_us gives those time who hear
 * elsewhere.  A copy that came after the note is given too, if its event was published before.
 * Embedded, what somebody has parked keeps its data until it is handled; spread, it is parked
 * whole.
 */
typedef bool bus_erase_fn(struct arena *a, const struct event *erasing, const struct event *e,
                          ProtobufCBinaryData *ret_data); /* false: e stays as it is */
void bus_erase_note(struct tx *tx, const struct event *erasing, int64_t due_us);
/* Some pages of it. */
enum status bus_erase(struct bus *bus, struct store *store, bus_erase_fn *fn);

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
/* Of all subscribers; spread: of those in this process. */
enum status bus_dead_letters(struct bus *bus, struct tx_scope *scope, const char *after_id,
                             size_t n, struct dead_letter **ret, size_t *ret_n);
enum status bus_dead_letter(struct bus *bus, struct tx_scope *scope, const char *id,
                            struct dead_letter *ret);
/* Tries it again now, with its attempts forgotten.  NOT_FOUND if there is none of this id. */
enum status bus_redrive(struct bus *bus, struct tx_scope *scope, const char *id);

/* How far each subscriber is behind the journal's head, for /metrics.  Spread: a row for each of
 * its publishers; the first has what is parked of all.  With a broker the cursor is of what has
 * been compared with the outbox. */
struct bus_lag {
    const char *subscriber;
    const char *publisher;  /* "" when embedded */
    int64_t cursor, behind; /* where all is compared; and how much no queue has brought, either */
    int64_t parked;
};
size_t bus_lags(struct bus *bus, struct bus_lag *out, size_t max);

/* An event as CloudEvents JSON: bus/cloudevents.h. */
