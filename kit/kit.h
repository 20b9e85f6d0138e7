/*
 * The kit: what a service's code sees of the house.
 *
 * A handler gets a request and acquires everything from it: arena, transaction, deadline.  It returns
 * OK, or says why not with fail().  It never frees, locks or starts a thread.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/ids.h"
#include "base/limits.h"
#include "base/status.h"
#include "base/text.h"
#include "base/time.h"
#include "bus/bus.h"
#include "store/store.h"

struct node;
struct service;
struct request;

/* ---- who calls ------------------------------------------------------------------------------- */

enum caller_kind {
    CALLER_ANONYMOUS, /* nobody logged in */
    CALLER_GUEST,     /* holds the token of one order, order_id */
    CALLER_USER,      /* logged in as id */
    CALLER_OPERATOR,  /* holds the data folder: a command */
    CALLER_SERVICE,   /* Souk itself: a job or a subscriber */
};

struct caller {
    enum caller_kind kind;
    const char *id;         /* usr_… or "" */
    const char *session_id; /* or "" */
    const char *order_id;   /* a guest's, or "" */
    const char *ip, *user_agent; /* or "" */
    /* As the gateway of another process signed it; empty where it was made, and for nobody. */
    ProtobufCBinaryData signed_caller;
};

/* ---- how it ends ----------------------------------------------------------------------------- */

/* A way to say no; generated from the proto's enum Reason. */
struct reason {
    const char *service, *name; /* "orders", "OUT_OF_STOCK" */
    enum status status;
    int http;         /* 0: as status_http says */
    const char *code; /* "out_of_stock" */
};

/* One of several things wrong with a request. */
struct violation {
    const char *pointer; /* JSON Pointer into the body, "/lines/0/quantity" */
    const char *detail;
    const char *code;
    int64_t remaining; /* of stock, or -1 */
};

struct pair {
    const char *name, *value;
};

/* ---- a request ------------------------------------------------------------------------------- */

enum { NOTES_MAX = 16, EXTRAS_MAX = 4 };

struct request {
    struct arena *arena;
    struct tx_scope scope;
    struct node *node;
    const struct service *service; /* whose code runs now */
    struct caller caller;

    /* "req_…": time-ordered, and the same in a retry of the same work.  What must be made once gets
     * its id from it by id_derive(). */
    const char *id;
    int64_t now_us;      /* when it began, or the event's time for a subscriber: never read a clock */
    int64_t deadline_us; /* on env.mono_us's clock */

    /* kit/trace.h; hex.  parent_id is the caller's span, or "" where the trace begins here. */
    char trace_id[33], span_id[17], parent_id[17];
    bool sampled; /* its trace is recorded, here or by who began it */
    bool spanned; /* span_id is a span's: the next one is part of it */
    bool acted;   /* it called, published or began something */
    const char *correlation_id, *causation_id;

    /* Why it failed: set by fail(), read by whoever answers. */
    const struct reason *reason;
    const char *message;
    struct violation *violations;
    size_t n_violations;
    struct pair extras[EXTRAS_MAX]; /* further members of the problem document: order_id */
    size_t n_extras;

    /* What an HTTP answer adds to an OK. */
    int http_status; /* 0: the rpc's own */
    const char *location;

    struct pair notes[NOTES_MAX]; /* for the log line */
    size_t n_notes;
    int depth; /* calls within calls */
    bool quick; /* on the event loop: must not wait */
};

/* Says why this request fails, once, and returns the reason's status.  The message is for people:
 * short, lower case, with the numbers, no secrets.  A neighbour's reason is replaced. */
