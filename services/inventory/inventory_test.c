/* The stock ledger: what is promised, sold and given back, in a whole Souk. */
#include <pthread.h>

#include "catalog.api.h"
#include "inventory/reservations.h"
#include "orders.api.h"
#include "payments.api.h"
#include "test/world.h"

static struct world *world;

/* ---- asking ---- */

static void
open_world(void)
{
    world = world_new();
}

static struct arena *
arena(void)
{
    return world_arena(world);
}

static void
create(const char *sku, int64_t on_hand)
{
    NewItem *item = new_new_item(arena());
    item->sku = sku;
    item->on_hand = on_hand;
    CreateItemsRequest *in = new_create_items_request(arena());
    in->items = &item;
    in->n_items = 1;
    check_text(world_ask(world, "operator", "inventory", "CreateItems", &in->base, NULL), "");
}

static Stock *
stock_of(const char *sku)
{
    GetStockRequest *in = new_get_stock_request(arena());
    in->sku = sku;
    Stock *stock = new_stock(arena());
    check_text(world_ask(world, "operator", "inventory", "GetStock", &in->base, &stock), "");
    return stock;
}

/* "on_hand reserved available sold owed" */
static const char *
figures(const char *sku)
{
    const Stock *s = stock_of(sku);
    return arena_printf(arena(), "%lld %lld %lld %lld %lld", (long long)s->on_hand,
                        (long long)s->reserved, (long long)s->available, (long long)s->sold,
                        (long long)s->owed);
}

static Line *
line_of(const char *sku, int64_t quantity)
{
    Line *line = new_line(arena());
    line->sku = sku;
    line->quantity = quantity;
    return line;
}

static ReserveRequest *
reserve_request(const char *id, Line **lines, size_t n)
{
    ReserveRequest *in = new_reserve_request(arena());
    in->reservation_id = id;
    in->order_id = arena_printf(arena(), "order-of-%s", id);
    in->lines = arena_copy(arena(), lines, n * sizeof *lines);
    in->n_lines = n;
    return in;
}

static const char *
reserve(const char *id, const char *sku, int64_t quantity)
{
    Line *line = line_of(sku, quantity);
    return world_ask(world, "operator", "inventory", "Reserve",
                     &reserve_request(id, &line, 1)->base, NULL);
}

static const char *
release(const char *id)
{
    ReleaseRequest *in = new_release_request(arena());
    in->reservation_id = id;
    in->reason = "test";
    return world_ask(world, "operator", "inventory", "Release", &in->base, NULL);
}

/* A reserve of anything tells the reservation as it is, if there is one. */
static ReservationState
state_of(const char *id)
{
    Line *line = line_of("no-such-thing", 1);
    Reservation *reservation = new_reservation(arena());
    world_ask(world, "operator", "inventory", "Reserve", &reserve_request(id, &line, 1)->base,
              &reservation);
    return reservation->state;
}

static const char *
set_stock(const char *sku, int64_t on_hand, int64_t expected_version)
{
    SetStockRequest *in = new_set_stock_request(arena());
    in->sku = sku;
    in->on_hand = on_hand;
    in->expected_version = expected_version;
    return world_ask(world, "operator", "inventory", "SetStock", &in->base, NULL);
}

/* ---- telling, as other services do ---- */

struct told {
    const char *publisher;
    const struct topic *topic;
    const ProtobufCMessage *message;
};

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(world, "");
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, told->publisher) == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, told->topic, told->message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
tell(const char *publisher, const struct topic *topic, const ProtobufCMessage *message)
{
    struct told told = {publisher, topic, message};
    world_run(world, publisher, tell_on_fiber, &told);
    world_settle(world);
}

static void
say_created(const char *id)
{
    OrderCreated *event = new_order_created(arena());
    event->order_id = arena_printf(arena(), "order-of-%s", id);
    event->reservation_id = id;
    event->charged_by_rpc = true;
    tell("orders", &order_created, &event->base);
}

static void
say_paid(const char *id, const char *sku, int64_t quantity)
{
    PricedLine *line = new_priced_line(arena());
    line->sku = sku;
    line->quantity = quantity;
    OrderPaid *event = new_order_paid(arena());
    event->order_id = arena_printf(arena(), "order-of-%s", id);
    event->reservation_id = id;
    event->lines = &line;
    event->n_lines = 1;
    tell("orders", &order_paid, &event->base);
}

