/* Being asked by other processes. */
#include <assert.h>
#include <stdlib.h>

#include "base/env.h"
#include "base/hash.h"
#include "kit/peers_impl.h"
#include "kit/rules.h"
#include "kit/trace.h"

extern const char souk_descriptors[]; /* generated */
extern const size_t souk_descriptors_bytes;

enum { SERVED_MAX = 2048, NAMES_MAX = SERVICES_MAX + 2 };

/* One call on its way; in its arena. */
struct served {
    struct peers *peers;
    struct grpc_call *call;
    const struct grpc_request *in;
    const struct rpc *rpc;
    struct request rq;
    int64_t began_us;
};

static void on_call(void *arg, struct grpc_call *call, const struct grpc_request *in);
static const struct rpc *rpc_at(const struct peers *p, const char *path);
static void add_paths(struct peers *p, const struct rpc_list *list);
static void serve(void *arg);
static enum status peer_run(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                            ProtobufCMessage *out);
static enum status serve_rpc(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                             ProtobufCMessage **ret);
static void answer(struct served *s, enum status st, const ProtobufCMessage *out);
static enum status begin(struct served *s);
static enum status read_caller(struct served *s);
static enum status check_service(struct served *s);
static const struct service *service_named(const struct node *node, const char *name);
static const char *listen_address(struct peers *p);
static const char *const *served_names(struct peers *p);

enum status
peers_open(struct node *node, const struct peers_options *options, struct arena *a,
           struct peers **ret, const char **why)
{
    struct arena *arena = arena_new();
    struct peers *p = arena_alloc(arena, sizeof *p);
    *p = (struct peers){.arena = arena,
                        .node = node,
                        .topology = options->topology,
                        .self = options->self,
                        .instance = options->instance};
    const char *tls = options->topology->tls, *identity = options->topology->identity;
    if (tls)
        p->tls = (struct grpc_tls){
            .authorities = arena_printf(arena, "%s/authorities.pem", tls),
            .certificate = arena_printf(arena, "%s/%s.pem", tls, options->self->name),
            .key = arena_printf(arena, "%s/%s.key", tls, options->self->name)};
    if (!identity)
        identity = arena_printf(arena, "%s/identity", options->data_dir);
    bool signs = false;
    for (size_t i = 0; i < node->n_units; i++)
        signs |= node->units[i].service->front;
    enum status st = identity_open(identity, signs, a, &p->identity, why);
    if (st) {
        arena_free(arena);
        return st;
    }
    p->loop = loop_new();
    for (size_t i = 0; i < node->n_units; i++)
        if (node->units[i].service->serves)
            add_paths(p, node->units[i].service->serves->list);
    add_paths(p, peer_server.list);
    *ret = p;
    return OK;
}

enum status
peers_serve(struct peers *p, struct arena *a, const char **why)
{
    const char *listen = listen_address(p);
    if (!listen) {
        *why = arena_printf(a, "%s has no address %d", p->self->name, p->instance);
        return INVALID_ARGUMENT;
    }
    const struct grpc_server_options options = {
        .listen = listen,
        .tls = p->tls.authorities ? &p->tls : NULL,
        .message_max = PEER_MESSAGE_BYTES_MAX,
        .services = served_names(p),
        .descriptors = (const uint8_t *)souk_descriptors,
        .descriptors_n = souk_descriptors_bytes,
        .on_call = on_call,
        .arg = p,
    };
    return grpc_serve(p->loop, &options, a, &p->server, why);
}

void
peers_leave(struct peers *p)
{
    if (p && p->server)
        grpc_server_healthy(p->server, false);
}

void
peers_drain(struct peers *p, int64_t grace_us)
{
    if (p && p->server)
        grpc_server_drain(p->server, grace_us);
}

void
peers_free(struct peers *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->topology->n_processes; i++)
        if (p->channels[i])
            grpc_channel_free(p->channels[i]);
    loop_free(p->loop);
    identity_free(p->identity);
    arena_free(p->arena);
}