enum status fail(struct request *rq, const struct reason *why, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A failure that needs no reason of its own. */
enum status fail_status(struct request *rq, enum status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The store's failure in a request's words; st is tx_commit's.  Returns st. */
enum status fail_store(struct request *rq, enum status st);
bool failed_with(const struct request *rq, const struct reason *why);
/* Forgets a failure that the handler has dealt with. */
void fail_clear(struct request *rq);
/* Adds to errors[] of the answer; remaining is -1 where it says nothing.  At most ERRORS_MAX. */
void fail_at(struct request *rq, const char *pointer, const char *code, int64_t remaining,
             const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* A further member of the problem document. */
void fail_extra(struct request *rq, const char *name, const char *value);

/* Adds a field to the request's log line. */
void note_text(struct request *rq, const char *name, const char *value);
void note_int(struct request *rq, const char *name, int64_t value);
#define note(rq, name, value)                                                                      \
    _Generic((value), char * : note_text, const char * : note_text, default : note_int)(            \
        rq, name, value)

/* ---- its store ------------------------------------------------------------------------------- */

/* A transaction in the store of the service whose code runs. */
struct tx *tx_begin(struct request *rq);
struct tx *tx_begin_read(struct request *rq);

/* Waits until all that this request wrote or read is on disk.  The kit does so before it answers; a
 * handler does before it lets anything else leave the process (a provider's call, a mail). */
enum status request_settle(struct request *rq);

/* Publishes with the request's context; generated publish_…() call it. */
void publish(struct request *rq, struct tx *tx, const struct topic *topic,
             const ProtobufCMessage *message);

/* ---- calls ----------------------------------------------------------------------------------- */

typedef void any_fn(void);

/* RPC_STREAM: its answer is followed.  RPC_ASYNC: serves another rpc's route to who prefers not to wait. */
enum { RPC_QUICK = 1, RPC_UNKEPT = 2, RPC_STREAM = 4, RPC_ASYNC = 8 };

/* One rpc; generated. */
struct rpc {
    const char *service, *name; /* "orders", "PlaceOrder" */
    const char *full;           /* "/souk.orders.v1.Orders/PlaceOrder" */
    const char *resource;       /* "orders.PlaceOrder": what authz is asked about */
    const ProtobufCMessageDescriptor *in, *out;
    const char *method, *path; /* its route, or NULL */
    int http_status;
    const char *permission;        /* or NULL: only services and operators call it */
    const char *const *granted_to; /* roles, NULL-terminated */
    const char *consumes, *produces; /* media types of raw bodies, or NULL */
    size_t body_max;                 /* 0: BODY_BYTES_MAX */
    unsigned flags;
    enum status (*invoke)(any_fn *fn, struct request *rq, const void *in, void *out);
};

/* All rpcs of a service, for whoever calls it; generated as "orders_rpcs". */
struct rpc_list {
    const char *service;
    const struct rpc *rpcs;
    size_t n;
};

/* The same with their handlers; generated as "orders_server" from orders_<rpc>() functions. */
struct server {
    const struct rpc_list *list;
    any_fn *const *handlers;
};

/*
 * Calls another service: in this process on this thread, encoded and decoded like a remote call, or
 * by gRPC in the process where it runs; what rq has written is then on disk before it is asked.
 * *ret is a new message in the request's arena.  Generated call_…() call it.  No transaction may be
 * open, and the callee must stand in the caller's table.  A failure's reason is in rq.
 */
enum status rpc_call(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                     ProtobufCMessage **ret);

/* May the caller do this?  For handlers that show staff more. */
bool may(struct request *rq, const char *permission);

/*
 * Has fn(…, subject) run soon, on a fiber of the service's scheduler and with a request of its own,
 * beside others: for what an event asks for and must not wait for a job's next turn.  Nothing is kept
 * of it, so that a job must find it too.  Called in a transaction, fn looks first with tx_begin, which
 * waits for that transaction.  False if the node does not run, or too many wait.
 */
typedef enum status task_fn(struct request *rq, const char *subject);
bool soon(struct request *rq, task_fn *fn, const char *subject);

/* ---- a service ------------------------------------------------------------------------------- */

typedef enum status subscription_fn(struct request *rq, struct tx *tx, const void *message);

/* What a topic's messages are handed to: event is the generated topic, e.g. order_paid, whose
 * handler is  enum status fn(struct request *, struct tx *, const OrderPaid *). */
#define subscribe(event, handler)                                                                  \
    .topic = &event, .fn = (any_fn *)(1 ? (handler) : (event##_handler *)NULL)

struct subscription {
    const struct topic *topic; /* NULL ends the list, unless all is set */
    any_fn *fn;
    bool projection; /* writes only projection tables: replay rebuilds them from the journal */
    bool broadcast;  /* every process hears it, outside a transaction (tx is NULL): caches, streams */
    /* Of a broadcast: false spares what it costs to hand the event over.  NULL: always. */
    bool (*wants)(struct node *node, const struct event *event);
};

struct job {
    const char *name;
    enum status (*run)(struct request *rq);
    int64_t every_us;
};

enum { CALLS_MAX = 12, PUBLISHES_MAX = 16, SUBSCRIBES_MAX = 24, JOBS_MAX = 6 };

/* A service's table, at the foot of its .c. */
struct service {
    const char *name;
    const struct server *serves;
    bool listens; /* its tables stand in listeners.db, it writes nothing that a sale waits for */
    bool front;   /* asks any rpc that has a route, in the name of who sent the request */
    bool full_text; /* its tables are SQLite's in every shape: full text search */
    const struct rpc_list *calls[CALLS_MAX];
    const struct topic *publishes[PUBLISHES_MAX];
    struct subscription subscribes[SUBSCRIBES_MAX];
    /* Hears every event, in order (audit).  event is the raw envelope. */
    enum status (*hears_all)(struct request *rq, struct tx *tx, const struct event *event);
    struct job jobs[JOBS_MAX];
    /* Those of its jobs that are about what is in memory: they run in each process that serves it, the
     * others only in the one that leads its store.  NULL-terminated, or NULL. */
    const char *const *everywhere;
    /* Once at start, after migrations and before anything is served. */
    enum status (*start)(struct request *rq);
    const char *const *projections; /* tables that replay rebuilds; NULL-terminated, or NULL */
    void (*state_free)(void *state); /* frees what its service_state holds (not the state itself) */
};

/* The migrations that the build found in services/<name>/schema/; generated. */
extern const struct migration souk_migrations[];
extern const size_t souk_n_migrations;

/* ---- settings, and what a service keeps in memory -------------------------------------------- */

/* A setting of souk.conf, environment or flags, or its default: "currency" → "EUR". */
const char *setting(const struct node *node, const char *name);
int64_t setting_int(const struct node *node, const char *name);
const char *node_data_dir(const struct node *node);
/* Of several processes with the service whose code runs, is this the one that does its jobs? */
bool service_leads(struct request *rq);

/* A service's own state in memory (a cache), made on first use: size zero bytes, freed with the node.
 * Touched by several threads: guard it with a struct spin of its own. */
void *service_state(struct request *rq, size_t size);

/*
 * Counts by key, from any thread, for what is told in batches (views, grants).  Bounded: past
 * TALLY_KEYS_MAX keys a new one is counted under the empty key.
 */
struct tally;
enum { TALLY_KEYS_MAX = 4096 };
struct tally *tally_new(void);
void tally_add(struct tally *t, const char *key, int64_t n);
/* Takes all counts out: arrays in the arena. */
size_t tally_take(struct tally *t, struct arena *a, const char *const **ret_keys,
                  const int64_t **ret_counts);
void tally_free(struct tally *t);

/* Adds to a counter in /metrics: metric_add("souk_logins_total", "result=\"ok\"", 1). */
void metric_add(const char *name, const char *labels, int64_t n);
