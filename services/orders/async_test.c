/* Checkouts that events take further, one step at a time and in every order. */
#include "auth.api.h"
#include "cart.api.h"
#include "orders/advance.h"
#include "test/stage.h"

static struct stage *stage;

static void
begin(void)
{
    stage = stage_new();
    stage_stock(stage, "tea", 10);
    stage_stock(stage, "free", 10);
}

static void
end(void)
{
    stage_free(stage);
}

struct pressed {
    PlaceOrderRequest *in;
    const char *id, *order_id;
};

/* A checkout that is written down, of quantity tea unless more is said. */
static struct pressed
press(const char *who, const char *sku, int64_t quantity, const char *token)
{
    struct request rq = stage_request(stage, who);
    Line *line = new_line(stage->arena);
    line->sku = sku;
    line->quantity = quantity;
    PlaceOrderRequest *in = new_place_order_request(stage->arena);
    in->checkout_id = id_derive(stage->arena, "chk", rq.id, NULL);
    in->lines = arena_copy(stage->arena, &line, sizeof line);
    in->n_lines = 1;
    in->customer = new_contact(stage->arena);
    in->customer->email = "ada@example.org";
    in->user_id = who;
    check_text(stage_method(stage, &rq, token, &in->payment_method_id), "");
    return (struct pressed){in, in->checkout_id, stage_order_id(stage, &rq)};
}

static Checkout *
opened(struct pressed p)
{
    Checkout *ret = NULL;
    check_text(stage_ask(stage, "operator", "orders", "OpenCheckout", &p.in->base, &ret), "");
    return ret;
}

static Checkout *
checkout_of(struct pressed p)
{
    GetCheckoutRequest *in = new_get_checkout_request(stage->arena);
    in->id = p.id;
    Checkout *ret = new_checkout(stage->arena);
    check_text(stage_ask(stage, "operator", "orders", "GetCheckout", &in->base, &ret), "");
    return ret;
}

/* Orders hears what another service said. */
static void
hear(const struct topic *topic, const ProtobufCMessage *message)
{
    size_t n;
    uint8_t *bytes = message_pack(stage->arena, message, &n);
    struct event event = {.id = id_make(stage->arena, "evn", stage_now),
                          .topic = topic->name,
                          .time_us = stage_now,
                          .data = {n, bytes}};
    check_int(stage_hear(stage, &orders_service, &event), OK);
}

static void
admit(struct pressed p, const char *user_id)
{
    UserAuthenticated *event = new_user_authenticated(stage->arena);
    event->user_id = user_id;
    event->context = "checkout";
    event->checkout_id = p.id;
    hear(&user_authenticated, &event->base);
}

/* The job finds what no task took. */
static void
go_on(void)
{
    for (int i = 0; i < 3; i++) {
        check_text(stage_job(stage, &orders_service, "checkouts"), "");
        stage_settle(stage);
        check_text(stage_job(stage, &payments_service, "resolve"), "");
        stage_settle(stage);
        stage_now += 4 * SECOND_US; /* what a task was given first is the job's then */
    }
}

static int64_t
failures(struct pressed p)
{
    return stage_events(stage, "orders.checkout_failed", p.id);
}

TEST(a_checkout_waits_for_its_buyer_to_be_known_and_ends_paid)
{
    begin();
    struct pressed p = press("usr_a", "tea", 2, "approve");
    Checkout *checkout = opened(p);
    check_int(checkout->status, CHECKOUT_STATUS_PENDING);
    check_text(checkout->order_id, "");
    go_on();
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    admit(p, "usr_b");
    go_on();
    check_int(stage_events(stage, "orders.order_created", NULL), 0);

    int64_t version = checkout_of(p)->version;
    admit(p, "usr_a");
    check(checkout_of(p)->version > version);
    go_on();
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_DONE);
    check_text(checkout_of(p)->order_id, p.order_id);
    check_int(stage_order(stage, p.order_id)->status, ORDER_STATUS_COMPLETED);
    check_int(failures(p), 0);

    admit(p, "usr_a"); /* heard twice, and pressed twice */
    check_int(opened(p)->status, CHECKOUT_STATUS_DONE);
    admit(p, "usr_a");
    go_on();
    check_int(stage_events(stage, "orders.order_created", NULL), 1);
    int charges;
    int64_t charged, refunded;
    stage_ledger(stage, p.order_id, &charges, &charged, &refunded);
    check_int(charges, 1);
    check_int(charged, 2 * STAGE_PRICE);
    end();
}

