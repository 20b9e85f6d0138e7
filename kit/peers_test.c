/*
 * Two processes of one shop, as two nodes of this one: what a call carries over, whom it believes, and what
 * each hears of the other.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/app.h"
#include "audit.api.h"
#include "base/env.h"
#include "catalog.api.h"
#include "gateway.api.h"
#include "gateway/gateway.h"
#include "inventory.api.h"
#include "kit/conf.h"
#include "kit/peers_impl.h"
#include "orders.api.h"
#include "test/test.h"
#include "users.api.h"

enum { SETTLE_US = 20 * 1000 * 1000, WAIT_MS = 20 };

struct shop {
    struct arena *arena;
    struct conf *conf;
    struct topology *topology;
    struct node *front, *back;
};

static int
free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(fd, (struct sockaddr *)&at, n) == 0);
    check(getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

static struct node *
node_up(struct shop *shop, const char *dir, const char *process)
{
    struct node *node = NULL;
    const char *why = "";
    const struct node_options options = {.data_dir = dir,
                                         .services = souk_all(),
                                         .conf = shop->conf,
                                         .quiet = true,
                                         .topology = shop->topology,
                                         .process = topology_process(shop->topology, process)};
    check_int(node_open(&options, shop->arena, &node, &why), OK);
    check_text(why, "");
    if (!node)
        exit(1);
    node_start(node);
    check_int(node_listen(node, shop->arena, &why), OK);
    check(node_ready(node));
    return node;
}

static struct shop
shop_open(void)
{
    struct shop shop = {.arena = arena_new(), .conf = conf_new()};
    const char *why = "", *names[40] = {NULL};
    for (size_t i = 0; souk_all()[i]; i++)
        names[i] = souk_all()[i]->name;
    conf_set(shop.conf, "log", "off", shop.arena, &why);
    const char *text = arena_printf(
        shop.arena,
        "broker outbox\n"
        "process front gateway,orders,cart,users,auth,audit 127.0.0.1:%d\n"
        "process back authz,catalog,inventory,payments,shipping,analytics,notifications,"
        "recommendations,search 127.0.0.1:%d\n",
        free_port(), free_port());
    check_int(topology_parse(text, "t", names, shop.arena, &shop.topology, &why), OK);
    check_text(why, "");
    const char *dir = test_dir();
    shop.back = node_up(&shop, dir, "back");
    shop.front = node_up(&shop, dir, "front");
    return shop;
}

static void
shop_close(struct shop *shop)
{
    node_drain(shop->front, SECOND_US);
    node_drain(shop->back, SECOND_US);
    node_stop(shop->front);
    node_stop(shop->back);
    node_free(shop->front);
    node_free(shop->back);
    conf_free(shop->conf);
    arena_free(shop->arena);
}

struct asked {
    struct request rq;
    const struct rpc *rpc;
    const ProtobufCMessage *in;
    ProtobufCMessage *out;
    enum status st;
};

static void
ask_on_fiber(void *arg)
{
    struct asked *asked = arg;
    asked->st = node_serve(&asked->rq, asked->rpc, asked->in, &asked->out);
}

/* Asks as the gateway of front would. */
static struct asked
ask(struct shop *shop, struct caller caller, const char *service, const char *name,
    const ProtobufCMessage *in)
{
    struct asked asked = {.rpc = node_rpc(shop->front, service, name), .in = in};
    request_init(&asked.rq, shop->front, shop->arena);
    asked.rq.service = &gateway_service;
    asked.rq.caller = caller;
    node_run(shop->front, "gateway", ask_on_fiber, &asked);
    return asked;
}

static const struct caller nobody = {.kind = CALLER_ANONYMOUS, .id = "", .session_id = "",
                                     .order_id = "", .ip = "192.0.2.1", .user_agent = "a test"};

static struct caller
itself(void)
{
    struct caller caller = nobody;
    caller.kind = CALLER_OPERATOR;
    return caller;
}

static const char *
a_product(struct shop *shop, int64_t stock)
{
    static int number;
    NewVariant *variant = new_new_variant(shop->arena);
    variant->price = new_money(shop->arena);
    variant->price->amount = 700;
    variant->price->currency = "EUR";
    variant->stock = stock;
    CreateProductRequest *in = new_create_product_request(shop->arena);
    in->handle = in->title = arena_printf(shop->arena, "thing-%d", ++number);
    in->variants = &variant;
    in->n_variants = 1;
    struct asked made = ask(shop, itself(), "catalog", "CreateProduct", &in->base);
    check_int(made.st, OK);
    return made.st ? "" : ((Product *)made.out)->variants[0]->sku;
}

