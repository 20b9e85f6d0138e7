/*
 * What the files of the brokers share.
 *
 * broker.c        the functions of broker.h: windows of events to publish, queues of what has come
 * broker_link.c   a connection and its thread: connects, serves, connects again
 * broker_event.c  an event as CloudEvents' attributes, and back
 * broker_url.c    what a URL says
 * rabbitmq.c, rabbitmq_queue.c         AMQP 0-9-1
 * nats.c, nats_stream.c, nats_queue.c   NATS JetStream
 *
 * A broker has two links, so that a broker that takes nothing more from its publishers still gives
 * to its consumers.  All that a wire does runs on the threads of the links; fibers leave their
 * wishes under the broker's lock and kick the link.
 */
#pragma once
#include <stdatomic.h>

#include "bus/broker.h"
#include "fiber/fiber.h"

enum {
    QUEUES_MAX = 128,               /* of one broker in one process */
    QUEUE_TOPICS_MAX = 128,         /* that one queue is bound to */
    BROADCAST_WAITING_MAX = 100000, /* events that a process may be behind */
    TURN_MOST_MS = 1000,            /* a link looks this often for its heartbeats */
    CONNECT_MOST_MS = 5000,
    REPLY_MOST_MS = 10000,
    HEARTBEAT_S = 10,
};

struct link;

/* ---- the two real brokers -------------------------------------------------------------------- */

/* On a link's own thread, one after the other. */
struct wire {
    /* Connects, and declares what the link needs; false with link_fail's reason. */
    bool (*connect)(struct link *l);
    /* One turn: takes what has come, does what is wished, waits for more.  False: it is lost. */
    bool (*serve)(struct link *l);
    /* After connect, whether it succeeded or not. */
    void (*drop)(struct link *l);
};

extern const struct wire rabbitmq_wire, nats_wire;

struct broker_url {
    const struct wire *wire;
    bool tls;
    const char *host, *user, *password, *path; /* the path decoded, without its '/' */
    int port;
    const char *cacertfile, *certfile, *keyfile; /* or NULL */
};

/* False with *why for what is no URL of a broker. */
bool broker_url_parse(struct arena *a, const char *text, struct broker_url *ret, const char **why);

/* ---- events ---------------------------------------------------------------------------------- */

enum { ATTRIBUTES_MAX = 12 };

struct attribute {
    const char *name, *value;
};

/* What is not empty of e's attributes, all but data and its content type; how many. */
size_t event_attributes(struct arena *a, const struct event *e, struct attribute *ret);
/* The event of these attributes; false if they are none of a CloudEvent of ours.  Values are not
 * copied. */
bool event_from_attributes(const struct attribute *attributes, size_t n, const void *data,
                           size_t data_n, struct event *ret);

#define EVENT_CONTENT_TYPE "application/protobuf"

/* An event in memory of its own, given back with free(). */
struct parcel {
    struct parcel *next;
    uint64_t tag;
    struct event event;
    char bytes[];
};
struct parcel *parcel_new(const struct event *e);

/* ---- links ----------------------------------------------------------------------------------- */

enum { ERROR_CHARS_MAX = 160 };

struct link {
    struct broker *broker;
    bool publishes; /* or consumes */
    int kick_fd;    /* an eventfd, readable once the link was kicked */
    void *wire;     /* the connection, while there is one */
    uint64_t sent;  /* events published on this connection */

    /* Under the broker's lock: */
    bool serving;
    bool ended;
    int socket; /* to be shut down if the link hangs at its end; or -1 */
    uint64_t connections;
    char error[ERROR_CHARS_MAX]; /* why there is no connection */
};

bool link_start(struct link *l, struct broker *b, bool publishes);
void link_stop(struct link *l);
void link_kick(struct link *l); /* from any thread */
/* The kick that was waited for has been seen. */
void link_kicked(struct link *l);
/* Remembers why; false, for whoever returns it. */
bool link_fail(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void link_set_socket(struct link *l, int socket);

/* ---- windows: what is published together ------------------------------------------------------
 */

struct window {
    struct window *next;
    struct fiber *fiber; /* waits for it */
    uint64_t first;      /* its first event's number on the connection, from 1 */
    size_t n, settled;
    bool on_way; /* the link is at it, without the lock: it is not to be freed */
    bool left;   /* nobody waits any more */
    bool over;   /* all are settled, or the connection is lost */
    char fates[BROKER_WINDOW_MAX];
    struct parcel *parcels[BROKER_WINDOW_MAX];
};

enum fate { FATE_OPEN, FATE_CONFIRMED, FATE_REFUSED };

/* For the publishing link. */
struct window *window_next(struct link *l); /* the next to be sent, or NULL */
void window_sent(struct link *l, struct window *w);
/* The broker has answered for that number, or for all open ones up to it. */
void window_settle(struct link *l, uint64_t number, bool multiple, enum fate fate);

/* ---- queues ---------------------------------------------------------------------------------- */

enum queue_state { QUEUE_NEW, QUEUE_OPEN, QUEUE_CLOSING, QUEUE_CLOSED };

struct broker_queue {
    struct broker *broker;
    struct arena *arena;
    const char *name;
    const char *topics[QUEUE_TOPICS_MAX];
    size_t n_topics;
    bool all;
    enum broker_kind kind;
    void (*wake)(void *arg);
    void *arg;

    /* The link's: */
    void *wire;
    bool fresh;    /* something came in this turn */
    uint64_t told; /* up to where the broker knows what is taken for good */

    /* Under the broker's lock: */
    enum queue_state state;
    struct fiber *closer;
    struct parcel *first, **end; /* what has come */
    size_t waiting;
    uint32_t generation; /* a part of each tag; another one for each connection */
    uint64_t acked;
};

/* For the consuming link. */
struct broker_queue *queue_at(struct link *l, size_t i, enum queue_state *ret_state); /* or NULL */
void queue_opened(struct broker_queue *q);
void queue_closed(struct broker_queue *q); /* q is gone then */
bool queue_wants(const struct broker_queue *q, const char *topic);
/* serial rises within the connection. */
void queue_deliver(struct broker_queue *q, uint64_t serial, const struct event *e);
void queue_refused(struct broker_queue *q); /* counts what was no event of ours */
uint64_t queue_acked(struct broker_queue *q);
size_t queue_waiting(struct broker_queue *q);

/* ---- the broker ------------------------------------------------------------------------------ */

struct broker {
    struct broker_url url;
    const char *client_name;
    struct link publishing, consuming;
    atomic_bool stopping;

    struct spin lock; /* guards what follows */
    struct window *waiting, *sent;
    struct broker_queue *queues[QUEUES_MAX];
    struct fiber *stopper;
    uint64_t published, confirmed, delivered, refused;
};

/* A link's connection begins and ends. */
void broker_begin(struct link *l);
void broker_end(struct link *l);
/* Tells those for whom something has come. */
void broker_wake(struct link *l);
