/*
 * A whole Souk on one thread, with a clock that we turn and randomness that we seed: what happens
 * depends on nothing else, so the same run twice leaves the same bytes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "app/app.h"
#include "base/env.h"
#include "catalog.api.h"
#include "fiber/fiber.h"
#include "gateway.api.h"
#include "inventory.api.h"
#include "kit/node.h"
#include "test/test.h"

enum { SALES = 25, STOCK = 20, HOLD_S = 60 };

static int64_t clock_us;
static uint64_t seed;

static int64_t
virtual_now_us(void)
{
    return clock_us;
}

/* xorshift64*, Vigna 2016. */
static void
seeded_random(void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        ((uint8_t *)bytes)[i] = (uint8_t)((seed * UINT64_C(2685821657736338717)) >> 56);
    }
}

/* Runs what is ready, and moves the clock to the next sleeper's time, for so long. */
static void
pass_time(struct node *node, int64_t us)
{
    struct sched *all[] = {node_sched(node, "orders"), node_sched(node, "audit")};
    int64_t until_us = clock_us + us;
    while (clock_us < until_us) {
        bool ran = sched_run_ready(all[0]);
        ran = sched_run_ready(all[1]) || ran;
        if (ran)
            continue;
        int64_t next_us = until_us;
        for (int i = 0; i < 2; i++)
            if (sched_next_wake_us(all[i]) < next_us)
                next_us = sched_next_wake_us(all[i]);
        clock_us = next_us > clock_us ? next_us : clock_us + 1;
    }
}

struct sim {
    struct node *node;
    struct arena *arena;
    struct conf *conf;
    int sales;
    void (*work)(struct sim *s);
    bool done;
};

static void
run_work(void *arg)
{
    struct sim *s = arg;
    s->work(s);
    s->done = true;
}

/* Does a piece of work on a fiber; time passes while it waits. */
static void
work(struct sim *s, void (*fn)(struct sim *s))
{
    s->work = fn;
    s->done = false;
    check(sched_spawn(node_sched(s->node, "orders"), run_work, s));
    while (!s->done)
        pass_time(s->node, MILLISECOND_US);
}

static const char *
ask(struct sim *s, struct request *rq, const char *service, const char *name,
    const ProtobufCMessage *in)
{
    ProtobufCMessage *out;
    enum status st = node_serve(rq, node_rpc(s->node, service, name), in, &out);
    return st == OK ? "" : rq->reason ? rq->reason->code : status_name(st);
}

static void
make_product(struct sim *s)
{
    struct request rq;
    request_init(&rq, s->node, s->arena);
    rq.caller.kind = CALLER_OPERATOR;
    NewVariant *variant = new_new_variant(s->arena);
    variant->price = new_money(s->arena);
    variant->price->amount = 1000;
    variant->price->currency = "EUR";
    variant->stock = STOCK;
    CreateProductRequest *in = new_create_product_request(s->arena);
    in->title = in->handle = "lamp";
    in->variants = &variant;
    in->n_variants = 1;
    check_text(ask(s, &rq, "catalog", "CreateProduct", &in->base), "");
}

/* A guest's checkout; the token follows from its number. */
static void
buy(struct sim *s)
{
    static const char *const tokens[] = {"approve", "decline", "timeout", "approve", "slow"};
    struct arena *a = arena_new();
    struct request rq;
    request_init(&rq, s->node, a);
    rq.service = NULL;
    Line *line = new_line(a);
    line->sku = "lamp";
    line->quantity = 1;
    PlaceOrderBody *in = new_place_order_body(a);
    in->lines = &line;
    in->n_lines = 1;
    in->customer = new_contact(a);
    in->customer->email = arena_printf(a, "buyer%d@example.org", s->sales);
    in->payment = new_payment_details(a);
    in->payment->provider = "sandbox";
    in->payment->token = tokens[s->sales++ % 5];
    const char *code = ask(s, &rq, "gateway", "PlaceOrder", &in->base);
    check(strcmp(code, "") == 0 || strcmp(code, "payment_failed") == 0 ||
          strcmp(code, "out_of_stock") == 0);
    arena_free(a);
}

static bool
every_table(const char *table, void *arg)
{
    (void)arg;
    return strcmp(table, "store_migration") != 0 && strncmp(table, "auth_", 5) != 0;
}

/* One run: its canonical dump. */
static char *
run(uint64_t from, struct arena *a)
{
    seed = from;
    clock_us = INT64_C(1800000000000000);
    struct sim s = {.arena = a, .conf = conf_new()};
    const char *why = "";
    conf_set(s.conf, "reservation_hold_s", "60", a, &why);
    conf_set(s.conf, "sandbox_slow_ms", "1", a, &why);
    conf_set(s.conf, "sandbox_timeout_ms", "1", a, &why);
    const struct node_options options = {
        .data_dir = test_dir(), .services = souk_all(), .conf = s.conf, .quiet = true};
    check_int(node_open(&options, a, &s.node, &why), OK);
    node_start(s.node);
    work(&s, make_product);
    for (int i = 0; i < SALES; i++) {
        work(&s, buy);
        pass_time(s.node, 300 * MILLISECOND_US);
    }
    pass_time(s.node, 2 * HOLD_S * SECOND_US); /* what was not paid lapses */
    char *dump = NULL;
    check_int(store_dump(node_store(s.node, "orders"), every_table, NULL, a, &dump), OK);
    node_stop(s.node);
    pass_time(s.node, SECOND_US); /* who sleeps may end */
    node_free(s.node);
    conf_free(s.conf);
    return dump ? dump : arena_strdup(a, "");
}

static int
count(const char *dump, const char *part)
{
    int n = 0;
    for (const char *at = dump; (at = strstr(at, part)); at++)
        n++;
    return n;
}

TEST(the_same_seed_leaves_the_same_bytes_and_another_one_does_not)
{
    env.single_thread = true;
    env.now_us = env.mono_us = virtual_now_us;
    env.random = seeded_random;
    struct arena *a = arena_new();
    char *first = run(7, a), *again = run(7, a), *other = run(8, a);
    check(strlen(first) > 10000);
    check_text(again, first);
    check(strcmp(first, other) != 0);
    check_int(count(first, "'AWAITING_PAYMENT'"), 0);
    check(count(first, "'COMPLETED'") >= STOCK / 2);
    arena_free(a);
    env = env_real;
}