static struct asked
buy(struct shop *shop, const char *sku, int64_t quantity)
{
    struct arena *a = shop->arena;
    Line *line = new_line(a);
    line->sku = sku;
    line->quantity = quantity;
    PlaceOrderBody *in = new_place_order_body(a);
    in->lines = arena_copy(a, &line, sizeof(Line *));
    in->n_lines = 1;
    in->customer = new_contact(a);
    in->customer->email = "grace@example.org";
    in->payment = new_payment_details(a);
    in->payment->provider = "sandbox";
    in->payment->token = "approve";
    return ask(shop, nobody, "gateway", "PlaceOrder", &in->base);
}

static int64_t
available(struct shop *shop, const char *sku)
{
    GetStockRequest *in = new_get_stock_request(shop->arena);
    in->sku = sku;
    struct asked got = ask(shop, itself(), "inventory", "GetStock", &in->base);
    check_int(got.st, OK);
    return got.st ? -1 : ((Stock *)got.out)->available;
}

static bool
completes(struct shop *shop, const char *order_id)
{
    GetOrderRequest *in = new_get_order_request(shop->arena);
    in->id = order_id;
    for (int64_t until_us = env.mono_us() + SETTLE_US; env.mono_us() < until_us;) {
        struct asked got = ask(shop, itself(), "orders", "GetOrder", &in->base);
        if (got.st == OK && ((Order *)got.out)->status == ORDER_STATUS_COMPLETED)
            return true;
        usleep(WAIT_MS * 1000);
    }
    return false;
}

TEST(a_sale_crosses_processes_and_completes_by_their_events)
{
    struct shop shop = shop_open();
    const char *sku = a_product(&shop, 5);
    struct asked sold = buy(&shop, sku, 2);
    check_int(sold.st, OK);
    if (sold.st == OK) {
        const Order *order = (const Order *)sold.out;
        check_int(available(&shop, sku), 3);
        check(completes(&shop, order->id)); /* inventory heard orders, and orders inventory */
    }
    check(bus_drained(node_bus(shop.front), SETTLE_US));
    ReplayProjectionsRequest *in = new_replay_projections_request(shop.arena);
    struct asked replayed = ask(&shop, itself(), "audit", "ReplayProjections", &in->base);
    check_int(replayed.st, OK);
    const ReplayProjectionsResponse *told = (const ReplayProjectionsResponse *)replayed.out;
    check(told && told->n_services > 3);
    for (size_t i = 0; told && i < told->n_services; i++)
        if (!told->services[i]->equal)
            check_text(told->services[i]->service, "equal to the live projection");
    shop_close(&shop);
}

TEST(why_a_call_failed_comes_back_whole)
{
    struct shop shop = shop_open();
    const char *sku = a_product(&shop, 1);
    struct asked refused = buy(&shop, sku, 2);
    check_int(refused.st, ORDERS_OUT_OF_STOCK.status);
    check(refused.rq.reason == &ORDERS_OUT_OF_STOCK);
    check_int((int)refused.rq.n_violations, 1);
    check_text(refused.rq.violations[0].pointer, "/lines/0");
    check_int(refused.rq.violations[0].remaining, 1);
    GetProductRequest *in = new_get_product_request(shop.arena);
    in->id = "no-such-thing";
    struct asked missing = ask(&shop, nobody, "catalog", "GetProduct", &in->base);
    check_int(missing.st, NOT_FOUND);
    check(missing.rq.reason == &CATALOG_NO_SUCH_PRODUCT);
    shop_close(&shop);
}

TEST(permission_is_asked_where_the_call_is_served_and_only_the_gateway_names_a_caller)
{
    struct shop shop = shop_open();
    const char *sku = a_product(&shop, 1);
    GetStockRequest *in = new_get_stock_request(shop.arena);
    in->sku = sku;
    check_int(ask(&shop, nobody, "inventory", "GetStock", &in->base).st, UNAUTHENTICATED);

    CreateStaffRequest *staff = new_create_staff_request(shop.arena);
    staff->email = "ada@example.org";
    staff->password = "correct horse battery";
    staff->role = "superadmin";
    struct asked made = ask(&shop, itself(), "users", "CreateStaff", &staff->base);
    check_int(made.st, OK);
    struct caller ada = nobody;
    ada.kind = CALLER_USER;
    ada.id = ((User *)made.out)->id;
    check_int(ask(&shop, ada, "inventory", "GetStock", &in->base).st, OK);
    struct caller customer = ada;
    customer.id = "usr_00000000000000000000000000";
    check_int(ask(&shop, customer, "inventory", "GetStock", &in->base).st, PERMISSION_DENIED);

    struct caller forged = ada;
    forged.signed_caller = (ProtobufCBinaryData){4, (uint8_t *)arena_strdup(shop.arena, "ada!")};
    struct asked refused = ask(&shop, forged, "inventory", "GetStock", &in->base);
    check_int(refused.st, UNAUTHENTICATED);
    check(strstr(refused.rq.message, "not one that the gateway signed") != NULL);
    shop_close(&shop);
}

