/*
 * A node: one running process of Souk, with its services, stores, bus and jobs.  For app, gateway and
 * tests; a service's code sees kit.h alone.
 */
#pragma once
#include "kit/kit.h"

struct conf;
struct process;
struct topology;

struct node_options {
    const char *data_dir;                    /* made with mode 0700 if it is not there */
    const struct service *const *services;   /* all that there are; NULL-terminated */
    const struct conf *conf;                 /* NULL: defaults */
    bool quiet;                              /* no log lines for requests */
    /* Several processes, or one on PostgreSQL: which of them this is.  Its data stands in
     * topology_folder.  NULL: everything in this one, embedded. */
    const struct topology *topology;
    const struct process *process;
    int instance; /* of a process that runs several times: which address it listens at; 0 is 1 */
};

/* Locks data_dir, opens its stores (souk.db, listeners.db), migrates, runs every service's start.
 * FAILED_PRECONDITION if another process holds the folder. */
enum status node_open(const struct node_options *options, struct arena *a, struct node **ret,
                      const char **why);
/* Starts followers and jobs. */
void node_start(struct node *node);
/* False while what it keeps in files of its own is not level yet with what others have published.
 */
bool node_level(const struct node *node);
/* Listens for other processes, if there are any; then it is ready. */
enum status node_listen(struct node *node, struct arena *a, const char **why);
/* It is ready no longer, so that others are sent elsewhere; it still serves whoever comes. */
void node_leave(struct node *node);
/* No more calls from other processes; those that run may end within grace_us. */
void node_drain(struct node *node, int64_t grace_us);
bool node_ready(const struct node *node);
/* Jobs and followers end what they are at; requests must have ended before. */
void node_stop(struct node *node);
void node_free(struct node *node);

const struct service *const *node_services(const struct node *node); /* all that there are */
bool node_runs(const struct node *node, const char *service);        /* in this process? */
const struct rpc *node_rpc(const struct node *node, const char *service, const char *name);
struct bus *node_bus(const struct node *node);
struct store *node_store(const struct node *node, const char *service);
/* Where a service's requests run; of one that runs elsewhere: where they are asked from. */
struct sched *node_sched(const struct node *node, const char *service);

/* A fresh request: arena is the caller's; anonymous, 10 s to live, new id and trace. */
void request_init(struct request *rq, struct node *node, struct arena *arena);
/* Ends it: counts, and writes its log line. route is "POST /v1/orders" or the rpc's full name. */
void request_log(struct request *rq, const char *route, enum status st, int http_status,
                 int64_t took_us);

/*
 * Serves one request from outside: checks the rpc's permission for rq->caller, runs the handler, and
 * waits for the disk.  *ret in the request's arena.  What the answer says is durable when this returns.
 */
enum status node_serve(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                       ProtobufCMessage **ret);

/* node_serve without its last step: the caller has something to write with the answer (the gateway
 * keeps it under its key), and calls request_settle before any byte leaves. */
enum status node_serve_unsettled(struct request *rq, const struct rpc *rpc,
                                 const ProtobufCMessage *in, ProtobufCMessage **ret);

/* True if node_serve would not have to wait: the rpc is quick, and what the caller may is known.
 * Then, and only then, a request may be served on the event loop, with rq->quick set. */
bool node_serves_quickly(struct request *rq, const struct rpc *rpc);

/* Runs fn(arg) on a fiber of service's scheduler and waits for it: how a command, which stands on a
 * plain thread, does the work of a service. */
void node_run(struct node *node, const char *service, void (*fn)(void *arg), void *arg);

/* The topic of this name, or NULL; every service's, running here or not. */
const struct topic *topic_find(const char *name);

/* A message in an arena: unpacked, and packed; NULL if bytes are no such message. */
ProtobufCMessage *message_unpack(struct arena *a, const ProtobufCMessageDescriptor *type,
                                 const void *bytes, size_t n);
uint8_t *message_pack(struct arena *a, const ProtobufCMessage *message, size_t *ret_n);

/*
 * Applies the journal to empty projections of service, in a scratch store beside the live ones, up to
 * where the live one stood, and compares the two canonical dumps.  NOT_FOUND if service has no
 * projections.  Under load the live one may move meanwhile: it is then read again, a few times.
 */
struct replayed {
    int64_t events; /* applied */
    size_t bytes;   /* of the dump */
    bool equal;
};
enum status node_replay(struct request *rq, const struct service *service, struct replayed *ret);
/* The same of every service that has projections, wherever it runs; fn is told of each. */
enum status node_replay_all(struct request *rq,
                            void (*fn)(void *arg, const char *service, const struct replayed *r),
                            void *arg);

/* Dead letters of all processes: as bus_dead_letters and its like. */
enum status node_dead_letters(struct request *rq, const char *after, size_t n,
                              struct dead_letter **ret, size_t *ret_n);
enum status node_dead_letter(struct request *rq, const char *id, struct dead_letter *ret);
enum status node_redrive(struct request *rq, const char *id);

/* Prometheus' text format. */
char *metrics_text(struct node *node, struct arena *a);
