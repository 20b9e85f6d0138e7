/*
 * The stage for tests of a sale: orders, payments and inventory as they are, on a real store, with
 * a catalog and permissions of cardboard, a clock that the test turns, and nothing that happens by
 * itself: jobs run and subscribers hear when the test says so, in the order that it chooses.
 */
#pragma once
#include <stdlib.h>

#include "authz.api.h"
#include "base/env.h"
#include "catalog.api.h"
#include "inventory.api.h"
#include "kit/conf.h"
#include "kit/node.h"
#include "orders.api.h"
#include "payments.api.h"
#include "test/test.h"

extern const struct service orders_service, payments_service, inventory_service;

enum { STAGE_RPCS_MAX = 32, STAGE_PRICE = 500 };

struct stage {
    struct arena *arena;
    struct conf *conf;
    const char *dir;
    struct node *node;
    int64_t heard[3]; /* by orders, payments, inventory: positions in the journal */
};

static const struct service *const stage_subscribers[] = {&orders_service, &payments_service,
                                                          &inventory_service};

static int64_t stage_now;

static inline int64_t
stage_clock(void)
{
    return ++stage_now;
}

/* Everything costs STAGE_PRICE, save "free"; there is no "unknown". */
static inline enum status
stage_price_lines(struct request *rq, const PriceLinesRequest *in, PriceLinesResponse *out)
{
    out->lines = arena_alloc(rq->arena, in->n_lines * sizeof *out->lines);
    out->total = new_money(rq->arena);
    out->total->currency = "EUR";
    for (size_t i = 0; i < in->n_lines; i++) {
        if (text_equal(in->lines[i]->sku, "unknown"))
            return fail(rq, &CATALOG_NO_SUCH_SKU, "there is no unknown");
        PricedLine *line = out->lines[out->n_lines++] = new_priced_line(rq->arena);
        line->sku = in->lines[i]->sku;
        line->title = "A thing";
        line->quantity = in->lines[i]->quantity;
        line->price = new_money(rq->arena);
        line->price->amount = text_equal(line->sku, "free") ? 0 : STAGE_PRICE;
        line->price->currency = "EUR";
        line->total = new_money(rq->arena);
        line->total->amount = line->quantity * line->price->amount;
        line->total->currency = "EUR";
        out->total->amount += line->total->amount;
    }
    return OK;
}

/* Only usr_staff is staff. */
static inline enum status
stage_check(struct request *rq, const AccessQuestion *in, AccessAnswer *out)
{
    (void)rq;
    out->allowed =
        text_equal(in->subject, "usr_staff") || (!text_equal(in->permission, "payments.read") &&
                                                 !text_equal(in->permission, "payments.refund"));
    return OK;
}

static inline enum status
stage_get_user_roles(struct request *rq, const GetUserRolesRequest *in, UserRoles *out)
{
    out->user_id = in->user_id;
    out->n_roles = 1;
    out->roles = arena_alloc(rq->arena, sizeof *out->roles);
    out->roles[0] = text_equal(in->user_id, "usr_staff") ? "admin" : "customer";
    return OK;
}

static any_fn *stage_catalog_handlers[STAGE_RPCS_MAX], *stage_authz_handlers[STAGE_RPCS_MAX];
static const struct server stage_catalog_server = {&catalog_rpcs, stage_catalog_handlers};
static const struct server stage_authz_server = {&authz_rpcs, stage_authz_handlers};
static const struct service stage_catalog = {.name = "catalog", .serves = &stage_catalog_server};
static const struct service stage_authz = {.name = "authz", .serves = &stage_authz_server};

static inline void
stage_handle(const struct rpc_list *list, any_fn **handlers, const char *name, any_fn *fn)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->rpcs[i].name, name) == 0)
            handlers[i] = fn;
}

static inline void
stage_open(struct stage *s)
{
    static const struct service *const services[] = {
        &stage_authz, &stage_catalog, &inventory_service, &orders_service, &payments_service, NULL};
    stage_handle(&catalog_rpcs, stage_catalog_handlers, "PriceLines", (any_fn *)stage_price_lines);
    stage_handle(&authz_rpcs, stage_authz_handlers, "Check", (any_fn *)stage_check);
    stage_handle(&authz_rpcs, stage_authz_handlers, "GetUserRoles", (any_fn *)stage_get_user_roles);
    const struct node_options options = {
        .data_dir = s->dir, .services = services, .conf = s->conf, .quiet = true};
    const char *why;
    if (node_open(&options, s->arena, &s->node, &why)) {
        fprintf(stderr, "no stage: %s\n", why);
        abort();
    }
}

static inline struct stage *
stage_new(void)
{
    struct arena *arena = arena_new();
    struct stage *s = arena_alloc(arena, sizeof *s);
    s->arena = arena;
    s->dir = arena_strdup(arena, test_dir());
    s->conf = conf_new();
    const char *why;
    conf_set(s->conf, "log", "off", arena, &why);
    conf_set(s->conf, "sandbox_timeout_ms", "2", arena, &why);
    conf_set(s->conf, "sandbox_slow_ms", "1", arena, &why);
    stage_now = env_real.now_us();
    env.now_us = stage_clock;
    stage_open(s);
    return s;
}

