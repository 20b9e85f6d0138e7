/* Calls between services, and requests from outside. */
#include <assert.h>
#include <stdlib.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/peers.h"
#include "kit/trace.h"

static void *
arena_allocator_alloc(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void
arena_allocator_free(void *arena, void *thing)
{
    (void)arena, (void)thing;
}

ProtobufCMessage *
message_unpack(struct arena *a, const ProtobufCMessageDescriptor *type, const void *bytes, size_t n)
{
    ProtobufCAllocator allocator = {arena_allocator_alloc, arena_allocator_free, a};
    return protobuf_c_message_unpack(type, &allocator, n, bytes);
}

uint8_t *
message_pack(struct arena *a, const ProtobufCMessage *message, size_t *ret_n)
{
    uint8_t *bytes = arena_alloc(a, protobuf_c_message_get_packed_size(message));
    *ret_n = protobuf_c_message_pack(message, bytes);
    return bytes;
}

/* What a remote call would do: pack, carry, unpack. */
static ProtobufCMessage *
carry(struct arena *a, const ProtobufCMessage *message)
{
    size_t n;
    const uint8_t *bytes = message_pack(a, message, &n);
    ProtobufCMessage *copy = message_unpack(a, message->descriptor, bytes, n);
    assert(copy); /* what we packed, we can unpack */
    return copy;
}

ProtobufCMessage *
message_new(struct arena *a, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(a, type->sizeof_message);
    protobuf_c_message_init(type, message);
    return message;
}

/* Which handler of unit's serves rpc, or NULL if it is another service's. */
static any_fn *
handler_of(const struct unit *unit, const struct rpc *rpc)
{
    const struct server *server = unit->service->serves;
    if (!server || rpc < server->list->rpcs || rpc >= server->list->rpcs + server->list->n)
        return NULL;
    return server->handlers[rpc - server->list->rpcs];
}

static const struct unit *
server_of(const struct node *node, const struct rpc *rpc, any_fn **ret)
{
    for (size_t i = 0; i < node->n_units; i++) {
        *ret = handler_of(&node->units[i], rpc);
        if (*ret)
            return &node->units[i];
    }
    return NULL;
}

enum status
rpc_run(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
        ProtobufCMessage **ret)
{
    any_fn *handler;
    const struct unit *unit = server_of(rq->node, rpc, &handler);
    if (!unit) {
        const struct process *home = peers_home(rq->node->peers, rpc->service);
        return home ? peer_call(rq, home, rpc, in, ret)
                    : fail_status(rq, UNIMPLEMENTED, "%s is not served here", rpc->full);
    }
    const struct service *caller = rq->service;
    rq->service = unit->service;
    struct span *span = caller == unit->service ? NULL : span_begin_rpc(rq, SPAN_INTERNAL, rpc);
    rq->depth++;
    ProtobufCMessage *out = message_new(rq->arena, rpc->out);
    enum status st = rpc->invoke(handler, rq, in, out);
    assert(!rq->scope.open); /* a handler ends what it began */
    rq->depth--;
    span_end(span, rq, st);
    rq->service = caller;
    if (st == OK)
        *ret = out;
    return st;
}

bool
declares_call(const struct service *service, const struct rpc *rpc)
{
    for (size_t i = 0; i < CALLS_MAX && service->calls[i]; i++) {
        const struct rpc_list *list = service->calls[i];
        if (rpc >= list->rpcs && rpc < list->rpcs + list->n)
            return true;
    }
    return false;
}

enum status
rpc_call(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
         ProtobufCMessage **ret)
{
    assert(!rq->scope.open);                 /* never within a transaction */
    assert(declares_call(rq->service, rpc)); /* docs/MAP.md must be able to tell */
    if (rq->depth >= CALL_DEPTH_MAX)
        return fail_status(rq, INTERNAL, "calls are nested deeper than %d", CALL_DEPTH_MAX);
    if (env.mono_us() >= rq->deadline_us)
        return fail_status(rq, DEADLINE_EXCEEDED, "no time was left to call %s", rpc->full);
    if (!node_runs(rq->node, rpc->service))
        return rpc_run(rq, rpc, in, ret); /* where it runs, it is asked whether rq's caller may */
    if (rpc->permission) {
        enum status st = permission_check(rq, rpc->permission, rpc->resource);
        if (st)
            return st;
    }
    ProtobufCMessage *out;
    enum status st = rpc_run(rq, rpc, carry(rq->arena, in), &out);
    if (st == OK)
        *ret = carry(rq->arena, out);
    return st;
}

bool
node_serves_quickly(struct request *rq, const struct rpc *rpc)
{
    if (rq->node->topology) /* a server's answer is waited for */
        return false;
    return (rpc->flags & RPC_QUICK) && node_runs(rq->node, rpc->service) &&
           (!rpc->permission || rq->caller.kind == CALLER_OPERATOR ||
                                        grant_known(rq, rpc->permission, rpc->resource));
}

enum status
node_serve_unsettled(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
                     ProtobufCMessage **ret)
{
    if (rpc->permission && node_runs(rq->node, rpc->service)) {
        enum status st = permission_check(rq, rpc->permission, rpc->resource);
        if (st)
            return st;
    }
    return rpc_run(rq, rpc, in, ret);
}

enum status
node_serve(struct request *rq, const struct rpc *rpc, const ProtobufCMessage *in,
           ProtobufCMessage **ret)
{
    ProtobufCMessage *out = NULL;
    enum status st = node_serve_unsettled(rq, rpc, in, &out);
    if (!store_settled(&rq->scope) && request_settle(rq))
        st = UNAVAILABLE;
    if (st == OK)
        *ret = out;
    return st;
}

struct run {
    void (*fn)(void *arg);
    void *arg;
    struct fiber *waiter;
    bool done; /* written on the fiber, read after the wake */
};

static void
run_and_wake(void *arg)
{
    struct run *run = arg;
    struct fiber *waiter = run->waiter;
    run->fn(run->arg);
    __atomic_store_n(&run->done, true, __ATOMIC_RELEASE);
    fiber_wake(waiter);
}

void
node_run(struct node *node, const char *service, void (*fn)(void *arg), void *arg)
{
    struct run run = {fn, arg, fiber_self(), false};
    bool spawned = sched_spawn(node_sched(node, service), run_and_wake, &run);
    assert(spawned);
    (void)spawned;
    while (!__atomic_load_n(&run.done, __ATOMIC_ACQUIRE))
        fiber_park();
}