/* What somebody who is no process of ours asks of back. */
static enum status
stranger_asks(struct shop *shop, const char *path, const struct grpc_pair *metadata, size_t n)
{
    struct loop *loop = loop_new();
    struct grpc_channel *channel = grpc_channel_new(
        loop, &(struct grpc_channel_options){
                  .target = topology_process(shop->topology, "back")->address});
    struct grpc_reply reply;
    const struct grpc_ask in = {.path = path,
                                .message = (const uint8_t *)"",
                                .metadata = metadata,
                                .n_metadata = n,
                                .deadline_us = env.mono_us() + SETTLE_US};
    enum status st = grpc_unary(channel, shop->arena, &in, &reply);
    grpc_channel_free(channel);
    loop_free(loop);
    return st;
}

TEST(what_only_services_call_is_for_those_whose_table_says_so)
{
    struct shop shop = shop_open();
    static const struct grpc_pair orders[] = {{"souk-service", "orders", 6}},
                                  cart[] = {{"souk-service", "cart", 4}},
                                  unknown[] = {{"souk-service", "thief", 5}},
                                  search[] = {{"souk-service", "search", 6}, {"souk-as", "service", 7}};
    const char *reserve = "/souk.inventory.v1.Inventory/Reserve";
    check_int(stranger_asks(&shop, reserve, NULL, 0), UNAUTHENTICATED);
    check_int(stranger_asks(&shop, reserve, unknown, 1), UNAUTHENTICATED);
    check_int(stranger_asks(&shop, reserve, cart, 1), PERMISSION_DENIED);
    check(stranger_asks(&shop, reserve, orders, 1) != PERMISSION_DENIED);
    check_int(stranger_asks(&shop, "/souk.inventory.v1.Inventory/Restock", search, 2),
              PERMISSION_DENIED);
    check_int(stranger_asks(&shop, "/souk.inventory.v1.Inventory/Steal", orders, 1), UNIMPLEMENTED);
    check_int(stranger_asks(&shop, "/souk.kit.v1.Peer/ListDeadLetters", NULL, 0), UNAUTHENTICATED);
    check_int(stranger_asks(&shop, "/souk.kit.v1.Peer/ListDeadLetters", orders, 1), OK);
    shop_close(&shop);
}

/* How many calls of front to back failed, as /metrics tells it. */
static long
failed_calls(struct shop *shop)
{
    static const char name[] = "souk_channel_failures_total{to=\"back\"} ";
    const char *at = strstr(metrics_text(shop->front, shop->arena), name);
    check(at != NULL);
    return at ? strtol(at + sizeof name - 1, NULL, 10) : -1;
}

TEST(a_call_that_is_told_no_is_no_failure_of_its_channel)
{
    struct shop shop = shop_open();
    const char *sku = a_product(&shop, 1);
    GetProductRequest *in = new_get_product_request(shop.arena);
    in->id = "no-such-thing";
    long before = failed_calls(&shop);
    check_int(ask(&shop, nobody, "catalog", "GetProduct", &in->base).st, NOT_FOUND);
    check_int(failed_calls(&shop), before);
    node_drain(shop.back, SECOND_US);
    check_int(buy(&shop, sku, 1).st, UNAVAILABLE);
    check(failed_calls(&shop) > before);
    shop_close(&shop);
}

TEST(a_process_that_is_away_is_told_as_unavailable_and_found_again)
{
    struct shop shop = shop_open();
    const char *sku = a_product(&shop, 5);
    const char *dir = arena_printf(shop.arena, "%s/..", node_data_dir(shop.back));
    node_drain(shop.back, SECOND_US);
    node_stop(shop.back);
    node_free(shop.back);
    check_int(buy(&shop, sku, 1).st, UNAVAILABLE);
    shop.back = node_up(&shop, dir, "back");
    check_int(buy(&shop, sku, 1).st, OK);
    shop_close(&shop);
}
