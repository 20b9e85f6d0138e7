#include "gateway/gateway.h"

#include <assert.h>
#include <stdlib.h>

#include "auth.api.h"
#include "base/env.h"
#include "fiber/fiber.h"
#include "gateway.api.h"
#include "gateway/answer.h"
#include "gateway/forwarded.h"
#include "gateway/idempotency.h"
#include "gateway/input.h"
#include "gateway/pages.h"
#include "gateway/streams.h"
#include "kit/trace.h"

enum { REQUESTS_MAX = 2000, BURST_S = 10, TOKEN_CHARS_MAX = 4096 };
static const int64_t life_us = 10 * SECOND_US;
static const int64_t checkout_life_us = 15 * SECOND_US; /* a provider may take 10 of them */

struct gateway {
    struct arena *arena;
    struct node *node;
    struct sched *core;
    const struct routes *routes;
    struct limits *limits; /* NULL: none */
    struct keys *keys;
    struct gateway_options options;
    struct proxies proxies;
    size_t in_work; /* atomic */
};

/* One request on its way; in the arena of its exchange. */
struct visit {
    struct gateway *g;
    struct http_exchange *x;
    const struct http_request *in;
    struct route_match match;
    struct allowance allowance;
    struct request rq;
    struct span *span;
    struct answer answer;
    bool counted;       /* among those in work */
    bool respond_async; /* preferred, and there is an rpc for it */

    /* For a service of another scheduler. */
    const ProtobufCMessage *message;
    ProtobufCMessage *out;
    enum status st;
    struct fiber *waiter;
    bool done; /* atomic */
};

static bool within_limits(struct visit *v, const char *key);
static bool within_address_limit(struct visit *v);
static bool is_health(const struct route *route);
static void begin(struct visit *v);
static void begin_trace(struct visit *v);
static void visit_elsewhere(struct visit *v);
static void run_page(void *arg);
static void run_visit(void *arg);
static enum status authenticate(struct request *rq, const struct http_request *in);
static void run_stream(struct visit *v);
static bool prefers_async(const struct http_request *in);
static enum status account_limit(struct visit *v);
static enum status serve_kept(struct visit *v);
static enum status serve_there(struct visit *v, struct sched *there);
static void answer_outcome(struct visit *v, enum status st);
static void finish(struct visit *v, const char *route, enum status st);

/* The rpcs of all services, wherever they run. */
static const struct rpc_list *const *
served_lists(struct gateway *g)
{
    const struct service *const *services = node_services(g->node);
    size_t n = 0, kept = 0;
    while (services[n])
        n++;
    const struct rpc_list **lists = arena_alloc(g->arena, (n + 1) * sizeof(struct rpc_list *));
    for (size_t i = 0; i < n; i++)
        if (services[i]->serves)
            lists[kept++] = services[i]->serves->list;
    return lists;
}

struct gateway *
gateway_new(struct node *node, struct gateway_options options)
{
    struct gateway *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->arena = arena_new();
    g->node = node;
    g->core = node_sched(node, gateway_service.name);
    g->routes = routes_new(g->arena, served_lists(g));
    g->keys = keys_new(g->arena, keys_owner(g->arena, node_data_dir(node)));
    g->options = options;
    if (!options.requests_max)
        g->options.requests_max = REQUESTS_MAX;
    const char *why;
    bool read = proxies_read(options.trusted_proxies ? options.trusted_proxies : "", g->arena,
                             &g->proxies, &why) == OK;
    assert(read);
    if (options.rate_limit_per_s)
        g->limits = limits_new(options.rate_limit_per_s, BURST_S * options.rate_limit_per_s);
    return g;
}

void
gateway_free(struct gateway *g)
{
    if (!g)
        return;
    assert(__atomic_load_n(&g->in_work, __ATOMIC_ACQUIRE) == 0);
    limits_free(g->limits);
    arena_free(g->arena);
    free(g);
}

void
gateway_drain(struct gateway *g)
{
    streams_end(g->node);
}

