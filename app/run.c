/* souk run: serves until it is told to stop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/operator.h"
#include "base/env.h"
#include "catalog.api.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "kit/node.h"
#include "kit/topology.h"

extern const char demo_goods[];
extern const size_t demo_goods_bytes;

enum {
    DEMO_US_MAX = 60 * 1000 * 1000,
    DEMO_PAUSE_US = 300 * 1000,
    LEVEL_LOOK_US = 20 * 1000,
    LEVEL_US_MAX = 60 * 1000 * 1000, /* then what it has is better than nothing */
};

struct running {
    struct arena *arena;
    struct conf *conf;
    struct node *node;
    struct loop *loop;
    struct gateway *gateway;
    struct http_server *web, *operators;
    const struct process *process; /* of a topology, or NULL */
};

static bool bring_up(struct running *r, const struct options *options);
static bool open_up(struct running *r, const struct options *options);
static bool suit_replicas(struct running *r, const struct topology *t,
                          const struct process *process);
static bool serve_web(struct running *r);
static const struct process *process_of(const struct options *options, const struct topology *t);
static bool import_demo(struct running *r);
static void take_down(struct running *r);

int
command_run(const struct options *options)
{
    hold_signals();
    struct running r = {.arena = options->arena, .conf = conf_new()};
    bool up = bring_up(&r, options), told = false;
    int64_t until_us = env.mono_us() + LEVEL_US_MAX;
    while (up && !told && !node_level(r.node) && env.mono_us() < until_us)
        told = end_comes(LEVEL_LOOK_US);
    if (up && !told && (up = open_up(&r, options)))
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
    struct topology *topology;
    if (!load_conf(options, r->conf) || !load_topology(options, &topology))
        return false;
    const struct process *process = NULL;
    if (topology && !(process = process_of(options, topology)))
        return false;
    if (topology && !suit_replicas(r, topology, process))
        return false;
    if (topology && !topology_spread(topology))
        topology = NULL, process = NULL; /* what a Souk without a topology is */
    r->process = process;
    const struct node_options node_options = {
        .data_dir = options->data_dir,
        .services = souk_all(),
        .conf = r->conf,
        .topology = topology,
        .process = process,
        .instance = (int)options->instance,
    };
    if (node_open(&node_options, r->arena, &r->node, &why))
        return complain("%s", why), false;
    node_start(r->node);
    if (options->demo && node_runs(r->node, "catalog") && !import_demo(r))
        return false;
    r->loop = loop_new();
    if (operator_serve(r->loop, r->node, r->arena, &r->operators, &why))
        return complain("%s", why), false;
    return serve_web(r);
}

/* Replicas share what they sign with, and what a provider has booked.  Where a name stands for
 * several of them, as in Kubernetes, they cannot be seen here. */
static bool
suit_replicas(struct running *r, const struct topology *t, const struct process *process)
{
    const char *why;
    bool files = strcmp(conf_get(r->conf, "auth_keys"), "files") == 0;
    if (files && strcmp(t->store, "sqlite") != 0)
        conf_set(r->conf, "auth_keys", "store", r->arena, &why);
    bool in_process =
        strcmp(conf_get(r->conf, "sandbox"), "on") == 0 && !*conf_get(r->conf, "sandbox_url");
    if (in_process && process == topology_home(t, "payments") && strchr(process->address, ','))
        return complain("%s has several addresses, and the sandbox's ledger is a file of one"
                        " process: set sandbox_url to where `souk sandbox` serves, or sandbox to"
                        " off",
                        process->name),
               false;
    return true;
}

/* The gateway's routes where it runs; elsewhere what watches over a process wants to see. */
static bool
serve_web(struct running *r)
{
    const char *why = NULL;
    struct http_server_options web = {
        .listen = conf_get(r->conf, "listen"),
        .tls_certificate = or_null(conf_get(r->conf, "tls_certificate")),
        .tls_key = or_null(conf_get(r->conf, "tls_key")),
        .on_request = gateway_handle,
        .body_max = gateway_body_max,
    };
    if (node_runs(r->node, gateway_service.name)) {
        web.arg = r->gateway = make_gateway(r->node);
    } else {
        web = (struct http_server_options){.listen = or_null(conf_get(r->conf, "monitor")),
                                           .on_request = monitor_handle,
                                           .arg = r->node};
    }
    if (web.listen && http_serve(r->loop, &web, r->arena, &r->web, &why))
        return complain("%s", why), false;
    return true;
}

/* The other processes may come. */
static bool
open_up(struct running *r, const struct options *options)
{
    const char *why = NULL;
    if (node_listen(r->node, r->arena, &why))
        return complain("%s", why), false;
    if (r->gateway)
        printf("Souk serves %s on %s://%s%s\n", options->data_dir,
               *conf_get(r->conf, "tls_key") ? "https" : "http", conf_get(r->conf, "listen"),
               options->demo ? ", with demo goods" : "");
    else
        printf("Souk's %s serves at %s\n", r->process->name, r->process->listen);
    fflush(stdout);
    return true;
}

static const struct process *
process_of(const struct options *options, const struct topology *t)
{
    if (!options->process && t->n_processes == 1)
        return &t->processes[0];
    const struct process *process =
        options->process ? topology_process(t, options->process) : NULL;
    if (!options->process)
        complain("%s has several processes: say --process NAME", options->topology);
    else if (!process)
        complain("%s has no process \"%s\"", options->topology, options->process);
    return process;
}

struct demo {
    struct node *node;
    struct arena *arena;
    const struct rpc *rpc;
    enum status st;
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
    d->st = node_serve(&rq, d->rpc, &in->base, &out);
    d->why = rq.message ? rq.message : status_name(d->st);
}

/* Safe at every start: an import never changes the stock of what is there.  The processes that catalog
 * asks may come up later than this one. */
static bool
import_demo(struct running *r)
{
    struct demo demo = {.node = r->node,
                        .arena = r->arena,
                        .rpc = node_rpc(r->node, "catalog", "ImportShopify")};
    int64_t until_us = env.mono_us() + DEMO_US_MAX;
    do {
        node_run(r->node, "catalog", import_demo_goods, &demo);
        if (demo.st != UNAVAILABLE && demo.st != DEADLINE_EXCEEDED)
            break;
        fiber_sleep_us(DEMO_PAUSE_US);
    } while (env.mono_us() < until_us);
    if (demo.st)
        complain("the demo goods could not be imported: %s", demo.why);
    return demo.st == OK;
}

/* Balancers hear first that it goes, and have the time to turn away. */
static void
give_notice(struct running *r)
{
    int64_t notice_us = strtoll(conf_get(r->conf, "notice_s"), NULL, 10) * SECOND_US;
    if (notice_us == 0)
        return;
    node_leave(r->node);
    if (r->web)
        http_server_leave(r->web);
    fiber_sleep_us(notice_us);
}

/* New requests are refused first; those that run end; then jobs, followers, stores. */
static void
take_down(struct running *r)
{
    int64_t grace_us = strtoll(conf_get(r->conf, "drain_s"), NULL, 10) * SECOND_US;
    if (r->node && node_ready(r->node))
        give_notice(r);
    if (r->gateway)
        gateway_drain(r->gateway);
    if (r->web)
        http_server_drain(r->web, grace_us);
    if (r->node)
        node_drain(r->node, grace_us);
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