static inline void
stage_restart(struct stage *s)
{
    node_free(s->node);
    stage_open(s);
}

static inline void
stage_free(struct stage *s)
{
    node_free(s->node);
    env.now_us = env_real.now_us;
    conf_free(s->conf);
    arena_free(s->arena);
}

/* who is a user's id, "" for nobody, "operator" or "guest:ord_…". */
static inline struct request
stage_request(struct stage *s, const char *who)
{
    struct request rq;
    request_init(&rq, s->node, s->arena);
    if (strcmp(who, "operator") == 0) {
        rq.caller.kind = CALLER_OPERATOR;
    } else if (text_starts(who, "guest:")) {
        rq.caller.kind = CALLER_GUEST;
        rq.caller.order_id = arena_strdup(s->arena, who + 6);
    } else if (*who) {
        rq.caller.kind = CALLER_USER;
        rq.caller.id = who;
    }
    return rq;
}

/* How a request ended: its reason's code, its status where it has none, or "". */
static inline const char *
stage_word(const struct request *rq, enum status st)
{
    return st == OK ? "" : rq->reason ? rq->reason->code : status_name(st);
}

static inline const char *
stage_serve(struct stage *s, struct request *rq, const char *service, const char *name,
            const ProtobufCMessage *in, void *ret)
{
    ProtobufCMessage *out = NULL;
    enum status st = node_serve(rq, node_rpc(s->node, service, name), in, &out);
    if (ret && st == OK)
        memcpy(ret, &out, sizeof out);
    return stage_word(rq, st);
}

static inline const char *
stage_ask(struct stage *s, const char *who, const char *service, const char *name,
          const ProtobufCMessage *in, void *ret)
{
    struct request rq = stage_request(s, who);
    return stage_serve(s, &rq, service, name, in, ret);
}

static inline const char *
stage_job(struct stage *s, const struct service *service, const char *name)
{
    struct request rq = stage_request(s, "");
    rq.caller.kind = CALLER_SERVICE;
    rq.service = service;
    for (size_t i = 0; service->jobs[i].name; i++)
        if (strcmp(service->jobs[i].name, name) == 0) {
            enum status st = service->jobs[i].run(&rq);
            enum status settled = request_settle(&rq);
            return stage_word(&rq, settled ? settled : st);
        }
    return "no such job";
}

/* Hands event to service, as its follower would. */
static inline enum status
stage_hear(struct stage *s, const struct service *service, const struct event *event)
{
    enum status st = OK;
    for (size_t i = 0; st == OK && service->subscribes[i].topic; i++) {
        const struct subscription *to = &service->subscribes[i];
        if (strcmp(to->topic->name, event->topic) != 0)
            continue;
        struct request rq = stage_request(s, "");
        rq.caller.kind = CALLER_SERVICE;
        rq.service = service;
        rq.now_us = event->time_us;
        rq.id = id_derive(s->arena, "req", event->id, service->name);
        const ProtobufCMessage *message =
            message_unpack(s->arena, to->topic->type, event->data.data, event->data.len);
        struct tx *tx = tx_begin(&rq);
        st = ((subscription_fn *)to->fn)(&rq, tx, message);
        if (st == OK)
            st = tx_commit(tx);
        else
            tx_end(tx);
        if (st == OK)
            st = request_settle(&rq);
    }
    return st;
}

/* Lets the i-th subscriber hear its next event; false if there is none.  *ret_st is how it went; a
 * failed one is heard again the next time. */
static inline bool
stage_next(struct stage *s, size_t i, enum status *ret_st)
{
    struct request rq = stage_request(s, "");
    struct event *event;
    size_t n = 0;
    bus_read(node_bus(s->node), &rq.scope, s->heard[i], NULL, NULL, 1, &event, &n);
    if (!n)
        return false;
    *ret_st = stage_hear(s, stage_subscribers[i], event);
    if (*ret_st == OK)
        s->heard[i] = event->position;
    return true;
}

/* Everybody hears everything that was said, and what is said of it. */
static inline void
stage_settle(struct stage *s)
{
    bool some = true;
    while (some) {
        some = false;
        for (size_t i = 0; i < 3; i++) {
            enum status st = OK;
            while (st == OK && stage_next(s, i, &st))
                some = true;
            check_int(st, OK);
            if (st)
                return;
        }
    }
}

/* How many events of this topic (and subject, if it is not NULL) the journal has. */
static inline int64_t
stage_events(struct stage *s, const char *topic, const char *subject)
{
    int64_t after = 0, found = 0;
    for (size_t n = 1; n;) {
        struct request rq = stage_request(s, "");
        struct event *events;
        if (bus_read(node_bus(s->node), &rq.scope, after, topic, subject, 100, &events, &n))
            break;
        found += (int64_t)n;
        after = n ? events[n - 1].position : after;
    }
    return found;
}