size_t
gateway_body_max(void *arg, const char *method, const char *path)
{
    const struct gateway *g = arg;
    const struct route *route = routes_find(g->routes, method, path).route;
    return route && route->rpc && route->rpc->body_max ? route->rpc->body_max : BODY_BYTES_MAX;
}

/* On the loop: whatever may wait goes to a fiber. */
void
gateway_handle(void *arg, struct http_exchange *x, const struct http_request *in)
{
    struct gateway *g = arg;
    struct visit *v = arena_alloc(in->arena, sizeof *v);
    v->g = g;
    v->x = x;
    v->in = in;
    v->match = routes_find(g->routes, in->method, in->path);
    if (v->match.respond_async && prefers_async(in)) {
        v->match.route = v->match.respond_async;
        v->respond_async = true;
    }
    begin(v);
    const struct route *route = v->match.route;
    if (!is_health(route) && !within_address_limit(v)) {
        answer_outcome(v, fail(&v->rq, &GATEWAY_TOO_MANY_REQUESTS,
                               "more than %lld requests a second come from this address",
                               (long long)g->options.rate_limit_per_s));
    } else if (!route && v->match.allow && strcmp(in->method, "OPTIONS") == 0) {
        v->answer = (struct answer){.status = 204, .allow = v->match.allow};
        finish(v, "OPTIONS", OK);
    } else if (!route) {
        enum status st =
            v->match.allow
                ? fail(&v->rq, &GATEWAY_METHOD_NOT_ALLOWED, "this path takes %s", v->match.allow)
                : fail(&v->rq, &GATEWAY_NOT_FOUND, "there is nothing at this path");
        answer_problem(&v->answer, &v->rq, st);
        v->answer.allow = v->match.allow;
        finish(v, "unrouted", st);
    } else if (route->page && route->page != PAGE_METRICS) {
        page_answer(&v->answer, g->node, route->page, in->arena);
        finish(v, route->name, OK);
    } else if (route->rpc && !http_header(in, "authorization") &&
               node_serves_quickly(&v->rq, route->rpc)) {
        v->rq.quick = true;
        enum status st = input_read(&v->rq, &v->match, in, &v->out);
        if (st == OK)
            st = node_serve(&v->rq, route->rpc, v->out, &v->out);
        answer_outcome(v, st);
    } else {
        visit_elsewhere(v);
    }
}

/* Whoever watches over the process is never told to come later. */
static bool
is_health(const struct route *route)
{
    return route && (route->page == PAGE_LIVEZ || route->page == PAGE_READYZ);
}

/* Fills the request with what came along. */
static void
begin(struct visit *v)
{
    const struct http_request *in = v->in;
    struct request *rq = &v->rq;
    request_init(rq, v->g->node, in->arena);
    rq->service = &gateway_service;
    rq->caller.ip = forwarded_client(&v->g->proxies, in);
    const char *user_agent = http_header(in, "user-agent");
    rq->caller.user_agent =
        user_agent && utf8_valid(user_agent, strlen(user_agent)) ? user_agent : "";
    const struct route *route = v->match.route;
    begin_trace(v);
    bool checkout = route && route->rpc && strcmp(route->rpc->service, gateway_service.name) == 0;
    rq->deadline_us = in->arrived_us + (checkout ? checkout_life_us : life_us);
}

/* A page is read by whoever watches over the process: it is no part of the shop. */
static void
begin_trace(struct visit *v)
{
    struct request *rq = &v->rq;
    const struct route *route = v->match.route;
    const char *traceparent = http_header(v->in, "traceparent");
    struct trace_context from;
    if (traceparent && trace_parse(traceparent, &from)) {
        memcpy(rq->trace_id, from.trace_id, sizeof rq->trace_id);
        memcpy(rq->parent_id, from.span_id, sizeof rq->parent_id);
        rq->sampled = from.sampled;
    }
    if (route && route->page)
        return;
    v->span = span_begin(rq, SPAN_SERVER, route ? route->name : v->in->method);
    span_text(v->span, "http.request.method", v->in->method);
    if (route)
        span_text(v->span, "http.route", route->rpc->path);
}

static void
end_trace(struct visit *v, enum status st, int http_status)
{
    span_int(v->span, "http.response.status_code", http_status);
    span_end(v->span, &v->rq, st);
}

