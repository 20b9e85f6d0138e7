#include "app/operator.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/env.h"
#include "fiber/fiber.h"
#include "kit/node.h"
#include "kit/rules.h"
#include "kit/topology.h"

enum { WAIT_US_MAX = 600 * 1000 * 1000, ANSWER_BYTES_MAX = 64 << 20 };

struct operator_link {
    struct arena *arena;
    const char *socket; /* of the Souk that runs, or NULL */
    const char *data_dir;
    struct topology *topology; /* several processes, each with a socket; or NULL */
    struct node *node;         /* ours, or NULL */
    struct conf *conf;
};

static struct operator_link *open_own(struct operator_link *link, const struct options *options);

/* ---- the command's end ----------------------------------------------------------------------- */

struct operator_link *
operator_open(const struct options *options)
{
    struct arena *arena = arena_new();
    struct operator_link *link = arena_alloc(arena, sizeof *link);
    link->arena = arena;
    link->data_dir = options->data_dir;
    if (!load_topology(options, &link->topology)) {
        operator_close(link);
        return NULL;
    }
    if (link->topology && topology_spread(link->topology))
        return link;
    link->topology = NULL;
    link->socket = arena_printf(arena, "%s/souk.sock", options->data_dir);
    const char *why;
    struct http_answer answer;
    const struct http_fetch ping = {.url = "http://souk/", .unix_socket = link->socket,
                                    .timeout_us = 5 * SECOND_US};
    if (http_fetch(arena, &ping, &answer, &why) == OK)
        return link;
    link->socket = NULL;
    return open_own(link, options);
}

static struct operator_link *
open_own(struct operator_link *link, const struct options *options)
{
    link->conf = conf_new();
    const char *why = NULL;
    const struct node_options node_options = {
        .data_dir = options->data_dir, .services = souk_all(), .conf = link->conf, .quiet = true};
    if (!load_conf(options, link->conf)) {
        operator_close(link);
        return NULL;
    }
    if (node_open(&node_options, link->arena, &link->node, &why)) {
        complain("%s", why);
        operator_close(link);
        return NULL;
    }
    node_start(link->node);
    bus_drained(node_bus(link->node), WAIT_US_MAX);
    return link;
}

void
operator_close(struct operator_link *link)
{
    if (link->node) {
        bus_drained(node_bus(link->node), WAIT_US_MAX);
        node_stop(link->node);
        node_free(link->node);
    }
    if (link->conf)
        conf_free(link->conf);
    arena_free(link->arena);
}

/* By its full name, "/souk.orders.v1.Orders/PlaceOrder", or its short one, "orders.PlaceOrder". */
static const struct rpc *
rpc_named(const char *name)
{
    for (size_t i = 0; souk_rpc_lists[i]; i++)
        for (size_t j = 0; j < souk_rpc_lists[i]->n; j++) {
            const struct rpc *rpc = &souk_rpc_lists[i]->rpcs[j];
            if (strcmp(rpc->full, name) == 0 || strcmp(rpc->resource, name) == 0)
                return rpc;
        }
    return NULL;
}

/* The process in which it runs: the first of its instances that is there. */
static enum status
ask_process(const struct operator_link *link, struct arena *a, struct http_fetch *fetch,
            const char *service, struct http_answer *ret, const char **why)
{
    const struct process *process = topology_home(link->topology, service);
    enum status st = UNAVAILABLE;
    int instance = 0;
    for (const char *at = process->listen; at && st == UNAVAILABLE; at = strchr(at + 1, ',')) {
        fetch->unix_socket = arena_printf(a, "%s/souk.sock",
                                          topology_folder(a, link->data_dir, process, ++instance));
        st = http_fetch(a, fetch, ret, why);
    }
    if (st)
        *why = arena_printf(a, "the process %s of %s does not answer: %s", process->name,
                            link->data_dir, *why);
    return st;
}

static enum status
call_over_socket(const struct operator_link *link, struct arena *a, const struct rpc *rpc,
                 const ProtobufCMessage *in, ProtobufCMessage **ret, const char **why)
{
    size_t n;
    const uint8_t *body = message_pack(a, in, &n);
    static const struct http_header type = {"content-type", "application/protobuf"};
    struct http_fetch fetch = {
        .method = "POST",
        .url = arena_printf(a, "http://souk%s", rpc->full),
        .unix_socket = link->socket,
        .headers = &type,
        .n_headers = 1,
        .body = (const char *)body,
        .body_n = n,
        .timeout_us = WAIT_US_MAX,
        .answer_max = ANSWER_BYTES_MAX,
    };
    struct http_answer answer;
    enum status st = link->topology ? ask_process(link, a, &fetch, rpc->service, &answer, why)
                                    : http_fetch(a, &fetch, &answer, why);
    if (st)
        return st;
    if (answer.status != 200) {
        *why = arena_strndup(a, answer.body, answer.body_n);
        return answer.status == 400 ? INVALID_ARGUMENT : INTERNAL;
    }
    *ret = message_unpack(a, rpc->out, answer.body, answer.body_n);
    *why = "the answer could not be read";
    return *ret ? OK : INTERNAL;
}