static void
say_cancelled(const char *id, const char *reason, bool was_paid)
{
    OrderCancelled *event = new_order_cancelled(arena());
    event->order_id = arena_printf(arena(), "order-of-%s", id);
    event->reservation_id = id;
    event->reason = reason;
    event->was_paid = was_paid;
    tell("orders", &order_cancelled, &event->base);
}

static void
say_refunded(const char *id, bool whole, bool restock)
{
    PaymentRefunded *event = new_payment_refunded(arena());
    event->payment_id = "pay_test";
    event->order_id = arena_printf(arena(), "order-of-%s", id);
    event->whole = whole;
    event->restock = restock;
    tell("payments", &payment_refunded, &event->base);
}

static void
say_stock_wanted(const char *sku, int64_t on_hand, int64_t expected_version)
{
    ProductStockUpdated *event = new_product_stock_updated(arena());
    event->sku = sku;
    event->on_hand = on_hand;
    event->expected_version = expected_version;
    tell("catalog", &product_stock_updated, &event->base);
}

static void
lapse_on_fiber(void *arg)
{
    struct request rq = world_request(world, "");
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, "inventory") == 0)
            rq.service = *s;
    rq.now_us += *(int64_t *)arg;
    check_int(reservations_lapse(&rq), OK);
    check_int(request_settle(&rq), OK);
}

/* The job, as if it ran so much later. */
static void
lapse_after(int64_t us)
{
    world_run(world, "inventory", lapse_on_fiber, &us);
}

/* ---- reserving ---- */

TEST(a_reserve_takes_from_what_is_available)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 3), "");
    check_text(figures("a"), "5 3 2 0 0");
    check_text(reserve("two", "a", 3), "out_of_stock");
    check_text(figures("a"), "5 3 2 0 0");
    check_text(reserve("two", "a", 2), "");
    check_text(figures("a"), "5 5 0 0 0");
    check_int(world_events(world, "inventory.stock_reserved", NULL), 2);
    check_int(world_events(world, "inventory.stock_updated", "a"), 3);
    world_free(world);
}

TEST(all_lines_are_reserved_or_none_and_each_that_cannot_be_had_is_named)
{
    open_world();
    create("a", 5);
    create("b", 1);
    create("c", 0);
    Line *lines[] = {line_of("c", 1), line_of("a", 2), line_of("b", 2), line_of("a", 1)};
    struct request rq = world_request(world, "operator");
    enum status st = world_serve(world, &rq, "inventory", "Reserve",
                                 &reserve_request("one", lines, 4)->base, NULL);
    check_int(st, FAILED_PRECONDITION);
    check(rq.reason == &INVENTORY_OUT_OF_STOCK);
    check_int((long long)rq.n_violations, 2);
    check_text(rq.violations[0].pointer, "/lines/2");
    check_text(rq.violations[0].code, "out_of_stock");
    check_int(rq.violations[0].remaining, 1);
    check_text(rq.violations[1].pointer, "/lines/0");
    check_int(rq.violations[1].remaining, 0);
    check_text(figures("a"), "5 0 5 0 0");
    check_int(world_events(world, "inventory.stock_reserved", NULL), 0);

    Line *fewer[] = {line_of("a", 2), line_of("b", 1), line_of("a", 1)};
    check_text(world_ask(world, "operator", "inventory", "Reserve",
                         &reserve_request("one", fewer, 3)->base, NULL),
               "");
    check_text(figures("a"), "5 3 2 0 0");
    check_text(figures("b"), "1 1 0 0 0");
    world_free(world);
}

TEST(a_line_of_an_unknown_thing_is_told_apart_from_a_short_one)
{
    open_world();
    check_text(reserve("one", "unheard-of", 1), "no_such_item");
    check_int(state_of("one"), RESERVATION_STATE_UNSPECIFIED);
    world_free(world);
}