static void
visit_elsewhere(struct visit *v)
{
    struct gateway *g = v->g;
    size_t in_work = __atomic_add_fetch(&g->in_work, 1, __ATOMIC_ACQ_REL);
    v->counted = true;
    if (in_work <= g->options.requests_max &&
        sched_spawn(g->core, v->match.route->page ? run_page : run_visit, v))
        return;
    answer_outcome(v, fail(&v->rq, &GATEWAY_OVERLOADED, "too many requests are in work"));
}

static void
run_page(void *arg)
{
    struct visit *v = arg;
    page_answer(&v->answer, v->g->node, v->match.route->page, v->in->arena);
    finish(v, v->match.route->name, OK);
}

static void
run_visit(void *arg)
{
    struct visit *v = arg;
    struct request *rq = &v->rq;
    ProtobufCMessage *message;
    enum status st = authenticate(rq, v->in);
    if (st == OK)
        st = account_limit(v);
    if (st == OK)
        st = input_read(rq, &v->match, v->in, &message);
    if (st) {
        answer_outcome(v, st);
        return;
    }
    v->message = message;
    if (v->match.route->rpc->flags & RPC_STREAM) {
        run_stream(v);
        return;
    }
    st = serve_kept(v);
    finish(v, v->match.route->name, st);
}

/* The rpc's first answer decides whether there is a stream.  One that runs is no longer in work: it
 * lives for minutes, and there is a bound of its own. */
static void
run_stream(struct visit *v)
{
    struct request *rq = &v->rq;
    struct stream *s = arena_alloc(rq->arena, sizeof *s);
    *s = (struct stream){.node = v->g->node,
                         .route = v->match.route,
                         .in = v->message,
                         .x = v->x,
                         .http = v->in,
                         .client = rq->caller.ip,
                         .authenticate = authenticate};
    enum status st = stream_join(s, rq);
    if (st == OK) {
        st = node_serve(rq, s->route->rpc, s->in, &v->out);
        if (st)
            stream_leave(s);
    }
    if (st) {
        answer_outcome(v, st);
        return;
    }
    __atomic_sub_fetch(&v->g->in_work, 1, __ATOMIC_ACQ_REL);
    stream_follow(s, rq, v->out);
    stream_leave(s);
    end_trace(v, OK, 200);
    request_log(rq, s->route->name, OK, 200, env.mono_us() - v->in->arrived_us);
    http_stream_end(v->x);
}

/* RFC 7240: a list of preferences, each with parameters perhaps. */
static bool
prefers_async(const struct http_request *in)
{
    static const char wanted[] = "respond-async";
    const char *p = http_header(in, "prefer");
    while (p && *p) {
        p += strspn(p, ", \t");
        size_t n = strcspn(p, ",;= \t");
        if (n == sizeof wanted - 1 && strncasecmp(p, wanted, n) == 0)
            return true;
        p += strcspn(p, ",");
    }
    return false;
}

/* Serves under the request's key, if it has one; the answer is made, and what it says is on disk.
 */
static enum status
serve_kept(struct visit *v)
{
    struct request *rq = &v->rq;
    const struct route *route = v->match.route;
    struct key_hold hold;
    enum status st = key_begin(v->g->keys, &hold, rq, route, v->in, &v->answer);
    if (st == OK && !hold.replayed) {
        struct sched *there = node_sched(v->g->node, route->rpc->service);
        if (there != v->g->core)
            st = serve_there(v, there);
        else
            st = node_serve_unsettled(rq, route->rpc, v->message, &v->out);
        if (st == OK)
            answer_message(&v->answer, rq, route, v->out);
    }
    if (st)
        answer_problem(&v->answer, rq, st);
    key_keep(&hold, rq, &v->answer);
    if (request_settle(rq)) {
        st = UNAVAILABLE;
        answer_problem(&v->answer, rq, st);
    }
    key_end(&hold);
    return st;
}

/* Who calls: nobody without a token, else whoever auth says.  A token that is not good is refused
 * even where none is needed. */