struct served {
    struct node *node;
    struct arena *arena;
    const struct rpc *rpc;
    const ProtobufCMessage *in;
    ProtobufCMessage *out;
    enum status st;
    const char *why;
};

static void
serve(void *arg)
{
    struct served *s = arg;
    struct request rq;
    request_init(&rq, s->node, s->arena);
    rq.caller.kind = CALLER_OPERATOR;
    rq.deadline_us = env.mono_us() + WAIT_US_MAX;
    int64_t began_us = env.mono_us();
    s->st = node_serve(&rq, s->rpc, s->in, &s->out);
    s->why = rq.message ? rq.message : status_name(s->st);
    for (size_t i = 0; i < rq.n_violations; i++)
        s->why = arena_printf(s->arena, "%s\n  %s: %s", s->why, rq.violations[i].pointer,
                              rq.violations[i].detail);
    request_log(&rq, s->rpc->full, s->st, s->st ? status_http(s->st) : 200,
                env.mono_us() - began_us);
}

enum status
operator_call(struct operator_link *link, struct arena *a, const char *service, const char *name,
              const ProtobufCMessage *in, ProtobufCMessage **ret, const char **why)
{
    const struct rpc *rpc = rpc_named(arena_printf(a, "%s.%s", service, name));
    if (link->socket || link->topology)
        return call_over_socket(link, a, rpc, in, ret, why);
    struct served served = {.node = link->node, .arena = a, .rpc = rpc, .in = in};
    node_run(link->node, service, serve, &served);
    *ret = served.out;
    *why = served.why;
    return served.st;
}

/* ---- Souk's end ------------------------------------------------------------------------------ */

struct operator_request {
    struct served served;
    struct http_exchange *x;
};

static void
respond_text(struct http_exchange *x, int http_status, const char *text)
{
    http_respond(x, &(struct http_response){.status = http_status, .body = text,
                                            .body_n = strlen(text)});
}

static void
serve_operator(void *arg)
{
    struct operator_request *r = arg;
    struct served *s = &r->served;
    serve(s);
    if (s->st) {
        respond_text(r->x, status_http(s->st) < 500 ? 400 : 500, s->why);
        return;
    }
    size_t n;
    const uint8_t *body = message_pack(s->arena, s->out, &n);
    http_respond(r->x, &(struct http_response){.status = 200, .body = (const char *)body,
                                               .body_n = n});
}

static void
on_operator_request(void *arg, struct http_exchange *x, const struct http_request *in)
{
    struct node *node = arg;
    const struct rpc *rpc = rpc_named(in->path);
    if (strcmp(in->path, "/") == 0) {
        respond_text(x, 200, "souk\n");
        return;
    }
    if (!rpc) {
        respond_text(x, 400, "there is no such rpc");
        return;
    }
    struct operator_request *r = arena_alloc(in->arena, sizeof *r);
    r->x = x;
    r->served = (struct served){.node = node, .arena = in->arena, .rpc = rpc};
    r->served.in = message_unpack(in->arena, rpc->in, in->body, in->body_n);
    if (!r->served.in)
        respond_text(x, 400, "the message could not be read");
    else if (!sched_spawn(node_sched(node, rpc->service), serve_operator, r))
        respond_text(x, 500, "too much is going on; try again");
}

static size_t
operator_body_max(void *arg, const char *method, const char *path)
{
    (void)arg, (void)method, (void)path;
    return IMPORT_BYTES_MAX + 1000;
}

enum status
operator_serve(struct loop *loop, struct node *node, struct arena *a, struct http_server **ret,
               const char **why)
{
    const struct http_server_options options = {
        .listen = arena_printf(a, "unix:%s/souk.sock", node_data_dir(node)),
        .request_timeout_us = MINUTE_US,
        .on_request = on_operator_request,
        .body_max = operator_body_max,
        .arg = node,
    };
    return http_serve(loop, &options, a, ret, why);
}