/* On the loop: what may wait goes to a fiber. */
static void
on_call(void *arg, struct grpc_call *call, const struct grpc_request *in)
{
    struct peers *p = arg;
    struct served *s = arena_alloc(in->arena, sizeof *s);
    *s = (struct served){.peers = p, .call = call, .in = in, .began_us = env.mono_us()};
    s->rpc = rpc_at(p, in->path);
    if (!s->rpc) {
        grpc_end(call, UNIMPLEMENTED, "no such rpc is served here", NULL, 0);
        return;
    }
    const struct unit *unit = unit_named(p->node, s->rpc->service);
    struct sched *sched = unit ? unit->sched : p->node->core_sched;
    if (!node_started(p->node))
        grpc_end(call, UNAVAILABLE, "this process does not run yet, or no longer", NULL, 0);
    else if (sched_fibers(sched) >= SERVED_MAX || !sched_spawn(sched, serve, s))
        grpc_end(call, RESOURCE_EXHAUSTED, "too many calls are in work", NULL, 0);
}

static void
serve(void *arg)
{
    struct served *s = arg;
    struct request *rq = &s->rq;
    enum status st = begin(s);
    ProtobufCMessage *in = NULL, *out = NULL;
    if (st == OK) {
        in = message_unpack(rq->arena, s->rpc->in, s->in->message, s->in->n);
        if (!in)
            st = fail_status(rq, INVALID_ARGUMENT, "the message is no %s", s->rpc->in->name);
    }
    if (st == OK && s->rpc->service == peer_server.list->service)
        st = peer_run(rq, s->rpc, in, out = message_new(rq->arena, s->rpc->out));
    else if (st == OK)
        st = serve_rpc(rq, s->rpc, in, &out);
    int64_t took_us = env.mono_us() - s->began_us;
    if (st == OK && s->rpc->service == peer_server.list->service)
        count_request(s->rpc->full, 200, took_us); /* waiting for events is no line in the log */
    else
        request_log(rq, s->rpc->full, st, st ? status_http(st) : 200, took_us);
    answer(s, st, out);
}

static enum status
serve_rpc(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
          ProtobufCMessage **ret)
{
    rq->service = unit_named(rq->node, rpc->service)->service;
    struct span *span = span_begin_rpc(rq, SPAN_SERVER, rpc);
    enum status st = node_serve(rq, rpc, in, ret);
    span_end(span, rq, st);
    return st;
}

/* One of the kit's own. */
static enum status
peer_run(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
         ProtobufCMessage *out)
{
    enum status st =
        rpc->invoke(peer_server.handlers[rpc - peer_server.list->rpcs], rq, in, out);
    enum status settled = request_settle(rq);
    return st ? st : settled;
}

static void
answer(struct served *s, enum status st, const ProtobufCMessage *out)
{
    struct request *rq = &s->rq;
    struct grpc_pair trailers[FAILURE_TRAILERS_MAX + 2];
    size_t n = 0;
    if (st) {
        n = failure_write(rq, st, trailers);
        grpc_end(s->call, st, rq->message ? rq->message : status_name(st), trailers, n);
        return;
    }
    if (rq->http_status) {
        const char *text = arena_printf(rq->arena, "%d", rq->http_status);
        trailers[n++] = (struct grpc_pair){"souk-http-status", text, strlen(text)};
    }
    if (rq->location)
        trailers[n++] = (struct grpc_pair){"souk-location-bin", rq->location, strlen(rq->location)};
    size_t bytes_n;
    const uint8_t *bytes = message_pack(rq->arena, out, &bytes_n);
    grpc_answer(s->call, bytes, bytes_n, trailers, n);
}

/* A request of its own, with what came along. */
static enum status
begin(struct served *s)
{
    const struct grpc_request *in = s->in;
    struct request *rq = &s->rq;
    struct arena *a = in->arena;
    request_init(rq, s->peers->node, a);
    if (in->deadline_us < INT64_MAX)
        rq->deadline_us = in->deadline_us;
    const char *id = pair_text(a, in->metadata, in->n_metadata, "souk-request-id");
    const char *correlation = pair_text(a, in->metadata, in->n_metadata, "souk-correlation-id");
    if (id_valid("req", id))
        rq->id = id;
    rq->correlation_id = *correlation ? correlation : rq->id;
    rq->causation_id = pair_text(a, in->metadata, in->n_metadata, "souk-causation-id");
    trace_join(rq, pair_text(a, in->metadata, in->n_metadata, "traceparent"));
    enum status st = read_caller(s);
    return st ? st : check_service(s);
}

