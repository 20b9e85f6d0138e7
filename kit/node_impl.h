/* What the kit's own files share of a node. */
#pragma once
#include "bus/bus.h"
#include "fiber/fiber.h"
#include "kit/conf.h"
#include "kit/node.h"
#include "kit/topology.h"

enum {
    SERVICES_MAX = 32,
    CORE_FIBERS_MAX = 4096,
    LISTENER_FIBERS_MAX = 1024, /* a subscriber has one for each publisher that runs elsewhere */
    LISTENERS_NICE = 10,        /* about a tenth of a processor that sales want too */
    REQUEST_LIFE_US = 10 * 1000 * 1000,
    /* With growing delays, 200 s: what an event builds on may be another publisher's, and come only
     * when the broker is back, or the process. */
    ATTEMPTS_SPREAD_MAX = 12,
};

/* What soon() was given, by one service. */
struct tasks {
    struct spin lock;
    struct task *first, *last; /* that wait */
    size_t n_waiting, n_running;
    bool stop;
    struct fiber *waiter;
};

/* A service as it runs here. */
struct unit {
    const struct service *service;
    struct node *node;
    struct store *store;
    struct sched *sched;
    void *state; /* service_state's */
    size_t state_bytes;
    const char *topics[SUBSCRIBES_MAX + 1]; /* of its subscriptions that have a cursor */
    struct tasks tasks;
};

struct job_run {
    struct unit *unit;
    const struct job *job;
    struct fiber *fiber; /* while it runs */
    uint64_t runs, failures;
};

struct node {
    struct arena *arena; /* lives as long as the node */
    const struct service *const *services;
    const struct conf *conf;
    const char *data_dir;
    bool quiet, started, listens, leaves;
    int lock_fd;
    const struct topology *topology; /* NULL: embedded */
    const struct process *process;
    int instance;
    struct peers *peers; /* NULL: there are no others */
    struct store *core, *listeners; /* embedded; else core has the journal, if it is kept here */
    struct named_store {
        const char *name;
        struct store *store;
    } stores[STORES_MAX];
    size_t n_stores;
    struct bus_home homes[SERVICES_MAX];
    const char *publishers[SERVICES_MAX + 1]; /* everyone's */
    struct sched *core_sched, *listener_sched;
    struct bus *bus;
    struct broker *broker; /* or NULL */
    struct unit units[SERVICES_MAX];
    size_t n_units;
    struct spin state_lock;
    struct grants *grants;
    struct tracer *tracer; /* NULL: nothing is recorded */

    struct job_run jobs[SERVICES_MAX * (JOBS_MAX + 1) + 1];
    size_t n_jobs;
    struct spin jobs_lock;
    bool jobs_stop;
    size_t jobs_running;
    struct fiber *jobs_waiter;
};

/* Its followers and jobs run: calls are served, ready or not. */
static inline bool
node_started(const struct node *node)
{
    return __atomic_load_n(&node->started, __ATOMIC_ACQUIRE);
}

struct unit *unit_of(const struct node *node, const struct service *service);
struct unit *unit_named(const struct node *node, const char *service); /* NULL if it is not here */

/* An empty message of a type. */
ProtobufCMessage *message_new(struct arena *a, const ProtobufCMessageDescriptor *type);

/* May service call rpc, by its table? */
bool declares_call(const struct service *service, const struct rpc *rpc);
/* Does the kit itself call it, from every process? */
bool is_kit_rpc(const struct node *node, const struct rpc *rpc);

/* Runs an rpc's handler in rq, as the service that serves it, or asks the process where it runs; no
 * permission is asked here. */
enum status rpc_run(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                    ProtobufCMessage **ret);

/* request.c: another span of the same trace. */
void request_new_span(struct request *rq);

/* permissions.c */
struct grants *grants_new(struct node *node);
void grants_free(struct grants *g);
bool grant_known(struct request *rq, const char *permission, const char *resource);
/* Whether rq's caller may; OK, UNAUTHENTICATED or PERMISSION_DENIED, or why it could not be told. */
enum status permission_check(struct request *rq, const char *permission, const char *resource);
/* Tells authz what was decided from memory: a job. */
enum status grants_report(struct request *rq);

/* events.c */
void subscribe_units(struct node *node);
/* Hands an event to unit's projections, in a transaction of any store. */
enum status apply_event(struct unit *unit, struct tx *tx, const struct event *event);

/* stores.c */
enum status stores_open(struct node *node, struct arena *a, const char **why);
void stores_close(struct node *node);
/* The bus's migrations, and those of the services that wanted says. */
struct migration *migrations_of(bool (*wanted)(const void *arg, const char *service),
                                const void *arg, struct arena *a, size_t *ret_n);

/* peer_rpcs.c: what the bus asks another process's outbox by. */
enum status peer_read_outbox(void *node, const char *publisher, const struct outbox_ask *ask,
                             struct arena *a, struct outbox_page *ret);

/* erase.c: the subscriber "erasure", and its job; between processes, those of each store. */
void subscribe_erasures(struct node *node);
bool erases_events(const struct unit *unit); /* does unit stand for the store? */
enum status journal_erase(struct request *rq);

/* jobs.c */
void jobs_start(struct node *node);
void jobs_stop(struct node *node);

/* tasks.c */
void tasks_stop(struct node *node); /* lets what runs end, and drops what waits */

/* log.c */
void log_line(const char *bytes, size_t n); /* whole lines; written soon, from any thread */
void log_flush(void);

/* metrics.c */
void count_request(const char *route, int http_status, int64_t took_us);
void count_job(const char *service, const char *job, bool failed);