TEST(every_refusal_ends_the_checkout_with_its_code_once)
{
    static const struct {
        const char *sku;
        int64_t quantity;
        const char *token, *code;
        bool ordered;
    } cases[] = {
        {"tea", 1, "decline", "payment_failed", true},
        {"tea", 1, "insufficient_funds", "payment_failed", true},
        {"tea", 11, "approve", "out_of_stock", false},
        {"unknown", 1, "approve", "no_such_sku", false},
        {"free", 1, "decline", "", true}, /* what costs nothing is not charged */
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pressed p = press("", cases[i].sku, cases[i].quantity, cases[i].token);
        opened(p);
        admit(p, "");
        go_on();
        const Checkout *checkout = checkout_of(p);
        check_int(checkout->status, *cases[i].code ? CHECKOUT_STATUS_FAILED : CHECKOUT_STATUS_DONE);
        check_text(checkout->code, cases[i].code);
        check_text(checkout->order_id, cases[i].ordered ? p.order_id : "");
        check_int(failures(p), *cases[i].code != 0);
        go_on();
        check_int(failures(p), *cases[i].code != 0);
    }
    end();
}

TEST(a_refused_session_ends_the_checkout_whatever_comes_later)
{
    begin();
    struct pressed p = press("usr_a", "tea", 1, "approve");
    opened(p);
    AuthCheckoutFailed *event = new_auth_checkout_failed(stage->arena);
    event->checkout_id = p.id;
    event->code = "bad_token";
    event->reason = "the session has ended";
    hear(&auth_checkout_failed, &event->base);
    admit(p, "usr_a");
    go_on();
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_FAILED);
    check_text(checkout_of(p)->code, "bad_token");
    check_int(failures(p), 0); /* auth has said it */
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    end();
}

TEST(a_checkout_that_nobody_speaks_for_times_out)
{
    begin();
    struct pressed p = press("", "tea", 1, "approve");
    opened(p);
    stage_restart(stage); /* which gives auth its time again */
    stage_now += 119 * SECOND_US;
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_PENDING);
    stage_now += 2 * SECOND_US;
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    check_text(checkout_of(p)->code, "timed_out");
    check_int(failures(p), 1);
    end();
}

TEST(a_method_that_payments_does_not_know_ends_the_checkout)
{
    begin();
    struct pressed p = press("", "tea", 1, "approve");
    p.in->payment_method_id = "pmm_unknown";
    opened(p);
    admit(p, "");
    go_on();
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_FAILED);
    check_text(checkout_of(p)->code, "payment_failed");
    check_text(checkout_of(p)->order_id, p.order_id);
    check_int(failures(p), 1);
    end();
}

/* ---- whichever way it is delivered ----------------------------------------------------------- */

TEST(one_checkout_in_both_shapes_is_one_order_and_one_charge)
{
    for (int way = 0; way < 3; way++) {
        begin();
        struct pressed p = press("", "tea", 1, "approve");
        Order *order = NULL;
        opened(p);
        if (way > 0)
            admit(p, "");
        if (way > 1)
            check_text(stage_job(stage, &orders_service, "checkouts"), "");
        check_text(stage_ask(stage, "operator", "orders", "PlaceOrder", &p.in->base, &order), "");
        check_int(order->status, ORDER_STATUS_PAID);
        admit(p, "");
        go_on();
        check_int(checkout_of(p)->status, CHECKOUT_STATUS_DONE);
        check_int(stage_events(stage, "orders.order_created", NULL), 1);
        check_int(stage_events(stage, "orders.order_paid", NULL), 1);
        int charges;
        int64_t charged, refunded;
        stage_ledger(stage, p.order_id, &charges, &charged, &refunded);
        check_int(charges, 1);
        end();
    }
}

