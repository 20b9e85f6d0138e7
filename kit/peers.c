/* Asking other processes. */
#include "kit/peers_impl.h"

#include <assert.h>
#include <stdlib.h>

#include "fiber/fiber.h"
#include "kit/trace.h"

/* Who is cut off is found out while callers still have the patience to ask elsewhere, or again. */
static const int64_t keepalive_us = 2 * SECOND_US;
static const int64_t keepalive_timeout_us = 2 * SECOND_US;

static enum status ask_peer(struct request *rq, const struct process *to, const struct rpc *rpc,
                            const ProtobufCMessage *in, ProtobufCMessage **ret);
static void fill_metadata(struct request *rq, struct metadata *m);
static void add_text(struct metadata *m, const char *name, const char *value);
static ProtobufCBinaryData signed_caller(struct request *rq);
static struct grpc_channel *channel_to(struct peers *p, const struct process *to);

const struct process *
peers_home(const struct peers *p, const char *service)
{
    return p ? topology_home(p->topology, service) : NULL;
}

enum status
peer_call(struct request *rq, const struct process *to, const struct rpc *rpc,
          const ProtobufCMessage *in, ProtobufCMessage **ret)
{
    assert(!rq->quick && !rq->scope.open);
    if (!store_settled(&rq->scope)) {
        enum status st = request_settle(rq); /* before bytes leave the process */
        if (st)
            return st;
    }
    struct span *span = rpc->service == peer_server.list->service
                            ? NULL /* how processes keep level is no part of what a buyer did */
                            : span_begin_rpc(rq, SPAN_CLIENT, rpc);
    enum status st = ask_peer(rq, to, rpc, in, ret);
    span_end(span, rq, st);
    return st;
}

static enum status
ask_peer(struct request *rq, const struct process *to, const struct rpc *rpc,
         const ProtobufCMessage *in, ProtobufCMessage **ret)
{
    struct metadata m = {.n = 0};
    fill_metadata(rq, &m);
    struct grpc_ask ask = {
        .path = rpc->full,
        .metadata = m.pairs,
        .n_metadata = m.n,
        .deadline_us = rq->deadline_us,
        .repeatable = !(rpc->flags & RPC_UNKEPT),
    };
    ask.message = message_pack(rq->arena, in, &ask.n);
    struct grpc_reply reply = {.why = ""};
    enum status st = grpc_unary(channel_to(rq->node->peers, to), rq->arena, &ask, &reply);
    if (st) {
        failure_read(rq, st, &reply);
        return st;
    }
    *ret = message_unpack(rq->arena, rpc->out, reply.message, reply.n);
    if (!*ret)
        return fail_status(rq, INTERNAL, "%s answered something else", rpc->resource);
    int64_t http_status;
    if (int_parse(pair_text(rq->arena, reply.trailers, reply.n_trailers, "souk-http-status"),
                  &http_status))
        rq->http_status = (int)http_status;
    const struct grpc_pair *location =
        pair_find(reply.trailers, reply.n_trailers, "souk-location-bin");
    if (location)
        rq->location = arena_strndup(rq->arena, location->value, location->value_n);
    return OK;
}

void
peers_hang_up(struct peers *p)
{
    for (size_t i = 0; p && i < p->topology->n_processes; i++) {
        struct grpc_channel *channel = __atomic_load_n(&p->channels[i], __ATOMIC_ACQUIRE);
        if (channel)
            grpc_channel_hang_up(channel);
    }
}

void
peers_metrics(const struct peers *p, struct text *out)
{
    static const char *const figures[][2] = {{"calls_total", "counter"},
                                             {"retries_total", "counter"},
                                             {"failures_total", "counter"},
                                             {"connections_total", "counter"},
                                             {"under_way", "gauge"}};
    for (size_t f = 0; p && f < sizeof figures / sizeof figures[0]; f++) {
        text_printf(out, "# TYPE souk_channel_%s %s\n", figures[f][0], figures[f][1]);
        for (size_t i = 0; i < p->topology->n_processes; i++) {
            struct grpc_channel *channel = __atomic_load_n(&p->channels[i], __ATOMIC_ACQUIRE);
            if (!channel)
                continue;
            struct grpc_figures g = grpc_channel_figures(channel);
            const uint64_t values[] = {g.calls, g.retries, g.failures, g.connections,
                                       (uint64_t)g.under_way};
            text_printf(out, "souk_channel_%s{to=\"%s\"} %llu\n", figures[f][0],
                        p->topology->processes[i].name, (unsigned long long)values[f]);
        }
    }
}

/* Made when it is first needed: few processes ask all others. */
static struct grpc_channel *
channel_to(struct peers *p, const struct process *to)
{
    size_t i = (size_t)(to - p->topology->processes);
    struct grpc_channel *channel = __atomic_load_n(&p->channels[i], __ATOMIC_ACQUIRE);
    if (channel)
        return channel;
    fiber_lock(&p->channels_lock);
    if (!p->channels[i]) {
        struct grpc_channel_options options = {
            .target = to->address,
            .tls = p->tls.authorities ? &p->tls : NULL,
            .server_name = to->name,
            .user_agent = "souk/" SOUK_VERSION,
            .message_max = PEER_MESSAGE_BYTES_MAX,
            .keepalive_us = keepalive_us,
            .keepalive_timeout_us = keepalive_timeout_us,
        };
        channel = grpc_channel_new(p->loop, &options);
        __atomic_store_n(&p->channels[i], channel, __ATOMIC_RELEASE);
    }
    channel = p->channels[i];
    fiber_unlock(&p->channels_lock);
    return channel;
}

static void
fill_metadata(struct request *rq, struct metadata *m)
{
    const struct service *service = rq->service ? rq->service : rq->node->units[0].service;
    add_text(m, "souk-service", service->name);
    add_text(m, "souk-request-id", rq->id);
    add_text(m, "souk-correlation-id", rq->correlation_id);
    add_text(m, "souk-causation-id", rq->causation_id);
    add_text(m, "traceparent", trace_parent(rq));
    bool ours = rq->caller.kind == CALLER_SERVICE || rq->caller.kind == CALLER_OPERATOR;
    if (ours)
        add_text(m, "souk-as", "service");
    if (!text_empty(rq->caller.ip) || !text_empty(rq->caller.user_agent)) {
        Souk__Kit__V1__Client client = SOUK__KIT__V1__CLIENT__INIT;
        client.ip = rq->caller.ip;
        client.user_agent = rq->caller.user_agent;
        m->pairs[m->n++] = pair_message(rq->arena, "souk-client-bin", &client.base);
    }
    if (rq->caller.kind == CALLER_USER || rq->caller.kind == CALLER_GUEST) {
        ProtobufCBinaryData bytes = signed_caller(rq);
        m->pairs[m->n++] =
            (struct grpc_pair){"souk-caller-bin", (const char *)bytes.data, bytes.len};
    }
}

static void
add_text(struct metadata *m, const char *name, const char *value)
{
    if (!text_empty(value))
        m->pairs[m->n++] = (struct grpc_pair){name, value, strlen(value)};
}

/* As it came, or made where the gateway runs. */
static ProtobufCBinaryData
signed_caller(struct request *rq)
{
    if (rq->caller.signed_caller.len)
        return rq->caller.signed_caller;
    return identity_sign(rq->node->peers->identity, rq->arena, &rq->caller);
}