TEST(a_repeated_reserve_tells_the_reservation_as_it_is)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 3), "");
    check_text(reserve("one", "a", 3), "");
    check_text(figures("a"), "5 3 2 0 0");
    check_int(state_of("one"), RESERVATION_STATE_HELD);
    check_text(release("one"), "");
    check_text(reserve("one", "a", 3), "");
    check_int(state_of("one"), RESERVATION_STATE_RELEASED);
    check_text(figures("a"), "5 0 5 0 0");
    world_free(world);
}

TEST(a_release_gives_back_once)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 3), "");
    check_text(release("one"), "");
    check_text(release("one"), "");
    check_text(figures("a"), "5 0 5 0 0");
    check_text(release("never-made"), "no_such_reservation");
    check_int(world_events(world, "inventory.stock_released", NULL), 1);
    world_free(world);
}

enum { BUYERS = 4, TRIES = 25, ON_HAND = 10 };

static int won; /* atomic */

static void *
buy_often(void *arg)
{
    for (int i = 0; i < TRIES; i++) {
        struct arena *own = arena_new();
        struct request rq;
        request_init(&rq, world_node(world), own);
        rq.caller.kind = CALLER_OPERATOR;
        Line *line = new_line(own);
        line->sku = "a";
        line->quantity = 1;
        ReserveRequest *in = new_reserve_request(own);
        in->reservation_id = arena_printf(own, "%s-%d", (const char *)arg, i);
        in->lines = &line;
        in->n_lines = 1;
        if (world_serve(world, &rq, "inventory", "Reserve", &in->base, NULL) == OK)
            __atomic_add_fetch(&won, 1, __ATOMIC_RELAXED);
        arena_free(own);
    }
    return NULL;
}

TEST(many_buyers_at_once_get_what_there_is_and_no_more)
{
    open_world();
    create("a", ON_HAND);
    static char names[BUYERS][2] = {"p", "q", "r", "s"};
    pthread_t threads[BUYERS];
    won = 0;
    for (int i = 0; i < BUYERS; i++)
        pthread_create(&threads[i], NULL, buy_often, names[i]);
    for (int i = 0; i < BUYERS; i++)
        pthread_join(threads[i], NULL);
    check_int(won, ON_HAND);
    check_text(figures("a"), "10 10 0 0 0");
    world_free(world);
}

/* ---- the clock ---- */

TEST(what_is_held_lapses_by_the_clock_and_what_is_bound_does_not)
{
    open_world();
    create("a", 5);
    check_text(reserve("held", "a", 1), "");
    check_text(reserve("bound", "a", 2), "");
    say_created("bound");
    check_int(state_of("bound"), RESERVATION_STATE_BOUND);
    lapse_after(MINUTE_US);
    check_text(figures("a"), "5 3 2 0 0");
    lapse_after(HOUR_US);
    check_text(figures("a"), "5 2 3 0 0");
    check_int(state_of("held"), RESERVATION_STATE_RELEASED);
    check_int(state_of("bound"), RESERVATION_STATE_BOUND);
    lapse_after(HOUR_US);
    check_int(world_events(world, "inventory.stock_released", NULL), 1);
    world_free(world);
}

TEST(many_reservations_lapse_in_one_run)
{
    open_world();
    create("a", 500);
    for (int i = 0; i < 230; i++)
        check_text(reserve(arena_printf(arena(), "r%d", i), "a", 1), "");
    lapse_after(HOUR_US);
    check_text(figures("a"), "500 0 500 0 0");
    world_free(world);
}

/* ---- selling ---- */

TEST(what_was_reserved_is_sold_when_its_order_is_paid)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    say_created("one");
    say_paid("one", "a", 2);
    check_text(figures("a"), "3 0 3 2 0");
    check_int(state_of("one"), RESERVATION_STATE_SOLD);
    say_paid("one", "a", 2);
    check_text(figures("a"), "3 0 3 2 0");
    check_text(release("one"), "");
    check_text(figures("a"), "3 0 3 2 0");
    check_int(world_events(world, "inventory.stock_committed", "one"), 1);
    world_free(world);
}

TEST(money_that_comes_after_the_lapse_gets_stock_if_there_is_any)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    lapse_after(HOUR_US);
    say_paid("one", "a", 2);
    check_text(figures("a"), "3 0 3 2 0");
    check_int(state_of("one"), RESERVATION_STATE_SOLD);
    say_paid("never-reserved", "a", 1);
    check_text(figures("a"), "2 0 2 3 0");
    check_int(state_of("never-reserved"), RESERVATION_STATE_SOLD);
    say_cancelled("never-reserved", "buyer", true);
    check_text(figures("a"), "3 0 3 2 0");
    world_free(world);
}

