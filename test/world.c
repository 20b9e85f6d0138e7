#include "test/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/env.h"
#include "catalog.api.h"
#include "fiber/fiber.h"
#include "gateway/gateway.h"
#include "users.api.h"

enum { SETTLE_US = 30 * 1000 * 1000 };

struct world {
    struct arena *arena;
    struct conf *conf;
    struct node *node;
    struct loop *loop;
    struct gateway *gateway;
    struct http_server *web;
    const char *dir;
};

static void start(struct world *w);
static void stop(struct world *w);

struct world *
world_new(void)
{
    return world_with(NULL);
}

struct world *
world_with(const char *const *settings)
{
    struct arena *arena = arena_new();
    struct world *w = arena_alloc(arena, sizeof *w);
    w->arena = arena;
    w->dir = arena_strdup(arena, test_dir());
    w->conf = conf_new();
    const char *why;
    conf_set(w->conf, "log", "off", arena, &why);
    for (; settings && *settings; settings += 2)
        if (conf_set(w->conf, settings[0], settings[1], arena, &why)) {
            fprintf(stderr, "%s\n", why);
            abort();
        }
    start(w);
    return w;
}

void
world_free(struct world *w)
{
    stop(w);
    conf_free(w->conf);
    arena_free(w->arena);
}

void
world_restart(struct world *w)
{
    stop(w);
    start(w);
}

static void
start(struct world *w)
{
    const char *why;
    const struct node_options options = {
        .data_dir = w->dir, .services = souk_all(), .conf = w->conf, .quiet = true};
    if (node_open(&options, w->arena, &w->node, &why)) {
        fprintf(stderr, "no world: %s\n", why);
        abort();
    }
    node_start(w->node);
}

static void
stop(struct world *w)
{
    if (w->web) {
        gateway_drain(w->gateway);
        http_server_drain(w->web, SECOND_US);
        loop_free(w->loop);
    }
    node_stop(w->node);
    if (w->gateway)
        gateway_free(w->gateway);
    node_free(w->node);
    w->web = NULL;
    w->gateway = NULL;
    w->loop = NULL;
}

struct node *
world_node(struct world *w)
{
    return w->node;
}

struct arena *
world_arena(struct world *w)
{
    return w->arena;
}

const char *
world_dir(struct world *w)
{
    return w->dir;
}

struct request
world_request(struct world *w, const char *who)
{
    struct request rq;
    request_init(&rq, w->node, w->arena);
    rq.deadline_us = env.mono_us() + MINUTE_US;
    if (strcmp(who, "operator") == 0) {
        rq.caller.kind = CALLER_OPERATOR;
    } else if (text_starts(who, "guest:")) {
        rq.caller.kind = CALLER_GUEST;
        rq.caller.order_id = arena_strdup(w->arena, who + 6);
    } else if (*who) {
        rq.caller.kind = CALLER_USER;
        rq.caller.id = arena_strdup(w->arena, who);
    }
    return rq;
}

struct served {
    struct request *rq;
    const struct rpc *rpc;
    const ProtobufCMessage *in;
    ProtobufCMessage *out;
    enum status st;
};

static void
serve(void *arg)
{
    struct served *s = arg;
    s->st = node_serve(s->rq, s->rpc, s->in, &s->out);
}

enum status
world_serve(struct world *w, struct request *rq, const char *service, const char *name,
            const ProtobufCMessage *in, void *ret)
{
    struct served s = {.rq = rq, .rpc = node_rpc(w->node, service, name), .in = in};
    if (!s.rpc) {
        fprintf(stderr, "there is no %s.%s\n", service, name);
        abort();
    }
    world_run(w, service, serve, &s);
    if (s.st == OK && ret)
        *(ProtobufCMessage **)ret = s.out;
    return s.st;
}

const char *
world_ask(struct world *w, const char *who, const char *service, const char *name,
          const ProtobufCMessage *in, void *ret)
{
    struct request rq = world_request(w, who);
    enum status st = world_serve(w, &rq, service, name, in, ret);
    if (st == OK)
        return "";
    return rq.reason ? rq.reason->code : status_name(st);
}

void
world_run(struct world *w, const char *service, void (*fn)(void *arg), void *arg)
{
    node_run(w->node, service, fn, arg);
}

void
world_settle(struct world *w)
{
    check(bus_drained(node_bus(w->node), SETTLE_US));
}

int64_t
world_events(struct world *w, const char *topic, const char *subject)
{
    enum { PAGE = 100 };
    int64_t n = 0, after = 0;
    struct event *events;
    size_t got;
    do {
        struct tx_scope scope = {.arena = w->arena};
        if (bus_read(node_bus(w->node), &scope, after, topic, subject, PAGE, &events, &got))
            return -1;
        n += (int64_t)got;
        if (got)
            after = events[got - 1].position;
    } while (got);
    return n;
}

const char *
world_staff(struct world *w, const char *email, const char *role)
{
    CreateStaffRequest *in = new_create_staff_request(w->arena);
    in->email = email;
    in->password = "correct horse battery";
    in->role = role;
    User *user = NULL;
    check_text(world_ask(w, "operator", "users", "CreateStaff", &in->base, &user), "");
    return user ? user->id : "";
}

const char *
world_product(struct world *w, const char *handle, int64_t price_minor, int64_t stock)
{
    NewVariant *variant = new_new_variant(w->arena);
    variant->price = new_money(w->arena);
    variant->price->amount = price_minor;
    variant->price->currency = "EUR";
    variant->stock = stock;
    CreateProductRequest *in = new_create_product_request(w->arena);
    in->handle = handle;
    in->title = handle;
    in->variants = &variant;
    in->n_variants = 1;
    Product *product = NULL;
    check_text(world_ask(w, "operator", "catalog", "CreateProduct", &in->base, &product), "");
    return product && product->n_variants ? product->variants[0]->sku : "";
}

int
world_port(struct world *w)
{
    if (!w->web) {
        w->loop = loop_new();
        w->gateway = make_gateway(w->node);
        const struct http_server_options options = {.listen = "127.0.0.1:0",
                                                    .on_request = gateway_handle,
                                                    .body_max = gateway_body_max,
                                                    .arg = w->gateway};
        const char *why;
        if (http_serve(w->loop, &options, w->arena, &w->web, &why)) {
            fprintf(stderr, "%s\n", why);
            abort();
        }
    }
    return http_server_port(w->web);
}

struct http_answer
world_http(struct world *w, const char *method, const char *path, const char *const *headers,
           const char *body)
{
    enum { HEADERS = 10 };
    struct http_header split[HEADERS];
    size_t n = 0;
    if (body)
        split[n++] = (struct http_header){"content-type", "application/json"};
    for (; headers && *headers && n < HEADERS; headers++) {
        const char *colon = strchr(*headers, ':');
        split[n++] = (struct http_header){
            arena_strndup(w->arena, *headers, (size_t)(colon - *headers)), colon + 2};
    }
    const struct http_fetch fetch = {
        .method = method,
        .url = arena_printf(w->arena, "http://127.0.0.1:%d%s", world_port(w), path),
        .headers = split,
        .n_headers = n,
        .body = body ? body : "",
        .body_n = body ? strlen(body) : 0,
        .timeout_us = MINUTE_US,
    };
    struct http_answer answer = {.body = arena_strdup(w->arena, "")};
    const char *why = "";
    if (http_fetch(w->arena, &fetch, &answer, &why)) {
        fprintf(stderr, "%s %s: %s\n", method, path, why);
        answer.status = 0;
    }
    return answer;
}