/* What the sandbox's ledger says of an order's money: "charged 500, refunded 0", by minor units. */
static inline void
stage_ledger(struct stage *s, const char *order_id, int *ret_charges, int64_t *ret_charged,
             int64_t *ret_refunded)
{
    *ret_charges = 0;
    *ret_charged = *ret_refunded = 0;
    char line[300], kind[10], key[40], of[40], outcome[10], charges[8][40];
    long long amount;
    FILE *file = fopen(arena_printf(s->arena, "%s/sandbox.ledger", s->dir), "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(strstr(line, "\"kind\"") ? strstr(line, "\"kind\"") : "",
                   "\"kind\":\"%9[^\"]\",\"key\":\"%39[^\"]\",\"of\":\"%39[^\"]\",\"amount\":%lld,"
                   "\"currency\":\"EUR\",\"outcome\":\"%9[^\"]",
                   kind, key, of, &amount, outcome) != 5)
            continue;
        if (strcmp(outcome, "captured") == 0 && strcmp(of, order_id) == 0 && *ret_charges < 8) {
            strcpy(charges[(*ret_charges)++], key);
            *ret_charged += amount;
        }
        for (int i = 0; i < *ret_charges; i++)
            if (strcmp(outcome, "refunded") == 0 && strcmp(of, charges[i]) == 0)
                *ret_refunded += amount;
    }
    if (file)
        fclose(file);
}

static inline void
stage_stock(struct stage *s, const char *sku, int64_t on_hand)
{
    NewItem *item = new_new_item(s->arena);
    item->sku = sku;
    item->on_hand = on_hand;
    CreateItemsRequest *in = new_create_items_request(s->arena);
    in->items = arena_copy(s->arena, &item, sizeof item);
    in->n_items = 1;
    check_text(stage_ask(s, "operator", "inventory", "CreateItems", &in->base, NULL), "");
}

static inline Stock *
stage_stock_of(struct stage *s, const char *sku)
{
    GetStockRequest *in = new_get_stock_request(s->arena);
    in->sku = sku;
    Stock *stock = new_stock(s->arena);
    check_text(stage_ask(s, "operator", "inventory", "GetStock", &in->base, &stock), "");
    return stock;
}

/* The same request once more, as who retries it makes it. */
static inline struct request
stage_again(struct stage *s, const struct request *rq)
{
    struct request again = stage_request(s, "");
    again.id = rq->id;
    again.caller = rq->caller;
    return again;
}

/* Lodges a token for the request; *ret is its method's id. */
static inline const char *
stage_method(struct stage *s, const struct request *rq, const char *token, const char **ret)
{
    LodgeMethodRequest *in = new_lodge_method_request(s->arena);
    in->payment_method_id = id_derive(s->arena, "pmm", rq->id, NULL);
    in->provider = "sandbox";
    in->token = token;
    *ret = in->payment_method_id;
    return stage_ask(s, "operator", "payments", "LodgeMethod", &in->base, NULL);
}

/* Buys quantity of sku as the gateway would; rq->id says which checkout it is. */
static inline const char *
stage_place(struct stage *s, struct request *rq, const char *sku, int64_t quantity,
            const char *token, Order **ret)
{
    Line *line = new_line(s->arena);
    line->sku = sku;
    line->quantity = quantity;
    PlaceOrderRequest *in = new_place_order_request(s->arena);
    in->checkout_id = id_derive(s->arena, "chk", rq->id, NULL);
    in->lines = arena_copy(s->arena, &line, sizeof line);
    in->n_lines = 1;
    in->customer = new_contact(s->arena);
    in->customer->email = "ada@example.org";
    in->user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "";
    const char *word = stage_method(s, rq, token, &in->payment_method_id);
    return *word ? word : stage_serve(s, rq, "orders", "PlaceOrder", &in->base, ret);
}

static inline const char *
stage_pay(struct stage *s, struct request *rq, const char *order_id, const char *token, Order **ret)
{
    PayOrderRequest *in = new_pay_order_request(s->arena);
    in->order_id = order_id;
    in->attempt_id = id_derive(s->arena, "pay", rq->id, NULL);
    const char *word = stage_method(s, rq, token, &in->payment_method_id);
    return *word ? word : stage_serve(s, rq, "orders", "PayOrder", &in->base, ret);
}

static inline const char *
stage_cancel(struct stage *s, const char *who, const char *order_id, Order **ret)
{
    CancelOrderRequest *in = new_cancel_order_request(s->arena);
    in->id = order_id;
    in->reason = "changed my mind";
    return stage_ask(s, who, "orders", "CancelOrder", &in->base, ret);
}

static inline Order *
stage_order(struct stage *s, const char *order_id)
{
    GetOrderRequest *in = new_get_order_request(s->arena);
    in->id = order_id;
    Order *order = new_order(s->arena);
    check_text(stage_ask(s, "operator", "orders", "GetOrder", &in->base, &order), "");
    return order;
}

static inline const char *
stage_order_id(struct stage *s, const struct request *rq)
{
    return id_derive(s->arena, "ord", id_derive(s->arena, "chk", rq->id, NULL), NULL);
}