TEST(money_that_comes_when_nothing_is_left_falls_short)
{
    open_world();
    create("a", 2);
    check_text(reserve("late", "a", 2), "");
    lapse_after(HOUR_US);
    check_text(reserve("early", "a", 1), "");
    say_paid("late", "a", 2);
    check_text(figures("a"), "2 1 1 0 0");
    check_int(state_of("late"), RESERVATION_STATE_RELEASED);
    say_paid("unknown", "no-such-thing", 1);
    check_int(state_of("unknown"), RESERVATION_STATE_RELEASED);
    check_int(world_events(world, "inventory.stock_short", NULL), 2);
    check_int(world_events(world, "inventory.stock_committed", NULL), 0);
    world_free(world);
}

/* ---- the end of an order ---- */

TEST(a_cancelled_order_gives_back_what_it_held_or_had_bought)
{
    static const struct {
        bool paid;
        const char *reason;
        const char *after;
    } cases[] = {
        {false, "buyer", "5 0 5 0 0"},
        {false, "lapsed", "5 0 5 0 0"},
        {true, "staff", "5 0 5 0 0"},
        {true, "refunded", "3 0 3 2 0"}, /* whether goods came back, the refund tells */
    };
    open_world();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *sku = arena_printf(arena(), "a%zu", i), *id = arena_printf(arena(), "r%zu", i);
        create(sku, 5);
        check_text(reserve(id, sku, 2), "");
        say_created(id);
        if (cases[i].paid)
            say_paid(id, sku, 2);
        say_cancelled(id, cases[i].reason, cases[i].paid);
        check_text(figures(sku), cases[i].after);
        say_cancelled(id, cases[i].reason, cases[i].paid);
        check_text(figures(sku), cases[i].after);
    }
    world_free(world);
}

TEST(a_whole_refund_puts_goods_back_once_if_it_says_so)
{
    static const struct {
        bool whole, restock;
        const char *after;
    } cases[] = {
        {false, true, "3 0 3 2 0"},
        {true, false, "3 0 3 2 0"},
        {true, true, "5 0 5 0 0"},
    };
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    say_paid("one", "a", 2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        say_refunded("one", cases[i].whole, cases[i].restock);
        check_text(figures("a"), cases[i].after);
    }
    say_refunded("one", true, true);
    say_cancelled("one", "refunded", true);
    check_text(figures("a"), "5 0 5 0 0");
    world_free(world);
}

/* ---- counts and receipts ---- */

TEST(a_count_below_what_is_promised_leaves_the_rest_owed)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    check_text(reserve("two", "a", 2), "");
    check_text(set_stock("a", 3, 0), "");
    check_text(figures("a"), "3 3 0 0 1");
    check_text(reserve("three", "a", 1), "out_of_stock");
    say_paid("two", "a", 2); /* who pays first gets what is there */
    check_text(figures("a"), "1 1 0 2 1");
    say_paid("one", "a", 2);
    check_text(figures("a"), "1 0 1 2 0");
    check_int(state_of("one"), RESERVATION_STATE_RELEASED);
    check_int(world_events(world, "inventory.stock_short", "order-of-one"), 1);
    world_free(world);
}

TEST(what_is_owed_is_covered_first_by_goods_received_and_forgiven_first_by_a_release)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    check_text(reserve("two", "a", 3), "");
    check_text(set_stock("a", 1, 0), "");
    check_text(figures("a"), "1 1 0 0 4");
    RestockRequest *in = new_restock_request(arena());
    in->sku = "a";
    in->quantity = 2;
    check_text(world_ask(world, "operator", "inventory", "Restock", &in->base, NULL), "");
    check_text(figures("a"), "3 3 0 0 2");
    check_text(release("two"), "");
    check_text(figures("a"), "3 2 1 0 0");
    check_text(release("one"), "");
    check_text(figures("a"), "3 0 3 0 0");
    world_free(world);
}

