/* souk run: serves until it is told to stop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/operator.h"
#include "base/env.h"
#include "catalog.api.h"
#include "gateway/gateway.h"
#include "kit/node.h"

extern const char demo_goods[];
extern const size_t demo_goods_bytes;

struct running {
    struct arena *arena;
    struct conf *conf;
    struct node *node;
    struct loop *loop;
    struct gateway *gateway;
    struct http_server *web, *operators;
};

static bool bring_up(struct running *r, const struct options *options);
static bool import_demo(struct running *r);
static void take_down(struct running *r);

int
command_run(const struct options *options)
{
    hold_signals();
    struct running r = {.arena = options->arena, .conf = conf_new()};
    bool up = bring_up(&r, options);
    if (up)
        wait_for_end();
    take_down(&r);
    return up ? 0 : 1;
}

static const char *
or_null(const char *s)
{
    return *s ? s : NULL;
}

static bool
bring_up(struct running *r, const struct options *options)
{
    const char *why = NULL;
    if (!load_conf(options, r->conf))
        return false;
    const struct node_options node_options = {
        .data_dir = options->data_dir, .services = souk_all(), .conf = r->conf};
    if (node_open(&node_options, r->arena, &r->node, &why))
        return complain("%s", why), false;
    node_start(r->node);
    if (options->demo && !import_demo(r))
        return false;
    r->loop = loop_new();
    r->gateway = make_gateway(r->node);
    const struct http_server_options web = {
        .listen = conf_get(r->conf, "listen"),
        .tls_certificate = or_null(conf_get(r->conf, "tls_certificate")),
        .tls_key = or_null(conf_get(r->conf, "tls_key")),
        .on_request = gateway_handle,
        .body_max = gateway_body_max,
        .arg = r->gateway,
    };
    if (operator_serve(r->loop, r->node, r->arena, &r->operators, &why) ||
        http_serve(r->loop, &web, r->arena, &r->web, &why))
        return complain("%s", why), false;
    printf("Souk serves %s on %s://%s%s\n", options->data_dir, web.tls_key ? "https" : "http",
           web.listen, options->demo ? ", with demo goods" : "");
    fflush(stdout);
    return true;
}

struct demo {
    struct node *node;
    struct arena *arena;
    const struct rpc *rpc;
    const char *why;
};

static void
import_demo_goods(void *arg)
{
    struct demo *d = arg;
    struct request rq;
    request_init(&rq, d->node, d->arena);
    rq.caller.kind = CALLER_OPERATOR;
    ImportRequest *in = new_import_request(d->arena);
    in->body = (ProtobufCBinaryData){demo_goods_bytes, (uint8_t *)(uintptr_t)demo_goods};
    ProtobufCMessage *out;
    enum status st = node_serve(&rq, d->rpc, &in->base, &out);
    if (st)
        d->why = rq.message ? rq.message : status_name(st);
}

/* Safe at every start: an import never changes the stock of what is there. */
static bool
import_demo(struct running *r)
{
    struct demo demo = {r->node, r->arena, node_rpc(r->node, "catalog", "ImportShopify"), NULL};
    node_run(r->node, "catalog", import_demo_goods, &demo);
    if (demo.why)
        complain("the demo goods could not be imported: %s", demo.why);
    return !demo.why;
}

/* New requests are refused first; those that run end; then jobs, followers, stores. */
static void
take_down(struct running *r)
{
    int64_t grace_us = strtoll(conf_get(r->conf, "drain_s"), NULL, 10) * SECOND_US;
    if (r->gateway)
        gateway_drain(r->gateway);
    if (r->web)
        http_server_drain(r->web, grace_us);
    if (r->operators)
        http_server_drain(r->operators, grace_us);
    if (r->loop)
        loop_free(r->loop);
    if (r->node)
        node_stop(r->node);
    gateway_free(r->gateway);
    node_free(r->node);
    conf_free(r->conf);
}