static enum status
authenticate(struct request *rq, const struct http_request *in)
{
    const char *header = http_header(in, "authorization");
    if (!header)
        return OK;
    if (strncasecmp(header, "Bearer ", 7) != 0 || strlen(header) > TOKEN_CHARS_MAX)
        return fail(rq, &GATEWAY_BAD_TOKEN, "the Authorization header is no Bearer token");
    const struct caller visitor = rq->caller;
    VerifiedToken *verified;
    rq->caller.kind = CALLER_SERVICE;
    enum status st =
        call_auth_verify_token(rq, &verified, .token = header + 7 + strspn(header + 7, " "));
    rq->caller = visitor;
    if (st == UNAUTHENTICATED)
        return fail(rq, &GATEWAY_BAD_TOKEN, "the token is forged, expired or revoked");
    if (st)
        return st;
    bool guest = text_empty(verified->user_id);
    rq->caller.kind = guest ? CALLER_GUEST : CALLER_USER;
    rq->caller.id = verified->user_id;
    rq->caller.session_id = verified->session_id;
    rq->caller.order_id = verified->order_id;
    return OK;
}

static bool
within_limits(struct visit *v, const char *key)
{
    struct allowance now = {0};
    bool taken = limits_take(v->g->limits, key, v->in->arrived_us, &now);
    if (!v->allowance.counted || now.remaining < v->allowance.remaining || !taken)
        v->allowance = now;
    return taken;
}

/* A proxy on this machine brings others than itself. */
static bool
is_limited(const struct visit *v)
{
    bool local = v->in->loopback && v->rq.caller.ip == v->in->peer;
    return v->g->limits && (v->g->options.limit_loopback || !local);
}

static bool
within_address_limit(struct visit *v)
{
    if (!is_limited(v))
        return true;
    char key[ADDRESS_KEY_CHARS];
    limits_address_key(v->rq.caller.ip, key);
    return within_limits(v, key);
}

static enum status
account_limit(struct visit *v)
{
    if (v->rq.caller.kind != CALLER_USER || !is_limited(v) || within_limits(v, v->rq.caller.id))
        return OK;
    return fail(&v->rq, &GATEWAY_TOO_MANY_REQUESTS,
                "more than %lld requests a second come from this account",
                (long long)v->g->options.rate_limit_per_s);
}

static void
run_there(void *arg)
{
    struct visit *v = arg;
    struct fiber *waiter = v->waiter;
    v->st = node_serve(&v->rq, v->match.route->rpc, v->message, &v->out);
    __atomic_store_n(&v->done, true, __ATOMIC_RELEASE);
    fiber_wake(waiter);
}

/* A service that has a scheduler of its own is served on it, while this fiber waits. */
static enum status
serve_there(struct visit *v, struct sched *there)
{
    v->waiter = fiber_self();
    if (!sched_spawn(there, run_there, v))
        return fail(&v->rq, &GATEWAY_OVERLOADED, "too many requests are in work");
    while (!__atomic_load_n(&v->done, __ATOMIC_ACQUIRE))
        fiber_park();
    return v->st;
}

/* For a request that ends without having written anything. */
static void
answer_outcome(struct visit *v, enum status st)
{
    if (st)
        answer_problem(&v->answer, &v->rq, st);
    else
        answer_message(&v->answer, &v->rq, v->match.route, v->out);
    if (v->answer.status == 429 && v->allowance.counted)
        v->answer.retry_after_s = v->allowance.reset_s;
    finish(v, v->match.route ? v->match.route->name : "unrouted", st);
}

/* The log comes first: the request is gone with its answer. */
static void
finish(struct visit *v, const char *route, enum status st)
{
    struct gateway *g = v->g;
    v->answer.respond_async = v->respond_async;
    end_trace(v, st, v->answer.status);
    request_log(&v->rq, route, st, v->answer.status, env.mono_us() - v->in->arrived_us);
    if (v->counted)
        __atomic_sub_fetch(&g->in_work, 1, __ATOMIC_ACQ_REL);
    answer_send(&v->answer, &v->rq, &v->allowance, v->x, v->in);
}
