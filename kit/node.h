/*
 * A node: one running process of Souk, with its services, stores, bus and jobs.  For app, gateway and
 * tests; a service's code sees kit.h alone.
 */
#pragma once
#include "kit/kit.h"

struct conf;

struct node_options {
    const char *data_dir;                    /* made with mode 0700 if it is not there */
    const struct service *const *services;   /* NULL-terminated */
    const struct conf *conf;                 /* NULL: defaults */
    bool quiet;                              /* no log lines for requests */
};

/* Locks data_dir, opens its stores (souk.db, listeners.db), migrates, runs every service's start.
 * FAILED_PRECONDITION if another process holds the folder. */
enum status node_open(const struct node_options *options, struct arena *a, struct node **ret,
                      const char **why);
/* Starts followers and jobs; then it is ready. */
void node_start(struct node *node);
bool node_ready(const struct node *node);
/* Jobs and followers end what they are at; requests must have ended before. */
void node_stop(struct node *node);
void node_free(struct node *node);

const struct service *const *node_services(const struct node *node);
const struct rpc *node_rpc(const struct node *node, const char *service, const char *name);
struct bus *node_bus(const struct node *node);
struct store *node_store(const struct node *node, const char *service);
/* Where a service's requests run. */
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

/* The topic of this name, or NULL; every service's, running here or not. */
const struct topic *topic_find(const char *name);

/* For replay: hands an event to a subscription of service in a transaction of another store. */
enum status node_apply(struct node *node, const struct service *service, struct tx *tx,
                       const struct event *event, bool projections_only);

/* Prometheus' text format. */
char *metrics_text(struct node *node, struct arena *a);