TEST(an_order_whose_charge_payments_has_not_heard_of_is_waited_for)
{
    begin();
    struct pressed p = press("", "tea", 1, "approve");
    opened(p);
    admit(p, "");
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    for (int i = 0; i < 5; i++) {
        stage_now += 10 * SECOND_US;
        check_text(stage_job(stage, &orders_service, "sweep"), "");
    }
    stage_restart(stage);
    check_text(stage_job(stage, &orders_service, "sweep"), "");
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_PENDING);
    check_int(failures(p), 0);
    stage_settle(stage);
    go_on();
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_DONE);
    end();
}

TEST(an_order_that_is_never_charged_lapses_and_is_not_charged_any_more)
{
    begin();
    struct pressed p = press("", "tea", 1, "approve");
    opened(p);
    admit(p, "");
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    stage_now = stage_order(stage, p.order_id)->pay_by_us + SECOND_US;
    check_text(stage_job(stage, &orders_service, "sweep"), "");
    check_text(checkout_of(p)->code, "order_cancelled");
    check_int(failures(p), 1);
    stage_settle(stage);
    go_on();
    int charges;
    int64_t charged, refunded;
    stage_ledger(stage, p.order_id, &charges, &charged, &refunded);
    check_int(charges, 0);
    check_text(checkout_of(p)->code, "order_cancelled");
    end();
}

/* As where its task was slow, and the checkout has been ended meanwhile. */
TEST(no_order_is_recorded_for_a_checkout_that_has_ended)
{
    begin();
    struct pressed p = press("", "tea", 1, "approve");
    opened(p);
    AuthCheckoutFailed *event = new_auth_checkout_failed(stage->arena);
    event->checkout_id = p.id;
    event->code = "bad_token";
    hear(&auth_checkout_failed, &event->base);
    struct request rq = stage_request(stage, "operator");
    rq.service = &orders_service;
    struct checkout c = {.order_id = p.order_id,
                         .asked = p.in,
                         .by_event = true,
                         .attempt_id = id_derive(stage->arena, "pay", p.id, NULL),
                         .payment_method_id = p.in->payment_method_id};
    check_int(orders_advance(&rq, &c), ABORTED);
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    check_text(checkout_of(p)->code, "bad_token");
    end();
}

/* ---- from a cart ----------------------------------------------------------------------------- */

static void
cart_is(const char *cart_id, int64_t version, int64_t quantity, int64_t price_minor)
{
    CartUpdated *event = new_cart_updated(stage->arena);
    event->cart_id = cart_id;
    event->version = version;
    PricedLine *line = new_priced_line(stage->arena);
    line->sku = "tea";
    line->quantity = quantity;
    line->price = new_money(stage->arena);
    line->price->amount = price_minor;
    line->price->currency = "EUR";
    event->lines = arena_copy(stage->arena, &line, sizeof line);
    event->n_lines = 1;
    hear(&cart_updated, &event->base);
}

static struct pressed
press_cart(const char *cart_id, int64_t version)
{
    struct pressed p = press("", "tea", 1, "approve");
    p.in->cart_id = cart_id;
    p.in->cart_version = version;
    opened(p);
    admit(p, "");
    return p;
}

TEST(an_order_is_made_of_the_carts_snapshot)
{
    begin();
    cart_is("crt_a", 2, 3, STAGE_PRICE);
    cart_is("crt_a", 1, 9, STAGE_PRICE); /* too late to count */
    struct pressed p = press_cart("crt_a", 2);
    go_on();
    check_int(checkout_of(p)->status, CHECKOUT_STATUS_DONE);
    check_int(stage_order(stage, p.order_id)->lines[0]->quantity, 3);
    end();
}