TEST(a_count_asks_for_the_version_it_was_made_from)
{
    open_world();
    create("a", 5);
    check_text(set_stock("a", 6, 2), "version_mismatch");
    check_text(set_stock("a", 6, 1), "");
    check_text(set_stock("a", 7, 1), "version_mismatch");
    check_int(stock_of("a")->version, 2);
    check_text(set_stock("a", 6, 0), ""); /* nothing changes: nothing is told */
    check_int(stock_of("a")->version, 2);
    check_text(set_stock("a", -1, 0), "too_much");
    check_text(set_stock("unheard-of", 1, 0), "no_such_item");
    check_int(world_events(world, "inventory.inventory_updated", "a"), 1);
    world_free(world);
}

TEST(goods_are_received_once_per_request)
{
    open_world();
    create("a", 5);
    RestockRequest *in = new_restock_request(arena());
    in->sku = "a";
    in->quantity = 3;
    struct request rq = world_request(world, "operator");
    const char *id = rq.id;
    Stock *stock = NULL;
    check_int(world_serve(world, &rq, "inventory", "Restock", &in->base, &stock), OK);
    check_int(stock ? stock->on_hand : 0, 8);
    rq = world_request(world, "operator");
    rq.id = id; /* a retry after an answer was lost */
    check_int(world_serve(world, &rq, "inventory", "Restock", &in->base, &stock), OK);
    check_int(stock ? stock->on_hand : 0, 8);
    check_int(world_events(world, "inventory.inventory_restocked", "a"), 1);
    in->quantity = 1000000000001;
    check_text(world_ask(world, "operator", "inventory", "Restock", &in->base, NULL), "too_much");
    world_free(world);
}

TEST(an_item_that_is_there_stays_as_it_is)
{
    open_world();
    create("a", 5);
    check_text(reserve("one", "a", 2), "");
    create("a", 100);
    check_text(figures("a"), "5 2 3 0 0");
    check_int(stock_of("a")->version, 2);
    world_free(world);
}

TEST(a_check_tells_of_the_things_that_are_known)
{
    open_world();
    create("a", 5);
    create("b", 0);
    static const char *skus[] = {"b", "unheard-of", "a"};
    CheckStockRequest *in = new_check_stock_request(arena());
    in->skus = skus;
    in->n_skus = 3;
    CheckStockResponse *out = new_check_stock_response(arena());
    check_text(world_ask(world, "operator", "inventory", "CheckStock", &in->base, &out), "");
    check_int((long long)out->n_stocks, 2);
    if (out->n_stocks == 2) {
        check_text(out->stocks[0]->sku, "b");
        check_int(out->stocks[1]->available, 5);
    }
    world_free(world);
}

/* ---- what catalog tells ---- */

TEST(a_merchants_request_sets_stock_unless_it_is_stale)
{
    open_world();
    create("a", 5);
    say_stock_wanted("a", 9, 0);
    check_text(figures("a"), "9 0 9 0 0");
    say_stock_wanted("a", 1, 1);
    check_text(figures("a"), "9 0 9 0 0");
    say_stock_wanted("a", 1, 2);
    check_text(figures("a"), "1 0 1 0 0");
    say_stock_wanted("new", 4, 0);
    check_text(figures("new"), "4 0 4 0 0");
    world_free(world);
}

TEST(a_new_products_items_are_made_if_the_call_did_not_get_through)
{
    open_world();
    Variant *variant = new_variant(arena());
    variant->sku = "a";
    variant->available = 7;
    NewProductAdded *event = new_new_product_added(arena());
    event->product_id = "prd_test";
    event->product = new_product(arena());
    event->product->variants = &variant;
    event->product->n_variants = 1;
    tell("catalog", &new_product_added, &event->base);
    check_text(figures("a"), "7 0 7 0 0");
    variant->available = 100;
    tell("catalog", &new_product_added, &event->base);
    check_text(figures("a"), "7 0 7 0 0");
    world_free(world);
}

/* ---- when the disk fails ---- */