static enum status
read_caller(struct served *s)
{
    const struct grpc_request *in = s->in;
    struct request *rq = &s->rq;
    const struct grpc_pair *pair = pair_find(in->metadata, in->n_metadata, "souk-client-bin");
    const Souk__Kit__V1__Client *client =
        pair ? (void *)message_unpack(rq->arena, &souk__kit__v1__client__descriptor, pair->value,
                                      pair->value_n)
             : NULL;
    if (client) {
        rq->caller.ip = client->ip;
        rq->caller.user_agent = client->user_agent;
    }
    pair = pair_find(in->metadata, in->n_metadata, "souk-caller-bin");
    if (!pair)
        return OK;
    ProtobufCBinaryData bytes = {pair->value_n, arena_copy(rq->arena, pair->value, pair->value_n)};
    if (!identity_verify(s->peers->identity, rq->arena, bytes, &rq->caller))
        return fail_status(rq, UNAUTHENTICATED, "the caller is not one that the gateway signed");
    rq->caller.signed_caller = bytes;
    return OK;
}

/*
 * Which service calls, and may it?  One that calls for itself, and any rpc that only services call,
 * needs a service whose table says so.  With TLS the certificate must be of a process that runs it.
 */
static enum status
check_service(struct served *s)
{
    const struct grpc_request *in = s->in;
    struct request *rq = &s->rq;
    const struct rpc *rpc = s->rpc;
    const char *name = pair_text(rq->arena, in->metadata, in->n_metadata, "souk-service");
    const struct service *service = service_named(rq->node, name);
    const char *as = pair_text(rq->arena, in->metadata, in->n_metadata, "souk-as");
    bool itself = strcmp(as, "service") == 0;
    if (!service && (itself || !rpc->permission))
        return fail_status(rq, UNAUTHENTICATED, "%s is for Souk's services", rpc->resource);
    if (service && s->peers->tls.authorities) {
        const struct process *process = topology_process(s->peers->topology, in->identity);
        if (!process || process != peers_home(s->peers, service->name))
            return fail_status(rq, PERMISSION_DENIED, "the certificate of \"%s\" does not speak for %s",
                               in->identity, service->name);
    }
    bool known = service && (declares_call(service, rpc) || is_kit_rpc(rq->node, rpc) ||
                             (service->front && rpc->path));
    if (!known && (itself || !rpc->permission))
        return fail_status(rq, PERMISSION_DENIED, "%s's table does not say that it calls %s",
                           service->name, rpc->resource);
    if (itself)
        rq->caller.kind = CALLER_SERVICE;
    return OK;
}

static const struct service *
service_named(const struct node *node, const char *name)
{
    for (size_t i = 0; node->services[i]; i++)
        if (strcmp(node->services[i]->name, name) == 0)
            return node->services[i];
    return NULL;
}

static const struct rpc *
rpc_at(const struct peers *p, const char *path)
{
    for (size_t at = hash64(path, strlen(path)) % PATH_SLOTS; p->paths[at]; at = (at + 1) % PATH_SLOTS)
        if (strcmp(p->paths[at]->full, path) == 0)
            return p->paths[at];
    return NULL;
}

static void
add_paths(struct peers *p, const struct rpc_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        const char *path = list->rpcs[i].full;
        size_t at = hash64(path, strlen(path)) % PATH_SLOTS;
        while (p->paths[at])
            at = (at + 1) % PATH_SLOTS;
        p->paths[at] = &list->rpcs[i];
    }
}

/* The n-th of the addresses, for the n-th process of this name. */
static const char *
listen_address(struct peers *p)
{
    char *left = arena_strdup(p->arena, p->self->listen), *one = NULL;
    for (int i = 0; i < p->instance; i++)
        if (!(one = strsep(&left, ",")))
            return NULL;
    return one;
}

/* "souk.orders.v1.Orders", for health and reflection. */
static const char *const *
served_names(struct peers *p)
{
    const char **names = arena_alloc(p->arena, NAMES_MAX * sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i <= p->node->n_units; i++) {
        const struct server *server =
            i < p->node->n_units ? p->node->units[i].service->serves : &peer_server;
        if (!server || !server->list->n)
            continue;
        const char *full = server->list->rpcs[0].full + 1;
        names[n++] = arena_strndup(p->arena, full, strcspn(full, "/"));
    }
    return names;
}