TEST(a_checkout_waits_for_its_carts_snapshot_but_not_for_ever)
{
    begin();
    struct pressed waits = press_cart("crt_a", 2), in_vain = press_cart("crt_b", 2);
    cart_is("crt_a", 1, 1, STAGE_PRICE);
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    check_int(checkout_of(waits)->status, CHECKOUT_STATUS_PENDING);
    cart_is("crt_a", 2, 2, STAGE_PRICE);
    stage_now += 6 * SECOND_US;
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    check_text(checkout_of(waits)->order_id, waits.order_id);
    check_int(checkout_of(in_vain)->status, CHECKOUT_STATUS_PENDING);
    stage_now += 30 * SECOND_US;
    check_text(stage_job(stage, &orders_service, "checkouts"), "");
    check_text(checkout_of(in_vain)->code, "no_snapshot");
    check_int(failures(in_vain), 1);
    end();
}

TEST(a_cart_that_has_changed_is_not_ordered)
{
    begin();
    cart_is("crt_a", 3, 1, STAGE_PRICE);
    cart_is("crt_b", 2, 1, STAGE_PRICE - 1);
    struct pressed newer = press_cart("crt_a", 2), dearer = press_cart("crt_b", 2);
    go_on();
    check_text(checkout_of(newer)->code, "cart_changed");
    check_text(checkout_of(dearer)->code, "cart_changed");
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    end();
}

/* The first is slow, its cart is let go, and its buyer presses again. */
TEST(a_cart_is_ordered_once_in_whichever_way_it_is_checked_out)
{
    begin();
    cart_is("crt_a", 2, 1, STAGE_PRICE);
    struct pressed slow = press_cart("crt_a", 2), again = press("", "tea", 1, "approve");
    again.in->cart_id = "crt_a";
    Order *order = NULL;
    check_text(stage_ask(stage, "operator", "orders", "PlaceOrder", &again.in->base, &order), "");
    check_text(stage_ask(stage, "operator", "orders", "PlaceOrder", &again.in->base, &order), "");
    check_text(order->id, again.order_id);
    go_on();
    check_text(checkout_of(slow)->code, "cart_changed");
    check_int(failures(slow), 1);
    struct pressed third = press("", "tea", 1, "approve");
    third.in->cart_id = "crt_a";
    check_text(stage_ask(stage, "operator", "orders", "PlaceOrder", &third.in->base, &order),
               "cart_changed");
    check_int(stage_events(stage, "orders.order_created", NULL), 1);
    check_int(stage_events(stage, "payments.payment_processed", NULL), 1);
    end();
}

TEST(old_snapshots_go_however_many_a_day_there_were)
{
    enum { CARTS = 450 };
    begin();
    for (int i = 0; i < CARTS; i++)
        cart_is(arena_printf(stage->arena, "crt_%d", i), 2, 1, STAGE_PRICE);
    stage_now += 61 * DAY_US;
    cart_is("crt_young", 2, 1, STAGE_PRICE);
    check_text(stage_job(stage, &orders_service, "forget_carts"), "");
    struct pressed young = press_cart("crt_young", 2), old = press_cart("crt_449", 2);
    go_on();
    stage_now += 30 * SECOND_US;
    go_on();
    check_int(checkout_of(young)->status, CHECKOUT_STATUS_DONE);
    check_text(checkout_of(old)->code, "no_snapshot");
    end();
}

/* ---- trouble --------------------------------------------------------------------------------- */

TEST(whatever_statement_fails_the_checkout_ends_paid_once)
{
    for (int k = 1;; k++) {
        begin();
        struct pressed p = press("", "tea", 1, "approve");
        opened(p);
        admit(p, "");
        store_fail_at(node_store(stage->node, "orders"), k);
        const char *word = stage_job(stage, &orders_service, "checkouts");
        store_fail_at(node_store(stage->node, "orders"), 0);
        bool hurt = *word != 0;
        stage_now += 6 * SECOND_US;
        go_on();
        check_int(checkout_of(p)->status, CHECKOUT_STATUS_DONE);
        check_int(stage_events(stage, "orders.order_created", NULL), 1);
        check_int(stage_events(stage, "orders.order_paid", NULL), 1);
        check_int(failures(p), 0);
        end();
        if (!hurt && k > 20)
            return;
    }
}