TEST(a_disk_that_fails_at_any_statement_leaves_a_reserve_done_or_undone)
{
    enum { STATEMENTS = 40 };
    open_world();
    create("a", 1000);
    create("b", 1000);
    struct store *store = node_store(world_node(world), "inventory");
    int64_t kept = 0;
    bool failed = false;
    for (int k = 1; k <= STATEMENTS; k++) {
        const char *id = arena_printf(arena(), "r%d", k);
        Line *lines[] = {line_of("a", 1), line_of("b", 1)};
        store_fail_at(store, k);
        const char *code = world_ask(world, "operator", "inventory", "Reserve",
                                     &reserve_request(id, lines, 2)->base, NULL);
        store_fail_at(store, 0);
        kept += code[0] == '\0';
        failed = failed || code[0];
        check_int(stock_of("a")->reserved, kept);
        check_int(stock_of("b")->reserved, kept);
        check_int(world_events(world, "inventory.stock_reserved", id), code[0] == '\0');
        check_text(world_ask(world, "operator", "inventory", "Reserve",
                             &reserve_request(id, lines, 2)->base, NULL),
                   "");
        kept += code[0] != '\0';
    }
    check(failed && kept == STATEMENTS);
    world_settle(world);
    world_restart(world);
    check_int(stock_of("a")->reserved, STATEMENTS);
    world_free(world);
}

/* ---- all of it at random, against a model ---- */

enum { STEPS = 400, SLOTS = 30 };

struct model {
    int64_t on_hand, promised, sold, received;
    int generation; /* of ids */
    int64_t quantity[SLOTS];
    ReservationState state[SLOTS];
};

static uint64_t
next_random(uint64_t *seed, uint64_t below)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % below;
}

static void
random_step(struct model *m, uint64_t *seed)
{
    int slot = (int)next_random(seed, SLOTS);
    const char *id = arena_printf(arena(), "slot-%d-%d", m->generation, slot);
    bool held = m->state[slot] == RESERVATION_STATE_HELD;
    int64_t quantity = (int64_t)next_random(seed, 5) + 1;
    switch (next_random(seed, 8)) {
    case 0:
        check_text(set_stock("a", quantity * 4, 0), "");
        m->received += quantity * 4 - m->on_hand;
        m->on_hand = quantity * 4;
        break;
    case 1:
        if (m->state[slot])
            check_text(release(id), "");
        if (held) {
            m->promised -= m->quantity[slot];
            m->state[slot] = RESERVATION_STATE_RELEASED;
        }
        break;
    case 2:
        if (!held)
            break;
        say_paid(id, "a", m->quantity[slot]);
        m->promised -= m->quantity[slot];
        m->state[slot] = RESERVATION_STATE_RELEASED;
        if (m->on_hand >= m->quantity[slot]) {
            m->state[slot] = RESERVATION_STATE_SOLD;
            m->on_hand -= m->quantity[slot];
            m->sold += m->quantity[slot];
        }
        break;
    case 3:
        if (m->state[slot] != RESERVATION_STATE_SOLD)
            break;
        say_cancelled(id, "staff", true);
        m->state[slot] = RESERVATION_STATE_RELEASED;
        m->on_hand += m->quantity[slot];
        m->sold -= m->quantity[slot];
        break;
    default:
        if (m->state[slot])
            break;
        if (m->on_hand - m->promised < quantity) {
            check_text(reserve(id, "a", quantity), "out_of_stock");
            break;
        }
        check_text(reserve(id, "a", quantity), "");
        m->state[slot] = RESERVATION_STATE_HELD;
        m->quantity[slot] = quantity;
        m->promised += quantity;
    }
}

TEST(at_every_step_of_a_random_trade_the_ledger_says_what_a_model_says)
{
    open_world();
    create("a", 12);
    struct model m = {.on_hand = 12, .received = 12};
    uint64_t seed = 7;
    for (int i = 0; i < STEPS && !test_failed; i++) {
        if (i % 60 == 59) {
            lapse_after(HOUR_US);
            m.promised = 0;
            m.generation++;
            memset(m.state, 0, sizeof m.state);
        }
        random_step(&m, &seed);
        const Stock *s = stock_of("a");
        check_int(s->on_hand, m.on_hand);
        check_int(s->reserved + s->owed, m.promised);
        check_int(s->reserved, m.promised < m.on_hand ? m.promised : m.on_hand);
        check_int(s->available, s->on_hand - s->reserved);
        check_int(s->sold, m.sold);
        check_int(s->on_hand + s->sold, m.received);
    }
    world_free(world);
}
